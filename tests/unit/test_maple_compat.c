/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <samara/maple_tree.h>

#include "mm/rcu.h"

/*
 * What Linux 6.12's Documentation/core-api/maple_tree.rst says of its tree, statement by statement,
 * by code written for it: a user who has read it must find nothing else here. Beside each test, in
 * brackets, the section it comes from.
 */

static int things[16];

#define THING(n) ((void *)&things[(n)])

/* [Overview] Non-overlapping ranges, of size 1, too; from 0 to ULONG_MAX. */
static void test_ranges(void **state)
{
	DEFINE_MTREE(tree);

	(void)state;
	assert_int_equal(mtree_store_range(&tree, 10, 20, THING(0), GFP_KERNEL), 0);
	assert_int_equal(mtree_store_range(&tree, 15, 25, THING(1), GFP_KERNEL), 0);
	assert_ptr_equal(mtree_load(&tree, 14), THING(0));
	assert_ptr_equal(mtree_load(&tree, 15), THING(1));
	assert_int_equal(mtree_store(&tree, 0, THING(2), GFP_KERNEL), 0);
	assert_int_equal(mtree_store(&tree, ULONG_MAX, THING(3), GFP_KERNEL), 0);
	assert_ptr_equal(mtree_load(&tree, 0), THING(2));
	assert_ptr_equal(mtree_load(&tree, ULONG_MAX), THING(3));
	mtree_destroy(&tree);
}

/* [Overview] 2, 6, 10 .. 4094 are reserved; xa_mk_value() and xa_to_value() convert them. */
static void test_reserved_values(void **state)
{
	DEFINE_MTREE(tree);

	(void)state;
	assert_int_equal(mtree_store(&tree, 1, (void *)2, GFP_KERNEL), -EINVAL);
	assert_int_equal(mtree_insert(&tree, 1, (void *)6, GFP_KERNEL), -EINVAL);
	for (unsigned long value = 2; value < 4096; value += 4) {
		assert_int_equal(mtree_store(&tree, value, xa_mk_value(value), GFP_KERNEL), 0);
		assert_int_equal(xa_to_value(mtree_load(&tree, value)), value);
	}
	mtree_destroy(&tree);
}

/* [Normal API] DEFINE_MTREE() or mt_init(); a fresh tree holds NULL from 0 to ULONG_MAX. */
static void test_fresh_tree(void **state)
{
	struct maple_tree trees[3] = {MTREE_INIT(trees[0], 0)};

	(void)state;
	mt_init(&trees[1]);
	mt_init_flags(&trees[2], MT_FLAGS_ALLOC_RANGE);
	for (int i = 0; i < 3; i++) {
		MA_STATE(mas, &trees[i], 7, 7);

		assert_true(mtree_empty(&trees[i]));
		mas_lock(&mas);
		assert_null(mas_walk(&mas));
		assert_int_equal(mas.index, 0);
		assert_int_equal(mas.last, ULONG_MAX);
		mas_unlock(&mas);
		mtree_destroy(&trees[i]);
	}
}

/* [Normal API] mtree_store() overwrites; mtree_erase() by any index within; NULL erases in part. */
static void test_store_and_erase(void **state)
{
	DEFINE_MTREE(tree);

	(void)state;
	assert_int_equal(mtree_store_range(&tree, 100, 199, THING(0), GFP_KERNEL), 0);
	assert_int_equal(mtree_store(&tree, 150, THING(1), GFP_KERNEL), 0);
	assert_ptr_equal(mtree_load(&tree, 149), THING(0));
	assert_ptr_equal(mtree_load(&tree, 150), THING(1));
	assert_ptr_equal(mtree_erase(&tree, 120), THING(0));
	assert_null(mtree_load(&tree, 100));
	assert_null(mtree_load(&tree, 149));
	assert_ptr_equal(mtree_load(&tree, 151), THING(0));
	/* A part of one range, and several at once. */
	assert_int_equal(mtree_store_range(&tree, 180, 189, NULL, GFP_KERNEL), 0);
	assert_ptr_equal(mtree_load(&tree, 179), THING(0));
	assert_null(mtree_load(&tree, 180));
	assert_ptr_equal(mtree_load(&tree, 190), THING(0));
	assert_int_equal(mtree_store_range(&tree, 0, 195, NULL, GFP_KERNEL), 0);
	assert_null(mtree_load(&tree, 150));
	assert_ptr_equal(mtree_load(&tree, 196), THING(0));
	mtree_destroy(&tree);
}

