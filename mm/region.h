/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MM_REGION_H
#define MM_REGION_H

#include <samara/maple_tree.h>
#include <samara/region_tree.h>

#include "mm/phase_lock.h"
#include "mm/rcu.h"
#include "mm/thread_state.h"

/**
 * struct region - an address range in a tree
 *
 * Lock key:
 *   I  immutable once the region is in the tree
 *   a  atomic; written by the holder of the tree lock
 *   p  atomic; anyone
 *   t  tree lock, for writing
 *
 * Read rules. Under RCU alone everything marked I may be read; the region may be gone from the tree
 * already. Between region_try_read_lock() and region_read_unlock() the region is in the tree and
 * whatever its owner guards by it does not change.
 *
 * Write rules. The tree lock is held for writing, the region is marked by region_start_write(), and
 * region_drain() has returned: then no reader holds it, and none will before the bulk unlock.
 */
struct region {
	uint64_t first, last;        /* I  inclusive bounds */
	void *object;                /* I  the owner's */
	struct region_tree *tree;    /* I  */
	uint64_t lock_seq;           /* a  equal to the tree's seq: locked for writing */
	uint32_t detached;           /* a  taken out of the tree, for good */
	uint32_t pins;               /* p  holds by readers that had no slot free */
	struct region *next_marked;  /* t  list of the regions marked since the tree was locked */
	struct region *next_retired; /* t  list of the regions to free when the tree is unlocked */
	struct samara_rcu_head rcu;  /* after that */
};

/**
 * struct region_tree - ranges, and their lock
 *
 * @lock is the tree lock (mmap_lock in Linux). It is taken for writing by whoever changes the tree,
 * for reading by a reader whose try failed. Rank: above everything else in mm/; whoever holds a
 * region never waits for it.
 */
struct region_tree {
	struct maple_tree map; /* struct region *; written under @lock, read under RCU */
	struct phase_lock lock;
	uint64_t seq;           /* a: mm_lock_seq in Linux; from 1, grows by one with each unlock */
	struct region *marked;  /* t */
	struct region *retired; /* t */
	unsigned int id;        /* I: index of this tree's counters in each thread_state */
	struct lock_counters counted_before; /* I: by earlier trees of this id */
};

/**
 * region_init() - prepare a region that is not in the tree yet
 */
void region_init(struct region *region, struct region_tree *tree, uint64_t first, uint64_t last,
		 void *object);

/**
 * region_retire() - have a region that was taken out of the tree freed
 *
 * It is freed one grace period after the tree is unlocked: until then it may be in the list of
 * those marked. The memory was allocated by malloc() and starts with the struct region.
 *
 * Context: Tree lock held for writing; the region is marked and drained.
 */
void region_retire(struct region *region);

/* Hand what was retired to RCU. Context: whoever unlocks the tree, just before. */
void region_free_retired(struct region_tree *tree);

/* What the readers of a tree did since it was made, summed over all threads. */
void region_tree_count(const struct region_tree *tree, struct lock_counters *counters);

/* Look up. Context: RCU read-side section, or the tree lock. */
struct region *region_find(struct region_tree *tree, uint64_t address);

#endif
