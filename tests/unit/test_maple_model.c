/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/lib/maple_test.h"

/* Long random sequences of all operations against a sorted array of ranges. */

static void run(void **state, unsigned long space, unsigned int shift, unsigned int steps)
{
	const struct maple_variant *v = *state;
	struct maple_driver_options options = {
		.flags = v->flags,
		.space = space,
		.shift = shift,
		.steps = steps,
		.compare_every = 16,
	};
	unsigned int refused = 0;

	for (unsigned long seed = 1; seed <= 3; seed++) {
		/* Each variant has its own sequences. */
		struct maple_input in = {
			.random = (seed << 32 | v->flags << 8 | (unsigned char)v->walker[3]) *
				  UINT64_C(0x9e3779b97f4a7c15)};
		struct maple_driver_result result;

		if (!maple_driver_run(&in, &options, &result)) {
			print_error("seed %lu: %s\n", seed, result.failure);
			fail();
		}
		/* It did what it is for. */
		assert_int_equal(result.steps, steps);
		assert_true(result.writes > steps / 4);
		refused += result.refused;
	}
	assert_true(refused > 0);
}

static void test_few_indices(void **state)
{
	run(state, 20, 0, 400);
}

static void test_hundreds_of_indices(void **state)
{
	run(state, 300, 0, 800);
}

static void test_pages(void **state)
{
	run(state, 3000, 12, 1500);
}

static void test_spread_over_the_space(void **state)
{
	run(state, 100000, 44, 1500);
}

int main(void)
{
	static const struct maple_test tests[] = {
		MAPLE_TEST(test_few_indices),
		MAPLE_TEST(test_hundreds_of_indices),
		MAPLE_TEST(test_pages),
		MAPLE_TEST(test_spread_over_the_space),
	};

	return maple_test_run("maple_model", tests, sizeof(tests) / sizeof(tests[0]));
}
