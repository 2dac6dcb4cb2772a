/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef SAMARA_MAPLE_TREE_H
#define SAMARA_MAPLE_TREE_H

#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The maple tree: maps ranges of unsigned long, 0 and ULONG_MAX included, to pointers. Ranges do
 * not overlap; a store replaces what lies in its range, and cuts what reaches beyond it.
 *
 * Names and meanings are those of Linux (Documentation/core-api/maple_tree.rst), without the gfp
 * arguments. The entry NULL means that nothing is there: storing NULL erases. Entries below 4096
 * whose two lowest bits are 10 are reserved, as they are there; any other pointer will do.
 *
 * mtree_*() and mt_*() take their own locks; mas_*() work on a struct ma_state, with a lock held by
 * the caller: to read, an RCU read-side section (MT_FLAGS_USE_RCU) or the tree's lock; to write,
 * the tree's lock. Return values are 0 or negative errno: -ENOMEM, -EINVAL (a range whose end
 * precedes its start, a reserved entry), -EEXIST. Any failure leaves the tree as it was.
 */

#define MT_FLAGS_USE_RCU     0x02u  /* readers hold RCU, not the lock */
#define MT_FLAGS_LOCK_EXTERN 0x300u /* the caller locks; the tree takes no lock of its own */

struct maple_slab;

/**
 * struct maple_tree - the root and what belongs to it
 * @ma_root: the root node; published with release semantics, so readers need no lock
 * @ma_flags: MT_FLAGS_*, immutable
 * @ma_slab: the nodes; set by the first store; writers' lock
 * @ma_lock: the writers' lock, unless MT_FLAGS_LOCK_EXTERN
 *
 * All fields are the tree's own. The padding keeps the lock off the cache line that readers read.
 */
struct maple_tree {
	void *ma_root;
	unsigned int ma_flags;
	struct maple_slab *ma_slab;
	char ma_pad[64];
	pthread_mutex_t ma_lock;
};

#define MTREE_INIT(name, flags)                                        \
	{                                                              \
		.ma_root = NULL, .ma_flags = (flags), .ma_slab = NULL, \
		.ma_lock = PTHREAD_MUTEX_INITIALIZER,                  \
	}

#define DEFINE_MTREE(name) struct maple_tree name = MTREE_INIT(name, 0)

/* No tree that fits into memory is deeper: 2 * 6^15 leaves of 256 bytes. */
#define MAPLE_HEIGHT_MAX   16

/* The way from the root to a slot of a leaf; nodes are encoded pointers. */
struct maple_path {
	unsigned int leaf_depth;
	uint8_t slot[MAPLE_HEIGHT_MAX];
	uintptr_t node[MAPLE_HEIGHT_MAX];
};

/* Nodes taken from the tree's slab and not used yet. */
struct maple_pool {
	struct maple_node *head;
	unsigned int count;
};

enum maple_status {
	ma_start,     /* not walked yet: the next call starts at index */
	ma_active,    /* index and last are the range of the slot that the state is at */
	ma_none,      /* walked, and the tree is empty */
	ma_pause,     /* the next call goes on after last, in the tree as it is then */
	ma_overflow,  /* went up to the limit */
	ma_underflow, /* went down to the limit */
	ma_error,     /* a store failed: mas_error() */
};

/**
 * struct ma_state - a position in a tree, or a range to be stored
 * @tree: the tree
 * @index: first index of the range
 * @last: last index of the range, inclusive
 * @status: see enum maple_status
 *
 * The other fields are the tree's own. A state sees the tree as it was when its walk began. What
 * it is at stays valid within one read-side section, or as long as the lock is held and nothing is
 * stored except through the state itself; after that, mas_pause(), mas_reset() or mas_set().
 *
 * Lock: none of its own; used by one thread at a time.
 */
struct ma_state {
	struct maple_tree *tree;
	unsigned long index;
	unsigned long last;
	enum maple_status status;
	int error;
	unsigned long leaf_max;
	struct maple_pool pool;
	struct maple_path path;
};

#define MA_STATE(name, mt, first, end) \
	struct ma_state name = {       \
		.tree = (mt),          \
		.index = (first),      \
		.last = (end),         \
		.status = ma_start,    \
	}

/* ---- The tree as a whole -------------------------------------------------------------------- */

/**
 * mt_init_flags() - make an empty tree
 * @flags: MT_FLAGS_*
 *
 * Cannot fail: memory is first needed by the first store.
 */
void mt_init_flags(struct maple_tree *mt, unsigned int flags);

/**
 * mt_init() - make an empty tree whose readers take the lock
 */
static inline void mt_init(struct maple_tree *mt)
{
	mt_init_flags(mt, 0);
}

/**
 * mtree_destroy() - empty the tree and give all its memory back
 *
 * Waits until readers and pending frees of this tree are through. Entries are freed by nobody. The
 * tree may be used again.
 *
 * Context: Sleeps. Takes the tree's lock; with MT_FLAGS_LOCK_EXTERN the caller makes sure that
 * nobody writes. Not in a read-side section, nor while a reader waits for a lock held by the
 * caller. Every preallocated state of the tree was stored or given to mas_destroy().
 */
