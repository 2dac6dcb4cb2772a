/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A floor: sorted arrays, binary search without branches, no lock. It cannot be changed. */
#include <stdlib.h>

#include "tests/bench/maple.h"

struct map {
	unsigned long count;
	unsigned long *last;
	struct {
		unsigned long first;
		unsigned long entry;
	} * range;
};

/* The first range that ends at or after the key, if any, is at base in the end. */
static inline unsigned long map_load(struct map *map, unsigned long key)
{
	const unsigned long *base = map->last;
	unsigned long number;

	for (unsigned long left = map->count; left > 1; left -= left / 2)
		base += (base[left / 2 - 1] < key) * (left / 2);
	number = base - map->last;
	return *base >= key && map->range[number].first <= key ? map->range[number].entry : 0;
}

static inline unsigned long map_iter(struct map *map)
{
	unsigned long sum = 0;

	for (unsigned long i = 0; i < map->count; i++)
		sum += map->range[i].entry;
	return sum;
}

#include "tests/bench/maple_loops.h"

static void *create(bool gaps)
{
	(void)gaps;
	return calloc(1, sizeof(struct map));
}

static void destroy(void *arg)
{
	struct map *map = arg;

	free(map->last);
	free(map->range);
	free(map);
}

static void settle(void)
{
}

/* The order does not matter to an array that is made sorted. */
static void fill(void *arg, const struct bench_range *ranges, const uint32_t *order,
		 unsigned long count, bool *failed)
{
	struct map *map = arg;

	map->last = calloc(count, sizeof(*map->last));
	map->range = calloc(count, sizeof(*map->range));
	if (!map->last || !map->range) {
		*failed = true;
		return;
	}
	for (unsigned long i = 0; i < count; i++) {
		const struct bench_range *range = &ranges[order[i]];

		map->last[order[i]] = range->last;
		map->range[order[i]].first = range->first;
		map->range[order[i]].entry = bench_entry(range->number);
	}
	map->count = count;
}

static unsigned long bytes(void *arg)
{
	const struct map *map = arg;

	return map->count * (sizeof(*map->last) + sizeof(*map->range));
}

const struct contestant bench_array = {
	.name = "array",
	.create = create,
	.destroy = destroy,
	.settle = settle,
	.fill = fill,
	.load = loop_load,
	.load_dep = loop_load_dep,
	.iter = loop_iter,
	.bytes = bytes,
};
