/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mm/maple_internal.h"
#include "tests/lib/maple_history.h"
#include "tests/lib/maple_model.h"
#include "tests/lib/tap.h"
#include "tests/lib/torture.h"

/*
 * Torture of the maple tree under RCU: two writers in turns, four readers, random delays on both
 * sides (the writers' also just before and after they publish), allocations that fail.
 *
 * What a reader saw must have been so between the start and the end of its section, by the log of
 * what has been (tests/lib/maple_history.h):
 *
 *  - trees that keep versions (MT_FLAGS_SNAPSHOT): the hash of a whole iteration, up or down;
 *  - all: each look-up; each range of an iteration at its first and last index, ranges side by side.
 *
 * Entries are objects. One that no range holds any more has the age 1; one grace period later its
 * age is 2, and no reader may meet it; one more and it is freed. Nodes are poisoned when free.
 */

#define READERS 4
#define WRITERS 2

/**
 * struct object - what the tree holds
 * @version: the write that stored it; immutable
 * @age: grace periods since no range holds it any more, from 1 on; atomic
 * @ranges: how many ranges hold it; writers' lock
 */
struct object {
	struct samara_rcu_head rcu;
	uint64_t version;
	_Atomic unsigned int age;
	unsigned int ranges;
};

/* Writers' lock. */
static pthread_mutex_t writers_lock = PTHREAD_MUTEX_INITIALIZER;
static struct maple_model model;
static uint64_t model_hash;
static unsigned long structures_wrong;

/* Where the writer is at work; relaxed, so that it orders nothing. */
static _Atomic unsigned long busy_index;

static struct maple_tree tree;
static atomic_bool stop;
static atomic_long objects_alive;
static atomic_ulong iterations, look_ups, failed_allocations;
static atomic_ulong wrong_tiles, changed_objects;
static atomic_ulong object_ages[3];

/* The hooks below are told of nothing: each thread's own. */
static __thread struct dice dice;

static uint64_t below(uint64_t limit)
{
	return dice_throw(&dice, limit);
}

static void random_delay(void)
{
	static const struct delays delays = {
		.of = 4096, .sleep = 1, .yield = 15, .spin = 240, .sleep_us = 1000, .turns = 1024};

	dice_delay(&dice, &delays);
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

	free(object);
	atomic_fetch_sub(&objects_alive, 1);
}

static void object_is_old(struct samara_rcu_head *rcu)
{
	struct object *object = (struct object *)((char *)rcu - offsetof(struct object, rcu));

	atomic_store(&object->age, 2);
	samara_call_rcu(&object->rcu, object_free);
}

static void object_drop(struct object *object)
{
	atomic_store(&object->age, 1);
	samara_call_rcu(&object->rcu, object_is_old);
}

/* ---- Writers --------------------------------------------------------------------------------- */

static bool delay_or_fail(void)
{
	random_delay();
	if (below(4096))
		return false;
	atomic_fetch_add(&failed_allocations, 1);
	return true;
}

/* Short before publishing and after it: readers are to come between. */
static void delay_at_publication(void)
{
	if (below(64) == 0)
		sleep_us(50);
	else
		random_delay();
}

/* Take the entries between two indices into account, or out of it. */
static unsigned int account(unsigned long first, unsigned long last, int sign,
			    struct object **touched)
{
	struct maple_range r;
	unsigned int count = 0;

	while (maple_model_find(&model, first, last, &r)) {
		struct object *object = r.entry;

		object->ranges += (unsigned int)sign;
		model_hash += (uint64_t)sign * hash_range(r.first, r.last, object->version);
		if (touched)
			touched[count++] = object;
		if (r.last >= last)
			break;
		first = r.last + 1;
	}
	return count;
}

static int write_tree(unsigned long a, unsigned long b, struct object *object)
{
	MA_STATE(mas, &tree, a, b);
	int ret;

	if (!object && a == 0 && b == ULONG_MAX && below(2)) {
		mtree_destroy(&tree);
		return 0;
	}
	if (below(2))
		return mtree_store_range(&tree, a, b, object, GFP_KERNEL);
	ret = mas_preallocate(&mas, object, GFP_KERNEL);
	if (!ret)
		mas_store_prealloc(&mas, object);
	return ret;
}

