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

/*
 * States that read: what each call returns, and index, last and status after it, as Linux has them
 * (lib/maple_tree.c: mas_next_setup(), mas_prev_setup(), mas_find_setup(), mas_find_rev_setup()).
 *
 * The tree of most tests: ten indices every twenty, entry_of(i) at 20 i to 20 i + 9.
 */

#define ENTRIES 300ul

static struct maple_model model;

static struct maple_tree *filled(void **state)
{
	struct maple_tree *mt = maple_test_tree(state);

	maple_model_clear(&model);
	fill_both(mt, &model, ENTRIES);
	mtree_lock(mt);
	return mt;
}

static void test_walk(void **state)
{
	struct maple_tree *mt = filled(state);
	MA_STATE(mas, mt, 45, 45);

	assert_state(&mas, 45, 45, ma_start);
	assert_ptr_equal(mas_walk(&mas), entry_of(2));
	assert_state(&mas, 40, 49, ma_active);
	assert_true(mas_is_active(&mas));
	mas_set(&mas, 55);
	assert_state(&mas, 55, 55, ma_start);
	assert_null(mas_walk(&mas));
	assert_state(&mas, 50, 59, ma_active);
	mas_set(&mas, ULONG_MAX);
	assert_null(mas_walk(&mas));
	assert_state(&mas, (ENTRIES - 1) * 20 + 10, ULONG_MAX, ma_active);
	mas_set_range(&mas, 0, ULONG_MAX);
	assert_ptr_equal(mas_walk(&mas), entry_of(0));
	assert_state(&mas, 0, 9, ma_active);
	/* Walking again stays. */
	assert_ptr_equal(mas_walk(&mas), entry_of(0));
	assert_state(&mas, 0, 9, ma_active);
	mtree_unlock(mt);
}

static void test_empty_tree(void **state)
{
	struct maple_tree *mt = maple_test_tree(state);
	MA_STATE(mas, mt, 5, 5);

	mas_lock(&mas);
	assert_null(mas_walk(&mas));
	assert_state(&mas, 0, ULONG_MAX, ma_none);
	mas_set(&mas, 5);
	assert_null(mas_find(&mas, ULONG_MAX));
	assert_int_equal(mas.status, ma_none);
	assert_null(mas_find(&mas, ULONG_MAX));
	mas_set(&mas, 5);
	assert_null(mas_find_range(&mas, ULONG_MAX));
	assert_int_equal(mas.status, ma_none);
	mas_set(&mas, 5);
	assert_null(mas_find_rev(&mas, 0));
	mas_set(&mas, 5);
	assert_null(mas_find_range_rev(&mas, 0));
	mas_set(&mas, 5);
	assert_null(mas_next(&mas, ULONG_MAX));
	assert_state(&mas, 0, ULONG_MAX, ma_none);
	mas_set(&mas, 5);
	assert_null(mas_next_range(&mas, ULONG_MAX));
	mas_set(&mas, 5);
	assert_null(mas_prev(&mas, 0));
	assert_int_equal(mas.status, ma_none);
	mas_set(&mas, 5);
	assert_null(mas_prev_range(&mas, 0));
	mas_set(&mas, 0);
	assert_null(mas_prev(&mas, 0));
	assert_int_equal(mas.status, ma_underflow);
	mas_unlock(&mas);
}

