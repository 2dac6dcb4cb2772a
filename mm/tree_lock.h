/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MM_TREE_LOCK_H
#define MM_TREE_LOCK_H

#include "mm/debug.h"
#include "mm/lock.h"
#include "mm/rank.h"
#include "mm/region.h"
#include "mm/trace.h"

/*
 * What the lock designs have in common, for their own use.
 */

/**
 * tree_enter() - take the tree lock for reading, one level deeper
 * @wait: whether to wait for a writer
 * @depth: for tree_leave()
 *
 * A thread that is in already counts its depth and does not ask the lock again: behind a writer
 * that waits, that would wait for ever.
 *
 * Return: whether it is in; not, without @wait, when a writer is there or waits. The caller counts it
 * in thread_holds.
 */
bool tree_enter(struct region_tree *tree, bool wait, uint32_t **depth);
void tree_leave(struct region_tree *tree, uint32_t *depth);

/* Count and fill in, at the end of a try. Each returns what the try returns. */
static inline struct region *try_missed(struct region_tree *tree, struct thread_state *self)
{
	if (self)
		thread_count(&self->counters[tree->id].miss);
	return NULL;
}

static inline struct region *try_aborted(struct region_tree *tree, struct thread_state *self,
					 bool *busy)
{
	if (self)
		thread_count(&self->counters[tree->id].abort);
	SAMARA_PROBE1(lock_abort, tree->id);
	*busy = true;
	return NULL;
}

static inline struct region *try_succeeded(struct region_tree *tree, struct thread_state *self,
					   struct region *region, void *slot, uint64_t first,
					   uint64_t last, struct region_guard *guard)
{
	if (self)
		thread_count(&self->counters[tree->id].success);
	thread_holds.count++;
	rank_took(RANK_REGION);
	guard->tree = tree;
	guard->region = region;
	guard->slot = slot;
	guard->first = first < region->first ? region->first : first;
	guard->last = last > region->last ? region->last : last;
	SAMARA_ASSERT(guard->first <= guard->last);
	SAMARA_PROBE3(lock_try, tree->id, guard->first, guard->last);
	return region;
}

static inline bool is_marked(const struct region_tree *tree, const struct region *region)
{
	return __atomic_load_n(&region->lock_seq, __ATOMIC_SEQ_CST) ==
	       __atomic_load_n(&tree->seq, __ATOMIC_SEQ_CST);
}

static inline bool is_detached(const struct region *region)
{
	return __atomic_load_n(&region->detached, __ATOMIC_SEQ_CST);
}

/* Mark a region and put it in the list. Return: false when it was marked before. */
static inline bool mark(struct region *region)
{
	struct region_tree *tree = region->tree;

	if (region->lock_seq == tree->seq)
		return false;
	__atomic_store_n(&region->lock_seq, tree->seq, __ATOMIC_SEQ_CST);
	region->next_marked = tree->marked;
	tree->marked = region;
	return true;
}

#endif
