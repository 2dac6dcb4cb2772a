/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A contestant with the maple tree's interface, the kernel's or ours: included after the header
 * that declares it, with these defined: map_read_lock(), map_read_unlock(), map_live(),
 * map_settle() (wait until nothing waits for a grace period), map_end() (before the tree is
 * destroyed) and map_bytes().
 */
#include <stdlib.h>

#include "tests/bench/maple.h"

struct map {
	struct maple_tree tree;
	long live_before;
};

#define MAP_STORES

static inline unsigned long map_load(struct map *map, unsigned long key)
{
	return (unsigned long)mtree_load(&map->tree, key);
}

static inline unsigned long map_iter(struct map *map)
{
	MA_STATE(mas, &map->tree, 0, 0);
	unsigned long sum = 0;
	void *entry;

	map_read_lock();
	mas_for_each (&mas, entry, ULONG_MAX)
		sum += (unsigned long)entry & ~BENCH_OTHER;
	map_read_unlock();
	return sum;
}

static inline int map_store(struct map *map, unsigned long first, unsigned long last,
			    unsigned long entry)
{
	return mtree_store_range(&map->tree, first, last, (void *)entry, GFP_KERNEL);
}

static inline unsigned long map_erase(struct map *map, unsigned long key)
{
	return (unsigned long)mtree_erase(&map->tree, key);
}

#include "tests/bench/maple_loops.h"

/* One lock around all: what is measured is the search. */
static unsigned long loop_gap(void *arg, const struct bench_query *queries, unsigned long count,
			      unsigned long max, bool *failed)
{
	struct map *map = arg;
	unsigned long sum = 0;

	mtree_lock(&map->tree);
	for (unsigned long i = 0; i < count; i++) {
		MA_STATE(mas, &map->tree, 0, 0);

		if (mas_empty_area(&mas, queries[i].min, max, queries[i].size))
			*failed = true;
		sum += mas.index;
	}
	mtree_unlock(&map->tree);
	return sum;
}

static void *create(bool gaps)
{
	struct map *map = aligned_alloc(64, (sizeof(*map) + 63) / 64 * 64);

	if (!map)
		return NULL;
	mt_init_flags(&map->tree, MT_FLAGS_USE_RCU | (gaps ? MT_FLAGS_ALLOC_RANGE : 0));
	map->live_before = map_live();
	return map;
}

static void destroy(void *arg)
{
	struct map *map = arg;

	map_end(map);
	mtree_destroy(&map->tree);
	free(map);
}

static void settle(void)
{
	map_settle();
}

static unsigned long bytes(void *arg)
{
	return map_bytes(arg);
}

#define MAPLE_CONTESTANT(who)                   \
	const struct contestant bench_##who = { \
		.name = #who,                   \
		.stores = true,                 \
		.create = create,               \
		.destroy = destroy,             \
		.settle = settle,               \
		.fill = loop_fill,              \
		.erase = loop_erase,            \
		.load = loop_load,              \
		.load_dep = loop_load_dep,      \
		.iter = loop_iter,              \
		.replace = loop_replace,        \
		.gap = loop_gap,                \
		.bytes = bytes,                 \
	}
