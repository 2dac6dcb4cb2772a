/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * LOCK=refcount: a count of readers in each region, as Linux has since 6.15 (vm_refcnt).
 *
 *   reader                                       writer (holds the tree lock)
 *   look up; marked? fall back                   mark: lock_seq = tree->seq
 *   count + 1, unless a writer is there          for each marked region: count + WRITER, wait until
 *   marked by now? count - 1, fall back          only that is left, count - WRITER
 *   detached? count - 1, look up again           change; tree->seq + 1
 *
 * The count is taken by compare-and-swap, as refcount_inc_not_zero() does, and let go by one
 * fetch-and-add: two locked instructions on a line that all readers of the region share. Detached is
 * a flag of its own here, a count of 0 in Linux.
 *
 * Linux 6.15 takes regions from a slab cache that reuses their memory without a grace period; a
 * reader that lost the race with a detach then looked at a region that was another one's by now, and
 * at its mm (use after free). Here the memory is freed a grace period after the detach, and a
 * reader touches nothing of the region once its count is given back: it wakes the writer by the
 * address alone.
 *
 * A region is held as a whole: whoever cuts it waits for its readers, wherever they are.
 *
 * Source: Linux 6.15, include/linux/mm.h and mm/memory.c (vma_start_read, vma_refcount_put,
 * __vma_start_write). Model: tests/model/refcount.pml.
 */
#include "mm/cpu_relax.h"
#include "mm/futex.h"
#include "mm/tree_lock.h"

#define LOOKUPS 4
#define WRITER  0x40000000u /* VMA_LOCK_OFFSET */
#define SPINS   128         /* about a microsecond */

const char lock_design[] = "refcount";

int lock_init_tree(struct region_tree *tree)
{
	(void)tree;
	return 0;
}

void lock_destroy_tree(struct region_tree *tree)
{
	(void)tree;
}

static bool get(uint32_t *count)
{
	uint32_t old = __atomic_load_n(count, __ATOMIC_RELAXED);

	do {
		if (old & WRITER)
			return false;
	} while (!__atomic_compare_exchange_n(count, &old, old + 1, true, __ATOMIC_SEQ_CST,
					      __ATOMIC_RELAXED));
	return true;
}

static void put(uint32_t *count)
{
	if (__atomic_sub_fetch(count, 1, __ATOMIC_SEQ_CST) == WRITER)
		futex_wake_all(count);
}

struct region *region_try_read_lock_range(struct region_tree *tree, uint64_t address,
					  uint64_t first, uint64_t last, struct region_guard *guard,
					  bool *busy)
{
	struct thread_state *self = thread_state_get();
	struct region *region;

	*busy = false;
	samara_rcu_read_lock();
	for (unsigned int lookups = 0; lookups < LOOKUPS; lookups++) {
		bool marked;

		region = region_find(tree, address);
		if (!region) {
			samara_rcu_read_unlock();
			return try_missed(tree, self);
		}
		if (is_marked(tree, region) || !get(&region->own.count))
			break;
		marked = is_marked(tree, region);
		if (!marked && !is_detached(region)) {
			samara_rcu_read_unlock();
			return try_succeeded(tree, self, region, NULL, first, last, guard);
		}
		put(&region->own.count);
		if (marked)
			break;
	}
	samara_rcu_read_unlock();
	return try_aborted(tree, self, busy);
}

struct region *region_try_fault_lock(struct region_tree *tree, uint64_t address, uint64_t first,
				     uint64_t last, struct region_guard *guard, bool *busy)
	__attribute__((alias("region_try_read_lock_range")));

void region_read_unlock(struct region_guard *guard)
{
	put(&guard->region->own.count);
	thread_holds.count--;
	rank_dropped(RANK_REGION);
}

void region_start_write(struct region *region)
{
	mark(region);
}

void region_start_cut(struct region *region)
{
	mark(region);
}

bool region_try_start_cut(struct region *region)
{
	uint64_t before = region->lock_seq;

	if (before == region->tree->seq)
		return true;
	__atomic_store_n(&region->lock_seq, region->tree->seq, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&region->own.count, __ATOMIC_SEQ_CST)) {
		/* Readers that gave way meanwhile wait for the tree lock, as they may. */
		__atomic_store_n(&region->lock_seq, before, __ATOMIC_SEQ_CST);
		return false;
	}
	return true;
}

void lock_drain(struct region_tree *tree)
{
	for (struct region *region = tree->marked; region; region = region->next_marked) {
		uint32_t *count = &region->own.count;
		uint32_t now = __atomic_add_fetch(count, WRITER, __ATOMIC_SEQ_CST);

		for (unsigned int spins = 0; now != WRITER; spins++) {
			if (spins < SPINS)
				cpu_relax();
			else
				futex_wait(count, now);
			now = __atomic_load_n(count, __ATOMIC_SEQ_CST);
		}
		__atomic_sub_fetch(count, WRITER, __ATOMIC_SEQ_CST);
	}
}

void lock_end_write(struct region_tree *tree)
{
	(void)tree;
}

bool lock_is_held(const struct region *region)
{
	(void)region;
	return false;
}
