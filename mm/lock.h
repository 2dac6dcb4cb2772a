/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MM_LOCK_H
#define MM_LOCK_H

#include <stdbool.h>

#include <samara/region_tree.h>

#include "mm/thread_state.h"

/*
 * The lock design: what LOCK= chooses when building. One file, mm/lock_LOCK.c, implements the first
 * part of this header, and region_try_read_lock_range() and region_read_unlock() of
 * <samara/region_tree.h>. The second part is the same for all.
 *
 * Legal states of a thread, by what it holds:
 *
 *   nothing            may take anything
 *   regions            may try for more regions; may not wait for a tree lock
 *   tree for reading   may try for regions (none is busy then); may keep them when it lets go
 *   tree for writing   may mark regions of that tree and drain them; holds no region
 */

/* ---- By design -------------------------------------------------------------------------------- */

/* The name that LOCK= has. */
extern const char lock_design[];

/* What a design has in each tree. Return: 0, -ENOMEM, or what the kernel said. */
int lock_init_tree(struct region_tree *tree);
void lock_destroy_tree(struct region_tree *tree);

/**
 * region_try_fault_lock() - region_try_read_lock_range() for the time of one fault
 *
 * As short as that, nothing else is waited for, and no other region is tried for, before
 * region_read_unlock(). A design may do it more cheaply.
 */
struct region *region_try_fault_lock(struct region_tree *tree, uint64_t address, uint64_t first,
				     uint64_t last, struct region_guard *guard, bool *busy);

/**
 * region_start_write() - mark a region: new readers are turned away (vma_start_write in Linux)
 *
 * Readers that are in stay in until region_drain(). Marking twice is as marking once. A region that
 * is not in the tree yet can be marked too: so it is from the moment it can be found.
 *
 * Context: Does not sleep. The tree is locked for writing.
 */
void region_start_write(struct region *region);

/**
 * region_start_cut() - prepare a region to be replaced by others that together cover its range
 *
 * A design that knows its holders by range does nothing: they stay in, and whoever marks one of the
 * new regions waits for those of them that are in its way. Any other marks the region, and its
 * readers are waited for by region_drain().
 *
 * Context: Does not sleep. The tree is locked for writing.
 */
void region_start_cut(struct region *region);

/**
 * region_try_start_cut() - the same, if it takes no waiting
 *
 * Context: Does not sleep. The tree is locked for writing.
 * Return: whether it did; if not, the region is as before.
 */
bool region_try_start_cut(struct region *region);

/* What region_drain() does. Something is marked. */
void lock_drain(struct region_tree *tree);

/* The writer is done with what it marked. Context: just before the bulk unlock. */
void lock_end_write(struct region_tree *tree);

/**
 * lock_is_held() - whether somebody still holds a range through a region that is over
 *
 * Context: The region was retired, and a grace period is over.
 */
bool lock_is_held(const struct region *region);

/* ---- The same for all ------------------------------------------------------------------------- */

/* Keep writers of a tree out. Context: May sleep; holds no region. */
void lock_tree_read(struct region_tree *tree);
void unlock_tree_read(struct region_tree *tree);

/* Be the only writer of a tree. Context: May sleep; holds no region. */
void lock_tree_write(struct region_tree *tree);

/**
 * region_drain() - wait until no reader holds anything in the range of a region that is marked
 *
 * Context: May sleep. The tree is locked for writing.
 */
void region_drain(struct region_tree *tree);

/* Let the tree go, and with it every region that was marked: one store unlocks them all. */
void unlock_tree_write(struct region_tree *tree);

/* How many regions and tree locks the calling thread holds, over all trees. */
unsigned int lock_thread_holds(void);

#endif
