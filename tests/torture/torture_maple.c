/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "mm/maple_internal.h"

/*
 * Torture of the maple tree under RCU: two writers in turns, four readers, random delays on both
 * sides, allocations that fail now and then.
 *
 * Each write has a number. Before it is made, its writer logs a hash of the state that the tree
 * will be in (from a model, a sorted array of ranges); around it, it says which number has been
 * begun and which has been completed. A reader notes the completed number, walks over the whole
 * tree, hashes what it sees, and notes the number begun. The hash must be in the log between the
 * two: what the reader saw is one state, neither older than its section nor mixed from two.
 *
 * Entries are objects, freed after a grace period once no range holds them, and poisoned then.
 * Nodes are poisoned when they are given back.
 */

#define READERS      4
#define WRITERS      2
#define INDICES      2000ul
#define RANGES       (2 * INDICES)
#define LOG_ENTRIES  (1u << 20)
#define OBJECT_ALIVE UINT64_C(0x616c697665)
#define OBJECT_DEAD  UINT64_C(0xdeaddeaddead)

/**
 * struct object - what the tree holds
 * @magic: OBJECT_ALIVE until freed; read under RCU
 * @version: the write that stored it; immutable
 * @first, @last: the range it was stored at; immutable
 * @ranges: how many ranges of the model hold it; writers' lock
 */
struct object {
	struct samara_rcu_head rcu;
	uint64_t magic;
	uint64_t version;
	unsigned long first;
	unsigned long last;
	unsigned int ranges;
};

struct range {
	unsigned long first;
	unsigned long last;
	struct object *object;
};

/* The model; writers' lock. */
static pthread_mutex_t writers_lock = PTHREAD_MUTEX_INITIALIZER;
static struct range model[RANGES + 2];
static unsigned int model_count;
static uint64_t model_hash;

/* Written by writers, with the log entry before @begun; read by readers. */
static _Atomic uint64_t begun, completed;
static _Atomic uint64_t state_log[LOG_ENTRIES];

static struct maple_tree tree;
static atomic_bool stop;
static atomic_long objects_alive;
static atomic_ulong writes, snapshots, loads, failed_allocations, most_versions;
static atomic_ulong wrong_snapshots, dead_objects, wrong_objects, log_overruns, wrong_structures;

static __thread uint64_t random_state;

static uint64_t random64(void)
{
	/* xorshift64* (Vigna 2016). */
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return random_state * UINT64_C(2685821657736338717);
}

static void random_delay(void)
{
	uint64_t r = random64() >> 32;

	if (r % 4096 == 0)
		usleep(500);
	else if (r % 256 == 0)
		sched_yield();
	else if (r % 16 == 0)
		for (unsigned int i = 0; i < ((r >> 16) & 0x3ff); i++)
			__asm__ volatile("" ::: "memory");
}

