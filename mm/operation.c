/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "mm/operation.h"
#include "mm/region_cut.h"

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

static struct region *make_part(const struct region *like, gpa_t first, gpa_t last)
{
	const struct mem_region *region = (const struct mem_region *)like;
	struct mem_region *part = malloc(sizeof(*part));

	if (!part)
		return NULL;
	region_init(&part->region, like->tree, first, last, NULL);
	part->window = region->window;
	part->prot = region->prot;
	return &part->region;
}

int range_isolate(struct guest_mm *mm, const struct range *range)
{
	return region_isolate(mm->tree, range->gpa, range_last(range), make_part);
}

/* Unite the region that ends before @at with the one that starts there, if they are alike. */
static void merge_at(struct guest_mm *mm, gpa_t at)
{
	struct mem_region *low, *high;

	if (!at)
		return;
	low = mem_region_of(region_find(mm->tree, at - 1));
	high = mem_region_of(region_find(mm->tree, at));
	if (low && high && low != high && low->window == high->window && low->prot == high->prot)
		region_unite(&low->region, &high->region, make_part);
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
