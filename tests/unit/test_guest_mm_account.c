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
 * What is populated, discarded and given back.
 */

/* ---- Population and accounting --------------------------------------------------------------- */

static void test_accounting(void **state)
{
	struct fixture *f = *state;
	struct samara_error err;

	plug_some(f);
	expect_true_accounting(f);
	poke(f, BASE + 28 * PAGE, 1); /* stray */
	plug(f, SECOND, 100 * PAGE, GUEST_MM_READ);
	peek(f, SECOND + 50 * PAGE);
	expect_true_accounting(f);
	ok(guest_mm_populate(f->mm, SECOND + PAGE, 98 * PAGE, &err), &err);
	assert_int_equal(stats(f).populated_bytes, (24 + 8 + 98) * PAGE);
	expect_true_accounting(f);
	remap(f, SECOND + 20 * PAGE, 50 * PAGE, BASE + 200 * PAGE);
	expect_true_accounting(f);
	remap(f, BASE + 3 * PAGE, 20 * PAGE, BASE + 300 * PAGE);
	expect_true_accounting(f);
	unplug(f, BASE + 210 * PAGE, 10 * PAGE);
	expect_true_accounting(f);
	assert_int_equal(stats(f).plugged_bytes, (16 + 8 + 8 + 100 - 10) * PAGE);
	assert_int_equal(stats(f).windows, 4);
}

/* Populating: all of it, over several regions, read-only ones too; nobody waits afterwards. */
static void test_populate(void **state)
{
	struct fixture *f = *state;
	struct samara_error err;
	uint64_t faults;

	plug_some(f);
	plug(f, BASE + 24 * PAGE, 8 * PAGE, GUEST_MM_RDWR);
	ok(guest_mm_populate(f->mm, BASE, 40 * PAGE, &err), &err);
	assert_int_equal(stats(f).populated_bytes, 40 * PAGE);
	faults = stats(f).faults;
	expect_some(f);
	expect_zeros(f, BASE + 24 * PAGE, 8 * PAGE);
	assert_int_equal(stats(f).faults, faults);
	ok(guest_mm_populate(f->mm, BASE, 40 * PAGE, &err), &err);
	expect_error(f, POPULATE, BASE + 30 * PAGE, 20 * PAGE, -ENOENT, "0x100028000");
}

static uint64_t resident_bytes(void)
{
	unsigned long size, pages = 0;
	FILE *file = fopen("/proc/self/statm", "r");

	assert_non_null(file);
	assert_int_equal(fscanf(file, "%lu %lu", &size, &pages), 2);
	fclose(file);
	return pages * PAGE;
}

static void test_unplug_gives_memory_back(void **state)
{
	struct fixture *f = *state;
	const uint64_t size = UINT64_C(48) << 20;
	uint64_t before, full;
	struct samara_error err;

	plug(f, BASE, size, GUEST_MM_RDWR);
	before = resident_bytes();
	ok(guest_mm_populate(f->mm, BASE, size, &err), &err);
	full = resident_bytes();
	assert_true(full > before + size / 2);
	unplug(f, BASE, size);
	assert_true(resident_bytes() < full - size / 2);
	assert_int_equal(stats(f).populated_bytes, 0);
}

/* ---- Discard --------------------------------------------------------------------------------- */

static void discard(struct fixture *f, gpa_t gpa, uint64_t size_bytes)
{
	struct samara_error err;

	ok(guest_mm_discard(f->mm, gpa, size_bytes, &err), &err);
}

static void test_discard(void **state)
{
	struct fixture *f = *state;
	struct listing before;
	struct samara_error err;

	plug(f, BASE, 64 * PAGE, GUEST_MM_RDWR);
	plug(f, BASE + 80 * PAGE, 16 * PAGE, GUEST_MM_RDWR);
	fill(f, BASE, 64 * PAGE);
	protect(f, BASE + 60 * PAGE, 4 * PAGE, GUEST_MM_READ);
	before = list(f);
	discard(f, BASE + 5 * PAGE, PAGE);
	discard(f, BASE + 10 * PAGE, 20 * PAGE);
	discard(f, BASE + 80 * PAGE, 16 * PAGE); /* nothing was there */
	assert_int_equal(stats(f).populated_bytes, (64 - 21) * PAGE);
	expect_zeros(f, BASE + 5 * PAGE, PAGE);
	expect_zeros(f, BASE + 10 * PAGE, 20 * PAGE);
	expect_fill(f, BASE, 5 * PAGE, BASE);
	expect_fill(f, BASE + 6 * PAGE, 4 * PAGE, BASE + 6 * PAGE);
	expect_fill(f, BASE + 30 * PAGE, 34 * PAGE, BASE + 30 * PAGE);
	expect_true_accounting(f);
	assert_same(f, &before);
	/* What is read-only does not change. */
	assert_int_equal(guest_mm_discard(f->mm, BASE + 58 * PAGE, 4 * PAGE, &err), -EACCES);
	assert_non_null(strstr(err.text, "discard 0x10003a000+0x4000: "));
	assert_non_null(strstr(err.text, "read-only"));
	expect_fill(f, BASE + 30 * PAGE, 34 * PAGE, BASE + 30 * PAGE);
	assert_int_equal(stats(f).discards, 3);
}

/* A balloon: every page of a large region, one by one, out of order. */
static void test_discard_by_the_page(void **state)
{
	struct fixture *f = *state;
	const uint64_t pages = 4096;
	struct samara_error err;

	plug(f, BASE, pages * PAGE, GUEST_MM_RDWR);
	ok(guest_mm_populate(f->mm, BASE, pages * PAGE, &err), &err);
	for (uint64_t i = 0; i < pages; i++)
		discard(f, BASE + i * 1021 % pages * PAGE, PAGE);
	assert_int_equal(stats(f).populated_bytes, 0);
	assert_int_equal(stats(f).regions, 1);
	expect_true_accounting(f);
}

/* A page that is pinned does not go before the pin. */
static void test_discard_waits_for_pins(void **state)
{
	struct fixture *f = *state;
	struct worker worker = {
		.f = f, .operation = DISCARD, .gpa = BASE + 2 * PAGE, .size_bytes = PAGE};
	struct guest_mm_pin pin;

	plug(f, BASE, 8 * PAGE, GUEST_MM_RDWR);
	fill(f, BASE, 8 * PAGE);
	assert_int_equal(guest_mm_pin(f->mm, BASE + 2 * PAGE, 16, true, &pin), 0);
	start_operation(&worker);
	assert_int_equal(*(uint64_t *)pin.iov[0].iov_base, BASE + 2 * PAGE);
	guest_mm_unpin(&pin);
	pthread_join(worker.thread, NULL);
	assert_int_equal(worker.ret, 0);
	expect_zeros(f, BASE + 2 * PAGE, PAGE);
	expect_fill(f, BASE + 3 * PAGE, 5 * PAGE, BASE + 3 * PAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		MM_TEST(test_accounting),
		MM_TEST(test_populate),
		MM_TEST(test_unplug_gives_memory_back),
		MM_TEST(test_discard),
		MM_TEST(test_discard_by_the_page),
		MM_TEST(test_discard_waits_for_pins),
	};

	return cmocka_run_group_tests_name("accounting of guest memory", tests, NULL, NULL);
}
