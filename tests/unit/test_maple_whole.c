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
 * The tree as a whole: copies, destruction, RCU on and off, what a walk keeps to; what is counted,
 * checked and printed.
 */

static struct maple_model model;

/* ---- Copies ------------------------------------------------------------------------------------ */

static const unsigned int sizes[] = {0, 1, 8, 60, 400};

static void test_dup(void **state)
{
	struct maple_tree *mt = maple_test_tree(state), new;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		static struct maple_model old;

		maple_model_clear(&model);
		store_both(mt, &model, 0, ULONG_MAX, NULL);
		fill_both(mt, &model, sizes[i]);
		old = model;
		mt_init_flags(&new, mt->ma_flags);
		assert_int_equal(mtree_dup(mt, &new, GFP_KERNEL), 0);
		assert_int_equal(new.ma_flags, mt->ma_flags);
		assert_int_equal(mt_height(&new), mt_height(mt));
		assert_tree(&new, &model);
		/* From here on they are two. */
		store_both(&new, &model, 5, 25, entry_of(7));
		assert_tree(&new, &model);
		assert_tree(mt, &old);
		mtree_destroy(&new);
		assert_tree(mt, &old);
		assert_int_equal(__mt_dup(mt, &new, GFP_KERNEL), 0);
		assert_tree(&new, &old);
		__mt_destroy(&new);
		assert_true(mtree_empty(&new));
	}
}

static void test_dup_refused(void **state)
{
	struct maple_tree *mt = maple_test_tree(state), new;

	maple_model_clear(&model);
	fill_both(mt, &model, 60);
	mt_init_flags(&new, mt->ma_flags);
	assert_int_equal(mtree_store(&new, 1, entry_of(1), GFP_KERNEL), 0);
	assert_int_equal(mtree_dup(mt, &new, GFP_KERNEL), -EINVAL);
	assert_ptr_equal(mtree_load(&new, 1), entry_of(1));
	assert_null(mtree_load(&new, 25));
	mtree_destroy(&new);
	mt_init_flags(&new, mt->ma_flags ^ MT_FLAGS_ALLOC_RANGE);
	assert_int_equal(mtree_dup(mt, &new, GFP_KERNEL), -EINVAL);
	assert_true(mtree_empty(&new));
	mtree_destroy(&new);
	assert_tree(mt, &model);
}

static long allocations_before_failure;

static bool fail_one(void)
{
	return allocations_before_failure-- == 0;
}

static void test_dup_without_memory(void **state)
{
	struct maple_tree *mt = maple_test_tree(state), new;
	int ret = -ENOMEM;
	long n;

	maple_model_clear(&model);
	fill_both(mt, &model, 400);
	for (n = 0; ret; n++) {
		mt_init_flags(&new, mt->ma_flags);
		allocations_before_failure = n;
		maple_alloc_hook = fail_one;
		ret = mtree_dup(mt, &new, GFP_KERNEL);
		maple_alloc_hook = NULL;
		if (ret) {
			assert_int_equal(ret, -ENOMEM);
			assert_true(mtree_empty(&new));
			assert_int_equal(mt_validate(&new), 0);
			assert_tree(mt, &model);
		} else {
			assert_tree(&new, &model);
		}
		mtree_destroy(&new);
	}
	assert_true(n > 1);
}

/* ---- Destruction, RCU -------------------------------------------------------------------------- */

static void test_destroy(void **state)
{
	struct maple_tree *mt = maple_test_tree(state);
	struct maple_stats stats;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		maple_model_clear(&model);
		fill_both(mt, &model, sizes[i]);
		mtree_destroy(mt);
		assert_true(mtree_empty(mt));
		assert_int_equal(mt_height(mt), 0);
		assert_null(mtree_load(mt, 5));
		mt_stats(mt, &stats);
		assert_int_equal(stats.nodes + stats.bytes + stats.height + stats.held_nodes +
					 stats.held_bytes,
				 0);
		/* Twice is as good; flags stay. */
		mtree_destroy(mt);
		assert_int_equal(mt->ma_flags, ((struct maple_variant *)*state)->flags);
	}
}

