/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "tests/lib/maple_test.h"

/* Searching for gaps, and giving indices away. */

static struct maple_model model;

static bool tracks_gaps(void **state)
{
	return ((struct maple_variant *)*state)->flags & MT_FLAGS_ALLOC_RANGE;
}

/* Looks for the same gap in the tree and in the model, up and down. */
static void same_gap(struct maple_tree *mt, unsigned long min, unsigned long max,
		     unsigned long size)
{
	MA_STATE(mas, mt, 0, 0);
	unsigned long first = 0;
	int want = maple_model_gap(&model, min, max, size, true, &first);

	mas_lock(&mas);
	assert_int_equal(mas_empty_area(&mas, min, max, size), want);
	if (!want) {
		assert_int_equal(mas.index, first);
		assert_int_equal(mas.last, first + size - 1);
	}
	mas_reset(&mas);
	want = maple_model_gap(&model, min, max, size, false, &first);
	assert_int_equal(mas_empty_area_rev(&mas, min, max, size), want);
	if (!want) {
		assert_int_equal(mas.index, first);
		assert_int_equal(mas.last, first + size - 1);
	}
	mas_unlock(&mas);
}

static void test_empty_tree(void **state)
{
	struct maple_tree *mt = maple_test_tree(state);

	maple_model_clear(&model);
	same_gap(mt, 0, ULONG_MAX, 1);
	same_gap(mt, 0, ULONG_MAX, ULONG_MAX);
	same_gap(mt, 1, ULONG_MAX, ULONG_MAX);
	same_gap(mt, 5, 5, 1);
	same_gap(mt, ULONG_MAX, ULONG_MAX, 1);
	same_gap(mt, 0, 0, 1);
	/* What does not fit, or is nothing. */
	same_gap(mt, 5, 5, 2);
	same_gap(mt, 6, 5, 1);
	same_gap(mt, 0, ULONG_MAX, 0);
}

static void test_full_tree(void **state)
{
	struct maple_tree *mt = maple_test_tree(state);

	maple_model_clear(&model);
	store_both(mt, &model, 0, ULONG_MAX, entry_of(1));
	same_gap(mt, 0, ULONG_MAX, 1);
	store_both(mt, &model, ULONG_MAX, ULONG_MAX, NULL);
	same_gap(mt, 0, ULONG_MAX, 1);
	same_gap(mt, 0, ULONG_MAX, 2);
	same_gap(mt, 0, ULONG_MAX - 1, 1);
	store_both(mt, &model, 0, 0, NULL);
	same_gap(mt, 0, ULONG_MAX, 1);
	same_gap(mt, 1, ULONG_MAX, 1);
	same_gap(mt, 0, 0, 1);
}

/* Gaps of growing sizes over many nodes, every size, in windows that begin and end anywhere. */
static void test_many_gaps(void **state)
{
	struct maple_tree *mt = maple_test_tree(state);
	unsigned long at = 0;

	maple_model_clear(&model);
	for (unsigned long i = 0; i < 300; i++) {
		unsigned long gap = i * 37 % 101;

		store_both(mt, &model, at + gap, at + gap + 9, entry_of(i));
		at += gap + 10;
	}
	for (unsigned long size = 1; size < 104; size += 3) {
		same_gap(mt, 0, at - 1, size);
		same_gap(mt, at / 3, at / 2, size);
		same_gap(mt, at / 3 + 7, at - 400, size);
		same_gap(mt, 0, ULONG_MAX, size);
	}
	/* Windows that cut a gap at both ends. */
	for (unsigned long i = 0; i < 300; i += 7) {
		struct maple_range r = maple_model_at(&model, i * 50);

		if (!r.entry && r.last - r.first >= 3) {
			same_gap(mt, r.first + 1, r.last - 1, r.last - r.first - 1);
			same_gap(mt, r.first + 1, r.last - 1, r.last - r.first);
			same_gap(mt, r.first + 1, r.last + 30, r.last - r.first + 1);
		}
	}
	/* They grow together as entries go, and shrink as they come. */
	for (unsigned long i = 0; i < 300; i += 3) {
		void *gone = mtree_erase(mt, model.range[i * 13 % model.count].first);
		struct maple_range r = model.range[i * 13 % model.count];

		assert_ptr_equal(gone, r.entry);
		maple_model_store(&model, r.first, r.last, NULL);
		assert_int_equal(mt_validate(mt), 0);
		same_gap(mt, 0, at - 1, 60 + i);
		if (model.count < 100)
			break;
	}
	assert_tree(mt, &model);
}

