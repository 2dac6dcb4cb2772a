/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <poll.h>
#include <unistd.h>
#include <cmocka.h>
#include <linux/virtio_ring.h>

#include "tests/lib/virtio_driver.h"

/*
 * Virtqueues as a device uses them, with the driver's side played through guest memory; each test
 * in both formats, with and without the event index.
 */

#define BASE       UINT64_C(0x100000000)
#define BASE_BYTES (UINT64_C(16) << 20)
#define RING       BASE
#define TABLE      (BASE + 0x10000)
#define DATA       (BASE + 0x20000)
#define HOLE       (BASE + (UINT64_C(8) << 20)) /* nothing is plugged from here on */
#define READ_ONLY  (BASE + (UINT64_C(4) << 20)) /* a page of it */

struct mode {
	bool packed, event_index;
};

static struct mode modes[] = {{false, false}, {false, true}, {true, false}, {true, true}};

struct fixture {
	struct guest guest;
	struct driver_queue driver;
	struct virtqueue queue;
	struct descriptor_chain chain;
	struct samara_error err;
};

static void begin(struct fixture *f, unsigned int size, const struct mode *mode)
{
	driver_queue_init(&f->driver, &f->guest, RING, size, mode->packed, mode->event_index);
	assert_int_equal(virtqueue_check(&f->driver.config, &f->err), 0);
	virtqueue_init(&f->queue, f->guest.mm, &f->driver.config);
}

static const struct mode *mode_of(void **state, struct fixture **f)
{
	static struct fixture *fixture;
	const struct mode *mode = *state;

	/* One guest for all tests: making one takes its time. */
	if (!fixture) {
		fixture = calloc(1, sizeof(*fixture));
		assert_int_equal(
			guest_create(&fixture->guest, BASE, BASE_BYTES, HOLE - BASE, GUEST_MM_ANON),
			0);
		assert_int_equal(guest_mm_protect(fixture->guest.mm, READ_ONLY, SAMARA_PAGE_BYTES,
						  GUEST_MM_READ, &fixture->err),
				 0);
	}
	*f = fixture;
	return mode;
}

static int pop(struct fixture *f)
{
	return virtqueue_pop(&f->queue, &f->chain, &f->err);
}

static void push(struct fixture *f, uint32_t written)
{
	assert_int_equal(virtqueue_push(&f->queue, &f->chain, written, &f->err), 0);
}

static void expect_used(struct fixture *f, uint32_t id, uint32_t length)
{
	uint32_t used_id, used_length;

	assert_true(driver_take(&f->driver, &used_id, &used_length));
	assert_int_equal(used_id, id);
	assert_int_equal(used_length, length);
}

static void expect_none_used(struct fixture *f)
{
	uint32_t id, length;

	assert_false(driver_take(&f->driver, &id, &length));
}

/* ---- As it should be --------------------------------------------------------------------------- */

static void test_check(void **state)
{
	struct fixture *f;
	const struct mode *mode = mode_of(state, &f);
	struct virtqueue_config good, bad;

	begin(f, 8, mode);
	good = f->driver.config;
#define REFUSED(field, value)                                              \
	do {                                                               \
		bad = good;                                                \
		bad.field = (value);                                       \
		assert_int_equal(virtqueue_check(&bad, &f->err), -EINVAL); \
	} while (0)
	REFUSED(size, 0);
	REFUSED(size, VIRTQUEUE_MAX_SIZE + 1);
	REFUSED(size, 0x80000000u);
	REFUSED(descriptors, good.descriptors + 8);
	REFUSED(driver, good.driver + 1);
	REFUSED(device, good.device + 2);
	REFUSED(descriptors, UINT64_MAX - 15);
	REFUSED(driver, UINT64_MAX - 1);
	REFUSED(device, UINT64_MAX - 3 - (mode->packed ? 0 : 4) + (mode->packed ? 1 : 0));
#undef REFUSED
	bad = good;
	bad.size = 7;
	assert_int_equal(virtqueue_check(&bad, &f->err), mode->packed ? 0 : -EINVAL);
	bad.size = VIRTQUEUE_MAX_SIZE;
	assert_int_equal(virtqueue_check(&bad, &f->err), 0);
}

