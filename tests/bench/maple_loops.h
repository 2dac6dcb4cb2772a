/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The loops that are timed: a template, included once by each contestant after it has defined
 * struct map and these inline functions. So everybody runs the very same loops, with direct calls.
 *
 *   unsigned long map_load(struct map *, key)                   the entry, 0 when nothing is there
 *   unsigned long map_iter(struct map *)          visit all entries under one lock, sum of entries
 *   int map_store(struct map *, first, last, entry)             0 or -errno, with MAP_STORES only
 *   unsigned long map_erase(struct map *, key)                    the entry, with MAP_STORES only
 */
#include "tests/bench/maple.h"

static unsigned long loop_load(void *arg, const unsigned long *keys, unsigned long count)
{
	struct map *map = arg;
	unsigned long sum = 0;

	for (unsigned long i = 0; i < count; i++)
		sum += map_load(map, keys[i]) & ~BENCH_OTHER;
	return sum;
}

/* The mask is zero, which the compiler does not know and the processor does not guess. */
static unsigned long loop_load_dep(void *arg, const unsigned long *keys, unsigned long count,
				   unsigned long zero)
{
	struct map *map = arg;
	unsigned long sum = 0, entry = 0;

	for (unsigned long i = 0; i < count; i++) {
		entry = map_load(map, keys[i] + (entry & zero));
		sum += entry & ~BENCH_OTHER;
	}
	return sum;
}

static unsigned long loop_iter(void *arg)
{
	return map_iter(arg);
}

#ifdef MAP_STORES
static void loop_fill(void *arg, const struct bench_range *ranges, const uint32_t *order,
		      unsigned long count, bool *failed)
{
	struct map *map = arg;

	for (unsigned long i = 0; i < count; i++) {
		const struct bench_range *range = &ranges[order[i]];

		if (map_store(map, range->first, range->last, bench_entry(range->number)))
			*failed = true;
	}
}

static unsigned long loop_erase(void *arg, const struct bench_range *ranges, const uint32_t *order,
				unsigned long count)
{
	struct map *map = arg;
	unsigned long sum = 0;

	for (unsigned long i = 0; i < count; i++)
		sum += map_erase(map, ranges[order[i]].first);
	return sum;
}

/* Whatever of this a reader meets, the entry at an index belongs to the same range. */
static void loop_replace(void *arg, const struct bench_range *ranges, const uint32_t *order,
			 unsigned long count, const bool *stop, unsigned long *stores, bool *failed)
{
	struct map *map = arg;
	unsigned long done = 0;

	for (unsigned long i = 0; !__atomic_load_n(stop, __ATOMIC_RELAXED);
	     i = i + 1 == count ? 0 : i + 1) {
		const struct bench_range *range = &ranges[order[i]];
		unsigned long middle = range->first + (range->last - range->first) / 2;
		unsigned long entry = bench_entry(range->number);

		if (map_store(map, range->first, range->last, entry | BENCH_OTHER) ||
		    map_store(map, range->first, middle, entry) ||
		    map_store(map, range->first, range->last, entry))
			*failed = true;
		done += 3;
	}
	*stores = done;
}
#endif
