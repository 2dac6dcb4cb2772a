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
 * Faults: on nothing, on what is read-only, and on what is missing.
 */

/* ---- Accesses to nothing --------------------------------------------------------------------- */

/* In GUEST_MM_STRAY_MS; far more only where the machine is busy with something else. */
static void expect_forgotten(const struct fixture *f, gpa_t gpa)
{
	for (unsigned int i = 0; i < 6000 && peek(f, gpa); i++)
		sleep_ms(GUEST_MM_STRAY_MS);
	assert_int_equal(peek(f, gpa), 0);
}

static unsigned int nothing_reports(const struct fixture *f)
{
	return __atomic_load_n(&f->nothing_reports, __ATOMIC_ACQUIRE);
}

static void test_stray(void **state)
{
	struct fixture *f = *state;
	struct guest_mm_stats before = stats(f), after;

	plug(f, BASE, PAGE, GUEST_MM_RDWR);
	fill(f, BASE, PAGE);
	assert_int_equal(peek(f, BASE + PAGE + 8), 0);
	do
		after = stats(f); /* counted after the access goes on */
	while (after.last_nothing_gpa == before.last_nothing_gpa);
	/* More than one where the page was forgotten before the access got on. */
	assert_true(after.faults_nothing > before.faults_nothing);
	assert_int_equal(after.last_nothing_gpa & ~(PAGE - 1), BASE + PAGE);
	for (unsigned int i = 0; i < 6000 && !nothing_reports(f); i++)
		sleep_ms(GUEST_MM_STRAY_MS);
	assert_int_equal(f->first_nothing & ~(PAGE - 1), BASE + PAGE);
	poke(f, BASE + 10 * PAGE, 77);
	expect_forgotten(f, BASE + 10 * PAGE);
	assert_int_equal(stats(f).populated_bytes, PAGE);
	/* Many more than there are stray pages at once. */
	for (uint64_t i = 20; i < 400; i++) {
		poke(f, BASE + i * PAGE, 5);
		assert_true(peek(f, BASE + i * PAGE) == 5 || peek(f, BASE + i * PAGE) == 0);
	}
	for (uint64_t i = 20; i < 400; i++)
		expect_forgotten(f, BASE + i * PAGE);
	/* After an unplug as well, and the old contents are not there. */
	unplug(f, BASE, PAGE);
	assert_int_equal(peek(f, BASE), 0);
	assert_int_equal(guest_mm_read(f->mm, BASE, &after, 8), -EFAULT);
	/* All are counted, the first one is told of. */
	assert_true(stats(f).faults_nothing >= 380);
	assert_int_equal(nothing_reports(f), 1);
}

/* A stray page never becomes a region's: what was written to nothing is not there, what is written
 * to the region stays, whenever the stray page would have expired. */
static void test_plug_over_stray(void **state)
{
	struct fixture *f = *state;

	for (unsigned int round = 0; round < 30; round++) {
		gpa_t at = BASE + round * 4 * PAGE, from = SECOND + round * 4 * PAGE;

		poke(f, at + PAGE, 0xbad);
		plug(f, at, 4 * PAGE, GUEST_MM_RDWR);
		expect_zeros(f, at, 4 * PAGE);
		fill(f, at, 4 * PAGE);
		/* The same for the target of a remap. */
		poke(f, from + 2 * PAGE, 0xbad);
		remap(f, at, 4 * PAGE, from);
		expect_fill(f, from, 4 * PAGE, at);
		poke(f, at, 0xbad);
		if (round % 8 == 7)
			sleep_ms(3 * GUEST_MM_STRAY_MS);
		expect_fill(f, from, 4 * PAGE, at);
	}
	sleep_ms(3 * GUEST_MM_STRAY_MS);
	for (unsigned int round = 0; round < 30; round++)
		expect_fill(f, SECOND + round * 4 * PAGE, 4 * PAGE, BASE + round * 4 * PAGE);
}

/* ---- Protection ------------------------------------------------------------------------------ */

static void prepare_read_only(struct fixture *f)
{
	plug(f, BASE, 8 * PAGE, GUEST_MM_RDWR);
	fill(f, BASE, 4 * PAGE); /* fault-around brings all eight */
	protect(f, BASE, 8 * PAGE, GUEST_MM_READ);
}

