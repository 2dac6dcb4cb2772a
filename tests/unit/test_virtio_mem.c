/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cmocka.h>
#include <linux/virtio_mem.h>
#include <linux/virtio_mmio.h>

#include "devices/virtio_mem.h"
#include "tests/lib/interpose.h"
#include "tests/lib/virtio_driver.h"

/* virtio-mem as a guest's driver uses it: RAM for the driver at BASE, the device's range at RANGE. */

#define MIB(n)      ((uint64_t)(n) << 20)
#define GIB(n)      ((uint64_t)(n) << 30)
#define BASE        UINT64_C(0x100000000)
#define RAM_BYTES   MIB(16)
#define RANGE       UINT64_C(0x400000000)
#define WINDOW      GIB(128)
#define RING        BASE
#define REQUEST     (BASE + 0x100000)
#define RESPONSE    (BASE + 0x101000)
#define BIT(n)      (UINT64_C(1) << (n))
#define FEATURES    (BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE))
#define FIELD(name) offsetof(struct virtio_mem_config, name)

#define ACK         VIRTIO_MEM_RESP_ACK
#define NACK        VIRTIO_MEM_RESP_NACK
#define BUSY        VIRTIO_MEM_RESP_BUSY
#define ERROR       VIRTIO_MEM_RESP_ERROR

struct fixture {
	struct guest guest;
	struct guest_mm_window window;
	struct virtio_mem *mem;
	struct virtio_mmio mmio;
	struct driver_queue queue;
	int irq_fd;
	uint64_t block;
	uint32_t reports;
	char report[256];
	uint64_t changed; /* atomic */
	bool stall;       /* atomic: note_change() waits */
	bool frozen;      /* atomic */
	/* Atomic: what the worker does at the next change: wait until it is waited for, or fail. */
	bool hold, held, fail;
};

static void note_report(void *arg, const char *line)
{
	struct fixture *f = arg;

	snprintf(f->report, sizeof(f->report), "%s", line);
	__atomic_fetch_add(&f->reports, 1, __ATOMIC_SEQ_CST);
}

static void note_change(void *arg, uint64_t plugged_bytes)
{
	struct fixture *f = arg;

	while (__atomic_load_n(&f->stall, __ATOMIC_SEQ_CST))
		usleep(1000);
	__atomic_store_n(&f->changed, plugged_bytes, __ATOMIC_SEQ_CST);
	if (__atomic_exchange_n(&f->fail, false, __ATOMIC_SEQ_CST))
		interpose_fail_nth(INTERPOSE_MADVISE, 1, 0, 0);
	if (!__atomic_exchange_n(&f->hold, false, __ATOMIC_SEQ_CST))
		return;
	__atomic_store_n(&f->held, true, __ATOMIC_SEQ_CST);
	for (unsigned int ms = 0; ms < 60000; ms++) {
		if (virtio_device_stopping(virtio_mem_device(f->mem)))
			break;
		usleep(1000);
	}
}

static int create(struct fixture *f, uint64_t size, uint64_t block, uint64_t requested, int node)
{
	struct virtio_mem_setup setup = {
		.name = "mem0",
		.mm = f->guest.mm,
		.irq = {f->irq_fd},
		.gpa = RANGE,
		.size_bytes = size,
		.block_bytes = block,
		.requested_bytes = requested,
		.node = node,
		.packed = true,
		.report = note_report,
		.changed = note_change,
		.arg = f,
	};
	struct samara_error err = {0};
	int ret = virtio_mem_create(&setup, &f->mem, &err);

	if (ret)
		return ret;
	virtio_mmio_init(&f->mmio, virtio_mem_device(f->mem));
	f->block = block;
	return 0;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct samara_error err;

	*state = f;
	f->irq_fd = eventfd(0, EFD_NONBLOCK);
	if (guest_create(&f->guest, BASE, RAM_BYTES, RAM_BYTES, GUEST_MM_ANON) ||
	    guest_mm_add_window(f->guest.mm, RANGE, WINDOW, GUEST_MM_ANON, &err))
		return -1;
	return guest_mm_get_window(f->guest.mm, 1, &f->window);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	virtio_mem_destroy(f->mem);
	guest_destroy(&f->guest);
	close(f->irq_fd);
	free(f);
	return 0;
}

static void start(struct fixture *f, uint64_t features)
{
	assert_true(driver_negotiate(&f->mmio, features));
	driver_queue_init(&f->queue, &f->guest, RING, 8, features & BIT(VIRTIO_F_RING_PACKED),
			  false);
	driver_setup_queue(&f->mmio, 0, &f->queue);
	driver_ok(&f->mmio);
	assert_int_equal(driver_read(&f->mmio, VIRTIO_MMIO_STATUS), DRIVER_STATUS_OK);
}