static void test_needs_the_flag(void **state)
{
	struct maple_tree *mt = maple_test_tree(state);
	unsigned long at = 77, next = 0;

	if (tracks_gaps(state)) {
		assert_true(mt_is_alloc(mt));
		return;
	}
	assert_false(mt_is_alloc(mt));
	assert_int_equal(mtree_alloc_range(mt, &at, entry_of(1), 1, 0, 10, GFP_KERNEL), -EINVAL);
	assert_int_equal(mtree_alloc_rrange(mt, &at, entry_of(1), 1, 0, 10, GFP_KERNEL), -EINVAL);
	assert_int_equal(mtree_alloc_cyclic(mt, &at, entry_of(1), 0, 10, &next, GFP_KERNEL),
			 -EINVAL);
	assert_int_equal(at, 77);
	assert_true(mtree_empty(mt));
}

static void test_alloc_range(void **state)
{
	struct maple_tree *mt = maple_test_tree(state);
	unsigned long at = 0;

	if (!tracks_gaps(state))
		return;
	maple_model_clear(&model);
	store_both(mt, &model, 0, 99, entry_of(1));
	store_both(mt, &model, 200, 299, entry_of(2));
	assert_int_equal(mtree_alloc_range(mt, &at, entry_of(3), 50, 0, 1000, GFP_KERNEL), 0);
	assert_int_equal(at, 100);
	assert_int_equal(mtree_alloc_range(mt, &at, entry_of(4), 60, 0, 1000, GFP_KERNEL), 0);
	assert_int_equal(at, 300);
	assert_int_equal(mtree_alloc_rrange(mt, &at, entry_of(5), 50, 0, 299, GFP_KERNEL), 0);
	assert_int_equal(at, 150);
	assert_int_equal(mtree_alloc_rrange(mt, &at, entry_of(6), 50, 0, 299, GFP_KERNEL), -EBUSY);
	assert_int_equal(mtree_alloc_range(mt, &at, entry_of(6), 1, 0, 359, GFP_KERNEL), -EBUSY);
	assert_int_equal(at, 150);
	assert_int_equal(mtree_alloc_rrange(mt, &at, entry_of(6), 1, 0, ULONG_MAX, GFP_KERNEL), 0);
	assert_int_equal(at, ULONG_MAX);
	assert_int_equal(mtree_alloc_range(mt, &at, entry_of(7), 0, 0, 10, GFP_KERNEL), -EINVAL);
	assert_int_equal(mtree_alloc_range(mt, &at, entry_of(7), 12, 0, 10, GFP_KERNEL), -EINVAL);
	assert_int_equal(mtree_alloc_rrange(mt, &at, entry_of(7), 1, 11, 10, GFP_KERNEL), -EINVAL);
	for (unsigned long reserved = 2; reserved < 4096; reserved += 4) {
		assert_int_equal(
			mtree_alloc_range(mt, &at, (void *)reserved, 1, 0, ULONG_MAX, GFP_KERNEL),
			-EINVAL);
		assert_int_equal(
			mtree_alloc_rrange(mt, &at, (void *)reserved, 1, 0, ULONG_MAX, GFP_KERNEL),
			-EINVAL);
	}
	assert_int_equal(at, ULONG_MAX);
	maple_model_store(&model, 100, 149, entry_of(3));
	maple_model_store(&model, 300, 359, entry_of(4));
	maple_model_store(&model, 150, 199, entry_of(5));
	maple_model_store(&model, ULONG_MAX, ULONG_MAX, entry_of(6));
	assert_tree(mt, &model);
}

/* A space given away to the last index, and again what came back. */
static void test_all_of_it(void **state)
{
	struct maple_tree *mt = maple_test_tree(state);
	unsigned long at = 0;

	if (!tracks_gaps(state))
		return;
	maple_model_clear(&model);
	for (unsigned long i = 0; i < 500; i++) {
		bool up = i % 2;
		unsigned long want = up ? 1000 + i / 2 * 4 : 2996 - i / 2 * 4;

		if (up)
			assert_int_equal(
				mtree_alloc_range(mt, &at, entry_of(i), 4, 1000, 2999, GFP_KERNEL),
				0);
		else
			assert_int_equal(
				mtree_alloc_rrange(mt, &at, entry_of(i), 4, 1000, 2999, GFP_KERNEL),
				0);
		assert_int_equal(at, want);
		maple_model_store(&model, at, at + 3, entry_of(i));
		assert_int_equal(mt_validate(mt), 0);
	}
	assert_int_equal(mtree_alloc_range(mt, &at, entry_of(1), 1, 1000, 2999, GFP_KERNEL),
			 -EBUSY);
	assert_int_equal(mtree_alloc_rrange(mt, &at, entry_of(1), 1, 1000, 2999, GFP_KERNEL),
			 -EBUSY);
	assert_tree(mt, &model);
	for (unsigned long i = 1000; i < 3000; i += 116) {
		store_both(mt, &model, i, i + 3, NULL);
		assert_int_equal(mtree_alloc_range(mt, &at, entry_of(1), 5, 1000, 2999, GFP_KERNEL),
				 -EBUSY);
		assert_int_equal(mtree_alloc_range(mt, &at, entry_of(1), 4, 1000, 2999, GFP_KERNEL),
				 0);
		assert_int_equal(at, i);
		maple_model_store(&model, i, i + 3, entry_of(1));
	}
	assert_tree(mt, &model);
}

