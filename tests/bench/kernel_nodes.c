/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>

#include "tests/bench/kernel_shim.h"

/*
 * Nodes for the kernel's tree: a stand-in for kmem_cache that is no brake. Each thread has free
 * objects of its own, without a lock, in magazines (Bonwick 2001): arrays of pointers, so that
 * neither freeing nor allocating touches an object that is not cached. The object to be handed out
 * next is prefetched, as SLUB does. What another thread frees (liburcu's, after a grace period)
 * goes by full magazines onto one list that all share, without a lock; a thread that has none left
 * takes all of it at once. Memory comes in chunks of 2 MiB and stays for the next tree.
 */

#define CHUNK_BYTES    (2ul << 20)
#define MAGAZINE_COUNT 254u
#define THREADS_MAX    16u

struct magazine {
	struct magazine *next;
	unsigned long count;
	void *objects[MAGAZINE_COUNT];
};

/**
 * struct thread_cache - the free objects of one thread
 * @loaded: allocations and frees go here; NULL before the first one
 * @full: more of them
 * @empty: spare magazines
 * @live: allocated less freed by this thread
 * @allocates: has allocated; a thread that only frees hands its magazines on
 *
 * Lock: the thread's own; others read @live, while nobody allocates or frees.
 */
struct thread_cache {
	struct magazine *loaded;
	struct magazine *full;
	struct magazine *empty;
	long live;
	bool allocates;
};

struct kmem_cache {
	size_t size;
};

static struct kmem_cache the_cache;
static struct magazine *shared;
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

static void push(struct magazine **list, struct magazine *magazine)
{
	magazine->next = *list;
	*list = magazine;
}

static struct magazine *pop(struct magazine **list)
{
	struct magazine *magazine = *list;

	if (magazine)
		*list = magazine->next;
	return magazine;
}

static struct magazine *empty_magazine(struct thread_cache *own)
{
	struct magazine *magazine = pop(&own->empty);

	if (!magazine)
		magazine = malloc(sizeof(*magazine));
	BUG_ON(!magazine);
	magazine->count = 0;
	return magazine;
}

/* Cut a new chunk up; the first object is to be handed out first. */
static bool add_chunk(const struct kmem_cache *cache, struct thread_cache *own)
{
	struct magazine *magazine = empty_magazine(own);
	void *memory;

	if (posix_memalign(&memory, CHUNK_BYTES, CHUNK_BYTES))
		return false;
	for (size_t at = CHUNK_BYTES; at; at -= cache->size) {
		if (magazine->count == MAGAZINE_COUNT) {
			push(&own->full, magazine);
			magazine = empty_magazine(own);
		}
		magazine->objects[magazine->count++] = (char *)memory + at - cache->size;
	}
	push(&own->full, magazine);
	return true;
}

static bool refill(const struct kmem_cache *cache, struct thread_cache *own)
{
	own->allocates = true;
	if (!own->full)
		own->full = __atomic_exchange_n(&shared, NULL, __ATOMIC_ACQUIRE);
	if (!own->full && !add_chunk(cache, own))
		return false;
	if (own->loaded)
		push(&own->empty, own->loaded);
	own->loaded = pop(&own->full);
	return true;
}

void *kmem_cache_alloc(struct kmem_cache *cache, gfp_t gfp)
{
	struct thread_cache *own = my_cache();
	struct magazine *magazine = own->loaded;
	const char *next;

	(void)gfp;
	if (unlikely(!magazine || !magazine->count)) {
		if (!refill(cache, own))
			return NULL;
		magazine = own->loaded;
	}
	own->live++;
	magazine->count--;
	if (magazine->count) {
		next = magazine->objects[magazine->count - 1];
		for (size_t line = 0; line < cache->size; line += 64)
			__builtin_prefetch(next + line, 1);
	}
	return magazine->objects[magazine->count];
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

static void hand_on(struct magazine *magazine)
{
	magazine->next = __atomic_load_n(&shared, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&shared, &magazine->next, magazine, true,
					    __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		;
}

void kmem_cache_free(struct kmem_cache *cache, void *object)
{
	struct thread_cache *own = my_cache();

	(void)cache;
	if (unlikely(!own->loaded || own->loaded->count == MAGAZINE_COUNT)) {
		if (own->loaded && own->allocates)
			push(&own->full, own->loaded);
		else if (own->loaded)
			hand_on(own->loaded);
		own->loaded = empty_magazine(own);
	}
	own->live--;
	own->loaded->objects[own->loaded->count++] = object;
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
