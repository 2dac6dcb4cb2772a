/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Plug and unplug: a range becomes memory, or is memory no more.
 */
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "mm/broken.h"
#include "mm/operation.h"
#include "mm/trace.h"

static int plug_check(struct guest_mm *mm, struct operation *op, struct samara_error *err)
{
	int ret = range_check(mm, &op->range, err);

	SAMARA_PROBE3(plug, op->range.gpa, op->range.size_bytes, op->prot);
	return ret ? ret : range_check_prot(&op->range, op->prot, err);
}

static int plug_look(struct guest_mm *mm, struct operation *op, struct samara_error *err)
{
	return range_check_free(mm, &op->range, err);
}

/* The range is published and marked: see that it is empty, and that its pages can be had. */
static int prepare_pages(struct guest_mm *mm, struct operation *op, struct samara_error *err)
{
	const struct range *range = &op->range;
	struct window *window = range->window;
	bool shared = window_is_shared(window, range->gpa, range->size_bytes);
	int ret;

	ret = limit_charge(mm, range, err);
	if (ret)
		return ret;
	ret = stray_clear(mm, range->gpa, range->size_bytes);
	/* Shared memory: what another process left there is not to become the guest's. */
	if (!ret && shared)
		ret = window_discard(window, range->gpa, range->size_bytes);
	if (ret) {
		range_error(err, range, ret, "dropping what is there: %s", strerror(-ret));
		goto fail;
	}
	ret = window_reserve(window, range->gpa, range->size_bytes);
	if (ret) {
		range_error(err, range, ret, "the host has too few huge pages: %s", strerror(-ret));
		goto fail_reserved;
	}
	/* What another process puts there the kernel maps by itself, so it must know. */
	if (!(op->prot & GUEST_MM_WRITE) && shared) {
		ret = window_protect(window, range->gpa, range->size_bytes);
		if (ret) {
			window_unprotect(window, range->gpa, range->size_bytes);
			range_error(err, range, ret, "write-protecting it: %s", strerror(-ret));
			goto fail_reserved;
		}
	}
	return 0;
fail_reserved:
	window_forget(window, range->gpa, range->size_bytes);
	if (shared)
		discard_surely(window, range->gpa, range->size_bytes);
fail:
	limit_uncharge(mm, range);
	return ret;
}

static int plug_prepare(struct guest_mm *mm, struct operation *op, struct samara_error *err)
{
	gpa_t gpa = op->range.gpa, last = range_last(&op->range);
	MA_STATE(store, &mm->tree->map, gpa, last);
	struct mem_region *region;
	int ret;

	operation_set_undo(mm, op, &op->range);
	region = region_make(mm, op->range.window, gpa, last, op->prot);
	if (!region || mas_preallocate(&store, region, GFP_KERNEL) ||
	    mas_preallocate(&op->undo, NULL, GFP_KERNEL)) {
		mas_destroy(&store);
		free(region);
		return range_error(err, &op->range, -ENOMEM, "out of memory");
	}
	region_start_write(&region->region);
	mas_store_prealloc(&store, region);
	ret = prepare_pages(mm, op, err);
	if (ret) {
		range_retire(mm, &op->range);
		erase_surely(&op->undo);
	}
	return ret;
}

static void plug_undo(struct guest_mm *mm, struct operation *op)
{
	struct window *window = op->range.window;

	window_forget(window, op->range.gpa, op->range.size_bytes);
	if (window_is_shared(window, op->range.gpa, op->range.size_bytes)) {
		discard_surely(window, op->range.gpa, op->range.size_bytes);
		if (!(op->prot & GUEST_MM_WRITE))
			window_unprotect(window, op->range.gpa, op->range.size_bytes);
	}
	limit_uncharge(mm, &op->range);
	range_retire(mm, &op->range);
	erase_surely(&op->undo);
}

static void plug_commit(struct guest_mm *mm, struct operation *op)
{
	(void)mm;
	mas_destroy(&op->undo);
}

const struct operation_kind plug_operation = {
	.check = plug_check,
	.look = plug_look,
	.prepare = plug_prepare,
	.undo = plug_undo,
	.commit = plug_commit,
	.counter = offsetof(struct mm_counters, plugs),
};

int guest_mm_plug(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes, unsigned int prot,
		  struct samara_error *err)
{
	struct operation op = {
		.kind = &plug_operation,
		.range = {.operation = "plug", .gpa = gpa, .size_bytes = size_bytes},
		.prot = prot,
	};

	return operations_run(mm, &op, 1, err);
}

static int unplug_check(struct guest_mm *mm, struct operation *op, struct samara_error *err)
{
	SAMARA_PROBE2(unplug, op->range.gpa, op->range.size_bytes);
	return range_check(mm, &op->range, err);
}

static int unplug_look(struct guest_mm *mm, struct operation *op, struct samara_error *err)
{
	return range_check_plugged(mm, &op->range, err);
}

static int unplug_prepare(struct guest_mm *mm, struct operation *op, struct samara_error *err)
{
	int ret = range_isolate(mm, &op->range);

	operation_set_erase(mm, op, &op->range);
	if (!ret)
		ret = mas_preallocate(&op->erase, NULL, GFP_KERNEL);
	return ret ? range_error(err, &op->range, ret, "%s", strerror(-ret)) : 0;
}

static void unplug_undo(struct guest_mm *mm, struct operation *op)
{
	(void)mm;
	mas_destroy(&op->erase);
}

/* Nobody populates the range while its regions are marked, and nobody reads its bits. */
static int unplug_drop(struct guest_mm *mm, struct operation *op)
{
	(void)mm;
	if (BROKEN_DISCARD)
		return 0;
	return window_drop(op->range.window, op->range.gpa, op->range.size_bytes);
}

static void unplug_commit(struct guest_mm *mm, struct operation *op)
{
	struct window *window = op->range.window;
	bool shared = window_is_shared(window, op->range.gpa, op->range.size_bytes);
	struct mem_region *region;

	window_forget(window, op->range.gpa, op->range.size_bytes);
	/* In shared memory a protection outlives its page. */
	for_each_region_in(mm, &op->range, region)
	{
		if (shared && !(region->prot & GUEST_MM_WRITE))
			window_unprotect(window, region->region.first,
					 region->region.last - region->region.first + 1);
		region_retire(&region->region);
	}
	erase_surely(&op->erase);
	limit_uncharge(mm, &op->range);
}

const struct operation_kind unplug_operation = {
	.check = unplug_check,
	.look = unplug_look,
	.prepare = unplug_prepare,
	.undo = unplug_undo,
	.drop = unplug_drop,
	.commit = unplug_commit,
	.counter = offsetof(struct mm_counters, unplugs),
};

int guest_mm_unplug(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes, struct samara_error *err)
{
	struct operation op = {
		.kind = &unplug_operation,
		.range = {.operation = "unplug", .gpa = gpa, .size_bytes = size_bytes},
	};

	return operations_run(mm, &op, 1, err);
}
