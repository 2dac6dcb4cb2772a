/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mm/maple_internal.h"

/*
 * Where nodes come from. Each tree has a slab: chunks cut into nodes, and a free list that hands
 * out first what came back last, as that is likely to be cached.
 *
 * A node is in one of these places: reachable (counted), in a pool, on the free list, not cut from
 * its chunk yet, or replaced and waiting. Replaced nodes wait in two lists: "waiting" has a grace
 * period running, "replaced" collects those that come meanwhile. There is one callback per tree at
 * most; when it runs, "waiting" is free, "replaced" becomes "waiting", and the callback is queued
 * again if there is something to wait for. So committing a write needs no memory, and any number of
 * writes share a grace period.
 */

#define CHUNK_FIRST_BYTES 4096u
#define CHUNK_BYTES       65536u

#if defined(__SANITIZE_ADDRESS__)
#define MAPLE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MAPLE_ASAN 1
#endif
#endif

#ifdef MAPLE_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(addr, size)   ((void)(addr), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(addr, size) ((void)(addr), (void)(size))
#endif

/* The first node's worth of each chunk. */
struct chunk {
	struct chunk *next;
};

/**
 * struct maple_slab - the nodes of one tree
 * @lock: guards all the rest; taken inside the writers' lock, and by the callback alone
 * @chunks: all memory there is
 * @fresh: the next node that was never used, in the newest chunk
 * @fresh_count: how many of them there are
 * @free: nodes to be used again
 * @waiting: replaced nodes whose grace period is running
 * @replaced: replaced nodes that wait for the next one
 * @callback_queued: @rcu is liburcu's at the moment
 * @reachable: nodes in the tree
 * @held: nodes neither free nor fresh
 */
struct maple_slab {
	pthread_mutex_t lock;
	struct chunk *chunks;
	struct maple_node *fresh;
	unsigned long fresh_count;
	struct maple_node *free;
	struct maple_chain waiting;
	struct maple_chain replaced;
	bool callback_queued;
	struct samara_rcu_head rcu;
	unsigned long reachable;
	unsigned long held;
	unsigned long chunk_bytes;
};

bool (*maple_alloc_hook)(void);
bool maple_poison_nodes;

static bool allocation_fails(void)
{
	return maple_alloc_hook && maple_alloc_hook();
}

static void *get_memory(size_t bytes)
{
	void *memory;

	if (allocation_fails())
		return NULL;
	if (posix_memalign(&memory, MAPLE_NODE_BYTES, bytes))
		return NULL;
	return memory;
}

/* Nothing but the link of a free node may be touched. */
static void node_close(struct maple_node *node)
{
	if (maple_poison_nodes)
		memset(&node->pivot, 0x6b, sizeof(*node) - sizeof(node->link));
	ASAN_POISON_MEMORY_REGION(&node->pivot, sizeof(*node) - sizeof(node->link));
}

static void node_open(struct maple_node *node)
{
	ASAN_UNPOISON_MEMORY_REGION(node, sizeof(*node));
}

static int add_chunk(struct maple_slab *slab)
{
	size_t bytes = slab->chunks ? CHUNK_BYTES : CHUNK_FIRST_BYTES;
	struct chunk *chunk = get_memory(bytes);

	if (!chunk)
		return -ENOMEM;
	chunk->next = slab->chunks;
	slab->chunks = chunk;
	slab->chunk_bytes += bytes;
	slab->fresh = (struct maple_node *)((char *)chunk + MAPLE_NODE_BYTES);
	slab->fresh_count = bytes / MAPLE_NODE_BYTES - 1;
	return 0;
}

static struct maple_node *node_get(struct maple_slab *slab)
{
	struct maple_node *node = slab->free;

	if (allocation_fails())
		return NULL;
	if (node) {
		slab->free = node->link;
		node_open(node);
	} else {
		if (!slab->fresh_count && add_chunk(slab))
			return NULL;
		node = slab->fresh++;
		slab->fresh_count--;
	}
	slab->held++;
	return node;
}

static void node_put(struct maple_slab *slab, struct maple_node *node)
{
	node_close(node);
	node->link = slab->free;
	slab->free = node;
	slab->held--;
}

static void put_all(struct maple_slab *slab, struct maple_node *node)
{
	while (node) {
		struct maple_node *next = node->link;

		node_put(slab, node);
		node = next;
	}
}

