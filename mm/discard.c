/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Discard: the pages of a range go back to the host, the range stays memory. A balloon asks for it
 * one page at a time and by the hundred thousand, so nothing is cut, allocated or stored: the
 * regions are locked as they are.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "mm/operation.h"

/* Lock the regions of a plugged range, whole. */
static void lock_regions(struct guest_mm *mm, const struct range *range)
{
	MA_STATE(mas, &mm->tree->map, range->gpa, range->gpa);
	struct region *region;

	while ((region = mas_find(&mas, range_last(range))))
		region_start_write(region);
	region_drain(mm->tree);
}

/* What is read-only does not change, so it is not discarded either. */
static int check_writable(struct guest_mm *mm, const struct range *range, struct samara_error *err)
{
	MA_STATE(mas, &mm->tree->map, range->gpa, range->gpa);
	struct region *region;

	while ((region = mas_find(&mas, range_last(range))))
		if (!(mem_region_of(region)->prot & GUEST_MM_WRITE))
			return range_error(err, range, -EACCES,
					   "memory at %#" PRIx64 "+%#" PRIx64 " is read-only",
					   region->first, region->last - region->first + 1);
	return 0;
}

int guest_mm_discard(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes, struct samara_error *err)
{
	struct range range = {.operation = "discard", .gpa = gpa, .size_bytes = size_bytes};
	int ret;

	ret = range_check(mm, &range, err);
	if (ret)
		return operation_refuse(mm, ret);
	lock_tree_write(mm->tree);
	ret = range_check_plugged(mm, &range, err);
	if (!ret)
		ret = check_writable(mm, &range, err);
	if (ret)
		goto out;
	lock_regions(mm, &range);
	ret = window_discard(range.window, gpa, size_bytes);
	if (ret)
		range_error(err, &range, ret, "giving the pages back: %s", strerror(-ret));
	else
		window_clear_present(range.window, gpa, size_bytes);
out:
	return operation_end(mm, ret, &mm->counters.discards);
}
