/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How operations are done, one or a batch: all or nothing.
 *
 *   check, look   see whether each can be done                        nothing is changed
 *   prepare       lock regions, publish, copy, protect, take memory   can be undone
 *   drop          pages go back to the host                           cannot be undone
 *   commit        the map becomes what was asked for                  cannot fail
 *
 * When a drop fails and it is the first, everything is undone. After the first there is no way
 * back: those that follow are tried until they succeed. They do: what they ask of the host takes
 * no memory that it could lack for long.
 *
 * The operations of a batch touch different ranges, so the order in which their steps are done does
 * not matter, and each is undone by itself.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "mm/operation.h"
#include "mm/trace.h"

#define PAUSE_NS 1000000

void pause_before_retry(void)
{
	struct timespec pause = {.tv_nsec = PAUSE_NS};

	clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
}

void operation_set_undo(struct guest_mm *mm, struct operation *op, const struct range *range)
{
	op->undo = (struct ma_state){.tree = &mm->tree->map,
				     .index = range->gpa,
				     .last = range_last(range),
				     .status = ma_start};
}

void operation_set_erase(struct guest_mm *mm, struct operation *op, const struct range *range)
{
	op->erase = (struct ma_state){.tree = &mm->tree->map,
				      .index = range->gpa,
				      .last = range_last(range),
				      .status = ma_start};
}

void erase_surely(struct ma_state *mas)
{
	/* Other operations of a batch may have made the tree higher since it was preallocated. */
	while (mas_preallocate(mas, NULL, GFP_KERNEL))
		pause_before_retry();
	mas_store_prealloc(mas, NULL);
}

void discard_surely(struct window *window, gpa_t gpa, uint64_t size_bytes)
{
	while (window_discard(window, gpa, size_bytes))
		pause_before_retry();
}

void range_retire(struct guest_mm *mm, const struct range *range)
{
	struct mem_region *region;

	for_each_region_in(mm, range, region) region_retire(&region->region);
}

void range_unprotect_writable(struct guest_mm *mm, const struct range *range)
{
	struct mem_region *region;

	for_each_region_in(mm, range, region)
	{
		gpa_t first = region->region.first;
		uint64_t size_bytes = region->region.last - first + 1;

		if (region->prot & GUEST_MM_WRITE &&
		    !window_is_bare(region->window, first, size_bytes))
			window_unprotect(region->window, first, size_bytes);
	}
}

static uint64_t *counter_of(struct guest_mm *mm, const struct operation *op)
{
	return (uint64_t *)((char *)&mm->counters + op->kind->counter);
}

/* Drop what has to go. Return: an error only if nothing has gone. */
static int drop_all(struct guest_mm *mm, struct operation *ops, size_t count, size_t *failed)
{
	bool gone = false;

	for (size_t i = 0; i < count; i++) {
		if (!ops[i].kind->drop)
			continue;
		for (;;) {
			int ret = ops[i].kind->drop(mm, &ops[i]);

			*failed = i;
			if (!ret)
				break;
			if (!gone)
				return ret;
			pause_before_retry();
		}
		gone = true;
	}
	return 0;
}

/* With the tree locked for writing. */
static int run_locked(struct guest_mm *mm, struct operation *ops, size_t count,
		      struct samara_error *err)
{
	size_t prepared = 0, failed = 0;
	int ret = 0;

	for (size_t i = 0; i < count && !ret; i++)
		ret = ops[i].kind->look ? ops[i].kind->look(mm, &ops[i], err) : 0;
	if (ret)
		return ret;
	for (; prepared < count && !ret; prepared += !ret) {
		slow_begin(&mm->slow, &ops[prepared].range);
		ret = ops[prepared].kind->prepare(mm, &ops[prepared], err);
		slow_end(&mm->slow);
	}
	if (!ret) {
		ret = drop_all(mm, ops, count, &failed);
		if (ret)
			range_error(err, &ops[failed].range, ret, "giving the pages back: %s",
				    strerror(-ret));
	}
	if (ret)
		while (prepared--)
			ops[prepared].kind->undo(mm, &ops[prepared]);
	else
		for (size_t i = 0; i < count; i++)
			ops[i].kind->commit(mm, &ops[i]);
	for (size_t i = 0; i < count; i++) {
		range_merge(mm, &ops[i].range);
		if (ops[i].to.size_bytes)
			range_merge(mm, &ops[i].to);
	}
	return ret;
}

int operations_run(struct guest_mm *mm, struct operation *ops, size_t count,
		   struct samara_error *err)
{
	int ret = 0;

	for (size_t i = 0; i < count && !ret; i++)
		ret = ops[i].kind->check(mm, &ops[i], err);
	if (!ret) {
		lock_tree_write(mm->tree);
		ret = run_locked(mm, ops, count, err);
		unlock_tree_write(mm->tree);
		fault_service_retry(mm);
	}
	if (ret)
		mm_count(&mm->counters.failed_operations, 1);
	else
		for (size_t i = 0; i < count; i++)
			mm_count(counter_of(mm, &ops[i]), 1);
	SAMARA_PROBE1(operation_end, ret);
	return ret;
}
