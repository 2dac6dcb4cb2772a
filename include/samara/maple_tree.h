/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef SAMARA_MAPLE_TREE_H
#define SAMARA_MAPLE_TREE_H

#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <samara/xa_entry.h>

/*
 * The maple tree: maps ranges of unsigned long, 0 and ULONG_MAX included, to entries. Ranges do not
 * overlap; a store replaces what lies in its range, and cuts what reaches beyond it.
 *
 * Names, arguments and meanings are those of Linux (Documentation/core-api/maple_tree.rst). An
 * entry is any pointer, or an integer made by xa_mk_value(). NULL means that nothing is there:
 * storing NULL erases. Entries below 4096 whose two lowest bits are 10 are reserved: the simple
 * interface stores none of them but XA_ZERO_ENTRY, and shows that as NULL; the advanced one stores
 * what it is given.
 *
 * mtree_*() and mt_*() take their own locks; mas_*() work on a struct ma_state, with a lock held by
 * the caller: to read, an RCU read-side section (MT_FLAGS_USE_RCU) or the tree's lock; to write,
 * the tree's lock. Return values are 0 or negative errno. Any failure leaves the tree as it was.
 *
 * What a reader sees. A store becomes visible as a whole, by one store to memory, however many
 * ranges it replaces. A look-up is linearizable: what it returns was there at some moment during
 * the call. A state that moves on sees each range as it was at some moment since its walk began,
 * the ranges it meets lie side by side without overlap, and with MT_FLAGS_SNAPSHOT all of them are
 * of one moment, that of the walk.
 */

#define MT_FLAGS_ALLOC_RANGE 0x01u  /* keep the largest gap below each node: mas_empty_area() */
#define MT_FLAGS_USE_RCU     0x02u  /* readers hold RCU, not the lock */
#define MT_FLAGS_LOCK_MASK   0x300u /* how the tree is locked */
#define MT_FLAGS_LOCK_EXTERN 0x300u /* the caller locks; the tree takes no lock of its own */
/*
 * Not in Linux: a walk sees one version of the tree, for as long as its section lasts. Each store
 * then copies one node of each level instead of one in all.
 */
#define MT_FLAGS_SNAPSHOT    0x1000u

/*
 * Where memory for nodes may come from. GFP_KERNEL: also from the C library, which may sleep.
 * GFP_NOWAIT and GFP_ATOMIC: only nodes that the tree has at hand, else -ENOMEM.
 */
#ifndef GFP_KERNEL
typedef unsigned int gfp_t;
#define GFP_NOWAIT 0u
#define GFP_ATOMIC 0u
#define GFP_KERNEL 1u
#endif

struct maple_slab;
struct maple_enode; /* a node, encoded in a pointer; never looked into by users */

/**
 * struct maple_tree - the root and what belongs to it
 * @ma_root: the root node; published with release semantics, so readers need no lock
 * @ma_flags: MT_FLAGS_*; changed under the writers' lock, by mt_set_in_rcu() and mt_clear_in_rcu()
 * @ma_wrapped: mas_alloc_cyclic() gave away ULONG_MAX: the next one tells; writers' lock
 * @ma_slab: the nodes; set by the first store; writers' lock
 * @ma_lock: the writers' lock, unless MT_FLAGS_LOCK_EXTERN
 *
 * All fields are the tree's own. The padding keeps the lock off the cache line that readers read.
 */
struct maple_tree {
	void *ma_root;
	unsigned int ma_flags;
	bool ma_wrapped;
	struct maple_slab *ma_slab;
	char ma_pad[64];
	pthread_mutex_t ma_lock;
};

#define MTREE_INIT(name, flags)                                                             \
	{                                                                                   \
		.ma_root = NULL, .ma_flags = (flags), .ma_wrapped = false, .ma_slab = NULL, \
		.ma_lock = PTHREAD_MUTEX_INITIALIZER,                                       \
	}

/* With a lock of the caller's, of any type; @flags hold MT_FLAGS_LOCK_EXTERN. */
#define MTREE_INIT_EXT(name, flags, lock) MTREE_INIT(name, flags)

#define DEFINE_MTREE(name)                struct maple_tree name = MTREE_INIT(name, 0)