static void test_find(void **state)
{
	struct maple_tree *mt = filled(state);
	MA_STATE(mas, mt, 45, 45);

	assert_ptr_equal(mas_find(&mas, 1000), entry_of(2));
	assert_state(&mas, 40, 49, ma_active);
	assert_ptr_equal(mas_find(&mas, 1000), entry_of(3));
	assert_state(&mas, 60, 69, ma_active);
	/* The end is in a gap: that is where it stands, without saying so. */
	assert_null(mas_find(&mas, 75));
	assert_state(&mas, 70, 79, ma_active);
	assert_ptr_equal(mas_find(&mas, 80), entry_of(4));
	assert_state(&mas, 80, 89, ma_active);
	/* The end is where it stands. */
	assert_null(mas_find(&mas, 85));
	assert_state(&mas, 80, 89, ma_active);
	/* Started in a gap. */
	mas_set(&mas, 55);
	assert_ptr_equal(mas_find(&mas, 60), entry_of(3));
	mas_set(&mas, 55);
	assert_null(mas_find(&mas, 59));
	assert_state(&mas, 50, 59, ma_active);
	/* Started above the end. */
	mas_set(&mas, 55);
	assert_null(mas_find(&mas, 54));
	assert_state(&mas, 55, 55, ma_start);
	/* Begins within the limit, ends above it. */
	mas_set(&mas, 50);
	assert_ptr_equal(mas_find(&mas, 60), entry_of(3));
	assert_state(&mas, 60, 69, ma_active);
	mtree_unlock(mt);
}

static void test_find_rev(void **state)
{
	struct maple_tree *mt = filled(state);
	MA_STATE(mas, mt, 45, 45);

	assert_ptr_equal(mas_find_rev(&mas, 0), entry_of(2));
	assert_state(&mas, 40, 49, ma_active);
	assert_ptr_equal(mas_find_rev(&mas, 0), entry_of(1));
	assert_state(&mas, 20, 29, ma_active);
	assert_null(mas_find_rev(&mas, 12));
	assert_state(&mas, 10, 19, ma_underflow);
	assert_ptr_equal(mas_find_rev(&mas, 0), entry_of(0));
	assert_state(&mas, 0, 9, ma_active);
	assert_null(mas_find_rev(&mas, 0));
	assert_state(&mas, 0, 9, ma_underflow);
	mas_set(&mas, 55);
	assert_null(mas_find_rev(&mas, 56));
	assert_state(&mas, 55, 55, ma_start);
	mas_set(&mas, 55);
	assert_ptr_equal(mas_find_rev(&mas, 49), entry_of(2));
	mas_set(&mas, ULONG_MAX);
	assert_ptr_equal(mas_find_rev(&mas, 0), entry_of(ENTRIES - 1));
	mtree_unlock(mt);
}

static void test_find_range(void **state)
{
	struct maple_tree *mt = filled(state);
	MA_STATE(mas, mt, 45, 45);

	assert_ptr_equal(mas_find_range(&mas, 1000), entry_of(2));
	assert_null(mas_find_range(&mas, 1000));
	assert_state(&mas, 50, 59, ma_active);
	assert_ptr_equal(mas_find_range(&mas, 1000), entry_of(3));
	assert_state(&mas, 60, 69, ma_active);
	assert_null(mas_find_range(&mas, 72));
	assert_state(&mas, 70, 79, ma_active);
	assert_null(mas_find_range(&mas, 79));
	assert_int_equal(mas.status, ma_active);
	/* The first call passes a gap. */
	mas_set(&mas, 55);
	assert_ptr_equal(mas_find_range(&mas, 1000), entry_of(3));

	mas_set(&mas, 45);
	assert_ptr_equal(mas_find_range_rev(&mas, 0), entry_of(2));
	assert_null(mas_find_range_rev(&mas, 0));
	assert_state(&mas, 30, 39, ma_active);
	assert_ptr_equal(mas_find_range_rev(&mas, 0), entry_of(1));
	assert_null(mas_find_range_rev(&mas, 20));
	assert_state(&mas, 20, 29, ma_underflow);
	mtree_unlock(mt);
}

