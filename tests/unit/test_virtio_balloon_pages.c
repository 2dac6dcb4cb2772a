/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include <linux/virtio_mmio.h>

#include "tests/lib/balloon_guest.h"

/* Pages that a guest gives up: into the balloon and out of it, and as free pages that it reports. */

static uint64_t populated(struct balloon_guest *f)
{
	struct guest_mm_stats s;

	guest_mm_get_stats(f->guest.mm, &s);
	return s.populated_bytes;
}

/* What the host has for the guest's pages. */
static uint64_t host_bytes(struct balloon_guest *f)
{
	static unsigned char present[RAM_BYTES / PAGE];
	uint64_t bytes = 0;
	struct stat file;

	if (f->guest.window.fd >= 0) {
		fstat(f->guest.window.fd, &file);
		return file.st_blocks * UINT64_C(512);
	}
	assert_int_equal(mincore(f->guest.window.hva, RAM_BYTES, present), 0);
	for (size_t i = 0; i < sizeof(present); i++)
		bytes += present[i] & 1 ? PAGE : 0;
	return bytes;
}

/* ---- Inflate and deflate ----------------------------------------------------------------------- */

static void test_inflate(void **state)
{
	struct balloon_guest *f = *state;
	static const unsigned int pages[] = {7, 3, 4, 5, 4, 100, 63, 62, 64, 0};
	unsigned int distinct = 9;
	uint32_t numbers[10];
	uint64_t before, host;

	balloon_guest_start(f, ALL, 0);
	balloon_guest_fill(f, 0, 128);
	memset(guest_at(&f->guest, LIST), 0, PAGE);
	before = populated(f);
	host = host_bytes(f);
	for (unsigned int i = 0; i < 10; i++)
		numbers[i] = PFN(PAGES) + pages[i];
	balloon_guest_send_pages(f, INFLATE, numbers, 10);
	/* Back on the host, to the page. */
	assert_int_equal(before - populated(f), distinct * PAGE);
	assert_int_equal(host - host_bytes(f), distinct * PAGE);
	for (unsigned int i = 0; i < 128; i++) {
		bool kept = true;

		for (unsigned int j = 0; j < 10; j++)
			kept &= pages[j] != i;
		balloon_guest_expect_page(f, i, kept);
	}
	assert_int_equal(balloon_guest_state_of(f).inflated_pages, 10);
	assert_int_equal(balloon_guest_state_of(f).wild_pages, 0);
	balloon_guest_send_pages(f, DEFLATE, numbers, 10);
	assert_int_equal(balloon_guest_state_of(f).deflated_pages, 10);
	balloon_guest_fill(f, 0, 128);
	balloon_guest_expect_page(f, 3, true);
	assert_int_equal(f->reports, 0);
}

static uint64_t populated_of(struct balloon_guest *f, unsigned int first, unsigned int count)
{
	struct guest_mm_usage usage;
	struct samara_error err;

	assert_int_equal(
		guest_mm_get_usage(f->guest.mm, PAGES + first * PAGE, count * PAGE, &usage, &err),
		0);
	return usage.populated_pages;
}

/* What is in the balloon does not come back because the guest uses what lies beside it. */
static void test_neighbours(void **state)
{
	struct balloon_guest *f = *state;
	uint32_t numbers[4];

	balloon_guest_start(f, ALL, 0);
	for (unsigned int i = 0; i < 4; i++)
		numbers[i] = PFN(PAGES) + 208 + i;
	balloon_guest_send_pages(f, INFLATE, numbers, 4);
	balloon_guest_fill(f, 207, 1);
	balloon_guest_fill(f, 212, 1);
	assert_in_range(populated_of(f, 212, 4), 1, 4);
	assert_int_equal(populated_of(f, 208, 4), 0);
	balloon_guest_send_pages(f, DEFLATE, numbers, 4);
	balloon_guest_fill(f, 210, 1);
	assert_int_equal(populated_of(f, 208, 4), 4);
	/* After a reset the guest has all of it. */
	balloon_guest_send_pages(f, INFLATE, numbers, 4);
	virtio_device_reset(virtio_balloon_device(f->balloon));
	balloon_guest_fill(f, 209, 1);
	assert_int_equal(populated_of(f, 208, 4), 4);
}

