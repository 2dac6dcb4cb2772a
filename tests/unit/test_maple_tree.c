/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "mm/maple_internal.h"

/*
 * The maple tree, one thread: each function at its edges, each allocation failing once, and long
 * random sequences against a sorted array of ranges.
 */

/* ---- The model ------------------------------------------------------------------------------- */

#define MODEL_RANGES 5000

struct range {
	unsigned long first;
	unsigned long last;
	void *entry;
};

struct model {
	unsigned int count;
	struct range range[MODEL_RANGES];
};

static void model_add(struct model *m, unsigned long first, unsigned long last, void *entry)
{
	assert_true(m->count < MODEL_RANGES);
	m->range[m->count++] = (struct range){first, last, entry};
}

static void model_store(struct model *m, unsigned long first, unsigned long last, void *entry)
{
	static struct model old;
	bool stored = !entry;

	memcpy(&old, m, offsetof(struct model, range) + m->count * sizeof(m->range[0]));
	m->count = 0;
	for (unsigned int i = 0; i < old.count; i++) {
		const struct range *r = &old.range[i];

		if (r->first < first)
			model_add(m, r->first, r->last < first ? r->last : first - 1, r->entry);
		if (!stored && r->last >= first) {
			model_add(m, first, last, entry);
			stored = true;
		}
		if (r->last > last)
			model_add(m, r->first > last ? r->first : last + 1, r->last, r->entry);
	}
	if (!stored)
		model_add(m, first, last, entry);
}

