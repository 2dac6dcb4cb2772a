/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mm/maple_walkers.h"

#define WALK_TARGET

static inline unsigned int leaf_slot(const struct maple_node *leaf, unsigned long index)
{
	return mt_pivots_below(leaf, index, MAPLE_RANGE64_SLOTS - 1);
}

#include "mm/maple_walk.h"

static bool usable(void)
{
	return true;
}

const struct maple_walker maple_walker_plain = {
	.name = "plain", .usable = usable, .load = walk_load, .walk = walk_path};