static void test_cyclic(void **state)
{
	struct maple_tree *mt = maple_test_tree(state);
	unsigned long at = 0, next = 0;

	if (!tracks_gaps(state))
		return;
	for (unsigned long i = 0; i < 100; i++) {
		assert_int_equal(
			mtree_alloc_cyclic(mt, &at, entry_of(i), 2, 101, &next, GFP_KERNEL), 0);
		assert_int_equal(at, i + 2);
		assert_int_equal(next, at + 1);
	}
	assert_int_equal(mtree_alloc_cyclic(mt, &at, entry_of(1), 2, 101, &next, GFP_KERNEL),
			 -EBUSY);
	assert_int_equal(next, 102);
	/* Around, and tells so. */
	assert_ptr_equal(mtree_erase(mt, 50), entry_of(48));
	assert_ptr_equal(mtree_erase(mt, 20), entry_of(18));
	assert_int_equal(mtree_alloc_cyclic(mt, &at, entry_of(1), 2, 101, &next, GFP_KERNEL), 1);
	assert_int_equal(at, 20);
	assert_int_equal(next, 21);
	assert_int_equal(mtree_alloc_cyclic(mt, &at, entry_of(1), 2, 101, &next, GFP_KERNEL), 0);
	assert_int_equal(at, 50);
	assert_int_equal(next, 51);
	assert_int_equal(mt_validate(mt), 0);
}

/* After the last index of all the next one is 0, so it is remembered that it went around. */
static void test_cyclic_at_the_end(void **state)
{
	struct maple_tree *mt = maple_test_tree(state);
	unsigned long at = 0, next = ULONG_MAX - 1;
	MA_STATE(mas, mt, 0, 0);

	if (!tracks_gaps(state))
		return;
	assert_int_equal(mtree_alloc_cyclic(mt, &at, entry_of(1), 2, ULONG_MAX, &next, GFP_KERNEL),
			 0);
	assert_int_equal(at, ULONG_MAX - 1);
	assert_int_equal(mtree_alloc_cyclic(mt, &at, entry_of(2), 2, ULONG_MAX, &next, GFP_KERNEL),
			 0);
	assert_int_equal(at, ULONG_MAX);
	assert_int_equal(next, 0);
	mas_lock(&mas);
	assert_int_equal(mas_alloc_cyclic(&mas, &at, entry_of(3), 2, ULONG_MAX, &next, GFP_KERNEL),
			 1);
	assert_int_equal(at, 2);
	assert_int_equal(mas.index, 2);
	assert_int_equal(mas.last, 2);
	mas_reset(&mas);
	assert_int_equal(mas_alloc_cyclic(&mas, &at, entry_of(4), 2, ULONG_MAX, &next, GFP_KERNEL),
			 0);
	mas_unlock(&mas);
	assert_int_equal(at, 3);
	assert_int_equal(mt_validate(mt), 0);
}

/* Look for a gap with a state, then store through it. */
static void test_find_and_store(void **state)
{
	struct maple_tree *mt = maple_test_tree(state);

	maple_model_clear(&model);
	fill_both(mt, &model, 100);
	for (unsigned long i = 0; i < 50; i++) {
		MA_STATE(mas, mt, 0, 0);
		unsigned long first = 0;
		bool up = i % 2;

		assert_int_equal(maple_model_gap(&model, 100, 1899, 7, up, &first), 0);
		mas_lock(&mas);
		if (up)
			assert_int_equal(mas_empty_area(&mas, 100, 1899, 7), 0);
		else
			assert_int_equal(mas_empty_area_rev(&mas, 100, 1899, 7), 0);
		assert_int_equal(mas.index, first);
		assert_int_equal(mas_store_gfp(&mas, entry_of(1000 + i), GFP_KERNEL), 0);
		mas_unlock(&mas);
		maple_model_store(&model, first, first + 6, entry_of(1000 + i));
		assert_int_equal(mt_validate(mt), 0);
	}
	assert_tree(mt, &model);
}

int main(void)
{
	static const struct maple_test tests[] = {
		MAPLE_TEST(test_empty_tree),     MAPLE_TEST(test_full_tree),
		MAPLE_TEST(test_many_gaps),      MAPLE_TEST(test_needs_the_flag),
		MAPLE_TEST(test_alloc_range),    MAPLE_TEST(test_all_of_it),
		MAPLE_TEST(test_cyclic),         MAPLE_TEST(test_cyclic_at_the_end),
		MAPLE_TEST(test_find_and_store),
	};

	return maple_test_run("maple_gaps", tests, sizeof(tests) / sizeof(tests[0]));
}
