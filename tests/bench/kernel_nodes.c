/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>
#include <sys/mman.h>

#include "tests/bench/kernel_shim.h"

/*
 * Nodes for the kernel's tree: a stand-in for kmem_cache that is no brake. Each thread has a free
 * list of its own, without a lock. What another thread frees (liburcu's, after a grace period)
 * goes onto one list that all share, pushed without a lock; a thread whose own list is empty takes
 * all of it at once. Memory comes in chunks of 2 MiB and stays for the next tree.
 */

#define CHUNK_BYTES (2ul << 20)
#define THREADS_MAX 16

struct object {
	struct object *next;
};

/* Of one thread. Counters are read by others only while nobody allocates or frees. */
struct thread_cache {
	struct object *free;
	char *fresh;
	char *fresh_end;
	long live;
	bool mutator; /* has allocated; frees of other threads go to the shared list */
};

struct kmem_cache {
	size_t size;
};

static struct kmem_cache the_cache;
static struct object *shared;
static struct thread_cache caches[THREADS_MAX];
static unsigned int cache_count;
static __thread struct thread_cache *mine;

static struct thread_cache *first_use(void)
{
	unsigned int number = __atomic_fetch_add(&cache_count, 1, __ATOMIC_RELAXED);

	BUG_ON(number >= THREADS_MAX);
	mine = &caches[number];
	return mine;
}

static inline struct thread_cache *my_cache(void)
{
	return likely(mine) ? mine : first_use();
}

struct kmem_cache *kmem_cache_create(const char *name, unsigned int size, unsigned int align,
				     unsigned int flags, void (*constructor)(void *))
{
	(void)name;
	(void)flags;
	BUG_ON(constructor || size != align);
	the_cache.size = size;
	return &the_cache;
}

static bool refill(struct kmem_cache *cache, struct thread_cache *own)
{
	void *memory;

	own->mutator = true;
	own->free = __atomic_exchange_n(&shared, NULL, __ATOMIC_ACQUIRE);
	if (own->free)
		return true;
	if (own->fresh == own->fresh_end) {
		if (posix_memalign(&memory, CHUNK_BYTES, CHUNK_BYTES))
			return false;
		if (getenv("BENCH_HUGE"))
			madvise(memory, CHUNK_BYTES, MADV_HUGEPAGE);
		own->fresh = memory;
		own->fresh_end = own->fresh + CHUNK_BYTES;
	}
	own->free = (struct object *)own->fresh;
	own->free->next = NULL;
	own->fresh += cache->size;
	return true;
}

void *kmem_cache_alloc(struct kmem_cache *cache, gfp_t gfp)
{
	struct thread_cache *own = my_cache();
	struct object *object;

	(void)gfp;
	if (unlikely(!own->free) && !refill(cache, own))
		return NULL;
	object = own->free;
	own->free = object->next;
	own->live++;
	return object;
}

int kmem_cache_alloc_bulk(struct kmem_cache *cache, gfp_t gfp, size_t count, void **objects)
{
	for (size_t i = 0; i < count; i++) {
		objects[i] = kmem_cache_alloc(cache, gfp);
		if (!objects[i]) {
			kmem_cache_free_bulk(cache, i, objects);
			return 0;
		}
	}
	return count;
}

void kmem_cache_free(struct kmem_cache *cache, void *pointer)
{
	struct thread_cache *own = my_cache();
	struct object *object = pointer;

	(void)cache;
	own->live--;
	if (own->mutator) {
		object->next = own->free;
		own->free = object;
		return;
	}
	object->next = __atomic_load_n(&shared, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&shared, &object->next, object, true, __ATOMIC_RELEASE,
					    __ATOMIC_RELAXED))
		;
}

void kmem_cache_free_bulk(struct kmem_cache *cache, size_t count, void **objects)
{
	for (size_t i = 0; i < count; i++)
		kmem_cache_free(cache, objects[i]);
}

long kmem_live_objects(void)
{
	long live = 0;

	for (unsigned int i = 0; i < THREADS_MAX; i++)
		live += caches[i].live;
	return live;
}
