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

/* What is lent does not come back with its neighbours, until it is taken back or touched. */
static void test_lend(void **state)
{
	struct fixture *f = *state;
	struct samara_error err;

	plug(f, BASE, 64 * PAGE, GUEST_MM_RDWR);
	fill(f, BASE, 32 * PAGE);
	ok(guest_mm_lend(f->mm, BASE + 2 * PAGE, 12 * PAGE, &err), &err);
	ok(guest_mm_lend(f->mm, BASE + 20 * PAGE, 4 * PAGE, &err), &err);
	assert_int_equal(stats(f).populated_bytes, 16 * PAGE);
	discard(f, BASE, 32 * PAGE);
	/* Between the two: they bound what comes. */
	expect_zeros(f, BASE + 16 * PAGE, PAGE);
	assert_int_equal(stats(f).populated_bytes, 4 * PAGE);
	expect_zeros(f, BASE + 15 * PAGE, PAGE);
	assert_int_equal(stats(f).populated_bytes, 6 * PAGE);
	expect_zeros(f, BASE, PAGE);
	assert_int_equal(stats(f).populated_bytes, 8 * PAGE);
	/* A guest may touch it without a word. */
	expect_zeros(f, BASE + 5 * PAGE, PAGE);
	assert_int_equal(stats(f).populated_bytes, 9 * PAGE);
	guest_mm_take_back(f->mm, 0, -PAGE);
	expect_zeros(f, BASE + 12 * PAGE, PAGE);
	assert_in_range(stats(f).populated_bytes, 17 * PAGE, 24 * PAGE);
	expect_true_accounting(f);
	/* Only so much, and only what is there. */
	ok(guest_mm_lend(f->mm, BASE, 8 * PAGE, &err), &err);
	guest_mm_take_back(f->mm, BASE + 4 * PAGE, 2 * PAGE);
	guest_mm_take_back(f->mm, BASE, 0);
	guest_mm_take_back(f->mm, -PAGE, 2 * PAGE);
	discard(f, BASE, 64 * PAGE);
	expect_zeros(f, BASE + 4 * PAGE, PAGE);
	assert_int_equal(stats(f).populated_bytes, 2 * PAGE);
	/* Memory that is new is lent to nobody. */
	unplug(f, BASE, 64 * PAGE);
	plug(f, BASE, 64 * PAGE, GUEST_MM_RDWR);
	expect_zeros(f, BASE, PAGE);
	assert_int_equal(stats(f).populated_bytes, 16 * PAGE);
	assert_int_equal(guest_mm_lend(f->mm, BASE + 60 * PAGE, 8 * PAGE, &err), -ENOENT);
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

/* ---- The limit and usage --------------------------------------------------------------------- */

static void test_limit(void **state)
{
	struct fixture *f = *state;
	struct samara_error err;
	struct guest_mm_op ops[2] = {
		{.op = GUEST_MM_OP_PLUG,
		 .gpa = BASE + 40 * PAGE,
		 .size_bytes = 4 * PAGE,
		 .prot = 3},
		{.op = GUEST_MM_OP_PLUG, .gpa = SECOND, .size_bytes = 8 * PAGE, .prot = 3},
	};

	plug(f, BASE, 32 * PAGE, GUEST_MM_RDWR);
	assert_int_equal(guest_mm_set_limit(f->mm, 31 * PAGE, &err), -EDQUOT);
	assert_non_null(strstr(err.text, "131072 are plugged already"));
	ok(guest_mm_set_limit(f->mm, 40 * PAGE, &err), &err);
	assert_int_equal(stats(f).limit_bytes, 40 * PAGE);
	assert_int_equal(guest_mm_plug(f->mm, SECOND, 9 * PAGE, GUEST_MM_RDWR, &err), -EDQUOT);
	assert_non_null(strstr(err.text, "plug 0x200000000+0x9000: the limit is 163840 bytes"));
	/* Together they are too many: neither is plugged. */
	assert_int_equal(guest_mm_batch(f->mm, ops, 2, &err), -EDQUOT);
	EXPECT_REGIONS(f, BASE, 32 * PAGE, 3, );
	plug(f, SECOND, 8 * PAGE, GUEST_MM_RDWR);
	/* Neither populating nor moving is plugging. */
	ok(guest_mm_populate(f->mm, BASE, 32 * PAGE, &err), &err);
	remap(f, SECOND, 8 * PAGE, BASE + 50 * PAGE);
	assert_int_equal(guest_mm_plug(f->mm, SECOND, PAGE, GUEST_MM_RDWR, &err), -EDQUOT);
	unplug(f, BASE, PAGE);
	plug(f, SECOND, PAGE, GUEST_MM_RDWR);
	assert_int_equal(stats(f).plugged_bytes, 40 * PAGE);
	/* What failed half-way is not counted. */
	ok(guest_mm_set_limit(f->mm, 48 * PAGE, &err), &err);
	for (unsigned long nth = 1; nth < 4; nth++) {
		int ret;

		poke(f, BASE + 200 * PAGE, 1);
		interpose_fail_nth(INTERPOSE_ALL & ~INTERPOSE_ZEROPAGE, nth, 1, 0);
		ret = guest_mm_plug(f->mm, BASE + 200 * PAGE, PAGE, GUEST_MM_RDWR, &err);
		interpose_end();
		if (!ret)
			unplug(f, BASE + 200 * PAGE, PAGE);
	}
	plug(f, BASE + 200 * PAGE, 8 * PAGE, GUEST_MM_RDWR);
	ok(guest_mm_set_limit(f->mm, UINT64_MAX, &err), &err);
	plug(f, BASE + 300 * PAGE, 8 * PAGE, GUEST_MM_RDWR);
}

static void test_usage(void **state)
{
	struct fixture *f = *state;
	bool shared = f->mode->backing == GUEST_MM_MEMFD;
	struct guest_mm_usage usage;
	struct samara_error err;

	plug(f, BASE, 64 * PAGE, GUEST_MM_RDWR);
	plug(f, OTHER, 16 * PAGE, GUEST_MM_RDWR);
	ok(guest_mm_populate(f->mm, BASE, 32 * PAGE, &err), &err);
	ok(guest_mm_populate(f->mm, OTHER, 4 * PAGE, &err), &err);
	discard(f, BASE + 8 * PAGE, 4 * PAGE);
	discard(f, BASE + 40 * PAGE, 2 * PAGE);
	ok(guest_mm_get_usage(f->mm, 0, -PAGE, &usage, &err), &err);
	assert_int_equal(usage.regions, 2);
	assert_int_equal(usage.plugged_pages, 80);
	assert_int_equal(usage.populated_pages, 28 + 4);
	assert_int_equal(usage.shared_pages, shared ? 28 : 4);
	assert_int_equal(usage.discarded_pages, 6);
	assert_int_equal(list(f).region[0].discarded_pages, 6);
	ok(guest_mm_get_usage(f->mm, BASE + 10 * PAGE, 4 * PAGE, &usage, &err), &err);
	assert_int_equal(usage.plugged_pages, 4);
	assert_int_equal(usage.populated_pages, 2);
	assert_int_equal(usage.discarded_pages, 2);
	/* Discarded no more: populated again, moved, unplugged. */
	ok(guest_mm_populate(f->mm, BASE + 8 * PAGE, 2 * PAGE, &err), &err);
	remap(f, BASE + 40 * PAGE, PAGE, SECOND);
	ok(guest_mm_get_usage(f->mm, SECOND, PAGE, &usage, &err), &err);
	assert_int_equal(usage.discarded_pages, 1);
	ok(guest_mm_get_usage(f->mm, BASE, 64 * PAGE, &usage, &err), &err);
	assert_int_equal(usage.discarded_pages, 3);
	unplug(f, BASE + 10 * PAGE, PAGE);
	plug(f, BASE + 10 * PAGE, PAGE, GUEST_MM_RDWR);
	ok(guest_mm_get_usage(f->mm, BASE, 64 * PAGE, &usage, &err), &err);
	assert_int_equal(usage.discarded_pages, 2);
	assert_int_equal(guest_mm_get_usage(f->mm, BASE, 0, &usage, &err), -EINVAL);
	assert_int_equal(guest_mm_get_usage(f->mm, -PAGE, 2 * PAGE, &usage, &err), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		MM_TEST(test_accounting),
		MM_TEST(test_populate),
		MM_TEST(test_unplug_gives_memory_back),
		MM_TEST(test_discard),
		MM_TEST(test_lend),
		MM_TEST(test_discard_by_the_page),
		MM_TEST(test_discard_waits_for_pins),
		MM_TEST(test_limit),
		MM_TEST(test_usage),
	};

	return cmocka_run_group_tests_name("accounting of guest memory", tests, NULL, NULL);
}
