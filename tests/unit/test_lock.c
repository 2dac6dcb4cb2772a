/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "mm/lock.h"
#include "mm/rank.h"
#include "mm/region_cut.h"
#include "tests/lib/asleep.h"
#include "tests/lib/interpose.h"

/*
 * What a lock design promises beyond test_region_tree.c: holds of ranges under cuts, memory that is held
 * and over, threads without memory, forks, counters; and the checker of the lock ranks.
 */

static int object;

static struct region *make_region(const struct region *like, uint64_t first, uint64_t last)
{
	struct region *region = malloc(sizeof(*region));

	if (region)
		region_init(region, like->tree, first, last, like->object);
	return region;
}

static bool is_by_range(void)
{
	return !strncmp(lock_design, "region", 6) || !strcmp(lock_design, "range");
}

static void only_by_range(void)
{
	if (!is_by_range()) {
		print_message("# SKIP this design holds a region as a whole\n");
		skip();
	}
}

static void only_in_slots(void)
{
	if (strncmp(lock_design, "region", 6)) {
		print_message("# SKIP this design has no slots\n");
		skip();
	}
}

static int setup(void **state)
{
	struct region_tree *tree;

	if (region_tree_create(&tree) || region_tree_insert(tree, 0, 999, &object))
		return -1;
	*state = tree;
	return 0;
}

static int teardown(void **state)
{
	region_tree_destroy(*state);
	return 0;
}

static void hold(struct region_tree *tree, uint64_t first, uint64_t last,
		 struct region_guard *guard)
{
	bool busy;

	assert_non_null(region_try_read_lock_range(tree, first, first, last, guard, &busy));
	assert_int_equal(guard->first, first);
	assert_int_equal(guard->last, last);
}

/* ---- An operation in a thread of its own: the caller holds something --------------------------- */

struct cutter {
	struct region_tree *tree;
	uint64_t first, last;
	bool unite;
	int ret;
	uint32_t done; /* atomic */
	pthread_t thread;
};

