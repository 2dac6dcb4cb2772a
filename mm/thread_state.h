/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MM_THREAD_STATE_H
#define MM_THREAD_STATE_H

#include <stdbool.h>
#include <stdint.h>

struct region;
struct region_tree;

/*
 * What each thread that reads region trees has of its own: the slots in which it publishes the
 * regions it holds, and its counters. Made at a thread's first use, given to another thread after
 * it ends, and never freed: a writer may be scanning the slots at any time. What nobody else looks
 * at (struct thread_holds) is thread-local: it is right also for a thread that got no memory.
 */

/* Regions a thread holds at once without touching a line that others write. */
#define THREAD_SLOTS 6

/* Region trees that can exist at once in a process: each has counters in every thread. */
#define TREES_MAX    64

/* As CONFIG_PER_VMA_LOCK_STATS counts them (Linux mm/memory.c, lock_vma_under_rcu). */
struct lock_counters {
	uint64_t success; /* got the region at first try */
	uint64_t abort;   /* a writer had it, or took it out: let it go again */
	uint64_t retry;   /* waited for the tree's lock and tried again */
	uint64_t miss;    /* nothing at that address */
	uint64_t pins;    /* guest_mm_pin() that succeeded */
};

/**
 * struct thread_state - one thread's
 * @slots: atomic; written by the owner, read by writers. In a cache line of their own.
 * @counters: atomic (relaxed); written by the owner, by tree id
 * @next: immutable once in the list
 * @in_use: atomic; whether a thread owns this state
 */
struct thread_state {
	struct region *slots[THREAD_SLOTS] __attribute__((aligned(64)));
	uint64_t pad[2];
	uint32_t in_use;
	struct thread_state *next;
	struct lock_counters counters[TREES_MAX];
};

/**
 * struct thread_holds - what the calling thread holds
 * @count: regions and tree locks held, over all trees
 * @tree: LOCK=single: which tree's lock is held in this entry, @depth times
 */
struct thread_holds {
	uint32_t count;
	uint32_t depth[THREAD_SLOTS];
	struct region_tree *tree[THREAD_SLOTS];
};

/* initial-exec: no call to find it, also in the shared library (which is loaded at start). */
extern __thread struct thread_holds thread_holds __attribute__((tls_model("initial-exec")));

/**
 * thread_state_get() - the calling thread's
 *
 * Return: NULL when there is no memory for a new one.
 */
struct thread_state *thread_state_get(void);

/* The first of all there are; the rest by @next. Order the writer's marks before this call. */
struct thread_state *thread_state_first(void);

/* Sum a tree's counters over all threads. */
void thread_state_sum(unsigned int tree_id, struct lock_counters *sum);

static inline void thread_count(uint64_t *counter)
{
	__atomic_store_n(counter, *counter + 1, __ATOMIC_RELAXED);
}

#endif
