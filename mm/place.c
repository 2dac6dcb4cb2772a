/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Other pages behind the same mapping: huge ones, or a NUMA node's. The guest sees nothing of it, so
 * what was changed before an error stays changed: there is nothing to undo.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#include "mm/numa.h"
#include "mm/operation.h"

/* Linux include/uapi/asm-generic/mman-common.h, 6.1 */
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
/* Have the kernel make huge pages of what is held. */
static int collapse(struct guest_mm *mm, struct mem_region *region, gpa_t gpa, uint64_t size_bytes,
		    struct samara_error *err)
{
	gpa_t first = (gpa + HUGE_BYTES - 1) & ~(HUGE_BYTES - 1);
	gpa_t end = (gpa + size_bytes) & ~(HUGE_BYTES - 1);
	int ret;

	if (!window_is_anon(region->window, gpa, size_bytes))
		return samara_error_set(err, -EOPNOTSUPP, "only anonymous memory can become huge");
	if (!(region->prot & GUEST_MM_WRITE))
		return samara_error_set(err, -EACCES, "read-only memory is protected page by page");
	/* The kernel makes none of what has missing pages. */
	ret = populate_range(mm, region, gpa, size_bytes);
	if (!ret && first < end &&
	    madvise(window_hva(region->window, first), end - first, MADV_COLLAPSE))
		ret = -errno;
	if (ret == -EAGAIN || ret == -EBUSY)
		return samara_error_set(err, -EBUSY,
					"some pages are in use by the kernel; try again");
	return ret ? samara_error_set(err, ret, "huge pages: %s", strerror(-ret)) : 0;
}

/* Context: the region is held, or marked and drained. */
static int place(struct guest_mm *mm, struct mem_region *region, gpa_t gpa, uint64_t size_bytes,
		 const struct guest_mm_memory *memory, struct samara_error *err)
{
	if (memory->kind == GUEST_MM_MEMORY_NODE)
		return numa_migrate(window_hva(region->window, gpa), size_bytes, memory->node, err);
	return collapse(mm, region, gpa, size_bytes, err);
}

static int place_next(struct guest_mm *mm, const struct range *range,
		      const struct guest_mm_memory *memory, gpa_t *at, struct samara_error *err)
{
	/* Piece by piece: a writer that wants the range waits for one piece at most. */
	gpa_t block = *at | (HUGE_BYTES - 1);
	gpa_t end = range_last(range) < block ? range_last(range) : block;
	struct region_guard guard;
	struct region *region = region_read_lock_range(mm->tree, *at, *at, end, &guard);
	int ret;

	if (!region)
		return samara_error_set(err, -ENOENT, "nothing is plugged at %#llx",
					(unsigned long long)*at);
	end = guard.last;
	ret = place(mm, mem_region_of(region), *at, end - *at + 1, memory, err);
	region_read_unlock(&guard);
	*at = end + 1;
	return ret;
}

static void name_range(const struct range *range, struct samara_error *err)
{
	samara_error_prefix(err, "%s %#llx+%#llx", range->operation, (unsigned long long)range->gpa,
			    (unsigned long long)range->size_bytes);
}

int place_range(struct guest_mm *mm, struct range *range, const struct guest_mm_memory *memory,
		struct samara_error *err)
{
	gpa_t at = range->gpa;
	int ret = range_check(mm, range, err);

	if (ret)
		goto out;
	do
		ret = place_next(mm, range, memory, &at, err);
	while (!ret && at - 1 != range_last(range));
	if (ret)
		name_range(range, err);
out:
	mm_count(ret ? &mm->counters.failed_operations : &mm->counters.rebacks, 1);
	return ret;
}

/* ---- In a batch, where the range is locked as any other operation's ---------------------------- */

static int place_check(struct guest_mm *mm, struct operation *op, struct samara_error *err)
{
	return range_check(mm, &op->range, err);
}

static int place_look(struct guest_mm *mm, struct operation *op, struct samara_error *err)
{
	return range_check_plugged(mm, &op->range, err);
}

static int place_prepare(struct guest_mm *mm, struct operation *op, struct samara_error *err)
{
	struct mem_region *region;
	int ret = range_isolate(mm, &op->range);

	if (ret)
		return range_error(err, &op->range, ret, "%s", strerror(-ret));
	for_each_region_in(mm, &op->range, region)
	{
		gpa_t first = region->region.first;

		ret = place(mm, region, first, region->region.last - first + 1, op->memory, err);
		if (ret) {
			name_range(&op->range, err);
			return ret;
		}
	}
	return 0;
}

static void place_nothing(struct guest_mm *mm, struct operation *op)
{
	(void)mm;
	(void)op;
}

const struct operation_kind place_operation = {
	.check = place_check,
	.look = place_look,
	.prepare = place_prepare,
	.undo = place_nothing,
	.commit = place_nothing,
	.counter = offsetof(struct mm_counters, rebacks),
};
