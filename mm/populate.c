/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Putting pages behind guest memory. A system call costs more than a page, so a fault brings its
 * neighbours along (fault-around): 16 pages at first, twice as many each time the block before is
 * there already, as it is when a guest walks through its memory, up to what the configuration
 * allows. A guest that touches here and there pays for 16.
 */
#include <errno.h>

#include "mm/mm.h"

#define AROUND_MIN_BYTES (16 * SAMARA_PAGE_BYTES)

static bool can_write(const struct mem_region *region)
{
	return __atomic_load_n(&region->prot, __ATOMIC_RELAXED) & GUEST_MM_WRITE;
}

/*
 * Populate a range without looking which pages are there.
 *
 * Who waits is woken when the bits are set, not by the copy: a guest that walks on faults at the
 * next block at once, and another handler would not see the block before it.
 */
static int populate_run(struct guest_mm *mm, struct mem_region *region, gpa_t gpa,
			uint64_t size_bytes)
{
	uint64_t done, total = 0;
	int ret;

	while (total < size_bytes) {
		uint64_t chunk = size_bytes - total;

		if (chunk > mm->around_bytes)
			chunk = mm->around_bytes;
		ret = uffd_copy(&mm->uffd, window_hva(region->window, gpa + total), mm->zeros,
				chunk, !can_write(region) && region->window->can_protect, &done);
		if (ret && ret != -EEXIST)
			return ret;
		if (!ret)
			mm_count(&mm->counters.fault_pages, done >> SAMARA_PAGE_SHIFT);
		window_set_present(region->window, gpa + total, done);
		uffd_wake(&mm->uffd, window_hva(region->window, gpa + total), done);
		total += done;
	}
	return 0;
}

int populate_range(struct guest_mm *mm, struct mem_region *region, gpa_t gpa, uint64_t size_bytes)
{
	gpa_t end = gpa + size_bytes;
	uint64_t run;
	int ret;

	for (;;) {
		gpa = window_next_run(region->window, gpa, end, false, &run);
		if (!run)
			return 0;
		ret = populate_run(mm, region, gpa, run);
		if (ret)
			return ret;
		gpa += run;
	}
}

/* The aligned block around @gpa, cut to what is held. */
static void block_around(gpa_t gpa, uint64_t size_bytes, gpa_t first, gpa_t last, gpa_t *start,
			 gpa_t *end)
{
	*start = gpa & ~(size_bytes - 1);
	*end = *start + size_bytes;
	if (*start < first)
		*start = first;
	if (*end - 1 > last || !*end)
		*end = last + 1;
}

/* Whether the guest came from the block before, or (walking downwards) from the one behind. */
static bool neighbour_present(const struct mem_region *region, gpa_t start, gpa_t end)
{
	/* A hint: what is beside may be changing, or another region's by now. */
	return (start > region->region.first &&
		window_present(region->window, start - SAMARA_PAGE_BYTES)) ||
	       (end - 1 < region->region.last && window_present(region->window, end));
}

int populate_around(struct guest_mm *mm, struct mem_region *region, gpa_t gpa, gpa_t first,
		    gpa_t last)
{
	gpa_t page = gpa & ~(SAMARA_PAGE_BYTES - 1), start, end, at;
	uint64_t size_bytes = AROUND_MIN_BYTES, run;
	int ret;

	if (size_bytes > mm->around_bytes)
		size_bytes = mm->around_bytes;
	block_around(page, size_bytes, first, last, &start, &end);
	while (size_bytes < mm->around_bytes && neighbour_present(region, start, end)) {
		size_bytes *= 2;
		block_around(page, size_bytes, first, last, &start, &end);
	}
	/*
	 * The run of missing pages that @page is in: one system call, and none that is there
	 * already.
	 */
	for (at = page; at > start && !window_present(region->window, at - SAMARA_PAGE_BYTES);)
		at -= SAMARA_PAGE_BYTES;
	if (window_present(region->window, page)) {
		/*
		 * Another thread was faster, or the bit is older than the message. Trust the
		 * kernel.
		 */
		run = SAMARA_PAGE_BYTES;
		at = page;
	} else {
		window_next_run(region->window, at, end, false, &run);
	}
	ret = populate_run(mm, region, at, run);
	if (ret == -ENOMEM && run > SAMARA_PAGE_BYTES)
		ret = populate_run(mm, region, page, SAMARA_PAGE_BYTES);
	return ret;
}
