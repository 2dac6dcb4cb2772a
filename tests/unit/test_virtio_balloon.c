/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include <linux/virtio_balloon.h>
#include <linux/virtio_mmio.h>

#include "devices/virtio_balloon_internal.h"
#include "tests/lib/virtio_driver.h"

/* A balloon as a guest's driver uses it, on memory whose pages are counted. */

#define BASE       UINT64_C(0x100000000)
#define BASE_BYTES (UINT64_C(512) << 20)
#define RAM_BYTES  (UINT64_C(272) << 20) /* plugged */
#define RING(n)    (BASE + 0x10000 * (gpa_t)(n))
#define LIST       (BASE + 0x100000) /* what the driver says */
#define PAGES      (BASE + (UINT64_C(16) << 20))
#define PAGE       SAMARA_PAGE_BYTES
#define PFN(gpa)   ((uint32_t)((gpa) >> SAMARA_PAGE_SHIFT))

#define BIT(n)     (UINT64_C(1) << (n))
#define ALL                                                                            \
	(BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_BALLOON_F_STATS_VQ) |                    \
	 BIT(VIRTIO_BALLOON_F_DEFLATE_ON_OOM) | BIT(VIRTIO_BALLOON_F_FREE_PAGE_HINT) | \
	 BIT(VIRTIO_BALLOON_F_REPORTING))

enum {
	INFLATE,
	DEFLATE,
	STATS,
	HINTS,
	REPORTS,
	QUEUES
};

struct fixture {
	struct guest guest;
	struct virtio_balloon *balloon;
	struct virtio_mmio mmio;
	struct driver_queue queues[QUEUES];
	int irq_fd;
	uint32_t reports; /* atomic */
	char report[256];
	bool hold;        /* the worker, when it reports, until it is waited for */
	uint64_t changed; /* atomic */
	uint32_t changes; /* atomic: how often it did */
	unsigned int hints;
	struct chain_segment hint[16];
	unsigned int overs, completes;
};

static void note_report(void *arg, const char *line)
{
	struct fixture *f = arg;

	snprintf(f->report, sizeof(f->report), "%s", line);
	__atomic_fetch_add(&f->reports, 1, __ATOMIC_SEQ_CST);
	for (unsigned int ms = 0; f->hold && ms < 60000; ms++) {
		if (virtio_device_stopping(virtio_balloon_device(f->balloon)))
			break;
		usleep(1000);
	}
}

static void note_change(void *arg, uint64_t actual_bytes)
{
	struct fixture *f = arg;

	__atomic_fetch_add(&f->changes, 1, __ATOMIC_SEQ_CST);
	__atomic_store_n(&f->changed, actual_bytes, __ATOMIC_SEQ_CST);
}

static int create(struct fixture *f)
{
	struct virtio_balloon_setup config = {
		.name = "balloon",
		.mm = f->guest.mm,
		.irq = {f->irq_fd},
		.packed = true,
		.deflate_on_oom = true,
		.reporting = true,
		.report = note_report,
		.changed = note_change,
		.arg = f,
	};
	struct samara_error err = {0};
	int ret = virtio_balloon_create(&config, &f->balloon, &err);

	if (!ret)
		virtio_mmio_init(&f->mmio, virtio_balloon_device(f->balloon));
	return ret;
}

static int setup(void **state)
{
	const enum guest_mm_backing *backing = *state;
	struct fixture *f = calloc(1, sizeof(*f));

	if (guest_create(&f->guest, BASE, BASE_BYTES, RAM_BYTES,
			 backing ? *backing : GUEST_MM_ANON))
		return -1;
	*state = f;
	f->irq_fd = eventfd(0, EFD_NONBLOCK);
	return create(f);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	virtio_balloon_destroy(f->balloon);
	guest_destroy(&f->guest);
	close(f->irq_fd);
	free(f);
	return 0;
}

static void start(struct fixture *f, uint64_t features, uint32_t poison)
{
	bool packed = features & BIT(VIRTIO_F_RING_PACKED);

	assert_true(driver_negotiate(&f->mmio, features));
	for (unsigned int i = 0; i < QUEUES; i++) {
		driver_queue_init(&f->queues[i], &f->guest, RING(i), 64, packed, false);
		driver_setup_queue(&f->mmio, i, &f->queues[i]);
	}
	virtio_mmio_bus_ops.write(
		&f->mmio, VIRTIO_MMIO_CONFIG + offsetof(struct virtio_balloon_config, poison_val),
		&poison, sizeof(poison));
	driver_ok(&f->mmio);
	assert_int_equal(driver_read(&f->mmio, VIRTIO_MMIO_STATUS), DRIVER_STATUS_OK);
}

