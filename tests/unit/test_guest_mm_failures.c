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
 * Whatever fails, wherever: the map is as it was.
 */

/* What plug_some() made is split and protected further, so that operations have much to do. */
#define MESS (40 * PAGE)

static void make_mess(struct fixture *f)
{
	plug_some(f);
	plug(f, BASE + 24 * PAGE, 8 * PAGE, GUEST_MM_READ);
	protect(f, BASE + 4 * PAGE, PAGE, GUEST_MM_READ);
	peek(f, BASE + 30 * PAGE);
	settle(f);
}

/* The read-only pages are read-only still, the others can be written. */
static void expect_mess(struct fixture *f, gpa_t base)
{
	struct writer held;

	expect_fill(f, base, 20 * PAGE, BASE);
	expect_fill(f, base + 32 * PAGE, 8 * PAGE, BASE + 32 * PAGE);
	expect_zeros(f, base + 20 * PAGE, 12 * PAGE);
	start_held(f, &held, base + 18 * PAGE + 16, 0);
	poke(f, base + 3 * PAGE, BASE + 3 * PAGE);
	poke(f, base + 33 * PAGE, BASE + 33 * PAGE);
	protect(f, base + 18 * PAGE, PAGE, GUEST_MM_RDWR);
	pthread_join(held.thread, NULL);
	protect(f, base + 18 * PAGE, PAGE, GUEST_MM_READ);
	start_held(f, &held, base + 4 * PAGE + 16, 0);
	protect(f, base + 4 * PAGE, PAGE, GUEST_MM_RDWR);
	pthread_join(held.thread, NULL);
	protect(f, base + 4 * PAGE, PAGE, GUEST_MM_READ);
}

struct attempt {
	const char *name;
	gpa_t gpa, to;
	uint64_t size_bytes;
	enum operation operation, undo;
	unsigned int prot;
};

static int try_once(struct fixture *f, const struct attempt *a, struct samara_error *err)
{
	switch (a->operation) {
	case PLUG:
		return guest_mm_plug(f->mm, a->gpa, a->size_bytes, a->prot, err);
	case UNPLUG:
		return guest_mm_unplug(f->mm, a->gpa, a->size_bytes, err);
	case PROTECT:
		return guest_mm_protect(f->mm, a->gpa, a->size_bytes, a->prot, err);
	case DISCARD:
		return guest_mm_discard(f->mm, a->gpa, a->size_bytes, err);
	default:
		return guest_mm_remap(f->mm, a->gpa, a->size_bytes, a->to, err);
	}
}

/*
 * The n-th of @calls fails, @times in a row, for every n until the operation succeeds without. Each
 * failure leaves listing, contents and protections as they were, and the next try is not disturbed.
 */
static void fail_everywhere(struct fixture *f, const struct attempt *a, unsigned int calls,
			    unsigned long times)
{
	/* Where even what was cut cannot be united again, it is the same map all the same. */
	bool alike = calls == INTERPOSE_MALLOC && times > 1;
	struct listing before = list(f);
	unsigned long nth, failed = 0;

	for (nth = 1; nth < 500; nth++) {
		struct samara_error err = {0};
		unsigned long hits;
		int ret;

		interpose_fail_nth(calls, nth, times, 0);
		ret = try_once(f, a, &err);
		hits = interpose_end();
		if (!ret)
			break; /* past the last, or a failure that could be coped with */
		if (!hits)
			fail_msg("%s: %s though nothing failed", a->name, err.text);
		failed++;
		assert_true(err.text[0]);
		if (alike) {
			struct listing want = united(before), now = united(list(f));

			assert_equal_listing(&now, &want);
		} else {
			assert_same(f, &before);
		}
		if (nth % 3 == 1)
			expect_mess(f, BASE);
	}
	if (nth == 500)
		fail_msg("%s fails for ever", a->name);
	print_message("%s: %lu failures undone\n", a->name, failed);
}

