/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * LOCK=single: one reader-writer lock around everything, as mmap_lock was before Linux 6.4.
 *
 * Holding a region is holding the whole tree for reading; a writer excludes every reader of the
 * tree for as long as its operation takes. It is here to be compared with.
 */
#include "mm/tree_lock.h"

const char lock_design[] = "single";

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
	uint32_t *depth;

	*busy = false;
	if (!tree_enter(tree, false, &depth))
		return try_aborted(tree, self, busy);
	region = region_find(tree, address);
	if (!region) {
		tree_leave(tree, depth);
		return try_missed(tree, self);
	}
	return try_succeeded(tree, self, region, depth, first, last, guard);
}

struct region *region_try_fault_lock(struct region_tree *tree, uint64_t address, uint64_t first,
				     uint64_t last, struct region_guard *guard, bool *busy)
	__attribute__((alias("region_try_read_lock_range")));

void region_read_unlock(struct region_guard *guard)
{
	thread_holds.count--;
	rank_dropped(RANK_REGION);
	tree_leave(guard->tree, guard->slot);
}

/* No reader is inside the tree while a writer is: there is nothing to turn away and nothing to wait
 * for. The mark is kept all the same, for whoever asks whether a region is under change. */
void region_start_write(struct region *region)
{
	mark(region);
}

void region_start_cut(struct region *region)
{
	(void)region;
}

bool region_try_start_cut(struct region *region)
{
	(void)region;
	return true;
}

void lock_drain(struct region_tree *tree)
{
	(void)tree;
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
