/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef SAMARA_MM_MAPLE_INTERNAL_H
#define SAMARA_MM_MAPLE_INTERNAL_H

#include <samara/maple_tree.h>

#include "mm/rcu.h"

/*
 * What the parts of the maple tree share. The rules are stated at the head of mm/maple_tree.c.
 */

#define MAPLE_NODE_BYTES 256u
#define MAPLE_SLOTS      16u
/* Fewest slots of a node that is not the root. Two merged or split ones have at least this many. */
#define MAPLE_SLOTS_MIN  6u

/**
 * struct maple_node - pivots and slots of one node
 * @link: the next node in a list of nodes that are free, or about to be; no reader reads it
 * @pivot: last index of each slot, ULONG_MAX for those that are not used
 * @slot: entries in a leaf, encoded nodes above
 *
 * Slot i covers the indices after pivot[i - 1] up to pivot[i]; the first one starts at the node's
 * minimum and the last one used ends at its maximum, which the walk hands down.
 *
 * Lock: immutable from the moment it is published until its grace period has ended, but for @link,
 * which belongs to the writers.
 */
struct maple_node {
	struct maple_node *link;
	unsigned long pivot[MAPLE_SLOTS - 1];
	void *slot[MAPLE_SLOTS];
} __attribute__((aligned(256)));

_Static_assert(sizeof(struct maple_node) == MAPLE_NODE_BYTES, "a node is four cache lines");

/*
 * An encoded node: the address, and in the eight bits that alignment leaves free the index of the
 * last used slot (0-3), whether it is a leaf (4), and the node type (5-7).
 */
#define MAPLE_ENCODED_LAST 0x0fu
#define MAPLE_ENCODED_LEAF 0x10u
#define MAPLE_ENCODED_TYPE 0xe0u
#define MAPLE_TYPE_RANGE64 0x20u /* the only type there is */

static inline uintptr_t mt_encode(const struct maple_node *node, unsigned int slots, bool leaf)
{
	return (uintptr_t)node | (slots - 1) | (leaf ? MAPLE_ENCODED_LEAF : 0) | MAPLE_TYPE_RANGE64;
}

static inline struct maple_node *mt_node(uintptr_t encoded)
{
	return (struct maple_node *)(encoded & ~(uintptr_t)(MAPLE_NODE_BYTES - 1));
}

static inline bool mt_is_leaf(uintptr_t encoded)
{
	return encoded & MAPLE_ENCODED_LEAF;
}

static inline unsigned int mt_last_slot(uintptr_t encoded)
{
	return encoded & MAPLE_ENCODED_LAST;
}

static inline uintptr_t mt_child(uintptr_t encoded, unsigned int slot)
{
	return (uintptr_t)mt_node(encoded)->slot[slot];
}

/*
 * The slot that covers an index. Unused pivots are never below it, so all of them can be compared,
 * without a branch that would depend on the data.
 */
static inline unsigned int mt_find_slot(const struct maple_node *node, unsigned long index)
{
	unsigned int slot = 0;

#pragma GCC unroll 15
	for (unsigned int i = 0; i < MAPLE_SLOTS - 1; i++)
		slot += node->pivot[i] < index;
	return slot;
}

/* ---- Paths (mm/maple_path.c) ---------------------------------------------------------------- */

/* From the root to the slot that covers an index. */
void maple_path_walk(struct maple_path *path, uintptr_t root, unsigned long index);
/* To the first slot of the next node at that depth, or the last slot of the previous one. */
bool maple_path_next(struct maple_path *path, unsigned int depth);
bool maple_path_prev(struct maple_path *path, unsigned int depth);
/* What the node at that depth covers. */
unsigned long maple_path_min(const struct maple_path *path, unsigned int depth);
unsigned long maple_path_max(const struct maple_path *path, unsigned int depth);

/* ---- Nodes (mm/maple_slab.c) ---------------------------------------------------------------- */

/* A list of nodes through their links; the tail makes joining two of them cheap. */
struct maple_chain {
	struct maple_node *head;
	struct maple_node *tail;
	unsigned long count;
};

static inline void maple_chain_add(struct maple_chain *chain, struct maple_node *node)
{
	node->link = chain->head;
	if (!chain->head)
		chain->tail = node;
	chain->head = node;
	chain->count++;
}

/* For tests: asked before each allocation, of a node or of memory; true makes that one fail. */
extern bool (*maple_alloc_hook)(void);
/* For torture: overwrite nodes that are free, so that whoever still reads one falls over it. */
extern bool maple_poison_nodes;

/* Fill a pool up to @count nodes; on an error it is as before. Writers' lock. */
int maple_pool_fill(struct maple_tree *mt, struct maple_pool *pool, unsigned int count);
/* Take one from a pool that is known not to be empty. */
struct maple_node *maple_pool_take(struct maple_pool *pool);
/* Give back what is left in a pool. */
void maple_pool_drain(struct maple_tree *mt, struct maple_pool *pool);
/*
 * After a write: give back what is left in the pool, and have the replaced nodes freed after a
 * grace period. @added nodes were published.
 */
void maple_slab_commit(struct maple_tree *mt, struct maple_pool *pool, struct maple_chain *replaced,
		       unsigned long added);
/* Nobody reads or writes any more: wait for pending frees, give everything back. */
void maple_slab_destroy(struct maple_tree *mt);

/* ---- Writing (mm/maple_write.c) ------------------------------------------------------------- */

/* The most nodes that a store needs in a tree of that height. */
static inline unsigned int maple_nodes_needed(unsigned int height)
{
	/* Three nodes at each level at most, and a new root. */
	return 3 * (height ? height : 1) + 1;
}

/* Store; nodes that the pool lacks are allocated first, the rest is given back. */
int maple_write(struct maple_tree *mt, struct maple_pool *pool, unsigned long first,
		unsigned long last, void *entry);

/* ---- Checking (mm/maple_check.c) ------------------------------------------------------------ */

/* Which rule is broken, or NULL. */
const char *maple_check(struct maple_tree *mt);

static inline bool mt_is_reserved(const void *entry)
{
	return ((uintptr_t)entry & 3) == 2 && (uintptr_t)entry < 4096;
}

#endif
