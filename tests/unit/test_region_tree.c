/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "mm/lock.h"
#include "mm/region.h"
#include "tests/lib/asleep.h"
#include "tests/lib/interpose.h"

/*
 * Region trees: what is found where, and who waits for whom. Every wait is shown by the order of
 * events: a thread that must wait has not come on while the other one is held up.
 */

static int objects[64];

static bool is_single(void)
{
	return !strcmp(lock_design, "single");
}

/* Readers publish ranges in slots. */
static bool is_region_build(void)
{
	return !strncmp(lock_design, "region", 6);
}

static void skip_in_single(void)
{
	if (is_single()) {
		print_message("# SKIP LOCK=single: every reader waits for every writer\n");
		skip();
	}
}

static uint32_t load(uint32_t *value)
{
	return __atomic_load_n(value, __ATOMIC_SEQ_CST);
}

static void set(uint32_t *value, uint32_t to)
{
	__atomic_store_n(value, to, __ATOMIC_SEQ_CST);
}

static void sleep_ms(long ms)
{
	struct timespec pause = {.tv_nsec = ms * 1000000};

	nanosleep(&pause, NULL);
}

static void wait_until(uint32_t *value, uint32_t at_least)
{
	while (load(value) < at_least)
		sleep_ms(1);
}

static int setup(void **state)
{
	struct region_tree *tree;

	if (region_tree_create(&tree))
		return -1;
	*state = tree;
	return 0;
}

static int teardown(void **state)
{
	region_tree_destroy(*state);
	return 0;
}

static void assert_finds(struct region_tree *tree, uint64_t address, void *object)
{
	struct region_guard guard;
	struct region *region;
	bool busy = true;

	region = region_try_read_lock(tree, address, &guard, &busy);
	assert_false(busy);
	assert_int_equal(region != NULL, object != NULL);
	if (region) {
		assert_ptr_equal(region_object(region), object);
		assert_true(region_first(region) <= address && address <= region_last(region));
		region_read_unlock(&guard);
	}
	region = region_read_lock(tree, address, &guard);
	assert_int_equal(region != NULL, object != NULL);
	if (region)
		region_read_unlock(&guard);
}

static void test_insert_find_remove(void **state)
{
	struct region_tree *tree = *state;
	void *object = NULL;

	assert_finds(tree, 0, NULL);
	assert_finds(tree, UINT64_MAX, NULL);
	assert_int_equal(region_tree_insert(tree, 10, 19, &objects[0]), 0);
	assert_int_equal(region_tree_insert(tree, 20, 20, &objects[1]), 0);
	assert_int_equal(region_tree_insert(tree, 0, 0, &objects[2]), 0);
	assert_int_equal(region_tree_insert(tree, UINT64_MAX - 9, UINT64_MAX, &objects[3]), 0);
	assert_finds(tree, 9, NULL);
	assert_finds(tree, 10, &objects[0]);
	assert_finds(tree, 19, &objects[0]);
	assert_finds(tree, 20, &objects[1]);
	assert_finds(tree, 21, NULL);
	assert_finds(tree, 0, &objects[2]);
	assert_finds(tree, 1, NULL);
	assert_finds(tree, UINT64_MAX, &objects[3]);
	assert_finds(tree, UINT64_MAX - 10, NULL);
	assert_int_equal(region_tree_insert(tree, 19, 19, &objects[4]), -EEXIST);
	assert_int_equal(region_tree_insert(tree, 5, 30, &objects[4]), -EEXIST);
	assert_int_equal(region_tree_insert(tree, 0, UINT64_MAX, &objects[4]), -EEXIST);
	assert_int_equal(region_tree_insert(tree, 7, 6, &objects[4]), -EINVAL);
	assert_int_equal(region_tree_remove(tree, 11, &object), -ENOENT);
	assert_int_equal(region_tree_remove(tree, 5, &object), -ENOENT);
	assert_null(object);
	assert_finds(tree, 15, &objects[0]);
	assert_int_equal(region_tree_remove(tree, 10, &object), 0);
	assert_ptr_equal(object, &objects[0]);
	assert_int_equal(region_tree_remove(tree, 10, &object), -ENOENT);
	assert_finds(tree, 15, NULL);
	assert_finds(tree, 20, &objects[1]);
	assert_int_equal(region_tree_remove(tree, UINT64_MAX - 9, &object), 0);
	assert_ptr_equal(object, &objects[3]);
	assert_int_equal(region_tree_insert(tree, 10, 19, &objects[5]), 0);
	assert_finds(tree, 15, &objects[5]);
}

