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

/* Memory: each allocation of each operation failing once, preallocated stores, bulk stores. */

static struct maple_model model;

static long allocations_before_failure;

static bool fail_one(void)
{
	return allocations_before_failure-- == 0;
}

static bool fail_all(void)
{
	return true;
}

/* ---- Each way to store -------------------------------------------------------------------------- */

static int by_store(struct maple_tree *mt, const struct maple_range *r)
{
	return mtree_store_range(mt, r->first, r->last, r->entry, GFP_KERNEL);
}

static int by_mas_store(struct maple_tree *mt, const struct maple_range *r)
{
	MA_STATE(mas, mt, r->first, r->last);
	int ret;

	mas_lock(&mas);
	mas_store(&mas, r->entry);
	ret = mas_is_err(&mas) ? xa_err(mas.node) : 0;
	mas_destroy(&mas);
	mas_unlock(&mas);
	return ret;
}

static int by_mas_store_gfp(struct maple_tree *mt, const struct maple_range *r)
{
	MA_STATE(mas, mt, r->first, r->last);
	int ret;

	mas_lock(&mas);
	ret = mas_store_gfp(&mas, r->entry, GFP_KERNEL);
	mas_unlock(&mas);
	return ret;
}

static int by_preallocation(struct maple_tree *mt, const struct maple_range *r)
{
	MA_STATE(mas, mt, r->first, r->last);
	int ret;

	mas_lock(&mas);
	ret = mas_preallocate(&mas, r->entry, GFP_KERNEL);
	if (!ret)
		mas_store_prealloc(&mas, r->entry);
	assert_false(mas_is_err(&mas));
	mas_unlock(&mas);
	return ret;
}

static int by_bulk(struct maple_tree *mt, const struct maple_range *r)
{
	MA_STATE(mas, mt, r->first, r->last);
	int ret;

	mas_lock(&mas);
	ret = mas_expected_entries(&mas, 3);
	if (!ret) {
		mas_store(&mas, r->entry);
		ret = mas_is_err(&mas) ? xa_err(mas.node) : 0;
	}
	mas_destroy(&mas);
	mas_unlock(&mas);
	return ret;
}

typedef int (*store_fn)(struct maple_tree *mt, const struct maple_range *r);

static const store_fn ways[] = {by_store, by_mas_store, by_mas_store_gfp, by_preallocation,
				by_bulk};

#define WAYS (sizeof(ways) / sizeof(ways[0]))

/* A tree that a failed store has not touched: its content, and nodes given back. */
static void assert_as_before(struct maple_tree *mt, const struct maple_stats *before)
{
	struct maple_stats after;

	mt_stats(mt, &after);
	assert_int_equal(after.nodes, before->nodes);
	assert_int_equal(after.height, before->height);
	assert_tree(mt, &model);
}

static void test_each_allocation_fails(void **state)
{
	static const struct maple_range ranges[] = {
		{5, 5, (void *)0x90000},       {0, ULONG_MAX, (void *)0x90000},
		{0, ULONG_MAX, NULL},          {1005, 1005, NULL},
		{1003, 1603, (void *)0x90000}, {2010, 2015, (void *)0x90000},
	};
	static const unsigned int sizes[] = {0, 5, 60, 150};
	struct maple_tree *mt = maple_test_tree(state);
	unsigned int failures = 0;

	for (size_t i = 0; i < 4 * 6 * WAYS; i++) {
		const struct maple_range *r = &ranges[i / 4 % 6];
		int ret = -ENOMEM;

		for (long n = 0; ret; n++) {
			struct maple_tree fresh;
			struct maple_stats before;

			mt_init_flags(&fresh, mt->ma_flags);
			maple_model_clear(&model);
			for (unsigned long at = 0; at < sizes[i % 4]; at++)
				store_both(&fresh, &model, at * 20, at * 20 + 9, entry_of(at));
			mt_stats(&fresh, &before);
			allocations_before_failure = n;
			maple_alloc_hook = fail_one;
			ret = ways[i / 24](&fresh, r);
			maple_alloc_hook = NULL;
			if (ret) {
				assert_int_equal(ret, -ENOMEM);
				assert_as_before(&fresh, &before);
				failures++;
			} else {
				maple_model_store(&model, r->first, r->last, r->entry);
				assert_tree(&fresh, &model);
			}
			mtree_destroy(&fresh);
		}
	}
	/* Nearly each of them takes memory. */
	assert_true(failures > 4 * 6 * WAYS / 2);
}