static uint64_t hash_range(unsigned long first, unsigned long last, uint64_t version)
{
	/* The finaliser of splitmix64, over each word in turn. */
	uint64_t words[] = {first, last, version}, h = 0;

	for (int i = 0; i < 3; i++) {
		h += words[i] + UINT64_C(0x9e3779b97f4a7c15);
		h = (h ^ h >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
		h = (h ^ h >> 27) * UINT64_C(0x94d049bb133111eb);
		h ^= h >> 31;
	}
	return h;
}

static void object_free(struct samara_rcu_head *rcu)
{
	struct object *object = (struct object *)((char *)rcu - offsetof(struct object, rcu));

	object->magic = OBJECT_DEAD;
	free(object);
	atomic_fetch_sub(&objects_alive, 1);
}

/* ---- Writers --------------------------------------------------------------------------------- */

static bool delay_or_fail(void)
{
	random_delay();
	if ((random64() >> 32) & 0xfff)
		return false;
	atomic_fetch_add(&failed_allocations, 1);
	return true;
}

static void model_add(unsigned long first, unsigned long last, struct object *object)
{
	model[model_count++] = (struct range){first, last, object};
	model_hash += hash_range(first, last, object->version);
	object->ranges++;
}

/* As the tree will do it; objects left without a range are collected in @gone. */
static unsigned int model_store(unsigned long first, unsigned long last, struct object *object,
				struct object **gone)
{
	static struct range old[RANGES + 2];
	unsigned int old_count = model_count, gone_count = 0;
	bool stored = !object;

	memcpy(old, model, old_count * sizeof(old[0]));
	model_count = 0;
	for (unsigned int i = 0; i < old_count; i++) {
		const struct range *r = &old[i];

		if (!stored && r->first > last) {
			model_add(first, last, object);
			stored = true;
		}
		if (r->last < first || r->first > last) {
			model[model_count++] = *r;
			continue;
		}
		model_hash -= hash_range(r->first, r->last, r->object->version);
		if (r->first < first)
			model_add(r->first, first - 1, r->object);
		if (!stored) {
			model_add(first, last, object);
			stored = true;
		}
		if (r->last > last)
			model_add(last + 1, r->last, r->object);
		if (--r->object->ranges == 0)
			gone[gone_count++] = r->object;
	}
	if (!stored)
		model_add(first, last, object);
	return gone_count;
}

static unsigned long random_index(void)
{
	unsigned long i = random64() % INDICES;

	return i < INDICES / 2 ? i : ULONG_MAX - (INDICES - 1 - i);
}

static void write_once(void)
{
	static struct object *gone[RANGES + 2];
	unsigned long a = random_index(), b;
	uint64_t version = atomic_load(&completed) + 1;
	struct object *object = NULL;
	unsigned int gone_count;
	int ret;

	/* Mostly short ranges, now and then one over many nodes. */
	b = random64() % 1024 ? a + random64() % 8 : random_index();
	if (b < a) {
		unsigned long swap = a;

		a = b;
		b = swap;
	}
	if (random64() % 3) {
		object = malloc(sizeof(*object));
		if (!object)
			return;
		*object = (struct object){
			.magic = OBJECT_ALIVE, .version = version, .first = a, .last = b};
		atomic_fetch_add(&objects_alive, 1);
	}
	gone_count = model_store(a, b, object, gone);
	atomic_store(&state_log[version % LOG_ENTRIES], model_hash);
	atomic_store(&begun, version);
	random_delay();
	do {
		MA_STATE(mas, &tree, a, b);

		if (random64() % 2) {
			ret = mas_preallocate(&mas, object, GFP_KERNEL);
			if (!ret)
				mas_store_prealloc(&mas, object);
		} else {
			ret = mtree_store_range(&tree, a, b, object, GFP_KERNEL);
		}
	} while (ret);
	random_delay();
	atomic_store(&completed, version);
	atomic_fetch_add(&writes, 1);
	for (unsigned int i = 0; i < gone_count; i++)
		samara_call_rcu(&gone[i]->rcu, object_free);
	if (version % 1024 == 0 && mt_validate(&tree))
		atomic_fetch_add(&wrong_structures, 1);
}

static void *writer(void *arg)
{
	random_state = (uintptr_t)arg;
	while (!atomic_load(&stop)) {
		pthread_mutex_lock(&writers_lock);
		write_once();
		pthread_mutex_unlock(&writers_lock);
		random_delay();
	}
	return NULL;
}

/* ---- Readers --------------------------------------------------------------------------------- */

static bool check_object(const struct object *object, unsigned long first, unsigned long last)
{
	uint64_t magic = __atomic_load_n(&object->magic, __ATOMIC_RELAXED);

	if (magic != OBJECT_ALIVE) {
		atomic_fetch_add(&dead_objects, 1);
		return false;
	}
	if (object->first > first || object->last < last) {
		atomic_fetch_add(&wrong_objects, 1);
		return false;
	}
	return true;
}

static void check_snapshot(uint64_t from, uint64_t to, uint64_t hash)
{
	if (to - from >= LOG_ENTRIES / 2) {
		atomic_fetch_add(&log_overruns, 1);
		return;
	}
	for (uint64_t version = from; version <= to; version++) {
		if (atomic_load(&state_log[version % LOG_ENTRIES]) == hash)
			return;
	}
	atomic_fetch_add(&wrong_snapshots, 1);
}

static void take_snapshot(void)
{
	bool up = random64() % 2, slow = random64() % 4 == 0;
	MA_STATE(mas, &tree, up ? 0 : ULONG_MAX, up ? 0 : ULONG_MAX);
	uint64_t from, to, hash = 0;
	struct object *object;
	bool good = true;

	samara_rcu_read_lock();
	from = atomic_load(&completed);
	while (good && (object = up ? mas_find(&mas, ULONG_MAX) : mas_find_rev(&mas, 0))) {
		if (slow)
			random_delay();
		good = check_object(object, mas.index, mas.last);
		if (good)
			hash += hash_range(mas.index, mas.last, object->version);
	}
	to = atomic_load(&begun);
	samara_rcu_read_unlock();
	if (good)
		check_snapshot(from, to, hash);
	atomic_fetch_add(&snapshots, 1);
	if (to - from > atomic_load(&most_versions))
		atomic_store(&most_versions, to - from);
}

static void look_up(void)
{
	unsigned long index = random_index();
	struct object *object;

	samara_rcu_read_lock();
	object = mtree_load(&tree, index);
	random_delay();
	if (object)
		check_object(object, index, index);
	samara_rcu_read_unlock();
	atomic_fetch_add(&loads, 1);
}

static void *reader(void *arg)
{
	random_state = (uintptr_t)arg;
	while (!atomic_load(&stop)) {
		take_snapshot();
		for (int i = 0; i < 100; i++)
			look_up();
	}
	return NULL;
}

/* ---- The test -------------------------------------------------------------------------------- */

static int failed;

static void report(int number, bool good, const char *name)
{
	printf("%sok %d - %s\n", good ? "" : "not ", number, name);
	failed |= !good;
}

int main(int argc, char **argv)
{
	int seconds = argc > 1 ? atoi(argv[1]) : 5;
	pthread_t threads[READERS + WRITERS];
	struct maple_stats stats;
	bool valid;

	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("1..5\n");
	mt_init_flags(&tree, MT_FLAGS_USE_RCU | MT_FLAGS_SNAPSHOT | MT_FLAGS_LOCK_EXTERN);
	maple_poison_nodes = true;
	maple_alloc_hook = delay_or_fail;
	for (uintptr_t i = 0; i < READERS + WRITERS; i++) {
		if (pthread_create(&threads[i], NULL, i < WRITERS ? writer : reader,
				   (void *)(i + 1))) {
			printf("Bail out! no thread\n");
			return 1;
		}
	}
	sleep((unsigned int)seconds);
	atomic_store(&stop, true);
	for (int i = 0; i < READERS + WRITERS; i++)
		pthread_join(threads[i], NULL);
	maple_alloc_hook = NULL;

	valid = mt_validate(&tree) == 0 && !wrong_structures;
	mt_stats(&tree, &stats);
	printf("# %lu writes, %lu failed allocations, %lu snapshots, %lu look-ups in %d s\n",
	       writes, failed_allocations, snapshots, loads, seconds);
	printf("# %lu nodes, height %u; at most %lu writes within one section\n", stats.nodes,
	       stats.height, most_versions);
	printf("# %lu wrong snapshots, %lu not in the log any more, %lu dead and %lu wrong "
	       "objects\n",
	       wrong_snapshots, log_overruns, dead_objects, wrong_objects);
	report(1, snapshots && !wrong_snapshots,
	       "each snapshot is a state between the start and the end of its section");
	report(2, loads && !dead_objects && !wrong_objects,
	       "no reader meets an entry that is freed or elsewhere");
	report(3, writes && valid, "the structure is valid");

	mtree_destroy(&tree);
	for (unsigned int i = 0; i < model_count; i++) {
		if (--model[i].object->ranges == 0)
			samara_call_rcu(&model[i].object->rcu, object_free);
	}
	samara_rcu_barrier();
	report(4, mtree_empty(&tree) && !tree.ma_slab, "no node is left");
	report(5, atomic_load(&objects_alive) == 0, "no entry is left");
	return failed;
}
