/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "tests/lib/maple_test.h"

/* The simple interface of the maple tree: mtree_*() and mt_*() at their edges. */

static struct maple_model model;

static const unsigned long edges[] = {0, 1, 63, 4096, 1UL << 63, ULONG_MAX - 1, ULONG_MAX};

#define EDGES (sizeof(edges) / sizeof(edges[0]))

static void test_empty(void **state)
{
	struct maple_tree *mt = maple_test_tree(state);
	unsigned long index;
	void *entry;

	assert_true(mtree_empty(mt));
	assert_int_equal(mt_height(mt), 0);
	assert_int_equal(mt_validate(mt), 0);
	for (size_t i = 0; i < EDGES; i++) {
		assert_null(mtree_load(mt, edges[i]));
		assert_null(mtree_erase(mt, edges[i]));
		assert_null(mt_next(mt, edges[i], ULONG_MAX));
		assert_null(mt_prev(mt, edges[i], 0));
		index = edges[i];
		assert_null(mt_find(mt, &index, ULONG_MAX));
		assert_int_equal(index, edges[i]);
	}
	index = 0;
	mt_for_each (mt, entry, index, ULONG_MAX)
		fail();
	/* Nothing, stored into nothing. */
	assert_int_equal(mtree_store_range(mt, 0, ULONG_MAX, NULL, GFP_KERNEL), 0);
	assert_int_equal(mtree_store_range(mt, 5, 9, NULL, GFP_KERNEL), 0);
	assert_true(mtree_empty(mt));
}

static void test_one_entry(void **state)
{
	struct maple_tree *mt = maple_test_tree(state);

	for (size_t i = 0; i < EDGES; i++) {
		unsigned long at = edges[i];

		maple_model_clear(&model);
		store_both(mt, &model, at, at, entry_of(i));
		assert_tree(mt, &model);
		assert_ptr_equal(mtree_load(mt, at), entry_of(i));
		if (at > 0)
			assert_null(mtree_load(mt, at - 1));
		if (at < ULONG_MAX)
			assert_null(mtree_load(mt, at + 1));
		assert_int_equal(mtree_insert(mt, at, entry_of(9), GFP_KERNEL), -EEXIST);
		assert_int_equal(mtree_insert_range(mt, 0, ULONG_MAX, entry_of(9), GFP_KERNEL),
				 -EEXIST);
		assert_ptr_equal(mtree_load(mt, at), entry_of(i));
		assert_int_equal(mtree_store(mt, at, entry_of(9), GFP_KERNEL), 0);
		assert_ptr_equal(mtree_erase(mt, at), entry_of(9));
		assert_null(mtree_erase(mt, at));
		assert_true(mtree_empty(mt));
		assert_int_equal(mt_height(mt), 0);
	}
}

/* Every range between two edges, alone, then with its middle cut out, then with both ends cut. */
static void test_ranges_between_edges(void **state)
{
	struct maple_tree *mt = maple_test_tree(state);

	for (size_t i = 0; i < EDGES; i++) {
		for (size_t j = i; j < EDGES; j++) {
			unsigned long first = edges[i], last = edges[j];
			unsigned long middle = first + (last - first) / 2;

			maple_model_clear(&model);
			store_both(mt, &model, first, last, entry_of(1));
			assert_ptr_equal(mtree_load(mt, middle), entry_of(1));
			store_both(mt, &model, middle, middle, NULL);
			assert_tree(mt, &model);
			store_both(mt, &model, middle, middle, entry_of(2));
			store_both(mt, &model, first, first, entry_of(3));
			store_both(mt, &model, last, last, NULL);
			assert_tree(mt, &model);
			store_both(mt, &model, 0, ULONG_MAX, NULL);
			assert_true(mtree_empty(mt));
		}
	}
}

