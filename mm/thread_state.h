/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MM_THREAD_STATE_H
#define MM_THREAD_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct region;
struct region_tree;

/*
 * What each thread that reads region trees has of its own: the slots in which it publishes what it
 * holds, and its counters. Made at a thread's first use, given to another thread after it ends, and
 * never freed: a writer may be scanning the slots at any time. What nobody else looks at (struct
 * thread_holds) is thread-local: it is right also for a thread that got no memory.
 */

/* Slots in a block: a thread's first one is part of its state, more are added when needed. */
#define THREAD_SLOTS  6

/* Slots for all threads that have no memory for their own, together. */
#define COMMONS_SLOTS (8 * THREAD_SLOTS)

/* Region trees that can exist at once in a process: each has counters in every thread. */
#define TREES_MAX     64

/**
 * struct region_slot - one hold, published
 * @first: first address held
 * @last: last address held, inclusive
 * @tree: in which
 * @region: through which the holder came, and which must not be freed; NULL: the slot is free
 *
 * All fields are atomic: written by the owner, @region last; read by writers, @region first.
 */
struct region_slot {
	uint64_t first, last;
	struct region_tree *tree;
	struct region *region;
};

/* @next: atomic; set once. */
struct slot_block {
	struct region_slot slot[THREAD_SLOTS] __attribute__((aligned(64)));
	struct slot_block *next;
};

/* As CONFIG_PER_VMA_LOCK_STATS counts them (Linux mm/memory.c, lock_vma_under_rcu). */
struct lock_counters {
	uint64_t success; /* got the region at first try */
	uint64_t abort;   /* a writer had it, or took it out: let it go again */
	uint64_t retry;   /* waited for the tree's lock, to try again */
	uint64_t miss;    /* nothing at that address */
	uint64_t wait_ns; /* spent waiting for the tree's lock as a reader */
	uint64_t pins;    /* guest_mm_pin() that succeeded */
};

/**
 * struct thread_state - one thread's
 * @slots: in cache lines of their own
 * @counters: atomic (relaxed); written by the owner, by tree id
 * @next: immutable once in the list
 * @in_use: atomic; whether a thread owns this state
 * @thread: atomic (relaxed); its kernel thread id, for reports
 */
struct thread_state {
	struct slot_block slots;
	struct thread_state *next;
	uint32_t in_use;
	int thread;
	struct lock_counters counters[TREES_MAX];
};

/**
 * struct thread_holds - what the calling thread holds
 * @count: regions and tree locks held, over all trees; but for regions in slots of the thread's own
 * @tree: which tree's lock is held for reading in this entry, @depth times
 */
struct thread_holds {
	uint32_t count;
	uint32_t depth[THREAD_SLOTS];
	struct region_tree *tree[THREAD_SLOTS];
};

/* initial-exec: no call to find it, also in the shared library (which is loaded at start). */
extern __thread struct thread_holds thread_holds __attribute__((tls_model("initial-exec")));
extern __thread struct thread_state *thread_state_own __attribute__((tls_model("initial-exec")));

struct thread_state *thread_state_first_use(void);

/**
 * thread_state_get() - the calling thread's
 *
 * Return: NULL when there is no memory for a new one.
 */
static inline struct thread_state *thread_state_get(void)
{
	return thread_state_own ? thread_state_own : thread_state_first_use();
}

/* The first of all there are; the rest by @next. Order the writer's marks before this call. */
struct thread_state *thread_state_first(void);

/**
 * thread_slot_find() - a free slot for the calling thread
 * @self: its state, or NULL
 *
 * The thread's own; with no memory for another block, one of the commons, where it is claimed by a
 * region that is none.
 *
 * Return: NULL when there is no memory, and all of the commons are in use.
 */
struct region_slot *thread_slot_find(struct thread_state *self);

/* Let a slot go: what its holder did is over for whoever sees that. */
static inline void thread_slot_drop(struct region_slot *slot)
{
	__atomic_store_n(&slot->region, NULL, __ATOMIC_RELEASE);
}

/* How many slots of its own the calling thread has in use. */
unsigned int thread_slots_used(void);

/* Whether a slot is one of the thread's own, or of the commons. */
bool thread_slot_is_own(const struct region_slot *slot);
bool thread_slot_is_common(const struct region_slot *slot);

/* Sum a tree's counters over all threads. */
void thread_state_sum(unsigned int tree_id, struct lock_counters *sum);

static inline void thread_count(uint64_t *counter)
{
	__atomic_store_n(counter, *counter + 1, __ATOMIC_RELAXED);
}

#endif