static void test_erase_without_memory(void **state)
{
	struct maple_tree *mt = maple_test_tree(state);
	unsigned int refused = 0;

	maple_model_clear(&model);
	fill_both(mt, &model, 100);
	for (unsigned long i = 0; i < 100; i++) {
		MA_STATE(mas, mt, i * 20 + 5, i * 20 + 5);
		struct maple_stats before;

		mt_stats(mt, &before);
		maple_alloc_hook = fail_all;
		if (!mtree_erase(mt, i * 20 + 5)) {
			refused++;
			assert_as_before(mt, &before);
			mas_lock(&mas);
			assert_null(mas_erase(&mas));
			assert_int_equal(xa_err(mas.node), -ENOMEM);
			/* With memory, once more. */
			assert_false(mas_nomem(&mas, GFP_KERNEL));
			maple_alloc_hook = NULL;
			assert_true(mas_nomem(&mas, GFP_KERNEL));
			mas_set(&mas, i * 20 + 5);
			assert_ptr_equal(mas_erase(&mas), entry_of(i));
			mas_destroy(&mas);
			mas_unlock(&mas);
		}
		maple_alloc_hook = NULL;
		maple_model_store(&model, i * 20, i * 20 + 9, NULL);
		assert_tree(mt, &model);
	}
	assert_true(refused > 0);
	assert_true(mtree_empty(mt));
}

/* Without leave to sleep it takes what is at hand, or fails; it asks for no memory. */
static void test_without_sleeping(void **state)
{
	struct maple_tree *mt = maple_test_tree(state);
	unsigned int failures = 0;

	maple_model_clear(&model);
	assert_int_equal(mtree_store(mt, 1, entry_of(1), GFP_NOWAIT), -ENOMEM);
	for (unsigned long i = 0; i < 300; i++) {
		int ret = mtree_store(mt, i * 2, entry_of(i), GFP_NOWAIT);

		assert_true(ret == 0 || ret == -ENOMEM);
		failures += ret != 0;
		if (ret)
			assert_int_equal(mtree_store(mt, i * 2, entry_of(i), GFP_KERNEL), 0);
		maple_model_store(&model, i * 2, i * 2, entry_of(i));
	}
	assert_in_range(failures, 1, 299);
	assert_tree(mt, &model);
}

static void test_nomem(void **state)
{
	struct maple_tree *mt = maple_test_tree(state);
	MA_STATE(mas, mt, 10, 19);

	maple_model_clear(&model);
	mas_lock(&mas);
	assert_false(mas_nomem(&mas, GFP_KERNEL));
	maple_alloc_hook = fail_all;
	assert_null(mas_store(&mas, entry_of(1)));
	assert_int_equal(mas.status, ma_error);
	assert_int_equal(xa_err(mas.node), -ENOMEM);
	assert_true(xa_is_err(mas.node));
	maple_alloc_hook = NULL;
	assert_true(mas_nomem(&mas, GFP_KERNEL));
	assert_state(&mas, 10, 19, ma_start);
	maple_alloc_hook = fail_all;
	assert_null(mas_store(&mas, entry_of(1)));
	maple_alloc_hook = NULL;
	assert_false(mas_is_err(&mas));
	mas_destroy(&mas);
	mas_unlock(&mas);
	maple_model_store(&model, 10, 19, entry_of(1));
	assert_tree(mt, &model);
}

static void test_alloc_without_memory(void **state)
{
	struct maple_tree *mt = maple_test_tree(state);
	unsigned long at = 77, next = 3;

	if (!mt_is_alloc(mt))
		return;
	maple_model_clear(&model);
	maple_alloc_hook = fail_all;
	assert_int_equal(mtree_alloc_range(mt, &at, entry_of(1), 4, 0, 99, GFP_KERNEL), -ENOMEM);
	assert_int_equal(mtree_alloc_rrange(mt, &at, entry_of(1), 4, 0, 99, GFP_KERNEL), -ENOMEM);
	assert_int_equal(mtree_alloc_cyclic(mt, &at, entry_of(1), 0, 99, &next, GFP_KERNEL),
			 -ENOMEM);
	maple_alloc_hook = NULL;
	assert_int_equal(at, 77);
	assert_int_equal(next, 3);
	assert_true(mtree_empty(mt));
}

/* ---- Preallocation ------------------------------------------------------------------------------ */

/* Eight states are preallocated in a tree of each size; then no memory is left, and all are stored. */
static void test_eight_preallocated(void **state)
{
	struct maple_tree *mt = maple_test_tree(state);

	for (unsigned int size = 0; size < 180; size += 11) {
		for (int order = 0; order < 3; order++) {
			struct ma_state mas[8];

			maple_model_clear(&model);
			store_both(mt, &model, 0, ULONG_MAX, NULL);
			for (unsigned long i = 0; i < size; i++)
				store_both(mt, &model, i * 20, i * 20 + 19, entry_of(i));
			mtree_lock(mt);
			for (unsigned int i = 0; i < 8; i++) {
				mas_init(&mas[i], mt, 0);
				assert_int_equal(mas_preallocate(&mas[i], entry_of(i), GFP_KERNEL),
						 0);
			}
			maple_alloc_hook = fail_all;
			for (unsigned long i = 0; i < 8; i++) {
				/* Into the middle of entries, all over, side by side, or over many. */
				unsigned long at = order == 0   ? i * size * 20 / 8 + 4
						   : order == 1 ? size * 10 + i * 3
								: i * 100 + 7;
				unsigned long last = order == 2 ? at + size * 5 : at + 1;
				void *entry = i % 4 == 3 ? NULL : entry_of(1000 + i);

				mas_set_range(&mas[i], at, last);
				mas_store_prealloc(&mas[i], entry);
				assert_false(mas_is_err(&mas[i]));
				assert_int_equal(mt_validate(mt), 0);
				maple_model_store(&model, at, last, entry);
			}
			maple_alloc_hook = NULL;
			mtree_unlock(mt);
			assert_tree(mt, &model);
		}
	}
}