static void test_next(void **state)
{
	struct maple_tree *mt = filled(state);
	MA_STATE(mas, mt, 45, 45);

	/* Not walked yet: it is taken to be at what covers its index. */
	assert_ptr_equal(mas_next(&mas, 1000), entry_of(3));
	assert_state(&mas, 60, 69, ma_active);
	/* In the gap that the limit is in; then back, and on once the limit is higher. */
	assert_null(mas_next(&mas, 75));
	assert_state(&mas, 70, 79, ma_overflow);
	assert_null(mas_next(&mas, 79));
	assert_state(&mas, 70, 79, ma_overflow);
	assert_ptr_equal(mas_next(&mas, 80), entry_of(4));
	assert_state(&mas, 80, 89, ma_active);
	assert_null(mas_next(&mas, 89));
	assert_state(&mas, 80, 89, ma_overflow);
	/* One before where it went beyond the limit is where it is. */
	assert_ptr_equal(mas_prev(&mas, 0), entry_of(4));
	assert_state(&mas, 80, 89, ma_active);
	assert_ptr_equal(mas_prev(&mas, 0), entry_of(3));
	mas_set(&mas, 55);
	assert_null(mas_next(&mas, 59));
	assert_state(&mas, 50, 59, ma_overflow);
	mas_set(&mas, 55);
	assert_null(mas_next(&mas, 55));
	assert_state(&mas, 55, 55, ma_overflow);
	mas_set(&mas, (ENTRIES - 1) * 20);
	assert_null(mas_next(&mas, ULONG_MAX));
	assert_state(&mas, (ENTRIES - 1) * 20 + 10, ULONG_MAX, ma_overflow);
	mtree_unlock(mt);
}

static void test_prev(void **state)
{
	struct maple_tree *mt = filled(state);
	MA_STATE(mas, mt, 45, 45);

	assert_ptr_equal(mas_prev(&mas, 0), entry_of(1));
	assert_state(&mas, 20, 29, ma_active);
	assert_null(mas_prev(&mas, 15));
	assert_state(&mas, 10, 19, ma_underflow);
	assert_ptr_equal(mas_prev(&mas, 5), entry_of(0));
	assert_state(&mas, 0, 9, ma_active);
	assert_null(mas_prev(&mas, 0));
	assert_state(&mas, 0, 9, ma_underflow);
	assert_ptr_equal(mas_next(&mas, 1000), entry_of(0));
	assert_ptr_equal(mas_next(&mas, 1000), entry_of(1));
	mas_set(&mas, 55);
	assert_ptr_equal(mas_prev(&mas, 49), entry_of(2));
	assert_null(mas_prev(&mas, 40));
	assert_state(&mas, 40, 49, ma_underflow);
	mas_set(&mas, 55);
	assert_null(mas_prev(&mas, 55));
	assert_state(&mas, 55, 55, ma_underflow);
	mas_set(&mas, ULONG_MAX);
	assert_ptr_equal(mas_prev(&mas, 0), entry_of(ENTRIES - 1));
	mtree_unlock(mt);
}

static void test_next_prev_range(void **state)
{
	struct maple_tree *mt = filled(state);
	MA_STATE(mas, mt, 45, 45);

	assert_null(mas_next_range(&mas, 1000));
	assert_state(&mas, 50, 59, ma_active);
	assert_ptr_equal(mas_next_range(&mas, 1000), entry_of(3));
	assert_null(mas_next_range(&mas, 69));
	assert_state(&mas, 60, 69, ma_overflow);
	mas_set(&mas, 45);
	assert_null(mas_prev_range(&mas, 0));
	assert_state(&mas, 30, 39, ma_active);
	assert_ptr_equal(mas_prev_range(&mas, 0), entry_of(1));
	assert_null(mas_prev_range(&mas, 20));
	assert_state(&mas, 20, 29, ma_underflow);
	/* Up to both ends of the space. */
	mas_set(&mas, 5);
	assert_null(mas_prev_range(&mas, 0));
	assert_state(&mas, 0, 9, ma_underflow);
	mas_set(&mas, ULONG_MAX);
	assert_null(mas_next_range(&mas, ULONG_MAX));
	assert_state(&mas, ULONG_MAX, ULONG_MAX, ma_overflow);
	mtree_unlock(mt);
}