static void *cutter_main(void *arg)
{
	struct cutter *own = arg;

	lock_tree_write(own->tree);
	own->ret = region_isolate(own->tree, own->first, own->last, make_region);
	if (!own->ret && own->unite) {
		region_unite(region_find(own->tree, own->first - 1),
			     region_find(own->tree, own->first), make_region);
		region_unite(region_find(own->tree, own->last),
			     region_find(own->tree, own->last + 1), make_region);
	}
	unlock_tree_write(own->tree);
	__atomic_store_n(&own->done, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

static void start(struct cutter *own)
{
	pthread_create(&own->thread, NULL, cutter_main, own);
}

static bool is_done_within_ms(struct cutter *own, unsigned int ms)
{
	struct timespec pause = {.tv_nsec = 1000000};

	while (ms-- && !__atomic_load_n(&own->done, __ATOMIC_SEQ_CST))
		nanosleep(&pause, NULL);
	return __atomic_load_n(&own->done, __ATOMIC_SEQ_CST);
}

static void test_cut_waits_for_its_range_only(void **state)
{
	struct cutter far = {.tree = *state, .first = 500, .last = 599};
	struct cutter near = {.tree = *state, .first = 90, .last = 200};
	struct region_guard guard, other;
	bool busy;

	only_by_range();
	hold(*state, 100, 199, &guard);
	start(&far);
	assert_true(is_done_within_ms(&far, 60000));
	pthread_join(far.thread, NULL);
	assert_int_equal(far.ret, 0);
	start(&near);
	assert_false(is_done_within_ms(&near, 50));
	/* While it waits: its range is busy, all else is not, on either side of what was cut. */
	assert_null(region_try_read_lock_range(*state, 150, 150, 150, &other, &busy));
	assert_true(busy);
	assert_null(region_try_read_lock_range(*state, 200, 200, 300, &other, &busy));
	assert_true(busy);
	hold(*state, 0, 89, &other);
	region_read_unlock(&other);
	hold(*state, 201, 499, &other);
	region_read_unlock(&other);
	hold(*state, 500, 599, &other);
	region_read_unlock(&other);
	assert_ptr_equal(region_object(guard.region), &object);
	region_read_unlock(&guard);
	pthread_join(near.thread, NULL);
	assert_int_equal(near.ret, 0);
}

static void test_range_is_clipped(void **state)
{
	struct cutter cut = {.tree = *state, .first = 100, .last = 199};
	struct region_guard guard;
	bool busy;

	start(&cut);
	pthread_join(cut.thread, NULL);
	assert_non_null(region_try_read_lock_range(*state, 150, 0, UINT64_MAX, &guard, &busy));
	assert_int_equal(guard.first, 100);
	assert_int_equal(guard.last, 199);
	region_read_unlock(&guard);
	assert_non_null(region_try_read_lock(*state, 999, &guard, &busy));
	assert_int_equal(guard.first, 200);
	assert_int_equal(guard.last, 999);
	region_read_unlock(&guard);
}

/* Each allocation of a cut fails once: nothing is cut, nothing stays marked. */
static void test_cut_without_memory(void **state)
{
	struct region_tree *tree = *state;
	struct region *before = region_find(tree, 0);
	struct region_guard guard;
	unsigned long nth;
	int ret;

	for (nth = 1;; nth++) {
		lock_tree_write(tree);
		interpose_fail_nth(INTERPOSE_MALLOC, nth, 1, 0);
		ret = region_isolate(tree, 300, 399, make_region);
		if (!interpose_end()) {
			unlock_tree_write(tree);
			break;
		}
		assert_int_equal(ret, -12);
		assert_ptr_equal(region_find(tree, 350), before);
		assert_null(tree->marked);
		unlock_tree_write(tree);
		hold(tree, 350, 360, &guard);
		region_read_unlock(&guard);
	}
	assert_int_equal(ret, 0);
	assert_true(nth > 3);
	assert_int_equal(region_find(tree, 350)->first, 300);
	assert_int_equal(region_find(tree, 350)->last, 399);
}

/* A region that is over stays for as long as it is held; then it goes, at the next unlock. */
static void test_memory_of_the_held(void **state)
{
	struct region_tree *tree = *state;
	struct cutter cut = {.tree = tree, .first = 500, .last = 599, .unite = true};
	struct region_guard guard;

	only_by_range();
	hold(tree, 0, 9, &guard);
	for (unsigned int round = 0; round < 20; round++) {
		start(&cut);
		pthread_join(cut.thread, NULL);
		cut.done = 0;
		samara_rcu_barrier();
		assert_ptr_equal(tree->limbo, guard.region);
		assert_null(tree->limbo->next_retired);
		assert_ptr_equal(region_object(guard.region), &object);
		assert_ptr_not_equal(region_find(tree, 5), guard.region);
	}
	region_read_unlock(&guard);
	start(&cut);
	pthread_join(cut.thread, NULL);
	assert_null(tree->limbo);
}

/* ---- Threads -------------------------------------------------------------------------------- */

static struct region_guard many[COMMONS_SLOTS + 1];

/* Without memory for slots of its own: as many holds as the commons have, then it is busy. */
static void *poor_main(void *arg)
{
	struct region_tree *tree = arg;
	uintptr_t bad = 0;
	bool busy;

	interpose_fail_nth(INTERPOSE_MALLOC, 1, 0, 0);
	for (unsigned int i = 0; i < COMMONS_SLOTS; i++)
		bad |= !region_try_read_lock_range(tree, i, i, i, &many[i], &busy);
	bad |= lock_thread_holds() != COMMONS_SLOTS;
	bad |= region_try_read_lock_range(tree, 900, 900, 900, &many[COMMONS_SLOTS], &busy) != NULL;
	bad |= !busy;
	region_read_unlock(&many[7]);
	bad |= !region_try_read_lock_range(tree, 900, 900, 900, &many[7], &busy);
	for (unsigned int i = 0; i < COMMONS_SLOTS; i++)
		region_read_unlock(&many[i]);
	bad |= lock_thread_holds() != 0;
	interpose_end();
	return (void *)bad;
}

static uint32_t idle, idle_enough; /* atomic */

static void *idle_main(void *arg)
{
	struct timespec moment = {.tv_nsec = 1000000};
	struct region_guard guard;

	if (region_read_lock(arg, 0, &guard))
		region_read_unlock(&guard);
	__atomic_fetch_add(&idle, 1, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&idle_enough, __ATOMIC_SEQ_CST))
		nanosleep(&moment, NULL);
	return NULL;
}

static void test_commons(void **state)
{
	pthread_t thread[8], poor;
	struct timespec moment = {.tv_nsec = 1000000};
	void *bad;

	only_in_slots();
	/* States of threads that ended would be taken over: have them all in use. */
	for (unsigned int i = 0; i < 8; i++)
		pthread_create(&thread[i], NULL, idle_main, *state);
	while (__atomic_load_n(&idle, __ATOMIC_SEQ_CST) < 8)
		nanosleep(&moment, NULL);
	pthread_create(&poor, NULL, poor_main, *state);
	pthread_join(poor, &bad);
	assert_null(bad);
	__atomic_store_n(&idle_enough, 1, __ATOMIC_SEQ_CST);
	for (unsigned int i = 0; i < 8; i++)
		pthread_join(thread[i], NULL);
}

struct holder {
	struct region_tree *tree;
	uint32_t in, go; /* atomic */
};

static void *holder_main(void *arg)
{
	struct holder *own = arg;
	struct region_guard guard;
	struct timespec pause = {.tv_nsec = 1000000};

	region_read_lock(own->tree, 5, &guard);
	__atomic_store_n(&own->in, 1, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&own->go, __ATOMIC_SEQ_CST))
		nanosleep(&pause, NULL);
	region_read_unlock(&guard);
	return NULL;
}

