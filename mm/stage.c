/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>

#include "mm/backing.h"
#include "mm/mm.h"
#include "mm/stage.h"

/* Linux include/uapi/asm-generic/mman-common.h, 5.14 */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define MAP_BYTES ((STAGES + 1) * HUGE_BYTES)

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

void stage_init(struct stage *stage, bool can_move)
{
	*stage = (struct stage){0};
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
	/* Where tables stay, areas that were tried would have no huge pages: mapped anew. */
	if (!stage->tables_go &&
	    mmap(stage->map, MAP_BYTES, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
		goto destroy;
	/* Pages shared with a child cannot be moved. */
	if (!madvise(stage->area, STAGES * HUGE_BYTES, MADV_DONTFORK) &&
	    !madvise(stage->area, STAGES * HUGE_BYTES, MADV_HUGEPAGE))
		return;
destroy:
	stage_destroy(stage);
}

void stage_destroy(struct stage *stage)
{
	if (stage->map)
		munmap(stage->map, MAP_BYTES);
	*stage = (struct stage){0};
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
	ret = madvise(area, HUGE_BYTES, MADV_POPULATE_WRITE) ? -errno : 0;
	if (!ret)
		ret = uffd_move(window_uffd(fill->window, fill->gpa), hva, area, HUGE_BYTES, &done);
	/*
	 * What has not moved goes: the area is to be empty. If it cannot go, it is kept from being
	 * used again, as the next page made there would not be zeros for sure. What has moved is
	 * there, and recorded; a copy of the whole finds it.
	 */
	if (ret && done)
		window_set_present(fill->window, fill->gpa, done);
	if (!ret || !madvise(area, HUGE_BYTES, MADV_DONTNEED))
		__atomic_fetch_and(&stage->taken, ~(1u << index), __ATOMIC_RELEASE);
	return ret;
}