static uint64_t needed_resets(struct fixture *f)
{
	struct virtio_device_counters counters;

	virtio_device_get_counters(virtio_mem_device(f->mem), &counters);
	return counters.needed_resets;
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

static void send(struct fixture *f, uint16_t type, gpa_t gpa, uint16_t nb_blocks)
{
	const struct driver_buffer buffers[] = {
		{REQUEST, sizeof(struct virtio_mem_req), false},
		{RESPONSE, sizeof(struct virtio_mem_resp), true},
	};
	struct virtio_mem_req request;

	/* What is padding has no meaning. */
	memset(&request, 0xa5, sizeof(request));
	request.type = type;
	request.u.plug.addr = gpa;
	request.u.plug.nb_blocks = nb_blocks;
	memcpy(guest_at(&f->guest, REQUEST), &request, sizeof(request));
	memset(guest_at(&f->guest, RESPONSE), 0xff, sizeof(struct virtio_mem_resp));
	driver_add(&f->queue, buffers, 2, 0);
	driver_write(&f->mmio, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
}

static struct virtio_mem_resp receive(struct fixture *f)
{
	struct virtio_mem_resp response;
	uint32_t id, length;

	while (!driver_take(&f->queue, &id, &length)) {
		assert_false(needs_reset(f));
		wait_interrupt(f);
	}
	assert_int_equal(length, sizeof(response));
	memcpy(&response, guest_at(&f->guest, RESPONSE), sizeof(response));
	return response;
}

/* Blocks are counted from the start of the range. */
static unsigned int ask(struct fixture *f, uint16_t type, uint64_t block, uint16_t nb_blocks)
{
	send(f, type, RANGE + block * f->block, nb_blocks);
	return receive(f).type;
}

static unsigned int plug(struct fixture *f, uint64_t block, uint16_t nb_blocks)
{
	return ask(f, VIRTIO_MEM_REQ_PLUG, block, nb_blocks);
}

static unsigned int unplug(struct fixture *f, uint64_t block, uint16_t nb_blocks)
{
	return ask(f, VIRTIO_MEM_REQ_UNPLUG, block, nb_blocks);
}

static unsigned int unplug_all(struct fixture *f)
{
	return ask(f, VIRTIO_MEM_REQ_UNPLUG_ALL, 0, 0);
}

static void expect_state(struct fixture *f, uint64_t block, uint16_t nb_blocks, uint16_t state)
{
	struct virtio_mem_resp response;

	send(f, VIRTIO_MEM_REQ_STATE, RANGE + block * f->block, nb_blocks);
	response = receive(f);
	assert_int_equal(response.type, ACK);
	assert_int_equal(response.u.state.state, state);
}

static struct virtio_mem_state state_of(struct fixture *f)
{
	struct virtio_mem_state s;

	virtio_mem_get(f->mem, &s);
	return s;
}

static struct guest_mm_stats stats(struct fixture *f)
{
	struct guest_mm_stats s;

	guest_mm_get_stats(f->guest.mm, &s);
	return s;
}

/* The device says it, the configuration space says it, and it is so. */
static void expect_plugged(struct fixture *f, uint64_t bytes)
{
	assert_int_equal(driver_config(&f->mmio, FIELD(plugged_size), 8), bytes);
	assert_int_equal(state_of(f).plugged_bytes, bytes);
	assert_int_equal(stats(f).plugged_bytes, RAM_BYTES + bytes);
	assert_int_equal(__atomic_load_n(&f->changed, __ATOMIC_SEQ_CST), bytes);
}

static uint64_t *word_at(struct fixture *f, uint64_t offset)
{
	return (uint64_t *)((char *)f->window.hva + offset);
}

/* ---- As it should be --------------------------------------------------------------------------- */

static void test_setup(void **state)
{
	struct fixture *f = *state;
	static const struct {
		uint64_t size, block, requested;
	} bad[] = {
		{MIB(64), MIB(1), 0},       {MIB(64), 0, 0},        {MIB(63), MIB(2), 0},
		{MIB(66), MIB(6), 0},       {0, MIB(2), 0},         {MIB(64), MIB(4), MIB(2)},
		{MIB(64), MIB(2), MIB(66)}, {MIB(64), MIB(128), 0},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(
			create(f, bad[i].size, bad[i].block, bad[i].requested, VIRTIO_MEM_NO_NODE),
			-EINVAL);
	assert_null(f->mem);
	assert_int_equal(create(f, GIB(1), MIB(4), MIB(8), 3), 0);
	assert_int_equal(driver_config(&f->mmio, FIELD(block_size), 8), MIB(4));
	assert_int_equal(driver_config(&f->mmio, FIELD(node_id), 2), 3);
	assert_int_equal(driver_config(&f->mmio, FIELD(addr), 8), RANGE);
	assert_int_equal(driver_config(&f->mmio, FIELD(region_size), 8), GIB(1));
	assert_int_equal(driver_config(&f->mmio, FIELD(usable_region_size), 8), MIB(264));
	assert_int_equal(driver_config(&f->mmio, FIELD(plugged_size), 8), 0);
	assert_int_equal(driver_config(&f->mmio, FIELD(requested_size), 8), MIB(8));
	assert_true(driver_negotiate(&f->mmio, FEATURES | BIT(VIRTIO_MEM_F_ACPI_PXM)));
	assert_int_equal(driver_read(&f->mmio, VIRTIO_MMIO_DEVICE_ID), VIRTIO_ID_MEM);
}

static void test_no_node(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(create(f, GIB(1), MIB(2), 0, VIRTIO_MEM_NO_NODE), 0);
	assert_false(driver_negotiate(&f->mmio, FEATURES | BIT(VIRTIO_MEM_F_ACPI_PXM)));
	/* Old drivers know nothing of inaccessible memory. */
	assert_true(driver_negotiate(&f->mmio, BIT(VIRTIO_F_VERSION_1)));
}

static void test_plug(void **state)
{
	struct fixture *f = *state;
	uint64_t operations;

	assert_int_equal(create(f, GIB(1), MIB(2), MIB(64), VIRTIO_MEM_NO_NODE), 0);
	start(f, FEATURES);
	expect_state(f, 0, 64, VIRTIO_MEM_STATE_UNPLUGGED);
	assert_int_equal(plug(f, 4, 8), ACK);
	expect_plugged(f, MIB(16));
	*word_at(f, MIB(8)) = 0x1234;
	*word_at(f, MIB(24) - 8) = 0x5678;
	expect_state(f, 4, 8, VIRTIO_MEM_STATE_PLUGGED);
	expect_state(f, 3, 2, VIRTIO_MEM_STATE_MIXED);
	expect_state(f, 11, 2, VIRTIO_MEM_STATE_MIXED);
	expect_state(f, 0, 4, VIRTIO_MEM_STATE_UNPLUGGED);
	expect_state(f, 0, 100, VIRTIO_MEM_STATE_MIXED);
	/* Neighbours become one region, and a request is one operation. */
	operations = stats(f).plugs;
	assert_int_equal(plug(f, 12, 4), ACK);
	assert_int_equal(plug(f, 0, 4), ACK);
	assert_int_equal(stats(f).plugs, operations + 2);
	assert_int_equal(stats(f).regions, 2);
	expect_plugged(f, MIB(32));
	assert_int_equal(*word_at(f, MIB(8)), 0x1234);
	/* What is unplugged in the middle is gone, the rest stays. */
	assert_int_equal(unplug(f, 4, 2), ACK);
	expect_plugged(f, MIB(28));
	assert_int_equal(stats(f).regions, 3);
	assert_int_equal(*word_at(f, MIB(8)), 0);
	assert_int_equal(*word_at(f, MIB(24) - 8), 0x5678);
	assert_int_equal(plug(f, 4, 2), ACK);
	assert_int_equal(*word_at(f, MIB(8)), 0);
	assert_int_equal(unplug(f, 0, 16), ACK);
	expect_plugged(f, 0);
	assert_int_equal(f->reports, 0);
	assert_int_equal(state_of(f).plugs, 4);
	assert_int_equal(state_of(f).unplugs, 2);
}

static void test_requested(void **state)
{
	struct fixture *f = *state;
	struct samara_error err;

	assert_int_equal(create(f, GIB(1), MIB(2), 0, VIRTIO_MEM_NO_NODE), 0);
	start(f, FEATURES);
	assert_int_equal(plug(f, 0, 1), NACK);
	assert_int_equal(virtio_mem_set_requested(f->mem, MIB(4), &err), 0);
	wait_interrupt(f);
	assert_int_equal(driver_config(&f->mmio, FIELD(requested_size), 8), MIB(4));
	assert_int_equal(plug(f, 0, 3), NACK);
	assert_int_equal(plug(f, 0, 1), ACK);
	assert_int_equal(plug(f, 1, 1), ACK);
	assert_int_equal(plug(f, 2, 1), NACK);
	assert_int_equal(state_of(f).denied, 3);
	expect_plugged(f, MIB(4));
	/* Wrong sizes are refused, and nothing changes. */
	assert_int_equal(virtio_mem_set_requested(f->mem, MIB(3), &err), -EINVAL);
	assert_int_equal(virtio_mem_set_requested(f->mem, GIB(1) + MIB(2), &err), -EINVAL);
	assert_non_null(strstr(err.text, "mem0: requested size"));
	assert_int_equal(state_of(f).requested_bytes, MIB(4));
	/* The usable region grows, and shrinks when all is unplugged. */
	assert_int_equal(driver_config(&f->mmio, FIELD(usable_region_size), 8), MIB(260));
	assert_int_equal(virtio_mem_set_requested(f->mem, GIB(1), &err), 0);
	assert_int_equal(driver_config(&f->mmio, FIELD(usable_region_size), 8), GIB(1));
	assert_int_equal(plug(f, 511, 1), ACK);
	assert_int_equal(virtio_mem_set_requested(f->mem, 0, &err), 0);
	assert_int_equal(driver_config(&f->mmio, FIELD(usable_region_size), 8), GIB(1));
	assert_int_equal(unplug(f, 511, 1), ACK);
	assert_int_equal(plug(f, 511, 1), NACK);
	assert_int_equal(unplug_all(f), ACK);
	expect_plugged(f, 0);
	assert_int_equal(driver_config(&f->mmio, FIELD(usable_region_size), 8), MIB(256));
	assert_int_equal(plug(f, 511, 1), ERROR);
}

static void test_unplug_all(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(create(f, GIB(1), MIB(2), GIB(1), VIRTIO_MEM_NO_NODE), 0);
	start(f, FEATURES | BIT(VIRTIO_F_RING_PACKED));
	assert_int_equal(unplug_all(f), ACK);
	for (unsigned int i = 0; i < 200; i += 3)
		assert_int_equal(plug(f, i, 1 + i % 2), ACK);
	assert_int_equal(plug(f, 256, 128), ACK);
	assert_int_equal(unplug_all(f), ACK);
	expect_plugged(f, 0);
	expect_state(f, 0, 512, VIRTIO_MEM_STATE_UNPLUGGED);
}

/* ---- Work that is left ------------------------------------------------------------------------- */

#define BLOCKS 2048u /* of 2 MiB */

/* All of 4 GiB is plugged, and a request to unplug it held up after its first GiB. */
static void begin(struct fixture *f, uint16_t type)
{
	f->hold = true;
	send(f, type, RANGE, BLOCKS);
	while (!__atomic_load_n(&f->held, __ATOMIC_SEQ_CST))
		usleep(100);
	__atomic_store_n(&f->held, false, __ATOMIC_SEQ_CST);
}

static void expect_not_done(struct fixture *f)
{
	uint32_t id, length;

	usleep(20000);
	assert_false(driver_take(&f->queue, &id, &length));
	expect_plugged(f, GIB(3));
}

/* Whoever stops the VM does not wait for it, and the driver is not told that it is done. */
static void test_pause(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(create(f, GIB(4), MIB(2), GIB(4), VIRTIO_MEM_NO_NODE), 0);
	for (unsigned int round = 0; round < 4; round++) {
		start(f, round < 2 ? FEATURES : FEATURES | BIT(VIRTIO_F_RING_PACKED));
		assert_int_equal(plug(f, 0, BLOCKS), ACK);
		begin(f, round % 2 ? VIRTIO_MEM_REQ_UNPLUG : VIRTIO_MEM_REQ_UNPLUG_ALL);
		virtio_device_pause(virtio_mem_device(f->mem));
		expect_not_done(f);
		virtio_device_resume(virtio_mem_device(f->mem));
		assert_int_equal(receive(f).type, ACK);
		expect_plugged(f, 0);
	}
	assert_int_equal(state_of(f).refused, 0);
	assert_int_equal(state_of(f).busy, 0);
}

/* A reset drops it: what is not unplugged stays. */
static void test_reset_in_request(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(create(f, GIB(4), MIB(2), GIB(4), VIRTIO_MEM_NO_NODE), 0);
	start(f, FEATURES);
	for (unsigned int round = 0; round < 2; round++) {
		assert_int_equal(plug(f, 0, BLOCKS), ACK);
		begin(f, round ? VIRTIO_MEM_REQ_UNPLUG : VIRTIO_MEM_REQ_UNPLUG_ALL);
		driver_write(&f->mmio, VIRTIO_MMIO_STATUS, 0);
		expect_not_done(f);
		start(f, FEATURES);
		expect_state(f, 0, BLOCKS / 4, VIRTIO_MEM_STATE_UNPLUGGED);
		expect_state(f, BLOCKS / 4, 3 * BLOCKS / 4, VIRTIO_MEM_STATE_PLUGGED);
		/* The same request is a new one, and wrong now. */
		assert_int_equal(unplug(f, 0, BLOCKS), ERROR);
		assert_int_equal(unplug(f, BLOCKS / 4, 3 * BLOCKS / 4), ACK);
		expect_plugged(f, 0);
	}
}

/* A driver that puts another request in the place of one that was left. */
static void test_exchanged_request(void **state)
{
	struct fixture *f = *state;
	struct virtio_mem_req *request;

	assert_int_equal(create(f, GIB(4), MIB(2), GIB(4), VIRTIO_MEM_NO_NODE), 0);
	start(f, FEATURES);
	assert_int_equal(plug(f, 0, BLOCKS), ACK);
	begin(f, VIRTIO_MEM_REQ_UNPLUG);
	virtio_device_pause(virtio_mem_device(f->mem));
	expect_not_done(f);
	request = guest_at(&f->guest, REQUEST);
	request->u.unplug.nb_blocks = BLOCKS - 1;
	virtio_device_resume(virtio_mem_device(f->mem));
	assert_int_equal(receive(f).type, ERROR);
	expect_plugged(f, GIB(3));
	assert_int_equal(plug(f, 0, BLOCKS / 4), ACK);
	assert_int_equal(unplug(f, 0, BLOCKS), ACK);
	expect_plugged(f, 0);
}

/* All of a request or nothing of it, though it is done piece by piece. */
static void test_fails_in_request(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(create(f, GIB(4), MIB(2), GIB(4), VIRTIO_MEM_NO_NODE), 0);
	start(f, FEATURES);
	assert_int_equal(plug(f, 0, BLOCKS), ACK);
	*word_at(f, GIB(2)) = 99;
	__atomic_store_n(&f->fail, true, __ATOMIC_SEQ_CST);
	assert_int_equal(unplug(f, 0, BLOCKS), BUSY);
	expect_plugged(f, GIB(4));
	expect_state(f, 0, BLOCKS, VIRTIO_MEM_STATE_PLUGGED);
	assert_int_equal(*word_at(f, GIB(2)), 99);
	assert_int_equal(state_of(f).busy, 1);
	assert_int_equal(f->reports, 0);
}

/* A reset of the device keeps the blocks, one of the machine does not. */
static void test_reset(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(create(f, GIB(1), MIB(2), MIB(64), VIRTIO_MEM_NO_NODE), 0);
	start(f, FEATURES);
	assert_int_equal(plug(f, 0, 8), ACK);
	assert_int_equal(plug(f, 16, 8), ACK);
	*word_at(f, MIB(2)) = 99;
	start(f, FEATURES | BIT(VIRTIO_F_RING_PACKED));
	expect_plugged(f, MIB(32));
	expect_state(f, 0, 8, VIRTIO_MEM_STATE_PLUGGED);
	assert_int_equal(*word_at(f, MIB(2)), 99);
	virtio_mem_reset(f->mem);
	assert_int_equal(driver_read(&f->mmio, VIRTIO_MMIO_STATUS), 0);
	expect_plugged(f, 0);
	assert_int_equal(state_of(f).requested_bytes, MIB(64));
	start(f, FEATURES);
	assert_int_equal(plug(f, 0, 8), ACK);
}

/* What the host cannot unplug stays as it was until the driver asks; a reset never fails. */
static void test_reset_that_fails(void **state)
{
	struct fixture *f = *state;
	uint64_t usable;

	assert_int_equal(create(f, GIB(1), MIB(2), MIB(64), VIRTIO_MEM_NO_NODE), 0);
	start(f, FEATURES);
	for (unsigned int i = 0; i < 2; i++) {
		assert_int_equal(plug(f, 0, 8), ACK);
		assert_int_equal(plug(f, 16, 8), ACK);
		*word_at(f, MIB(2)) = 99;
		*word_at(f, MIB(32)) = 99;
		usable = state_of(f).usable_bytes;
		interpose_fail_nth(INTERPOSE_MADVISE, 1, 1, 0);
		virtio_mem_reset(f->mem);
		assert_int_equal(interpose_end(), 1);
		/* The first run; the second went. */
		expect_plugged(f, MIB(16));
		assert_int_equal(state_of(f).usable_bytes, usable);
		assert_int_equal(state_of(f).busy, i + 1);
		/* Told once, counted. */
		assert_int_equal(__atomic_load_n(&f->reports, __ATOMIC_SEQ_CST), 1);
		assert_non_null(strstr(f->report, "mem0: 16777216 bytes could not be unplugged"));
		start(f, FEATURES);
		expect_state(f, 0, 8, VIRTIO_MEM_STATE_PLUGGED);
		expect_state(f, 16, 8, VIRTIO_MEM_STATE_UNPLUGGED);
		assert_int_equal(*word_at(f, MIB(2)), 99);
		assert_int_equal(unplug_all(f), ACK);
		expect_plugged(f, 0);
	}
}

/* 128 GiB in blocks of 2 MiB, on whatever host this is. */
static void test_large(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(create(f, GIB(128), MIB(2), GIB(128), VIRTIO_MEM_NO_NODE), 0);
	start(f, FEATURES);
	assert_int_equal(plug(f, 1, UINT16_MAX), ACK);
	expect_plugged(f, GIB(128) - MIB(2));
	expect_state(f, 1, UINT16_MAX, VIRTIO_MEM_STATE_PLUGGED);
	expect_state(f, 0, UINT16_MAX, VIRTIO_MEM_STATE_MIXED);
	assert_int_equal(plug(f, 0, 1), ACK);
	assert_int_equal(stats(f).regions, 2);
	for (uint64_t i = 0; i < 128; i++)
		*word_at(f, GIB(i)) = i + 1;
	for (uint64_t i = 1; i < 65536; i += 1024)
		assert_int_equal(unplug(f, i, 512), ACK);
	expect_plugged(f, GIB(64));
	for (uint64_t i = 0; i < 128; i++)
		assert_int_equal(*word_at(f, GIB(i)), i % 2 ? 0 : i + 1);
	assert_int_equal(unplug_all(f), ACK);
	expect_plugged(f, 0);
}

static void test_blocks_of_a_gigabyte(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(create(f, GIB(128), GIB(1), GIB(2), VIRTIO_MEM_NO_NODE), 0);
	assert_int_equal(driver_config(&f->mmio, FIELD(usable_region_size), 8), GIB(4));
	start(f, FEATURES);
	assert_int_equal(plug(f, 3, 1), ACK);
	assert_int_equal(plug(f, 4, 1), ERROR);
	expect_plugged(f, GIB(1));
}

/* ---- A driver that lies ------------------------------------------------------------------------ */

static void test_bad_blocks(void **state)
{
	struct fixture *f = *state;
	static const uint16_t types[] = {VIRTIO_MEM_REQ_PLUG, VIRTIO_MEM_REQ_UNPLUG,
					 VIRTIO_MEM_REQ_STATE};
	static const struct {
		gpa_t gpa;
		uint16_t nb_blocks;
	} bad[] = {
		{RANGE, 0},
		{RANGE + MIB(1), 1},
		{RANGE + 1, 1},
		{RANGE - MIB(2), 1},
		{RANGE - MIB(2), 2},
		{RANGE + MIB(320), 1}, /* behind what is usable */
		{RANGE + MIB(318), 2},
		{RANGE + GIB(1), 1}, /* behind the range */
		{RANGE + GIB(1) - MIB(2), 2},
		{RANGE, UINT16_MAX},
		{0, 1},
		{BASE, 1},
		{0 - MIB(2), 1},
		{0 - MIB(2), UINT16_MAX},
		{UINT64_MAX, 1},
	};

	assert_int_equal(create(f, GIB(1), MIB(2), MIB(64), VIRTIO_MEM_NO_NODE), 0);
	start(f, FEATURES);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		for (size_t j = 0; j < 3; j++) {
			send(f, types[j], bad[i].gpa, bad[i].nb_blocks);
			assert_int_equal(receive(f).type, ERROR);
		}
	}
	assert_int_equal(state_of(f).refused, 3 * sizeof(bad) / sizeof(*bad));
	assert_int_equal(f->reports, 1);
	assert_non_null(
		strstr(f->report, "mem0: the driver wants to plug 0 blocks at 0x400000000"));
	assert_int_equal(stats(f).plugged_bytes, RAM_BYTES);
	/* Unknown requests, too. */
	assert_int_equal(ask(f, 4, 0, 1), ERROR);
	assert_int_equal(ask(f, UINT16_MAX, 0, 1), ERROR);
	assert_false(needs_reset(f));
	assert_int_equal(plug(f, 0, 1), ACK);
}

static void test_wrong_state(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(create(f, GIB(1), MIB(2), MIB(64), VIRTIO_MEM_NO_NODE), 0);
	start(f, FEATURES);
	assert_int_equal(unplug(f, 0, 1), ERROR);
	assert_int_equal(plug(f, 2, 2), ACK);
	assert_int_equal(plug(f, 2, 2), ERROR);
	assert_int_equal(plug(f, 0, 3), ERROR);
	assert_int_equal(plug(f, 3, 3), ERROR);
	assert_int_equal(plug(f, 1, 5), ERROR);
	assert_int_equal(unplug(f, 1, 2), ERROR);
	assert_int_equal(unplug(f, 3, 2), ERROR);
	assert_int_equal(unplug(f, 0, 64), ERROR);
	expect_plugged(f, MIB(4));
	assert_int_equal(state_of(f).refused, 8);
}

/* Requests that are no requests. */
static void test_bad_requests(void **state)
{
	struct fixture *f = *state;
	const struct driver_buffer bad[][2] = {
		{{REQUEST, 23, false}, {RESPONSE, 10, true}},
		{{REQUEST, 24, false}, {RESPONSE, 9, true}},
		{{REQUEST, 24, false}, {REQUEST, 24, false}},
		{{RESPONSE, 10, true}, {RESPONSE, 10, true}},
		{{RANGE, 24, false}, {RESPONSE, 10, true}}, /* not plugged */
		{{REQUEST, 24, false}, {RANGE, 10, true}},
	};

	assert_int_equal(create(f, GIB(1), MIB(2), MIB(64), VIRTIO_MEM_NO_NODE), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct virtio_mem_req request = {.type = VIRTIO_MEM_REQ_PLUG};

		start(f, FEATURES);
		request.u.plug.addr = RANGE;
		request.u.plug.nb_blocks = 1;
		memcpy(guest_at(&f->guest, REQUEST), &request, sizeof(request));
		driver_add(&f->queue, bad[i], 2, 0);
		driver_write(&f->mmio, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
		while (!needs_reset(f))
			wait_interrupt(f);
		/* It was not done. */
		assert_int_equal(stats(f).plugged_bytes, RAM_BYTES);
	}
	start(f, FEATURES);
	assert_int_equal(plug(f, 0, 1), ACK);
	assert_int_equal(needed_resets(f), 6);
}

/* The response, and the ring itself, are in what is being unplugged. */
static void test_unplug_of_own_ground(void **state)
{
	struct fixture *f = *state;
	const struct driver_buffer buffers[] = {
		{REQUEST, sizeof(struct virtio_mem_req), false},
		{RANGE, sizeof(struct virtio_mem_resp), true},
	};
	struct virtio_mem_req request = {.type = VIRTIO_MEM_REQ_UNPLUG};

	assert_int_equal(create(f, GIB(1), MIB(2), MIB(64), VIRTIO_MEM_NO_NODE), 0);
	request.u.unplug.addr = RANGE;
	request.u.unplug.nb_blocks = 1;
	for (unsigned int i = 0; i < 2; i++) {
		start(f, FEATURES);
		assert_int_equal(plug(f, 0, 1), ACK);
		if (i) {
			/* The used ring at the start of the block. */
			assert_true(driver_negotiate(&f->mmio, FEATURES));
			driver_queue_init(&f->queue, &f->guest, RING, 8, false, false);
			f->queue.config.device = RANGE;
			driver_setup_queue(&f->mmio, 0, &f->queue);
			driver_ok(&f->mmio);
			send(f, VIRTIO_MEM_REQ_UNPLUG, RANGE, 1);
		} else {
			memcpy(guest_at(&f->guest, REQUEST), &request, sizeof(request));
			driver_add(&f->queue, buffers, 2, 0);
			driver_write(&f->mmio, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
		}
		while (!needs_reset(f))
			wait_interrupt(f);
		expect_plugged(f, 0);
	}
}

/* ---- The device is to go ------------------------------------------------------------------------ */

static void test_freeze(void **state)
{
	struct fixture *f = *state;
	struct samara_error err;
	uint32_t id, length;

	assert_int_equal(create(f, GIB(1), MIB(2), MIB(4), VIRTIO_MEM_NO_NODE), 0);
	start(f, FEATURES);
	assert_int_equal(virtio_mem_freeze(f->mem), -EBUSY);
	assert_int_equal(plug(f, 0, 1), ACK);
	assert_int_equal(virtio_mem_set_requested(f->mem, 0, &err), 0);
	assert_int_equal(virtio_mem_freeze(f->mem), -EBUSY);
	assert_int_equal(unplug(f, 0, 1), ACK);
	assert_int_equal(virtio_mem_freeze(f->mem), 0);
	assert_int_equal(virtio_mem_set_requested(f->mem, MIB(4), &err), -EBUSY);
	assert_int_equal(state_of(f).requested_bytes, 0);
	/* Requests wait, over a pause of the VM, too. */
	send(f, VIRTIO_MEM_REQ_PLUG, RANGE, 1);
	virtio_device_pause(virtio_mem_device(f->mem));
	virtio_device_resume(virtio_mem_device(f->mem));
	usleep(50000);
	assert_false(driver_take(&f->queue, &id, &length));
	virtio_mem_thaw(f->mem);
	assert_int_equal(receive(f).type, NACK);
	assert_int_equal(virtio_mem_set_requested(f->mem, MIB(4), &err), 0);
	assert_int_equal(plug(f, 0, 1), ACK);
}

static void *freeze(void *arg)
{
	struct fixture *f = arg;

	assert_int_equal(virtio_mem_freeze(f->mem), 0);
	/* What there was to be told was told before. */
	assert_int_equal(__atomic_load_n(&f->changed, __ATOMIC_SEQ_CST), 0);
	__atomic_store_n(&f->frozen, true, __ATOMIC_SEQ_CST);
	return NULL;
}

/* It waits for a request that is being served, to the end. */
static void test_freeze_waits(void **state)
{
	struct fixture *f = *state;
	struct samara_error err;
	pthread_t thread;

	assert_int_equal(create(f, GIB(1), MIB(2), MIB(4), VIRTIO_MEM_NO_NODE), 0);
	start(f, FEATURES);
	assert_int_equal(plug(f, 0, 2), ACK);
	assert_int_equal(virtio_mem_set_requested(f->mem, 0, &err), 0);
	__atomic_store_n(&f->stall, true, __ATOMIC_SEQ_CST);
	send(f, VIRTIO_MEM_REQ_UNPLUG, RANGE, 2);
	/* Nothing is plugged any more, but that is not told yet. */
	while (state_of(f).plugged_bytes)
		usleep(1000);
	assert_int_equal(pthread_create(&thread, NULL, freeze, f), 0);
	usleep(50000);
	assert_false(__atomic_load_n(&f->frozen, __ATOMIC_SEQ_CST));
	__atomic_store_n(&f->stall, false, __ATOMIC_SEQ_CST);
	pthread_join(thread, NULL);
	assert_true(f->frozen);
	assert_int_equal(receive(f).type, ACK);
	virtio_mem_thaw(f->mem);
}

/* The host has no memory for it: the guest may try again, and nothing has changed. */
static void test_no_memory(void **state)
{
	struct fixture *f = *state;
	unsigned int busy = 0;

	assert_int_equal(create(f, GIB(1), MIB(2), MIB(64), VIRTIO_MEM_NO_NODE), 0);
	start(f, FEATURES);
	assert_int_equal(plug(f, 0, 8), ACK);
	for (unsigned int i = 0; i < 100; i++) {
		unsigned int answer;

		interpose_fail_randomly(INTERPOSE_MALLOC | INTERPOSE_MADVISE, 3);
		answer = unplug(f, 2, 2);
		interpose_fail_randomly(0, 0);
		busy += answer == BUSY;
		expect_plugged(f, answer == BUSY ? MIB(16) : MIB(12));
		if (answer == BUSY)
			continue;
		assert_int_equal(answer, ACK);
		interpose_fail_randomly(INTERPOSE_MALLOC, 3);
		answer = plug(f, 2, 2);
		interpose_fail_randomly(0, 0);
		busy += answer == BUSY;
		expect_plugged(f, answer == BUSY ? MIB(12) : MIB(16));
		if (answer == BUSY)
			assert_int_equal(plug(f, 2, 2), ACK);
	}
	assert_true(busy > 0);
	assert_int_equal(state_of(f).busy, busy);
	assert_false(needs_reset(f));
}

int main(void)
{
#define WITH_GUEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		WITH_GUEST(test_setup),
		WITH_GUEST(test_no_node),
		WITH_GUEST(test_plug),
		WITH_GUEST(test_requested),
		WITH_GUEST(test_unplug_all),
		WITH_GUEST(test_reset),
		WITH_GUEST(test_reset_that_fails),
		WITH_GUEST(test_large),
		WITH_GUEST(test_blocks_of_a_gigabyte),
		WITH_GUEST(test_bad_blocks),
		WITH_GUEST(test_wrong_state),
		WITH_GUEST(test_bad_requests),
		WITH_GUEST(test_unplug_of_own_ground),
		WITH_GUEST(test_no_memory),
		WITH_GUEST(test_freeze),
		WITH_GUEST(test_freeze_waits),
		WITH_GUEST(test_pause),
		WITH_GUEST(test_reset_in_request),
		WITH_GUEST(test_exchanged_request),
		WITH_GUEST(test_fails_in_request),
	};

	return cmocka_run_group_tests_name("virtio_mem", tests, NULL, NULL);
}