/* No tree that fits into memory is deeper: 4^15 leaves of 256 bytes are 256 GiB. */
#define MAPLE_HEIGHT_MAX                  16

/* The way from the root to a slot of a leaf. */
struct maple_path {
	uint8_t leaf_depth;
	uint8_t slot[MAPLE_HEIGHT_MAX];
	uintptr_t node[MAPLE_HEIGHT_MAX];
};

/* Nodes of the tree's slab that are kept for a state; @keep: mas_expected_entries() took them. */
struct maple_pool {
	unsigned long count;
	bool keep;
};

enum maple_status {
	ma_active,    /* index and last are the range of the slot that the state is at */
	ma_start,     /* not walked yet: the next call starts at index */
	ma_root,      /* as in Linux; not used here, where even a single entry has a node */
	ma_none,      /* walked, and the tree is empty */
	ma_pause,     /* the next call goes on after last, in the tree as it is then */
	ma_overflow,  /* went up to the limit */
	ma_underflow, /* went down to the limit */
	ma_error,     /* failed; xa_err(mas->node) says why */
};

/**
 * struct ma_state - a position in a tree, or a range to be stored
 * @tree: the tree
 * @index: first index of the range
 * @last: last index of the range, inclusive
 * @node: the leaf that the state is at, NULL where it has to be looked up again, or an error entry
 * @status: see enum maple_status
 *
 * The other fields are the tree's own. What a state is at stays valid within one read-side section,
 * or as long as the lock is held and nothing is stored except through the state itself; after that,
 * mas_pause(), mas_reset() or mas_set().
 *
 * Lock: none of its own; used by one thread at a time.
 */
struct ma_state {
	struct maple_tree *tree;
	unsigned long index;
	unsigned long last;
	struct maple_enode *node;
	unsigned long max; /* last index of the leaf */
	enum maple_status status;
	uint8_t offset; /* slot of the leaf */
	uint8_t end;    /* last slot of the leaf */
	struct maple_pool pool;
	struct maple_path path;
};

/* A state for a range. What only a walk sets is left unset: it is most of the struct. */
static inline struct ma_state mas_state(struct maple_tree *mt, unsigned long first,
					unsigned long last)
{
	struct ma_state mas;

	mas.tree = mt;
	mas.index = first;
	mas.last = last;
	mas.node = NULL;
	mas.status = ma_start;
	mas.pool.keep = false;
	mas.pool.count = 0;
	return mas;
}

#define MA_STATE(name, mt, first, end) struct ma_state name = mas_state((mt), (first), (end))

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

/* Whether the caller brings the lock. */
static inline bool mt_external_lock(const struct maple_tree *mt)
{
	return (mt->ma_flags & MT_FLAGS_LOCK_MASK) == MT_FLAGS_LOCK_EXTERN;
}

/* Whether gaps are tracked. */
static inline bool mt_is_alloc(const struct maple_tree *mt)
{
	return mt->ma_flags & MT_FLAGS_ALLOC_RANGE;
}

/* Name the caller's lock, as Linux does for lockdep; there is nothing to tell it to here. */
#define mt_set_external_lock(mt, lock) ((void)(mt), (void)(lock))

/**
 * mtree_lock() - take the tree's own lock; nothing with MT_FLAGS_LOCK_EXTERN
 *
 * Context: May sleep.
 */
void mtree_lock(struct maple_tree *mt);
void mtree_unlock(struct maple_tree *mt);

#define mas_lock(mas)   mtree_lock((mas)->tree)
#define mas_unlock(mas) mtree_unlock((mas)->tree)

/**
 * mt_set_in_rcu() - have nodes freed after a grace period from now on
 * mt_clear_in_rcu() - have nodes used again at once: no reader is without the lock any more
 *
 * Context: Take the tree's lock; with MT_FLAGS_LOCK_EXTERN the caller holds it.
 */
void mt_set_in_rcu(struct maple_tree *mt);
void mt_clear_in_rcu(struct maple_tree *mt);

static inline bool mt_in_rcu(const struct maple_tree *mt)
{
	return mt->ma_flags & MT_FLAGS_USE_RCU;
}

