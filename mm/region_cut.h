/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MM_REGION_CUT_H
#define MM_REGION_CUT_H

#include "mm/region.h"

/**
 * region_part_fn - make a region that covers [@first, @last] and is else as @like
 *
 * Return: by malloc(), starting with a struct region after region_init(), in no tree; NULL: no memory.
 */
typedef struct region *region_part_fn(const struct region *like, uint64_t first, uint64_t last);

/**
 * region_isolate() - have regions begin and end where a range does, mark those within, drain them
 *
 * What of the first and the last region lies outside is free for readers all the while; what they
 * hold there is not waited for (but by some lock designs).
 *
 * Context: May sleep: waits for the readers of the range. The tree is locked for writing; regions
 * cover the range's ends.
 * Return: 0; -ENOMEM: nothing was cut, nothing is marked.
 */
int region_isolate(struct region_tree *tree, uint64_t first, uint64_t last, region_part_fn *part);

/**
 * region_unite() - put one region in the place of two neighbours that are alike
 *
 * Nothing changes but who stands for these addresses: the new region is not marked, nobody waits.
 *
 * Context: The tree is locked for writing. What @low and @high guard is not going to be changed any
 * more before the bulk unlock.
 * Return: whether it was done: not when there is no memory, or, in some lock designs, when one of
 * them is held.
 */
bool region_unite(struct region *low, struct region *high, region_part_fn *part);

#endif
