/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What one would take otherwise: a red-black tree of ranges (BSD's, as packaged by libbsd) behind a
 * pthread reader-writer lock.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <bsd/sys/tree.h>

#include "tests/bench/maple.h"

/* Lock: the map's. */
struct node {
	RB_ENTRY(node) links;
	unsigned long first;
	unsigned long last;
	unsigned long entry;
};

RB_HEAD(tree, node);

struct map {
	struct tree tree;
	unsigned long nodes;
	pthread_rwlock_t lock;
};

static inline int compare(const struct node *a, const struct node *b)
{
	return a->first < b->first ? -1 : a->first > b->first;
}

RB_GENERATE_INTERNAL(tree, node, links, compare, static __attribute__((unused)))

#define MAP_STORES

/* The first node that ends at or after a key. */
static inline struct node *at_or_after(struct map *map, unsigned long key)
{
	struct node *node = RB_ROOT(&map->tree), *found = NULL;

	while (node) {
		if (key <= node->last) {
			found = node;
			if (key >= node->first)
				break;
			node = RB_LEFT(node, links);
		} else {
			node = RB_RIGHT(node, links);
		}
	}
	return found;
}

static inline unsigned long map_load(struct map *map, unsigned long key)
{
	unsigned long entry = 0;
	struct node *node;

	pthread_rwlock_rdlock(&map->lock);
	node = at_or_after(map, key);
	if (node && node->first <= key)
		entry = node->entry;
	pthread_rwlock_unlock(&map->lock);
	return entry;
}

static inline unsigned long map_iter(struct map *map)
{
	unsigned long sum = 0;
	struct node *node;

	pthread_rwlock_rdlock(&map->lock);
	RB_FOREACH(node, tree, &map->tree)
	sum += node->entry & ~BENCH_OTHER;
	pthread_rwlock_unlock(&map->lock);
	return sum;
}

static int add(struct map *map, unsigned long first, unsigned long last, unsigned long entry)
{
	struct node *node = malloc(sizeof(*node));

	if (!node)
		return -ENOMEM;
	node->first = first;
	node->last = last;
	node->entry = entry;
	RB_INSERT(tree, &map->tree, node);
	map->nodes++;
	return 0;
}

static void take_out(struct map *map, struct node *node)
{
	RB_REMOVE(tree, &map->tree, node);
	map->nodes--;
	free(node);
}

static int store_locked(struct map *map, unsigned long first, unsigned long last,
			unsigned long entry)
{
	struct node *node = at_or_after(map, first), *next;
	int err;

	if (node && node->first == first && node->last == last) {
		node->entry = entry;
		return 0;
	}
	if (node && node->first < first) {
		if (node->last > last) {
			err = add(map, last + 1, node->last, node->entry);
			if (err)
				return err;
		}
		next = RB_NEXT(tree, &map->tree, node);
		node->last = first - 1;
		node = next;
	}
	for (; node && node->last <= last; node = next) {
		next = RB_NEXT(tree, &map->tree, node);
		take_out(map, node);
	}
	if (node && node->first <= last)
		node->first = last + 1;
	return add(map, first, last, entry);
}

static inline int map_store(struct map *map, unsigned long first, unsigned long last,
			    unsigned long entry)
{
	int err;

	pthread_rwlock_wrlock(&map->lock);
	err = store_locked(map, first, last, entry);
	pthread_rwlock_unlock(&map->lock);
	return err;
}

static inline unsigned long map_erase(struct map *map, unsigned long key)
{
	unsigned long entry = 0;
	struct node *node;

	pthread_rwlock_wrlock(&map->lock);
	node = at_or_after(map, key);
	if (node && node->first <= key) {
		entry = node->entry;
		take_out(map, node);
	}
	pthread_rwlock_unlock(&map->lock);
	return entry;
}

#include "tests/bench/maple_loops.h"

static void *create(bool gaps)
{
	struct map *map = aligned_alloc(64, (sizeof(*map) + 63) / 64 * 64);

	(void)gaps;
	if (!map)
		return NULL;
	RB_INIT(&map->tree);
	map->nodes = 0;
	pthread_rwlock_init(&map->lock, NULL);
	return map;
}

static void destroy(void *arg)
{
	struct map *map = arg;
	struct node *node, *next;

	RB_FOREACH_SAFE(node, tree, &map->tree, next)
	take_out(map, node);
	pthread_rwlock_destroy(&map->lock);
	free(map);
}

static void settle(void)
{
}

/* malloc() adds eight bytes to each and rounds up to sixteen. */
static unsigned long bytes(void *arg)
{
	const struct map *map = arg;

	return map->nodes * ((sizeof(struct node) + 8 + 15) / 16 * 16);
}

const struct contestant bench_rbtree = {
	.name = "rbtree",
	.stores = true,
	.blocks = true,
	.create = create,
	.destroy = destroy,
	.settle = settle,
	.fill = loop_fill,
	.erase = loop_erase,
	.load = loop_load,
	.load_dep = loop_load_dep,
	.iter = loop_iter,
	.replace = loop_replace,
	.bytes = bytes,
};
