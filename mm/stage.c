/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mm/backing.h"
#include "mm/mm.h"
#include "mm/numa.h"
#include "mm/pagemap.h"
#include "mm/stage.h"

/* Linux include/uapi/asm-generic/mman-common.h, 5.14 */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define MAP_BYTES ((STAGES + 1) * HUGE_BYTES)
#define REST      64 /* faults: less than one in 64 is for nothing on a host without huge pages */

/* KiB of page tables that the process has (Documentation/filesystems/proc.rst); -1: not known. */
static long table_kib(void)
{
	FILE *status = fopen("/proc/self/status", "re");
	char line[256];
	long kib = -1;

	while (status && kib < 0 && fgets(line, sizeof(line), status))
		if (sscanf(line, "VmPTE: %ld", &kib) != 1)
			kib = -1;
	if (status)
		fclose(status);
	return kib;
}

/*
 * Whether MADV_DONTNEED frees a page table that it empties (CONFIG_PT_RECLAIM, Linux 6.14): seen by
 * what becomes of those of the staging areas, which have no huge pages yet. Other threads may make
 * and free tables meanwhile, so half of them count as all.
 */
static bool discard_frees_tables(char *area)
{
	long before, after;

	if (madvise(area, STAGES * HUGE_BYTES, MADV_NOHUGEPAGE))
		return false;
	for (unsigned int i = 0; i < STAGES; i++)
		if (madvise(area + i * HUGE_BYTES, SAMARA_PAGE_BYTES, MADV_POPULATE_WRITE))
			return false;
	before = table_kib();
	if (madvise(area, STAGES * HUGE_BYTES, MADV_DONTNEED))
		return false;
	after = table_kib();
	return before >= 0 && after >= 0 &&
	       before - after >= (long)(STAGES * SAMARA_PAGE_BYTES / 2 / 1024);
}

/* Map areas anew: without tables, with huge pages. */
static bool map_areas(const struct stage *stage, char *at, uint64_t size_bytes)
{
	struct samara_error err;

	/* Pages shared with a child cannot be moved. */
	return mmap(at, size_bytes, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != MAP_FAILED &&
	       !madvise(at, size_bytes, MADV_DONTFORK) && !madvise(at, size_bytes, MADV_HUGEPAGE) &&
	       !numa_place(at, size_bytes, &stage->placement, &err);
}

void stage_init(struct stage *stage, bool can_move, const struct guest_mm_placement *placement)
{
	*stage = (struct stage){.placement = *placement, .pagemap = -1};
	if (!can_move)
		return;
	stage->map = mmap(NULL, MAP_BYTES, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (stage->map == MAP_FAILED) {
		stage->map = NULL;
		return;
	}
	stage->area = (char *)(((uintptr_t)stage->map + HUGE_BYTES - 1) & ~(HUGE_BYTES - 1));
	stage->tables_go = discard_frees_tables(stage->area);
	if (map_areas(stage, stage->area, STAGES * HUGE_BYTES))
		stage->pagemap = pagemap_open();
	else
		stage_destroy(stage);
}

void stage_destroy(struct stage *stage)
{
	if (!stage->map)
		return;
	munmap(stage->map, MAP_BYTES);
	if (stage->pagemap >= 0)
		close(stage->pagemap);
	*stage = (struct stage){0};
}

bool stage_may_fill(struct stage *stage)
{
	uint32_t rest = __atomic_load_n(&stage->rest, __ATOMIC_RELAXED);

	/* Two threads may count one time as one. */
	if (rest)
		__atomic_store_n(&stage->rest, rest - 1, __ATOMIC_RELAXED);
	return stage->area && !rest &&
	       __atomic_load_n(&stage->taken, __ATOMIC_RELAXED) != (1u << STAGES) - 1;
}

static char *take(struct stage *stage, unsigned int *index)
{
	uint32_t taken = __atomic_load_n(&stage->taken, __ATOMIC_RELAXED);

	do {
		*index = (unsigned int)__builtin_ctz(~taken);
		if (*index >= STAGES)
			return NULL;
	} while (!__atomic_compare_exchange_n(&stage->taken, &taken, taken | 1u << *index, false,
					      __ATOMIC_ACQUIRE, __ATOMIC_RELAXED));
	return stage->area + *index * HUGE_BYTES;
}

/* Have the kernel make a huge page. Return: 0, -ENOMEM: it has none. */
static int make_huge_page(struct stage *stage, char *area)
{
	int64_t huge;

	if (madvise(area, HUGE_BYTES, MADV_POPULATE_WRITE))
		return -ENOMEM;
	huge = pagemap_huge_pages(stage->pagemap, area, HUGE_BYTES);
	return huge >= 0 && huge < (int64_t)(HUGE_BYTES >> SAMARA_PAGE_SHIFT) ? -ENOMEM : 0;
}

/*
 * What has not moved goes: the area is to be empty. If it cannot go, the area is kept from being used
 * again, as the next page made there would not be zeros for sure.
 */
static bool empty(const struct stage *stage, char *area)
{
	return stage->tables_go ? !madvise(area, HUGE_BYTES, MADV_DONTNEED)
				: map_areas(stage, area, HUGE_BYTES);
}

int stage_fill(const struct fill *fill, char *hva)
{
	struct stage *stage = &fill->window->stage;
	unsigned int index;
	uint64_t done = 0;
	char *area;
	int ret;

	area = stage->area ? take(stage, &index) : NULL;
	if (!area)
		return -EBUSY;
	ret = make_huge_page(stage, area);
	if (!ret)
		ret = uffd_move(window_uffd(fill->window, fill->gpa), hva, area, HUGE_BYTES, &done);
	/* That another thread was faster says nothing of huge pages. */
	if (ret && ret != -EEXIST)
		__atomic_store_n(&stage->rest, REST, __ATOMIC_RELAXED);
	/* What has moved is there, and recorded; a copy of the whole finds it. */
	if (ret && done)
		window_set_present(fill->window, fill->gpa, done);
	if (!ret || empty(stage, area))
		__atomic_fetch_and(&stage->taken, ~(1u << index), __ATOMIC_RELEASE);
	return ret;
}