/* Requests of several buffers go round the ring many times. */
static void go_round(struct fixture *f, const struct mode *mode, gpa_t table, unsigned int rounds)
{
	static struct descriptor_chain none;
	char bytes[64], answer[64];

	begin(f, 8, mode);
	for (unsigned int i = 0; i < rounds; i++) {
		const struct driver_buffer buffers[] = {
			{DATA + i % 100, 3, false},
			{DATA + 0x1ffe, 5, false}, /* over the end of a page */
			{DATA + 0x3000, 1, true},
			{DATA + 0x4000, 7, true},
		};
		unsigned int count = 2 + i % 3, readable = 2;
		uint16_t id;

		memcpy(guest_at(&f->guest, buffers[0].gpa), "abc", 3);
		memcpy(guest_at(&f->guest, buffers[1].gpa), "defgh", 5);
		memset(guest_at(&f->guest, buffers[2].gpa), 0, 1);
		memset(guest_at(&f->guest, buffers[3].gpa), 0, 8);
		id = driver_add(&f->driver, buffers, count, table);
		assert_int_equal(pop(f), 1);
		/* What is left in the queue after all comes again. */
		for (unsigned int again = i % 3; again; again--) {
			virtqueue_unpop(&f->queue, &f->chain);
			assert_int_equal(pop(f), 1);
		}
		assert_int_equal(f->chain.readable_count, readable);
		assert_int_equal(f->chain.writable_count, count - readable);
		assert_int_equal(f->chain.readable_bytes, 8);
		assert_int_equal(f->chain.writable_bytes, count == 4 ? 8 : count == 3 ? 1 : 0);
		assert_int_equal(chain_read(&f->chain, 0, bytes, 8, &f->err), 0);
		assert_memory_equal(bytes, "abcdefgh", 8);
		assert_int_equal(chain_read(&f->chain, 2, bytes, 3, &f->err), 0);
		assert_memory_equal(bytes, "cde", 3);
		assert_int_equal(chain_read(&f->chain, 3, bytes, 5, &f->err), 0);
		assert_memory_equal(bytes, "defgh", 5);
		assert_int_equal(chain_read(&f->chain, 8, bytes, 0, &f->err), 0);
		assert_int_equal(chain_read(&f->chain, 4, bytes, 5, &f->err), -EMSGSIZE);
		assert_int_equal(chain_read(&f->chain, UINT64_MAX, bytes, 5, &f->err), -EMSGSIZE);
		if (count == 4) {
			assert_int_equal(chain_write(&f->chain, 0, "0123456", 7, &f->err), 0);
			memcpy(answer, guest_at(&f->guest, buffers[3].gpa), 8);
			assert_memory_equal(answer, "123456\0", 8);
			assert_int_equal(chain_write(&f->chain, 2, answer, 7, &f->err), -EMSGSIZE);
		}
		assert_int_equal(virtqueue_pop(&f->queue, &none, &f->err), 0);
		push(f, i % 9);
		expect_used(f, id, i % 9);
		expect_none_used(f);
	}
}

static void test_round(void **state)
{
	struct fixture *f;
	const struct mode *mode = mode_of(state, &f);

	go_round(f, mode, 0, 100);
	go_round(f, mode, TABLE, 100);
}

/* Indices of 16 bits overflow, and nothing happens. */
static void test_overflow(void **state)
{
	struct fixture *f;
	const struct mode *mode = mode_of(state, &f);
	const struct driver_buffer buffer = {DATA, 1, true};

	begin(f, 2, mode);
	for (unsigned int i = 0; i < 66000; i++) {
		uint16_t id = driver_add(&f->driver, &buffer, 1, 0);

		assert_int_equal(pop(f), 1);
		push(f, 1);
		expect_used(f, id, 1);
	}
}

/* Several are taken, and come back in another order. */
static void test_out_of_order(void **state)
{
	struct fixture *f;
	const struct mode *mode = mode_of(state, &f);
	static struct descriptor_chain chains[4];
	const struct driver_buffer buffers[] = {{DATA, 4, false}, {DATA + 64, 4, true}};
	uint16_t ids[4];

	begin(f, 8, mode);
	for (unsigned int round = 0; round < 20; round++) {
		for (unsigned int i = 0; i < 4; i++)
			ids[i] = driver_add(&f->driver, buffers, 2, 0);
		for (unsigned int i = 0; i < 4; i++)
			assert_int_equal(virtqueue_pop(&f->queue, &chains[i], &f->err), 1);
		assert_int_equal(pop(f), 0);
		for (unsigned int i = 0; i < 4; i++) {
			unsigned int other = i ^ (round & 3);

			assert_int_equal(virtqueue_push(&f->queue, &chains[other], other, &f->err),
					 0);
			expect_used(f, ids[other], other);
		}
	}
}

