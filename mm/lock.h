/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MM_LOCK_H
#define MM_LOCK_H

#include <stdbool.h>

#include <samara/region_tree.h>

#include "mm/thread_state.h"

/*
 * The lock design: what LOCK= chooses when building. One file implements all of this header, and
 * region_try_read_lock() and region_read_unlock() of <samara/region_tree.h>.
 *
 * Legal states of a thread, by what it holds:
 *
 *   nothing            may take anything
 *   regions            may try for more regions; may not wait for a tree lock
 *   tree for reading   may try for regions (none is busy then); may keep them when it lets go
 *   tree for writing   may mark regions of that tree and drain them; holds no region
 */

/* The name that LOCK= has. */
extern const char lock_design[];

/* Keep writers of a tree out. Context: May sleep; holds no region. */
void lock_tree_read(struct region_tree *tree);
void unlock_tree_read(struct region_tree *tree);

/* Be the only writer of a tree. Context: May sleep; holds no region. */
void lock_tree_write(struct region_tree *tree);

/* Let the tree go, and with it every region that was marked: one store unlocks them all. */
void unlock_tree_write(struct region_tree *tree);

/**
 * region_start_write() - mark a region: new readers are turned away (vma_start_write in Linux)
 *
 * Readers that are in stay in until region_drain(). Marking twice is as marking once.
 *
 * Context: Does not sleep. The tree is locked for writing.
 */
void region_start_write(struct region *region);

/**
 * region_start_marked() - the same for a region that no reader has ever seen
 */
void region_start_marked(struct region *region);

/**
 * region_drain() - wait until no reader is in any region that is marked
 *
 * Context: May sleep. The tree is locked for writing.
 */
void region_drain(struct region_tree *tree);

/**
 * region_try_start_write() - mark a region and drain it if that takes no waiting
 *
 * Context: Does not sleep. The tree is locked for writing.
 * Return: whether it did; if not, the region is as before.
 */
bool region_try_start_write(struct region *region);

/* How many regions and tree locks the calling thread holds, over all trees. */
unsigned int lock_thread_holds(void);

#endif