static void write_once(void)
{
	static struct object *touched[MAPLE_MODEL_RANGES];
	uint64_t version = maple_history_completed() + 1;
	unsigned long a = below(MAPLE_HISTORY_INDICES), b = a + below(8), low, high;
	struct maple_range r;
	struct object *object = NULL;
	unsigned int count;

	/* Mostly short ranges, now and then one over many nodes, seldom all. */
	if (below(512) == 0)
		b = below(MAPLE_HISTORY_INDICES);
	if (b >= MAPLE_HISTORY_INDICES)
		b = MAPLE_HISTORY_INDICES - 1;
	low = maple_history_index(a < b ? a : b);
	high = maple_history_index(a < b ? b : a);
	if (below(8192) == 0) {
		low = 0;
		high = ULONG_MAX;
	}
	/* Often exactly what is there: a store into one slot. */
	if (below(3) == 0 && maple_model_find(&model, low, low, &r)) {
		low = r.first;
		high = r.last;
	}
	if (below(3) && high - low < ULONG_MAX / 2) {
		object = calloc(1, sizeof(*object));
		if (!object)
			return;
		object->version = version;
		atomic_fetch_add(&objects_alive, 1);
	}

	/* All that the entries at both ends reach to may change. */
	a = maple_model_find(&model, low, low, &r) ? r.first : low;
	b = maple_model_find(&model, high, high, &r) ? r.last : high;
	count = account(a, b, -1, touched);
	maple_model_store(&model, low, high, object);
	account(a, b, 1, NULL);

	atomic_store_explicit(&busy_index, low, memory_order_relaxed);
	maple_history_begin(version, low, high, object ? version : 0, model_hash);
	while (write_tree(low, high, object))
		random_delay();
	maple_history_complete(version);
	random_delay();
	for (unsigned int i = 0; i < count; i++) {
		/* One that has two of these ranges is dropped once. */
		if (touched[i]->ranges == 0 && !atomic_load(&touched[i]->age))
			object_drop(touched[i]);
	}
	if (version % 1024 == 0 && mt_validate(&tree))
		structures_wrong++;
}

static void *writer(void *arg)
{
	dice = dice_of((uintptr_t)arg);
	while (!atomic_load(&stop)) {
		pthread_mutex_lock(&writers_lock);
		write_once();
		pthread_mutex_unlock(&writers_lock);
		random_delay();
	}
	return NULL;
}

/* ---- Readers --------------------------------------------------------------------------------- */

/* The version of an entry, 0 for none; counts its age. */
static uint64_t version_of(struct object *object)
{
	uint64_t version;
	unsigned int age;

	if (!object)
		return 0;
	/* Before the age: an atomic load may order more than the tree does. */
	version = object->version;
	age = atomic_load(&object->age);
	atomic_fetch_add(&object_ages[age < 2 ? age : 2], 1);
	return version;
}

#define TILES_MAX (2 * MAPLE_HISTORY_INDICES + 3)

/**
 * struct seen - what an iteration of one reader met
 */
struct seen {
	unsigned int count;
	struct {
		unsigned long first;
		unsigned long last;
		uint64_t version;
	} tile[TILES_MAX];
};

static void iterate(struct seen *seen)
{
	bool up = below(2), slow = below(4) == 0;
	MA_STATE(mas, &tree, up ? 0 : ULONG_MAX, up ? 0 : ULONG_MAX);
	unsigned long next = mas.index;
	uint64_t from, to, hash = 0;
	struct object *object;
	bool side_by_side = true;

	seen->count = 0;
	samara_rcu_read_lock();
	from = maple_history_completed();
	object = mas_walk(&mas);
	while (seen->count < TILES_MAX) {
		uint64_t version = version_of(object);

		side_by_side = side_by_side && (up ? mas.index : mas.last) == next &&
			       mas.index <= mas.last;
		next = up ? mas.last + 1 : mas.index - 1;
		seen->tile[seen->count].first = mas.index;
		seen->tile[seen->count].last = mas.last;
		seen->tile[seen->count++].version = version;
		if (object)
			hash += hash_range(mas.index, mas.last, version);
		if (up ? mas.last == ULONG_MAX : mas.index == 0)
			break;
		if (slow)
			random_delay();
		object = up ? mas_next_range(&mas, ULONG_MAX) : mas_prev_range(&mas, 0);
	}
	to = maple_history_begun();
	samara_rcu_read_unlock();

	atomic_fetch_add(&iterations, 1);
	if (!side_by_side)
		atomic_fetch_add(&wrong_tiles, 1);
	if (tree.ma_flags & MT_FLAGS_SNAPSHOT)
		maple_history_check_state(hash, from, to);
	else
		maple_history_add_age(to - from);
	for (unsigned int i = 0; i < seen->count; i++) {
		maple_history_check_value(seen->tile[i].first, seen->tile[i].version, from, to);
		maple_history_check_value(seen->tile[i].last, seen->tile[i].version, from, to);
	}
}

static void look_up(void)
{
	unsigned long index = maple_history_index(below(MAPLE_HISTORY_INDICES));
	uint64_t from, to, version;
	struct object *object;

	if (below(2))
		index = atomic_load_explicit(&busy_index, memory_order_relaxed);

	samara_rcu_read_lock();
	from = maple_history_completed();
	object = mtree_load(&tree, index);
	/* First of all: what is loaded after @begun would be seen rightly in any case. */
	version = version_of(object);
	to = maple_history_begun();
	random_delay();
	if (version_of(object) != version)
		atomic_fetch_add(&changed_objects, 1);
	samara_rcu_read_unlock();
	maple_history_check_value(index, version, from, to);
	atomic_fetch_add(&look_ups, 1);
}

