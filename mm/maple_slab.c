/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "mm/maple_internal.h"

/*
 * Where nodes come from. Each tree has a slab: chunks cut into nodes, and a free list that hands
 * out first what came back last, as that is likely to be cached.
 *
 * A node is in one of these places: reachable (counted), in a pool, on the free list, not cut from
 * its chunk yet, or retired. Retired nodes wait in two lists: "waiting" has a grace period running,
 * "retired" collects those that come meanwhile. All lists are the writers', under their lock. The
 * one thing that liburcu's thread does is to say that the grace period is over; the next writer who
 * looks joins "waiting" to the free list, as a whole, and asks for the next grace period. So a
 * write takes no lock but the tree's, needs no memory to free, and any number of writes share a
 * grace period. What waits while nobody writes costs nothing: a slab gives memory back as a whole.
 */

/* Small trees stay small; from the second step on a TLB entry covers a whole chunk. */
#define CHUNK_FIRST_BYTES 4096u
#define CHUNK_BYTES       65536u
#define CHUNK_HUGE_BYTES  2097152u
#define CHUNK_HUGE_FROM   (8 * CHUNK_BYTES)

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
#define MAPLE_ASAN                              0
#define ASAN_POISON_MEMORY_REGION(addr, size)   ((void)(addr), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(addr, size) ((void)(addr), (void)(size))
#endif

/* Of the nodes in "waiting". */
enum grace_period {
	GP_NONE,    /* none is running */
	GP_RUNNING, /* the callback will come */
	GP_OVER,    /* it has come, and touches the slab no more */
	GP_LAST,    /* the tree was destroyed: the callback frees the slab after one more */
};

/* The first node's worth of each chunk. */
struct chunk {
	struct chunk *next;
};

/**
 * struct maple_slab - the nodes of one tree
 * @chunks: all memory there is
 * @fresh: the next node that was never used, in the newest chunk
 * @fresh_count: how many of them there are
 * @free: nodes to be used again
 * @waiting: retired nodes whose grace period is running
 * @retired: retired nodes that wait for the next one
 * @grace_period: atomic; enum grace_period. @rcu is liburcu's while it is GP_RUNNING
 * @reachable: nodes in the tree
 * @held: nodes neither free nor fresh
 * @chunk_bytes: size of all chunks
 * @writes: counted by debug builds
 *
 * Lock: the writers' lock, but for @grace_period.
 */
struct maple_slab {
	struct chunk *chunks;
	struct maple_node *fresh;
	unsigned long fresh_count;
	struct maple_chain free;
	struct maple_chain waiting;
	struct maple_chain retired;
	int grace_period;
	struct samara_rcu_head rcu;
	unsigned long reachable;
	unsigned long held;
	unsigned long chunk_bytes;
	unsigned long writes;
};

bool (*maple_alloc_hook)(void);
bool maple_poison_nodes;

static bool allocation_fails(void)
{
	return maple_alloc_hook && maple_alloc_hook();
}

static void *get_memory(size_t bytes)
{
	size_t align = bytes < CHUNK_HUGE_BYTES ? MAPLE_NODE_BYTES : CHUNK_HUGE_BYTES;
	void *memory;

	if (allocation_fails() || posix_memalign(&memory, align, bytes))
		return NULL;
	/* Advice: without huge pages it works as well, only slower. */
	if (bytes >= CHUNK_HUGE_BYTES)
		(void)madvise(memory, bytes, MADV_HUGEPAGE);
	return memory;
}

/* Nothing but the link of a free node may be touched: seen to in debug builds and torture. */
static void close_nodes(struct maple_node *node)
{
	if (!MAPLE_ASAN && !maple_poison_nodes)
		return;
	for (; node; node = node->link) {
		if (maple_poison_nodes)
			memset(&node->pivot, 0x6b, sizeof(*node) - sizeof(node->link));
		ASAN_POISON_MEMORY_REGION(&node->pivot, sizeof(*node) - sizeof(node->link));
	}
}

