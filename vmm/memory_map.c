// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/memory_map.h"

#include <errno.h>

#include "vmm/layout.h"

/* Extends the last entry, or adds one. Two entries are kept free for the reserved ranges. */
static void add(struct memory_map *map, gpa_t first, gpa_t end, enum memory_type type)
{
	struct memory_map_entry *last = map->count ? &map->entries[map->count - 1] : NULL;

	if (first >= end)
		return;
	if (last && last->type == type && last->gpa + last->size_bytes == first) {
		last->size_bytes += end - first;
		return;
	}
	if (map->count >= MEMORY_MAP_ENTRIES - (type == MEMORY_RAM ? 2 : 0))
		return;
	map->entries[map->count++] = (struct memory_map_entry){
		.gpa = first,
		.size_bytes = end - first,
		.type = type,
	};
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
 */
struct builder {
	struct memory_map *map;
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

static int add_region(const struct guest_mm_region *region, void *arg)
{
	struct builder *builder = arg;
	gpa_t end = region->gpa + region->size_bytes;

	if ((region->prot & GUEST_MM_RDWR) != GUEST_MM_RDWR)
		return 0;
	add(builder->map, region->gpa, min_gpa(end, LAYOUT_RESERVED_GPA), MEMORY_RAM);
	if (end <= LAYOUT_RESERVED_GPA)
		return 0;
	add_reserved_low(builder);
	if (region->gpa >= LAYOUT_HIGH_GPA)
		add_reserved_high(builder);
	add(builder->map, max_gpa(region->gpa, LAYOUT_KERNEL_MIN_GPA), end, MEMORY_RAM);
	return 0;
}

int memory_map_build(struct memory_map *map, struct guest_mm *mm, struct samara_error *err)
{
	struct builder builder = {.map = map};

	map->count = 0;
	guest_mm_for_each_region(mm, add_region, &builder);
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
