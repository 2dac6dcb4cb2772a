/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mm/maple_walkers.h"

#ifdef MAPLE_HAS_NEON_WALKER

#include <arm_neon.h>

#define WALK_TARGET

/* Lanes that are below count as minus one; the sum of all is minus the slot. */
static inline unsigned int leaf_slot(const struct maple_node *leaf, unsigned long index)
{
	const uint64_t *pivot = (const uint64_t *)leaf->pivot;
	uint64x2_t key = vdupq_n_u64(index);
	uint64x2_t below = vdupq_n_u64(0);

	for (unsigned int i = 0; i < MAPLE_RANGE64_SLOTS - 2; i += 2)
		below = vaddq_u64(below, vcltq_u64(vld1q_u64(pivot + i), key));
	return (unsigned int)-vaddvq_u64(below) + (pivot[MAPLE_RANGE64_SLOTS - 2] < index);
}

#include "mm/maple_walk.h"

/* Part of every 64-bit Arm CPU that Linux runs on. */
static bool usable(void)
{
	return true;
}

const struct maple_walker maple_walker_neon = {
	.name = "neon", .usable = usable, .load = walk_load, .walk = walk_path};

#endif