void mtree_destroy(struct maple_tree *mt);

/**
 * mtree_empty() - whether the tree holds no entry at all
 *
 * Context: Any.
 */
bool mtree_empty(const struct maple_tree *mt);

/**
 * mt_height() - levels of nodes, 0 for an empty tree
 *
 * Context: Takes an RCU read-side section; without MT_FLAGS_USE_RCU nobody writes meanwhile.
 */
unsigned int mt_height(struct maple_tree *mt);

/**
 * struct maple_stats - what a tree consists of
 * @nodes: nodes that a reader can reach
 * @bytes: their size
 * @height: levels of nodes
 * @held_nodes: nodes taken from the slab: @nodes, preallocated ones, and those that wait for a
 *              grace period
 * @held_bytes: memory taken from the C library
 */
struct maple_stats {
	unsigned long nodes;
	unsigned long bytes;
	unsigned int height;
	unsigned long held_nodes;
	unsigned long held_bytes;
};

/**
 * mt_stats() - count the nodes
 *
 * Context: Does not sleep. The writers' lock is held, or nobody writes.
 */
void mt_stats(struct maple_tree *mt, struct maple_stats *stats);

/**
 * mt_validate() - check every rule that the structure must keep
 *
 * Visits all nodes; for tests and debug builds.
 *
 * Context: The writers' lock is held, or nobody writes.
 * Return: 0, -EUCLEAN (a rule is broken).
 */
int mt_validate(struct maple_tree *mt);

/**
 * mtree_lock() - take the tree's own lock; nothing with MT_FLAGS_LOCK_EXTERN
 *
 * Context: May sleep.
 */
void mtree_lock(struct maple_tree *mt);
void mtree_unlock(struct maple_tree *mt);

/* ---- Simple interface ----------------------------------------------------------------------- */

/**
 * mtree_load() - the entry at an index
 *
 * Wait-free: one pass from the root to a leaf.
 *
 * Context: Any; takes an RCU read-side section of its own. What the entry points to is the caller's
 * to keep alive: a read-side section around both, or the lock. Without MT_FLAGS_USE_RCU nobody
 * writes meanwhile.
 * Return: the entry, or NULL.
 */
void *mtree_load(struct maple_tree *mt, unsigned long index);

/**
 * mtree_store() - store an entry at one index, whatever was there
 *
 * Context: May sleep, takes the tree's lock. So do all mtree_*() that write.
 * Return: 0, -ENOMEM, -EINVAL.
 */
int mtree_store(struct maple_tree *mt, unsigned long index, void *entry);

/**
 * mtree_store_range() - store an entry at @first to @last, whatever was there
 *
 * Return: 0, -ENOMEM, -EINVAL.
 */
int mtree_store_range(struct maple_tree *mt, unsigned long first, unsigned long last, void *entry);

/**
 * mtree_insert() - store an entry at one index where nothing is
 *
 * Return: 0, -EEXIST, -ENOMEM, -EINVAL.
 */
int mtree_insert(struct maple_tree *mt, unsigned long index, void *entry);

/**
 * mtree_insert_range() - store an entry at @first to @last if all of it is empty
 *
 * Return: 0, -EEXIST (some of it is taken), -ENOMEM, -EINVAL.
 */
int mtree_insert_range(struct maple_tree *mt, unsigned long first, unsigned long last, void *entry);

/**
 * mtree_erase() - erase the entry that covers an index, over its whole range
 *
 * Needs memory as every store does. Where erasing must not fail, use mas_preallocate() with NULL.
 *
 * Return: the entry; NULL when nothing was there, or when there was no memory.
 */
void *mtree_erase(struct maple_tree *mt, unsigned long index);

/**
 * mt_find() - the first entry at or after *@index
 * @index: where to start; moved behind the end of the entry that was found
 * @max: last index to look at
 *
 * Context: As mtree_load(). Each call sees the tree of its own moment.
 * Return: the entry, or NULL.
 */
void *mt_find(struct maple_tree *mt, unsigned long *index, unsigned long max);

/**
 * mt_find_after() - mt_find(), but nothing when *@index is 0: the search has wrapped around
 */
void *mt_find_after(struct maple_tree *mt, unsigned long *index, unsigned long max);

/* Visit the entries from @index to @max; @index is an lvalue. */
#define mt_for_each(mt, entry, index, max)                      \
	for ((entry) = mt_find((mt), &(index), (max)); (entry); \
	     (entry) = mt_find_after((mt), &(index), (max)))

/* ---- Advanced interface --------------------------------------------------------------------- */

/**
 * mas_init() - make a state for one index of a tree
 */
static inline void mas_init(struct ma_state *mas, struct maple_tree *mt, unsigned long index)
{
	*mas = (struct ma_state){.tree = mt, .index = index, .last = index, .status = ma_start};
}

