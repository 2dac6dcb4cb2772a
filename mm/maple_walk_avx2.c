/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mm/maple_walkers.h"

#ifdef MAPLE_HAS_X86_WALKERS

#include <immintrin.h>

#define WALK_TARGET __attribute__((target("avx2,bmi,bmi2,popcnt")))

/* Which of four pivots are below the key. AVX2 compares signed: both have their top bit turned. */
static inline WALK_TARGET unsigned int below4(__m256i pivots, __m256i turned_key, __m256i top)
{
	return (unsigned int)_mm256_movemask_pd(
		_mm256_castsi256_pd(_mm256_cmpgt_epi64(turned_key, _mm256_xor_si256(pivots, top))));
}

/* A leaf's first 16 words: the state, which is not read, and 15 pivots. */
static inline WALK_TARGET unsigned int leaf_slot(const struct maple_node *leaf, unsigned long index)
{
	const long long *words = (const long long *)leaf;
	__m256i top = _mm256_set1_epi64x((long long)(1ull << 63));
	__m256i key = _mm256_xor_si256(_mm256_set1_epi64x((long long)index), top);
	__m256i no_state = _mm256_set_epi64x(-1, -1, -1, 0);
	unsigned int below =
		(below4(_mm256_maskload_epi64(words, no_state), key, top) & 0xe) |
		below4(_mm256_load_si256((const __m256i *)(words + 4)), key, top) << 4 |
		below4(_mm256_load_si256((const __m256i *)(words + 8)), key, top) << 8 |
		below4(_mm256_load_si256((const __m256i *)(words + 12)), key, top) << 12;

	return (unsigned int)_mm_popcnt_u32(below);
}

#include "mm/maple_walk.h"

static bool usable(void)
{
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") &&
	       __builtin_cpu_supports("popcnt");
}

const struct maple_walker maple_walker_avx2 = {
	.name = "avx2", .usable = usable, .load = walk_load, .walk = walk_path};

#endif
