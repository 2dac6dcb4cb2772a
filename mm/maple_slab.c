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
 * A node is in one of these places: reachable (counted), on the free list, not cut from its chunk
 * yet, or retired. A pool is a number, of nodes on the free list or uncut that are spoken for: which
 * ones, nobody need know before they are used, so that preallocating for the worst store touches
 * none, and what is used is what came back last. Retired nodes wait in two lists: "waiting" has a
 * grace period running, "retired" collects those that come meanwhile. All lists are the writers',
 * under their lock. The one thing that liburcu's thread does is to say that the grace period is over;
 * the next writer who looks joins "waiting" to the free list, as a whole, and asks for the next grace
 * period. So a write takes no lock but the tree's, needs no memory to free, and any number of writes
 * share a grace period. What waits while nobody writes costs nothing: a slab gives memory back as a
 * whole.
 */

/* Small trees stay small; from the second step on a TLB entry covers a whole chunk. */
#define CHUNK_FIRST_BYTES 4096u
#define CHUNK_BYTES       65536u
#define CHUNK_HUGE_BYTES  2097152u
#define CHUNK_HUGE_FROM   (8 * CHUNK_BYTES)

/* A bundle is as large as a node. */
#define BUNDLE_NODES      30u

/* Chains, each of which may have a bundle with room, and one more while two are joined. */
#define BUNDLES_PARTLY    4u

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

/**
 * struct bundle - where nodes are that are not in use
 *
 * Apart from the nodes: what is taken next is known without a look at what is free, which nobody has
 * looked at for a grace period or more, and several nodes can be fetched into the cache at once.
 */
struct bundle {
	struct bundle *next;
	unsigned long count;
	struct maple_node *node[BUNDLE_NODES];
};

/* A list of nodes: bundles, of which only the first may have room. */
struct chain {
	struct bundle *head;
	struct bundle *tail;
	unsigned long count;
};

/* The first node's worth of each chunk. */
struct chunk {
	struct chunk *next;
	struct bundle *bundles; /* as many as its nodes may need */
};

/**
 * struct maple_slab - the nodes of one tree
 * @chunks: all memory there is
 * @fresh: the next node that was never used, in the newest chunk
 * @fresh_count: how many of them there are
 * @spare: bundles that hold nothing
 * @free: nodes to be used again
 * @waiting: retired nodes whose grace period is running
 * @retired: retired nodes that wait for the next one
 * @grace_period: atomic; enum grace_period. @rcu is liburcu's while it is GP_RUNNING
 * @reachable: nodes in the tree
 * @reserved: how many of the free and fresh nodes belong to pools
 * @held: nodes neither free nor fresh
 * @chunk_bytes: size of all chunks
 * @made: nodes put into the tree so far
 * @writes: counted by debug builds
 *
 * Lock: the writers' lock, but for @grace_period.
 */
struct maple_slab {
	struct chunk *chunks;
	struct maple_node *fresh;
	unsigned long fresh_count;
	struct bundle *spare;
	struct chain free;
	struct chain waiting;
	struct chain retired;
	int grace_period;
	struct samara_rcu_head rcu;
	unsigned long reachable;
	unsigned long reserved;
	unsigned long held;
	unsigned long chunk_bytes;
	unsigned long made;
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

/* There are enough: see add_bundles(). */
static void chain_add(struct maple_slab *slab, struct chain *chain, struct maple_node *node)
{
	struct bundle *bundle = chain->head;

	if (!bundle || bundle->count == BUNDLE_NODES) {
		bundle = slab->spare;
		slab->spare = bundle->next;
		bundle->next = chain->head;
		if (!chain->head)
			chain->tail = bundle;
		chain->head = bundle;
	}
	bundle->node[bundle->count++] = node;
	chain->count++;
}

/* The first bundle of a chain is empty: it has no place there. */
static void drop_head(struct maple_slab *slab, struct chain *chain)
{
	struct bundle *bundle = chain->head;

	chain->head = bundle->next;
	bundle->next = slab->spare;
	slab->spare = bundle;
}

static struct maple_node *chain_take(struct maple_slab *slab, struct chain *chain)
{
	struct bundle *bundle = chain->head;
	struct maple_node *node = bundle->node[--bundle->count];

	chain->count--;
	if (!bundle->count)
		drop_head(slab, chain);
	return node;
}

/* Put all of @from first in @to. However long, this moves the nodes of a single bundle. */
static void chain_join(struct maple_slab *slab, struct chain *to, struct chain *from)
{
	struct chain rest = {0};

	if (!from->count)
		return;
	if (to->count) {
		/* What @to has in a bundle with room goes behind, into full ones or by itself. */
		rest.head = rest.tail = to->head;
		rest.count = to->head->count;
		to->head = to->head->next;
		to->count -= rest.count;
		from->tail->next = to->head;
		if (to->head)
			from->tail = to->tail;
		from->count += to->count;
		while (rest.count)
			chain_add(slab, from, chain_take(slab, &rest));
	}
	*to = *from;
	*from = (struct chain){0};
}

/* A free node may not be touched: seen to in debug builds and torture. */
static void close_nodes(const struct chain *chain)
{
	if (!MAPLE_ASAN && !maple_poison_nodes)
		return;
	for (const struct bundle *bundle = chain->head; bundle; bundle = bundle->next)
		for (unsigned long i = 0; i < bundle->count; i++) {
			struct maple_node *node = bundle->node[i];

			if (maple_poison_nodes)
				memset(&node->pivot, 0x6b, sizeof(*node) - sizeof(node->state));
			ASAN_POISON_MEMORY_REGION(node, sizeof(*node));
		}
}

/* Have a whole list of nodes free. */
static void put_chain(struct maple_slab *slab, struct chain *chain)
{
	close_nodes(chain);
	slab->held -= chain->count;
	chain_join(slab, &slab->free, chain);
}

/* Bundles for @nodes more. Return: NULL when there is no memory. */
static struct bundle *add_bundles(struct maple_slab *slab, unsigned long nodes)
{
	unsigned long count = (nodes + BUNDLE_NODES - 1) / BUNDLE_NODES;
	struct bundle *bundles;

