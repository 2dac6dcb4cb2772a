/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_LIB_MAPLE_TEST_H
#define TESTS_LIB_MAPLE_TEST_H

#include "tests/lib/maple_driver.h"
#include "tests/lib/maple_model.h"

/*
 * Runs each test of the maple tree once for each kind of tree and each search variant that this CPU
 * has, with a fresh tree that is destroyed afterwards. Entries that tests store are made by
 * entry_of().
 */

/**
 * struct maple_test - a test of one program
 * @run: a CMocka test; its state is a struct maple_variant
 */
struct maple_test {
	const char *name;
	void (*run)(void **state);
};

/**
 * struct maple_variant - what a test runs on
 * @walker: the search in a node, as maple_walker_choose() calls it
 * @flags: MT_FLAGS_* of @tree
 */
struct maple_variant {
	const char *walker;
	unsigned int flags;
	struct maple_tree tree;
	char name[96];
};

#define MAPLE_TEST(function)        \
	{                           \
#function, function \
	}

/* What main() returns. */
int maple_test_run(const char *group, const struct maple_test *tests, unsigned int count);

static inline struct maple_tree *maple_test_tree(void **state)
{
	return &((struct maple_variant *)*state)->tree;
}

/* A pointer; different for each @n below 2^20. */
static inline void *entry_of(unsigned long n)
{
	return (void *)(0x100000 + n * 8);
}

/* Fails the test unless the tree is valid and holds what the model does. */
void assert_tree(struct maple_tree *mt, const struct maple_model *m);

/* Stores into both and compares the tree's structure. */
void store_both(struct maple_tree *mt, struct maple_model *m, unsigned long first,
		unsigned long last, void *entry);

/* @count ranges of ten indices, every twenty: entry_of(i) at 20 i to 20 i + 9. */
void fill_both(struct maple_tree *mt, struct maple_model *m, unsigned int count);

/* Checks index, last and status of a state. */
#define assert_state(mas, first, end, what)              \
	do {                                             \
		assert_int_equal((mas)->index, (first)); \
		assert_int_equal((mas)->last, (end));    \
		assert_int_equal((mas)->status, (what)); \
	} while (0)

#endif
