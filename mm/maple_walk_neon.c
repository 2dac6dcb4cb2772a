/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mm/maple_walkers.h"

#ifdef MAPLE_HAS_NEON_WALKER

#include <arm_neon.h>

#define WALK_TARGET

/* Lanes that are below count as minus one; the sum of all is minus the slot. */
static inline unsigned int find_slot(uintptr_t encoded, unsigned long index)
{
	const struct maple_node *node = mt_node(encoded);
	const uint64_t *pivot = (const uint64_t *)node->pivot;
	uint64x2_t key = vdupq_n_u64(index);
	uint64x2_t below = vdupq_n_u64(0);
	unsigned int pairs = mt_is_arange(encoded) ? 4 : 7;

	for (unsigned int i = 0; i < pairs; i++)
		below = vaddq_u64(below, vcltq_u64(vld1q_u64(pivot + 2 * i), key));
	return (unsigned int)-vaddvq_u64(below) + (pivot[2 * pairs] < index);
}

#include "mm/maple_walk.h"

/* Part of every 64-bit Arm CPU that Linux runs on. */
static bool usable(void)
{
	return true;
}

const struct maple_walker maple_walker_neon = {
	.name = "neon", .usable = usable, .load = walk_load, .walk = walk_path, .slot = walk_slot};

#endif
