/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Putting pages behind guest memory. A system call costs more than a page, so a fault brings its
 * neighbours along: how many, mm/around.h says.
 */
#include <errno.h>

#include "mm/mm.h"

static bool can_write(const struct mem_region *region)
{
	return region->prot & GUEST_MM_WRITE;
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
	struct window *window = region->window;
	bool protect = !can_write(region) && window->can_protect;
	uint64_t done, total = 0;
	int ret;

	while (total < size_bytes) {
		uint64_t chunk = size_bytes - total;

		if (chunk > mm->zeros_bytes)
			chunk = mm->zeros_bytes;
		ret = window_fill(mm, window, gpa + total, chunk, protect, &done);
		if (ret && ret != -EEXIST)
			return ret;
		if (!ret)
			mm_count(&mm->counters.fault_pages, done >> SAMARA_PAGE_SHIFT);
		window_wake(window, gpa + total, done);
		total += done;
	}
	return 0;
}

int populate_range(struct guest_mm *mm, struct mem_region *region, gpa_t gpa, uint64_t size_bytes)
{
	struct window *window = region->window;
	uint64_t page_bytes = window->own.page_bytes, run;
	gpa_t end = (gpa + size_bytes + page_bytes - 1) & ~(page_bytes - 1);
	int ret;

	gpa &= ~(page_bytes - 1);
	for (;;) {
		gpa = page_bitmap_next_run(&window->present, gpa, end, false, &run);
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

/* Whether a fault beside a page may bring it along. */
static bool may_come(const struct window *window, gpa_t page)
{
	return !window_present(window, page) && !page_bitmap_test(&window->lent, page);
}

/* Cut a run of missing pages before the first one behind @page that is lent. */
static uint64_t cut_before_lent(const struct window *window, gpa_t first, uint64_t run, gpa_t page)
{
	uint64_t lent_bytes;
	gpa_t lent;

	if (!__atomic_load_n(&window->lent.set, __ATOMIC_RELAXED))
		return run;
	page += window->own.page_bytes;
	if (page - first >= run)
		return run;
	lent = page_bitmap_next_run(&window->lent, page, first + run, true, &lent_bytes);
	return lent_bytes ? lent - first : run;
}

/*
 * Whether the 2 MiB at @gpa, in what is held, are wholly free and may become a huge page: it costs the
 * host less than half as many small ones, spares the guest further faults and TLB misses, and small
 * ones would leave a page table in its way (mm/backing_anon.c). Memory that nobody manages gets one
 * as well.
 */
static bool comes_huge(struct guest_mm *mm, struct mem_region *region, gpa_t gpa, gpa_t first,
		       gpa_t last)
{
	struct window *window = region->window;
	struct fill fill = {
		.mm = mm,
		.window = window,
		.gpa = gpa,
		.size_bytes = HUGE_BYTES,
		.protect = !can_write(region) && window->can_protect,
	};
	const struct backing *backing;

	if (mm->around_bytes < HUGE_BYTES || gpa < first || gpa > last ||
	    last - gpa < HUGE_BYTES - 1)
		return false;
	backing = window_backing(window, gpa, &fill.size_bytes);
	return backing->ops->comes_huge && !page_bitmap_count(&window->present, gpa, HUGE_BYTES) &&
	       !page_bitmap_count(&window->lent, gpa, HUGE_BYTES) &&
	       backing->ops->comes_huge(backing, &fill);
}

/* Populate 2 MiB. Return: whether they came as a huge page, as was hoped, so that the next may. */
static bool fill_huge(struct guest_mm *mm, struct mem_region *region, gpa_t gpa)
{
	uint64_t done;

	if (window_fill(mm, region->window, gpa, HUGE_BYTES, false, &done))
		return false;
	mm_count(&mm->counters.fault_pages, done >> SAMARA_PAGE_SHIFT);
	return done == HUGE_BYTES && !page_bitmap_test(&region->window->tables, gpa);
}

/* What of the 2 MiB beside [*start, *end) comes huge as well, up to @most in all. */
static void widen(struct guest_mm *mm, struct mem_region *region, gpa_t first, gpa_t last,
		  uint64_t most, bool down, gpa_t *start, gpa_t *end)
{
	while (*end - *start + HUGE_BYTES <= most) {
		if (down && *start && comes_huge(mm, region, *start - HUGE_BYTES, first, last))
			*start -= HUGE_BYTES;
		else if (!down && comes_huge(mm, region, *end, first, last))
			*end += HUGE_BYTES;
		else
			return;
	}
}

/*
 * The 2 MiB that @page is in, and for a walk those that it comes to next, as far as the caller has got
 * hold of them. Its own come last, and nobody is woken before all is there: a guest that walks on would
 * meet us in the next 2 MiB. (Interrupts wake a vCPU as well, and it looks again.)
 *
 * Return: whether the page is there.
 */
static bool populate_huge(struct guest_mm *mm, struct mem_region *region, gpa_t page, gpa_t first,
			  gpa_t last)
{
	struct window *window = region->window;
	gpa_t own = page & ~(HUGE_BYTES - 1), start = own, end = own + HUGE_BYTES;
	uint64_t most;
	bool down, ok = true;

	if (!comes_huge(mm, region, own, first, last))
		return false;
	most = around_bytes(&window->around, page, mm->around_bytes, &down);
	widen(mm, region, first, last, most, down, &start, &end);
	around_filled(&window->around, page, start, end - start, end - start);
	for (gpa_t at = end - HUGE_BYTES; ok && at > own; at -= HUGE_BYTES)
		ok = fill_huge(mm, region, at);
	for (gpa_t at = start; ok && at < own; at += HUGE_BYTES)
		ok = fill_huge(mm, region, at);
	fill_huge(mm, region, own);
	window_wake(window, start, end - start);
	return window_present(window, page);
}

void populate_block(const struct guest_mm *mm, gpa_t gpa, gpa_t *first, gpa_t *last)
{
	uint64_t block = mm->around_bytes > mm->page_bytes ? mm->around_bytes : mm->page_bytes;

	*first = gpa & ~(block - 1);
	*last = *first + (block - 1);
}

bool populate_ahead(const struct guest_mm *mm, const struct window *window, gpa_t gpa, gpa_t *first,
		    gpa_t *last)
{
	uint64_t bytes, block = *last - *first + 1;
	bool down;

	bytes = around_bytes(&window->around, gpa & ~(SAMARA_PAGE_BYTES - 1), mm->around_bytes,
			     &down);
	/* A block may begin before the window does. */
	if (bytes <= block || !window->stage.area || (down && *first <= window->gpa))
		return false;
	bytes -= block;
	if (down)
		*first = *first - window->gpa > bytes ? *first - bytes : window->gpa;
	else
		*last = bytes < UINT64_MAX - *last ? *last + bytes : UINT64_MAX;
	return true;
}

int populate_around(struct guest_mm *mm, struct mem_region *region, gpa_t gpa, gpa_t first,
		    gpa_t last)
{
	struct window *window = region->window;
	uint64_t page_bytes = window->own.page_bytes, size_bytes, run;
	gpa_t page = gpa & ~(page_bytes - 1), start, end, at;
	bool down;
	int ret;

	if (populate_huge(mm, region, page, first, last))
		return 0;
	size_bytes = around_bytes(&window->around, page, mm->around_bytes, &down);
	if (size_bytes > mm->around_bytes)
		size_bytes = mm->around_bytes;
	if (size_bytes < page_bytes)
		size_bytes = page_bytes;
	block_around(page, size_bytes, first, last, &start, &end);
	/*
	 * The run of missing pages that @page is in: one system call, and none that is there
	 * already or that the guest has lent.
	 */
	for (at = page; at > start && may_come(window, at - SAMARA_PAGE_BYTES);)
		at -= SAMARA_PAGE_BYTES;
	if (window_present(window, page)) {
		/*
		 * Another thread was faster, or the bit is older than the message. Trust the
		 * kernel.
		 */
		run = page_bytes;
		at = page;
	} else {
		page_bitmap_next_run(&window->present, at, end, false, &run);
		run = cut_before_lent(window, at, run, page);
		around_filled(&window->around, page, at, run, size_bytes);
	}
	ret = populate_run(mm, region, at, run);
	if (ret == -ENOMEM && run > page_bytes)
		ret = populate_run(mm, region, page, page_bytes);
	return ret;
}