/* Each allocation fails once: -ENOMEM, and what was there is there still. */
static void test_out_of_memory(void **state)
{
	struct region_tree *tree = *state;
	void *object = NULL;
	unsigned long nth;
	int ret;

	for (unsigned int i = 0; i < 40; i++)
		assert_int_equal(region_tree_insert(tree, i * 10, i * 10 + 4, &objects[i]), 0);
	for (nth = 1;; nth++) {
		interpose_fail_nth(INTERPOSE_MALLOC, nth, 1, 0);
		ret = region_tree_insert(tree, 25, 29, &objects[50]);
		if (!interpose_end())
			break;
		assert_int_equal(ret, -ENOMEM);
		assert_finds(tree, 25, NULL);
	}
	assert_int_equal(ret, 0);
	assert_true(nth > 1);
	for (nth = 1;; nth++) {
		interpose_fail_nth(INTERPOSE_MALLOC, nth, 1, 0);
		ret = region_tree_remove(tree, 20, &object);
		if (!interpose_end())
			break;
		assert_int_equal(ret, -ENOMEM);
		assert_finds(tree, 20, &objects[2]);
	}
	assert_int_equal(ret, 0);
	assert_ptr_equal(object, &objects[2]);
}

/* ---- Who waits for whom ---------------------------------------------------------------------- */

struct remover {
	struct region_tree *tree;
	uint64_t first;
	uint32_t started, done; /* atomic */
	int ret;
};

static void *remover_main(void *arg)
{
	struct remover *remover = arg;
	void *object;

	set(&remover->started, 1);
	remover->ret = region_tree_remove(remover->tree, remover->first, &object);
	set(&remover->done, 1);
	return NULL;
}

/* Start a removal that has to wait, and come back when it is waiting. */
static pthread_t start_remover(struct remover *remover)
{
	struct region_guard guard;
	struct region *region;
	pthread_t thread;
	bool busy = false;

	pthread_create(&thread, NULL, remover_main, remover);
	while (!busy) {
		region = region_try_read_lock(remover->tree, remover->first, &guard, &busy);
		if (!region && !busy)
			fail_msg("the region went away while it was held");
		if (region)
			region_read_unlock(&guard);
		/* A thread that holds a region in LOCK=single gets in deeper, always. */
		if (is_single() && load(&remover->started)) {
			wait_asleep(thread);
			break;
		}
	}
	return thread;
}

static void test_holder_blocks_remover(void **state)
{
	struct region_tree *tree = *state;
	struct remover remover = {.tree = tree, .first = 100};
	struct region_guard guard;
	pthread_t thread;

	region_tree_insert(tree, 100, 199, &objects[0]);
	assert_non_null(region_read_lock(tree, 150, &guard));
	thread = start_remover(&remover);
	sleep_ms(20);
	assert_int_equal(load(&remover.done), 0);
	assert_int_equal(region_first(guard.region), 100);
	region_read_unlock(&guard);
	pthread_join(thread, NULL);
	assert_int_equal(remover.ret, 0);
	assert_finds(tree, 150, NULL);
}

/* A removal that waits, in the middle of its tree: all other regions can be held and let go. */
static void test_remover_blocks_nobody_else(void **state)
{
	struct region_tree *tree = *state;
	struct remover remover = {.tree = tree, .first = 100};
	struct region_guard guard, other;
	pthread_t thread;
	bool busy;

	skip_in_single();
	for (unsigned int i = 0; i < 40; i++)
		region_tree_insert(tree, i * 100, i * 100 + 99, &objects[i]);
	assert_non_null(region_read_lock(tree, 150, &guard));
	thread = start_remover(&remover);
	for (unsigned int round = 0; round < 100; round++)
		for (unsigned int i = 0; i < 40; i++) {
			struct region *region =
				region_try_read_lock(tree, i * 100 + 50, &other, &busy);

			if (i == 1) {
				assert_null(region);
				assert_true(busy);
				continue;
			}
			assert_non_null(region);
			assert_ptr_equal(region_object(region), &objects[i]);
			region_read_unlock(&other);
		}
	assert_int_equal(load(&remover.done), 0);
	region_read_unlock(&guard);
	pthread_join(thread, NULL);
	assert_finds(tree, 150, NULL);
	assert_finds(tree, 250, &objects[2]);
}

/* A blocking reader of the region under removal waits, and then finds nothing. */
struct reader {
	struct region_tree *tree;
	uint64_t address;
	uint32_t started, done; /* atomic */
	bool found;
};