static void notify(struct fixture *f)
{
	driver_write(&f->mmio, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
}

static bool needs_reset(struct fixture *f)
{
	return driver_read(&f->mmio, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

/* Wait for an interrupt, or for a minute. */
static void wait_interrupt(struct fixture *f)
{
	struct pollfd irq = {.fd = f->irq_fd, .events = POLLIN};
	eventfd_t count;

	assert_true(poll(&irq, 1, 60000) > 0);
	eventfd_read(f->irq_fd, &count);
	driver_write(&f->mmio, VIRTIO_MMIO_INTERRUPT_ACK, 3);
}

static void wait_used(struct fixture *f, unsigned int queue)
{
	uint32_t id, length;

	while (!driver_take(&f->queues[queue], &id, &length)) {
		assert_false(needs_reset(f));
		wait_interrupt(f);
	}
	assert_int_equal(length, 0);
}

static void expect_needs_reset(struct fixture *f)
{
	while (!needs_reset(f))
		wait_interrupt(f);
}

/* Have the device read @bytes. */
static void send(struct fixture *f, unsigned int queue, const void *bytes, uint32_t count)
{
	const struct driver_buffer buffer = {LIST, count, false};

	memcpy(guest_at(&f->guest, LIST), bytes, count);
	driver_add(&f->queues[queue], &buffer, 1, 0);
	notify(f);
}

static void send_pages(struct fixture *f, unsigned int queue, const uint32_t *numbers,
		       uint32_t count)
{
	send(f, queue, numbers, count * sizeof(*numbers));
	wait_used(f, queue);
}

static struct virtio_balloon_state state_of(struct fixture *f)
{
	struct virtio_balloon_state s;

	virtio_balloon_get(f->balloon, &s);
	return s;
}

static uint64_t populated(struct fixture *f)
{
	struct guest_mm_stats s;

	guest_mm_get_stats(f->guest.mm, &s);
	return s.populated_bytes;
}

/* What the host has for the guest's pages. */
static uint64_t host_bytes(struct fixture *f)
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

static void fill(struct fixture *f, unsigned int first, unsigned int count)
{
	for (unsigned int i = first; i < first + count; i++)
		memset(guest_at(&f->guest, PAGES + i * PAGE), 0x40 + i % 64, PAGE);
}

static void expect_page(struct fixture *f, unsigned int number, bool kept)
{
	const uint8_t *page = guest_at(&f->guest, PAGES + number * PAGE);

	assert_int_equal(page[0], kept ? 0x40 + number % 64 : 0);
	assert_int_equal(page[PAGE - 1], kept ? 0x40 + number % 64 : 0);
}

/* ---- Inflate and deflate ----------------------------------------------------------------------- */

static void test_inflate(void **state)
{
	struct fixture *f = *state;
	static const unsigned int pages[] = {7, 3, 4, 5, 4, 100, 63, 62, 64, 0};
	unsigned int distinct = 9;
	uint32_t numbers[10];
	uint64_t before, host;

	start(f, ALL, 0);
	fill(f, 0, 128);
	memset(guest_at(&f->guest, LIST), 0, PAGE);
	before = populated(f);
	host = host_bytes(f);
	for (unsigned int i = 0; i < 10; i++)
		numbers[i] = PFN(PAGES) + pages[i];
	send_pages(f, INFLATE, numbers, 10);
	/* Back on the host, to the page. */
	assert_int_equal(before - populated(f), distinct * PAGE);
	assert_int_equal(host - host_bytes(f), distinct * PAGE);
	for (unsigned int i = 0; i < 128; i++) {
		bool kept = true;

		for (unsigned int j = 0; j < 10; j++)
			kept &= pages[j] != i;
		expect_page(f, i, kept);
	}
	assert_int_equal(state_of(f).inflated_pages, 10);
	assert_int_equal(state_of(f).wild_pages, 0);
	send_pages(f, DEFLATE, numbers, 10);
	assert_int_equal(state_of(f).deflated_pages, 10);
	fill(f, 0, 128);
	expect_page(f, 3, true);
	assert_int_equal(f->reports, 0);
}

static uint64_t populated_of(struct fixture *f, unsigned int first, unsigned int count)
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
	struct fixture *f = *state;
	uint32_t numbers[4];

	start(f, ALL, 0);
	for (unsigned int i = 0; i < 4; i++)
		numbers[i] = PFN(PAGES) + 208 + i;
	send_pages(f, INFLATE, numbers, 4);
	fill(f, 207, 1);
	fill(f, 212, 1);
	assert_in_range(populated_of(f, 212, 4), 1, 4);
	assert_int_equal(populated_of(f, 208, 4), 0);
	send_pages(f, DEFLATE, numbers, 4);
	fill(f, 210, 1);
	assert_int_equal(populated_of(f, 208, 4), 4);
	/* After a reset the guest has all of it. */
	send_pages(f, INFLATE, numbers, 4);
	virtio_device_reset(virtio_balloon_device(f->balloon));
	fill(f, 209, 1);
	assert_int_equal(populated_of(f, 208, 4), 4);
}

/* Far more than are looked at at a time, in one list, and in a packed ring. */
static void test_inflate_many(void **state)
{
	struct fixture *f = *state;
	static uint32_t numbers[3000];
	uint64_t before;

	start(f, ALL | BIT(VIRTIO_F_RING_PACKED), 0);
	fill(f, 0, 3001);
	memset(guest_at(&f->guest, LIST), 0, sizeof(numbers));
	before = populated(f);
	for (unsigned int i = 0; i < 3000; i++)
		numbers[i] = PFN(PAGES) + (i * 7) % 3000;
	send_pages(f, INFLATE, numbers, 3000);
	assert_int_equal(before - populated(f), 3000 * PAGE);
	expect_page(f, 3000, true);
	/* Again: there is nothing any more, and that is no mistake. */
	send_pages(f, INFLATE, numbers, 3000);
	assert_int_equal(state_of(f).wild_pages, 0);
}

#define SCATTERED 32768u /* ranges of a page, each with a page that stays beside it */
#ifdef SAMARA_DEBUG
#define ROUNDS 1u /* sanitizers make each ten times as slow */
#else
#define ROUNDS 8u
#endif

static uint64_t *word_of(struct fixture *f, unsigned int page)
{
	return guest_at(&f->guest, PAGES + (gpa_t)page * PAGE);
}

/* Hundreds of thousands of ranges: each is back on the host, its neighbours stay as they were. */
static void test_inflate_scattered(void **state)
{
	struct fixture *f = *state;
	static uint32_t numbers[SCATTERED];
	unsigned int i, round, wrong;
	uint64_t before, host;

	start(f, ALL, 0);
	memset(guest_at(&f->guest, LIST), 0, sizeof(numbers));
	for (round = 0; round < ROUNDS; round++) {
		for (i = 0; i < 2 * SCATTERED; i++)
			*word_of(f, i) = (uint64_t)round << 32 | (i + 1);
		before = populated(f);
		host = host_bytes(f);
		for (i = 0; i < SCATTERED; i++)
			numbers[i] = PFN(PAGES) + 2 * i + round % 2;
		send_pages(f, INFLATE, numbers, SCATTERED);
		assert_int_equal(before - populated(f), SCATTERED * PAGE);
		assert_int_equal(host - host_bytes(f), SCATTERED * PAGE);
		for (i = 0, wrong = 0; i < SCATTERED; i++) {
			unsigned int page = 2 * i + (round + 1) % 2;

			wrong += *word_of(f, page) != ((uint64_t)round << 32 | (page + 1));
		}
		assert_int_equal(wrong, 0);
	}
	assert_int_equal(state_of(f).inflated_pages, ROUNDS * SCATTERED);
	assert_int_equal(state_of(f).wild_pages, 0);
}

static void test_wild_pages(void **state)
{
	struct fixture *f = *state;
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

	start(f, ALL, 0);
	fill(f, 0, 4);
	send_pages(f, INFLATE, numbers, 8);
	assert_int_equal(state_of(f).wild_pages, 6);
	assert_int_equal(state_of(f).kept_pages, 0);
	expect_page(f, 0, true);
	expect_page(f, 1, false);
	expect_page(f, 2, true);
	send_pages(f, INFLATE, numbers, 8);
	assert_int_equal(state_of(f).wild_pages, 12);
	/* Told once, with the address. */
	assert_int_equal(f->reports, 1);
	assert_non_null(strstr(f->report, "balloon: the driver names pages where there is no "
					  "memory, the first at 0"));
	/* What it wants to have back need not have been there. */
	send_pages(f, DEFLATE, numbers, 8);
	assert_false(needs_reset(f));
}

static void test_odd_lists(void **state)
{
	struct fixture *f = *state;
	uint32_t numbers[] = {PFN(PAGES), PFN(PAGES) + 1};
	const struct driver_buffer writable = {LIST, 8, true},
				   nowhere = {BASE + RAM_BYTES, 8, false};

	start(f, ALL, 0);
	fill(f, 0, 2);
	/* A number and a half. */
	send(f, INFLATE, numbers, 6);
	wait_used(f, INFLATE);
	expect_page(f, 0, false);
	expect_page(f, 1, true);
	/* None. */
	send(f, INFLATE, numbers, 3);
	wait_used(f, INFLATE);
	driver_add(&f->queues[INFLATE], &writable, 1, 0);
	notify(f);
	wait_used(f, INFLATE);
	expect_page(f, 1, true);
	driver_add(&f->queues[INFLATE], &nowhere, 1, 0);
	notify(f);
	expect_needs_reset(f);
	start(f, ALL, 0);
	send_pages(f, INFLATE, numbers, 2);
	expect_page(f, 1, false);
}

/* ---- Work that is left ------------------------------------------------------------------------- */

static void pause_device(struct fixture *f)
{
	virtio_device_pause(virtio_balloon_device(f->balloon));
}

/* The worker has come upon a wild page, and goes on when somebody waits for it. */
static void wait_held(struct fixture *f)
{
	while (!__atomic_load_n(&f->reports, __ATOMIC_SEQ_CST))
		usleep(100);
}

static void expect_not_used(struct fixture *f, unsigned int queue)
{
	uint32_t id, length;

	usleep(20000);
	assert_false(driver_take(&f->queues[queue], &id, &length));
}

#define LEFT 3000u

/* A list whose first number is wild, and the others not. */
static void send_left(struct fixture *f, uint64_t features)
{
	static uint32_t numbers[LEFT];

	f->hold = true;
	start(f, features, 0);
	fill(f, 0, LEFT);
	for (unsigned int i = 1; i < LEFT; i++)
		numbers[i] = PFN(PAGES) + i;
	send(f, INFLATE, numbers, sizeof(numbers));
	wait_held(f);
}

/* Whoever stops the VM does not wait until a list is done, and the driver does till it is. */
static void test_pause_in_list(void **state)
{
	struct fixture *f = *state;
	uint32_t number = PFN(PAGES);
	uint64_t taken;

	for (unsigned int round = 0; round < 2; round++) {
		__atomic_store_n(&f->reports, 0, __ATOMIC_SEQ_CST);
		send_left(f, round ? ALL | BIT(VIRTIO_F_RING_PACKED) : ALL);
		pause_device(f);
		taken = state_of(f).inflated_pages;
		assert_in_range(taken, 1, LEFT - 1);
		expect_not_used(f, INFLATE);
		assert_int_equal(state_of(f).inflated_pages, taken);
		expect_page(f, 1, false);
		expect_page(f, LEFT - 1, true);
		virtio_device_resume(virtio_balloon_device(f->balloon));
		wait_used(f, INFLATE);
		/* Each number once. */
		assert_int_equal(state_of(f).inflated_pages, LEFT);
		assert_int_equal(state_of(f).wild_pages, 1);
		expect_page(f, LEFT - 1, false);
		send_pages(f, INFLATE, &number, 1);
		assert_int_equal(state_of(f).inflated_pages, LEFT + 1);
		expect_page(f, 0, false);
		/* What it tells of, it tells of once. */
		virtio_balloon_destroy(f->balloon);
		create(f);
	}
}

/* Nor does who resets it; the next driver's list begins at its start. */
static void test_reset_in_list(void **state)
{
	struct fixture *f = *state;
	uint32_t numbers[] = {PFN(PAGES) + LEFT - 1, PFN(PAGES) + LEFT - 2};
	uint64_t taken;

	send_left(f, ALL);
	driver_write(&f->mmio, VIRTIO_MMIO_STATUS, 0);
	taken = state_of(f).inflated_pages;
	assert_in_range(taken, 1, LEFT - 1);
	expect_not_used(f, INFLATE);
	start(f, ALL, 0);
	expect_page(f, LEFT - 1, true);
	send_pages(f, INFLATE, numbers, 2);
	assert_int_equal(state_of(f).inflated_pages, taken + 2);
	expect_page(f, LEFT - 1, false);
	expect_page(f, LEFT - 2, false);
}

/* A list may be as long as a driver likes: it holds nobody up. */
static void test_endless_list(void **state)
{
	struct fixture *f = *state;
	const uint64_t offset = UINT64_C(32) << 20; /* zeros: wild */
	const struct driver_buffer endless = {BASE + offset, RAM_BYTES - offset, false};

	for (unsigned int queue = INFLATE; queue <= DEFLATE; queue++) {
		start(f, ALL, 0);
		driver_add(&f->queues[queue], &endless, 1, 0);
		notify(f);
		while (!(queue == INFLATE ? state_of(f).inflated_pages
					  : state_of(f).deflated_pages)) {
			assert_false(needs_reset(f));
			usleep(100);
		}
	}
	pause_device(f);
	virtio_device_resume(virtio_balloon_device(f->balloon));
	assert_false(needs_reset(f));
}

/* A report of ranges that take long is left after a GiB, and goes on there. */
static void test_pause_in_report(void **state)
{
	struct fixture *f = *state;
	const struct driver_buffer buffers[] = {
		{PAGE, UINT32_MAX - PAGE + 1, true}, /* 4 GiB but for a page; BASE is behind it */
		{PAGES, 4 * PAGE, true},
	};

	f->hold = true;
	start(f, ALL, 0);
	fill(f, 0, 8);
	driver_add(&f->queues[REPORTS], buffers, 2, 0);
	notify(f);
	wait_held(f);
	pause_device(f);
	assert_int_equal(state_of(f).wild_pages, (UINT32_C(1) << 18) - 1);
	assert_int_equal(state_of(f).reported_pages, 0);
	expect_not_used(f, REPORTS);
	expect_page(f, 0, true);
	virtio_device_resume(virtio_balloon_device(f->balloon));
	wait_used(f, REPORTS);
	assert_int_equal(state_of(f).wild_pages, (UINT32_C(1) << 20) - 1);
	assert_int_equal(state_of(f).reported_pages, 4);
	expect_page(f, 3, false);
	expect_page(f, 4, true);
}

/* ---- The configuration space ------------------------------------------------------------------- */

static void test_target(void **state)
{
	struct fixture *f = *state;
	uint32_t actual = 5;
	struct samara_error err;

	start(f, ALL, 0);
	assert_int_equal(virtio_balloon_set_target(f->balloon, 8 * PAGE + 1, &err), 0);
	assert_int_equal(
		driver_config(&f->mmio, offsetof(struct virtio_balloon_config, num_pages), 4), 8);
	wait_interrupt(f);
	assert_int_equal(state_of(f).target_bytes, 8 * PAGE);
	assert_int_equal(virtio_balloon_set_target(f->balloon, UINT64_C(1) << 44, &err), -ERANGE);
	assert_int_equal(state_of(f).target_bytes, 8 * PAGE);
	virtio_mmio_bus_ops.write(
		&f->mmio, VIRTIO_MMIO_CONFIG + offsetof(struct virtio_balloon_config, actual),
		&actual, 4);
	while (__atomic_load_n(&f->changed, __ATOMIC_SEQ_CST) != 5 * PAGE)
		usleep(100);
	assert_int_equal(state_of(f).actual_bytes, 5 * PAGE);
	/* The driver does not set the target. */
	virtio_mmio_bus_ops.write(&f->mmio, VIRTIO_MMIO_CONFIG, &actual, 4);
	assert_int_equal(state_of(f).target_bytes, 8 * PAGE);
	/* A new driver has an empty balloon, and the same target. */
	virtio_device_reset(virtio_balloon_device(f->balloon));
	assert_int_equal(state_of(f).actual_bytes, 0);
	assert_int_equal(state_of(f).target_bytes, 8 * PAGE);
	/* Which is told at once: there may be no new driver. */
	assert_int_equal(__atomic_load_n(&f->changed, __ATOMIC_SEQ_CST), 0);
	assert_int_equal(__atomic_load_n(&f->changes, __ATOMIC_SEQ_CST), 2);
	virtio_device_reset(virtio_balloon_device(f->balloon));
	assert_int_equal(__atomic_load_n(&f->changes, __ATOMIC_SEQ_CST), 2);
}

/* ---- Reports ----------------------------------------------------------------------------------- */

static void report(struct fixture *f)
{
	const struct driver_buffer buffers[] = {
		{PAGES, 2 * PAGE, true},
		{PAGES + 4 * PAGE + 1, 3 * PAGE, true},    /* two pages as a whole */
		{PAGES + 9 * PAGE, PAGE - 1, true},        /* none */
		{BASE + RAM_BYTES - PAGE, 2 * PAGE, true}, /* over the end of memory */
		{UINT64_MAX - PAGE + 1, PAGE, true},
		{PAGES + 12 * PAGE, PAGE, true},
	};

	fill(f, 0, 16);
	driver_add(&f->queues[REPORTS], buffers, 6, 0);
	notify(f);
	wait_used(f, REPORTS);
}

static void test_reports(void **state)
{
	struct fixture *f = *state;
	static const bool kept[16] = {
		[2] = true,  [3] = true,  [4] = true,  [7] = true,  [8] = true,  [9] = true,
		[10] = true, [11] = true, [13] = true, [14] = true, [15] = true,
	};

	start(f, ALL, 0x55);
	report(f);
	for (unsigned int i = 0; i < 16; i++)
		expect_page(f, i, kept[i]);
	assert_int_equal(state_of(f).reported_pages, 5);
	assert_int_equal(state_of(f).wild_pages, 2);
	assert_int_equal(f->reports, 1);
	/* Poisoned by zeros: the same. */
	start(f, ALL | BIT(VIRTIO_BALLOON_F_PAGE_POISON), 0);
	report(f);
	expect_page(f, 0, false);
	/* By anything else, the driver counts on it. */
	start(f, ALL | BIT(VIRTIO_BALLOON_F_PAGE_POISON), 0xaaaaaaaa);
	report(f);
	for (unsigned int i = 0; i < 16; i++)
		expect_page(f, i, true);
	assert_int_equal(state_of(f).reported_pages, 10);
}

/* ---- Statistics -------------------------------------------------------------------------------- */

static void send_stats(struct fixture *f, uint64_t memory_free)
{
	const struct virtio_balloon_stat entries[] = {
		{VIRTIO_BALLOON_S_MEMTOT, UINT64_C(0x123456789abcdef)},
		{0xffff, 1}, /* from the future */
		{VIRTIO_BALLOON_S_MEMFREE, memory_free},
		{VIRTIO_BALLOON_STATS, 2},
	};

	send(f, STATS, entries, sizeof(entries));
}

static void expect_stats(struct fixture *f, uint64_t memory_free)
{
	struct virtio_balloon_stats stats;

	for (unsigned int ms = 0; ms < 60000; ms++) {
		virtio_balloon_get_stats(f->balloon, &stats);
		if (stats.values[VIRTIO_BALLOON_S_MEMFREE] == memory_free)
			break;
		usleep(1000);
	}
	assert_int_equal(stats.values[VIRTIO_BALLOON_S_MEMFREE], memory_free);
	assert_int_equal(stats.values[VIRTIO_BALLOON_S_MEMTOT], UINT64_C(0x123456789abcdef));
	assert_int_equal(stats.values[VIRTIO_BALLOON_S_MAJFLT], UINT64_MAX);
	assert_int_not_equal(stats.updated_s, 0);
}

static void test_stats(void **state)
{
	struct fixture *f = *state;
	struct virtio_balloon_stats stats;
	uint32_t id, length;

	start(f, ALL, 0);
	virtio_balloon_get_stats(f->balloon, &stats);
	assert_int_equal(stats.updated_s, 0);
	send_stats(f, 1);
	expect_stats(f, 1);
	/* The device keeps the buffer until it wants to know more. */
	usleep(20000);
	assert_false(driver_take(&f->queues[STATS], &id, &length));
	virtio_balloon_poll_stats(f->balloon, 1);
	assert_int_equal(virtio_balloon_poll_interval(f->balloon), 1);
	wait_used(f, STATS);
	send_stats(f, 2);
	expect_stats(f, 2);
	/* And again after a second. */
	wait_used(f, STATS);
	virtio_balloon_poll_stats(f->balloon, 0);
	send_stats(f, 3);
	expect_stats(f, 3);
	/* Two at a time: the first one comes back. */
	send_stats(f, 4);
	wait_used(f, STATS);
	expect_stats(f, 4);
	assert_false(driver_take(&f->queues[STATS], &id, &length));
	/* After a reset, the former driver's buffer is forgotten. */
	start(f, ALL, 0);
	virtio_balloon_get_stats(f->balloon, &stats);
	assert_int_equal(stats.updated_s, 0);
	virtio_balloon_poll_stats(f->balloon, 1);
	usleep(20000);
	assert_false(driver_take(&f->queues[STATS], &id, &length));
	send_stats(f, 5);
	wait_used(f, STATS);
	expect_stats(f, 5);
}

/* Longer than poll() can wait: it waits as long as it can. */
static void test_stats_seldom(void **state)
{
	struct fixture *f = *state;

	start(f, ALL, 0);
	virtio_balloon_poll_stats(f->balloon, UINT32_MAX);
	send_stats(f, 1);
	wait_used(f, STATS);
	send_stats(f, 2);
	expect_stats(f, 2);
	pause_device(f);
	assert_int_equal(balloon_stats_timeout_ms(f->balloon), INT_MAX);
	virtio_device_resume(virtio_balloon_device(f->balloon));
	virtio_balloon_poll_stats(f->balloon, 1);
	wait_used(f, STATS);
}

static void test_stats_queue_taken_away(void **state)
{
	struct fixture *f = *state;
	uint32_t number = PFN(PAGES);

	start(f, ALL, 0);
	send_stats(f, 1);
	expect_stats(f, 1);
	driver_write(&f->mmio, VIRTIO_MMIO_QUEUE_SEL, STATS);
	driver_write(&f->mmio, VIRTIO_MMIO_QUEUE_READY, 0);
	virtio_balloon_poll_stats(f->balloon, 1);
	send_pages(f, INFLATE, &number, 1);
	assert_false(needs_reset(f));
}

/* ---- Hints ------------------------------------------------------------------------------------- */

static void note_hint(void *arg, gpa_t gpa, uint64_t size_bytes)
{
	struct fixture *f = arg;

	f->hint[f->hints++] = (struct chain_segment){gpa, size_bytes};
}

static void note_over(void *arg, bool complete)
{
	struct fixture *f = arg;

	f->overs++;
	f->completes += complete;
}

static int start_hints(struct fixture *f)
{
	struct samara_error err;

	return virtio_balloon_start_hints(f->balloon, note_hint, note_over, f, &err);
}

static void send_id(struct fixture *f, uint32_t id)
{
	send(f, HINTS, &id, sizeof(id));
	wait_used(f, HINTS);
}

static void send_hint(struct fixture *f, unsigned int page, unsigned int count)
{
	const struct driver_buffer buffer = {PAGES + page * PAGE, count * PAGE, true};

	driver_add(&f->queues[HINTS], &buffer, 1, 0);
	notify(f);
	wait_used(f, HINTS);
}

static uint32_t command(struct fixture *f)
{
	return driver_config(&f->mmio,
			     offsetof(struct virtio_balloon_config, free_page_hint_cmd_id), 4);
}

static void test_hints(void **state)
{
	struct fixture *f = *state;
	uint32_t id;

	assert_int_equal(start_hints(f), -EOPNOTSUPP);
	start(f, ALL & ~BIT(VIRTIO_BALLOON_F_FREE_PAGE_HINT), 0);
	assert_int_equal(start_hints(f), -EOPNOTSUPP);
	start(f, ALL, 0);
	fill(f, 0, 16);
	assert_int_equal(command(f), VIRTIO_BALLOON_CMD_ID_STOP);
	/* Nobody asked. */
	send_id(f, 2);
	send_hint(f, 0, 1);
	assert_int_equal(f->hints, 0);

	assert_int_equal(start_hints(f), 0);
	id = command(f);
	assert_true(id > VIRTIO_BALLOON_CMD_ID_DONE);
	assert_int_equal(start_hints(f), -EBUSY);
	assert_int_equal(command(f), id);
	send_id(f, VIRTIO_BALLOON_CMD_ID_STOP); /* of a round before */
	assert_int_equal(f->overs, 0);
	send_hint(f, 0, 1); /* of no round */
	send_id(f, id - 1); /* of another one */
	send_hint(f, 1, 1);
	assert_int_equal(f->hints, 0);
	send_id(f, id);
	send_hint(f, 2, 3);
	send_hint(f, 8, 1);
	assert_int_equal(f->overs, 0);
	send_id(f, VIRTIO_BALLOON_CMD_ID_STOP);
	assert_int_equal(f->completes, 1);
	/* Too late, and none is told of anything twice. */
	send_hint(f, 9, 1);
	send_id(f, id);
	send_hint(f, 9, 1);
	send_id(f, VIRTIO_BALLOON_CMD_ID_STOP);
	assert_int_equal(f->overs, 1);
	assert_int_equal(f->hints, 2);
	assert_int_equal(f->hint[0].gpa, PAGES + 2 * PAGE);
	assert_int_equal(f->hint[0].length_bytes, 3 * PAGE);
	assert_int_equal(f->hint[1].gpa, PAGES + 8 * PAGE);
	assert_int_equal(state_of(f).hinted_pages, 4);
	virtio_balloon_end_hints(f->balloon);
	assert_int_equal(command(f), VIRTIO_BALLOON_CMD_ID_DONE);
	send_id(f, id);
	send_hint(f, 2, 3);
	assert_int_equal(f->hints, 2);
	/* A hint is no discard. */
	for (unsigned int i = 0; i < 16; i++)
		expect_page(f, i, true);
	/* Another round has another number, and no hint comes after a reset. */
	assert_int_equal(start_hints(f), 0);
	assert_int_not_equal(command(f), id);
	id = command(f);
	send_id(f, id);
	start(f, ALL, 0);
	assert_int_equal(f->overs, 2);
	assert_int_equal(f->completes, 1);
	assert_int_equal(command(f), VIRTIO_BALLOON_CMD_ID_STOP);
	send_id(f, id);
	send_hint(f, 2, 3);
	assert_int_equal(f->hints, 2);
	assert_int_equal(start_hints(f), -EBUSY);
	virtio_balloon_end_hints(f->balloon);
	/* And it is nobody's any more. */
	start(f, ALL, 0);
	assert_int_equal(f->overs, 2);
	assert_int_equal(start_hints(f), 0);
	virtio_balloon_end_hints(f->balloon);
}

static void test_short_hint(void **state)
{
	struct fixture *f = *state;

	start(f, ALL, 0);
	send(f, HINTS, "ab", 2);
	expect_needs_reset(f);
}

int main(void)
{
	static enum guest_mm_backing memfd = GUEST_MM_MEMFD;
#define WITH_GUEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		WITH_GUEST(test_inflate),
		{"test_inflate_memfd", test_inflate, setup, teardown, &memfd},
		WITH_GUEST(test_neighbours),
		WITH_GUEST(test_inflate_many),
		WITH_GUEST(test_inflate_scattered),
		{"test_inflate_scattered_memfd", test_inflate_scattered, setup, teardown, &memfd},
		WITH_GUEST(test_wild_pages),
		WITH_GUEST(test_odd_lists),
		WITH_GUEST(test_pause_in_list),
		WITH_GUEST(test_reset_in_list),
		WITH_GUEST(test_endless_list),
		WITH_GUEST(test_pause_in_report),
		WITH_GUEST(test_target),
		WITH_GUEST(test_reports),
		{"test_reports_memfd", test_reports, setup, teardown, &memfd},
		WITH_GUEST(test_stats),
		WITH_GUEST(test_stats_seldom),
		WITH_GUEST(test_stats_queue_taken_away),
		WITH_GUEST(test_hints),
		WITH_GUEST(test_short_hint),
	};

	return cmocka_run_group_tests_name("virtio_balloon", tests, NULL, NULL);
}