static void test_rcu_on_and_off(void **state)
{
	struct maple_tree *mt = maple_test_tree(state);
	bool was = mt_in_rcu(mt);

	maple_model_clear(&model);
	for (int round = 0; round < 4; round++) {
		mt_set_in_rcu(mt);
		assert_true(mt_in_rcu(mt));
		fill_both(mt, &model, 60);
		store_both(mt, &model, 5, 700, NULL);
		mt_clear_in_rcu(mt);
		assert_false(mt_in_rcu(mt));
		store_both(mt, &model, 300, 1100, entry_of(round));
		assert_tree(mt, &model);
	}
	if (was)
		mt_set_in_rcu(mt);
}

/* With versions, a walk keeps to the one that it began in, whatever is stored meanwhile. */
static void test_snapshot(void **state)
{
	struct maple_tree *mt = maple_test_tree(state);
	MA_STATE(mas, mt, 0, 0);
	unsigned long count = 0;

	if (!mt_in_rcu(mt) || !(mt->ma_flags & MT_FLAGS_SNAPSHOT))
		return;
	maple_model_clear(&model);
	fill_both(mt, &model, 300);
	samara_rcu_read_lock();
	assert_ptr_equal(mas_find(&mas, ULONG_MAX), entry_of(0));
	for (unsigned long i = 0; i < 300; i++)
		store_both(mt, &model, i * 20 + 5, i * 20 + 15, entry_of(1000));
	store_both(mt, &model, 0, ULONG_MAX, NULL);
	do {
		assert_state(&mas, count * 20, count * 20 + 9, ma_active);
		count++;
	} while (mas_find(&mas, ULONG_MAX) == entry_of(count));
	samara_rcu_read_unlock();
	assert_int_equal(count, 300);
	assert_true(mtree_empty(mt));
}

/* Without, it sees each range as it was at some moment since then, and none is met twice. */
static void test_iteration_beside_stores(void **state)
{
	struct maple_tree *mt = maple_test_tree(state);
	MA_STATE(mas, mt, 0, 0);
	unsigned long next = 0;

	if (!mt_in_rcu(mt))
		return;
	maple_model_clear(&model);
	fill_both(mt, &model, 300);
	samara_rcu_read_lock();
	mas_walk(&mas);
	for (unsigned long i = 0;; i++) {
		assert_int_equal(mas.index, next);
		assert_true(mas.last >= mas.index);
		next = mas.last + 1;
		if (next == 0)
			break;
		store_both(mt, &model, i * 37 % 6000, i * 37 % 6000 + i % 50,
			   i % 3 ? entry_of(1000 + i) : NULL);
		mas_next_range(&mas, ULONG_MAX);
	}
	samara_rcu_read_unlock();
	assert_tree(mt, &model);
}

/* ---- Counted, checked, printed ------------------------------------------------------------------- */

static void test_stats(void **state)
{
	struct maple_tree *mt = maple_test_tree(state);
	struct maple_stats stats;

	maple_model_clear(&model);
	for (unsigned int i = 1; i <= 300; i++) {
		store_both(mt, &model, i * 20, i * 20 + 9, entry_of(i));
		mt_stats(mt, &stats);
		assert_int_equal(stats.height, mt_height(mt));
		assert_int_equal(stats.bytes, stats.nodes * 256);
		assert_true(stats.held_nodes >= stats.nodes);
		assert_true(stats.held_bytes >= stats.held_nodes * 256);
		if (!mt_in_rcu(mt))
			assert_int_equal(stats.held_nodes, stats.nodes);
		if (i == 1) {
			assert_int_equal(stats.nodes, 1);
			assert_int_equal(stats.height, 1);
		}
	}
	/* 601 slots in leaves of 6 to 16, and what is above them. */
	assert_in_range(stats.nodes, 601 / 16, 601 / 6 * 4 / 3);
}

