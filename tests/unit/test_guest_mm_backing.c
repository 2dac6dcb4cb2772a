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
 * What is behind guest memory.
 */

static void test_memfd_is_shared(void **state)
{
	struct fixture *f = *state;
	unsigned int w = f->mode->backing == GUEST_MM_MEMFD ? 0 : 2;
	gpa_t base = f->window[w].gpa;
	volatile uint64_t *other;

	other = mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, f->window[w].fd, 0);
	assert_true(other != MAP_FAILED);
	plug(f, base, 8 * PAGE, GUEST_MM_RDWR);
	fill(f, base, 8 * PAGE);
	assert_int_equal(other[0], base);
	assert_int_equal(other[3 * PAGE / 8], base + 3 * PAGE);
	other[PAGE / 8 + 1] = 4711;
	assert_int_equal(peek(f, base + PAGE + 8), 4711);
	remap(f, base, 8 * PAGE, base + 32 * PAGE);
	assert_int_equal(other[33 * PAGE / 8], base + PAGE);
	assert_int_equal(peek(f, base + 33 * PAGE + 8), 4711);
	unplug(f, base + 32 * PAGE, 8 * PAGE);
	assert_int_equal(other[33 * PAGE / 8], 0);
	/* What another process left where nothing is plugged does not become memory. */
	other[10 * PAGE / 8] = 666;
	other[41 * PAGE / 8] = 666;
	plug(f, base + 8 * PAGE, 8 * PAGE, GUEST_MM_RDWR);
	expect_zeros(f, base + 8 * PAGE, 8 * PAGE);
	fill(f, base + 8 * PAGE, 8 * PAGE);
	remap(f, base + 8 * PAGE, 8 * PAGE, base + 40 * PAGE);
	expect_fill(f, base + 40 * PAGE, 8 * PAGE, base + 8 * PAGE);
	munmap((void *)(uintptr_t)other, 64 * PAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		MM_TEST(test_memfd_is_shared),
	};

	return cmocka_run_group_tests_name("backing of guest memory", tests, NULL, NULL);
}
