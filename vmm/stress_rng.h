/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_STRESS_RNG_H
#define VMM_STRESS_RNG_H

#include <stdint.h>

/**
 * struct stress_rng - splitmix64 (Steele, Lea, Flood 2014): each worker has one, derived from the
 * seed, so a seed gives the same choices
 */
struct stress_rng {
	uint64_t state;
};

static inline uint64_t stress_random(struct stress_rng *rng)
{
	uint64_t z = rng->state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* 0 .. @limit - 1; @limit is far below 2^64, so the bias does not matter. */
static inline uint64_t stress_below(struct stress_rng *rng, uint64_t limit)
{
	return stress_random(rng) % limit;
}

#endif
