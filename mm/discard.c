/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Discard: the pages of a range go back to the host, the range stays memory.
 */
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "mm/operation.h"

static int discard_check(struct guest_mm *mm, struct operation *op, struct samara_error *err)
{
	return range_check(mm, &op->range, err);
}

/* What is read-only does not change, so it is not discarded either. */
static int discard_look(struct guest_mm *mm, struct operation *op, struct samara_error *err)
{
	const struct range *range = &op->range;
	MA_STATE(mas, &mm->tree->map, range->gpa, range->gpa);
	struct region *region;
	int ret = range_check_plugged(mm, range, err);

	while (!ret && (region = mas_find(&mas, range_last(range))))
		if (!(mem_region_of(region)->prot & GUEST_MM_WRITE))
			ret = range_error(err, range, -EACCES,
					  "memory at %#" PRIx64 "+%#" PRIx64 " is read-only",
					  region->first, region->last - region->first + 1);
	return ret;
}

static int discard_prepare(struct guest_mm *mm, struct operation *op, struct samara_error *err)
{
	int ret = range_isolate(mm, &op->range);

	return ret ? range_error(err, &op->range, ret, "%s", strerror(-ret)) : 0;
}

static void discard_undo(struct guest_mm *mm, struct operation *op)
{
	(void)mm;
	(void)op;
}

static int discard_drop(struct guest_mm *mm, struct operation *op)
{
	(void)mm;
	return window_drop(op->range.window, op->range.gpa, op->range.size_bytes);
}

static void discard_commit(struct guest_mm *mm, struct operation *op)
{
	struct window *window = op->range.window;

	page_bitmap_clear(&window->present, op->range.gpa, op->range.size_bytes);
	page_bitmap_set(&window->discarded, op->range.gpa, op->range.size_bytes);
	if (op->lend)
		page_bitmap_set(&window->lent, op->range.gpa, op->range.size_bytes);
	mm_count(&mm->counters.discarded_pages, op->range.size_bytes >> SAMARA_PAGE_SHIFT);
}

const struct operation_kind discard_operation = {
	.check = discard_check,
	.look = discard_look,
	.prepare = discard_prepare,
	.undo = discard_undo,
	.drop = discard_drop,
	.commit = discard_commit,
	.counter = offsetof(struct mm_counters, discards),
};

static int discard(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes, bool lend,
		   struct samara_error *err)
{
	struct operation op = {
		.kind = &discard_operation,
		.range = {.operation = "discard", .gpa = gpa, .size_bytes = size_bytes},
		.lend = lend,
	};

	return operations_run(mm, &op, 1, err);
}

int guest_mm_discard(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes, struct samara_error *err)
{
	return discard(mm, gpa, size_bytes, false, err);
}

int guest_mm_lend(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes, struct samara_error *err)
{
	return discard(mm, gpa, size_bytes, true, err);
}

void guest_mm_take_back(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes)
{
	gpa_t last = size_bytes ? gpa + (size_bytes - 1) : gpa;

	if (!size_bytes || last < gpa)
		return;
	for (unsigned int i = 0; i < mm->window_count; i++) {
		struct window *window = &mm->windows[i];
		gpa_t window_last = window->gpa + (window->size_bytes - 1);
		gpa_t from = gpa > window->gpa ? gpa : window->gpa;
		gpa_t to = last < window_last ? last : window_last;

		if (from <= to)
			window_take_back(window, from, to - from + 1);
	}
}
