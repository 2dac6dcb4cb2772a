/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "mm/lock.h"
#include "mm/region.h"

/* Ids of the trees that exist: a bit each. Protected by id_lock. */
static uint64_t ids_in_use;
static pthread_mutex_t id_lock = PTHREAD_MUTEX_INITIALIZER;

_Static_assert(TREES_MAX == 64, "one bit each in ids_in_use");

static int take_id(void)
{
	int id = -1;

	pthread_mutex_lock(&id_lock);
	if (~ids_in_use) {
		id = __builtin_ctzll(~ids_in_use);
		ids_in_use |= UINT64_C(1) << id;
	}
	pthread_mutex_unlock(&id_lock);
	return id;
}

static void give_id(unsigned int id)
{
	pthread_mutex_lock(&id_lock);
	ids_in_use &= ~(UINT64_C(1) << id);
	pthread_mutex_unlock(&id_lock);
}

/* A grace period is over: nobody finds the region any more, but somebody may still hold it. */
static void free_region(struct samara_rcu_head *head)
{
	struct region *region = (struct region *)((char *)head - offsetof(struct region, rcu));
	struct region_tree *tree = region->tree;

	if (!lock_is_held(region)) {
		free(region);
		return;
	}
	pthread_mutex_lock(&tree->limbo_lock);
	region->next_retired = tree->limbo;
	__atomic_store_n(&tree->limbo, region, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&tree->limbo_lock);
}

/* Free what was held when it could have been freed, and is not any more. */
static void sweep_limbo(struct region_tree *tree)
{
	struct region *region, *next, *kept = NULL;

	if (!__atomic_load_n(&tree->limbo, __ATOMIC_RELAXED))
		return;
	pthread_mutex_lock(&tree->limbo_lock);
	for (region = tree->limbo; region; region = next) {
		next = region->next_retired;
		if (lock_is_held(region)) {
			region->next_retired = kept;
			kept = region;
		} else {
			free(region);
		}
	}
	__atomic_store_n(&tree->limbo, kept, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&tree->limbo_lock);
}

void region_retire(struct region *region)
{
	__atomic_store_n(&region->detached, 1, __ATOMIC_SEQ_CST);
	region->next_retired = region->tree->retired;
	region->tree->retired = region;
}

void region_free_retired(struct region_tree *tree)
{
	struct region *region = tree->retired, *next;

	tree->retired = NULL;
	for (; region; region = next) {
		next = region->next_retired;
		samara_call_rcu(&region->rcu, free_region);
	}
	sweep_limbo(tree);
}

int region_tree_create(struct region_tree **out)
{
	struct region_tree *tree;
	int id, ret;

	if (posix_memalign((void **)&tree, _Alignof(struct region_tree), sizeof(*tree)))
		return -ENOMEM;
	memset(tree, 0, sizeof(*tree));
	id = take_id();
	if (id < 0) {
		free(tree);
		return -ENOMEM;
	}
	ret = lock_init_tree(tree);
	if (ret) {
		give_id((unsigned int)id);
		free(tree);
		return ret;
	}
	tree->id = (unsigned int)id;
	tree->seq = 1;
	pthread_mutex_init(&tree->limbo_lock, NULL);
	thread_state_sum(tree->id, &tree->counted_before);
	mt_init_flags(&tree->map, MT_FLAGS_USE_RCU | MT_FLAGS_SNAPSHOT | MT_FLAGS_LOCK_EXTERN);
	*out = tree;
	return 0;
}

void region_tree_destroy(struct region_tree *tree)
{
	struct region *region;
	unsigned long index = 0;

	if (!tree)
		return;
	mt_for_each (&tree->map, region, index, ULONG_MAX)
		region_retire(region);
	region_free_retired(tree);
	mtree_destroy(&tree->map);
	/* Retired regions are freed by callbacks; a tree's user expects its memory back now. */
	samara_rcu_barrier();
	sweep_limbo(tree);
	pthread_mutex_destroy(&tree->limbo_lock);
	lock_destroy_tree(tree);
	give_id(tree->id);
	free(tree);
}

void region_tree_count(const struct region_tree *tree, struct lock_counters *counters)
{
	thread_state_sum(tree->id, counters);
	counters->success -= tree->counted_before.success;
	counters->abort -= tree->counted_before.abort;
	counters->retry -= tree->counted_before.retry;
	counters->miss -= tree->counted_before.miss;
	counters->wait_ns -= tree->counted_before.wait_ns;
	counters->pins -= tree->counted_before.pins;
}

void region_init(struct region *region, struct region_tree *tree, uint64_t first, uint64_t last,
		 void *object)
{
	*region = (struct region){.first = first, .last = last, .object = object, .tree = tree};
}

int region_tree_insert(struct region_tree *tree, uint64_t first, uint64_t last, void *object)
{
	struct region *region;
	int ret;

	if (last < first)
		return -EINVAL;
	region = malloc(sizeof(*region));
	if (!region)
		return -ENOMEM;
	region_init(region, tree, first, last, object);
	lock_tree_write(tree);
	ret = mtree_insert_range(&tree->map, first, last, region, GFP_KERNEL);
	unlock_tree_write(tree);
	if (ret)
		free(region);
	return ret;
}

int region_tree_remove(struct region_tree *tree, uint64_t first, void **object)
{
	MA_STATE(mas, &tree->map, first, first);
	struct region *region;
	int ret = -ENOENT;

	lock_tree_write(tree);
	region = region_find(tree, first);
	if (!region || region->first != first)
		goto out;
	mas_set_range(&mas, region->first, region->last);
	ret = mas_preallocate(&mas, NULL, GFP_KERNEL);
	if (ret)
		goto out;
	region_start_write(region);
	region_drain(tree);
	*object = region->object;
	mas_store_prealloc(&mas, NULL);
	region_retire(region);
out:
	unlock_tree_write(tree);
	return ret;
}

struct region *region_read_lock_range(struct region_tree *tree, uint64_t address, uint64_t first,
				      uint64_t last, struct region_guard *guard)
{
	struct region *region;
	bool busy;

	region = region_try_read_lock_range(tree, address, first, last, guard, &busy);
	while (!region && busy) {
		/* With the writers kept out nothing is marked, and what is found cannot go away. */
		lock_tree_read(tree);
		region = region_try_read_lock_range(tree, address, first, last, guard, &busy);
		unlock_tree_read(tree);
	}
	return region;
}

struct region *region_try_read_lock(struct region_tree *tree, uint64_t address,
				    struct region_guard *guard, bool *busy)
{
	return region_try_read_lock_range(tree, address, 0, UINT64_MAX, guard, busy);
}

struct region *region_read_lock(struct region_tree *tree, uint64_t address,
				struct region_guard *guard)
{
	return region_read_lock_range(tree, address, 0, UINT64_MAX, guard);
}

uint64_t region_first(const struct region *region)
{
	return region->first;
}

uint64_t region_last(const struct region *region)
{
	return region->last;
}

void *region_object(const struct region *region)
{
	return region->object;
}
