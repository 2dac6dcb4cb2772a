/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <time.h>

#include "mm/debug.h"
#include "mm/tree_lock.h"

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

bool tree_enter(struct region_tree *tree, bool wait, uint32_t **depth)
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
	return true;
}

void tree_leave(struct region_tree *tree, uint32_t *depth)
{
	if (depth && --*depth)
		return;
	phase_read_unlock(&tree->lock);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

void lock_tree_read(struct region_tree *tree)
{
	struct thread_state *self = thread_state_get();
	uint64_t before = now_ns(), waited_ns;
	uint32_t *depth;

	SAMARA_ASSERT(lock_thread_holds() == 0);
	rank_wait(RANK_TREE);
	tree_enter(tree, true, &depth);
	rank_took(RANK_TREE);
	thread_holds.count++;
	waited_ns = now_ns() - before;
	SAMARA_PROBE2(lock_wait, tree->id, waited_ns);
	if (self) {
		struct lock_counters *own = &self->counters[tree->id];

		thread_count(&own->retry);
		__atomic_store_n(&own->wait_ns, own->wait_ns + waited_ns, __ATOMIC_RELAXED);
	}
}

void unlock_tree_read(struct region_tree *tree)
{
	thread_holds.count--;
	rank_dropped(RANK_TREE);
	tree_leave(tree, depth_of(tree));
}

void lock_tree_write(struct region_tree *tree)
{
	SAMARA_ASSERT(lock_thread_holds() == 0);
	rank_wait(RANK_TREE);
	phase_write_lock(&tree->lock);
	rank_took(RANK_TREE);
	SAMARA_ASSERT(!tree->marked);
}

void region_drain(struct region_tree *tree)
{
	if (!tree->marked)
		return;
	SAMARA_PROBE1(drain_begin, tree->id);
	lock_drain(tree);
	SAMARA_PROBE1(drain_end, tree->id);
}

/* For those who ask without the lock, that mt_stats() needs. */
static void publish_stats(struct region_tree *tree)
{
	struct maple_stats stats;

	mt_stats(&tree->map, &stats);
	__atomic_store_n(&tree->nodes, stats.nodes, __ATOMIC_RELAXED);
	__atomic_store_n(&tree->held_bytes, stats.held_bytes, __ATOMIC_RELAXED);
}

void unlock_tree_write(struct region_tree *tree)
{
	publish_stats(tree);
	lock_end_write(tree);
	tree->marked = NULL;
	region_free_retired(tree);
	__atomic_store_n(&tree->seq, tree->seq + 1, __ATOMIC_SEQ_CST);
	rank_dropped(RANK_TREE);
	phase_write_unlock(&tree->lock);
}

unsigned int lock_thread_holds(void)
{
	return thread_holds.count + thread_slots_used();
}