/**
 * mtree_destroy() - empty the tree and give all its memory back
 *
 * Entries are freed by nobody. Readers may still be inside: with MT_FLAGS_USE_RCU the memory goes
 * after a grace period. The tree may be used again at once, or its own memory freed when no reader
 * can come any more.
 *
 * Context: Takes the tree's lock; with MT_FLAGS_LOCK_EXTERN the caller makes sure that nobody
 * writes. Waits for no reader. Every preallocated state of the tree was stored or given to
 * mas_destroy().
 */
void mtree_destroy(struct maple_tree *mt);

/**
 * __mt_destroy() - the same for whoever holds the tree's lock
 */
void __mt_destroy(struct maple_tree *mt);

/**
 * mtree_dup() - copy a whole tree, node by node
 * @new: an empty tree with the same flags
 *
 * On an error @new is empty.
 *
 * Context: May sleep, takes the locks of @new and of @mt, in this order.
 * Return: 0, -ENOMEM, -EINVAL (@new is not empty, or has other flags).
 */
int mtree_dup(struct maple_tree *mt, struct maple_tree *new, gfp_t gfp);

/**
 * __mt_dup() - the same for whoever holds both locks
 */
int __mt_dup(struct maple_tree *mt, struct maple_tree *new, gfp_t gfp);

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
unsigned int mt_height(const struct maple_tree *mt);

/**
 * struct maple_stats - what a tree consists of
 * @nodes: nodes that a reader can reach
 * @bytes: their size
 * @height: levels of nodes
 * @held_nodes: nodes taken from the slab: @nodes, preallocated ones, and those that wait for a
 *              grace period
 * @held_bytes: memory taken from the system
 * @made_nodes: how often a node was put into the tree; never decreases
 */
