/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mm/lock.h"
#include "tests/lib/interpose.h"
#include "tests/lib/mm_fixture.h"

/*
 * Making a guest memory manager, its windows, and what operations refuse.
 */

/* ---- Making one ------------------------------------------------------------------------------ */

static void test_create(void **state)
{
	struct guest_mm_config odd = {.fault_around_pages = 3},
			       huge = {.fault_around_pages = 1u << 31};
	struct samara_error err = {0};
	struct guest_mm *mm;

	(void)state;
	guest_mm_destroy(NULL);
	assert_int_equal(guest_mm_create(&odd, &mm, &err), -EINVAL);
	assert_non_null(strstr(err.text, "fault_around_pages 3 "));
	assert_int_equal(guest_mm_create(&huge, &mm, NULL), -EINVAL);
	for (unsigned long nth = 1;; nth++) {
		int ret;

		interpose_fail_nth(INTERPOSE_MALLOC | INTERPOSE_MMAP, nth, 1, 0);
		ret = guest_mm_create(NULL, &mm, &err);
		if (!interpose_end()) {
			assert_int_equal(ret, 0);
			break;
		}
		assert_int_equal(ret, -ENOMEM);
		assert_true(err.text[0]);
	}
	guest_mm_destroy(mm);
}

static void test_windows(void **state)
{
	struct guest_mm_window window;
	struct samara_error err = {0};
	struct guest_mm *mm;

	(void)state;
	assert_int_equal(guest_mm_create(NULL, &mm, &err), 0);
	assert_int_equal(guest_mm_get_window(mm, 0, &window), -ENOENT);
	assert_int_equal(guest_mm_get_window(mm, UINT32_MAX, &window), -ENOENT);
	assert_int_equal(guest_mm_add_window(mm, 0x1001, PAGE, GUEST_MM_ANON, &err), -EINVAL);
	assert_non_null(strstr(err.text, "window 0x1001+0x1000: "));
	assert_int_equal(guest_mm_add_window(mm, 0x1000, PAGE + 1, GUEST_MM_ANON, &err), -EINVAL);
	assert_int_equal(guest_mm_add_window(mm, 0x1000, 0, GUEST_MM_ANON, &err), -EINVAL);
	assert_int_equal(guest_mm_add_window(mm, 0 - PAGE, 2 * PAGE, GUEST_MM_ANON, &err), -EINVAL);
	for (unsigned int i = 0; i < 8; i++)
		assert_int_equal(guest_mm_add_window(mm, (i + 1) * 0x10000, 0x8000,
						     i & 1 ? GUEST_MM_MEMFD : GUEST_MM_ANON, &err),
				 0);
	assert_int_equal(guest_mm_add_window(mm, 0x17000, PAGE, GUEST_MM_ANON, &err), -EEXIST);
	assert_non_null(strstr(err.text, "0x10000"));
	assert_int_equal(guest_mm_add_window(mm, 0x1000, 0x20000, GUEST_MM_ANON, &err), -EEXIST);
	assert_int_equal(guest_mm_add_window(mm, 0x100000, PAGE, GUEST_MM_ANON, &err), -ENOSPC);
	for (unsigned int i = 0; i < 8; i++) {
		assert_int_equal(guest_mm_get_window(mm, i, &window), 0);
		assert_int_equal(window.gpa, (i + 1) * 0x10000);
		assert_int_equal(window.size_bytes, 0x8000);
		assert_int_equal(window.fd >= 0, i & 1);
		assert_int_equal(window.backing, i & 1 ? GUEST_MM_MEMFD : GUEST_MM_ANON);
	}
	assert_int_equal(guest_mm_get_window(mm, 8, &window), -ENOENT);
	guest_mm_destroy(mm);
}

/* ---- Errors ---------------------------------------------------------------------------------- */