static void use(struct fixture *f, unsigned int count)
{
	const struct driver_buffer buffer = {DATA, 1, true};

	for (unsigned int i = 0; i < count; i++) {
		driver_add(&f->driver, &buffer, 1, 0);
		assert_int_equal(pop(f), 1);
		push(f, 0);
	}
}

static void take(struct fixture *f, unsigned int count)
{
	uint32_t id, length;

	while (count--)
		assert_true(driver_take(&f->driver, &id, &length));
}

/* The driver is told when it wants to be. */
static void test_notify(void **state)
{
	struct fixture *f;
	const struct mode *mode = mode_of(state, &f);

	begin(f, 4, mode);
	for (unsigned int i = 0; i < 40; i++) {
		driver_want(&f->driver, true);
		assert_int_equal(virtqueue_must_notify(&f->queue, &f->err), 0);
		use(f, 1 + i % 3);
		assert_int_equal(virtqueue_must_notify(&f->queue, &f->err), 1);
		assert_int_equal(virtqueue_must_notify(&f->queue, &f->err), 0);
		take(f, i % 3);
		driver_want(&f->driver, false);
		use(f, 1);
		assert_int_equal(virtqueue_must_notify(&f->queue, &f->err), 0);
		take(f, 2);
	}
	/* With the event index, the second is waited for, and the first is no reason. */
	if (!mode->event_index || mode->packed)
		return;
	for (unsigned int i = 0; i < 10; i++) {
		f->driver.next_used++;
		driver_want(&f->driver, true);
		f->driver.next_used--;
		use(f, 1);
		assert_int_equal(virtqueue_must_notify(&f->queue, &f->err), 0);
		use(f, 1);
		assert_int_equal(virtqueue_must_notify(&f->queue, &f->err), 1);
		take(f, 2);
	}
}

/* The device is told when it waits, and sees what came before it waited. */
static void test_arm(void **state)
{
	struct fixture *f;
	const struct mode *mode = mode_of(state, &f);
	const struct driver_buffer buffer = {DATA, 1, true};

	begin(f, 4, mode);
	for (unsigned int i = 0; i < 20; i++) {
		assert_int_equal(virtqueue_arm(&f->queue, &f->err), 0);
		driver_add(&f->driver, &buffer, 1, 0);
		assert_true(driver_must_notify(&f->driver));
		driver_add(&f->driver, &buffer, 1, 0);
		/* It is told already. */
		assert_int_equal(driver_must_notify(&f->driver), !mode->event_index);
		assert_int_equal(virtqueue_arm(&f->queue, &f->err), 1);
		for (unsigned int j = 0; j < 2; j++) {
			assert_int_equal(pop(f), 1);
			push(f, 0);
		}
		take(f, 2);
	}
}

/* ---- A driver and a device that wait for each other -------------------------------------------- */

#define PING_PONGS 20000

struct race {
	struct fixture *f;
	int to_device, to_driver;
	bool late; /* a notification was missing; the thread that joins reads it */
};

/* Wait until told; a minute is for ever. */
static bool told(int fd)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	eventfd_t count;

	if (poll(&poll_fd, 1, 60000) <= 0)
		return false;
	eventfd_read(fd, &count);
	return true;
}

static void *device_main(void *arg)
{
	struct race *race = arg;
	struct fixture *f = race->f;
	unsigned int done = 0;

	while (done < PING_PONGS) {
		int ret = virtqueue_pop(&f->queue, &f->chain, &f->err);

		if (ret > 0) {
			virtqueue_push(&f->queue, &f->chain, done++, &f->err);
			if (virtqueue_must_notify(&f->queue, &f->err) > 0)
				eventfd_write(race->to_driver, 1);
		} else if (ret < 0 ||
			   (virtqueue_arm(&f->queue, &f->err) <= 0 && !told(race->to_device))) {
			race->late = true;
			break;
		}
	}
	return NULL;
}

