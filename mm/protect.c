/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Protect: who may write to a range. Pages that are there are write-protected by userfaultfd; those
 * that come later, when they come.
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "mm/operation.h"
#include "mm/trace.h"

static uint64_t region_bytes(const struct mem_region *region)
{
	return region->region.last - region->region.first + 1;
}

static int protect_check(struct guest_mm *mm, struct operation *op, struct samara_error *err)
{
	int ret = range_check(mm, &op->range, err);

	SAMARA_PROBE3(protect, op->range.gpa, op->range.size_bytes, op->prot);
	return ret ? ret : range_check_prot(&op->range, op->prot, err);
}

static int protect_look(struct guest_mm *mm, struct operation *op, struct samara_error *err)
{
	return range_check_plugged(mm, &op->range, err);
}

/* Lifting a protection, that of a region or one that failed half-way, does not fail. */
static void protect_undo(struct guest_mm *mm, struct operation *op)
{
	free(op->region);
	mas_destroy(&op->erase);
	if (!(op->prot & GUEST_MM_WRITE))
		range_unprotect_writable(mm, &op->range);
}

static int protect_pages(struct guest_mm *mm, struct operation *op)
{
	struct mem_region *region;
	int ret = 0;

	if (op->prot & GUEST_MM_WRITE)
		return 0;
	for_each_region_in(mm, &op->range, region)
	{
		if (region->prot & GUEST_MM_WRITE)
			ret = window_protect(region->window, region->region.first,
					     region_bytes(region));
		if (ret)
			return ret;
	}
	return 0;
}

static int protect_prepare(struct guest_mm *mm, struct operation *op, struct samara_error *err)
{
	const struct range *range = &op->range;
	int ret = range_isolate(mm, range);

	if (ret)
		return range_error(err, range, ret, "%s", strerror(-ret));
	operation_set_erase(mm, op, range);
	op->region = region_make(mm, range->window, range->gpa, range_last(range), op->prot);
	if (!op->region || mas_preallocate(&op->erase, op->region, GFP_KERNEL))
		ret = -ENOMEM;
	if (!ret)
		ret = protect_pages(mm, op);
	if (ret) {
		range_error(err, range, ret, "%s", strerror(-ret));
		protect_undo(mm, op);
	}
	return ret;
}

/* One region, whose protection never changes, in the place of those that were: one store. */
static void protect_commit(struct guest_mm *mm, struct operation *op)
{
	struct mem_region *region;

	for_each_region_in(mm, &op->range, region)
	{
		if (op->prot & GUEST_MM_WRITE && !(region->prot & GUEST_MM_WRITE))
			window_unprotect(region->window, region->region.first,
					 region_bytes(region));
	}
	while (mas_preallocate(&op->erase, op->region, GFP_KERNEL))
		pause_before_retry();
	region_start_write(&op->region->region);
	range_retire(mm, &op->range);
	mas_store_prealloc(&op->erase, op->region);
}

const struct operation_kind protect_operation = {
	.check = protect_check,
	.look = protect_look,
	.prepare = protect_prepare,
	.undo = protect_undo,
	.commit = protect_commit,
	.counter = offsetof(struct mm_counters, protects),
};

int guest_mm_protect(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes, unsigned int prot,
		     struct samara_error *err)
{
	struct operation op = {
		.kind = &protect_operation,
		.range = {.operation = "protect", .gpa = gpa, .size_bytes = size_bytes},
		.prot = prot,
	};

	return operations_run(mm, &op, 1, err);
}

int guest_mm_hold_again(struct guest_mm *mm, struct samara_error *err)
{
	MA_STATE(mas, &mm->tree->map, 0, 0);
	struct region *entry;
	int ret = 0;

	lock_tree_write(mm->tree);
	__atomic_store_n(&mm->letting_go, false, __ATOMIC_RELEASE);
	mas_for_each (&mas, entry, UINT64_MAX)
		if (!(mem_region_of(entry)->prot & GUEST_MM_WRITE))
			region_start_write(entry);
	region_drain(mm->tree);
	mas_set(&mas, 0);
	while (!ret && (entry = mas_find(&mas, UINT64_MAX)) != NULL)
		if (!(mem_region_of(entry)->prot & GUEST_MM_WRITE))
			ret = window_protect(mem_region_of(entry)->window, entry->first,
					     region_bytes(mem_region_of(entry)));
	unlock_tree_write(mm->tree);
	fault_service_retry(mm);
	if (ret)
		samara_error_set(err, ret, "write-protecting read-only memory again: %s",
				 strerror(-ret));
	return ret;
}