/* Other stores in between, and memory that runs out after them. */
static void test_stores_in_between(void **state)
{
	struct maple_tree *mt = maple_test_tree(state);

	maple_model_clear(&model);
	for (unsigned long round = 0; round < 60; round++) {
		MA_STATE(mas, mt, round * 131 % 4000, round * 131 % 4000 + 50);
		unsigned long first = mas.index, last = mas.last;

		mas_lock(&mas);
		assert_int_equal(mas_preallocate(&mas, entry_of(round), GFP_KERNEL), 0);
		mas_unlock(&mas);
		for (unsigned long i = 0; i < 8; i++)
			store_both(mt, &model, (round * 17 + i * 29) % 500 * 8,
				   (round * 17 + i * 29) % 500 * 8 + 3, entry_of(i));
		mas_lock(&mas);
		maple_alloc_hook = fail_all;
		mas_store_prealloc(&mas, entry_of(round));
		maple_alloc_hook = NULL;
		assert_false(mas_is_err(&mas));
		mas_unlock(&mas);
		maple_model_store(&model, first, last, entry_of(round));
		assert_tree(mt, &model);
	}
}

/* What is not needed, or given up, comes back. */
static void test_preallocated_nodes_come_back(void **state)
{
	struct maple_tree *mt = maple_test_tree(state);
	MA_STATE(mas, mt, 15, 16);
	struct maple_stats stats;
	unsigned long before;

	maple_model_clear(&model);
	if (mt_in_rcu(mt))
		return;
	fill_both(mt, &model, 50);
	mtree_lock(mt);
	mt_stats(mt, &stats);
	before = stats.held_nodes;
	assert_int_equal(before, stats.nodes);
	assert_int_equal(mas_preallocate(&mas, entry_of(1), GFP_KERNEL), 0);
	mt_stats(mt, &stats);
	assert_true(stats.held_nodes > before);
	assert_int_equal(stats.nodes, before);
	/* Once more does not take more. */
	before = stats.held_nodes;
	assert_int_equal(mas_preallocate(&mas, entry_of(1), GFP_KERNEL), 0);
	mt_stats(mt, &stats);
	assert_int_equal(stats.held_nodes, before);
	/* Being reset or moved does not lose them. */
	mas_reset(&mas);
	mas_set_range(&mas, 15, 17);
	mas_store_prealloc(&mas, entry_of(1));
	mt_stats(mt, &stats);
	assert_int_equal(stats.held_nodes, stats.nodes);
	assert_int_equal(mas_preallocate(&mas, NULL, GFP_KERNEL), 0);
	mas_destroy(&mas);
	mas_destroy(&mas);
	mt_stats(mt, &stats);
	assert_int_equal(stats.held_nodes, stats.nodes);
	mtree_unlock(mt);
	maple_model_store(&model, 15, 17, entry_of(1));
	assert_tree(mt, &model);
}

static void test_expected_entries(void **state)
{
	struct maple_tree *mt = maple_test_tree(state);
	MA_STATE(mas, mt, 0, 0);
	struct maple_stats stats;

	maple_model_clear(&model);
	mas_lock(&mas);
	assert_int_equal(mas_expected_entries(&mas, 500), 0);
	/* All of them without memory: in order, and with a gap behind each. */
	maple_alloc_hook = fail_all;
	for (unsigned long i = 0; i < 500; i++) {
		mas_set_range(&mas, i * 16, i * 16 + 11);
		assert_null(mas_store(&mas, entry_of(i)));
		assert_false(mas_is_err(&mas));
		maple_model_store(&model, i * 16, i * 16 + 11, entry_of(i));
	}
	maple_alloc_hook = NULL;
	mas_destroy(&mas);
	mt_stats(mt, &stats);
	if (!mt_in_rcu(mt))
		assert_int_equal(stats.held_nodes, stats.nodes);
	maple_alloc_hook = fail_all;
	mas_init(&mas, mt, 0);
	assert_int_equal(mas_expected_entries(&mas, 1000000), -ENOMEM);
	maple_alloc_hook = NULL;
	mas_destroy(&mas);
	mas_unlock(&mas);
	assert_tree(mt, &model);
}

int main(void)
{
	static const struct maple_test tests[] = {
		MAPLE_TEST(test_each_allocation_fails),
		MAPLE_TEST(test_erase_without_memory),
		MAPLE_TEST(test_without_sleeping),
		MAPLE_TEST(test_nomem),
		MAPLE_TEST(test_alloc_without_memory),
		MAPLE_TEST(test_eight_preallocated),
		MAPLE_TEST(test_stores_in_between),
		MAPLE_TEST(test_preallocated_nodes_come_back),
		MAPLE_TEST(test_expected_entries),
	};

	return maple_test_run("maple_alloc", tests, sizeof(tests) / sizeof(tests[0]));
}
