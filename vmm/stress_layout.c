/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/stress_layout.h"

#include <errno.h>

#include "vmm/virtio_slots.h"

#define GIB              (UINT64_C(1) << 30)

/* One page-directory-pointer table maps 512 GiB: enough, and one table less to write. */
#define MAPPED_MAX_BYTES (512 * GIB)

#define PTE_PRESENT      0x1u
#define PTE_WRITE        0x2u
#define PTE_LARGE        0x80u

static uint64_t align_up(uint64_t value, uint64_t alignment)
{
	return (value + alignment - 1) / alignment * alignment;
}

/* Take @size_bytes at @next, and leave a hole behind them so that no neighbour merges with it. */
static gpa_t take(gpa_t *next, uint64_t size_bytes)
{
	gpa_t gpa = *next;

	*next = align_up(gpa + size_bytes, STRESS_LARGE_BYTES) + STRESS_LARGE_BYTES;
	return gpa;
}

static int check_bytes(uint64_t bytes, const char *option, struct samara_error *err)
{
	if (!bytes || bytes % SAMARA_PAGE_BYTES)
		return samara_error_set(err, -EINVAL, "%s: not a multiple of the page size, 4 KiB",
					option);
	if (bytes > MAPPED_MAX_BYTES / 4)
		return samara_error_set(err, -ERANGE, "%s: more than %llu GiB", option,
					(unsigned long long)(MAPPED_MAX_BYTES / 4 / GIB));
	return 0;
}

int stress_layout_init(struct stress_layout *layout, unsigned int cpus, unsigned int slots,
		       uint64_t slot_bytes, uint64_t stranger_bytes, unsigned int strangers,
		       struct samara_error *err)
{
	gpa_t next = STRESS_WINDOW_GPA;
	unsigned int i;
	int ret;

	if (!cpus || cpus > STRESS_MAX_CPUS)
		return samara_error_set(err, -EINVAL, "--cpus: from 1 to %u", STRESS_MAX_CPUS);
	if (!slots || slots > STRESS_MAX_SLOTS)
		return samara_error_set(err, -EINVAL, "--slots: from 1 to %u", STRESS_MAX_SLOTS);
	ret = check_bytes(slot_bytes, "--slot-size", err);
	if (!ret)
		ret = check_bytes(stranger_bytes, "--stranger-size", err);
	if (ret)
		return ret;

	*layout = (struct stress_layout){
		.slot_bytes = slot_bytes,
		.stranger_bytes = stranger_bytes,
		.strangers = strangers,
		.places = 2 * slots,
		.stacks_gpa = align_up(STRESS_CONTROL_GPA + sizeof(struct stress_control),
				       STRESS_STACK_BYTES),
	};
	layout->tables_gpa = layout->stacks_gpa + cpus * STRESS_STACK_BYTES;

	layout->own_gpa = take(&next, cpus * STRESS_LARGE_BYTES);
	layout->shared_gpa = take(&next, STRESS_SHARED_BYTES);
	layout->protect_gpa = take(&next, STRESS_PROTECT_PAGES * STRESS_PAGE_BYTES);
	layout->void_gpa = take(&next, STRESS_LARGE_BYTES);
	for (i = 0; i < STRESS_LIVE_PLACES; i++)
		layout->live_gpa[i] = take(&next, STRESS_LIVE_BYTES);
	for (i = 0; i < STRESS_LIVE_PLACES; i++)
		layout->device_gpa[i] = take(&next, STRESS_DEVICE_BYTES);

	layout->mem_gpa = take(&next, STRESS_MEM_BLOCKS * STRESS_MEM_BLOCK_BYTES);
	layout->balloon_gpa = take(&next, STRESS_BALLOON_PAGES * STRESS_PAGE_BYTES);
	layout->dimm_gpa =
		take(&next, STRESS_DIMM_SLOTS * STRESS_DIMM_UNITS * STRESS_DIMM_UNIT_BYTES);

	layout->places_gpa = next;
	return stress_layout_group(layout, STRESS_GROUP, err);
}