static void test_whole_space(void **state)
{
	struct maple_tree *mt = maple_test_tree(state);

	maple_model_clear(&model);
	store_both(mt, &model, 0, ULONG_MAX, entry_of(1));
	assert_ptr_equal(mtree_load(mt, 0), entry_of(1));
	assert_ptr_equal(mtree_load(mt, ULONG_MAX), entry_of(1));
	assert_null(mt_next(mt, 77, ULONG_MAX));
	assert_null(mt_prev(mt, 77, 0));
	store_both(mt, &model, 100, 199, entry_of(2));
	store_both(mt, &model, 120, 129, NULL);
	assert_tree(mt, &model);
	/* The two halves are entries of their own, although the same pointer. */
	assert_ptr_equal(mtree_erase(mt, 3), entry_of(1));
	assert_null(mtree_load(mt, 0));
	assert_ptr_equal(mtree_load(mt, 200), entry_of(1));
	store_both(mt, &model, 0, ULONG_MAX, entry_of(3));
	assert_tree(mt, &model);
	assert_ptr_equal(mtree_erase(mt, 1UL << 40), entry_of(3));
	assert_true(mtree_empty(mt));
}

static void test_invalid(void **state)
{
	struct maple_tree *mt = maple_test_tree(state);

	assert_int_equal(mtree_store_range(mt, 9, 8, entry_of(1), GFP_KERNEL), -EINVAL);
	assert_int_equal(mtree_store_range(mt, ULONG_MAX, 0, entry_of(1), GFP_KERNEL), -EINVAL);
	assert_int_equal(mtree_insert_range(mt, 9, 8, entry_of(1), GFP_KERNEL), -EINVAL);
	for (unsigned long reserved = 2; reserved <= 1026; reserved += 4) {
		assert_int_equal(mtree_store(mt, 9, (void *)reserved, GFP_KERNEL), -EINVAL);
		assert_int_equal(mtree_insert(mt, 9, (void *)reserved, GFP_KERNEL), -EINVAL);
	}
	assert_true(mtree_empty(mt));
	/* From 4096 on they are pointers like any other. */
	assert_int_equal(mtree_store(mt, 9, (void *)4098, GFP_KERNEL), 0);
	assert_ptr_equal(mtree_load(mt, 9), (void *)4098);
	assert_int_equal(mtree_store(mt, 10, (void *)4, GFP_KERNEL), 0);
	assert_ptr_equal(mtree_load(mt, 10), (void *)4);
	assert_int_equal(mt_validate(mt), 0);
}

static void test_value_entries(void **state)
{
	static const unsigned long values[] = {0, 1, 1 << 10, LONG_MAX - 1, LONG_MAX};
	struct maple_tree *mt = maple_test_tree(state);

	for (unsigned int i = 0; i < 5; i++)
		assert_int_equal(mtree_store(mt, i, xa_mk_value(values[i]), GFP_KERNEL), 0);
	for (unsigned int i = 0; i < 5; i++) {
		void *entry = mtree_load(mt, i);

		assert_true(xa_is_value(entry));
		assert_int_equal(xa_to_value(entry), values[i]);
	}
	assert_ptr_equal(mtree_erase(mt, 0), xa_mk_value(0));
	assert_null(mtree_load(mt, 0));
	assert_int_equal(mt_validate(mt), 0);
}