/* The first range that ends at @index or after. */
static unsigned int model_at(const struct model *m, unsigned long index)
{
	unsigned int low = 0, high = m->count;

	while (low < high) {
		unsigned int middle = (low + high) / 2;

		if (m->range[middle].last < index)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void *model_load(const struct model *m, unsigned long index)
{
	unsigned int i = model_at(m, index);

	return i < m->count && m->range[i].first <= index ? m->range[i].entry : NULL;
}

static bool model_is_free(const struct model *m, unsigned long first, unsigned long last)
{
	unsigned int i = model_at(m, first);

	return i == m->count || m->range[i].first > last;
}

/* ---- Where in which sequence something failed ------------------------------------------------ */

static unsigned long seed, step;

#define check(what)                                                                        \
	do {                                                                               \
		if (!(what)) {                                                             \
			print_error("seed %lu step %lu: not so: %s\n", seed, step, #what); \
			fail();                                                            \
		}                                                                          \
	} while (0)

static void check_structure(struct maple_tree *mt)
{
	const char *why = maple_check(mt);

	if (why) {
		print_error("seed %lu step %lu: %s\n", seed, step, why);
		fail();
	}
	check(mt_validate(mt) == 0);
}

static void check_equal(struct maple_tree *mt, const struct model *m)
{
	MA_STATE(mas, mt, 0, 0);
	unsigned int i = 0;
	void *entry;

	check_structure(mt);
	check(mtree_empty(mt) == (m->count == 0));
	mas_for_each (&mas, entry, ULONG_MAX) {
		check(i < m->count);
		check(mas.index == m->range[i].first);
		check(mas.last == m->range[i].last);
		check(entry == m->range[i].entry);
		i++;
	}
	check(i == m->count);
	mas_set(&mas, ULONG_MAX);
	mas_for_each_rev (&mas, entry, 0) {
		check(i > 0);
		i--;
		check(mas.index == m->range[i].first);
		check(mas.last == m->range[i].last);
		check(entry == m->range[i].entry);
	}
	check(i == 0);
}

static void *entry_of(unsigned long n)
{
	return (void *)(0x10000 + n * 8);
}

/* ---- Empty, one entry, the ends -------------------------------------------------------------- */

static void test_empty(void **state)
{
	DEFINE_MTREE(mt);
	MA_STATE(mas, &mt, 5, 5);
	struct maple_stats stats;
	unsigned long index = 0;

	(void)state;
	assert_true(mtree_empty(&mt));
	assert_int_equal(mt_height(&mt), 0);
	assert_null(mtree_load(&mt, 0));
	assert_null(mtree_load(&mt, ULONG_MAX));
	assert_null(mtree_erase(&mt, 7));
	assert_null(mt_find(&mt, &index, ULONG_MAX));
	assert_int_equal(index, 0);
	assert_null(mas_walk(&mas));
	assert_int_equal(mas.index, 0);
	assert_true(mas.last == ULONG_MAX);
	assert_int_equal(mas.status, ma_none);
	mas_set(&mas, 5);
	assert_null(mas_find(&mas, ULONG_MAX));
	assert_null(mas_find(&mas, ULONG_MAX));
	mas_set(&mas, 5);
	assert_null(mas_find_rev(&mas, 0));
	mas_set(&mas, 5);
	assert_null(mas_next(&mas, ULONG_MAX));
	mas_set(&mas, 5);
	assert_null(mas_prev(&mas, 0));
	mas_set(&mas, 5);
	assert_null(mas_erase(&mas));
	assert_false(mas_is_err(&mas));
	assert_int_equal(mtree_store_range(&mt, 0, ULONG_MAX, NULL, GFP_KERNEL), 0);
	mt_stats(&mt, &stats);
	assert_int_equal(stats.nodes + stats.bytes + stats.height + stats.held_bytes, 0);
	check_structure(&mt);
	mtree_destroy(&mt);
}

static void test_one_entry(void **state)
{
	static const unsigned long at[] = {0, 1, 4096, ULONG_MAX - 1, ULONG_MAX};
	DEFINE_MTREE(mt);
	struct maple_stats stats;

	(void)state;
	for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		MA_STATE(mas, &mt, at[i], at[i]);

		assert_int_equal(mtree_store(&mt, at[i], entry_of(i), GFP_KERNEL), 0);
		check_structure(&mt);
		mt_stats(&mt, &stats);
		assert_int_equal(stats.nodes, 1);
		assert_int_equal(stats.bytes, 256);
		assert_int_equal(stats.height, 1);
		assert_ptr_equal(mtree_load(&mt, at[i]), entry_of(i));
		assert_ptr_equal(mas_walk(&mas), entry_of(i));
		assert_true(mas.index == at[i] && mas.last == at[i]);
		if (at[i] > 0)
			assert_null(mtree_load(&mt, at[i] - 1));
		if (at[i] < ULONG_MAX)
			assert_null(mtree_load(&mt, at[i] + 1));
		assert_int_equal(mtree_insert(&mt, at[i], entry_of(9), GFP_KERNEL), -EEXIST);
		assert_ptr_equal(mtree_erase(&mt, at[i]), entry_of(i));
		assert_true(mtree_empty(&mt));
		check_structure(&mt);
	}
	mt_stats(&mt, &stats);
	assert_int_equal(stats.held_nodes, 0);
	mtree_destroy(&mt);
}

static void test_whole_space(void **state)
{
	DEFINE_MTREE(mt);
	MA_STATE(mas, &mt, 77, 77);

	(void)state;
	assert_int_equal(mtree_store_range(&mt, 0, ULONG_MAX, entry_of(1), GFP_KERNEL), 0);
	check_structure(&mt);
	assert_ptr_equal(mtree_load(&mt, 0), entry_of(1));
	assert_ptr_equal(mtree_load(&mt, ULONG_MAX), entry_of(1));
	assert_ptr_equal(mas_walk(&mas), entry_of(1));
	assert_true(mas.index == 0 && mas.last == ULONG_MAX);
	assert_null(mas_next(&mas, ULONG_MAX));
	assert_int_equal(mas.status, ma_overflow);
	assert_null(mas_prev(&mas, 0));
	/* An entry split by one in its middle. */
	assert_int_equal(mtree_store_range(&mt, 100, 199, entry_of(2), GFP_KERNEL), 0);
	assert_ptr_equal(mtree_load(&mt, 99), entry_of(1));
	assert_ptr_equal(mtree_load(&mt, 100), entry_of(2));
	assert_ptr_equal(mtree_load(&mt, 199), entry_of(2));
	assert_ptr_equal(mtree_load(&mt, 200), entry_of(1));
	/* And a hole in it. */
	assert_int_equal(mtree_store_range(&mt, 120, 129, NULL, GFP_KERNEL), 0);
	assert_null(mtree_load(&mt, 120));
	assert_ptr_equal(mtree_load(&mt, 119), entry_of(2));
	assert_ptr_equal(mtree_load(&mt, 130), entry_of(2));
	check_structure(&mt);
	assert_ptr_equal(mtree_erase(&mt, 3), entry_of(1));
	assert_null(mtree_load(&mt, 0));
	assert_ptr_equal(mtree_load(&mt, 200), entry_of(1));
	assert_int_equal(mtree_store_range(&mt, 0, ULONG_MAX, NULL, GFP_KERNEL), 0);
	assert_true(mtree_empty(&mt));
	mtree_destroy(&mt);
}

static void test_errors(void **state)
{
	DEFINE_MTREE(mt);
	MA_STATE(mas, &mt, 9, 8);

	(void)state;
	assert_int_equal(mtree_store_range(&mt, 9, 8, entry_of(1), GFP_KERNEL), -EINVAL);
	assert_int_equal(mtree_insert_range(&mt, 9, 8, entry_of(1), GFP_KERNEL), -EINVAL);
	assert_int_equal(mtree_store(&mt, 9, (void *)2, GFP_KERNEL), -EINVAL);
	assert_int_equal(mtree_store(&mt, 9, (void *)4094, GFP_KERNEL), -EINVAL);
	assert_int_equal(mtree_store(&mt, 9, (void *)4098, GFP_KERNEL), 0);
	assert_int_equal(mas_preallocate(&mas, entry_of(1), GFP_KERNEL), -EINVAL);
	assert_null(mas_store(&mas, entry_of(1)));
	assert_true(mas_is_err(&mas));
	assert_int_equal(xa_err(mas.node), -EINVAL);
	assert_null(mas_find(&mas, ULONG_MAX));
	mas_set_range(&mas, 1, 2);
	assert_int_equal(xa_err(mas.node), 0);
	check_structure(&mt);
	mtree_destroy(&mt);
}

static void test_insert(void **state)
{
	DEFINE_MTREE(mt);

	(void)state;
	assert_int_equal(mtree_insert_range(&mt, 10, 19, entry_of(1), GFP_KERNEL), 0);
	assert_int_equal(mtree_insert_range(&mt, 30, 39, entry_of(2), GFP_KERNEL), 0);
	assert_int_equal(mtree_insert_range(&mt, 0, 10, entry_of(3), GFP_KERNEL), -EEXIST);
	assert_int_equal(mtree_insert_range(&mt, 19, 29, entry_of(3), GFP_KERNEL), -EEXIST);
	assert_int_equal(mtree_insert_range(&mt, 20, 30, entry_of(3), GFP_KERNEL), -EEXIST);
	assert_int_equal(mtree_insert_range(&mt, 0, ULONG_MAX, entry_of(3), GFP_KERNEL), -EEXIST);
	assert_int_equal(mtree_insert_range(&mt, 20, 29, entry_of(3), GFP_KERNEL), 0);
	assert_int_equal(mtree_insert_range(&mt, 0, 9, entry_of(4), GFP_KERNEL), 0);
	assert_int_equal(mtree_insert_range(&mt, 40, ULONG_MAX, entry_of(5), GFP_KERNEL), 0);
	for (unsigned long i = 0; i < 50; i++)
		assert_int_equal(mtree_insert(&mt, i, entry_of(9), GFP_KERNEL), -EEXIST);
	check_structure(&mt);
	mtree_destroy(&mt);
}

/* ---- Full nodes, many nodes ------------------------------------------------------------------ */

/* @count ranges of ten indices, every twenty. */
static void fill(struct maple_tree *mt, struct model *m, unsigned int count)
{
	m->count = 0;
	for (unsigned long i = 0; i < count; i++) {
		assert_int_equal(mtree_store_range(mt, i * 20, i * 20 + 9, entry_of(i), GFP_KERNEL),
				 0);
		model_store(m, i * 20, i * 20 + 9, entry_of(i));
	}
}

static struct model model;

static void test_growing_and_shrinking(void **state)
{
	static const unsigned int strides[] = {1, 7, 611};
	DEFINE_MTREE(mt);
	unsigned int n = 1000;

	(void)state;
	for (size_t s = 0; s < 3; s++) {
		unsigned int height = 0;

		model.count = 0;
		for (unsigned long i = 0; i < n; i++) {
			unsigned long at = i * strides[s] % n * 4;

			assert_int_equal(
				mtree_insert_range(&mt, at, at + 2, entry_of(i), GFP_KERNEL), 0);
			model_store(&model, at, at + 2, entry_of(i));
			check_structure(&mt);
			assert_true(mt_height(&mt) == height || mt_height(&mt) == height + 1);
			height = mt_height(&mt);
		}
		check_equal(&mt, &model);
		assert_in_range(height, 3, 4);
		for (unsigned long i = 0; i < n; i++) {
			unsigned long at = i * strides[s] % n * 4;

			assert_ptr_equal(mtree_erase(&mt, at + i % 3), entry_of(i));
			check_structure(&mt);
		}
		assert_true(mtree_empty(&mt));
		assert_int_equal(mt_height(&mt), 0);
	}
	mtree_destroy(&mt);
}

/* A single store over none, part, or all of many nodes, from each kind of place to each other. */
static void test_spanning_stores(void **state)
{
	DEFINE_MTREE(mt);
	unsigned long ends[] = {0, 5, 9, 10, 15, 19, 20, 2000, 2005, 9989, 9990, 10000, ULONG_MAX};
	size_t count = sizeof(ends) / sizeof(ends[0]);

	(void)state;
	for (size_t i = 0; i < count; i++) {
		for (size_t j = i; j < count; j++) {
			for (int erase = 0; erase < 2; erase++) {
				void *entry = erase ? NULL : entry_of(5000);

				step = i * 100 + j;
				fill(&mt, &model, 500);
				assert_int_equal(
					mtree_store_range(&mt, ends[i], ends[j], entry, GFP_KERNEL),
					0);
				model_store(&model, ends[i], ends[j], entry);
				check_equal(&mt, &model);
				assert_int_equal(
					mtree_store_range(&mt, 0, ULONG_MAX, NULL, GFP_KERNEL), 0);
			}
		}
	}
	mtree_destroy(&mt);
}

static void test_same_again(void **state)
{
	DEFINE_MTREE(mt);
	void *root;

	(void)state;
	fill(&mt, &model, 100);
	root = mt.ma_root;
	assert_int_equal(mtree_store_range(&mt, 40, 49, entry_of(2), GFP_KERNEL), 0);
	assert_int_equal(mtree_store_range(&mt, 52, 55, NULL, GFP_KERNEL), 0);
	assert_int_equal(mtree_store_range(&mt, 5000, ULONG_MAX, NULL, GFP_KERNEL), 0);
	assert_ptr_equal(mt.ma_root, root);
	assert_int_equal(mtree_store_range(&mt, 42, 45, entry_of(2), GFP_KERNEL), 0);
	model_store(&model, 42, 45, entry_of(2));
	check_equal(&mt, &model);
	mtree_destroy(&mt);
}

/* ---- Iteration ------------------------------------------------------------------------------- */

static void test_find(void **state)
{
	DEFINE_MTREE(mt);
	unsigned long index = 0, count = 0;
	void *entry;

	(void)state;
	fill(&mt, &model, 300);
	mt_for_each (&mt, entry, index, ULONG_MAX) {
		assert_ptr_equal(entry, entry_of(count));
		assert_int_equal(index, count * 20 + 10);
		count++;
	}
	assert_int_equal(count, 300);
	index = 12;
	assert_ptr_equal(mt_find(&mt, &index, 20), entry_of(1));
	assert_int_equal(index, 30);
	index = 12;
	assert_null(mt_find(&mt, &index, 19));
	assert_int_equal(index, 12);
	index = 12;
	assert_null(mt_find(&mt, &index, 11));
	index = 0;
	assert_null(mt_find_after(&mt, &index, ULONG_MAX));
	/* An entry that ends at ULONG_MAX wraps the index to 0, and ends the iteration. */
	assert_int_equal(mtree_store_range(&mt, 50, ULONG_MAX, entry_of(7), GFP_KERNEL), 0);
	count = 0;
	index = 25;
	mt_for_each (&mt, entry, index, ULONG_MAX)
		count++;
	assert_int_equal(count, 3);
	assert_int_equal(index, 0);
	mtree_destroy(&mt);
}

static void test_state(void **state)
{
	DEFINE_MTREE(mt);
	MA_STATE(mas, &mt, 0, 0);

	(void)state;
	fill(&mt, &model, 300);

	mas_set(&mas, 45);
	assert_ptr_equal(mas_walk(&mas), entry_of(2));
	assert_true(mas.index == 40 && mas.last == 49 && mas_is_active(&mas));
	mas_set(&mas, 55);
	assert_null(mas_walk(&mas));
	assert_true(mas.index == 50 && mas.last == 59 && mas_is_active(&mas));

	/* find: from within an entry, from a gap, bounded. */
	mas_set(&mas, 45);
	assert_ptr_equal(mas_find(&mas, 1000), entry_of(2));
	assert_ptr_equal(mas_find(&mas, 1000), entry_of(3));
	assert_true(mas.index == 60 && mas.last == 69);
	assert_null(mas_find(&mas, 79));
	assert_int_equal(mas.status, ma_active);
	assert_ptr_equal(mas_find(&mas, 80), entry_of(4));
	mas_set(&mas, 55);
	assert_ptr_equal(mas_find(&mas, 60), entry_of(3));
	mas_set(&mas, 55);
	assert_null(mas_find(&mas, 59));
	mas_set(&mas, 55);
	assert_null(mas_find(&mas, 54));

	/* next and prev: what is around, whether walked or not. */
	mas_set(&mas, 45);
	assert_ptr_equal(mas_next(&mas, 1000), entry_of(3));
	assert_ptr_equal(mas_prev(&mas, 0), entry_of(2));
	assert_ptr_equal(mas_prev(&mas, 0), entry_of(1));
	assert_ptr_equal(mas_prev(&mas, 5), entry_of(0));
	assert_null(mas_prev(&mas, 0));
	assert_int_equal(mas.status, ma_underflow);
	assert_ptr_equal(mas_next(&mas, 1000), entry_of(0));
	assert_ptr_equal(mas_next(&mas, 1000), entry_of(1));
	mas_set(&mas, 55);
	assert_ptr_equal(mas_prev(&mas, 49), entry_of(2));
	assert_null(mas_prev(&mas, 30));
	assert_int_equal(mas.status, ma_underflow);
	mas_set(&mas, 55);
	assert_null(mas_next(&mas, 59));
	assert_int_equal(mas.status, ma_overflow);
	assert_ptr_equal(mas_next(&mas, 60), entry_of(3));
	mas_set(&mas, 5995);
	assert_null(mas_next(&mas, ULONG_MAX));
	assert_ptr_equal(mas_prev(&mas, 0), entry_of(299));

	/* Downwards. */
	mas_set(&mas, 45);
	assert_ptr_equal(mas_find_rev(&mas, 0), entry_of(2));
	assert_ptr_equal(mas_find_rev(&mas, 0), entry_of(1));
	assert_null(mas_find_rev(&mas, 10));
	assert_int_equal(mas.status, ma_underflow);
	mas_set(&mas, ULONG_MAX);
	assert_ptr_equal(mas_find_rev(&mas, 0), entry_of(299));

	/* Paused: goes on after the entry, in the tree as it is then. */
	mas_set(&mas, 45);
	assert_ptr_equal(mas_find(&mas, 1000), entry_of(2));
	mas_pause(&mas);
	assert_int_equal(mtree_store_range(&mt, 44, 55, entry_of(1000), GFP_KERNEL), 0);
	assert_ptr_equal(mas_find(&mas, 1000), entry_of(1000));
	assert_true(mas.index == 44 && mas.last == 55);
	assert_ptr_equal(mas_find(&mas, 1000), entry_of(3));
	mtree_destroy(&mt);
}

/* A loop may store through its own state, and goes on in the new tree. */
static void test_store_while_iterating(void **state)
{
	DEFINE_MTREE(mt);
	MA_STATE(mas, &mt, 0, 0);
	unsigned long count = 0;
	void *entry;

	(void)state;
	fill(&mt, &model, 300);
	mas_for_each (&mas, entry, ULONG_MAX) {
		unsigned long first = mas.index, last = mas.last;

		assert_ptr_equal(entry, entry_of(count));
		if (count % 3 == 0) {
			assert_ptr_equal(mas_erase(&mas), entry);
			assert_true(mas.index <= first && mas.last >= last);
			model_store(&model, first, last, NULL);
		} else if (count % 3 == 1) {
			assert_ptr_equal(mas_store(&mas, entry_of(count + 1000)), entry);
			model_store(&model, first, last, entry_of(count + 1000));
		}
		assert_false(mas_is_err(&mas));
		count++;
	}
	assert_int_equal(count, 300);
	check_equal(&mt, &model);
	mas_set_range(&mas, 15, 25);
	assert_null(mas_store(&mas, entry_of(1)));
	mas_set_range(&mas, 20, 22);
	assert_ptr_equal(mas_store(&mas, entry_of(2)), entry_of(1));
	mtree_destroy(&mt);
}

/* Without writes in between, a state keeps to the version that it walked into. */
static void test_snapshot(void **state)
{
	struct maple_tree mt;
	MA_STATE(mas, &mt, 0, 0);
	unsigned long count = 0;

	(void)state;
	mt_init_flags(&mt, MT_FLAGS_USE_RCU);
	fill(&mt, &model, 300);
	samara_rcu_read_lock();
	assert_ptr_equal(mas_find(&mas, ULONG_MAX), entry_of(0));
	assert_int_equal(mtree_store_range(&mt, 0, ULONG_MAX, NULL, GFP_KERNEL), 0);
	do {
		count++;
	} while (mas_find(&mas, ULONG_MAX) == entry_of(count));
	samara_rcu_read_unlock();
	assert_int_equal(count, 300);
	assert_true(mtree_empty(&mt));
	mtree_destroy(&mt);
}

/* ---- Allocation ------------------------------------------------------------------------------ */

static long allocations_before_failure;

static bool fail_one(void)
{
	return allocations_before_failure-- == 0;
}

static bool fail_all(void)
{
	return true;
}

static int op_store(struct maple_tree *mt, unsigned long first, unsigned long last, void *entry)
{
	return mtree_store_range(mt, first, last, entry, GFP_KERNEL);
}

static int op_insert(struct maple_tree *mt, unsigned long first, unsigned long last, void *entry)
{
	/* Only free ranges are of interest here. */
	return model_is_free(&model, first, last)
		       ? mtree_insert_range(mt, first, last, entry, GFP_KERNEL)
		       : mtree_store_range(mt, first, last, entry, GFP_KERNEL);
}

static int op_mas_store(struct maple_tree *mt, unsigned long first, unsigned long last, void *entry)
{
	MA_STATE(mas, mt, first, last);

	mas_store(&mas, entry);
	return xa_err(mas.node);
}

static int op_preallocated(struct maple_tree *mt, unsigned long first, unsigned long last,
			   void *entry)
{
	MA_STATE(mas, mt, first, last);
	int ret = mas_preallocate(&mas, entry, GFP_KERNEL);

	if (!ret)
		mas_store_prealloc(&mas, entry);
	assert_false(mas_is_err(&mas));
	return ret;
}

typedef int (*store_fn)(struct maple_tree *, unsigned long, unsigned long, void *);

static const store_fn stores[] = {op_store, op_insert, op_mas_store, op_preallocated};

/*
 * A tree of three levels whose nodes are all full, of adjacent entries of ten indices each.
 * Stores hardly ever make one; each store into one entry splits it up to the root.
 */
static void fill_up(struct maple_tree *mt, struct model *m)
{
	uintptr_t level[256];
	unsigned long width = 10;

	m->count = 0;
	for (unsigned long i = 0; i < 4096; i++)
		model_add(m, i * 10, i < 4095 ? i * 10 + 9 : ULONG_MAX, entry_of(i));
	assert_int_equal(maple_reserve(mt, NULL, 256 + 16 + 1, GFP_KERNEL), 0);
	for (unsigned int nodes = 256; nodes; nodes /= 16, width *= 16) {
		for (unsigned int n = 0; n < nodes; n++) {
			struct maple_node *node = maple_node_take(mt, NULL);

			for (unsigned int i = 0; i < 16; i++) {
				unsigned int at = n * 16 + i;

				node->slot[i] = nodes == 256 ? entry_of(at) : (void *)level[at];
				if (i < 15)
					node->pivot[i] = (at + 1) * width - 1;
			}
			level[n] = mt_encode(node, 16, nodes == 256 ? MAPLE_ENCODED_LEAF : 0);
		}
	}
	mt->ma_root = (void *)level[0];
}

static void test_worst_case(void **state)
{
	/* From the middle of one entry into the middle of another: within a leaf, over the border
	 * of two leaves, of two nodes above them, and over most of the tree. */
	static const unsigned long entries[][2] = {
		{3, 3}, {3, 4}, {15, 16}, {255, 256}, {2047, 2048}, {255, 3840},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++) {
		for (size_t op = 0; op < 2 * 4; op++) {
			unsigned long first = entries[i][0] * 10 + 4;
			unsigned long last = entries[i][1] * 10 + 5;
			void *entry = op % 2 ? NULL : entry_of(4999);
			DEFINE_MTREE(mt);

			step = i;
			fill_up(&mt, &model);
			check_equal(&mt, &model);
			assert_int_equal(mt_height(&mt), 3);
			assert_int_equal(stores[op / 2](&mt, first, last, entry), 0);
			model_store(&model, first, last, entry);
			check_equal(&mt, &model);
			assert_int_equal(mt_height(&mt), i < 5 ? 4 : 3);
			mtree_destroy(&mt);
		}
	}
}

static void test_each_allocation_fails(void **state)
{
	static const struct range ranges[] = {
		{5, 5, (void *)0x90000},       {0, ULONG_MAX, (void *)0x90000},
		{0, ULONG_MAX, NULL},          {1005, 1005, NULL},
		{1003, 6003, (void *)0x90000}, {4010, 4015, (void *)0x90000},
	};
	static const unsigned int sizes[] = {0, 5, 60, 400};
	unsigned long failures = 0;

	(void)state;
	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		unsigned int size = sizes[s];

		for (size_t op = 0; op < 4 * 6; op++) {
			const struct range *r = &ranges[op / 4];
			int ret = -ENOMEM;

			seed = size;
			step = op;
			for (long n = 0; ret; n++) {
				DEFINE_MTREE(mt);
				struct maple_stats before, after;

				fill(&mt, &model, size);
				mt_stats(&mt, &before);
				allocations_before_failure = n;
				maple_alloc_hook = fail_one;
				ret = stores[op % 4](&mt, r->first, r->last, r->entry);
				maple_alloc_hook = NULL;
				check(ret == 0 || ret == -ENOMEM);
				mt_stats(&mt, &after);
				if (ret) {
					failures++;
					check(before.nodes == after.nodes);
				} else {
					model_store(&model, r->first, r->last, r->entry);
				}
				check(after.held_nodes == after.nodes);
				check_equal(&mt, &model);
				mtree_destroy(&mt);
			}
		}
	}
	assert_true(failures > 40);
}

static void test_erase_without_memory(void **state)
{
	DEFINE_MTREE(mt);
	MA_STATE(mas, &mt, 45, 45);

	(void)state;
	fill(&mt, &model, 100);
	maple_alloc_hook = fail_all;
	assert_null(mtree_erase(&mt, 45));
	assert_null(mas_erase(&mas));
	assert_int_equal(xa_err(mas.node), -ENOMEM);
	maple_alloc_hook = NULL;
	check_equal(&mt, &model);
	mas_set(&mas, 45);
	assert_ptr_equal(mas_erase(&mas), entry_of(2));
	mtree_destroy(&mt);
}

/* ---- Random sequences ------------------------------------------------------------------------ */

static uint64_t random_state;

static uint64_t random64(void)
{
	/* xorshift64* (Vigna 2016). */
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return random_state * UINT64_C(2685821657736338717);
}

static unsigned long random_below(unsigned long n)
{
	return random64() % n;
}

/* Indices that meet often: @space of them at either end, or in the middle. */
static unsigned long random_index(unsigned long space)
{
	switch (random_below(8)) {
	case 0:
		return ULONG_MAX - random_below(space);
	case 1:
		return (1UL << 63) - space / 2 + random_below(space);
	default:
		return random_below(space);
	}
}

static void random_range(unsigned long space, struct range *r)
{
	unsigned long a = random_index(space), b;

	switch (random_below(16)) {
	case 0:
		b = random_index(space);
		break;
	case 1:
		b = a;
		break;
	default:
		b = a + random_below(1 + space / 100);
		if (b < a)
			b = ULONG_MAX;
	}
	r->first = a < b ? a : b;
	r->last = a < b ? b : a;
	r->entry = random_below(3) ? entry_of(random_below(1000)) : NULL;
}

/* Eight states are preallocated, memory runs out, all are stored. */
static void store_preallocated(struct maple_tree *mt, unsigned long space)
{
	struct ma_state mas[8];
	struct range r[8];
	unsigned int count = 1 + random_below(8);

	for (unsigned int i = 0; i < count; i++) {
		random_range(space, &r[i]);
		mas_init(&mas[i], mt, 0);
		mas_set_range(&mas[i], r[i].first, r[i].last);
		check(mas_preallocate(&mas[i], r[i].entry, GFP_KERNEL) == 0);
	}
	maple_alloc_hook = fail_all;
	for (unsigned int i = 0; i < count; i++) {
		if (random_below(8) == 0) {
			mas_destroy(&mas[i]);
			continue;
		}
		mas_store_prealloc(&mas[i], r[i].entry);
		check(!mas_is_err(&mas[i]));
		model_store(&model, r[i].first, r[i].last, r[i].entry);
		check_structure(mt);
	}
	maple_alloc_hook = NULL;
}

static void walk_about(struct maple_tree *mt, unsigned long space)
{
	unsigned long index = random_index(space);
	MA_STATE(mas, mt, index, index);
	unsigned int at = model_at(&model, index);
	/* Where the state is: before range "at", or on it. */
	bool on = at < model.count && model.range[at].first <= index;

	check(mas_walk(&mas) == model_load(&model, index));
	check(mas.index <= index && mas.last >= index);
	if (on) {
		check(mas.index == model.range[at].first && mas.last == model.range[at].last);
	} else {
		check(mas.index == (at ? model.range[at - 1].last + 1 : 0));
		check(mas.last == (at < model.count ? model.range[at].first - 1 : ULONG_MAX));
	}
	if (random_below(2))
		mas_set(&mas, index);
	for (unsigned int i = 0; i < 20; i++) {
		bool up = random_below(2);
		void *entry = up ? mas_next(&mas, ULONG_MAX) : mas_prev(&mas, 0);

		at += up ? on : -1;
		on = at < model.count;
		if (!on) {
			check(!entry);
			break;
		}
		check(entry == model.range[at].entry);
		check(mas.index == model.range[at].first && mas.last == model.range[at].last);
	}
}

static void find_bounded(struct maple_tree *mt, unsigned long space)
{
	unsigned long first = random_index(space), max = random_index(space);
	unsigned long index = first;
	unsigned int at = model_at(&model, first);
	bool found = first <= max && at < model.count && model.range[at].first <= max;
	void *entry = mt_find(mt, &index, max);

	check(entry == (found ? model.range[at].entry : NULL));
	check(index == (found ? model.range[at].last + 1 : first));
}

static void random_step(struct maple_tree *mt, unsigned long space)
{
	struct range r;
	void *entry;
	int ret;

	random_range(space, &r);
	switch (random_below(10)) {
	case 0:
		ret = mtree_insert_range(mt, r.first, r.last, r.entry, GFP_KERNEL);
		if (model_is_free(&model, r.first, r.last)) {
			check(ret == 0);
			model_store(&model, r.first, r.last, r.entry);
		} else {
			check(ret == -EEXIST);
		}
		break;
	case 1:
	case 2:
		entry = mtree_erase(mt, r.first);
		check(entry == model_load(&model, r.first));
		if (entry) {
			unsigned int at = model_at(&model, r.first);

			model_store(&model, model.range[at].first, model.range[at].last, NULL);
		}
		break;
	case 3:
		store_preallocated(mt, space);
		break;
	case 4:
		walk_about(mt, space);
		break;
	case 5:
		find_bounded(mt, space);
		break;
	case 6:
		allocations_before_failure = (long)random_below(20);
		maple_alloc_hook = fail_one;
		ret = op_mas_store(mt, r.first, r.last, r.entry);
		maple_alloc_hook = NULL;
		check(ret == 0 || ret == -ENOMEM);
		if (!ret)
			model_store(&model, r.first, r.last, r.entry);
		break;
	default:
		check(mtree_store_range(mt, r.first, r.last, r.entry, GFP_KERNEL) == 0);
		model_store(&model, r.first, r.last, r.entry);
	}
	check(mtree_load(mt, r.first) == model_load(&model, r.first));
	check(mtree_load(mt, r.last) == model_load(&model, r.last));
}

static void test_model(void **state)
{
	static const unsigned long spaces[] = {20, 300, 3000, 100000};

	(void)state;
	for (seed = 1; seed <= 16; seed++) {
		unsigned int flags = seed % 2 ? 0 : MT_FLAGS_USE_RCU | MT_FLAGS_LOCK_EXTERN;
		struct maple_tree mt;

		mt_init_flags(&mt, flags);
		maple_poison_nodes = true;
		random_state = seed * UINT64_C(0x9e3779b97f4a7c15);
		model.count = 0;
		for (step = 0; step < 3000; step++) {
			random_step(&mt, spaces[seed % 4]);
			check_structure(&mt);
			if (step % 16 == 0)
				check_equal(&mt, &model);
		}
		check_equal(&mt, &model);
		mtree_destroy(&mt);
		maple_poison_nodes = false;
		check(mtree_empty(&mt));
		/* And once more: a destroyed tree is an empty one. */
		check(mtree_store(&mt, 1, entry_of(1), GFP_KERNEL) == 0);
		check(mtree_load(&mt, 1) == entry_of(1));
		mtree_destroy(&mt);
	}
}

/* ---- The checker ----------------------------------------------------------------------------- */

/* maple_check() finds what is wrong, or the tests above prove nothing. */
static void test_checker(void **state)
{
	DEFINE_MTREE(mt);
	struct maple_node *root, *leaf;
	unsigned long pivot;
	void *slot;

	(void)state;
	fill(&mt, &model, 50);
	assert_int_equal(mt_height(&mt), 2);
	root = mt_node((uintptr_t)mt.ma_root);
	leaf = mt_node((uintptr_t)root->slot[0]);
	assert_null(maple_check(&mt));

	pivot = leaf->pivot[1];
	leaf->pivot[1] = leaf->pivot[2] + 1;
	assert_non_null(maple_check(&mt));
	assert_int_equal(mt_validate(&mt), -EUCLEAN);
	leaf->pivot[1] = pivot;

	slot = leaf->slot[2];
	leaf->slot[2] = NULL;
	assert_string_equal(maple_check(&mt), "two empty slots are neighbours");
	leaf->slot[2] = slot;

	slot = root->slot[1];
	root->slot[1] = NULL;
	assert_string_equal(maple_check(&mt), "a child is missing");
	root->slot[1] = (void *)((uintptr_t)slot & ~(uintptr_t)MAPLE_ENCODED_LAST);
	assert_string_equal(maple_check(&mt), "a node has too few slots");
	root->slot[1] = slot;

	/* The last leaf is not full. */
	leaf = mt_node((uintptr_t)root->slot[mt_last_slot((uintptr_t)mt.ma_root)]);
	leaf->pivot[14] = 7;
	assert_string_equal(maple_check(&mt), "an unused pivot is not ULONG_MAX");
	leaf->pivot[14] = ULONG_MAX;
	assert_null(maple_check(&mt));
	mtree_destroy(&mt);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_one_entry),
		cmocka_unit_test(test_whole_space),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_insert),
		cmocka_unit_test(test_growing_and_shrinking),
		cmocka_unit_test(test_spanning_stores),
		cmocka_unit_test(test_same_again),
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_state),
		cmocka_unit_test(test_store_while_iterating),
		cmocka_unit_test(test_snapshot),
		cmocka_unit_test(test_worst_case),
		cmocka_unit_test(test_each_allocation_fails),
		cmocka_unit_test(test_erase_without_memory),
		cmocka_unit_test(test_model),
		cmocka_unit_test(test_checker),
	};

	return cmocka_run_group_tests_name("maple_tree", tests, NULL, NULL);
}