/* Far more than are looked at at a time, in one list, and in a packed ring. */
static void test_inflate_many(void **state)
{
	struct balloon_guest *f = *state;
	static uint32_t numbers[3000];
	uint64_t before;

	balloon_guest_start(f, ALL | BIT(VIRTIO_F_RING_PACKED), 0);
	balloon_guest_fill(f, 0, 3001);
	memset(guest_at(&f->guest, LIST), 0, sizeof(numbers));
	before = populated(f);
	for (unsigned int i = 0; i < 3000; i++)
		numbers[i] = PFN(PAGES) + (i * 7) % 3000;
	balloon_guest_send_pages(f, INFLATE, numbers, 3000);
	assert_int_equal(before - populated(f), 3000 * PAGE);
	balloon_guest_expect_page(f, 3000, true);
	/* Again: there is nothing any more, and that is no mistake. */
	balloon_guest_send_pages(f, INFLATE, numbers, 3000);
	assert_int_equal(balloon_guest_state_of(f).wild_pages, 0);
}

#define SCATTERED 32768u /* ranges of a page, each with a page that stays beside it */
#ifdef SAMARA_DEBUG
#define ROUNDS 1u /* sanitizers make each ten times as slow */
#else
#define ROUNDS 8u
#endif

static uint64_t *word_of(struct balloon_guest *f, unsigned int page)
{
	return guest_at(&f->guest, PAGES + (gpa_t)page * PAGE);
}

/* Hundreds of thousands of ranges: each is back on the host, its neighbours stay as they were. */
static void test_inflate_scattered(void **state)
{
	struct balloon_guest *f = *state;
	static uint32_t numbers[SCATTERED];
	unsigned int i, round, wrong;
	uint64_t before, host;

	balloon_guest_start(f, ALL, 0);
	memset(guest_at(&f->guest, LIST), 0, sizeof(numbers));
	for (round = 0; round < ROUNDS; round++) {
		for (i = 0; i < 2 * SCATTERED; i++)
			*word_of(f, i) = (uint64_t)round << 32 | (i + 1);
		before = populated(f);
		host = host_bytes(f);
		for (i = 0; i < SCATTERED; i++)
			numbers[i] = PFN(PAGES) + 2 * i + round % 2;
		balloon_guest_send_pages(f, INFLATE, numbers, SCATTERED);
		assert_int_equal(before - populated(f), SCATTERED * PAGE);
		assert_int_equal(host - host_bytes(f), SCATTERED * PAGE);
		for (i = 0, wrong = 0; i < SCATTERED; i++) {
			unsigned int page = 2 * i + (round + 1) % 2;

			wrong += *word_of(f, page) != ((uint64_t)round << 32 | (page + 1));
		}
		assert_int_equal(wrong, 0);
	}
	assert_int_equal(balloon_guest_state_of(f).inflated_pages, ROUNDS * SCATTERED);
	assert_int_equal(balloon_guest_state_of(f).wild_pages, 0);
}

