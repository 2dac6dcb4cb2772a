/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef SAMARA_MM_MAPLE_INTERNAL_H
#define SAMARA_MM_MAPLE_INTERNAL_H

#include <samara/maple_tree.h>

#include "mm/rcu.h"

/*
 * What the parts of the maple tree share. The rules are stated at the head of mm/maple_tree.c.
 */

#define MAPLE_NODE_BYTES     256u
#define MAPLE_RANGE64_SLOTS  16u
/* A node that tracks gaps has a third word for each slot. */
#define MAPLE_ARANGE64_SLOTS 10u

/**
 * struct maple_node - pivots and slots of one node
 * @state: MAPLE_LIVE in a tree, 0 when it is free or about to be
 * @pivot: last index of each slot but the last one; ULONG_MAX where a slot is not used
 * @slot: entries in a leaf, encoded nodes above
 * @gap: how many indices the largest gap below each slot has
 *
 * Slot i covers the indices after pivot[i - 1] up to pivot[i]; the first one starts at the node's
 * minimum and the last one used ends at its maximum, which the walk hands down. Leaves are always
 * of the first kind, inner nodes of the second one in a tree with MT_FLAGS_ALLOC_RANGE.
 *
 * Lock key, from the moment a node is published until its grace period has ended:
 *   @pivot, which slots are used: immutable
 *   @slot: atomic, written by the writer; the range that it stands for never changes
 *   @gap, @state: the writers' lock, also for reading
 */
struct maple_node {
	uintptr_t state;
	union {
		struct {
			unsigned long pivot[MAPLE_RANGE64_SLOTS - 1];
			void *slot[MAPLE_RANGE64_SLOTS];
		};
		struct {
			unsigned long pivot[MAPLE_ARANGE64_SLOTS - 1];
			void *slot[MAPLE_ARANGE64_SLOTS];
			unsigned long gap[MAPLE_ARANGE64_SLOTS];
		} arange;
	};
} __attribute__((aligned(256)));

_Static_assert(sizeof(struct maple_node) == MAPLE_NODE_BYTES, "a node is four cache lines");

#define MAPLE_LIVE           (~(uintptr_t)0)

/*
 * An encoded node: the address, and in the eight bits that alignment leaves free the index of the
 * last used slot (0-3), whether it is a leaf (4), and whether it tracks gaps (5).
 */
#define MAPLE_ENCODED_LAST   0x0fu
#define MAPLE_ENCODED_LEAF   0x10u
#define MAPLE_ENCODED_ARANGE 0x20u
#define MAPLE_ENCODED_UNUSED 0xc0u

static inline uintptr_t mt_encode(const struct maple_node *node, unsigned int slots,
				  unsigned int kind)
{
	return (uintptr_t)node | (slots - 1) | kind;
}

static inline struct maple_node *mt_node(uintptr_t encoded)
{
	return (struct maple_node *)(encoded & ~(uintptr_t)(MAPLE_NODE_BYTES - 1));
}

static inline bool mt_is_leaf(uintptr_t encoded)
{
	return encoded & MAPLE_ENCODED_LEAF;
}

static inline bool mt_is_arange(uintptr_t encoded)
{
	return encoded & MAPLE_ENCODED_ARANGE;
}

static inline unsigned int mt_last_slot(uintptr_t encoded)
{
	return encoded & MAPLE_ENCODED_LAST;
}

/* The pivots of both kinds begin at the same place. */
static inline unsigned long mt_pivot(uintptr_t encoded, unsigned int slot)
{
	return mt_node(encoded)->pivot[slot];
}

static inline void **mt_slots(uintptr_t encoded)
{
	struct maple_node *node = mt_node(encoded);

	return mt_is_arange(encoded) ? node->arange.slot : node->slot;
}

/* Slots change while readers look: what they point to was written before. */
static inline void *mt_slot(uintptr_t encoded, unsigned int slot)
{
	return samara_rcu_dereference(mt_slots(encoded)[slot]);
}