static void *reader(void *arg)
{
	struct seen *seen = malloc(sizeof(*seen));

	dice = dice_of((uintptr_t)arg);
	while (seen && !atomic_load(&stop)) {
		iterate(seen);
		for (int i = 0; i < 100; i++)
			look_up();
	}
	free(seen);
	return NULL;
}

/* ---- The test -------------------------------------------------------------------------------- */

static void print_ages(void)
{
	printf("# entries met: %lu in the tree, %lu out of it, %lu for more than a grace period\n",
	       object_ages[0], object_ages[1], object_ages[2]);
	printf("# views by their age in writes:");
	for (int i = 0; i < MAPLE_HISTORY_AGES; i++) {
		unsigned long views = maple_history_counts.ages[i];

		if (views)
			printf(" %s%lu: %lu", i > 1 ? "<" : "", i > 1 ? 1ul << i : (unsigned long)i,
			       views);
	}
	printf("\n");
}

static void start_anew(void)
{
	maple_model_clear(&model);
	model_hash = 0;
	structures_wrong = 0;
	busy_index = 0;
	maple_history_clear();
	iterations = look_ups = failed_allocations = wrong_tiles = changed_objects = 0;
	memset(object_ages, 0, sizeof(object_ages));
}

static bool everybody_got_on(const void *arg)
{
	(void)arg;
	return iterations && look_ups && object_ages[0] && maple_history_completed();
}

static void run(struct tap *tap, const char *kind, unsigned int flags, const char *walker,
		unsigned int ms)
{
	pthread_t threads[READERS + WRITERS];
	const struct maple_history_counts *counts = &maple_history_counts;
	struct maple_stats stats;
	struct maple_range r;
	bool valid;

	start_anew();
	maple_walker_choose(walker);
	mt_init_flags(&tree, flags | MT_FLAGS_USE_RCU | MT_FLAGS_LOCK_EXTERN);
	maple_alloc_hook = delay_or_fail;
	maple_delay_hook = delay_at_publication;
	atomic_store(&stop, false);
	for (uintptr_t i = 0; i < READERS + WRITERS; i++) {
		if (pthread_create(&threads[i], NULL, i < WRITERS ? writer : reader,
				   (void *)(i + 1)))
			tap_bail_out("no thread");
	}
	torture_for(ms / 1e3, everybody_got_on, NULL);
	atomic_store(&stop, true);
	for (int i = 0; i < READERS + WRITERS; i++)
		pthread_join(threads[i], NULL);
	maple_alloc_hook = NULL;
	maple_delay_hook = NULL;

	valid = mt_validate(&tree) == 0 && !structures_wrong;
	mt_stats(&tree, &stats);
	printf("# %s: %lu writes, %lu failed allocations, %lu iterations, %lu look-ups in %u ms\n",
	       kind, maple_history_completed(), failed_allocations, iterations, look_ups, ms);
	printf("# %lu nodes, height %u; %lu wrong states, %lu wrong values, %lu wrong tiles, %lu "
	       "checks beyond the log\n",
	       stats.nodes, stats.height, counts->wrong_states, counts->wrong_values, wrong_tiles,
	       counts->not_logged);
	print_ages();
	tap_report(tap, iterations && !counts->wrong_states && !wrong_tiles, "%s: %s", kind,
		   flags & MT_FLAGS_SNAPSHOT
			   ? "each iteration is one state between start and end of its section"
			   : "the ranges of an iteration lie side by side");
	tap_report(tap, look_ups && !counts->wrong_values && !changed_objects,
		   "%s: each value was there between start and end of its section", kind);
	tap_report(tap, object_ages[0] && !object_ages[2],
		   "%s: no view is older than one grace period", kind);
	tap_report(tap, maple_history_completed() && valid, "%s: the structure is valid", kind);

	mtree_destroy(&tree);
	for (unsigned long at = 0; maple_model_find(&model, at, ULONG_MAX, &r); at = r.last + 1) {
		struct object *object = r.entry;

		if (--object->ranges == 0)
			object_drop(object);
		if (r.last == ULONG_MAX)
			break;
	}
	/* Twice: the first round of callbacks makes the second one. */
	samara_rcu_barrier();
	samara_rcu_barrier();
	tap_report(tap, mtree_empty(&tree) && !tree.ma_slab && !objects_alive,
		   "%s: no node and no entry is left", kind);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *kind;
		unsigned int flags;
		const char *walker;
	} kinds[] = {
		{"plain tree, plain search", 0, "plain"},
		{"gaps", MT_FLAGS_ALLOC_RANGE, "avx2"},
		{"snapshots", MT_FLAGS_SNAPSHOT, "avx512"},
	};
	unsigned int seconds = argc > 1 ? (unsigned int)atoi(argv[1]) : 6;
	struct tap tap = {0};

	setvbuf(stdout, NULL, _IOLBF, 0);
	maple_poison_nodes = true;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		run(&tap, kinds[i].kind, kinds[i].flags, kinds[i].walker, seconds * 1000 / 3);
	return tap_end(&tap);
}
