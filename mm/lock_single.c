/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * LOCK=single: one reader-writer lock around everything, as mmap_lock was before Linux 6.4.
 *
 * Holding a region is holding the whole tree for reading; a writer excludes every reader of the
 * tree for as long as its operation takes. It is here to be compared with.
 *
 * A thread that holds the tree already and wants another region of it counts its depth and does
 * not ask the lock again: behind a writer that waits, that would wait for ever.
 */
#include "mm/debug.h"
#include "mm/lock.h"
#include "mm/region.h"

const char lock_design[] = "single";

/* The entry in which this thread counts its holds of @tree, or a free one; NULL: there is none. */
static uint32_t *depth_of(struct region_tree *tree)
{
	uint32_t *unused = NULL;

	for (unsigned int i = 0; i < THREAD_SLOTS; i++) {
		if (!thread_holds.depth[i])
			unused = &thread_holds.depth[i];
		else if (thread_holds.tree[i] == tree)
			return &thread_holds.depth[i];
	}
	if (unused)
		thread_holds.tree[unused - thread_holds.depth] = tree;
	return unused;
}

/* Take the tree for reading, one level deeper. False: a writer is there or waits. */
static bool enter(struct region_tree *tree, bool wait, uint32_t **depth)
{
	*depth = depth_of(tree);
	if (!*depth || !**depth) {
		if (wait)
			phase_read_lock(&tree->lock);
		else if (!phase_read_trylock(&tree->lock))
			return false;
	}
	if (*depth)
		(**depth)++;
	thread_holds.count++;
	return true;
}

static void leave(struct region_tree *tree, uint32_t *depth)
{
	thread_holds.count--;
	if (depth && --*depth)
		return;
	phase_read_unlock(&tree->lock);
}

struct region *region_try_read_lock(struct region_tree *tree, uint64_t address,
				    struct region_guard *guard, bool *busy)
{
	struct thread_state *self = thread_state_get();
	struct region *region;
	uint32_t *depth;

	*busy = !enter(tree, false, &depth);
	if (*busy) {
		if (self)
			thread_count(&self->counters[tree->id].abort);
		return NULL;
	}
	region = region_find(tree, address);
	if (self)
		thread_count(region ? &self->counters[tree->id].success
				    : &self->counters[tree->id].miss);
	if (!region) {
		leave(tree, depth);
		return NULL;
	}
	guard->tree = tree;
	guard->region = region;
	guard->slot = depth;
	return region;
}

void region_read_unlock(struct region_guard *guard)
{
	leave(guard->tree, guard->slot);
}

void lock_tree_read(struct region_tree *tree)
{
	uint32_t *depth;

	SAMARA_ASSERT(lock_thread_holds() == 0);
	enter(tree, true, &depth);
}

void unlock_tree_read(struct region_tree *tree)
{
	leave(tree, depth_of(tree));
}

void lock_tree_write(struct region_tree *tree)
{
	SAMARA_ASSERT(lock_thread_holds() == 0);
	phase_write_lock(&tree->lock);
}

void unlock_tree_write(struct region_tree *tree)
{
	region_free_retired(tree);
	__atomic_store_n(&tree->seq, tree->seq + 1, __ATOMIC_SEQ_CST);
	phase_write_unlock(&tree->lock);
}

/* No reader is inside the tree while a writer is: there is nothing to mark and nothing to drain.
 * The mark is kept all the same, for whoever asks whether a region is under change. */
void region_start_write(struct region *region)
{
	__atomic_store_n(&region->lock_seq, region->tree->seq, __ATOMIC_RELAXED);
}

void region_start_marked(struct region *region)
{
	region_start_write(region);
}

void region_drain(struct region_tree *tree)
{
	(void)tree;
}

bool region_try_start_write(struct region *region)
{
	region_start_write(region);
	return true;
}

unsigned int lock_thread_holds(void)
{
	return thread_holds.count;
}