/* [Normal API] mtree_insert() and mtree_insert_range(): -EEXIST unless all of it is NULL. */
static void test_insert(void **state)
{
	DEFINE_MTREE(tree);

	(void)state;
	assert_int_equal(mtree_insert_range(&tree, 10, 19, THING(0), GFP_KERNEL), 0);
	assert_int_equal(mtree_insert(&tree, 15, THING(1), GFP_KERNEL), -EEXIST);
	assert_int_equal(mtree_insert_range(&tree, 5, 10, THING(1), GFP_KERNEL), -EEXIST);
	assert_int_equal(mtree_insert(&tree, 20, THING(1), GFP_KERNEL), 0);
	assert_null(mtree_load(&tree, 5));
	mtree_destroy(&tree);
}

/* [Normal API] mt_find() from an index upwards; mt_for_each() over all of it, by a cursor. */
static void test_find_and_for_each(void **state)
{
	DEFINE_MTREE(tree);
	unsigned long cursor = 12, count = 0;
	void *entry;

	(void)state;
	for (unsigned long i = 0; i < 10; i++)
		assert_int_equal(mtree_store_range(&tree, i * 10, i * 10 + 4, THING(i), GFP_KERNEL),
				 0);
	assert_ptr_equal(mt_find(&tree, &cursor, ULONG_MAX), THING(1));
	assert_ptr_equal(mt_find(&tree, &cursor, ULONG_MAX), THING(2));
	cursor = 0;
	mt_for_each (&tree, entry, cursor, ULONG_MAX)
		assert_ptr_equal(entry, THING(count++));
	assert_int_equal(count, 10);
	count = 0;
	cursor = 25;
	mt_for_each (&tree, entry, cursor, 50)
		count++;
	assert_int_equal(count, 3);
	mtree_destroy(&tree);
}

/* [Normal API] mtree_dup() copies all of a tree. */
static void test_dup(void **state)
{
	DEFINE_MTREE(tree);
	DEFINE_MTREE(copy);

	(void)state;
	for (unsigned long i = 0; i < 1000; i++)
		assert_int_equal(mtree_store(&tree, i * 3, THING(i % 16), GFP_KERNEL), 0);
	assert_int_equal(mtree_dup(&tree, &copy, GFP_KERNEL), 0);
	mtree_destroy(&tree);
	for (unsigned long i = 0; i < 1000; i++)
		assert_ptr_equal(mtree_load(&copy, i * 3), THING(i % 16));
	mtree_destroy(&copy);
	assert_true(mtree_empty(&copy));
}

/* [Locking] mtree_lock() around a look-up keeps stores out; mtree_load() may be called under it. */
static void test_lock_around_load(void **state)
{
	DEFINE_MTREE(tree);

	(void)state;
	assert_int_equal(mtree_store(&tree, 1, THING(1), GFP_KERNEL), 0);
	mtree_lock(&tree);
	assert_ptr_equal(mtree_load(&tree, 1), THING(1));
	assert_int_not_equal(pthread_mutex_trylock(&tree.ma_lock), 0);
	mtree_unlock(&tree);
	mtree_destroy(&tree);
}

/* [Advanced API] Normal and advanced operations may be mixed; mas_walk() sets index and last. */
static void test_walk(void **state)
{
	DEFINE_MTREE(tree);
	MA_STATE(mas, &tree, 15, 15);

	(void)state;
	assert_int_equal(mtree_store_range(&tree, 10, 19, THING(0), GFP_KERNEL), 0);
	mas_lock(&mas);
	assert_ptr_equal(mas_walk(&mas), THING(0));
	assert_int_equal(mas.index, 10);
	assert_int_equal(mas.last, 19);
	mas_unlock(&mas);
	mtree_destroy(&tree);
}