	if (!slab->chunks)
		count += BUNDLES_PARTLY;
	bundles = get_memory(count * sizeof(*bundles));
	if (!bundles)
		return NULL;
	for (unsigned long i = 0; i < count; i++) {
		bundles[i].count = 0;
		bundles[i].next = slab->spare;
		slab->spare = &bundles[i];
	}
	slab->chunk_bytes += count * sizeof(*bundles);
	return bundles;
}

static int add_chunk(struct maple_slab *slab)
{
	size_t bytes = CHUNK_FIRST_BYTES, nodes;
	struct chunk *chunk;

	if (slab->chunk_bytes)
		bytes = slab->chunk_bytes < CHUNK_HUGE_FROM ? CHUNK_BYTES : CHUNK_HUGE_BYTES;
	nodes = bytes / MAPLE_NODE_BYTES - 1;
	chunk = get_memory(bytes);
	if (!chunk)
		return -ENOMEM;
	chunk->bundles = add_bundles(slab, nodes);
	if (!chunk->bundles) {
		free(chunk);
		return -ENOMEM;
	}
	for (; slab->fresh_count; slab->fresh_count--)
		chain_add(slab, &slab->free, slab->fresh++);
	chunk->next = slab->chunks;
	slab->chunks = chunk;
	slab->chunk_bytes += bytes;
	slab->fresh = (struct maple_node *)((char *)chunk + MAPLE_NODE_BYTES);
	slab->fresh_count = nodes;
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

/* Whether that many nodes can be taken that are nobody's yet. */
static bool at_hand(const struct maple_slab *slab, unsigned long count)
{
	return slab->free.count + slab->fresh_count >= slab->reserved + count;
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

/* Have the lines of nodes that are soon to be written in the cache. */
static void prefetch_for_write(const struct maple_slab *slab, unsigned long count)
{
	const struct bundle *bundle = slab->free.head;
	unsigned long at = bundle ? bundle->count : 0;

	for (; count && at; count--) {
		const char *node = (const char *)bundle->node[--at];

		for (unsigned int i = 0; i < MAPLE_NODE_BYTES; i += 64)
			__builtin_prefetch(node + i, 1);
	}
}

struct maple_node *maple_node_take(struct maple_tree *mt, struct maple_pool *pool)
{
	struct maple_slab *slab = mt->ma_slab;
	struct maple_node *node;

	if (pool && pool->count) {
		pool->count--;
		slab->reserved--;
	}
	slab->held++;
	if (slab->free.count) {
		node = chain_take(slab, &slab->free);
		prefetch_for_write(slab, 1);
	} else {
		node = slab->fresh++;
		slab->fresh_count--;
	}
	ASAN_UNPOISON_MEMORY_REGION(node, sizeof(*node));
	node->state = MAPLE_LIVE;
	slab->made++;
	slab->reachable++;
	return node;
}

void maple_node_retire(struct maple_tree *mt, struct maple_node *node)
{
	struct maple_slab *slab = mt->ma_slab;

	node->state = 0;
	chain_add(slab, &slab->retired, node);
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
		free(chunk->bundles);
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

void maple_slab_commit(struct maple_tree *mt, struct maple_pool *pool)
{
	struct maple_slab *slab = mt->ma_slab;

	if (!slab->retired.count)
		return;
	if (!mt_in_rcu(mt)) {
		if (pool && pool->keep) {
			pool->count += slab->retired.count;
			slab->reserved += slab->retired.count;
		}
		put_chain(slab, &slab->retired);
		return;
	}
	reclaim(slab);
	if (__atomic_load_n(&slab->grace_period, __ATOMIC_RELAXED) != GP_NONE)
		return;
	slab->waiting = slab->retired;
	slab->retired = (struct chain){0};
	__atomic_store_n(&slab->grace_period, GP_RUNNING, __ATOMIC_RELAXED);
	samara_call_rcu(&slab->rcu, grace_period_over);
}

int maple_pool_fill(struct maple_tree *mt, struct maple_pool *pool, unsigned long count, gfp_t gfp)
{
	int ret = maple_reserve(mt, pool, count, gfp);

	if (ret || pool->count >= count)
		return ret;
	mt->ma_slab->reserved += count - pool->count;
	pool->count = count;
	/* A third of the worst store, a node for each level, is what nearly all need. */
	prefetch_for_write(mt->ma_slab, count / 3);
	return 0;
}

void maple_pool_drain(struct maple_tree *mt, struct maple_pool *pool)
{
	mt->ma_slab->reserved -= pool->count;
	pool->count = 0;
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
	stats->made_nodes = slab->made;
	stats->held_nodes = slab->held + slab->reserved;
	stats->held_bytes = slab->chunk_bytes + sizeof(*slab);
	stats->bytes = stats->nodes * MAPLE_NODE_BYTES;
}