static void test_race(void **state)
{
	struct fixture *f;
	const struct mode *mode = mode_of(state, &f);
	const struct driver_buffer buffer = {DATA, 1, true};
	struct race race = {.f = f};
	unsigned int sent = 0, done = 0, spins = 0;
	uint32_t id, length;
	pthread_t thread;

	begin(f, 4, mode);
	race.to_device = eventfd(0, 0);
	race.to_driver = eventfd(0, 0);
	pthread_create(&thread, NULL, device_main, &race);
	while (done < PING_PONGS) {
		/* Sometimes one, sometimes as many as there is room for. */
		for (unsigned int n = 1 + sent % 4; n && sent < PING_PONGS && sent - done < 4;
		     n--) {
			driver_add(&f->driver, &buffer, 1, 0);
			sent++;
		}
		if (f->driver.added && driver_must_notify(&f->driver))
			eventfd_write(race.to_device, 1);
		while (driver_take(&f->driver, &id, &length))
			assert_int_equal(length, done++);
		/* What is added while the device is about to wait must not be missed: be quick, mostly. */
		if (done == sent || (sent % 16 && spins++ % 64))
			continue;
		driver_want(&f->driver, true);
		if (driver_take(&f->driver, &id, &length))
			assert_int_equal(length, done++);
		else
			assert_true(told(race.to_driver));
	}
	pthread_join(thread, NULL);
	assert_false(race.late);
	close(race.to_device);
	close(race.to_driver);
}

/* ---- A driver that lies ------------------------------------------------------------------------ */

/* The queue is broken, with that error, and stays so. */
static void expect_broken(struct fixture *f, int code, const char *text)
{
	assert_int_equal(pop(f), code);
	if (!strstr(f->err.text, text))
		fail_msg("'%s' is not about '%s'", f->err.text, text);
	assert_int_equal(pop(f), -EPROTO);
	assert_int_equal(virtqueue_push(&f->queue, &f->chain, 0, &f->err), -EPROTO);
	assert_int_equal(virtqueue_arm(&f->queue, &f->err), -EPROTO);
	assert_int_equal(virtqueue_must_notify(&f->queue, &f->err), -EPROTO);
}

/* One request whose buffers are wrong; each directly, and in an indirect table. */
static void expect_bad_buffers(void **state, const struct driver_buffer *buffers,
			       unsigned int count, const char *text)
{
	struct fixture *f;
	const struct mode *mode = mode_of(state, &f);

	for (unsigned int i = 0; i < 2; i++) {
		begin(f, 16, mode);
		driver_add(&f->driver, buffers, count, i ? TABLE : 0);
		expect_broken(f, -EPROTO, text);
	}
}

static void test_zero_length(void **state)
{
	const struct driver_buffer buffers[] = {{DATA, 8, false}, {DATA, 0, true}};

	expect_bad_buffers(state, buffers, 2, "without bytes");
	expect_bad_buffers(state, buffers + 1, 1, "without bytes");
}

static void test_buffer_overflow(void **state)
{
	const struct driver_buffer buffer = {UINT64_MAX - 6, 8, false};

	expect_bad_buffers(state, &buffer, 1, "past the end");
}

static void test_read_behind_write(void **state)
{
	const struct driver_buffer buffers[] = {{DATA, 8, true}, {DATA, 8, false}};

	expect_bad_buffers(state, buffers, 2, "behind one to write");
}

/* Buffers that are no memory show when they are used; the queue itself is in order. */
static void test_wild_buffers(void **state)
{
	static const gpa_t wild[] = {
		0, HOLE, HOLE - 4, BASE + BASE_BYTES, UINT64_C(1) << 52, UINT64_MAX - 7};
	struct fixture *f;
	const struct mode *mode = mode_of(state, &f);
	char bytes[8] = {0};

	begin(f, 16, mode);
	for (size_t i = 0; i < sizeof(wild) / sizeof(*wild); i++) {
		const struct driver_buffer buffers[] = {{wild[i], 8, false}, {wild[i], 8, true}};

		driver_add(&f->driver, buffers, 2, 0);
		assert_int_equal(pop(f), 1);
		assert_int_equal(chain_read(&f->chain, 0, bytes, 8, &f->err), -EFAULT);
		assert_non_null(strstr(f->err.text, "no memory"));
		assert_int_equal(chain_write(&f->chain, 0, bytes, 8, &f->err), -EFAULT);
		push(f, 0);
	}
}

