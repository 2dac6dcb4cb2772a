/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mm/maple_walkers.h"

#define WALK_TARGET

/*
 * Unused pivots are never below the index, so all of them can be compared, without a branch that
 * would depend on the data.
 */
static inline unsigned int find_slot(uintptr_t encoded, unsigned long index)
{
	const struct maple_node *node = mt_node(encoded);
	unsigned int slot = 0;

	if (mt_is_arange(encoded)) {
#pragma GCC unroll 9
		for (unsigned int i = 0; i < MAPLE_ARANGE64_SLOTS - 1; i++)
			slot += node->pivot[i] < index;
	} else {
#pragma GCC unroll 15
		for (unsigned int i = 0; i < MAPLE_RANGE64_SLOTS - 1; i++)
			slot += node->pivot[i] < index;
	}
	return slot;
}

#include "mm/maple_walk.h"

static bool usable(void)
{
	return true;
}

const struct maple_walker maple_walker_plain = {
	.name = "plain", .usable = usable, .load = walk_load, .walk = walk_path, .slot = walk_slot};
