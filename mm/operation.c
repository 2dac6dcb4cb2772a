/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "mm/operation.h"

int range_error(struct samara_error *err, const struct range *range, int code, const char *fmt, ...)
{
	char reason[160];
	va_list args;

	va_start(args, fmt);
	vsnprintf(reason, sizeof(reason), fmt, args);
	va_end(args);
	return samara_error_set(err, code, "%s %#" PRIx64 "+%#" PRIx64 ": %s", range->operation,
				range->gpa, range->size_bytes, reason);
}

int range_check(struct guest_mm *mm, struct range *range, struct samara_error *err)
{
	if (!range->size_bytes)
		return range_error(err, range, -EINVAL, "the range is empty");
	if ((range->gpa | range->size_bytes) & (SAMARA_PAGE_BYTES - 1))
		return range_error(err, range, -EINVAL, "not aligned to pages of %" PRIu64 " bytes",
				   SAMARA_PAGE_BYTES);
	if (range->gpa + range->size_bytes - 1 < range->gpa)
		return range_error(err, range, -EINVAL, "past the end of the address space");
	range->window = mm_window(mm, range->gpa, range->size_bytes);
	if (!range->window)
		return range_error(err, range, -ERANGE,
				   "not within one of the windows that memory can be in");
	return 0;
}

int range_check_free(struct guest_mm *mm, const struct range *range, struct samara_error *err)
{
	MA_STATE(mas, &mm->tree->map, range->gpa, range->gpa);
	struct region *region = mas_find(&mas, range_last(range));

	if (!region)
		return 0;
	return range_error(err, range, -EEXIST,
			   "memory is plugged at %#" PRIx64 "+%#" PRIx64 " already", region->first,
			   region->last - region->first + 1);
}

int range_check_plugged(struct guest_mm *mm, const struct range *range, struct samara_error *err)
{
	MA_STATE(mas, &mm->tree->map, range->gpa, range->gpa);
	gpa_t covered = range->gpa;
	struct region *region;

	while ((region = mas_find(&mas, range_last(range))) && region->first <= covered) {
		if (region->last >= range_last(range))
			return 0;
		covered = region->last + 1;
	}
	return range_error(err, range, -ENOENT, "nothing is plugged at %#" PRIx64, covered);
}

int operation_end(struct guest_mm *mm, int ret, uint64_t *counter)
{
	unlock_tree_write(mm->tree);
	fault_service_retry(mm);
	mm_count(ret ? &mm->counters.failed_operations : counter, 1);
	return ret;
}

int operation_refuse(struct guest_mm *mm, int ret)
{
	mm_count(&mm->counters.failed_operations, 1);
	return ret;
}

struct mem_region *region_make(struct guest_mm *mm, struct window *window, gpa_t first, gpa_t last,
			       unsigned int prot)
{
	struct mem_region *region = malloc(sizeof(*region));

	if (!region)
		return NULL;
	region_init(&region->region, mm->tree, first, last, NULL);
	region->window = window;
	region->prot = prot;
	return region;
}

struct mem_region *region_next(struct guest_mm *mm, gpa_t gpa, gpa_t last)
{
	MA_STATE(mas, &mm->tree->map, gpa, gpa);

	return mem_region_of(mas_find(&mas, last));
}

/* Cut the region that covers both sides of @at in two. */
static int split_at(struct guest_mm *mm, gpa_t at)
{
	struct mem_region *old = mem_region_of(region_find(mm->tree, at)), *low, *high;
	MA_STATE(low_mas, &mm->tree->map, 0, 0);
	MA_STATE(high_mas, &mm->tree->map, 0, 0);
	int ret = -ENOMEM;

	if (!old || old->region.first == at)
		return 0;
	low = region_make(mm, old->window, old->region.first, at - 1, old->prot);
	high = region_make(mm, old->window, at, old->region.last, old->prot);
	if (!low || !high)
		goto fail;
	mas_set_range(&low_mas, low->region.first, low->region.last);
	mas_set_range(&high_mas, high->region.first, high->region.last);
	ret = mas_preallocate(&low_mas, low, GFP_KERNEL);
	if (ret)
		goto fail;
	ret = mas_preallocate(&high_mas, high, GFP_KERNEL);
	if (ret)
		goto fail;
	region_start_write(&old->region);
	region_drain(mm->tree);
	mas_store_prealloc(&low_mas, low);
	mas_store_prealloc(&high_mas, high);
	region_retire(&old->region);
	return 0;
fail:
	mas_destroy(&low_mas);
	free(low);
	free(high);
	return ret;
}

int range_isolate(struct guest_mm *mm, const struct range *range)
{
	struct mem_region *region;
	int ret;

	ret = split_at(mm, range->gpa);
	if (!ret && range_last(range) != UINT64_MAX)
		ret = split_at(mm, range_last(range) + 1);
	if (ret)
		return ret;
	for_each_region_in(mm, range, region) region_start_write(&region->region);
	region_drain(mm->tree);
	return 0;
}

/* Unite the region that ends before @at with the one that starts there, if that is easy. */
static void merge_at(struct guest_mm *mm, gpa_t at)
{
	struct mem_region *low, *high, *whole;
	MA_STATE(mas, &mm->tree->map, 0, 0);

	if (!at)
		return;
	low = mem_region_of(region_find(mm->tree, at - 1));
	high = mem_region_of(region_find(mm->tree, at));
	if (!low || !high || low == high || low->window != high->window || low->prot != high->prot)
		return;
	whole = region_make(mm, low->window, low->region.first, high->region.last, low->prot);
	if (!whole)
		return;
	mas_set_range(&mas, whole->region.first, whole->region.last);
	if (mas_preallocate(&mas, whole, GFP_KERNEL)) {
		free(whole);
		return;
	}
	if (!region_try_start_write(&low->region) || !region_try_start_write(&high->region)) {
		mas_destroy(&mas);
		free(whole);
		return;
	}
	mas_store_prealloc(&mas, whole);
	region_retire(&low->region);
	region_retire(&high->region);
}

void range_merge(struct guest_mm *mm, const struct range *range)
{
	struct mem_region *region;
	gpa_t at = range->gpa;

	for (;;) {
		merge_at(mm, at);
		if (at > range_last(range))
			break;
		region = region_next(mm, at, range_last(range));
		if (!region || region->region.last == UINT64_MAX)
			break;
		at = region->region.last + 1;
	}
}