static void *reader_main(void *arg)
{
	struct reader *reader = arg;
	struct region_guard guard;

	set(&reader->started, 1);
	reader->found = region_read_lock(reader->tree, reader->address, &guard) != NULL;
	if (reader->found)
		region_read_unlock(&guard);
	set(&reader->done, 1);
	return NULL;
}

static void test_reader_waits_for_remover(void **state)
{
	struct region_tree *tree = *state;
	struct remover remover = {.tree = tree, .first = 100};
	struct reader reader = {.tree = tree, .address = 120};
	struct region_guard guard;
	pthread_t thread, waiting;

	region_tree_insert(tree, 100, 199, &objects[0]);
	assert_non_null(region_read_lock(tree, 150, &guard));
	thread = start_remover(&remover);
	pthread_create(&waiting, NULL, reader_main, &reader);
	wait_until(&reader.started, 1);
	sleep_ms(20);
	assert_int_equal(load(&reader.done), 0);
	region_read_unlock(&guard);
	pthread_join(thread, NULL);
	pthread_join(waiting, NULL);
	assert_int_equal(remover.ret, 0);
	/* In LOCK=single a writer that waits comes before a reader that came later; so here too. */
	assert_false(reader.found);
}

/* More regions than a block has slots: the rest is in another block, and holds as well. */
static void test_more_holds_than_slots(void **state)
{
	struct region_tree *tree = *state;
	struct region_guard guard[THREAD_SLOTS + 4];
	const unsigned int count = THREAD_SLOTS + 4;
	bool busy;

	for (unsigned int i = 0; i < count; i++)
		region_tree_insert(tree, i * 100, i * 100 + 99, &objects[i]);
	for (unsigned int i = 0; i < count; i++) {
		assert_non_null(region_try_read_lock(tree, i * 100 + 7, &guard[i], &busy));
	}
	assert_int_equal(lock_thread_holds(), count);
	if (is_region_build())
		assert_non_null(thread_state_get()->slots.next);
	for (unsigned int i = 0; i < count; i++) {
		struct remover remover = {.tree = tree, .first = i * 100};
		pthread_t thread;

		/* Let everything go but this one, in turn, and see that it holds. */
		if (i == 0)
			for (unsigned int k = 0; k + 1 < count; k++)
				region_read_unlock(&guard[k]);
		if (i + 1 < count)
			continue;
		thread = start_remover(&remover);
		sleep_ms(20);
		assert_int_equal(load(&remover.done), 0);
		region_read_unlock(&guard[i]);
		pthread_join(thread, NULL);
		assert_int_equal(remover.ret, 0);
	}
	assert_int_equal(lock_thread_holds(), 0);
}

/* The same region several times, let go in any order. */
static void test_nested_holds(void **state)
{
	struct region_tree *tree = *state;
	struct region_guard guard[3 * THREAD_SLOTS];
	const unsigned int count = 3 * THREAD_SLOTS;
	struct remover remover = {.tree = tree, .first = 100};
	pthread_t thread;
	bool busy;

	region_tree_insert(tree, 100, 199, &objects[0]);
	for (unsigned int i = 0; i < count; i++)
		assert_non_null(region_try_read_lock(tree, 100 + i, &guard[i], &busy));
	thread = start_remover(&remover);
	for (unsigned int i = 0; i < count; i++) {
		assert_int_equal(load(&remover.done), 0);
		region_read_unlock(&guard[i * 5 % count]);
	}
	pthread_join(thread, NULL);
	assert_int_equal(remover.ret, 0);
	assert_int_equal(lock_thread_holds(), 0);
}

/* A thread without memory for its thread_state reads all the same, and leaves no trace. */
static void *poor_reader(void *arg)
{
	struct region_tree *tree = arg;
	struct region_guard guard, second;
	uintptr_t bad = 0;
	bool busy;

	/* All of them: the threads of the tests before left states that could be adopted. */
	interpose_fail_nth(INTERPOSE_MALLOC, 1, 0, 0);
	bad |= !region_try_read_lock(tree, 150, &guard, &busy);
	bad |= !region_try_read_lock(tree, 250, &second, &busy);
	bad |= lock_thread_holds() != 2;
	interpose_end(); /* now there is memory: what was held without is let go with */
	region_read_unlock(&guard);
	region_read_unlock(&second);
	bad |= lock_thread_holds() != 0;
	bad |= !region_read_lock(tree, 150, &guard);
	region_read_unlock(&guard);
	bad |= lock_thread_holds() != 0;
	lock_tree_write(tree);
	unlock_tree_write(tree);
	return (void *)bad;
}

struct keeper {
	struct region_tree *tree;
	uint32_t in, go; /* atomic */
};