static void test_wild_pages(void **state)
{
	struct balloon_guest *f = *state;
	const uint32_t numbers[] = {
		0,
		UINT32_MAX,
		PFN(BASE) - 1,
		PFN(BASE + RAM_BYTES), /* of the window, not plugged */
		PFN(BASE + BASE_BYTES) - 1,
		PFN(BASE + BASE_BYTES),
		PFN(BASE + RAM_BYTES) - 1, /* a good one, and its neighbour is not */
		PFN(PAGES) + 1,            /* a good one */
	};

	balloon_guest_start(f, ALL, 0);
	balloon_guest_fill(f, 0, 4);
	balloon_guest_send_pages(f, INFLATE, numbers, 8);
	assert_int_equal(balloon_guest_state_of(f).wild_pages, 6);
	assert_int_equal(balloon_guest_state_of(f).kept_pages, 0);
	balloon_guest_expect_page(f, 0, true);
	balloon_guest_expect_page(f, 1, false);
	balloon_guest_expect_page(f, 2, true);
	balloon_guest_send_pages(f, INFLATE, numbers, 8);
	assert_int_equal(balloon_guest_state_of(f).wild_pages, 12);
	/* Told once, with the address. */
	assert_int_equal(f->reports, 1);
	assert_non_null(strstr(f->report, "balloon: the driver names pages where there is no "
					  "memory, the first at 0"));
	/* What it wants to have back need not have been there. */
	balloon_guest_send_pages(f, DEFLATE, numbers, 8);
	assert_false(balloon_guest_needs_reset(f));
}

static void test_odd_lists(void **state)
{
	struct balloon_guest *f = *state;
	uint32_t numbers[] = {PFN(PAGES), PFN(PAGES) + 1};
	const struct driver_buffer writable = {LIST, 8, true},
				   nowhere = {BASE + RAM_BYTES, 8, false};

	balloon_guest_start(f, ALL, 0);
	balloon_guest_fill(f, 0, 2);
	/* A number and a half. */
	balloon_guest_send(f, INFLATE, numbers, 6);
	balloon_guest_wait_used(f, INFLATE);
	balloon_guest_expect_page(f, 0, false);
	balloon_guest_expect_page(f, 1, true);
	/* None. */
	balloon_guest_send(f, INFLATE, numbers, 3);
	balloon_guest_wait_used(f, INFLATE);
	driver_add(&f->queues[INFLATE], &writable, 1, 0);
	balloon_guest_notify(f);
	balloon_guest_wait_used(f, INFLATE);
	balloon_guest_expect_page(f, 1, true);
	driver_add(&f->queues[INFLATE], &nowhere, 1, 0);
	balloon_guest_notify(f);
	balloon_guest_expect_needs_reset(f);
	balloon_guest_start(f, ALL, 0);
	balloon_guest_send_pages(f, INFLATE, numbers, 2);
	balloon_guest_expect_page(f, 1, false);
}

/* ---- Reports ----------------------------------------------------------------------------------- */

static void report(struct balloon_guest *f)
{
	const struct driver_buffer buffers[] = {
		{PAGES, 2 * PAGE, true},
		{PAGES + 4 * PAGE + 1, 3 * PAGE, true},    /* two pages as a whole */
		{PAGES + 9 * PAGE, PAGE - 1, true},        /* none */
		{BASE + RAM_BYTES - PAGE, 2 * PAGE, true}, /* over the end of memory */
		{UINT64_MAX - PAGE + 1, PAGE, true},
		{PAGES + 12 * PAGE, PAGE, true},
	};

	balloon_guest_fill(f, 0, 16);
	driver_add(&f->queues[REPORTS], buffers, 6, 0);
	balloon_guest_notify(f);
	balloon_guest_wait_used(f, REPORTS);
}

static void test_reports(void **state)
{
	struct balloon_guest *f = *state;
	static const bool kept[16] = {
		[2] = true,  [3] = true,  [4] = true,  [7] = true,  [8] = true,  [9] = true,
		[10] = true, [11] = true, [13] = true, [14] = true, [15] = true,
	};

	balloon_guest_start(f, ALL, 0x55);
	report(f);
	for (unsigned int i = 0; i < 16; i++)
		balloon_guest_expect_page(f, i, kept[i]);
	assert_int_equal(balloon_guest_state_of(f).reported_pages, 5);
	assert_int_equal(balloon_guest_state_of(f).wild_pages, 2);
	assert_int_equal(f->reports, 1);
	/* Poisoned by zeros: the same. */
	balloon_guest_start(f, ALL | BIT(VIRTIO_BALLOON_F_PAGE_POISON), 0);
	report(f);
	balloon_guest_expect_page(f, 0, false);
	/* By anything else, the driver counts on it. */
	balloon_guest_start(f, ALL | BIT(VIRTIO_BALLOON_F_PAGE_POISON), 0xaaaaaaaa);
	report(f);
	for (unsigned int i = 0; i < 16; i++)
		balloon_guest_expect_page(f, i, true);
	assert_int_equal(balloon_guest_state_of(f).reported_pages, 10);
}