static void test_read_only_buffer(void **state)
{
	struct fixture *f;
	const struct mode *mode = mode_of(state, &f);
	const struct driver_buffer buffers[] = {{READ_ONLY, 8, false}, {READ_ONLY, 8, true}};
	char bytes[8];

	begin(f, 16, mode);
	driver_add(&f->driver, buffers, 2, 0);
	assert_int_equal(pop(f), 1);
	assert_int_equal(chain_read(&f->chain, 0, bytes, 8, &f->err), 0);
	assert_int_equal(chain_write(&f->chain, 0, bytes, 8, &f->err), -EFAULT);
}

/* The rings themselves are nowhere, go away, or cannot be written. */
static void test_wild_rings(void **state)
{
	struct fixture *f;
	const struct mode *mode = mode_of(state, &f);
	const struct driver_buffer buffer = {DATA, 8, true};
	struct virtqueue_config *config = &f->driver.config;

	for (unsigned int i = 0; i < 2; i++) {
		begin(f, 16, mode);
		if (mode->packed)
			config->descriptors = HOLE;
		else if (i)
			config->descriptors = HOLE;
		else
			config->driver = HOLE;
		virtqueue_init(&f->queue, f->guest.mm, config);
		config->descriptors = RING;
		config->driver = RING + 0x1000;
		driver_add(&f->driver, &buffer, 1, 0);
		expect_broken(f, -EFAULT, "of the ring at");
	}
	/* Where the device writes. */
	begin(f, 16, mode);
	driver_add(&f->driver, &buffer, 1, 0);
	assert_int_equal(pop(f), 1);
	if (mode->packed)
		f->queue.config.descriptors = READ_ONLY;
	else
		f->queue.config.device = READ_ONLY;
	assert_int_equal(virtqueue_push(&f->queue, &f->chain, 0, &f->err), -EFAULT);
	assert_int_equal(pop(f), -EPROTO);
	if (!mode->event_index)
		return;
	begin(f, 16, mode);
	f->queue.config.device = HOLE;
	assert_int_equal(virtqueue_arm(&f->queue, &f->err), -EFAULT);
}

/* A chain that never ends, of one descriptor and of all. */
static void test_loop(void **state)
{
	struct fixture *f;
	const struct mode *mode = mode_of(state, &f);
	struct driver_buffer buffers[16];

	for (unsigned int i = 0; i < 16; i++)
		buffers[i] = (struct driver_buffer){DATA, 8, false};
	begin(f, 16, mode);
	driver_add(&f->driver, buffers, 16, 0);
	if (mode->packed)
		driver_describe(&f->driver, RING, 15, DATA, 8,
				VRING_DESC_F_NEXT | 1 << VRING_PACKED_DESC_F_AVAIL, 0);
	else
		driver_describe(&f->driver, RING, 15, DATA, 8, VRING_DESC_F_NEXT, 0);
	expect_broken(f, -EPROTO, "loops");
	if (mode->packed)
		return;
	begin(f, 16, mode);
	driver_describe(&f->driver, RING, 3, DATA, 8, VRING_DESC_F_NEXT, 3);
	driver_offer(&f->driver, 3);
	expect_broken(f, -EPROTO, "loops");
	/* In an indirect table. */
	begin(f, 16, mode);
	driver_add(&f->driver, buffers, 4, TABLE);
	driver_describe(&f->driver, TABLE, 3, DATA, 8, VRING_DESC_F_NEXT, 1);
	expect_broken(f, -EPROTO, "loops");
}

/* Split: numbers of descriptors that there are none of. */
static void test_wild_indices(void **state)
{
	struct fixture *f;
	const struct mode *mode = mode_of(state, &f);
	const struct driver_buffer buffers[] = {{DATA, 8, false}, {DATA, 8, true}};

	if (mode->packed)
		return;
	begin(f, 16, mode);
	driver_offer(&f->driver, 16);
	expect_broken(f, -EPROTO, "descriptor 16 of a table of 16");
	begin(f, 16, mode);
	driver_offer(&f->driver, 0xffff);
	expect_broken(f, -EPROTO, "descriptor 65535");
	begin(f, 16, mode);
	driver_describe(&f->driver, RING, 0, DATA, 8, VRING_DESC_F_NEXT, 0x8000);
	driver_offer(&f->driver, 0);
	expect_broken(f, -EPROTO, "descriptor 32768");
	begin(f, 16, mode);
	driver_add(&f->driver, buffers, 2, TABLE);
	driver_describe(&f->driver, TABLE, 0, DATA, 8, VRING_DESC_F_NEXT, 2);
	expect_broken(f, -EPROTO, "descriptor 2 of a table of 2");
}