int stress_layout_group(struct stress_layout *layout, unsigned int group, struct samara_error *err)
{
	uint64_t groups = (layout->places + group - 1) / group;
	gpa_t next = layout->places_gpa;
	unsigned int i;

	layout->group = group;
	layout->group_bytes = align_up(group * layout->slot_bytes, STRESS_LARGE_BYTES);
	/* The hole. */
	layout->group_bytes += STRESS_LARGE_BYTES;
	take(&next, groups * layout->group_bytes);
	layout->stranger_gpa = next;
	for (i = 0; i < 2 * layout->strangers; i++) {
		take(&next, layout->stranger_bytes);
		if (next > MAPPED_MAX_BYTES)
			break;
	}
	if (next > MAPPED_MAX_BYTES)
		return samara_error_set(err, -ERANGE,
					"--slots, --slot-size, --stranger-size: more than %llu GiB "
					"of guest-physical addresses in all",
					(unsigned long long)(MAPPED_MAX_BYTES / GIB));
	layout->window_bytes = next - STRESS_WINDOW_GPA;
	layout->boot_bytes =
		align_up(layout->tables_gpa + stress_tables_bytes(layout), STRESS_LARGE_BYTES);
	return 0;
}

gpa_t stress_place_gpa(const struct stress_layout *layout, unsigned int place)
{
	return layout->places_gpa + place / layout->group * layout->group_bytes +
	       place % layout->group * layout->slot_bytes;
}

gpa_t stress_stranger_gpa(const struct stress_layout *layout, unsigned int stranger,
			  unsigned int which)
{
	uint64_t stride = align_up(layout->stranger_bytes, STRESS_LARGE_BYTES) + STRESS_LARGE_BYTES;

	return layout->stranger_gpa + (2 * stranger + which) * stride;
}

const char *stress_layout_place_name(const struct stress_layout *layout, gpa_t gpa)
{
	if (gpa < STRESS_WINDOW_GPA)
		return "the boot window";
	if (gpa < layout->shared_gpa)
		return "a vCPU's own region";
	if (gpa < layout->protect_gpa)
		return "the shared counters";
	if (gpa < layout->void_gpa)
		return "the range that is protected at times";
	if (gpa < layout->live_gpa[0])
		return "where nothing is ever plugged";
	if (gpa < layout->device_gpa[0])
		return "the counters that move";
	if (gpa < layout->mem_gpa)
		return "what devices do DMA to";
	if (gpa < layout->balloon_gpa)
		return "a block of virtio-mem";
	if (gpa < layout->dimm_gpa)
		return "the balloon's memory";
	if (gpa < layout->places_gpa)
		return "a DIMM";
	return gpa < layout->stranger_gpa ? "a slot" : "the strangers' memory";
}

/* Page directories: one for the boot window's GiB, one for registers', the others for the window. */
static uint64_t window_directories(const struct stress_layout *layout)
{
	return align_up(layout->window_bytes, GIB) / GIB;
}

uint64_t stress_tables_bytes(const struct stress_layout *layout)
{
	return (2 + 2 + window_directories(layout)) * SAMARA_PAGE_BYTES;
}

/* Map @size_bytes from @gpa, in a GiB that nothing else is mapped in, with the page directories from @page on. */
static uint64_t map_range(const struct stress_layout *layout, uint64_t *tables, uint64_t page,
			  gpa_t gpa, uint64_t size_bytes)
{
	uint64_t *pointers = tables + STRESS_PAGE_WORDS;

	for (uint64_t offset = 0; offset < size_bytes; offset += STRESS_LARGE_BYTES) {
		gpa_t address = gpa + offset;
		uint64_t *directory;

		if (!offset || address % GIB == 0)
			pointers[address / GIB] =
				(layout->tables_gpa + page++ * SAMARA_PAGE_BYTES) | PTE_PRESENT |
				PTE_WRITE;
		directory = tables + (page - 1) * STRESS_PAGE_WORDS;
		directory[address % GIB / STRESS_LARGE_BYTES] =
			address | PTE_PRESENT | PTE_WRITE | PTE_LARGE;
	}
	return page;
}

void stress_tables_write(const struct stress_layout *layout, uint64_t *tables)
{
	uint64_t page;

	tables[0] = (layout->tables_gpa + SAMARA_PAGE_BYTES) | PTE_PRESENT | PTE_WRITE;
	page = map_range(layout, tables, 2, 0, layout->boot_bytes);
	page = map_range(layout, tables, page, VIRTIO_SLOT_GPA, STRESS_LARGE_BYTES);
	map_range(layout, tables, page, STRESS_WINDOW_GPA, layout->window_bytes);
}