/* ---- Work that is left ------------------------------------------------------------------------- */

static void pause_device(struct balloon_guest *f)
{
	virtio_device_pause(virtio_balloon_device(f->balloon));
}

/* The worker has come upon a wild page, and goes on when somebody waits for it. */
static void wait_held(struct balloon_guest *f)
{
	while (!__atomic_load_n(&f->reports, __ATOMIC_SEQ_CST))
		usleep(100);
}

static void expect_not_used(struct balloon_guest *f, unsigned int queue)
{
	uint32_t id, length;

	usleep(20000);
	assert_false(driver_take(&f->queues[queue], &id, &length));
}

#define LEFT 3000u

/* A list whose first number is wild, and the others not. */
static void send_left(struct balloon_guest *f, uint64_t features)
{
	static uint32_t numbers[LEFT];

	f->hold = true;
	balloon_guest_start(f, features, 0);
	balloon_guest_fill(f, 0, LEFT);
	for (unsigned int i = 1; i < LEFT; i++)
		numbers[i] = PFN(PAGES) + i;
	balloon_guest_send(f, INFLATE, numbers, sizeof(numbers));
	wait_held(f);
}

/* Whoever stops the VM does not wait until a list is done, and the driver does till it is. */
static void test_pause_in_list(void **state)
{
	struct balloon_guest *f = *state;
	uint32_t number = PFN(PAGES);
	uint64_t taken;

	for (unsigned int round = 0; round < 2; round++) {
		__atomic_store_n(&f->reports, 0, __ATOMIC_SEQ_CST);
		send_left(f, round ? ALL | BIT(VIRTIO_F_RING_PACKED) : ALL);
		pause_device(f);
		taken = balloon_guest_state_of(f).inflated_pages;
		assert_in_range(taken, 1, LEFT - 1);
		expect_not_used(f, INFLATE);
		assert_int_equal(balloon_guest_state_of(f).inflated_pages, taken);
		balloon_guest_expect_page(f, 1, false);
		balloon_guest_expect_page(f, LEFT - 1, true);
		virtio_device_resume(virtio_balloon_device(f->balloon));
		balloon_guest_wait_used(f, INFLATE);
		/* Each number once. */
		assert_int_equal(balloon_guest_state_of(f).inflated_pages, LEFT);
		assert_int_equal(balloon_guest_state_of(f).wild_pages, 1);
		balloon_guest_expect_page(f, LEFT - 1, false);
		balloon_guest_send_pages(f, INFLATE, &number, 1);
		assert_int_equal(balloon_guest_state_of(f).inflated_pages, LEFT + 1);
		balloon_guest_expect_page(f, 0, false);
		/* What it tells of, it tells of once. */
		virtio_balloon_destroy(f->balloon);
		balloon_guest_create(f);
	}
}

/* Nor does who resets it; the next driver's list begins at its start. */
static void test_reset_in_list(void **state)
{
	struct balloon_guest *f = *state;
	uint32_t numbers[] = {PFN(PAGES) + LEFT - 1, PFN(PAGES) + LEFT - 2};
	uint64_t taken;

	send_left(f, ALL);
	driver_write(&f->mmio, VIRTIO_MMIO_STATUS, 0);
	taken = balloon_guest_state_of(f).inflated_pages;
	assert_in_range(taken, 1, LEFT - 1);
	expect_not_used(f, INFLATE);
	balloon_guest_start(f, ALL, 0);
	balloon_guest_expect_page(f, LEFT - 1, true);
	balloon_guest_send_pages(f, INFLATE, numbers, 2);
	assert_int_equal(balloon_guest_state_of(f).inflated_pages, taken + 2);
	balloon_guest_expect_page(f, LEFT - 1, false);
	balloon_guest_expect_page(f, LEFT - 2, false);
}