/* A limit that was met with one call, and what each other call makes of it. */
static void test_after_the_limit(void **state)
{
	struct maple_tree *mt = filled(state);
	MA_STATE(mas, mt, 0, 0);

#define OVERFLOWN()                                                \
	do {                                                       \
		mas_set(&mas, 45);                                 \
		assert_ptr_equal(mas_find(&mas, 49), entry_of(2)); \
		assert_null(mas_next(&mas, 49));                   \
		assert_state(&mas, 40, 49, ma_overflow);           \
	} while (0)
#define UNDERFLOWN()                                               \
	do {                                                       \
		mas_set(&mas, 45);                                 \
		assert_ptr_equal(mas_find(&mas, 49), entry_of(2)); \
		assert_null(mas_prev(&mas, 40));                   \
		assert_state(&mas, 40, 49, ma_underflow);          \
	} while (0)
	OVERFLOWN();
	assert_ptr_equal(mas_next(&mas, 1000), entry_of(3));
	OVERFLOWN();
	assert_ptr_equal(mas_prev(&mas, 0), entry_of(2));
	OVERFLOWN();
	assert_ptr_equal(mas_find(&mas, 1000), entry_of(2));
	OVERFLOWN();
	assert_null(mas_find(&mas, 49));
	assert_int_equal(mas.status, ma_overflow);
	OVERFLOWN();
	assert_ptr_equal(mas_find_range(&mas, 1000), entry_of(2));
	OVERFLOWN();
	assert_ptr_equal(mas_find_rev(&mas, 0), entry_of(1));
	OVERFLOWN();
	assert_null(mas_find_rev(&mas, 40));
	assert_int_equal(mas.status, ma_underflow);
	OVERFLOWN();
	assert_ptr_equal(mas_walk(&mas), entry_of(2));
	assert_state(&mas, 40, 49, ma_active);

	UNDERFLOWN();
	assert_ptr_equal(mas_prev(&mas, 0), entry_of(1));
	UNDERFLOWN();
	assert_ptr_equal(mas_next(&mas, 1000), entry_of(2));
	UNDERFLOWN();
	assert_ptr_equal(mas_find(&mas, 1000), entry_of(2));
	UNDERFLOWN();
	assert_null(mas_find(&mas, 40));
	assert_int_equal(mas.status, ma_overflow);
	UNDERFLOWN();
	assert_ptr_equal(mas_find_rev(&mas, 0), entry_of(1));
	UNDERFLOWN();
	assert_null(mas_find_rev(&mas, 40));
	assert_int_equal(mas.status, ma_underflow);
	mtree_unlock(mt);
}

/* Paused: goes on beside what it was at, in the tree as it is then. */
static void test_pause(void **state)
{
	struct maple_tree *mt = filled(state);
	MA_STATE(mas, mt, 45, 45);

	assert_ptr_equal(mas_find(&mas, 1000), entry_of(2));
	mas_pause(&mas);
	assert_state(&mas, 40, 49, ma_pause);
	mtree_unlock(mt);
	store_both(mt, &model, 44, 55, entry_of(1000));
	mtree_lock(mt);
	assert_ptr_equal(mas_find(&mas, 1000), entry_of(1000));
	assert_state(&mas, 44, 55, ma_active);
	mas_pause(&mas);
	assert_ptr_equal(mas_next(&mas, 1000), entry_of(3));
	mas_pause(&mas);
	assert_ptr_equal(mas_prev(&mas, 0), entry_of(1000));
	mas_pause(&mas);
	assert_ptr_equal(mas_find_rev(&mas, 0), entry_of(2));
	assert_state(&mas, 40, 43, ma_active);
	/* At both limits. */
	mas_pause(&mas);
	assert_null(mas_find(&mas, 43));
	assert_int_equal(mas.status, ma_pause);
	assert_null(mas_find_rev(&mas, 40));
	assert_int_equal(mas.status, ma_underflow);
	mas_set(&mas, ULONG_MAX);
	mas_pause(&mas);
	assert_null(mas_find(&mas, ULONG_MAX));
	mas_set(&mas, 0);
	mas_pause(&mas);
	assert_null(mas_find_rev(&mas, 0));
	mas_reset(&mas);
	assert_state(&mas, 0, 0, ma_start);
	assert_ptr_equal(mas_find(&mas, 0), entry_of(0));
	mtree_unlock(mt);
}