/* Have a whole list of nodes free. */
static void put_chain(struct maple_slab *slab, struct maple_chain *chain)
{
	if (!chain->count)
		return;
	close_nodes(chain->head);
	chain->tail->link = slab->free.head;
	if (!slab->free.head)
		slab->free.tail = chain->tail;
	slab->free.head = chain->head;
	slab->free.count += chain->count;
	slab->held -= chain->count;
	*chain = (struct maple_chain){0};
}

static int add_chunk(struct maple_slab *slab)
{
	size_t bytes = CHUNK_FIRST_BYTES;
	struct chunk *chunk;

	if (slab->chunk_bytes)
		bytes = slab->chunk_bytes < CHUNK_HUGE_FROM ? CHUNK_BYTES : CHUNK_HUGE_BYTES;
	chunk = get_memory(bytes);
	if (!chunk)
		return -ENOMEM;
	for (; slab->fresh_count; slab->fresh_count--)
		maple_chain_add(&slab->free, slab->fresh++);
	chunk->next = slab->chunks;
	slab->chunks = chunk;
	slab->chunk_bytes += bytes;
	slab->fresh = (struct maple_node *)((char *)chunk + MAPLE_NODE_BYTES);
	slab->fresh_count = bytes / MAPLE_NODE_BYTES - 1;
	return 0;
}

static int make_slab(struct maple_tree *mt)
{
	struct maple_slab *slab = get_memory(sizeof(*slab));

	if (!slab)
		return -ENOMEM;
	memset(slab, 0, sizeof(*slab));
	if (mt_in_rcu(mt))
		samara_rcu_start();
	mt->ma_slab = slab;
	return 0;
}

/* Whether that many nodes can be taken, with those whose grace period is over by now. */
static bool at_hand(struct maple_slab *slab, unsigned long count)
{
	return slab->free.count + slab->fresh_count >= count;
}

static void reclaim(struct maple_slab *slab)
{
	/* Acquire: pairs with the callback; readers that were in the nodes are through. */
	if (__atomic_load_n(&slab->grace_period, __ATOMIC_ACQUIRE) != GP_OVER)
		return;
	__atomic_store_n(&slab->grace_period, GP_NONE, __ATOMIC_RELAXED);
	put_chain(slab, &slab->waiting);
}

int maple_reserve(struct maple_tree *mt, const struct maple_pool *pool, unsigned long count,
		  gfp_t gfp)
{
	struct maple_slab *slab;

	if (pool) {
		if (pool->count >= count)
			return 0;
		count -= pool->count;
	}
	if (allocation_fails())
		return -ENOMEM;
	if (!mt->ma_slab && (!(gfp & GFP_KERNEL) || make_slab(mt)))
		return -ENOMEM;
	slab = mt->ma_slab;
	while (__builtin_expect(!at_hand(slab, count), 0)) {
		reclaim(slab);
		if (at_hand(slab, count))
			break;
		if (!(gfp & GFP_KERNEL) || add_chunk(slab))
			return -ENOMEM;
	}
	return 0;
}

/* Have the four lines of a node that is soon to be written in the cache. */
static void prefetch_for_write(const struct maple_node *node)
{
	for (unsigned int i = 0; i < MAPLE_NODE_BYTES; i += 64)
		__builtin_prefetch((const char *)node + i, 1);
}

struct maple_node *maple_node_take(struct maple_tree *mt, struct maple_pool *pool)
{
	struct maple_slab *slab = mt->ma_slab;
	struct maple_node *node;

	if (pool && pool->head) {
		node = pool->head;
		pool->head = node->link;
		pool->count--;
	} else if (slab->free.head) {
		node = slab->free.head;
		slab->free.head = node->link;
		slab->free.count--;
		slab->held++;
		prefetch_for_write(node->link);
	} else {
		node = slab->fresh++;
		slab->fresh_count--;
		slab->held++;
	}
	ASAN_UNPOISON_MEMORY_REGION(node, sizeof(*node));
	node->link = MAPLE_LIVE;
	slab->reachable++;
	return node;
}

