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
 * Memory that moves keeps every byte.
 */

/* Populated and missing pages in turns, over and over, within a window and between two. */
static void test_remap_keeps_every_byte(void **state)
{
	struct fixture *f = *state;
	const uint64_t size = 308 * PAGE;
	gpa_t at = BASE + 7 * PAGE;
	unsigned char *bytes = malloc(size), *back = malloc(size);

	plug(f, at, size, GUEST_MM_RDWR);
	for (uint64_t i = 0; i < size; i++)
		bytes[i] = (unsigned char)((i >> 12) * 31 + i * 7 + (i >> 8));
	for (uint64_t i = 0; i < size; i += 3 * 32 * PAGE)
		assert_int_equal(guest_mm_write(f->mm, at + i, bytes + i, 20 * PAGE), 0);
	for (uint64_t i = 0; i < size; i += PAGE)
		if (i / PAGE % 96 >= 20)
			memset(bytes + i, 0, PAGE);
	for (unsigned int round = 0; round < 12; round++) {
		gpa_t to = round & 1 ? BASE + (7 + round * 310) * PAGE : SECOND + round * PAGE;
		uint64_t populated = stats(f).populated_bytes;

		remap(f, at, size, to);
		assert_int_equal(stats(f).populated_bytes, populated);
		assert_int_equal(guest_mm_read(f->mm, at, back, 8), -EFAULT);
		at = to;
		if (round != 5 && round != 11)
			continue;
		memset(back, 0x5a, size);
		assert_int_equal(guest_mm_read(f->mm, at, back, size), 0);
		assert_memory_equal(back, bytes, size);
		for (uint64_t i = 0; i < size; i += 8) {
			uint64_t want;

			memcpy(&want, bytes + i, 8);
			assert_int_equal(peek(f, at + i), want);
		}
	}
	free(bytes);
	free(back);
	EXPECT_REGIONS(f, at, size, 3, );
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		MM_TEST(test_remap_keeps_every_byte),
	};

	return cmocka_run_group_tests_name("remap", tests, NULL, NULL);
}