/* An entry that takes its place, and is nothing to whoever uses the simple interface. */
static void test_zero_entry(void **state)
{
	struct maple_tree *mt = maple_test_tree(state);
	MA_STATE(mas, mt, 10, 19);
	unsigned long index = 0;

	mas_lock(&mas);
	assert_int_equal(mas_store_gfp(&mas, XA_ZERO_ENTRY, GFP_KERNEL), 0);
	mas_unlock(&mas);
	assert_int_equal(mtree_store(mt, 30, entry_of(3), GFP_KERNEL), 0);
	assert_null(mtree_load(mt, 10));
	assert_ptr_equal(mt_find(mt, &index, ULONG_MAX), entry_of(3));
	assert_int_equal(index, 31);
	index = 12;
	assert_null(mt_find(mt, &index, 29));
	assert_int_equal(index, 12);
	assert_int_equal(mtree_insert(mt, 19, entry_of(1), GFP_KERNEL), -EEXIST);
	assert_int_equal(mtree_insert(mt, 20, entry_of(1), GFP_KERNEL), 0);
	mas_lock(&mas);
	mas_set(&mas, 0);
	assert_ptr_equal(mas_find(&mas, ULONG_MAX), XA_ZERO_ENTRY);
	assert_state(&mas, 10, 19, ma_active);
	mas_unlock(&mas);
	mtree_erase(mt, 15);
	assert_int_equal(mtree_insert_range(mt, 10, 19, entry_of(1), GFP_KERNEL), 0);
	assert_int_equal(mt_validate(mt), 0);
}

static void test_insert(void **state)
{
	struct maple_tree *mt = maple_test_tree(state);

	assert_int_equal(mtree_insert_range(mt, 10, 19, entry_of(1), GFP_KERNEL), 0);
	assert_int_equal(mtree_insert_range(mt, 30, 39, entry_of(2), GFP_KERNEL), 0);
	assert_int_equal(mtree_insert_range(mt, 0, 10, entry_of(3), GFP_KERNEL), -EEXIST);
	assert_int_equal(mtree_insert_range(mt, 19, 29, entry_of(3), GFP_KERNEL), -EEXIST);
	assert_int_equal(mtree_insert_range(mt, 20, 30, entry_of(3), GFP_KERNEL), -EEXIST);
	assert_int_equal(mtree_insert_range(mt, 12, 13, entry_of(3), GFP_KERNEL), -EEXIST);
	assert_int_equal(mtree_insert_range(mt, 0, ULONG_MAX, entry_of(3), GFP_KERNEL), -EEXIST);
	assert_int_equal(mtree_insert_range(mt, 20, 29, entry_of(3), GFP_KERNEL), 0);
	assert_int_equal(mtree_insert_range(mt, 0, 9, entry_of(4), GFP_KERNEL), 0);
	assert_int_equal(mtree_insert_range(mt, 40, ULONG_MAX, entry_of(5), GFP_KERNEL), 0);
	for (unsigned long i = 0; i < 50; i++)
		assert_int_equal(mtree_insert(mt, i, entry_of(9), GFP_KERNEL), -EEXIST);
	assert_int_equal(mt_validate(mt), 0);
	for (unsigned long i = 0; i < 50; i += 10)
		assert_non_null(mtree_erase(mt, i + i / 10));
	assert_true(mtree_empty(mt));
}

/* Insertion that meets something only in the last of many nodes. */
static void test_insert_over_nodes(void **state)
{
	struct maple_tree *mt = maple_test_tree(state);

	maple_model_clear(&model);
	fill_both(mt, &model, 300);
	store_both(mt, &model, 0, 5009, NULL);
	assert_int_equal(mtree_insert_range(mt, 0, 5020, entry_of(1), GFP_KERNEL), -EEXIST);
	assert_int_equal(mtree_insert_range(mt, 100, 5019, entry_of(1), GFP_KERNEL), 0);
	maple_model_store(&model, 100, 5019, entry_of(1));
	assert_tree(mt, &model);
}

