/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef SAMARA_REGION_TREE_H
#define SAMARA_REGION_TREE_H

#include <stdbool.h>
#include <stdint.h>

#include <samara/error.h>

/*
 * A region tree maps address ranges to objects: guest-physical ranges to memory, MMIO and port
 * ranges to devices. It is an RCU maple tree with a lock per region. A reader looks an address up
 * and holds that one region, or a range of it; a writer changes ranges and waits for the readers of
 * those alone.
 */
struct region_tree;
struct region;

/**
 * struct region_guard - a region, or a range of it, that is read-locked by the calling thread
 * @first: first address that is held
 * @last: last address that is held, inclusive
 *
 * Lives on the caller's stack from region_read_lock() to region_read_unlock(). The other fields are
 * the tree's own.
 */
struct region_guard {
	struct region_tree *tree;
	struct region *region;
	void *slot;
	uint64_t first, last;
};

/**
 * region_tree_create() - make an empty tree
 * @out: the new tree
 *
 * Return: 0, -ENOMEM (also when the process has 64 trees already: each has counters in every
 * thread).
 */
int region_tree_create(struct region_tree **out);

/**
 * region_tree_destroy() - free a tree and every region in it
 *
 * Context: May sleep. No other thread uses the tree any more.
 */
void region_tree_destroy(struct region_tree *tree);

/**
 * region_tree_insert() - publish an object at a range that is wholly free
 * @first: first address
 * @last: last address, inclusive
 * @object: what region_object() shall return; freed by nobody
 *
 * Context: May sleep, takes the tree's lock for writing. The caller holds no region.
 * Return: 0, -EINVAL (@last below @first), -EEXIST (the range is not free), -ENOMEM.
 */
int region_tree_insert(struct region_tree *tree, uint64_t first, uint64_t last, void *object);

/**
 * region_tree_remove() - take the region that starts at @first out
 * @object: what was there
 *
 * When it returns, no reader is inside the region and none will get in.
 *
 * Context: May sleep, takes the tree's lock for writing and waits for the region's readers. The
 * caller holds no region.
 * Return: 0, -ENOENT (no region starts at @first), -ENOMEM.
 */
int region_tree_remove(struct region_tree *tree, uint64_t first, void **object);

/**
 * region_read_lock() - find the region that covers an address and hold it
 * @guard: filled in on success
 *
 * The region stays in the tree, with its bounds, until region_read_unlock().
 *
 * Context: May sleep while a writer changes this very address; then the caller may hold no other
 * region (a debug build asserts it). Any thread; the same thread unlocks.
 * Return: the region, or NULL when nothing is there.
 */
struct region *region_read_lock(struct region_tree *tree, uint64_t address,
				struct region_guard *guard);

/**
 * region_try_read_lock() - the same, but never wait
 * @busy: set to true when NULL is returned because a writer may be changing the address, to false
 *        when nothing was there at some moment during the call
 *
 * Context: Does not sleep. May be called while other regions are held, or the tree lock for reading
 * is. Not in a signal handler.
 * Return: the region, or NULL.
 */
struct region *region_try_read_lock(struct region_tree *tree, uint64_t address,
				    struct region_guard *guard, bool *busy);

/**
 * region_read_lock_range() - find the region that covers an address and hold a range of it
 * @first: first address to hold, at most @address
 * @last: last address to hold, inclusive, at least @address
 * @guard: filled in on success; its @first and @last are what is held: the range, cut to the region
 *
 * As region_read_lock(), but the rest of the region may be changed by writers meanwhile, also by
 * others that split or merge it. So neither region_first() nor region_last() say anything here; what
 * else the region carries is true of the range.
 */
struct region *region_read_lock_range(struct region_tree *tree, uint64_t address, uint64_t first,
				      uint64_t last, struct region_guard *guard);

/**
 * region_try_read_lock_range() - the same, but never wait; as region_try_read_lock()
 */
struct region *region_try_read_lock_range(struct region_tree *tree, uint64_t address,
					  uint64_t first, uint64_t last, struct region_guard *guard,
					  bool *busy);

/**
 * region_read_unlock() - let a region go
 *
 * Context: Does not sleep. The thread that holds it.
 */
void region_read_unlock(struct region_guard *guard);

/* What a region that is held covers and carries. */
uint64_t region_first(const struct region *region);
uint64_t region_last(const struct region *region);
void *region_object(const struct region *region);

#endif
