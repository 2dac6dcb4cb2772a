/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/lib/interpose.h"
#include "tests/lib/mm_fixture.h"

/*
 * How operations cut and unite regions.
 */

/* Each part of a region of eight pages goes, comes back, is protected, is moved away and back. */
static void test_split_and_merge(void **state)
{
	struct fixture *f = *state;
	const gpa_t base = BASE + 5 * PAGE;

	for (uint64_t a = 0; a < 8; a++) {
		for (uint64_t b = a + 1; b <= 8; b++) {
			gpa_t from = base + a * PAGE, to = base + b * PAGE,
			      away = BASE + 100 * PAGE;
			uint64_t size = to - from;
			uint64_t parts[16] = {0}, n = 0;

			plug(f, base, 8 * PAGE, GUEST_MM_RDWR);
			fill(f, base, 8 * PAGE);
			protect(f, from, size, GUEST_MM_READ);
			if (a)
				memcpy(parts + 3 * n++, (uint64_t[]){base, a * PAGE, 3}, 24);
			memcpy(parts + 3 * n++, (uint64_t[]){from, size, 1}, 24);
			if (b < 8)
				memcpy(parts + 3 * n++, (uint64_t[]){to, (8 - b) * PAGE, 3}, 24);
			expect_regions(f, parts);
			expect_fill(f, base, 8 * PAGE, base);
			protect(f, from, size, GUEST_MM_RDWR);
			EXPECT_REGIONS(f, base, 8 * PAGE, 3, );
			expect_fill(f, base, 8 * PAGE, base);

			remap(f, from, size, away);
			expect_fill(f, away, size, from);
			n = 0;
			memset(parts, 0, sizeof(parts));
			if (a)
				memcpy(parts + 3 * n++, (uint64_t[]){base, a * PAGE, 3}, 24);
			if (b < 8)
				memcpy(parts + 3 * n++, (uint64_t[]){to, (8 - b) * PAGE, 3}, 24);
			memcpy(parts + 3 * n, (uint64_t[]){away, size, 3}, 24);
			expect_regions(f, parts);
			remap(f, away, size, from);
			EXPECT_REGIONS(f, base, 8 * PAGE, 3, );
			expect_fill(f, base, 8 * PAGE, base);

			unplug(f, from, size);
			memset(parts + 3 * n, 0, 24);
			expect_regions(f, parts);
			if (a)
				expect_fill(f, base, a * PAGE, base);
			if (b < 8)
				expect_fill(f, to, (8 - b) * PAGE, to);
			plug(f, from, size, GUEST_MM_RDWR);
			EXPECT_REGIONS(f, base, 8 * PAGE, 3, );
			expect_zeros(f, from, size);
			unplug(f, base, 8 * PAGE);
			EXPECT_REGIONS(f, );
		}
	}
	assert_int_equal(stats(f).populated_bytes, 0);
	assert_int_equal(stats(f).plugged_bytes, 0);
}

/* Neighbours of different protection, or of different windows, stay apart. */
static void test_no_merge(void **state)
{
	struct fixture *f = *state;

	plug(f, BASE, PAGE, GUEST_MM_RDWR);
	plug(f, BASE + PAGE, PAGE, GUEST_MM_READ);
	plug(f, BASE + 2 * PAGE, PAGE, GUEST_MM_RDWR);
	EXPECT_REGIONS(f, BASE, PAGE, 3, BASE + PAGE, PAGE, 1, BASE + 2 * PAGE, PAGE, 3, );
	/* The middle one comes to be like both. */
	protect(f, BASE + PAGE, PAGE, GUEST_MM_RDWR);
	EXPECT_REGIONS(f, BASE, 3 * PAGE, 3, );
	protect(f, BASE, 3 * PAGE, GUEST_MM_READ);
	EXPECT_REGIONS(f, BASE, 3 * PAGE, 1, );
}

static void test_unplug_over_several_regions(void **state)
{
	struct fixture *f = *state;

	plug_some(f);
	protect(f, BASE + 4 * PAGE, PAGE, GUEST_MM_READ);
	unplug(f, BASE + 2 * PAGE, 20 * PAGE);
	EXPECT_REGIONS(f, BASE, 2 * PAGE, 3, BASE + 22 * PAGE, 2 * PAGE, 1, BASE + 32 * PAGE,
		       8 * PAGE, 3, );
	expect_fill(f, BASE, 2 * PAGE, BASE);
	plug(f, BASE + 2 * PAGE, 20 * PAGE, GUEST_MM_RDWR);
	expect_zeros(f, BASE + 2 * PAGE, 20 * PAGE);
	unplug(f, BASE, 24 * PAGE);
	expect_fill(f, BASE + 32 * PAGE, 8 * PAGE, BASE + 32 * PAGE);
	EXPECT_REGIONS(f, BASE + 32 * PAGE, 8 * PAGE, 3, );
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		MM_TEST(test_split_and_merge),
		MM_TEST(test_no_merge),
		MM_TEST(test_unplug_over_several_regions),
	};

	return cmocka_run_group_tests_name("regions of guest memory", tests, NULL, NULL);
}
