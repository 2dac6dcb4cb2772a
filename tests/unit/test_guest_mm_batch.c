/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/lib/interpose.h"
#include "tests/lib/mm_fixture.h"

/*
 * Several operations as one: all, or nothing.
 */

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Plugged: 64 pages at BASE, of which 16 to 24 are read-only; all are filled. */
static void prepare(struct fixture *f)
{
	plug(f, BASE, 64 * PAGE, GUEST_MM_RDWR);
	fill(f, BASE, 64 * PAGE);
	protect(f, BASE + 16 * PAGE, 8 * PAGE, GUEST_MM_READ);
	settle(f);
}

/* One of each, all in one region or beside it. */
static const struct guest_mm_memory own = {.kind = GUEST_MM_MEMORY_OWN};
static struct guest_mm_memory in_file = {.kind = GUEST_MM_MEMORY_FILE};
static const struct guest_mm_op list_of_all[] = {
	{.op = GUEST_MM_OP_PLUG, .gpa = BASE + 64 * PAGE, .size_bytes = 8 * PAGE, .prot = 3},
	{.op = GUEST_MM_OP_UNPLUG, .gpa = BASE + 2 * PAGE, .size_bytes = 4 * PAGE},
	{.op = GUEST_MM_OP_REMAP,
	 .gpa = BASE + 14 * PAGE,
	 .size_bytes = 6 * PAGE,
	 .new_gpa = SECOND + PAGE},
	{.op = GUEST_MM_OP_DISCARD, .gpa = BASE + 6 * PAGE, .size_bytes = 2 * PAGE},
	{.op = GUEST_MM_OP_PROTECT, .gpa = BASE + 30 * PAGE, .size_bytes = 4 * PAGE, .prot = 1},
	{.op = GUEST_MM_OP_PROTECT, .gpa = BASE + 20 * PAGE, .size_bytes = 4 * PAGE, .prot = 3},
	{.op = GUEST_MM_OP_REBACK,
	 .gpa = BASE + 40 * PAGE,
	 .size_bytes = 4 * PAGE,
	 .memory = &in_file},
	{.op = GUEST_MM_OP_DISCARD, .gpa = BASE + 50 * PAGE, .size_bytes = PAGE},
};

static void expect_all_done(struct fixture *f)
{
	struct writer held;

	EXPECT_REGIONS(f, BASE, 2 * PAGE, 3, BASE + 6 * PAGE, 8 * PAGE, 3, BASE + 20 * PAGE,
		       10 * PAGE, 3, BASE + 30 * PAGE, 4 * PAGE, 1, BASE + 34 * PAGE, 38 * PAGE, 3,
		       SECOND + PAGE, 2 * PAGE, 3, SECOND + 3 * PAGE, 4 * PAGE, 1, );
	expect_fill(f, BASE, 2 * PAGE, BASE);
	expect_zeros(f, BASE + 6 * PAGE, 2 * PAGE);
	expect_fill(f, BASE + 8 * PAGE, 6 * PAGE, BASE + 8 * PAGE);
	expect_fill(f, SECOND + PAGE, 6 * PAGE, BASE + 14 * PAGE);
	expect_fill(f, BASE + 20 * PAGE, 30 * PAGE, BASE + 20 * PAGE);
	expect_zeros(f, BASE + 50 * PAGE, PAGE);
	expect_fill(f, BASE + 51 * PAGE, 13 * PAGE, BASE + 51 * PAGE);
	expect_zeros(f, BASE + 64 * PAGE, 8 * PAGE);
	poke(f, BASE + 20 * PAGE, 1);
	poke(f, SECOND + PAGE, 1);
	start_held(f, &held, BASE + 30 * PAGE, 1);
	guest_mm_let_go(f->mm);
	pthread_join(held.thread, NULL);
	assert_int_equal(guest_mm_hold_again(f->mm, NULL), 0);
}