/* [Advanced API] mas_store() overwrites and returns the first entry; the range is index to last. */
static void test_mas_store(void **state)
{
	DEFINE_MTREE(tree);
	MA_STATE(mas, &tree, 10, 19);

	(void)state;
	mas_lock(&mas);
	assert_null(mas_store(&mas, THING(0)));
	mas_set_range(&mas, 15, 24);
	assert_ptr_equal(mas_store(&mas, THING(1)), THING(0));
	mas_unlock(&mas);
	assert_ptr_equal(mtree_load(&tree, 14), THING(0));
	assert_ptr_equal(mtree_load(&tree, 24), THING(1));
	mtree_destroy(&tree);
}

/* [Advanced API] mas_erase() erases the first range found, and returns its entry. */
static void test_mas_erase(void **state)
{
	DEFINE_MTREE(tree);
	MA_STATE(mas, &tree, 15, 15);

	(void)state;
	assert_int_equal(mtree_store_range(&tree, 0, 9, THING(0), GFP_KERNEL), 0);
	assert_int_equal(mtree_store_range(&tree, 10, 19, THING(1), GFP_KERNEL), 0);
	assert_int_equal(mtree_store_range(&tree, 20, 29, THING(2), GFP_KERNEL), 0);
	mas_lock(&mas);
	assert_ptr_equal(mas_erase(&mas), THING(1));
	assert_int_equal(mas.index, 10);
	assert_int_equal(mas.last, 19);
	mas_unlock(&mas);
	assert_null(mtree_load(&tree, 10));
	assert_ptr_equal(mtree_load(&tree, 9), THING(0));
	assert_ptr_equal(mtree_load(&tree, 20), THING(2));
	mtree_destroy(&tree);
}

/* [Advanced API] mas_for_each(), mas_next() and mas_prev() as on a linked list. */
static void test_linked_list(void **state)
{
	DEFINE_MTREE(tree);
	MA_STATE(mas, &tree, 0, 0);
	unsigned long count = 0;
	void *entry;

	(void)state;
	for (unsigned long i = 0; i < 16; i++)
		assert_int_equal(mtree_store(&tree, i * 100, THING(i), GFP_KERNEL), 0);
	mas_lock(&mas);
	mas_for_each (&mas, entry, ULONG_MAX)
		assert_ptr_equal(entry, THING(count++));
	assert_int_equal(count, 16);
	mas_set(&mas, 500);
	assert_ptr_equal(mas_next(&mas, ULONG_MAX), THING(6));
	assert_ptr_equal(mas_prev(&mas, 0), THING(5));
	assert_ptr_equal(mas_prev(&mas, 0), THING(4));
	mas_unlock(&mas);
	mtree_destroy(&tree);
}

/* [Advanced API] mas_find() at or above index first, then the next; mas_find_rev() downwards. */
static void test_mas_find(void **state)
{
	DEFINE_MTREE(tree);
	MA_STATE(mas, &tree, 100, 100);

	(void)state;
	for (unsigned long i = 0; i < 16; i++)
		assert_int_equal(mtree_store(&tree, i * 100, THING(i), GFP_KERNEL), 0);
	mas_lock(&mas);
	assert_ptr_equal(mas_find(&mas, ULONG_MAX), THING(1));
	assert_ptr_equal(mas_find(&mas, ULONG_MAX), THING(2));
	mas_set(&mas, 150);
	assert_ptr_equal(mas_find(&mas, ULONG_MAX), THING(2));
	mas_set(&mas, 1450);
	assert_ptr_equal(mas_find_rev(&mas, 0), THING(14));
	assert_ptr_equal(mas_find_rev(&mas, 0), THING(13));
	/* To yield the lock: pause. */
	mas_pause(&mas);
	mas_unlock(&mas);
	assert_ptr_equal(mtree_erase(&tree, 1200), THING(12));
	mas_lock(&mas);
	assert_ptr_equal(mas_find_rev(&mas, 0), THING(11));
	mas_unlock(&mas);
	mtree_destroy(&tree);
}