static inline uintptr_t mt_child(uintptr_t encoded, unsigned int slot)
{
	return (uintptr_t)mt_slot(encoded, slot);
}

/*
 * How many of the first @count pivots are below an index. Unused pivots never are, so all of them
 * can be compared, without a branch that would depend on the data.
 */
static inline unsigned int mt_pivots_below(const struct maple_node *node, unsigned long index,
					   unsigned int count)
{
	unsigned int slot = 0;

#pragma GCC unroll 15
	for (unsigned int i = 0; i < count; i++)
		slot += node->pivot[i] < index;
	return slot;
}

/* The slot of an inner node that covers an index. */
static inline unsigned int mt_inner_slot(uintptr_t encoded, unsigned long index)
{
	const struct maple_node *node = mt_node(encoded);

	return mt_is_arange(encoded) ? mt_pivots_below(node, index, MAPLE_ARANGE64_SLOTS - 1)
				     : mt_pivots_below(node, index, MAPLE_RANGE64_SLOTS - 1);
}

/* How many slots a node can have, and must have unless it is the root. */
static inline unsigned int maple_slots_max(unsigned int kind)
{
	return kind & MAPLE_ENCODED_ARANGE ? MAPLE_ARANGE64_SLOTS : MAPLE_RANGE64_SLOTS;
}

static inline unsigned int maple_slots_min(unsigned int kind)
{
	return kind & MAPLE_ENCODED_ARANGE ? 4 : 6;
}

/* The kind of a tree's inner nodes. */
static inline unsigned int maple_inner_kind(const struct maple_tree *mt)
{
	return mt->ma_flags & MT_FLAGS_ALLOC_RANGE ? MAPLE_ENCODED_ARANGE : 0;
}

/* The largest gap below a node. Writers' lock. */
unsigned long maple_node_gap(uintptr_t encoded, unsigned long min, unsigned long max);

/* ---- Walking down (mm/maple_walk*.c) --------------------------------------------------------- */

/**
 * struct maple_walker - the search in a node, and with it the walk, for one instruction set
 * @name: "plain", "avx2", "avx512", "neon"
 * @usable: whether this CPU can
 * @load: the entry at @index below @root
 * @walk: from @root to the slot that covers @index
 */
struct maple_walker {
	const char *name;
	bool (*usable)(void);
	void *(*load)(uintptr_t root, unsigned long index);
	void (*walk)(struct maple_path *path, uintptr_t root, unsigned long index);
};

/* The one in use: set before main(), by what the CPU can; immutable afterwards, but for tests. */
extern const struct maple_walker *maple_walker;

/* For tests, while no tree is in use: take that one. Return: whether this build and CPU have it. */
bool maple_walker_choose(const char *name);

/* ---- Paths (mm/maple_path.c) ---------------------------------------------------------------- */

/* From the root to the slot that covers an index. */
static inline void maple_path_walk(struct maple_path *path, uintptr_t root, unsigned long index)
{
	maple_walker->walk(path, root, index);
}

/* To the first slot of the next node at that depth, or the last slot of the previous one. */
bool maple_path_next(struct maple_path *path, unsigned int depth);
bool maple_path_prev(struct maple_path *path, unsigned int depth);
/* What the node at that depth covers. */
unsigned long maple_path_min(const struct maple_path *path, unsigned int depth);
unsigned long maple_path_max(const struct maple_path *path, unsigned int depth);

/* First and last index, and entry, of the slot of the leaf. */
unsigned long maple_path_slot_min(const struct maple_path *path);
unsigned long maple_path_slot_max(const struct maple_path *path);
void *maple_path_entry(const struct maple_path *path);

/* ---- Nodes (mm/maple_slab.c) ---------------------------------------------------------------- */

/* For tests: asked before each allocation, of nodes or of memory; true makes that one fail. */
extern bool (*maple_alloc_hook)(void);
/* For torture: overwrite nodes that are free, so that whoever still reads one falls over it. */
extern bool maple_poison_nodes;
/* For torture: called by a writer before and after it publishes. */
extern void (*maple_delay_hook)(void);