static void test_batch(void **state)
{
	struct fixture *f = *state;
	struct samara_error err;
	uint64_t word;

	in_file.fd = memfd_create("test", MFD_CLOEXEC);
	assert_int_equal(ftruncate(in_file.fd, 4 * PAGE), 0);
	prepare(f);
	ok(guest_mm_batch(f->mm, list_of_all, COUNT(list_of_all), &err), &err);
	expect_all_done(f);
	assert_int_equal(pread(in_file.fd, &word, 8, 2 * PAGE), 8);
	assert_int_equal(word, BASE + 42 * PAGE);
	assert_int_equal(stats(f).plugs, 2);
	assert_int_equal(stats(f).discards, 2);
	assert_int_equal(stats(f).rebacks, 1);
	ok(guest_mm_batch(f->mm, NULL, 0, &err), &err);
	close(in_file.fd);
}

static void test_batch_is_refused(void **state)
{
	struct fixture *f = *state;
	struct guest_mm_op ops[4] = {
		{.op = GUEST_MM_OP_PROTECT, .gpa = BASE, .size_bytes = 4 * PAGE, .prot = 1},
		{.op = GUEST_MM_OP_DISCARD, .gpa = BASE + 4 * PAGE, .size_bytes = 4 * PAGE},
		{.op = GUEST_MM_OP_REMAP,
		 .gpa = BASE + 8 * PAGE,
		 .size_bytes = 4 * PAGE,
		 .new_gpa = SECOND},
		{.op = GUEST_MM_OP_UNPLUG, .gpa = BASE + 64 * PAGE, .size_bytes = PAGE},
	};
	struct samara_error err;
	struct listing before;

	prepare(f);
	before = list(f);
	/* The last cannot be done, so none is. */
	assert_int_equal(guest_mm_batch(f->mm, ops, 4, &err), -ENOENT);
	assert_non_null(strstr(err.text, "unplug 0x100040000+0x1000: "));
	assert_same(f, &before);
	/* Two that touch the same page: as ranges, as a target. */
	ops[3] = (struct guest_mm_op){
		.op = GUEST_MM_OP_UNPLUG, .gpa = BASE + 11 * PAGE, .size_bytes = 4 * PAGE};
	assert_int_equal(guest_mm_batch(f->mm, ops, 4, &err), -EINVAL);
	assert_non_null(strstr(err.text, "unplug 0x10000b000+0x4000: overlaps remap 0x100008000"));
	ops[3] = (struct guest_mm_op){
		.op = GUEST_MM_OP_PLUG, .gpa = SECOND + 3 * PAGE, .size_bytes = PAGE, .prot = 3};
	assert_int_equal(guest_mm_batch(f->mm, ops, 4, &err), -EINVAL);
	assert_non_null(strstr(err.text, "overlaps remap to "));
	ops[3] = (struct guest_mm_op){.op = (enum guest_mm_op_kind)17, .gpa = BASE};
	assert_int_equal(guest_mm_batch(f->mm, ops, 4, &err), -EINVAL);
	ops[3] = (struct guest_mm_op){
		.op = GUEST_MM_OP_REBACK, .gpa = BASE + 32 * PAGE, .size_bytes = PAGE};
	assert_int_equal(guest_mm_batch(f->mm, ops, 4, &err), -EINVAL);
	assert_int_equal(guest_mm_batch(f->mm, ops, GUEST_MM_BATCH_MAX + 1, &err), -E2BIG);
	assert_same(f, &before);
	expect_fill(f, BASE, 64 * PAGE, BASE);
	assert_int_equal(stats(f).protects, 4); /* prepare()'s, with its settle() */
}

