/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "mm/around.h"
#include "mm/parked.h"
#include "tests/lib/interpose.h"

/*
 * What the fault path remembers: faults that wait, and the walks that a guest is on.
 */

#define PAGE SAMARA_PAGE_BYTES

static void test_parked(void **state)
{
	struct parked parked = {0}, taken;
	unsigned char seen[2][3000] = {{0}};
	unsigned int flags, found = 0;
	size_t at = 0;
	gpa_t page;

	(void)state;
	for (unsigned int i = 0; i < 3000; i++) {
		/* Page 0, and pages that a poor hash would put together. */
		assert_int_equal(parked_add(&parked, (uint64_t)i << 30, 1), 0);
		assert_int_equal(parked_add(&parked, (uint64_t)i << 30, 6), 0);
		assert_int_equal(parked_add(&parked, (uint64_t)i << 30, 1), -EALREADY);
	}
	assert_int_equal(parked.count, 6000);
	taken = parked_take(&parked);
	assert_int_equal(parked.count, 0);
	while (parked_next(&taken, &at, &page, &flags)) {
		assert_int_equal(page & ((UINT64_C(1) << 30) - 1), 0);
		assert_true(page >> 30 < 3000);
		assert_true(flags == 1 || flags == 6);
		seen[flags == 6][page >> 30]++;
		found++;
	}
	assert_int_equal(found, 6000);
	for (unsigned int i = 0; i < 3000; i++)
		assert_true(seen[0][i] == 1 && seen[1][i] == 1);
	parked_free(&taken);
	at = 0;
	assert_false(parked_next(&parked, &at, &page, &flags));
}

static void test_parked_without_memory(void **state)
{
	struct parked parked = {0};
	unsigned int added = 0;

	(void)state;
	interpose_fail_nth(INTERPOSE_MALLOC, 1, 0, 0);
	assert_int_equal(parked_add(&parked, 0, 1), -ENOMEM);
	interpose_end();
	assert_int_equal(parked_add(&parked, 0, 1), 0);
	/* What there is is used up, and then it says so; what is in stays in. */
	interpose_fail_nth(INTERPOSE_MALLOC, 1, 0, 0);
	while (!parked_add(&parked, (added + 1) * PAGE, 1))
		added++;
	assert_int_equal(parked_add(&parked, 0, 1), -ENOMEM);
	interpose_end();
	assert_true(added >= 32);
	assert_int_equal(parked.count, added + 1);
	assert_int_equal(parked_add(&parked, 0, 1), -EALREADY);
	parked_free(&parked);
}

/* Populate what a fault at @page gets, as if nothing had been there. */
static uint64_t fault(struct around *around, gpa_t page)
{
	bool down;
	uint64_t bytes = around_bytes(around, page, 512 * PAGE, &down);

	around_filled(around, page, page & ~(bytes - 1), bytes, bytes);
	return bytes / PAGE;
}

static void test_walks(void **state)
{
	struct around around = {0};
	gpa_t up = 16 * PAGE, down = UINT64_C(1) << 40;
	bool downwards;

	(void)state;
	/* Two walks at once, one up and one down: each doubles, as long as it goes straight. */
	for (uint64_t want = 16; want <= 8192; want *= 2) {
		uint64_t pages = fault(&around, up);

		assert_int_equal(pages, want);
		up = (up & ~(pages * PAGE - 1)) + pages * PAGE;
		pages = fault(&around, down - PAGE);
		assert_int_equal(pages, want);
		down = (down - PAGE) & ~(pages * PAGE - 1);
	}
	assert_int_equal(around_bytes(&around, up, 512 * PAGE, &downwards), AROUND_AHEAD_BYTES);
	assert_false(downwards);
	/* Downwards from the beginning of one 2 MiB to that of the next. */
	assert_int_equal(around_bytes(&around, down - 512 * PAGE, 512 * PAGE, &downwards),
			 AROUND_AHEAD_BYTES);
	assert_true(downwards);
	/* Not quite beside it: as much as one huge page. */
	assert_int_equal(around_bytes(&around, up + 100 * PAGE, 512 * PAGE, &downwards),
			 512 * PAGE);
	assert_int_equal(around_bytes(&around, down - 100 * PAGE, 512 * PAGE, &downwards),
			 512 * PAGE);
	/* Here and there: the least, also when walks went before. */
	for (uint64_t i = 1; i < 100; i++)
		assert_int_equal(fault(&around, ((i * 7919 % 100) << 32) + 5 * PAGE), 16);
	/* And a configuration that wants less. */
	assert_int_equal(around_bytes(&around, UINT64_C(3) << 50, 8 * PAGE, &downwards), 8 * PAGE);
	around_filled(&around, UINT64_C(3) << 50, UINT64_C(3) << 50, 8 * PAGE, 8 * PAGE);
	assert_int_equal(
		around_bytes(&around, (UINT64_C(3) << 50) + 8 * PAGE, 8 * PAGE, &downwards),
		8 * PAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parked),
		cmocka_unit_test(test_parked_without_memory),
		cmocka_unit_test(test_walks),
	};

	return cmocka_run_group_tests_name("memory of the fault path", tests, NULL, NULL);
}