/* All of these need the writers' lock. */

/* Have @count nodes at hand, those in the pool included, for maple_node_take(). 0 or -ENOMEM. */
int maple_reserve(struct maple_tree *mt, const struct maple_pool *pool, unsigned long count,
		  gfp_t gfp);
/* Take one that is known to be at hand, from the pool if it holds any (it may be NULL). */
struct maple_node *maple_node_take(struct maple_tree *mt, struct maple_pool *pool);
/* A node that was published is part of the tree no longer. */
void maple_node_retire(struct maple_tree *mt, struct maple_node *node);
/*
 * A write is over: have what was retired freed after a grace period. Without readers it is free at
 * once, and goes back to a pool that is to be kept.
 */
void maple_slab_commit(struct maple_tree *mt, struct maple_pool *pool);
/* Keep nodes for a pool, up to @count; on an error it is as before. */
int maple_pool_fill(struct maple_tree *mt, struct maple_pool *pool, unsigned long count, gfp_t gfp);
/* Give back what is left in a pool. */
void maple_pool_drain(struct maple_tree *mt, struct maple_pool *pool);
/* For debug builds: how many writes there were, this one included. */
unsigned long maple_slab_writes(struct maple_tree *mt);
/* The tree is empty: give everything back, once its last readers are through. */
void maple_slab_destroy(struct maple_tree *mt);

/* ---- Writing (mm/maple_write.c, mm/maple_rebuild.c) ------------------------------------------- */

/* The most nodes that a store needs in a tree of that height. */
static inline unsigned long maple_nodes_needed(unsigned int height)
{
	/* Three nodes at each level at most, and a new root. */
	return 3 * (height ? height : 1) + 1;
}

/**
 * struct maple_write - one write
 * @mt: the tree
 * @pool: where nodes are taken from first; NULL: none
 * @first, @last: the range; when it becomes empty, with the empty ranges around it in the end
 * @entry: what to store there
 * @insert: only where nothing is
 * @gfp: where memory may come from
 * @old: what was at @first before
 * @left, @right: paths to the slots of @first and @last
 *
 * Lock: the writers' lock.
 */
struct maple_write {
	struct maple_tree *mt;
	struct maple_pool *pool;
	unsigned long first;
	unsigned long last;
	void *entry;
	bool insert;
	gfp_t gfp;
	void *old;
	struct maple_path left;
	struct maple_path right;
};

/* Store. Return: 0, -EINVAL, -EEXIST, -ENOMEM; on an error nothing has changed. */
int maple_write(struct maple_write *w);

/* The general case: any number of leaves, split, merge, any height. Nodes are at hand. */
void maple_rebuild(struct maple_write *w);

/* Have the way to the node at that depth of a path lead to another one of the same bounds. */
void maple_publish(struct maple_write *w, const struct maple_path *path, unsigned int depth,
		   uintptr_t encoded);
/* The largest gap of the node at that depth of a path has changed: tell its parents. */
void maple_gap_changed(struct maple_write *w, const struct maple_path *path, unsigned int depth,
		       unsigned long gap);

static inline void maple_delay(void)
{
	if (__builtin_expect(maple_delay_hook != NULL, 0))
		maple_delay_hook();
}

/* ---- Checking (mm/maple_check.c) ------------------------------------------------------------ */

/* Which rule is broken, or NULL. */
const char *maple_check(struct maple_tree *mt);

/*
 * After a write, in debug builds: stop the process where a rule is broken. A tree is looked at once
 * for each 64 nodes it has, so that large ones cost no more than small ones.
 */
#ifdef SAMARA_DEBUG
void maple_check_write(struct maple_tree *mt);
#else
static inline void maple_check_write(struct maple_tree *mt)
{
	(void)mt;
}
#endif

static inline bool mt_is_reserved(const void *entry)
{
	return xa_is_internal(entry) && (uintptr_t)entry < 4096;
}

#endif
