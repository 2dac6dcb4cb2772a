/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "mm/maple_internal.h"
#include "tests/lib/maple_test.h"

/* Stores that split, merge and replace nodes; stores through states. */

static struct maple_model model;

/* Rising, falling and mixed orders; the tree is looked at after each store and each erasure. */
static void test_growing_and_shrinking(void **state)
{
	static const unsigned long strides[] = {1, 399, 7, 181};
	struct maple_tree *mt = maple_test_tree(state);
	unsigned long n = 400;

	for (size_t s = 0; s < sizeof(strides) / sizeof(strides[0]); s++) {
		unsigned int height = 0;

		maple_model_clear(&model);
		for (unsigned long i = 0; i < n; i++) {
			unsigned long at = i * strides[s] % n * 4;

			assert_int_equal(
				mtree_insert_range(mt, at, at + 2, entry_of(i), GFP_KERNEL), 0);
			maple_model_store(&model, at, at + 2, entry_of(i));
			assert_tree(mt, &model);
			assert_in_range(mt_height(mt), height, height + 1);
			height = mt_height(mt);
		}
		assert_in_range(height, 2, 5);
		for (unsigned long i = 0; i < n; i++) {
			unsigned long at = i * strides[s] % n * 4;

			assert_ptr_equal(mtree_erase(mt, at + i % 3), entry_of(i));
			maple_model_store(&model, at, at + 2, NULL);
			assert_tree(mt, &model);
		}
		assert_true(mtree_empty(mt));
		assert_int_equal(mt_height(mt), 0);
	}
}

/* Appending at the end, as whoever fills a tree does, up to the last index. */
static void test_append(void **state)
{
	struct maple_tree *mt = maple_test_tree(state);
	unsigned long start = ULONG_MAX - 999;

	maple_model_clear(&model);
	for (unsigned long i = 0; i < 100; i++)
		store_both(mt, &model, start + i * 10, start + i * 10 + 9, entry_of(i));
	assert_tree(mt, &model);
	assert_ptr_equal(mtree_load(mt, ULONG_MAX), entry_of(99));
	/* And downwards from the first one, to the first index. */
	for (unsigned long i = 0; i < 100; i++)
		store_both(mt, &model, 990 - i * 10, 999 - i * 10, entry_of(i));
	assert_tree(mt, &model);
	assert_ptr_equal(mtree_load(mt, 0), entry_of(99));
}

/* A single store over none, part, or all of many nodes, from each kind of place to each other. */
static void test_spanning(void **state)
{
	static const unsigned long ends[] = {0,    5,    9,    10,   15,   19,       20,
					     2000, 2005, 3989, 3990, 4000, ULONG_MAX};
	struct maple_tree *mt = maple_test_tree(state);
	size_t count = sizeof(ends) / sizeof(ends[0]);

	for (size_t i = 0; i < count; i++) {
		for (size_t j = i; j < count; j++) {
			for (int erase = 0; erase < 2; erase++) {
				maple_model_clear(&model);
				fill_both(mt, &model, 200);
				store_both(mt, &model, ends[i], ends[j],
					   erase ? NULL : entry_of(5000));
				assert_tree(mt, &model);
				store_both(mt, &model, 0, ULONG_MAX, NULL);
			}
		}
	}
}

/* The same at every width, over adjacent entries, where each border is a node's somewhere. */
static void test_spanning_adjacent(void **state)
{
	struct maple_tree *mt = maple_test_tree(state);

	for (unsigned long width = 1; width < 100; width += width < 40 ? 3 : 17) {
		maple_model_clear(&model);
		for (unsigned long i = 0; i < 200; i++)
			store_both(mt, &model, i * 10, i * 10 + 9, entry_of(i));
		for (unsigned long at = 3; at + width < 200; at += width + 2) {
			/* From the middle of one entry to the middle of another. */
			store_both(mt, &model, at * 10 + 5, (at + width) * 10 + 4,
				   at % 2 ? entry_of(at + 1000) : NULL);
			assert_tree(mt, &model);
		}
		store_both(mt, &model, 0, ULONG_MAX, NULL);
	}
}