/* Huge pages and a node's are had in a batch, too; where they cannot be, nothing else is done. */
static void test_pages_in_a_batch(void **state)
{
	const uint64_t huge_bytes = UINT64_C(2) << 20, pages = huge_bytes / PAGE;
	const struct guest_mm_memory huge = {.kind = GUEST_MM_MEMORY_HUGE};
	const struct guest_mm_memory nowhere = {.kind = GUEST_MM_MEMORY_NODE, .node = 1023};
	struct guest_mm_memory node = {.kind = GUEST_MM_MEMORY_NODE};
	struct guest_mm_op ops[] = {
		{.op = GUEST_MM_OP_REBACK,
		 .gpa = BASE + huge_bytes,
		 .size_bytes = huge_bytes,
		 .memory = &huge},
		{.op = GUEST_MM_OP_REBACK, .gpa = BASE, .size_bytes = 64 * PAGE, .memory = &node},
		{.op = GUEST_MM_OP_DISCARD, .gpa = BASE + 64 * PAGE, .size_bytes = PAGE},
	};
	struct fixture *f = *state;
	struct guest_mm_usage usage;
	struct listing before;
	struct samara_error err;
	int ret;

	plug(f, BASE, 2 * huge_bytes, GUEST_MM_RDWR);
	fill(f, BASE, 65 * PAGE);
	for (uint64_t i = 0; i < pages; i += 32) /* a page here and there */
		fill(f, BASE + huge_bytes + i * PAGE, PAGE);
	before = list(f);
	ops[1].memory = &nowhere;
	assert_int_equal(guest_mm_batch(f->mm, &ops[1], 2, &err), -ENODEV);
	assert_non_null(strstr(err.text, "reback 0x100000000+0x40000: "));
	assert_same(f, &before);
	expect_fill(f, BASE, 65 * PAGE, BASE);
	ops[1].memory = &node;
	ret = guest_mm_batch(f->mm, ops, COUNT(ops), &err);
	expect_fill(f, BASE, 64 * PAGE, BASE);
	for (uint64_t i = 0; i < pages; i += 32)
		expect_fill(f, BASE + huge_bytes + i * PAGE, PAGE, BASE + huge_bytes + i * PAGE);
	if (f->mode->backing != GUEST_MM_ANON) {
		assert_int_equal(ret, -EOPNOTSUPP);
		expect_fill(f, BASE + 64 * PAGE, PAGE, BASE + 64 * PAGE);
		return;
	}
	if (ret) {
		print_message("# SKIP the host makes no huge pages: %s\n", err.text);
		skip();
	}
	expect_zeros(f, BASE + 64 * PAGE, PAGE);
	ok(guest_mm_get_usage(f->mm, BASE + huge_bytes, huge_bytes, &usage, &err), &err);
	assert_int_equal(usage.huge_pages, pages);
	assert_int_equal(stats(f).rebacks, 2);
	EXPECT_REGIONS(f, BASE, 2 * huge_bytes, 3, );
	protect(f, BASE + huge_bytes, PAGE, GUEST_MM_READ);
	before = list(f);
	assert_int_equal(guest_mm_batch(f->mm, ops, COUNT(ops), &err), -EACCES);
	assert_same(f, &before);
}

/* A thousand single pages. */
static void test_large_batch(void **state)
{
	struct guest_mm_op *ops = calloc(GUEST_MM_BATCH_MAX, sizeof(*ops));
	struct fixture *f = *state;
	struct samara_error err;

	plug(f, BASE, 4096 * PAGE, GUEST_MM_RDWR);
	ok(guest_mm_populate(f->mm, BASE, 4096 * PAGE, &err), &err);
	for (uint64_t i = 0; i < GUEST_MM_BATCH_MAX; i++)
		ops[i] =
			(struct guest_mm_op){.op = i % 2 ? GUEST_MM_OP_DISCARD : GUEST_MM_OP_UNPLUG,
					     .gpa = BASE + (i * 1021 % 2048) * 2 * PAGE,
					     .size_bytes = PAGE};
	ok(guest_mm_batch(f->mm, ops, GUEST_MM_BATCH_MAX, &err), &err);
	assert_int_equal(stats(f).plugged_bytes, (4096 - 512) * PAGE);
	assert_int_equal(stats(f).populated_bytes, (4096 - 1024) * PAGE);
	for (uint64_t i = 0; i < GUEST_MM_BATCH_MAX; i++)
		ops[i].op = i % 2 ? GUEST_MM_OP_UNPLUG : GUEST_MM_OP_PLUG, ops[i].prot = 3;
	ok(guest_mm_batch(f->mm, ops, GUEST_MM_BATCH_MAX, &err), &err);
	unplug(f, BASE + PAGE, PAGE);
	assert_int_equal(stats(f).plugged_bytes, (4096 - 513) * PAGE);
	free(ops);
}

