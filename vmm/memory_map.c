/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/memory_map.h"

#include <errno.h>

#include "vmm/layout.h"

/* For the ranges below 1 MiB and below 4 GiB, which are there whatever RAM there is. */
#define RESERVED_ENTRIES 2

/* Extends the last entry, or adds one. Return: 0, -ENOSPC (no entry is left for RAM). */
static int add(struct memory_map *map, gpa_t first, gpa_t end, enum memory_type type)
{
	struct memory_map_entry *last = map->count ? &map->entries[map->count - 1] : NULL;

	if (first >= end)
		return 0;
	if (last && last->type == type && last->gpa + last->size_bytes == first) {
		last->size_bytes += end - first;
		return 0;
	}
	if (type == MEMORY_RAM && map->ram_count == MEMORY_MAP_ENTRIES - RESERVED_ENTRIES)
		return -ENOSPC;
	map->ram_count += type == MEMORY_RAM;
	map->entries[map->count++] = (struct memory_map_entry){
		.gpa = first,
		.size_bytes = end - first,
		.type = type,
	};
	return 0;
}

static gpa_t min_gpa(gpa_t a, gpa_t b)
{
	return a < b ? a : b;
}

static gpa_t max_gpa(gpa_t a, gpa_t b)
{
	return a > b ? a : b;
}

/**
 * struct builder - regions come in ascending order; reserved ranges are put in between
 * @reserved_low: the range below 1 MiB is in the map
 * @holes: what is left out
 */
struct builder {
	struct memory_map *map;
	const struct memory_map_hole *holes;
	unsigned int hole_count;
	bool reserved_low, reserved_high;
};

static void add_reserved_low(struct builder *builder)
{
	if (!builder->reserved_low)
		add(builder->map, LAYOUT_RESERVED_GPA, LAYOUT_KERNEL_MIN_GPA, MEMORY_RESERVED);
	builder->reserved_low = true;
}

static void add_reserved_high(struct builder *builder)
{
	if (!builder->reserved_high)
		add(builder->map, LAYOUT_IDENTITY_MAP_GPA, LAYOUT_TSS_END_GPA, MEMORY_RESERVED);
	builder->reserved_high = true;
}

static int add_ram(struct builder *builder, gpa_t first, gpa_t end)
{
	int ret = add(builder->map, first, min_gpa(end, LAYOUT_RESERVED_GPA), MEMORY_RAM);

	if (ret || end <= LAYOUT_RESERVED_GPA)
		return ret;
	add_reserved_low(builder);
	if (first >= LAYOUT_HIGH_GPA)
		add_reserved_high(builder);
	return add(builder->map, max_gpa(first, LAYOUT_KERNEL_MIN_GPA), end, MEMORY_RAM);
}

static int add_region(const struct guest_mm_region *region, void *arg)
{
	gpa_t first = region->gpa, end = region->gpa + region->size_bytes;
	struct builder *builder = arg;
	int ret = 0;

	if ((region->prot & GUEST_MM_RDWR) != GUEST_MM_RDWR)
		return 0;
	for (unsigned int i = 0; !ret && i < builder->hole_count; i++) {
		const struct memory_map_hole *hole = &builder->holes[i];
		gpa_t hole_end = hole->gpa + hole->size_bytes;

		if (hole_end <= first || hole->gpa >= end)
			continue;
		if (hole->gpa > first)
			ret = add_ram(builder, first, hole->gpa);
		first = min_gpa(hole_end, end);
	}
	return ret || first == end ? ret : add_ram(builder, first, end);
}

int memory_map_build(struct memory_map *map, struct guest_mm *mm,
		     const struct memory_map_hole *holes, unsigned int hole_count,
		     struct samara_error *err)
{
	struct builder builder = {.map = map, .holes = holes, .hole_count = hole_count};

	map->count = 0;
	map->ram_count = 0;
	if (guest_mm_for_each_region(mm, add_region, &builder))
		return samara_error_set(err, -ENOSPC,
					"memory: RAM in more than %d separate ranges, of which a "
					"kernel cannot be told",
					MEMORY_MAP_ENTRIES - RESERVED_ENTRIES);
	add_reserved_low(&builder);
	add_reserved_high(&builder);

	if (memory_map_ram_end(map, 0) < LAYOUT_RESERVED_GPA)
		return samara_error_set(err, -EINVAL,
					"memory: the first 640 KiB are not all writable RAM, "
					"no kernel can start");
	if (memory_map_ram_end(map, LAYOUT_KERNEL_MIN_GPA) == LAYOUT_KERNEL_MIN_GPA)
		return samara_error_set(err, -EINVAL,
					"memory: no writable RAM at 1 MiB, no kernel can start");
	return 0;
}

gpa_t memory_map_ram_end(const struct memory_map *map, gpa_t gpa)
{
	for (unsigned int i = 0; i < map->count; i++) {
		const struct memory_map_entry *entry = &map->entries[i];

		if (entry->type == MEMORY_RAM && gpa >= entry->gpa &&
		    gpa - entry->gpa < entry->size_bytes)
			return entry->gpa + entry->size_bytes;
	}
	return gpa;
}