/* Each way in which a range can lie upon one that is there. */
static void test_overlaps(void **state)
{
	static const unsigned long ranges[][2] = {
		{40, 59}, {40, 49}, {50, 59}, {45, 54}, {40, 40}, {59, 59},        {30, 49},
		{50, 69}, {30, 69}, {39, 40}, {59, 60}, {0, 45},  {45, ULONG_MAX},
	};
	struct maple_tree *mt = maple_test_tree(state);

	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		for (int kind = 0; kind < 6; kind++) {
			/* Beside it: gaps or entries; stored: another, the same, or none. */
			maple_model_clear(&model);
			store_both(mt, &model, 0, ULONG_MAX, NULL);
			if (kind % 2) {
				store_both(mt, &model, 20, 39, entry_of(1));
				store_both(mt, &model, 60, 79, entry_of(3));
			}
			store_both(mt, &model, 40, 59, entry_of(2));
			store_both(mt, &model, ranges[i][0], ranges[i][1],
				   kind / 2 ? entry_of(kind) : NULL);
			assert_tree(mt, &model);
		}
	}
}

/* What is stored where it is already changes nothing, and equal neighbours stay two. */
static void test_same_again(void **state)
{
	struct maple_tree *mt = maple_test_tree(state);

	maple_model_clear(&model);
	fill_both(mt, &model, 100);
	store_both(mt, &model, 40, 49, entry_of(2));
	store_both(mt, &model, 52, 55, NULL);
	store_both(mt, &model, 5000, ULONG_MAX, NULL);
	assert_tree(mt, &model);
	store_both(mt, &model, 42, 45, entry_of(2));
	store_both(mt, &model, 50, 59, entry_of(2));
	assert_tree(mt, &model);
	assert_ptr_equal(mtree_erase(mt, 43), entry_of(2));
	assert_ptr_equal(mtree_load(mt, 41), entry_of(2));
	assert_ptr_equal(mtree_load(mt, 46), entry_of(2));
}

/* Single indices side by side: the densest tree there is, and every second one taken out. */
static void test_single_indices(void **state)
{
	struct maple_tree *mt = maple_test_tree(state);

	maple_model_clear(&model);
	for (unsigned long i = 0; i < 600; i++)
		store_both(mt, &model, i, i, xa_mk_value(i));
	assert_tree(mt, &model);
	for (unsigned long i = 0; i < 600; i += 2)
		store_both(mt, &model, i, i, NULL);
	assert_tree(mt, &model);
	for (unsigned long i = 1; i < 600; i += 2)
		store_both(mt, &model, i, i, NULL);
	assert_true(mtree_empty(mt));
}

/* ---- Through states ---------------------------------------------------------------------------- */

static void test_mas_store(void **state)
{
	struct maple_tree *mt = maple_test_tree(state);
	MA_STATE(mas, mt, 45, 54);

	maple_model_clear(&model);
	fill_both(mt, &model, 200);
	mas_lock(&mas);
	/* The answer is what was at its first index. */
	assert_ptr_equal(mas_store(&mas, entry_of(1000)), entry_of(2));
	assert_state(&mas, 45, 54, ma_active);
	maple_model_store(&model, 45, 54, entry_of(1000));
	assert_ptr_equal(mas_next(&mas, ULONG_MAX), entry_of(3));
	mas_set_range(&mas, 55, 57);
	assert_null(mas_store(&mas, entry_of(1001)));
	maple_model_store(&model, 55, 57, entry_of(1001));
	assert_ptr_equal(mas_prev(&mas, 0), entry_of(1000));
	/* Nothing, next to gaps: it is at all of the gap. */
	mas_set_range(&mas, 60, 69);
	assert_ptr_equal(mas_store(&mas, NULL), entry_of(3));
	assert_state(&mas, 58, 79, ma_active);
	maple_model_store(&model, 60, 69, NULL);
	mas_set_range(&mas, 100, 101);
	assert_int_equal(mas_store_gfp(&mas, entry_of(1002), GFP_KERNEL), 0);
	assert_state(&mas, 100, 101, ma_active);
	maple_model_store(&model, 100, 101, entry_of(1002));
	assert_ptr_equal(mas_next_range(&mas, ULONG_MAX), entry_of(5));
	assert_state(&mas, 102, 109, ma_active);
	mas_unlock(&mas);
	assert_tree(mt, &model);
}