static void test_iteration(void **state)
{
	struct maple_tree *mt = filled(state);
	MA_STATE(mas, mt, 0, 0);
	unsigned long count = 0;
	void *entry;

	mas_for_each (&mas, entry, ULONG_MAX) {
		assert_ptr_equal(entry, entry_of(count));
		assert_state(&mas, count * 20, count * 20 + 9, ma_active);
		count++;
	}
	assert_int_equal(count, ENTRIES);
	mas_set(&mas, ULONG_MAX);
	mas_for_each_rev (&mas, entry, 0) {
		count--;
		assert_ptr_equal(entry, entry_of(count));
		assert_state(&mas, count * 20, count * 20 + 9, ma_active);
	}
	assert_int_equal(count, 0);
	/* A part of it, both limits within entries. */
	mas_set(&mas, 1005);
	mas_for_each (&mas, entry, 2005) {
		assert_ptr_equal(entry, entry_of(50 + count));
		count++;
	}
	assert_int_equal(count, 51);
	mtree_unlock(mt);
}

static void test_contiguous(void **state)
{
	struct maple_tree *mt = maple_test_tree(state);
	MA_STATE(mas, mt, 100, 100);
	unsigned long count = 0;
	void *entry;

	maple_model_clear(&model);
	for (unsigned long i = 0; i < 200; i++)
		store_both(mt, &model, i * 10, i * 10 + 9, entry_of(i));
	store_both(mt, &model, 1500, 1509, NULL);
	mas_lock(&mas);
	mas_contiguous(&mas, entry, ULONG_MAX)
	{
		assert_ptr_equal(entry, entry_of(10 + count));
		count++;
	}
	assert_int_equal(count, 140);
	assert_state(&mas, 1500, 1509, ma_active);
	/* Up to a limit. */
	mas_set(&mas, 100);
	count = 0;
	mas_contiguous(&mas, entry, 199) count++;
	assert_int_equal(count, 10);
	mas_unlock(&mas);
}

/* Steps up and down over all borders of nodes, gaps and entries, turning back at each place. */
static void test_to_and_fro(void **state)
{
	struct maple_tree *mt = filled(state);
	MA_STATE(mas, mt, 0, 0);

	assert_ptr_equal(mas_walk(&mas), entry_of(0));
	for (unsigned long i = 1; i < ENTRIES; i++) {
		assert_ptr_equal(mas_next(&mas, ULONG_MAX), entry_of(i));
		assert_ptr_equal(mas_prev(&mas, 0), entry_of(i - 1));
		assert_null(mas_next_range(&mas, ULONG_MAX));
		assert_state(&mas, i * 20 - 10, i * 20 - 1, ma_active);
		assert_ptr_equal(mas_prev_range(&mas, 0), entry_of(i - 1));
		assert_null(mas_next_range(&mas, ULONG_MAX));
		assert_ptr_equal(mas_next_range(&mas, ULONG_MAX), entry_of(i));
		assert_state(&mas, i * 20, i * 20 + 9, ma_active);
	}
	mtree_unlock(mt);
}

int main(void)
{
	static const struct maple_test tests[] = {
		MAPLE_TEST(test_walk),
		MAPLE_TEST(test_empty_tree),
		MAPLE_TEST(test_find),
		MAPLE_TEST(test_find_rev),
		MAPLE_TEST(test_find_range),
		MAPLE_TEST(test_next),
		MAPLE_TEST(test_prev),
		MAPLE_TEST(test_next_prev_range),
		MAPLE_TEST(test_after_the_limit),
		MAPLE_TEST(test_pause),
		MAPLE_TEST(test_iteration),
		MAPLE_TEST(test_contiguous),
		MAPLE_TEST(test_to_and_fro),
	};

	return maple_test_run("maple_states", tests, sizeof(tests) / sizeof(tests[0]));
}