static void test_protect_holds_writers(void **state)
{
	struct fixture *f = *state;
	struct writer writer, missing;

	prepare_read_only(f);
	start_held(f, &writer, BASE + PAGE, 99);
	expect_fill(f, BASE, 4 * PAGE, BASE); /* readers go on */
	sleep_ms(20);
	assert_int_equal(load(&writer.done), 0);
	assert_int_equal(peek(f, BASE + PAGE), BASE + PAGE);
	/* Operations elsewhere do not let it through, nor do strays. */
	plug(f, BASE + 64 * PAGE, PAGE, GUEST_MM_RDWR);
	poke(f, BASE + 80 * PAGE, 1);
	sleep_ms(20);
	assert_int_equal(load(&writer.done), 0);
	protect(f, BASE, 8 * PAGE, GUEST_MM_RDWR);
	pthread_join(writer.thread, NULL);
	assert_int_equal(peek(f, BASE + PAGE), 99);
	/* A page that is not there yet is brought in read-only. */
	plug(f, BASE + 16 * PAGE, 4 * PAGE, GUEST_MM_READ);
	start_held(f, &missing, BASE + 17 * PAGE, 98);
	expect_zeros(f, BASE + 16 * PAGE, 4 * PAGE);
	protect(f, BASE + 17 * PAGE, PAGE, GUEST_MM_RDWR);
	pthread_join(missing.thread, NULL);
	assert_int_equal(peek(f, BASE + 17 * PAGE), 98);
}

/* A write to what is read-only meets an operation, is put aside, then held: it is counted as both. */
static void test_held_after_deferred(void **state)
{
	struct fixture *f = *state;
	struct worker worker = {.f = f, .operation = PROTECT, .gpa = BASE, .size_bytes = 16 * PAGE};
	struct guest_mm_pin pin;
	struct writer writer;

	prepare_read_only(f);
	plug(f, BASE + 8 * PAGE, 8 * PAGE, GUEST_MM_RDWR);
	assert_int_equal(guest_mm_pin(f->mm, BASE + 9 * PAGE, 1, false, &pin), 0);
	start_operation(&worker);
	start_held(f, &writer, BASE + PAGE, 99);
	for (unsigned int i = 0; i < 60000 && !stats(f).faults_deferred; i++)
		sleep_ms(1);
	assert_int_equal(stats(f).faults_held, 0);
	guest_mm_unpin(&pin);
	pthread_join(worker.thread, NULL);
	for (unsigned int i = 0; i < 60000 && !stats(f).faults_held; i++)
		sleep_ms(1);
	assert_int_equal(stats(f).faults_held, 1);
	/* It is tried after each operation: once is enough. */
	plug(f, BASE + 64 * PAGE, PAGE, GUEST_MM_RDWR);
	sleep_ms(20);
	assert_int_equal(stats(f).faults_held, 1);
	assert_int_equal(load(&writer.done), 0);
	protect(f, BASE, 4 * PAGE, GUEST_MM_RDWR);
	pthread_join(writer.thread, NULL);
	assert_int_equal(peek(f, BASE + PAGE), 99);
}

static void test_let_go_releases_held(void **state)
{
	struct fixture *f = *state;
	struct writer writer;

	prepare_read_only(f);
	start_held(f, &writer, BASE + PAGE, 99);
	guest_mm_let_go(f->mm);
	pthread_join(writer.thread, NULL);
	assert_int_equal(peek(f, BASE + PAGE), 99);
	poke(f, BASE + 2 * PAGE, 98); /* nor is a later one held */
	assert_int_equal(peek(f, BASE + 2 * PAGE), 98);
	assert_int_equal(guest_mm_hold_again(f->mm, NULL), 0);
	start_held(f, &writer, BASE + PAGE, 97);
	assert_int_equal(peek(f, BASE + PAGE), 99);
	protect(f, BASE, 8 * PAGE, GUEST_MM_RDWR);
	pthread_join(writer.thread, NULL);
}

static void test_unplug_releases_held(void **state)
{
	struct fixture *f = *state;
	struct writer writer;

	prepare_read_only(f);
	start_held(f, &writer, BASE + PAGE, 99);
	unplug(f, BASE, 8 * PAGE);
	pthread_join(writer.thread, NULL);
	/* It wrote into nothing. */
	plug(f, BASE, 8 * PAGE, GUEST_MM_RDWR);
	expect_zeros(f, BASE, 8 * PAGE);
}

static void test_remap_releases_held(void **state)
{
	struct fixture *f = *state;
	struct writer writer, again;

	prepare_read_only(f);
	start_held(f, &writer, BASE + PAGE, 99);
	remap(f, BASE, 8 * PAGE, BASE + 64 * PAGE);
	pthread_join(writer.thread, NULL);
	expect_fill(f, BASE + 64 * PAGE, 4 * PAGE, BASE);
	EXPECT_REGIONS(f, BASE + 64 * PAGE, 8 * PAGE, 1, );
	/* At the new place it is read-only as before: what was there and what is faulted in. */
	start_held(f, &again, BASE + 65 * PAGE, 99);
	sleep_ms(5);
	assert_int_equal(load(&again.done), 0);
	assert_int_equal(peek(f, BASE + 65 * PAGE), BASE + PAGE);
	protect(f, BASE + 64 * PAGE, 8 * PAGE, GUEST_MM_RDWR);
	pthread_join(again.thread, NULL);
	assert_int_equal(peek(f, BASE + 65 * PAGE), 99);
}