void maple_node_retire(struct maple_tree *mt, struct maple_node *node)
{
	struct maple_slab *slab = mt->ma_slab;

	maple_chain_add(&slab->retired, node);
	slab->reachable--;
}

unsigned long maple_slab_writes(struct maple_tree *mt)
{
	return ++mt->ma_slab->writes;
}

static struct maple_slab *slab_of(struct samara_rcu_head *rcu)
{
	return (struct maple_slab *)((char *)rcu - offsetof(struct maple_slab, rcu));
}

static void free_slab(struct samara_rcu_head *rcu)
{
	struct maple_slab *slab = slab_of(rcu);
	struct chunk *chunk, *next;

	for (chunk = slab->chunks; chunk; chunk = next) {
		next = chunk->next;
		ASAN_UNPOISON_MEMORY_REGION(chunk, MAPLE_NODE_BYTES);
		free(chunk);
	}
	free(slab);
}

/* Acquire and release: pairs with reclaim() one way and maple_slab_destroy() the other. */
static void grace_period_over(struct samara_rcu_head *rcu)
{
	if (__atomic_exchange_n(&slab_of(rcu)->grace_period, GP_OVER, __ATOMIC_ACQ_REL) == GP_LAST)
		samara_call_rcu(rcu, free_slab);
}

static void pool_add(struct maple_pool *pool, struct maple_chain *chain)
{
	chain->tail->link = pool->head;
	pool->head = chain->head;
	pool->count += chain->count;
	*chain = (struct maple_chain){0};
}

void maple_slab_commit(struct maple_tree *mt, struct maple_pool *pool)
{
	struct maple_slab *slab = mt->ma_slab;

	if (!slab->retired.count)
		return;
	if (!mt_in_rcu(mt)) {
		if (pool && pool->keep)
			pool_add(pool, &slab->retired);
		else
			put_chain(slab, &slab->retired);
		return;
	}
	reclaim(slab);
	if (__atomic_load_n(&slab->grace_period, __ATOMIC_RELAXED) != GP_NONE)
		return;
	slab->waiting = slab->retired;
	slab->retired = (struct maple_chain){0};
	__atomic_store_n(&slab->grace_period, GP_RUNNING, __ATOMIC_RELAXED);
	samara_call_rcu(&slab->rcu, grace_period_over);
}

int maple_pool_fill(struct maple_tree *mt, struct maple_pool *pool, unsigned long count, gfp_t gfp)
{
	int ret = maple_reserve(mt, pool, count, gfp);

	while (!ret && pool->count < count) {
		struct maple_node *node = maple_node_take(mt, NULL);

		mt->ma_slab->reachable--;
		node->link = pool->head;
		pool->head = node;
		pool->count++;
	}
	return ret;
}

void maple_pool_drain(struct maple_tree *mt, struct maple_pool *pool)
{
	struct maple_chain chain = {0};

	while (pool->head) {
		struct maple_node *node = pool->head;

		pool->head = node->link;
		maple_chain_add(&chain, node);
	}
	pool->count = 0;
	if (chain.count)
		put_chain(mt->ma_slab, &chain);
}

void maple_slab_destroy(struct maple_tree *mt)
{
	struct maple_slab *slab = mt->ma_slab;

	if (!slab)
		return;
	mt->ma_slab = NULL;
	if (__atomic_exchange_n(&slab->grace_period, GP_LAST, __ATOMIC_ACQ_REL) == GP_RUNNING)
		return;
	if (mt->ma_flags & MT_FLAGS_USE_RCU)
		samara_call_rcu(&slab->rcu, free_slab);
	else
		free_slab(&slab->rcu);
}

void mt_stats(struct maple_tree *mt, struct maple_stats *stats)
{
	const struct maple_slab *slab = mt->ma_slab;

	*stats = (struct maple_stats){.height = mt_height(mt)};
	if (!slab)
		return;
	stats->nodes = slab->reachable;
	stats->held_nodes = slab->held;
	stats->held_bytes = slab->chunk_bytes + sizeof(*slab);
	stats->bytes = stats->nodes * MAPLE_NODE_BYTES;
}