/**
 * mas_reset() - forget the position; the next call starts at index, in the tree as it is then
 *
 * Preallocated nodes stay with the state.
 */
static inline void mas_reset(struct ma_state *mas)
{
	mas->status = ma_start;
	mas->error = 0;
}

/**
 * mas_set_range() - start anew with a range
 */
static inline void mas_set_range(struct ma_state *mas, unsigned long first, unsigned long last)
{
	mas_reset(mas);
	mas->index = first;
	mas->last = last;
}

/**
 * mas_set() - start anew at an index
 */
static inline void mas_set(struct ma_state *mas, unsigned long index)
{
	mas_set_range(mas, index, index);
}

/**
 * mas_pause() - be ready to drop the lock or to leave the read-side section within an iteration
 *
 * The next mas_find() or mas_next() goes on after the last entry.
 */
static inline void mas_pause(struct ma_state *mas)
{
	mas->status = ma_pause;
}

/* Whether the state is at a slot of the tree. */
static inline bool mas_is_active(const struct ma_state *mas)
{
	return mas->status == ma_active;
}

/* Whether the last store through the state failed. */
static inline bool mas_is_err(const struct ma_state *mas)
{
	return mas->status == ma_error;
}

/* Why it failed: negative errno, or 0. */
static inline int mas_error(const struct ma_state *mas)
{
	return mas->status == ma_error ? mas->error : 0;
}

/**
 * mas_walk() - go to mas->index, in the tree as it is now
 *
 * index and last become the range of the entry, or of the gap, that is there.
 *
 * Context: RCU or lock. Does not sleep, does not wait.
 * Return: the entry, or NULL.
 */
void *mas_walk(struct ma_state *mas);

/**
 * mas_find() - at first the entry at or after mas->index, then always the next one
 * @max: last index to look at
 *
 * Context: As mas_walk().
 * Return: the entry, with index and last set to its range; NULL when there is none up to @max.
 */
void *mas_find(struct ma_state *mas, unsigned long max);

/**
 * mas_find_rev() - at first the entry at or before mas->index, then always the previous one
 * @min: lowest index to look at
 */
void *mas_find_rev(struct ma_state *mas, unsigned long min);

/**
 * mas_next() - the first entry after the range that the state is at
 * @max: last index to look at
 *
 * A state that is not walked yet is taken to be at the range that covers mas->index.
 */
void *mas_next(struct ma_state *mas, unsigned long max);

/**
 * mas_prev() - the last entry before the range that the state is at
 * @min: lowest index to look at
 */
void *mas_prev(struct ma_state *mas, unsigned long min);

/* Visit each entry from mas->index to @max, respectively down to @min. */
#define mas_for_each(mas, entry, max)     while (((entry) = mas_find((mas), (max))) != NULL)
#define mas_for_each_rev(mas, entry, min) while (((entry) = mas_find_rev((mas), (min))) != NULL)

/**
 * mas_store() - store an entry at mas->index to mas->last
 *
 * Afterwards the state is as after mas_pause(): an iteration goes on after the range, in the new
 * tree.
 *
 * Context: The writers' lock is held. May sleep to get memory.
 * Return: what was at mas->index before, or NULL. Check mas_is_err(): -ENOMEM, -EINVAL.
 */
void *mas_store(struct ma_state *mas, void *entry);

/**
 * mas_erase() - erase the entry that covers mas->index, over its whole range
 *
 * index and last become that range.
 *
 * Context: As mas_store().
 * Return: the entry; NULL when nothing was there, or on mas_is_err().
 */
void *mas_erase(struct ma_state *mas);

/**
 * mas_preallocate() - take what mas_store_prealloc() may need at worst
 * @entry: the entry to be stored, NULL to erase
 *
 * At least eight stores may come between this and the store it is for, by whatever means and
 * wherever in the tree: so eight states can be preallocated before the first of them is stored. The
 * range may still be changed by mas_set_range().
 *
 * Context: The writers' lock is held. May sleep to get memory.
 * Return: 0, -ENOMEM, -EINVAL. On an error the state holds what it held before.
 */
int mas_preallocate(struct ma_state *mas, void *entry);

/**
 * mas_store_prealloc() - store an entry at mas->index to mas->last, after mas_preallocate()
 *
 * Cannot fail after a mas_preallocate() that succeeded, within the limits stated there. What was
 * taken and is not needed is given back.
 *
 * Context: The writers' lock is held. Does not allocate, waits for nobody but a callback that
 * gives nodes back.
 */
void mas_store_prealloc(struct ma_state *mas, void *entry);

/**
 * mas_destroy() - give back what mas_preallocate() took
 *
 * Needed only where no mas_store_prealloc() follows; harmless otherwise.
 *
 * Context: Any that may take a mutex; the tree was not destroyed meanwhile.
 */
void mas_destroy(struct ma_state *mas);

#endif