/* Two regions of different protection move together; each stays what it was. */
static void test_remap_keeps_protection(void **state)
{
	struct fixture *f = *state;
	struct writer held;

	plug(f, BASE, 64 * PAGE, GUEST_MM_RDWR);
	fill(f, BASE, 24 * PAGE);
	protect(f, BASE + 8 * PAGE, 30 * PAGE, GUEST_MM_READ);
	remap(f, BASE + 4 * PAGE, 50 * PAGE, SECOND + PAGE);
	EXPECT_REGIONS(f, BASE, 4 * PAGE, 3, BASE + 54 * PAGE, 10 * PAGE, 3, SECOND + PAGE,
		       4 * PAGE, 3, SECOND + 5 * PAGE, 30 * PAGE, 1, SECOND + 35 * PAGE, 16 * PAGE,
		       3, );
	expect_fill(f, SECOND + PAGE, 20 * PAGE, BASE + 4 * PAGE);
	poke(f, SECOND + PAGE, 1);
	poke(f, SECOND + 40 * PAGE, 1);
	start_held(f, &held, SECOND + 5 * PAGE, 5); /* moved */
	protect(f, SECOND + 5 * PAGE, PAGE, GUEST_MM_RDWR);
	pthread_join(held.thread, NULL);
	start_held(f, &held, SECOND + 34 * PAGE, 5); /* faulted in */
	protect(f, SECOND + 34 * PAGE, PAGE, GUEST_MM_RDWR);
	pthread_join(held.thread, NULL);
}

/* ---- The fault entry ------------------------------------------------------------------------- */

static void test_fault(void **state)
{
	struct fixture *f = *state;
	struct worker worker = {.f = f, .operation = UNPLUG, .gpa = BASE, .size_bytes = 8 * PAGE};
	struct guest_mm_pin pin;

	plug_some(f);
	assert_int_equal(guest_mm_fault(f->mm, 0, 0), -ERANGE);
	assert_int_equal(guest_mm_fault(f->mm, BASE + 5, 0), GUEST_MM_FAULT_DONE);
	assert_int_equal(guest_mm_fault(f->mm, BASE + 22 * PAGE, GUEST_MM_FAULT_NOWAIT),
			 GUEST_MM_FAULT_DONE);
	assert_int_equal(guest_mm_fault(f->mm, BASE + 17 * PAGE,
					GUEST_MM_FAULT_WRITE | GUEST_MM_FAULT_PROTECT),
			 GUEST_MM_FAULT_HELD);
	assert_int_equal(
		guest_mm_fault(f->mm, BASE + PAGE, GUEST_MM_FAULT_WRITE | GUEST_MM_FAULT_PROTECT),
		GUEST_MM_FAULT_DONE);
	assert_int_equal(guest_mm_fault(f->mm, BASE + 28 * PAGE + 3, 0), GUEST_MM_FAULT_NOTHING);
	assert_int_equal(stats(f).last_nothing_gpa, BASE + 28 * PAGE + 3);
	assert_int_equal(guest_mm_pin(f->mm, BASE, 1, false, &pin), 0);
	start_operation(&worker);
	if (strcmp(stats(f).lock, "single"))
		assert_int_equal(guest_mm_fault(f->mm, BASE, GUEST_MM_FAULT_NOWAIT),
				 GUEST_MM_FAULT_BUSY);
	guest_mm_unpin(&pin);
	assert_true(guest_mm_fault(f->mm, BASE, 0) >= 0); /* waits, if it is quick enough */
	pthread_join(worker.thread, NULL);
	assert_int_equal(worker.ret, 0);
	assert_int_equal(guest_mm_fault(f->mm, BASE, 0), GUEST_MM_FAULT_NOTHING);
}

/* One fault for one block, and no page of it counted twice. */
static void test_fault_counters(void **state)
{
	struct fixture *f = *state;

	plug(f, BASE, 256 * PAGE, GUEST_MM_RDWR);
	for (unsigned int i = 0; i < 256; i++)
		poke(f, BASE + i * PAGE, 1);
	settle(f);
	assert_int_equal(stats(f).fault_pages, 256);
	while (stats(f).faults < 16) /* counted last of all */
		sleep_ms(1);
	assert_int_equal(stats(f).faults_nothing, 0);
	assert_int_equal(stats(f).faults_held, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		MM_TEST(test_stray),
		MM_TEST(test_plug_over_stray),
		MM_TEST(test_protect_holds_writers),
		MM_TEST(test_held_after_deferred),
		MM_TEST(test_let_go_releases_held),
		MM_TEST(test_unplug_releases_held),
		MM_TEST(test_remap_releases_held),
		MM_TEST(test_remap_keeps_protection),
		MM_TEST(test_fault),
		MM_TEST(test_fault_counters),
	};

	return cmocka_run_group_tests_name("stage-2 faults", tests, NULL, NULL);
}
