/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The limit, and how much memory there is of which kind.
 *
 * The limit counts what is plugged, not what is populated: what is plugged the guest may populate
 * at any time, by touching it. So it is kept when something is plugged, where an error can be
 * given, and no fault ever meets it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/types.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "mm/operation.h"

/* Linux include/uapi/linux/fs.h, 6.7 */
#ifndef PAGEMAP_SCAN
#define PAGE_IS_PRESENT (1 << 3)
#define PAGE_IS_HUGE    (1 << 6)

struct page_region {
	__u64 start;
	__u64 end;
	__u64 categories;
};

struct pm_scan_arg {
	__u64 size;
	__u64 flags;
	__u64 start;
	__u64 end;
	__u64 walk_end;
	__u64 vec;
	__u64 vec_len;
	__u64 max_pages;
	__u64 category_inverted;
	__u64 category_mask;
	__u64 category_anyof_mask;
	__u64 return_mask;
};

#define PAGEMAP_SCAN _IOWR('f', 16, struct pm_scan_arg)
#endif

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

/* The pages of a mapping that are parts of huge ones; 0 where the kernel does not tell. */
static uint64_t count_huge(int pagemap, const char *hva, uint64_t size_bytes)
{
	struct page_region found[64];
	uint64_t at = (uintptr_t)hva, end = at + size_bytes, pages = 0;

	while (pagemap >= 0 && at < end) {
		struct pm_scan_arg scan = {
			.size = sizeof(scan),
			.start = at,
			.end = end,
			.vec = (uintptr_t)found,
			.vec_len = sizeof(found) / sizeof(found[0]),
			.category_mask = PAGE_IS_HUGE | PAGE_IS_PRESENT,
			.return_mask = PAGE_IS_HUGE,
		};
		int count = ioctl(pagemap, PAGEMAP_SCAN, &scan);

		if (count <= 0)
			break;
		for (int i = 0; i < count; i++)
			pages += (found[i].end - found[i].start) >> SAMARA_PAGE_SHIFT;
		at = scan.walk_end > at ? scan.walk_end : end;
	}
	return pages;
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
	sum->huge_pages += window->own.page_bytes > SAMARA_PAGE_BYTES
				   ? pages
				   : count_huge(usage->pagemap, window_hva(window, first), bytes);
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
	usage.pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	guest_mm_for_each_region(mm, add_region, &usage);
	if (usage.pagemap >= 0)
		close(usage.pagemap);
	return 0;
}