static void *keeper_main(void *arg)
{
	struct keeper *keeper = arg;
	struct region_guard guard;

	if (region_read_lock(keeper->tree, 150, &guard))
		region_read_unlock(&guard);
	__atomic_fetch_add(&keeper->in, 1, __ATOMIC_SEQ_CST);
	wait_until(&keeper->go, 1);
	return NULL;
}

static void test_thread_without_state(void **state)
{
	struct region_tree *tree = *state;
	struct keeper keeper = {.tree = tree};
	pthread_t keepers[16], thread;
	void *bad;

	region_tree_insert(tree, 100, 199, &objects[0]);
	region_tree_insert(tree, 200, 299, &objects[1]);
	for (unsigned int i = 0; i < 16; i++)
		pthread_create(&keepers[i], NULL, keeper_main, &keeper);
	wait_until(&keeper.in, 16);
	pthread_create(&thread, NULL, poor_reader, tree);
	pthread_join(thread, &bad);
	assert_null(bad);
	set(&keeper.go, 1);
	for (unsigned int i = 0; i < 16; i++)
		pthread_join(keepers[i], NULL);
}

/* ---- Threads that come and go ---------------------------------------------------------------- */

struct coming {
	struct region_tree *tree;
	uint32_t stop;          /* atomic */
	uint32_t value[2];      /* protected by region 100: equal for whoever holds it */
	uint32_t broken, reads; /* atomic */
};