/**
 * struct printed - lines that mt_dump() printed
 */
struct printed {
	unsigned int lines;
	unsigned int entries;
	unsigned int line_max;
	char first[128];
};

static void put(const char *line, void *arg)
{
	struct printed *p = arg;

	if (p->lines++ == 0)
		snprintf(p->first, sizeof(p->first), "%s", line);
	assert_null(strchr(line, '\n'));
	p->entries += strstr(line, "value 7") != NULL;
	if (strlen(line) > p->line_max)
		p->line_max = (unsigned int)strlen(line);
}

static void test_dump(void **state)
{
	struct maple_tree *mt = maple_test_tree(state);
	struct printed p = {0};

	mt_dump(mt, mt_dump_dec, put, &p);
	assert_int_equal(p.lines, 1);
	for (unsigned long i = 0; i < 100; i++)
		assert_int_equal(mtree_store(mt, i * 2, xa_mk_value(7), GFP_KERNEL), 0);
	memset(&p, 0, sizeof(p));
	mt_dump(mt, mt_dump_hex, put, &p);
	assert_int_equal(p.entries, 100);
	assert_true(p.lines > 200);
	assert_in_range(p.line_max, 20, 120);
	assert_non_null(strstr(p.first, "height"));
}

/* mt_validate() finds what is wrong, or all that uses it proves nothing. */
static void test_validate(void **state)
{
	struct maple_tree *mt = maple_test_tree(state);
	uintptr_t root, leaf;
	struct maple_node *node;
	unsigned long pivot;
	void *slot;

	maple_model_clear(&model);
	fill_both(mt, &model, 50);
	assert_int_equal(mt_height(mt), 2);
	root = (uintptr_t)mt->ma_root;
	leaf = mt_child(root, 1);
	node = mt_node(leaf);

	pivot = node->pivot[1];
	node->pivot[1] = node->pivot[2] + 1;
	assert_int_equal(mt_validate(mt), -EUCLEAN);
	node->pivot[1] = node->pivot[0];
	assert_int_equal(mt_validate(mt), -EUCLEAN);
	node->pivot[1] = pivot;
	assert_int_equal(mt_validate(mt), 0);

	for (unsigned int i = 1; i < 3; i++) {
		slot = node->slot[i];
		if (slot) {
			/* Two gaps side by side. */
			node->slot[i] = NULL;
			assert_int_equal(mt_validate(mt), -EUCLEAN);
			node->slot[i] = slot;
		}
	}

	slot = mt_slots(root)[1];
	mt_slots(root)[1] = NULL;
	assert_int_equal(mt_validate(mt), -EUCLEAN);
	/* A node that says it has one slot alone. */
	mt_slots(root)[1] = (void *)(leaf & ~(uintptr_t)MAPLE_ENCODED_LAST);
	assert_int_equal(mt_validate(mt), -EUCLEAN);
	mt_slots(root)[1] = slot;

	if (mt_is_alloc(mt)) {
		mt_node(root)->arange.gap[1]++;
		assert_int_equal(mt_validate(mt), -EUCLEAN);
		mt_node(root)->arange.gap[1]--;
	}

	/* A node that was given up. */
	node->state = 0;
	assert_int_equal(mt_validate(mt), -EUCLEAN);
	node->state = MAPLE_LIVE;
	assert_int_equal(mt_validate(mt), 0);
}

int main(void)
{
	static const struct maple_test tests[] = {
		MAPLE_TEST(test_dup),
		MAPLE_TEST(test_dup_refused),
		MAPLE_TEST(test_dup_without_memory),
		MAPLE_TEST(test_destroy),
		MAPLE_TEST(test_rcu_on_and_off),
		MAPLE_TEST(test_snapshot),
		MAPLE_TEST(test_iteration_beside_stores),
		MAPLE_TEST(test_stats),
		MAPLE_TEST(test_dump),
		MAPLE_TEST(test_validate),
	};

	return maple_test_run("maple_whole", tests, sizeof(tests) / sizeof(tests[0]));
}