static void test_find(void **state)
{
	struct maple_tree *mt = maple_test_tree(state);
	unsigned long index = 0, count = 0;
	void *entry;

	maple_model_clear(&model);
	fill_both(mt, &model, 300);
	mt_for_each (mt, entry, index, ULONG_MAX) {
		assert_ptr_equal(entry, entry_of(count));
		assert_int_equal(index, count * 20 + 10);
		count++;
	}
	assert_int_equal(count, 300);
	index = 12;
	assert_ptr_equal(mt_find(mt, &index, 20), entry_of(1));
	assert_int_equal(index, 30);
	index = 12;
	assert_null(mt_find(mt, &index, 19));
	assert_int_equal(index, 12);
	index = 25;
	assert_ptr_equal(mt_find(mt, &index, 25), entry_of(1));
	assert_int_equal(index, 30);
	index = 12;
	assert_null(mt_find(mt, &index, 11));
	index = 0;
	assert_null(mt_find_after(mt, &index, ULONG_MAX));
	index = 1;
	assert_ptr_equal(mt_find_after(mt, &index, ULONG_MAX), entry_of(0));
	/* An entry up to ULONG_MAX wraps the index to 0, and ends the iteration. */
	store_both(mt, &model, 50, ULONG_MAX, entry_of(7));
	count = 0;
	index = 25;
	mt_for_each (mt, entry, index, ULONG_MAX)
		count++;
	assert_int_equal(count, 3);
	assert_int_equal(index, 0);
}

static void test_next_prev(void **state)
{
	struct maple_tree *mt = maple_test_tree(state);

	maple_model_clear(&model);
	fill_both(mt, &model, 100);
	for (unsigned long i = 1; i < 99; i++) {
		/* From within an entry, and from the gap behind it. */
		assert_ptr_equal(mt_next(mt, i * 20 + 3, ULONG_MAX), entry_of(i + 1));
		assert_ptr_equal(mt_next(mt, i * 20 + 13, ULONG_MAX), entry_of(i + 1));
		assert_ptr_equal(mt_prev(mt, i * 20 + 3, 0), entry_of(i - 1));
		assert_ptr_equal(mt_prev(mt, i * 20 + 13, 0), entry_of(i));
	}
	assert_ptr_equal(mt_next(mt, 5, 20), entry_of(1));
	assert_null(mt_next(mt, 5, 19));
	assert_null(mt_next(mt, 5, 5));
	assert_null(mt_next(mt, 1985, ULONG_MAX));
	assert_null(mt_next(mt, ULONG_MAX, ULONG_MAX));
	assert_ptr_equal(mt_prev(mt, 25, 9), entry_of(0));
	assert_null(mt_prev(mt, 25, 10));
	assert_null(mt_prev(mt, 5, 0));
	assert_null(mt_prev(mt, 0, 0));
	assert_ptr_equal(mt_prev(mt, ULONG_MAX, 0), entry_of(99));
}

static void test_erase(void **state)
{
	struct maple_tree *mt = maple_test_tree(state);

	maple_model_clear(&model);
	fill_both(mt, &model, 200);
	assert_null(mtree_erase(mt, 15));
	assert_null(mtree_erase(mt, ULONG_MAX));
	assert_tree(mt, &model);
	/* By the first, the last, and an inner index of each. */
	for (unsigned long i = 0; i < 200; i++) {
		unsigned long n = i * 7 % 200, within = i % 3 == 2 ? 9 : i % 3 * 4;

		assert_ptr_equal(mtree_erase(mt, n * 20 + within), entry_of(n));
		maple_model_store(&model, n * 20, n * 20 + 9, NULL);
		assert_tree(mt, &model);
	}
	assert_true(mtree_empty(mt));
}

int main(void)
{
	static const struct maple_test tests[] = {
		MAPLE_TEST(test_empty),
		MAPLE_TEST(test_one_entry),
		MAPLE_TEST(test_ranges_between_edges),
		MAPLE_TEST(test_whole_space),
		MAPLE_TEST(test_invalid),
		MAPLE_TEST(test_value_entries),
		MAPLE_TEST(test_zero_entry),
		MAPLE_TEST(test_insert),
		MAPLE_TEST(test_insert_over_nodes),
		MAPLE_TEST(test_find),
		MAPLE_TEST(test_next_prev),
		MAPLE_TEST(test_erase),
	};

	return maple_test_run("maple_simple", tests, sizeof(tests) / sizeof(tests[0]));
}