static void *short_life(void *arg)
{
	struct coming *coming = arg;
	struct region_guard guard;

	for (int i = 0; i < 20; i++) {
		struct region *region = region_read_lock(coming->tree, 100 + (uint64_t)i, &guard);

		if (!region)
			continue;
		if (*(uint32_t *)region_object(region) != 7)
			set(&coming->broken, 1);
		region_read_unlock(&guard);
		__atomic_fetch_add(&coming->reads, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void *come_and_go(void *arg)
{
	struct coming *coming = arg;

	while (!load(&coming->stop)) {
		pthread_t thread[4];

		for (int i = 0; i < 4; i++)
			pthread_create(&thread[i], NULL, short_life, coming);
		for (int i = 0; i < 4; i++)
			pthread_join(thread[i], NULL);
	}
	return NULL;
}

/* An object is poisoned the moment its removal returns: no reader may see that. */
static void test_threads_come_and_go(void **state)
{
	struct coming coming = {.tree = *state};
	unsigned int states = 0, later = 0;
	pthread_t thread[2];
	void *object;

	for (int i = 0; i < 2; i++)
		pthread_create(&thread[i], NULL, come_and_go, &coming);
	for (unsigned int round = 0; round < 400 || load(&coming.reads) < 200; round++) {
		uint32_t *own = malloc(sizeof(*own));

		*own = 7;
		assert_int_equal(region_tree_insert(*state, 100, 119, own), 0);
		if (round % 4 == 0)
			sleep_ms(1);
		assert_int_equal(region_tree_remove(*state, 100, &object), 0);
		assert_ptr_equal(object, own);
		*own = 0xdead;
		free(own);
		if (round == 40)
			for (struct thread_state *s = thread_state_first(); s; s = s->next)
				states++;
	}
	set(&coming.stop, 1);
	for (int i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(load(&coming.broken), 0);
	/* States are taken over, not piled up: at most as many as threads at once. */
	for (struct thread_state *s = thread_state_first(); s; s = s->next)
		later++;
	assert_true(later <= states + 16);
}

/* Writers of both kinds, and readers that hold several regions: nothing is torn, nothing hangs. */
struct brawl {
	struct region_tree *tree;
	uint32_t stop, broken, reads, next; /* atomic */
	uint64_t value[8][2];               /* each protected by its region */
};

static void *brawl_reader(void *arg)
{
	struct brawl *brawl = arg;
	unsigned int at = 0;

	while (!load(&brawl->stop)) {
		struct region_guard guard[8];
		unsigned int held = 0;
		bool busy;

		at = at * 5 + 3;
		for (unsigned int i = 0; i < 1 + at % 8; i++) {
			struct region *region = region_try_read_lock(
				brawl->tree, (at + i) % 8 * 10 + 5, &guard[held], &busy);
			uint64_t *value;

			if (!region)
				continue;
			held++;
			value = region_object(region);
			if (value[0] != value[1])
				set(&brawl->broken, 1);
		}
		while (held)
			region_read_unlock(&guard[--held]);
		__atomic_fetch_add(&brawl->reads, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void *brawl_writer(void *arg)
{
	struct brawl *brawl = arg;
	unsigned int own = __atomic_fetch_add(&brawl->next, 1, __ATOMIC_RELAXED);

	for (unsigned int round = 0; !load(&brawl->stop); round++) {
		unsigned int i = (own * 4 + round % 4) % 8;
		void *object;

		if (region_tree_remove(brawl->tree, i * 10, &object))
			set(&brawl->broken, 2);
		brawl->value[i][0]++;
		brawl->value[i][1]++;
		if (region_tree_insert(brawl->tree, i * 10, i * 10 + 9, brawl->value[i]))
			set(&brawl->broken, 3);
	}
	return NULL;
}

static void test_brawl(void **state)
{
	static struct brawl brawl;
	pthread_t thread[6];

	brawl = (struct brawl){.tree = *state};
	for (unsigned int i = 0; i < 8; i++)
		region_tree_insert(*state, i * 10, i * 10 + 9, brawl.value[i]);
	for (int i = 0; i < 6; i++)
		pthread_create(&thread[i], NULL, i < 4 ? brawl_reader : brawl_writer, &brawl);
	sleep_ms(800);
	wait_until(&brawl.reads, 1);
	set(&brawl.stop, 1);
	for (int i = 0; i < 6; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(brawl.broken, 0);
	assert_true(brawl.reads > 0);
}

/* ---- Many trees ------------------------------------------------------------------------------ */

static void test_trees_max(void **state)
{
	struct region_tree *tree[TREES_MAX];
	struct lock_counters counters;
	unsigned int count = 0;
	int ret = 0;

	/* One is there: the fixture's. */
	while (count < TREES_MAX && !(ret = region_tree_create(&tree[count])))
		count++;
	assert_int_equal(ret, -ENOMEM);
	assert_int_equal(count, TREES_MAX - 1);
	for (unsigned int i = 0; i < count; i++) {
		assert_int_equal(region_tree_insert(tree[i], i, i + 5, &objects[i % 64]), 0);
		assert_finds(tree[i], i + 5, &objects[i % 64]);
		assert_finds(*state, i + 5, NULL);
	}
	for (unsigned int i = 0; i < count; i++)
		region_tree_destroy(tree[i]);
	/* A new tree starts counting at 0, whoever had its id before. */
	assert_int_equal(region_tree_create(&tree[0]), 0);
	region_tree_count(tree[0], &counters);
	assert_int_equal(counters.success, 0);
	assert_int_equal(counters.miss, 0);
	region_tree_insert(tree[0], 1, 1, &objects[0]);
	assert_finds(tree[0], 1, &objects[0]);
	assert_finds(tree[0], 2, NULL);
	region_tree_count(tree[0], &counters);
	assert_int_equal(counters.success, 2);
	assert_int_equal(counters.miss, 2);
	assert_int_equal(counters.abort, 0);
	region_tree_destroy(tree[0]);
}

/* Regions of several trees at once: more trees than a thread has slots. */
static void test_holds_in_several_trees(void **state)
{
	struct region_tree *tree[THREAD_SLOTS + 2];
	struct region_guard guard[THREAD_SLOTS + 2];
	bool busy;

	(void)state;
	for (unsigned int i = 0; i < THREAD_SLOTS + 2; i++) {
		assert_int_equal(region_tree_create(&tree[i]), 0);
		region_tree_insert(tree[i], 0, 9, &objects[i]);
	}
	for (unsigned int i = 0; i < THREAD_SLOTS + 2; i++)
		assert_non_null(region_try_read_lock(tree[i], 5, &guard[i], &busy));
	for (unsigned int i = 0; i < THREAD_SLOTS + 2; i++) {
		struct remover remover = {.tree = tree[i]};
		pthread_t thread = start_remover(&remover);

		sleep_ms(5);
		assert_int_equal(load(&remover.done), 0);
		region_read_unlock(&guard[i]);
		pthread_join(thread, NULL);
		assert_int_equal(remover.ret, 0);
		region_tree_destroy(tree[i]);
	}
	assert_int_equal(lock_thread_holds(), 0);
}

static void test_destroy_null(void **state)
{
	(void)state;
	region_tree_destroy(NULL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_insert_find_remove),
		TEST(test_out_of_memory),
		TEST(test_holder_blocks_remover),
		TEST(test_remover_blocks_nobody_else),
		TEST(test_reader_waits_for_remover),
		TEST(test_more_holds_than_slots),
		TEST(test_nested_holds),
		TEST(test_thread_without_state),
		TEST(test_threads_come_and_go),
		TEST(test_brawl),
		TEST(test_trees_max),
		TEST(test_holds_in_several_trees),
		TEST(test_destroy_null),
	};

	return cmocka_run_group_tests_name("region tree", tests, NULL, NULL);
}