/* A list may be as long as a driver likes: it holds nobody up. */
static void test_endless_list(void **state)
{
	struct balloon_guest *f = *state;
	const uint64_t offset = UINT64_C(32) << 20; /* zeros: wild */
	const struct driver_buffer endless = {BASE + offset, RAM_BYTES - offset, false};

	for (unsigned int queue = INFLATE; queue <= DEFLATE; queue++) {
		balloon_guest_start(f, ALL, 0);
		driver_add(&f->queues[queue], &endless, 1, 0);
		balloon_guest_notify(f);
		while (!(queue == INFLATE ? balloon_guest_state_of(f).inflated_pages
					  : balloon_guest_state_of(f).deflated_pages)) {
			assert_false(balloon_guest_needs_reset(f));
			usleep(100);
		}
	}
	pause_device(f);
	virtio_device_resume(virtio_balloon_device(f->balloon));
	assert_false(balloon_guest_needs_reset(f));
}

/* A report of ranges that take long is left after a GiB, and goes on there. */
static void test_pause_in_report(void **state)
{
	struct balloon_guest *f = *state;
	const struct driver_buffer buffers[] = {
		{PAGE, UINT32_MAX - PAGE + 1, true}, /* 4 GiB but for a page; BASE is behind it */
		{PAGES, 4 * PAGE, true},
	};

	f->hold = true;
	balloon_guest_start(f, ALL, 0);
	balloon_guest_fill(f, 0, 8);
	driver_add(&f->queues[REPORTS], buffers, 2, 0);
	balloon_guest_notify(f);
	wait_held(f);
	pause_device(f);
	assert_int_equal(balloon_guest_state_of(f).wild_pages, (UINT32_C(1) << 18) - 1);
	assert_int_equal(balloon_guest_state_of(f).reported_pages, 0);
	expect_not_used(f, REPORTS);
	balloon_guest_expect_page(f, 0, true);
	virtio_device_resume(virtio_balloon_device(f->balloon));
	balloon_guest_wait_used(f, REPORTS);
	assert_int_equal(balloon_guest_state_of(f).wild_pages, (UINT32_C(1) << 20) - 1);
	assert_int_equal(balloon_guest_state_of(f).reported_pages, 4);
	balloon_guest_expect_page(f, 3, false);
	balloon_guest_expect_page(f, 4, true);
}

int main(void)
{
	static enum guest_mm_backing memfd = GUEST_MM_MEMFD;
#define WITH_GUEST(test) \
	cmocka_unit_test_setup_teardown(test, balloon_guest_setup, balloon_guest_teardown)
	const struct CMUnitTest tests[] = {
		WITH_GUEST(test_inflate),
		{"test_inflate_memfd", test_inflate, balloon_guest_setup, balloon_guest_teardown,
		 &memfd},
		WITH_GUEST(test_neighbours),
		WITH_GUEST(test_inflate_many),
		WITH_GUEST(test_inflate_scattered),
		{"test_inflate_scattered_memfd", test_inflate_scattered, balloon_guest_setup,
		 balloon_guest_teardown, &memfd},
		WITH_GUEST(test_wild_pages),
		WITH_GUEST(test_odd_lists),
		WITH_GUEST(test_reports),
		{"test_reports_memfd", test_reports, balloon_guest_setup, balloon_guest_teardown,
		 &memfd},
		WITH_GUEST(test_pause_in_list),
		WITH_GUEST(test_reset_in_list),
		WITH_GUEST(test_endless_list),
		WITH_GUEST(test_pause_in_report),
	};

	return cmocka_run_group_tests_name("virtio_balloon_pages", tests, NULL, NULL);
}
