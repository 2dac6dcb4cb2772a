/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * LOCK=rwsem: a reader-writer lock in each region, as Linux had from 6.4 to 6.14.
 *
 *   reader                                       writer (holds the tree lock)
 *   look up; marked? fall back                   mark: lock_seq = tree->seq
 *   try the region's lock for reading            for each marked region: take its lock for writing,
 *   marked by now? let it go, fall back          and let it go again
 *   detached? let it go, look up again           change; tree->seq + 1
 *
 * A reader that got the lock before the writer is waited for; one that gets it later sees the mark.
 * Linux marks while it holds the lock, region by region; here all are marked before the first is
 * waited for, as in the other designs.
 *
 * The lock's word is written by every reader of the region: that is what this design is here to
 * show. A region is held as a whole: whoever cuts it waits for its readers, wherever they are.
 *
 * Source: Linux 6.4, include/linux/mm.h (vma_start_read, vma_end_read, vma_start_write). As there,
 * the end of a hold is a read-side section: the last reader still touches the lock after the
 * writer has seen it leave. Model: tests/model/rwsem.pml.
 */
#include "mm/tree_lock.h"

#define LOOKUPS 4

const char lock_design[] = "rwsem";

int lock_init_tree(struct region_tree *tree)
{
	(void)tree;
	return 0;
}

void lock_destroy_tree(struct region_tree *tree)
{
	(void)tree;
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
		region = region_find(tree, address);
		if (!region) {
			samara_rcu_read_unlock();
			return try_missed(tree, self);
		}
		if (is_marked(tree, region) || !phase_read_trylock(&region->own.rwlock))
			break;
		if (!is_marked(tree, region) && !is_detached(region)) {
			samara_rcu_read_unlock();
			return try_succeeded(tree, self, region, NULL, first, last, guard);
		}
		phase_read_unlock(&region->own.rwlock);
		if (is_marked(tree, region))
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
	samara_rcu_read_lock();
	phase_read_unlock(&guard->region->own.rwlock);
	samara_rcu_read_unlock();
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
	if (phase_is_read(&region->own.rwlock)) {
		/* Readers that gave way meanwhile wait for the tree lock, as they may. */
		__atomic_store_n(&region->lock_seq, before, __ATOMIC_SEQ_CST);
		return false;
	}
	return true;
}

void lock_drain(struct region_tree *tree)
{
	for (struct region *region = tree->marked; region; region = region->next_marked) {
		phase_write_lock(&region->own.rwlock);
		phase_write_unlock(&region->own.rwlock);
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
