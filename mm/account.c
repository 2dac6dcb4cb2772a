/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The limit, and how much memory there is of which kind.
 *
 * The limit counts what is plugged, not what is populated: what is plugged the guest may populate
 * at any time, by touching it. So it is kept when something is plugged, where an error can be
 * given, and no fault ever meets it.
 */
#include <errno.h>
#include <inttypes.h>
#include <unistd.h>

#include "mm/operation.h"
#include "mm/pagemap.h"

static uint64_t load(const uint64_t *value)
{
	return __atomic_load_n(value, __ATOMIC_RELAXED);
}

int limit_charge(struct guest_mm *mm, const struct range *range, struct samara_error *err)
{
	uint64_t plugged = load(&mm->plugged_bytes), limit = load(&mm->limit_bytes);

	if (range->size_bytes > limit || plugged > limit - range->size_bytes)
		return range_error(err, range, -EDQUOT,
				   "the limit is %" PRIu64 " bytes, %" PRIu64 " are plugged", limit,
				   plugged);
	__atomic_store_n(&mm->plugged_bytes, plugged + range->size_bytes, __ATOMIC_RELAXED);
	return 0;
}

void limit_uncharge(struct guest_mm *mm, const struct range *range)
{
	__atomic_store_n(&mm->plugged_bytes, load(&mm->plugged_bytes) - range->size_bytes,
			 __ATOMIC_RELAXED);
}

int guest_mm_set_limit(struct guest_mm *mm, uint64_t bytes, struct samara_error *err)
{
	uint64_t plugged;
	int ret = 0;

	lock_tree_write(mm->tree);
	plugged = load(&mm->plugged_bytes);
	if (plugged > bytes)
		ret = samara_error_set(err, -EDQUOT,
				       "limit %" PRIu64 " bytes: %" PRIu64 " are plugged already",
				       bytes, plugged);
	else
		__atomic_store_n(&mm->limit_bytes, bytes, __ATOMIC_RELAXED);
	unlock_tree_write(mm->tree);
	return ret;
}

struct usage {
	gpa_t first, last;
	int pagemap;
	struct guest_mm *mm;
	struct guest_mm_usage *sum;
};

static int add_region(const struct guest_mm_region *region, void *arg)
{
	struct usage *usage = arg;
	struct guest_mm_usage *sum = usage->sum;
	gpa_t first = region->gpa, last = first + region->size_bytes - 1;
	struct window *window;
	uint64_t bytes, pages;
	int64_t huge;

	if (last < usage->first || first > usage->last)
		return 0;
	first = first < usage->first ? usage->first : first;
	last = last > usage->last ? usage->last : last;
	bytes = last - first + 1;
	window = mm_window(usage->mm, first, bytes);
	pages = page_bitmap_count(&window->present, first, bytes);
	sum->regions++;
	sum->plugged_pages += bytes >> SAMARA_PAGE_SHIFT;
	sum->populated_pages += pages;
	sum->discarded_pages += page_bitmap_count(&window->discarded, first, bytes);
	/* Reserved huge pages are what they are, mapped yet or not. */
	huge = window->own.page_bytes > SAMARA_PAGE_BYTES
		       ? (int64_t)pages
		       : pagemap_huge_pages(usage->pagemap, window_hva(window, first), bytes);
	sum->huge_pages += huge > 0 ? (uint64_t)huge : 0;
	while (bytes) {
		uint64_t piece = bytes;

		if (window_backing(window, first, &piece)->shared)
			sum->shared_pages += page_bitmap_count(&window->present, first, piece);
		first += piece;
		bytes -= piece;
	}
	return 0;
}

int guest_mm_get_usage(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes,
		       struct guest_mm_usage *sum, struct samara_error *err)
{
	struct usage usage = {.first = gpa, .last = gpa + size_bytes - 1, .mm = mm, .sum = sum};

	*sum = (struct guest_mm_usage){0};
	if (!size_bytes || usage.last < gpa || (gpa | size_bytes) & (SAMARA_PAGE_BYTES - 1))
		return samara_error_set(err, -EINVAL,
					"usage of %#" PRIx64 "+%#" PRIx64
					": empty, not page aligned, or past the end of the "
					"address space",
					gpa, size_bytes);
	usage.pagemap = pagemap_open();
	guest_mm_for_each_region(mm, add_region, &usage);
	if (usage.pagemap >= 0)
		close(usage.pagemap);
	return 0;
}