/* More is made available than there is room for. */
static void test_lying_index(void **state)
{
	struct fixture *f;
	const struct mode *mode = mode_of(state, &f);
	const struct driver_buffer buffer = {DATA, 8, true};

	begin(f, 4, mode);
	if (!mode->packed) {
		driver_add(&f->driver, &buffer, 1, 0);
		f->driver.next += 4;
		driver_offer(&f->driver, 0);
		expect_broken(f, -EPROTO, "6 chains made available");
		begin(f, 4, mode);
	}
	for (unsigned int i = 0; i < 4; i++) {
		driver_add(&f->driver, &buffer, 1, 0);
		assert_int_equal(pop(f), 1);
	}
	/* All are with the device. */
	driver_add(&f->driver, &buffer, 1, 0);
	expect_broken(f, -EPROTO, mode->packed ? "runs into" : "1 chains made available, where 0");
}

static void offer_indirect(struct fixture *f, gpa_t table, uint32_t bytes, uint16_t flags)
{
	if (!f->driver.config.packed) {
		driver_describe(&f->driver, RING, 0, table, bytes, flags, 1);
		driver_offer(&f->driver, 0);
	} else {
		driver_describe(&f->driver, RING, 0, table, bytes,
				flags | 1 << VRING_PACKED_DESC_F_AVAIL, 0);
	}
}

static void test_bad_indirect(void **state)
{
	struct fixture *f;
	const struct mode *mode = mode_of(state, &f);
	const struct driver_buffer buffer = {DATA, 8, true};
	static const struct {
		gpa_t table;
		uint32_t bytes;
		uint16_t flags;
		int code;
		const char *text;
	} bad[] = {
		{TABLE, 0, 0, -EPROTO, "no whole number"},
		{TABLE, 15, 0, -EPROTO, "no whole number"},
		{TABLE, 33, 0, -EPROTO, "no whole number"},
		{TABLE, 16 * (VIRTQUEUE_MAX_SIZE + 1), 0, -EPROTO, "too long"},
		{TABLE, 0xfffffff0, 0, -EPROTO, "too long"},
		{TABLE, 16, VRING_DESC_F_NEXT, -EPROTO, "goes on behind"},
		{HOLE, 16, 0, -EFAULT, "of the ring at"},
		{HOLE - 16, 48, 0, -EFAULT, "of the ring at"},
		{UINT64_MAX - 15, 32, 0, -EPROTO, "past the end"},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		begin(f, 16, mode);
		/* Valid as far as it can be read. */
		for (unsigned int j = 0; j < 2; j++) {
			driver_describe(&f->driver, TABLE, j, DATA, 8, VRING_DESC_F_NEXT, j + 1);
			if (bad[i].code == -EFAULT)
				driver_describe(&f->driver, HOLE - 16, 0, DATA, 8,
						VRING_DESC_F_NEXT, 1);
		}
		offer_indirect(f, bad[i].table, bad[i].bytes, VRING_DESC_F_INDIRECT | bad[i].flags);
		expect_broken(f, bad[i].code, bad[i].text);
	}
	/* Not negotiated. */
	begin(f, 16, mode);
	f->queue.config.indirect = false;
	driver_add(&f->driver, &buffer, 1, TABLE);
	expect_broken(f, -EPROTO, "without the feature");
	/* One within another: split alone has a flag to say so with. */
	if (mode->packed)
		return;
	begin(f, 16, mode);
	offer_indirect(f, TABLE, 32, VRING_DESC_F_INDIRECT);
	driver_describe(&f->driver, TABLE, 0, TABLE, 32, VRING_DESC_F_INDIRECT, 0);
	expect_broken(f, -EPROTO, "within another");
}