static void test_failures_are_undone(unsigned int calls, unsigned long times, struct fixture *f)
{
	const struct attempt attempts[] = {
		{"plug", BASE + 40 * PAGE, 0, 8 * PAGE, PLUG, UNPLUG, GUEST_MM_RDWR},
		{"protect", BASE + 2 * PAGE, 0, 33 * PAGE, PROTECT, 0, GUEST_MM_READ},
		{"unprotect", BASE + 2 * PAGE, 0, 33 * PAGE, PROTECT, 0, GUEST_MM_RDWR},
		{"remap", BASE + PAGE, BASE + 100 * PAGE, 38 * PAGE, REMAP, 0, 0},
		{"discard", BASE + 33 * PAGE, 0, 3 * PAGE, DISCARD, 0, 0},
		{"remap to another window", BASE, SECOND + 3 * PAGE, 40 * PAGE, REMAP, 0, 0},
		{"unplug", BASE + 2 * PAGE, 0, 33 * PAGE, UNPLUG, 0, 0},
	};

	for (unsigned int i = 0; i < sizeof(attempts) / sizeof(attempts[0]); i++) {
		struct listing now;

		make_mess(f);
		if (attempts[i].operation == PLUG) /* a stray page is in the way */
			poke(f, attempts[i].gpa + PAGE, 1);
		if (attempts[i].operation == REMAP)
			poke(f, attempts[i].to + PAGE, 1);
		fail_everywhere(f, &attempts[i], calls, times);
		if (attempts[i].operation == REMAP && attempts[i].size_bytes == MESS)
			expect_mess(f, attempts[i].to);
		now = list(f);
		for (unsigned int k = 0; k < now.count; k++)
			unplug(f, now.region[k].gpa, now.region[k].size_bytes);
		expect_true_accounting(f);
	}
}

static void test_each_allocation_fails(void **state)
{
	test_failures_are_undone(INTERPOSE_MALLOC, 1, *state);
}

static void test_no_memory_from_the_nth_on(void **state)
{
	test_failures_are_undone(INTERPOSE_MALLOC, 2, *state);
}

static void test_each_system_call_fails(void **state)
{
	test_failures_are_undone(INTERPOSE_MADVISE | INTERPOSE_FALLOCATE | INTERPOSE_COPY |
					 INTERPOSE_MOVE | INTERPOSE_PROTECT,
				 1, *state);
}

/* A page that cannot be moved is copied; where that fails too, all of it goes back. */
static void test_moves_fail(void **state)
{
	test_failures_are_undone(INTERPOSE_MOVE | INTERPOSE_COPY, 22, *state);
}

static void test_fault_without_memory(void **state)
{
	struct fixture *f = *state;

	plug(f, BASE, 64 * PAGE, GUEST_MM_RDWR);
	/* In all threads: the handlers meet it. Faults are late, none is lost. */
	interpose_fail_randomly(INTERPOSE_COPY | INTERPOSE_ZEROPAGE | INTERPOSE_MALLOC, 2);
	for (unsigned int i = 0; i < 64; i++)
		poke(f, BASE + i * PAGE, i + 1);
	for (unsigned int i = 0; i < 8; i++)
		assert_int_equal(peek(f, BASE + (100 + i) * PAGE), 0);
	interpose_fail_randomly(0, 0);
	assert_true(stats(f).fault_errors > 0);
	for (unsigned int i = 0; i < 64; i++)
		assert_int_equal(peek(f, BASE + i * PAGE), i + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		MM_TEST(test_each_allocation_fails),  MM_TEST(test_no_memory_from_the_nth_on),
		MM_TEST(test_each_system_call_fails), MM_TEST(test_moves_fail),
		MM_TEST(test_fault_without_memory),
	};

	return cmocka_run_group_tests_name("failures of guest memory operations", tests, NULL,
					   NULL);
}
