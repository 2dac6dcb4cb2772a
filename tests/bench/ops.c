/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What operations on guest memory cost: a contestant of versus, in this build's lock design.
 *
 * A cell is OP.SIZE.STATE.REGIONS: plug, unplug, remap or protect; of 2 MiB or 1 GiB; `populated`
 * (every page is there, as the manager puts it: in huge pages) or `empty`; with so many other
 * regions present, a page each. protect makes writable memory read-only. discard is what a balloon
 * does: of a page, or 2 MiB, inside a region of 1 GiB; the page is one, and not of a huge one. ns:
 * wall-clock time of one operation, the least of a few; nothing else uses the memory.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <samara/guest_mm.h>

#include "tests/bench/cell.h"

#define BASE   (UINT64_C(4) << 30)
#define FROM   (BASE + (UINT64_C(9) << 30))
#define TO     (BASE + (UINT64_C(12) << 30))
#define WINDOW (UINT64_C(16) << 30)
#define STEP   (2 * SAMARA_PAGE_BYTES) /* with gaps, so that nothing is merged */
#define SMALL  (UINT64_C(2) << 20)
#define LARGE  (UINT64_C(1) << 30)

enum {
	PLUG,
	UNPLUG,
	REMAP,
	PROTECT,
	DISCARD
};

/* In struct cell: @what is the operation, @threads the number of regions. */
#define LARGE_FLAG     1
#define POPULATED_FLAG 2

static struct {
	unsigned int regions;
	struct guest_mm *mm;
} made[3];

static void must(int ret, const struct samara_error *err)
{
	if (!ret)
		return;
	fprintf(stderr, "ops: %s\n", err->text);
	exit(1);
}

static struct guest_mm *mm_with(unsigned int regions)
{
	struct samara_error err;
	unsigned int i = 0;

	while (made[i].mm && made[i].regions != regions)
		i++;
	if (made[i].mm)
		return made[i].mm;
	made[i].regions = regions;
	must(guest_mm_create(NULL, &made[i].mm, &err), &err);
	must(guest_mm_add_window(made[i].mm, BASE, WINDOW, GUEST_MM_ANON, &err), &err);
	for (uint64_t k = 0; k < regions; k++)
		must(guest_mm_plug(made[i].mm, BASE + k * STEP, SAMARA_PAGE_BYTES, GUEST_MM_RDWR,
				   &err),
		     &err);
	return made[i].mm;
}

static uint64_t once(const struct cell *cell, struct guest_mm *mm, uint64_t size_bytes)
{
	struct samara_error err;
	gpa_t at = FROM;
	uint64_t start;
	int ret;

	if (cell->what != PLUG)
		must(guest_mm_plug(mm, FROM, size_bytes, GUEST_MM_RDWR, &err), &err);
	if (cell->writer & POPULATED_FLAG)
		must(guest_mm_populate(mm, FROM, size_bytes, &err), &err);
	start = cell_now_ns();
	switch (cell->what) {
	case PLUG:
		ret = guest_mm_plug(mm, FROM, size_bytes, GUEST_MM_RDWR, &err);
		break;
	case UNPLUG:
		ret = guest_mm_unplug(mm, FROM, size_bytes, &err);
		break;
	case REMAP:
		ret = guest_mm_remap(mm, FROM, size_bytes, TO, &err);
		at = TO;
		break;
	default:
		ret = guest_mm_protect(mm, FROM, size_bytes, GUEST_MM_READ, &err);
		break;
	}
	start = cell_now_ns() - start;
	must(ret, &err);
	if (cell->what != UNPLUG)
		must(guest_mm_unplug(mm, at, size_bytes, &err), &err);
	return start;
}

/* What a guest gives back, one page or one huge page at a time. */
static void run_discard(const struct cell *cell)
{
	struct guest_mm *mm = mm_with(cell->threads);
	uint64_t size_bytes = cell->writer & LARGE_FLAG ? SMALL : SAMARA_PAGE_BYTES;
	gpa_t at = FROM + (cell->writer & LARGE_FLAG ? LARGE / 4 : LARGE / 2);
	struct samara_error err;
	uint64_t start, least = UINT64_MAX;

	must(guest_mm_plug(mm, FROM, LARGE, GUEST_MM_RDWR, &err), &err);
	for (unsigned int times = 15; times; times--) {
		if (cell->writer & POPULATED_FLAG)
			must(guest_mm_populate(mm, at, size_bytes, &err), &err);
		start = cell_now_ns();
		must(guest_mm_discard(mm, at, size_bytes, &err), &err);
		start = cell_now_ns() - start;
		if (start < least)
			least = start;
	}
	must(guest_mm_unplug(mm, FROM, LARGE, &err), &err);
	cell_value(cell, "ns", (double)least);
}

static void run(const struct cell *cell)
{
	uint64_t size_bytes = cell->writer & LARGE_FLAG ? LARGE : SMALL;
	struct guest_mm *mm = mm_with(cell->threads);
	unsigned int times = cell->writer == (LARGE_FLAG | POPULATED_FLAG) ? 2 : 7;
	uint64_t least = UINT64_MAX;

	while (times--) {
		uint64_t ns = once(cell, mm, size_bytes);

		if (ns < least)
			least = ns;
	}
	cell_value(cell, "ns", (double)least);
}

int main(void)
{
	static const char *const op[] = {"plug", "unplug", "remap", "protect", "discard"};
	static const unsigned int regions[] = {10, 1000, 1000000};
	static struct cell cells[60];
	static char names[60][48];
	unsigned int count = 0;

	for (int what = PLUG; what <= DISCARD; what++)
		for (int kind = 0; kind < 4; kind++)
			for (unsigned int i = 0; i < 3; i++) {
				/* What is not plugged yet is not populated. */
				if (what == PLUG && kind & POPULATED_FLAG)
					continue;
				snprintf(names[count], sizeof(names[0]), "%s.%s.%s.%u", op[what],
					 what == DISCARD     ? kind & LARGE_FLAG ? "2M" : "4K"
					 : kind & LARGE_FLAG ? "1G"
							     : "2M",
					 kind & POPULATED_FLAG ? "populated" : "empty", regions[i]);
				cells[count] =
					(struct cell){.name = names[count],
						      .run = what == DISCARD ? run_discard : run,
						      .threads = regions[i],
						      .what = what,
						      .writer = kind};
				count++;
			}
	return cell_serve(cells, count);
}