/* As long as can be, and one more: with a direct part before the table (2.7.5.3.1). */
static void test_longest(void **state)
{
	struct fixture *f;
	const struct mode *mode = mode_of(state, &f);
	static struct driver_buffer buffers[VIRTQUEUE_MAX_SIZE];

	for (unsigned int i = 0; i < VIRTQUEUE_MAX_SIZE; i++)
		buffers[i] = (struct driver_buffer){DATA, 0xffffffff, i >= 100};
	for (unsigned int i = 0; i < 2; i++) {
		begin(f, VIRTQUEUE_MAX_SIZE, mode);
		driver_add(&f->driver, buffers, VIRTQUEUE_MAX_SIZE, i ? TABLE : 0);
		assert_int_equal(pop(f), 1);
		assert_int_equal(f->chain.readable_bytes, 100 * UINT64_C(0xffffffff));
		assert_int_equal(f->chain.writable_bytes, 156 * UINT64_C(0xffffffff));
	}
	if (mode->packed)
		return;
	begin(f, VIRTQUEUE_MAX_SIZE, mode);
	driver_add(&f->driver, buffers, VIRTQUEUE_MAX_SIZE, TABLE);
	driver_describe(&f->driver, RING, 5, DATA, 8, VRING_DESC_F_NEXT, 0);
	f->driver.next--;
	driver_offer(&f->driver, 5);
	expect_broken(f, -EPROTO, "more than 256");
	/* One less is in order. */
	begin(f, VIRTQUEUE_MAX_SIZE, mode);
	driver_add(&f->driver, buffers + 1, VIRTQUEUE_MAX_SIZE - 1, TABLE);
	driver_describe(&f->driver, RING, 5, DATA, 8, VRING_DESC_F_NEXT, 0);
	f->driver.next--;
	driver_offer(&f->driver, 5);
	assert_int_equal(pop(f), 1);
	assert_int_equal(f->chain.readable_count + f->chain.writable_count, VIRTQUEUE_MAX_SIZE);
}

/* Whatever is in the rings, nothing but an error comes of it. Deterministic. */
static void test_garbage(void **state)
{
	struct fixture *f;
	const struct mode *mode = mode_of(state, &f);
	uint64_t random = 0x9e3779b97f4a7c15;
	unsigned int popped = 0, broken = 0;
	static uint8_t bytes[VIRTQUEUE_MAX_SIZE];

	for (unsigned int i = 0; i < 3000; i++) {
		uint8_t *ring;

		begin(f, 4, mode);
		ring = guest_at(&f->guest, RING);
		for (unsigned int j = 0; j < 40; j++) {
			random = random * 6364136223846793005u + 1442695040888963407u;
			ring[(random >> 33) % 64 + (random >> 50 & 1) * 0x1000] =
				random >> 40 & (random & 1 ? 0x83 : 7);
		}
		for (unsigned int j = 0; j < 8; j++) {
			int ret = pop(f);

			if (ret < 0)
				broken++;
			if (ret <= 0)
				break;
			popped++;
			chain_read(&f->chain, 0, bytes,
				   f->chain.readable_bytes < sizeof(bytes) ? f->chain.readable_bytes
									   : sizeof(bytes),
				   &f->err);
			if (j % 2)
				virtqueue_push(&f->queue, &f->chain, 0, &f->err);
			virtqueue_must_notify(&f->queue, &f->err);
			virtqueue_arm(&f->queue, &f->err);
		}
	}
	/* The test is worth something. */
	assert_true(broken > 100);
	assert_true(popped > 20);
}

#define IN_MODE(test, mode)                                     \
	{                                                       \
#test "_" #mode, test, NULL, NULL, &modes[mode] \
	}
#define IN_MODES(test) IN_MODE(test, 0), IN_MODE(test, 1), IN_MODE(test, 2), IN_MODE(test, 3)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_MODES(test_check),
		IN_MODES(test_round),
		IN_MODES(test_overflow),
		IN_MODES(test_out_of_order),
		IN_MODES(test_notify),
		IN_MODES(test_arm),
		IN_MODES(test_race),
		IN_MODES(test_zero_length),
		IN_MODES(test_buffer_overflow),
		IN_MODES(test_read_behind_write),
		IN_MODES(test_wild_buffers),
		IN_MODES(test_read_only_buffer),
		IN_MODES(test_wild_rings),
		IN_MODES(test_loop),
		IN_MODES(test_wild_indices),
		IN_MODES(test_lying_index),
		IN_MODES(test_bad_indirect),
		IN_MODES(test_longest),
		IN_MODES(test_garbage),
	};

	return cmocka_run_group_tests_name("virtqueue", tests, NULL, NULL);
}