struct maple_stats {
	unsigned long nodes;
	unsigned long bytes;
	unsigned int height;
	unsigned long held_nodes;
	unsigned long held_bytes;
	unsigned long made_nodes;
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
 * Visits all nodes; for tests. A debug build does it by itself after writes.
 *
 * Context: The writers' lock is held, or nobody writes.
 * Return: 0, -EUCLEAN (a rule is broken).
 */
int mt_validate(struct maple_tree *mt);

/* How mt_dump() writes indices. */
enum mt_dump_format {
	mt_dump_dec,
	mt_dump_hex,
};

/**
 * mt_dump() - describe a tree for people, node by node, indented by level
 * @put: called with one line at a time, without the newline
 * @arg: handed on to @put
 *
 * Context: The writers' lock is held, or nobody writes.
 */
void mt_dump(const struct maple_tree *mt, enum mt_dump_format format,
	     void (*put)(const char *line, void *arg), void *arg);

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
 * mtree_load_rcu() - the same within a read-side section, or under the lock: it opens none itself
 */
void *mtree_load_rcu(struct maple_tree *mt, unsigned long index);

/**
 * mtree_store() - store an entry at one index, whatever was there
 *
 * Context: May sleep, takes the tree's lock. So do all mtree_*() that write.
 * Return: 0, -ENOMEM, -EINVAL.
 */
int mtree_store(struct maple_tree *mt, unsigned long index, void *entry, gfp_t gfp);

/**
 * mtree_store_range() - store an entry at @first to @last, whatever was there
 *
 * Return: 0, -ENOMEM, -EINVAL (@last is below @first, or a reserved entry).
 */
int mtree_store_range(struct maple_tree *mt, unsigned long first, unsigned long last, void *entry,
		      gfp_t gfp);

/**
 * mtree_insert() - store an entry at one index where nothing is
 *
 * Return: 0, -EEXIST, -ENOMEM, -EINVAL.
 */
int mtree_insert(struct maple_tree *mt, unsigned long index, void *entry, gfp_t gfp);

/**
 * mtree_insert_range() - store an entry at @first to @last if all of it is empty
 *
 * Return: 0, -EEXIST (some of it is taken), -ENOMEM, -EINVAL.
 */
int mtree_insert_range(struct maple_tree *mt, unsigned long first, unsigned long last, void *entry,
		       gfp_t gfp);

/**
 * mtree_alloc_range() - store an entry at the lowest empty range of a size
 * @startp: set to the first index on success
 * @size: how many indices
 * @min: lowest index that may be used
 * @max: highest index that may be used
 *
 * Return: 0, -EBUSY (no gap is large enough), -EINVAL (not MT_FLAGS_ALLOC_RANGE; @size is 0 or does
 * not fit between @min and @max; a reserved entry), -ENOMEM.
 */
int mtree_alloc_range(struct maple_tree *mt, unsigned long *startp, void *entry, unsigned long size,
		      unsigned long min, unsigned long max, gfp_t gfp);

/**
 * mtree_alloc_rrange() - the same at the highest empty range
 */
int mtree_alloc_rrange(struct maple_tree *mt, unsigned long *startp, void *entry,
		       unsigned long size, unsigned long min, unsigned long max, gfp_t gfp);

/**
 * mtree_alloc_cyclic() - store an entry at the first empty index from *@next on, then from the start
 * @startp: set to the index on success
 * @next: where to look first; set behind the index that was found
 *
 * Return: 0, 1 (it had to start again from @range_lo), -EBUSY, -EINVAL, -ENOMEM.
 */
int mtree_alloc_cyclic(struct maple_tree *mt, unsigned long *startp, void *entry,
		       unsigned long range_lo, unsigned long range_hi, unsigned long *next,
		       gfp_t gfp);

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

/**
 * mt_next() - the first entry that begins after the range at @index
 * mt_prev() - the last entry that ends before the range at @index
 *
 * Context: As mtree_load().
 */
void *mt_next(struct maple_tree *mt, unsigned long index, unsigned long max);
void *mt_prev(struct maple_tree *mt, unsigned long index, unsigned long min);

/* Visit the entries from @index to @max; @index is an lvalue. */
#define mt_for_each(mt, entry, index, max)                      \
	for ((entry) = mt_find((mt), &(index), (max)); (entry); \
	     (entry) = mt_find_after((mt), &(index), (max)))

/* ---- Advanced interface: states -------------------------------------------------------------- */

/**
 * mas_init() - make a state for one index of a tree
 */
static inline void mas_init(struct ma_state *mas, struct maple_tree *mt, unsigned long index)
{
	*mas = mas_state(mt, index, index);
}

/**
 * mas_reset() - forget the position; the next call starts at index, in the tree as it is then
 *
 * Preallocated nodes stay with the state.
 */
static inline void mas_reset(struct ma_state *mas)
{
	mas->status = ma_start;
	mas->node = NULL;
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
	mas->node = NULL;
}

/* Whether the state is at a slot of the tree. */
static inline bool mas_is_active(const struct ma_state *mas)
{
	return mas->status == ma_active;
}

/* Whether the last call failed: xa_err(mas->node) says why. */
static inline bool mas_is_err(const struct ma_state *mas)
{
	return mas->status == ma_error;
}

/* ---- Advanced interface: reading ------------------------------------------------------------- */

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
 * mas_find_range() - as mas_find(), but after the first call gaps are ranges too, with NULL
 * mas_find_range_rev() - as mas_find_rev(), in the same way
 *
 * The end is told by the status: ma_overflow, ma_underflow.
 */
void *mas_find_range(struct ma_state *mas, unsigned long max);
void *mas_find_range_rev(struct ma_state *mas, unsigned long min);

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

/**
 * mas_next_range() - the next range, be it an entry or a gap
 * mas_prev_range() - the previous one
 */
void *mas_next_range(struct ma_state *mas, unsigned long max);
void *mas_prev_range(struct ma_state *mas, unsigned long min);

/* Visit each entry from mas->index to @max, respectively down to @min. */
#define mas_for_each(mas, entry, max)     while (((entry) = mas_find((mas), (max))) != NULL)
#define mas_for_each_rev(mas, entry, min) while (((entry) = mas_find_rev((mas), (min))) != NULL)

/* Visit entries from mas->index to @max until the first gap. */
#define mas_contiguous(mas, entry, max)   while (((entry) = mas_find_range((mas), (max))) != NULL)

/* ---- Advanced interface: writing -------------------------------------------------------------- */

/**
 * mas_store() - store an entry at mas->index to mas->last
 *
 * Afterwards the state is at what was stored; where NULL joined gaps beside it, at all of the gap.
 *
 * Context: The writers' lock is held. May sleep to get memory.
 * Return: what was at mas->index before, or NULL. Check mas_is_err(): -ENOMEM (see mas_nomem()),
 * -EINVAL (last below index).
 */
void *mas_store(struct ma_state *mas, void *entry);

/**
 * mas_store_gfp() - the same, returning the error; what was preallocated is given back
 *
 * Return: 0, -ENOMEM, -EINVAL.
 */
int mas_store_gfp(struct ma_state *mas, void *entry, gfp_t gfp);

/**
 * mas_erase() - erase the entry that covers mas->index, over its whole range
 *
 * index and last become the gap that is there now.
 *
 * Context: As mas_store().
 * Return: the entry; NULL when nothing was there, or on mas_is_err().
 */
void *mas_erase(struct ma_state *mas);

/**
 * mas_nomem() - after a store that failed: get the memory, so that it can be tried again
 *
 * Context: The writers' lock is held, and is not dropped: it may be slept in.
 * Return: whether to try again; false also when the state has no such error.
 */
bool mas_nomem(struct ma_state *mas, gfp_t gfp);

/**
 * mas_preallocate() - take what mas_store_prealloc() may need at worst
 * @entry: the entry to be stored, NULL to erase
 *
 * At least eight stores may come between this and the store it is for, by whatever means and
 * wherever in the tree: so eight states can be preallocated before the first of them is stored. The
 * range may still be changed by mas_set_range().
 *
 * Context: The writers' lock is held. May sleep to get memory.
 * Return: 0, -ENOMEM, -EINVAL (last below index). On an error the state holds what it held before.
 */
int mas_preallocate(struct ma_state *mas, void *entry, gfp_t gfp);

/**
 * mas_store_prealloc() - store an entry at mas->index to mas->last, after mas_preallocate()
 *
 * Cannot fail after a mas_preallocate() that succeeded, within the limits stated there. What was
 * taken and is not needed is given back.
 *
 * Context: The writers' lock is held. Does not allocate, waits for nobody.
 */
void mas_store_prealloc(struct ma_state *mas, void *entry);

/**
 * mas_expected_entries() - take the nodes for a number of new ranges, to be stored by mas_store()
 *
 * So many stores of new ranges, through this state and in any order, need no memory. The rest is
 * given back by mas_destroy(). With MT_FLAGS_USE_RCU a store cannot use the nodes again that the
 * one before replaced, so it takes several times as many: fill a tree before readers get it.
 *
 * Context: As mas_preallocate().
 * Return: 0, -ENOMEM.
 */
int mas_expected_entries(struct ma_state *mas, unsigned long nr_entries);

/**
 * mas_destroy() - give back what mas_preallocate() or mas_expected_entries() took
 *
 * Needed only where no mas_store_prealloc() follows; harmless otherwise.
 *
 * Context: The writers' lock is held; the tree was not destroyed meanwhile.
 */
void mas_destroy(struct ma_state *mas);

/**
 * mas_empty_area() - the lowest gap of a size
 * @min: lowest index that may be part of it
 * @max: highest index that may be part of it
 * @size: how many indices
 *
 * On success index and last are the @size lowest indices of that gap; a store may follow. Looks at
 * one node per level where gaps are tracked, at every range without MT_FLAGS_ALLOC_RANGE.
 *
 * Context: The lock is held: gaps are not tracked for readers under RCU.
 * Return: 0, -EBUSY (there is none), -EINVAL (@size is 0 or does not fit).
 */
int mas_empty_area(struct ma_state *mas, unsigned long min, unsigned long max, unsigned long size);

/**
 * mas_empty_area_rev() - the highest gap of a size; index and last are its @size highest indices
 */
int mas_empty_area_rev(struct ma_state *mas, unsigned long min, unsigned long max,
		       unsigned long size);

/**
 * mas_alloc_cyclic() - mtree_alloc_cyclic() for whoever holds the writers' lock
 */
int mas_alloc_cyclic(struct ma_state *mas, unsigned long *startp, void *entry,
		     unsigned long range_lo, unsigned long range_hi, unsigned long *next,
		     gfp_t gfp);

#endif