/* Unplug everything, and have the window's own memory behind what was rebacked. */
static void clear(struct fixture *f)
{
	struct listing now = list(f);

	for (unsigned int i = 0; i < now.count; i++)
		unplug(f, now.region[i].gpa, now.region[i].size_bytes);
	plug(f, BASE + 40 * PAGE, 4 * PAGE, GUEST_MM_RDWR);
	assert_int_equal(guest_mm_reback(f->mm, BASE + 40 * PAGE, 4 * PAGE, &own, NULL), 0);
	unplug(f, BASE + 40 * PAGE, 4 * PAGE);
}

/* After a failure: contents, and what can be written. */
static void expect_nothing_done(struct fixture *f, const struct listing *before, bool cut)
{
	struct listing now = list(f), want = *before;

	if (cut) {
		want = united(want);
		now = united(now);
	}
	assert_equal_listing(&now, &want);
	expect_fill(f, BASE, 64 * PAGE, BASE);
	poke(f, BASE + 2 * PAGE, BASE + 2 * PAGE);
	poke(f, BASE + 14 * PAGE, BASE + 14 * PAGE);
	poke(f, BASE + 31 * PAGE, BASE + 31 * PAGE);
	poke(f, BASE + 41 * PAGE, BASE + 41 * PAGE);
}

/* The n-th call fails, whichever: nothing is done, or all of it is. */
static void fail_everywhere(struct fixture *f, unsigned int calls, unsigned long times)
{
	unsigned long nth, failed = 0, coped = 0, hits = 1;
	struct listing before;

	in_file.fd = memfd_create("test", MFD_CLOEXEC);
	assert_int_equal(ftruncate(in_file.fd, 4 * PAGE), 0);
	prepare(f);
	before = list(f);
	for (nth = 1; hits && nth < 500; nth++) {
		struct samara_error err = {0};
		int ret;

		poke(f, BASE + 70 * PAGE, 1);
		interpose_fail_nth(calls, nth, times, 0);
		ret = guest_mm_batch(f->mm, list_of_all, COUNT(list_of_all), &err);
		hits = interpose_end();
		if (ret) {
			assert_true(hits && err.text[0]);
			failed++;
			expect_nothing_done(f, &before, times > 1);
			continue;
		}
		coped += hits > 0;
		settle(f); /* unites what could not be for want of memory */
		expect_all_done(f);
		clear(f);
		expect_true_accounting(f);
		prepare(f);
	}
	assert_true(failed > 0 && nth < 500);
	print_message("%lu failures undone, %lu coped with\n", failed, coped);
	clear(f);
	close(in_file.fd);
}

static void test_batch_without_memory(void **state)
{
	fail_everywhere(*state, INTERPOSE_MALLOC, 1);
	fail_everywhere(*state, INTERPOSE_MALLOC, 3);
}

static void test_batch_where_system_calls_fail(void **state)
{
	fail_everywhere(*state, INTERPOSE_ALL & ~INTERPOSE_MALLOC & ~INTERPOSE_ZEROPAGE, 1);
	fail_everywhere(*state, INTERPOSE_COPY | INTERPOSE_MOVE | INTERPOSE_PROTECT, 22);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		MM_TEST(test_batch),
		MM_TEST(test_batch_is_refused),
		MM_TEST(test_pages_in_a_batch),
		MM_TEST(test_large_batch),
		MM_TEST(test_batch_without_memory),
		MM_TEST(test_batch_where_system_calls_fail),
	};

	return cmocka_run_group_tests_name("batches", tests, NULL, NULL);
}