static void test_mas_erase(void **state)
{
	struct maple_tree *mt = maple_test_tree(state);
	MA_STATE(mas, mt, 45, 45);

	maple_model_clear(&model);
	fill_both(mt, &model, 200);
	mas_lock(&mas);
	assert_ptr_equal(mas_erase(&mas), entry_of(2));
	assert_state(&mas, 30, 59, ma_active);
	mas_set(&mas, 45);
	assert_null(mas_erase(&mas));
	assert_int_equal(mas.index, 30);
	assert_int_equal(mas.last, 59);
	assert_false(mas_is_err(&mas));
	mas_set(&mas, 0);
	assert_ptr_equal(mas_erase(&mas), entry_of(0));
	assert_state(&mas, 0, 19, ma_active);
	assert_ptr_equal(mas_next(&mas, ULONG_MAX), entry_of(1));
	mas_unlock(&mas);
	maple_model_store(&model, 40, 49, NULL);
	maple_model_store(&model, 0, 9, NULL);
	assert_tree(mt, &model);
}

/* A loop may store and erase through its own state, and goes on in the tree as it is then. */
static void test_store_while_iterating(void **state)
{
	struct maple_tree *mt = maple_test_tree(state);
	MA_STATE(mas, mt, 0, 0);
	unsigned long count = 0;
	void *entry;

	maple_model_clear(&model);
	fill_both(mt, &model, 300);
	mas_lock(&mas);
	mas_for_each (&mas, entry, ULONG_MAX) {
		unsigned long first = mas.index, last = mas.last;

		assert_ptr_equal(entry, entry_of(count));
		if (count % 3 == 0) {
			assert_ptr_equal(mas_erase(&mas), entry);
			maple_model_store(&model, first, last, NULL);
		} else if (count % 3 == 1) {
			assert_ptr_equal(mas_store(&mas, entry_of(count + 1000)), entry);
			assert_state(&mas, first, last, ma_active);
			maple_model_store(&model, first, last, entry_of(count + 1000));
		}
		assert_false(mas_is_err(&mas));
		assert_int_equal(mt_validate(mt), 0);
		count++;
	}
	mas_unlock(&mas);
	assert_int_equal(count, 300);
	assert_tree(mt, &model);
	/* And downwards, taking everything out. */
	mas_lock(&mas);
	mas_set(&mas, ULONG_MAX);
	mas_for_each_rev (&mas, entry, 0)
		assert_ptr_equal(mas_erase(&mas), entry);
	mas_unlock(&mas);
	assert_true(mtree_empty(mt));
}

static void test_mas_invalid(void **state)
{
	struct maple_tree *mt = maple_test_tree(state);
	MA_STATE(mas, mt, 9, 8);

	mas_lock(&mas);
	assert_int_equal(mas_preallocate(&mas, entry_of(1), GFP_KERNEL), -EINVAL);
	mas_set_range(&mas, 9, 8);
	assert_null(mas_store(&mas, entry_of(1)));
	assert_true(mas_is_err(&mas));
	assert_int_equal(xa_err(mas.node), -EINVAL);
	assert_false(mas_nomem(&mas, GFP_KERNEL));
	/* An error stays until the state is set anew. */
	assert_null(mas_find(&mas, ULONG_MAX));
	assert_true(mas_is_err(&mas));
	mas_set_range(&mas, 9, 8);
	assert_int_equal(mas_store_gfp(&mas, entry_of(1), GFP_KERNEL), -EINVAL);
	mas_set_range(&mas, 1, 2);
	assert_false(mas_is_err(&mas));
	assert_int_equal(mas_store_gfp(&mas, entry_of(1), GFP_KERNEL), 0);
	mas_destroy(&mas);
	mas_unlock(&mas);
	assert_int_equal(mt_validate(mt), 0);
}

int main(void)
{
	static const struct maple_test tests[] = {
		MAPLE_TEST(test_growing_and_shrinking),
		MAPLE_TEST(test_append),
		MAPLE_TEST(test_spanning),
		MAPLE_TEST(test_spanning_adjacent),
		MAPLE_TEST(test_overlaps),
		MAPLE_TEST(test_same_again),
		MAPLE_TEST(test_single_indices),
		MAPLE_TEST(test_mas_store),
		MAPLE_TEST(test_mas_erase),
		MAPLE_TEST(test_store_while_iterating),
		MAPLE_TEST(test_mas_invalid),
	};

	return maple_test_run("maple_store", tests, sizeof(tests) / sizeof(tests[0]));
}