static void test_bad_ranges(void **state)
{
	struct fixture *f = *state;

	plug_some(f);
	for (enum operation o = PLUG; o < OPERATIONS; o++) {
		expect_error(f, o, BASE + 64 * PAGE, 0, -EINVAL, "empty");
		expect_error(f, o, BASE + 64 * PAGE, PAGE + 8, -EINVAL, "aligned");
		if (o != REMAP) {
			expect_error(f, o, BASE + 64 * PAGE + 1, PAGE, -EINVAL, "aligned");
			expect_error(f, o, BASE, 0 - PAGE, -EINVAL, "end of the address space");
			expect_error(f, o, TOP + SMALL_BYTES - PAGE, 2 * PAGE, -EINVAL,
				     "end of the address space");
		}
		expect_error(f, o, 0, PAGE, -ERANGE, "window");
		expect_error(f, o, BASE - PAGE, PAGE, -ERANGE, "window");
		expect_error(f, o, BASE - PAGE, 2 * PAGE, -ERANGE, "window");
		expect_error(f, o, BASE + BASE_BYTES - PAGE, 2 * PAGE, -ERANGE, "window");
		expect_error(f, o, BASE + BASE_BYTES, PAGE, -ERANGE, "window");
	}
	for (enum operation o = UNPLUG; o < OPERATIONS; o++) {
		if (o == REMAP)
			continue;
		expect_error(f, o, BASE + 64 * PAGE, PAGE, -ENOENT, "0x100040000");
		expect_error(f, o, BASE + 23 * PAGE, 2 * PAGE, -ENOENT, "0x100018000");
		expect_error(f, o, BASE + 31 * PAGE, 2 * PAGE, -ENOENT, "0x10001f000");
		expect_error(f, o, BASE, 40 * PAGE, -ENOENT, "0x100018000");
		expect_error(f, o, BASE + 39 * PAGE, 2 * PAGE, -ENOENT, "0x100028000");
	}
	for (enum operation o = PLUG; o <= REMAP; o++) {
		if (o == UNPLUG)
			continue;
		expect_error(f, o, BASE + 35 * PAGE, PAGE, -EEXIST, "0x100020000+0x8000");
		expect_error(f, o, BASE + 31 * PAGE, 2 * PAGE, -EEXIST, "0x100020000+0x8000");
		expect_error(f, o, BASE + 39 * PAGE, 2 * PAGE, -EEXIST, "0x100020000+0x8000");
		expect_error(f, o, BASE + 31 * PAGE, 10 * PAGE, -EEXIST, "0x100020000+0x8000");
	}
	expect_some(f);
}

static void test_bad_arguments(void **state)
{
	struct fixture *f = *state;
	struct samara_error err = {0};
	struct listing before;

	plug_some(f);
	before = list(f);
	for (unsigned int prot = 0; prot < 8; prot++) {
		if (prot == GUEST_MM_READ || prot == GUEST_MM_RDWR)
			continue;
		assert_int_equal(guest_mm_plug(f->mm, BASE + 64 * PAGE, PAGE, prot, &err), -EINVAL);
		assert_non_null(strstr(err.text, "plug 0x100040000+0x1000: protection"));
		assert_int_equal(guest_mm_protect(f->mm, BASE, PAGE, prot, &err), -EINVAL);
	}
	/* Remap onto itself, and onto a window of another kind. */
	assert_int_equal(guest_mm_remap(f->mm, BASE, 8 * PAGE, BASE, &err), -EINVAL);
	assert_non_null(strstr(err.text, "overlaps"));
	assert_int_equal(guest_mm_remap(f->mm, BASE + 32 * PAGE, 8 * PAGE, BASE + 39 * PAGE, &err),
			 -EINVAL);
	assert_int_equal(guest_mm_remap(f->mm, BASE + 32 * PAGE, 8 * PAGE, BASE + 25 * PAGE, &err),
			 -EINVAL);
	assert_int_equal(guest_mm_remap(f->mm, BASE, 8 * PAGE, OTHER, &err), -EXDEV);
	assert_non_null(strstr(err.text, "remap 0x100000000+0x8000: "));
	assert_same(f, &before);
	expect_some(f);
}

/* ---- The listing ----------------------------------------------------------------------------- */

static int stop_at_second(const struct guest_mm_region *region, void *arg)
{
	unsigned int *count = arg;

	(void)region;
	return ++*count == 2 ? 4711 : 0;
}

static void test_listing_ends_early(void **state)
{
	struct fixture *f = *state;
	unsigned int count = 0;

	assert_int_equal(guest_mm_for_each_region(f->mm, stop_at_second, &count), 0);
	assert_int_equal(count, 0);
	plug_some(f);
	assert_int_equal(guest_mm_for_each_region(f->mm, stop_at_second, &count), 4711);
	assert_int_equal(count, 2);
}

static void test_fresh_counters(void **state)
{
	struct fixture *f = *state;
	struct guest_mm_stats s = stats(f);

	assert_string_equal(s.lock, lock_design);
	assert_int_equal(s.lock_success + s.lock_abort + s.lock_retry + s.lock_miss, 0);
	assert_int_equal(s.faults + s.pins + s.plugs + s.failed_operations, 0);
}

/*
 * A picture of one moment. A page moves between two places, a thousand regions apart: each listing
 * shows it somewhere. Were the regions of different moments, it could be nowhere: gone from behind
 * the walk's back to where it has been already.
 */
struct mover {
	struct fixture *f;
	uint32_t stop; /* atomic */
	pthread_t thread;
};

#define MOVES_FROM BASE
#define MOVES_TO   (BASE + 4096 * PAGE)

