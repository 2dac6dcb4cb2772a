/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mm/maple_walkers.h"

#ifdef MAPLE_HAS_X86_WALKERS

#include <immintrin.h>

#define WALK_TARGET __attribute__((target("avx512f,bmi,bmi2,popcnt")))

/* A leaf's first two cache lines are 16 words: the state, which is not read, and 15 pivots. */
static inline WALK_TARGET unsigned int leaf_slot(const struct maple_node *leaf, unsigned long index)
{
	const long long *words = (const long long *)leaf;
	__m512i key = _mm512_set1_epi64((long long)index);
	__mmask8 low =
		_mm512_mask_cmplt_epu64_mask(0xfe, _mm512_maskz_loadu_epi64(0xfe, words), key);
	__mmask8 high = _mm512_cmplt_epu64_mask(_mm512_load_si512(words + 8), key);

	return (unsigned int)_mm_popcnt_u32((unsigned int)high << 8 | low);
}

#include "mm/maple_walk.h"

static bool usable(void)
{
	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("bmi2") &&
	       __builtin_cpu_supports("popcnt");
}

const struct maple_walker maple_walker_avx512 = {
	.name = "avx512", .usable = usable, .load = walk_load, .walk = walk_path};

#endif