/* In a child the other threads are gone, and so are their holds; the caller's own stay. */
static void test_fork(void **state)
{
	struct holder holder = {.tree = *state};
	struct timespec pause = {.tv_nsec = 1000000};
	pthread_t thread;
	int status;
	pid_t pid;

	only_in_slots();
	pthread_create(&thread, NULL, holder_main, &holder);
	while (!__atomic_load_n(&holder.in, __ATOMIC_SEQ_CST))
		nanosleep(&pause, NULL);
	pid = fork();
	if (!pid) {
		alarm(120);
		lock_tree_write(*state);
		region_start_write(region_find(*state, 5));
		region_drain(*state);
		unlock_tree_write(*state);
		_exit(7);
	}
	waitpid(pid, &status, 0);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 7);
	__atomic_store_n(&holder.go, 1, __ATOMIC_SEQ_CST);
	pthread_join(thread, NULL);
}

/* ---- Counters ------------------------------------------------------------------------------- */

static void *waiter_main(void *arg)
{
	struct region_guard guard;

	if (region_read_lock(arg, 5, &guard))
		region_read_unlock(&guard);
	return NULL;
}

static void test_counters(void **state)
{
	struct region_tree *tree = *state;
	struct lock_counters counters;
	struct region_guard guard;
	pthread_t thread;
	bool busy;

	hold(tree, 5, 5, &guard);
	region_read_unlock(&guard);
	assert_null(region_try_read_lock(tree, 5000, &guard, &busy));
	lock_tree_write(tree);
	region_start_write(region_find(tree, 5));
	region_drain(tree);
	pthread_create(&thread, NULL, waiter_main, tree);
	wait_asleep(thread);
	unlock_tree_write(tree);
	pthread_join(thread, NULL);
	region_tree_count(tree, &counters);
	assert_int_equal(counters.success, 2);
	assert_int_equal(counters.miss, 1);
	assert_int_equal(counters.abort, 1);
	assert_int_equal(counters.retry, 1);
	assert_in_range(counters.wait_ns, 1000000, 10000000000);
}

/* ---- The rank checker ----------------------------------------------------------------------- */

static unsigned int broken;
static enum lock_rank broken_wanted, broken_held;

static void note_broken(enum lock_rank wanted, enum lock_rank held)
{
	broken++;
	broken_wanted = wanted;
	broken_held = held;
}

static int setup_ranks(void **state)
{
	rank_broken = note_broken;
	broken = 0;
	return setup(state);
}

static void test_ranks_in_order(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < RANKS; i++) {
		rank_check_wait((enum lock_rank)i);
		rank_check_took((enum lock_rank)i);
	}
	/* In any order. */
	rank_check_dropped(RANK_TREE);
	rank_check_dropped(RANK_SERVICE);
	rank_check_wait(RANK_SERVICE);
	rank_check_dropped(RANK_REGION);
	rank_check_dropped(RANK_STRAY);
	rank_check_wait(RANK_TREE);
	/* Tries are always allowed. */
	rank_check_took(RANK_REGION);
	rank_check_took(RANK_REGION);
	rank_check_took(RANK_TREE);
	rank_check_dropped(RANK_TREE);
	rank_check_dropped(RANK_REGION);
	rank_check_dropped(RANK_REGION);
	assert_int_equal(broken, 0);
}

static void test_ranks_out_of_order(void **state)
{
	(void)state;
	for (unsigned int inner = 0; inner < RANKS; inner++) {
		for (unsigned int outer = 0; outer <= inner; outer++) {
			broken = 0;
			rank_check_took((enum lock_rank)inner);
			rank_check_wait((enum lock_rank)outer);
			rank_check_dropped((enum lock_rank)inner);
			assert_int_equal(broken, 1);
			assert_int_equal(broken_wanted, outer);
			assert_int_equal(broken_held, inner);
		}
	}
	rank_check_dropped(RANK_STRAY);
	assert_int_equal(broken, 2);
}

/* What the checker is for: a thread that holds a region waits for a tree lock. */
static void *breaker_main(void *arg)
{
	struct region_guard guard;
	bool busy;

	region_try_read_lock(arg, 5, &guard, &busy);
	rank_wait(RANK_TREE);
	region_read_unlock(&guard);
	rank_wait(RANK_TREE);
	return NULL;
}

static void test_ranks_of_locks(void **state)
{
	pthread_t thread;

	pthread_create(&thread, NULL, breaker_main, *state);
	pthread_join(thread, NULL);
#ifdef SAMARA_DEBUG
	assert_int_equal(broken, 1);
	assert_int_equal(broken_held, RANK_REGION);
#else
	assert_int_equal(broken, 0);
#endif
	lock_tree_write(*state);
	unlock_tree_write(*state);
	lock_tree_read(*state);
	unlock_tree_read(*state);
	rank_check_wait(RANK_TREE);
	rank_check_wait(RANK_REGION);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_cut_waits_for_its_range_only),
		TEST(test_range_is_clipped),
		TEST(test_cut_without_memory),
		TEST(test_memory_of_the_held),
		TEST(test_commons),
		TEST(test_fork),
		TEST(test_counters),
		cmocka_unit_test_setup_teardown(test_ranks_in_order, setup_ranks, teardown),
		cmocka_unit_test_setup_teardown(test_ranks_out_of_order, setup_ranks, teardown),
		cmocka_unit_test_setup_teardown(test_ranks_of_locks, setup_ranks, teardown),
	};

	return cmocka_run_group_tests_name("lock", tests, NULL, NULL);
}
