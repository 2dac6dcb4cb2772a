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
	if ((range->gpa | range->size_bytes) & (range->window->own.page_bytes - 1))
		return range_error(err, range, -EINVAL,
				   "not aligned to the window's pages of %" PRIu64 " bytes",
				   range->window->own.page_bytes);
	return 0;
}

int range_check_prot(const struct range *range, unsigned int prot, struct samara_error *err)
{
	if (prot != GUEST_MM_RDWR && prot != GUEST_MM_READ)
		return range_error(err, range, -EINVAL,
				   "protection %#x is neither read-write nor read-only", prot);
	if (prot == GUEST_MM_READ && !range->window->can_protect)
		return range_error(
			err, range, -EOPNOTSUPP,
			"this kernel cannot write-protect shared memory (Linux 5.19 can)");
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

static bool are_alike(const struct mem_region *low, const struct mem_region *high)
{
	return low->region.last + 1 == high->region.first && low->window == high->window &&
	       low->prot == high->prot;
}

void range_merge(struct guest_mm *mm, const struct range *range)
{
	gpa_t first = range->gpa ? range->gpa - 1 : 0, last = range_last(range);
	MA_STATE(mas, &mm->tree->map, first, first);
	struct mem_region *low, *high;

	/* From the neighbour on one side to that on the other, in one walk if nothing is united. */
	last += last != UINT64_MAX;
	low = mem_region_of(mas_find(&mas, last));
	while (low && (high = mem_region_of(mas_find(&mas, last)))) {
		first = low->region.first;
		if (are_alike(low, high) && region_unite(&low->region, &high->region, make_part)) {
			mas_set(&mas, first);
			low = mem_region_of(mas_find(&mas, last));
		} else {
			low = high;
		}
	}
}