/* [Advanced API] Gaps from the lowest index upwards, and from the highest one downwards. */
static void test_gaps(void **state)
{
	struct maple_tree tree = MTREE_INIT(tree, MT_FLAGS_ALLOC_RANGE);
	MA_STATE(mas, &tree, 0, 0);

	(void)state;
	assert_int_equal(mtree_store_range(&tree, 0, 99, THING(0), GFP_KERNEL), 0);
	assert_int_equal(mtree_store_range(&tree, 110, 199, THING(1), GFP_KERNEL), 0);
	mas_lock(&mas);
	assert_int_equal(mas_empty_area(&mas, 0, 999, 5), 0);
	assert_int_equal(mas.index, 100);
	assert_int_equal(mas.last, 104);
	mas_reset(&mas);
	assert_int_equal(mas_empty_area_rev(&mas, 0, 999, 5), 0);
	assert_int_equal(mas.index, 995);
	assert_int_equal(mas.last, 999);
	mas_reset(&mas);
	assert_int_equal(mas_empty_area(&mas, 0, 199, 11), -EBUSY);
	mas_unlock(&mas);
	mtree_destroy(&tree);
}

/* [Advanced Allocating Nodes] mas_expected_entries(), stores, mas_destroy(). */
static void test_expected_entries(void **state)
{
	DEFINE_MTREE(tree);
	MA_STATE(mas, &tree, 0, 0);

	(void)state;
	mas_lock(&mas);
	assert_int_equal(mas_expected_entries(&mas, 100), 0);
	for (unsigned long i = 0; i < 100; i++) {
		mas_set_range(&mas, i * 10, i * 10 + 5);
		assert_null(mas_store(&mas, THING(i % 16)));
	}
	mas_destroy(&mas);
	mas_unlock(&mas);
	for (unsigned long i = 0; i < 100; i++)
		assert_ptr_equal(mtree_load(&tree, i * 10 + 5), THING(i % 16));
	mtree_destroy(&tree);
}

/* [Advanced Locking] MTREE_INIT_EXT() with a lock of another type; the tree takes none. */
static void test_external_lock(void **state)
{
	pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
	struct maple_tree tree =
		MTREE_INIT_EXT(tree, MT_FLAGS_LOCK_EXTERN | MT_FLAGS_USE_RCU, lock);
	MA_STATE(mas, &tree, 1, 2);

	(void)state;
	mt_set_external_lock(&tree, &lock);
	assert_true(mt_external_lock(&tree));
	pthread_rwlock_wrlock(&lock);
	assert_int_equal(mas_store_gfp(&mas, THING(1), GFP_KERNEL), 0);
	assert_int_equal(pthread_mutex_trylock(&tree.ma_lock), 0);
	pthread_mutex_unlock(&tree.ma_lock);
	pthread_rwlock_unlock(&lock);
	samara_rcu_read_lock();
	mas_set(&mas, 2);
	assert_ptr_equal(mas_walk(&mas), THING(1));
	samara_rcu_read_unlock();
	pthread_rwlock_wrlock(&lock);
	__mt_destroy(&tree);
	pthread_rwlock_unlock(&lock);
	assert_true(mtree_empty(&tree));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_reserved_values),
		cmocka_unit_test(test_fresh_tree),
		cmocka_unit_test(test_store_and_erase),
		cmocka_unit_test(test_insert),
		cmocka_unit_test(test_find_and_for_each),
		cmocka_unit_test(test_dup),
		cmocka_unit_test(test_lock_around_load),
		cmocka_unit_test(test_walk),
		cmocka_unit_test(test_mas_store),
		cmocka_unit_test(test_mas_erase),
		cmocka_unit_test(test_linked_list),
		cmocka_unit_test(test_mas_find),
		cmocka_unit_test(test_gaps),
		cmocka_unit_test(test_expected_entries),
		cmocka_unit_test(test_external_lock),
	};

	return cmocka_run_group_tests_name("maple_compat", tests, NULL, NULL);
}
