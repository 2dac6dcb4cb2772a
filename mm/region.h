/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MM_REGION_H
#define MM_REGION_H

#include <pthread.h>

#include <samara/maple_tree.h>
#include <samara/region_tree.h>

#include "mm/phase_lock.h"
#include "mm/rcu.h"
#include "mm/thread_state.h"

/**
 * struct range_hold - a range that is held in LOCK=range, see mm/lock_range.c
 */
struct range_hold {
	uint64_t first, last;
	const struct region *region; /* a reader's; NULL: a writer's */
	struct range_hold *before, *next;
};

/**
 * struct region - an address range in a tree
 *
 * Lock key:
 *   I  immutable once the region is in the tree
 *   a  atomic; written by the holder of the tree lock
 *   p  atomic; anyone
 *   t  tree lock, for writing
 *   l  limbo_lock of the tree, once the region is retired and a grace period is over
 *
 * Read rules. Under RCU alone everything marked I may be read; the region may be gone from the tree
 * already. Who holds a range of a region (struct region_guard) has its memory, and whatever its
 * owner guards by it does not change in that range. Outside that range it may: another region may
 * have taken this one's place there.
 *
 * Write rules. The tree lock is held for writing, the region is marked by region_start_write(), and
 * region_drain() has returned: then no reader holds any of its range, and none will before the bulk
 * unlock.
 */
struct region {
	uint64_t first, last;       /* I  inclusive bounds */
	void *object;               /* I  the owner's */
	struct region_tree *tree;   /* I  */
	uint64_t lock_seq;          /* a  equal to the tree's seq: locked for writing */
	uint32_t detached;          /* a  taken out of the tree, or replaced in it, for good */
	struct region *next_marked; /* t  list of the regions marked since the tree was locked */
	struct region
		*next_retired; /* t, l  list of those to free when the tree is unlocked; limbo */
	struct samara_rcu_head rcu; /* after that */
	/* What a lock design has in each region; some have nothing. */
	union {
		struct phase_lock rwlock; /* p: LOCK=rwsem */
		uint32_t count;           /* p: LOCK=refcount, LOCK=spf */
		struct range_hold hold;   /* LOCK=range: the writer's, by the range lock's mutex */
	} own;
};

/**
 * struct region_tree - ranges, and their lock
 *
 * @lock is the tree lock (mmap_lock in Linux). It is taken for writing by whoever changes the tree,
 * for reading by a reader whose try failed. Rank: above everything else in mm/; whoever holds a
 * region never waits for it.
 *
 * What readers look at is written once in an operation; what it writes more often is in lines of
 * its own.
 */
struct region_tree {
	struct maple_tree map; /* struct region *; written under @lock, read under RCU */
	uint64_t seq;          /* a: mm_lock_seq in Linux; from 1, grows by one with each unlock */
	void *own;             /* I: what a lock design has in each tree */
	unsigned int id;       /* I: index of this tree's counters in each thread_state */
	struct lock_counters counted_before; /* I: by earlier trees of this id */

	struct phase_lock lock __attribute__((aligned(128)));
	struct region *marked;      /* t */
	struct region *retired;     /* t */
	uint64_t nodes, held_bytes; /* t, atomic: mt_stats() at the last unlock */
	pthread_mutex_t limbo_lock; /* innermost */
	struct region *limbo;       /* limbo_lock, atomic: regions that are over but held */
};

/**
 * region_init() - prepare a region that is not in the tree yet
 */
void region_init(struct region *region, struct region_tree *tree, uint64_t first, uint64_t last,
		 void *object);

/**
 * region_retire() - have a region that was taken out of the tree, or replaced in it, freed
 *
 * It is freed when the tree is unlocked (until then it may be in the list of those marked), a grace
 * period is over, and nobody holds a range of it any more. The memory was allocated by malloc()
 * and starts with the struct region.
 *
 * Context: Tree lock held for writing. The region is marked and drained, or others that cover its
 * whole range are in its place already.
 */
void region_retire(struct region *region);

/* Hand what was retired to RCU. Context: whoever unlocks the tree, just before. */
void region_free_retired(struct region_tree *tree);

/* What the readers of a tree did since it was made, summed over all threads. */
void region_tree_count(const struct region_tree *tree, struct lock_counters *counters);

/* Look up. Context: RCU read-side section, or the tree lock. */
static inline struct region *region_find(struct region_tree *tree, uint64_t address)
{
	return mtree_load_rcu(&tree->map, address);
}

#endif