static int make_slab(struct maple_tree *mt)
{
	struct maple_slab *slab = get_memory(sizeof(*slab));

	if (!slab)
		return -ENOMEM;
	memset(slab, 0, sizeof(*slab));
	pthread_mutex_init(&slab->lock, NULL);
	if (mt->ma_flags & MT_FLAGS_USE_RCU)
		samara_rcu_start();
	mt->ma_slab = slab;
	return 0;
}

int maple_pool_fill(struct maple_tree *mt, struct maple_pool *pool, unsigned int count)
{
	unsigned int before = pool->count;
	struct maple_slab *slab;
	int ret = 0;

	if (before >= count)
		return 0;
	if (!mt->ma_slab && make_slab(mt))
		return -ENOMEM;
	slab = mt->ma_slab;
	pthread_mutex_lock(&slab->lock);
	while (pool->count < count) {
		struct maple_node *node = node_get(slab);

		if (!node) {
			ret = -ENOMEM;
			break;
		}
		node->link = pool->head;
		pool->head = node;
		pool->count++;
	}
	while (ret && pool->count > before)
		node_put(slab, maple_pool_take(pool));
	pthread_mutex_unlock(&slab->lock);
	return ret;
}

struct maple_node *maple_pool_take(struct maple_pool *pool)
{
	struct maple_node *node = pool->head;

	pool->head = node->link;
	pool->count--;
	return node;
}

static void pool_put(struct maple_slab *slab, struct maple_pool *pool)
{
	put_all(slab, pool->head);
	*pool = (struct maple_pool){0};
}

void maple_pool_drain(struct maple_tree *mt, struct maple_pool *pool)
{
	struct maple_slab *slab = mt->ma_slab;

	if (!pool->count)
		return;
	pthread_mutex_lock(&slab->lock);
	pool_put(slab, pool);
	pthread_mutex_unlock(&slab->lock);
}

static void grace_period_over(struct samara_rcu_head *rcu);

static void wait_for_readers(struct maple_slab *slab)
{
	slab->waiting = slab->replaced;
	slab->replaced = (struct maple_chain){0};
	slab->callback_queued = slab->waiting.count > 0;
	if (slab->callback_queued)
		samara_call_rcu(&slab->rcu, grace_period_over);
}

static void grace_period_over(struct samara_rcu_head *rcu)
{
	struct maple_slab *slab =
		(struct maple_slab *)((char *)rcu - offsetof(struct maple_slab, rcu));

	pthread_mutex_lock(&slab->lock);
	put_all(slab, slab->waiting.head);
	wait_for_readers(slab);
	pthread_mutex_unlock(&slab->lock);
}

void maple_slab_commit(struct maple_tree *mt, struct maple_pool *pool, struct maple_chain *replaced,
		       unsigned long added)
{
	struct maple_slab *slab = mt->ma_slab;

	if (!slab)
		return;
	pthread_mutex_lock(&slab->lock);
	slab->reachable += added;
	slab->reachable -= replaced->count;
	pool_put(slab, pool);
	if (!(mt->ma_flags & MT_FLAGS_USE_RCU)) {
		put_all(slab, replaced->head);
	} else if (replaced->count) {
		replaced->tail->link = slab->replaced.head;
		slab->replaced.head = replaced->head;
		slab->replaced.count += replaced->count;
		if (!slab->callback_queued)
			wait_for_readers(slab);
	}
	pthread_mutex_unlock(&slab->lock);
}

void maple_slab_destroy(struct maple_tree *mt)
{
	struct maple_slab *slab = mt->ma_slab;
	struct chunk *chunk, *next;
	bool queued;

	if (!slab)
		return;
	/* The callback that the barrier waits for may queue itself once more. */
	for (;;) {
		pthread_mutex_lock(&slab->lock);
		queued = slab->callback_queued;
		pthread_mutex_unlock(&slab->lock);
		if (!queued)
			break;
		samara_rcu_barrier();
	}
	for (chunk = slab->chunks; chunk; chunk = next) {
		next = chunk->next;
		free(chunk);
	}
	pthread_mutex_destroy(&slab->lock);
	free(slab);
	mt->ma_slab = NULL;
}

void mt_stats(struct maple_tree *mt, struct maple_stats *stats)
{
	struct maple_slab *slab = mt->ma_slab;

	*stats = (struct maple_stats){.height = mt_height(mt)};
	if (!slab)
		return;
	pthread_mutex_lock(&slab->lock);
	stats->nodes = slab->reachable;
	stats->held_nodes = slab->held;
	stats->held_bytes = slab->chunk_bytes + sizeof(*slab);
	pthread_mutex_unlock(&slab->lock);
	stats->bytes = stats->nodes * MAPLE_NODE_BYTES;
}