static void *mover_main(void *arg)
{
	struct mover *mover = arg;
	gpa_t at = MOVES_FROM, to = MOVES_TO;

	while (!load(&mover->stop)) {
		gpa_t was = at;

		if (guest_mm_remap(mover->f->mm, at, PAGE, to, NULL))
			continue;
		at = to;
		to = was;
	}
	return NULL;
}

struct sighting {
	unsigned int regions, seen, disorder;
	gpa_t behind;
};

static int look_for_it(const struct guest_mm_region *region, void *arg)
{
	struct sighting *sighting = arg;

	sighting->disorder += region->gpa < sighting->behind;
	sighting->behind = region->gpa + region->size_bytes;
	sighting->regions++;
	if (region->gpa == MOVES_FROM || region->gpa == MOVES_TO)
		sighting->seen |= region->locked ? 3 : 1;
	/* Give the other thread time, so that listings are of more than a moment. */
	if (sighting->regions % 100 == 0)
		sched_yield();
	return 0;
}

static void test_listing_is_of_one_moment(void **state)
{
	struct fixture *f = *state;
	struct mover mover = {.f = f};
	unsigned int nowhere = 0, odd = 0, disorder = 0;
	const unsigned int between = 1000;

	plug(f, MOVES_FROM, PAGE, GUEST_MM_RDWR);
	poke(f, MOVES_FROM, 1);
	for (uint64_t i = 0; i < between; i++)
		plug(f, BASE + (2 + 2 * i) * PAGE, PAGE, GUEST_MM_RDWR);
	pthread_create(&mover.thread, NULL, mover_main, &mover);
	for (unsigned int round = 0; round < 400; round++) {
		struct sighting sighting = {0};

		guest_mm_for_each_region(f->mm, look_for_it, &sighting);
		nowhere += !sighting.seen;
		/* At both places only while it is on its way. */
		odd += sighting.regions != between + 1 &&
		       !(sighting.regions == between + 2 && sighting.seen & 2);
		disorder += sighting.disorder;
	}
	__atomic_store_n(&mover.stop, 1, __ATOMIC_SEQ_CST);
	pthread_join(mover.thread, NULL);
	assert_int_equal(nowhere, 0);
	assert_int_equal(odd, 0);
	assert_int_equal(disorder, 0);
}

/* ---- The end of the address space ------------------------------------------------------------ */

static void test_last_byte_of_the_address_space(void **state)
{
	struct fixture *f = *state;
	const gpa_t last = 0 - PAGE;
	struct guest_mm_pin pin;
	struct samara_error err;

	plug(f, TOP, SMALL_BYTES, GUEST_MM_RDWR);
	EXPECT_REGIONS(f, TOP, SMALL_BYTES, 3, );
	for (gpa_t at = TOP; at != TOP + SMALL_BYTES; at += 64 * PAGE)
		fill(f, at, PAGE);
	fill(f, last, PAGE);
	assert_int_equal(peek(f, last + PAGE - 8), ~last);
	protect(f, last, PAGE, GUEST_MM_READ);
	EXPECT_REGIONS(f, TOP, SMALL_BYTES - PAGE, 3, last, PAGE, 1, );
	protect(f, last, PAGE, GUEST_MM_RDWR);
	EXPECT_REGIONS(f, TOP, SMALL_BYTES, 3, );
	ok(guest_mm_populate(f->mm, TOP, SMALL_BYTES, &err), &err);
	assert_int_equal(guest_mm_pin(f->mm, last - 5, PAGE + 5, true, &pin), 0);
	assert_int_equal(pin.iov[0].iov_len, PAGE + 5);
	guest_mm_unpin(&pin);
	remap(f, last, PAGE, SECOND);
	expect_fill(f, SECOND, PAGE, last);
	remap(f, SECOND, PAGE, last);
	expect_fill(f, last, PAGE, last);
	EXPECT_REGIONS(f, TOP, SMALL_BYTES, 3, );
	remap(f, TOP, SMALL_BYTES, BASE);
	expect_fill(f, BASE + SMALL_BYTES - PAGE, PAGE, last);
	remap(f, BASE, SMALL_BYTES, TOP);
	unplug(f, TOP, SMALL_BYTES);
	assert_int_equal(peek(f, last), 0);
	EXPECT_REGIONS(f, );
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_create),    cmocka_unit_test(test_windows),
		MM_TEST(test_fresh_counters),     MM_TEST(test_bad_ranges),
		MM_TEST(test_bad_arguments),      MM_TEST(test_last_byte_of_the_address_space),
		MM_TEST(test_listing_ends_early), MM_TEST(test_listing_is_of_one_moment),
	};

	return cmocka_run_group_tests_name("guest memory manager", tests, NULL, NULL);
}
