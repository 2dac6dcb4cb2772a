/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>

#include "tests/lib/asleep.h"
#include "tests/lib/virtio_driver.h"

/*
 * The register block and what is behind it (virtio 1.2, 2.1, 3.1, 4.2.2), with a model that answers
 * each request with its own bytes, one higher, and can be held up while it does.
 */

#define BASE       UINT64_C(0x100000000)
#define BASE_BYTES (UINT64_C(16) << 20)
#define RING(n)    (BASE + 0x10000 * (gpa_t)(n))
#define DATA       (BASE + 0x100000)
#define HOLE       (BASE + (UINT64_C(8) << 20))
#define FEATURES   (UINT64_C(1) << VIRTIO_F_VERSION_1)
#define EVENT_IDX  (UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX)
#define PACKED     (UINT64_C(1) << VIRTIO_F_RING_PACKED)
#define OWN        UINT64_C(2) /* a feature of the model */
#define MODEL_ID   0x1234

struct fixture {
	struct guest guest;
	struct virtio_mmio mmio;
	struct virtio_device *device;
	struct driver_queue queue;
	int irq_fd;
	bool hold;       /* atomic: wait in each request */
	sem_t inside;    /* the model is in a held request */
	sem_t go_on;     /* and may go on */
	uint32_t served; /* atomic */
	uint32_t resets; /* atomic */
	uint32_t reports;
	char report[256];
};

/* ---- The model --------------------------------------------------------------------------------- */

static int serve(void *arg, struct descriptor_chain *chain, uint32_t *written_bytes,
		 struct samara_error *err)
{
	struct fixture *f = arg;
	uint8_t byte;

	if (__atomic_load_n(&f->hold, __ATOMIC_SEQ_CST)) {
		sem_post(&f->inside);
		sem_wait(&f->go_on);
	}
	for (uint64_t i = 0; i < chain->readable_bytes; i++) {
		int ret = chain_read(chain, i, &byte, 1, err);

		byte++;
		if (!ret)
			ret = chain_write(chain, i, &byte, 1, err);
		if (ret)
			return ret;
	}
	*written_bytes = chain->readable_bytes;
	__atomic_fetch_add(&f->served, 1, __ATOMIC_SEQ_CST);
	return 0;
}

static int work(void *model, struct samara_error *err)
{
	struct fixture *f = model;
	int ret = virtio_device_serve(f->device, 0, serve, f, err);

	return ret ? ret : virtio_device_serve(f->device, 1, serve, f, err);
}

static void reset_model(void *model)
{
	struct fixture *f = model;

	__atomic_fetch_add(&f->resets, 1, __ATOMIC_SEQ_CST);
}

static const struct virtio_model model = {
	.id = MODEL_ID,
	.queue_count = 2,
	.config_bytes = 12,
	.writable = 0xf00,
	.work = work,
	.reset = reset_model,
};

static void note_report(void *arg, const char *line)
{
	struct fixture *f = arg;

	snprintf(f->report, sizeof(f->report), "%s", line);
	__atomic_fetch_add(&f->reports, 1, __ATOMIC_SEQ_CST);
}

/* ---- The fixture ------------------------------------------------------------------------------- */

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct virtio_device_config config = {
		.name = "toy",
		.features = OWN,
		.packed = true,
		.report = note_report,
		.report_arg = f,
	};
	struct samara_error err = {0};

	*state = f;
	sem_init(&f->inside, 0, 0);
	sem_init(&f->go_on, 0, 0);
	f->irq_fd = eventfd(0, EFD_NONBLOCK);
	if (guest_create(&f->guest, BASE, BASE_BYTES, HOLE - BASE, GUEST_MM_ANON))
		return -1;
	config.mm = f->guest.mm;
	config.irq.eventfd = f->irq_fd;
	if (virtio_device_create(&config, &model, f, "\1\2\3\4\5\6\7\10\0\0\0\0", &f->device, &err))
		return -1;
	virtio_mmio_init(&f->mmio, f->device);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	/* A test that failed may have left the model held. */
	__atomic_store_n(&f->hold, false, __ATOMIC_SEQ_CST);
	sem_post(&f->go_on);
	virtio_device_destroy(f->device);
	guest_destroy(&f->guest);
	close(f->irq_fd);
	free(f);
	return 0;
}

static void start(struct fixture *f, uint64_t features)
{
	assert_true(driver_negotiate(&f->mmio, FEATURES | features));
	driver_queue_init(&f->queue, &f->guest, RING(0), 8, features & PACKED,
			  features & EVENT_IDX);
	driver_setup_queue(&f->mmio, 0, &f->queue);
	assert_int_equal(driver_read(&f->mmio, VIRTIO_MMIO_QUEUE_READY), 1);
	driver_ok(&f->mmio);
	assert_int_equal(driver_read(&f->mmio, VIRTIO_MMIO_STATUS), DRIVER_STATUS_OK);
}

static uint64_t needed_resets(struct fixture *f)
{
	struct virtio_device_counters counters;

	virtio_device_get_counters(f->device, &counters);
	return counters.needed_resets;
}

static void notify(struct fixture *f)
{
	driver_write(&f->mmio, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
}

static void ask(struct fixture *f, gpa_t gpa)
{
	const struct driver_buffer buffers[] = {{gpa, 4, false}, {gpa + 0x1000, 4, true}};

	memcpy(guest_at(&f->guest, DATA), "HAL\0", 4);
	driver_add(&f->queue, buffers, 2, 0);
	notify(f);
}

/* Wait for an interrupt; a minute is for ever. Return: what it was for. */
static uint32_t wait_interrupt(struct fixture *f)
{
	struct pollfd irq = {.fd = f->irq_fd, .events = POLLIN};
	uint32_t why = driver_read(&f->mmio, VIRTIO_MMIO_INTERRUPT_STATUS);
	eventfd_t count;

	while (!why) {
		assert_true(poll(&irq, 1, 60000) > 0);
		eventfd_read(f->irq_fd, &count);
		why = driver_read(&f->mmio, VIRTIO_MMIO_INTERRUPT_STATUS);
	}
	driver_write(&f->mmio, VIRTIO_MMIO_INTERRUPT_ACK, why);
	return why;
}

static void expect_answer(struct fixture *f)
{
	uint32_t id, length;

	while (!driver_take(&f->queue, &id, &length))
		assert_int_equal(wait_interrupt(f), VIRTIO_INTERRUPT_QUEUE);
	assert_int_equal(length, 4);
	assert_memory_equal(guest_at(&f->guest, DATA + 0x1000), "IBM\1", 4);
	memset(guest_at(&f->guest, DATA + 0x1000), 0, 4);
}

static void expect_needs_reset(struct fixture *f, const char *text)
{
	/* An answer that was taken without waiting may still have its interrupt to come. */
	while (!(driver_read(&f->mmio, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET))
		(void)wait_interrupt(f);
	while (!__atomic_load_n(&f->reports, __ATOMIC_SEQ_CST))
		usleep(100);
	if (!strstr(f->report, text) || strncmp(f->report, "toy: ", 5))
		fail_msg("'%s' is not about '%s'", f->report, text);
}

/* ---- Registers --------------------------------------------------------------------------------- */

static void test_identity(void **state)
{
	struct fixture *f = *state;
	uint8_t byte = 0xff;
	uint64_t word = UINT64_MAX;

	assert_int_equal(driver_read(&f->mmio, VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
	assert_int_equal(driver_read(&f->mmio, VIRTIO_MMIO_VERSION), 2);
	assert_int_equal(driver_read(&f->mmio, VIRTIO_MMIO_DEVICE_ID), MODEL_ID);
	assert_int_not_equal(driver_read(&f->mmio, VIRTIO_MMIO_VENDOR_ID), 0);
	/* There is no shared memory (4.2.2.1). */
	for (uint32_t id = 0; id < 3; id++) {
		driver_write(&f->mmio, VIRTIO_MMIO_SHM_SEL, id);
		assert_int_equal(driver_read(&f->mmio, VIRTIO_MMIO_SHM_LEN_LOW), UINT32_MAX);
		assert_int_equal(driver_read(&f->mmio, VIRTIO_MMIO_SHM_LEN_HIGH), UINT32_MAX);
		assert_int_equal(driver_read(&f->mmio, VIRTIO_MMIO_SHM_BASE_LOW), UINT32_MAX);
		assert_int_equal(driver_read(&f->mmio, VIRTIO_MMIO_SHM_BASE_HIGH), UINT32_MAX);
	}
	/* Registers are words. */
	virtio_mmio_bus_ops.read(&f->mmio, 0, &byte, 1);
	assert_int_equal(byte, 0);
	virtio_mmio_bus_ops.read(&f->mmio, 0, &word, 8);
	assert_int_equal(word, 0);
	virtio_mmio_bus_ops.read(&f->mmio, 2, &word, 4);
	assert_int_equal(word, 0);
	virtio_mmio_bus_ops.write(&f->mmio, VIRTIO_MMIO_STATUS, "\1", 1);
	assert_int_equal(driver_read(&f->mmio, VIRTIO_MMIO_STATUS), 0);
	/* What is none reads as zero, and takes anything. */
	for (uint64_t offset = 0; offset < VIRTIO_MMIO_BYTES; offset += 4)
		if (offset != VIRTIO_MMIO_STATUS && offset != VIRTIO_MMIO_QUEUE_NOTIFY)
			driver_write(&f->mmio, offset, 0xffffffff);
	assert_int_equal(driver_read(&f->mmio, VIRTIO_MMIO_VERSION), 2);
	assert_int_equal(driver_read(&f->mmio, VIRTIO_MMIO_BYTES - 4), 0);
}

static uint64_t offered(struct fixture *f)
{
	uint64_t features = 0;

	for (uint32_t word = 0; word < 2; word++) {
		driver_write(&f->mmio, VIRTIO_MMIO_DEVICE_FEATURES_SEL, word);
		features |= (uint64_t)driver_read(&f->mmio, VIRTIO_MMIO_DEVICE_FEATURES)
			    << 32 * word;
	}
	driver_write(&f->mmio, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 2);
	assert_int_equal(driver_read(&f->mmio, VIRTIO_MMIO_DEVICE_FEATURES), 0);
	return features;
}

static void test_features(void **state)
{
	struct fixture *f = *state;
	uint64_t features = offered(f);

	assert_int_equal(features, FEATURES | EVENT_IDX | PACKED | OWN |
					   UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC);
	assert_true(driver_negotiate(&f->mmio, features));
	assert_true(driver_negotiate(&f->mmio, FEATURES));
	/* One that was not offered; a driver of before virtio 1.0. */
	assert_false(driver_negotiate(&f->mmio, FEATURES | 1));
	assert_false(driver_negotiate(&f->mmio, FEATURES | UINT64_C(1) << 63));
	assert_false(driver_negotiate(&f->mmio, OWN));
	/* Without FEATURES_OK there is no DRIVER_OK. */
	driver_ok(&f->mmio);
	assert_int_equal(driver_read(&f->mmio, VIRTIO_MMIO_STATUS),
			 VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	/* After it, features stay. */
	assert_true(driver_negotiate(&f->mmio, FEATURES));
	driver_write(&f->mmio, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	driver_write(&f->mmio, VIRTIO_MMIO_DRIVER_FEATURES, 1);
	driver_ok(&f->mmio);
	assert_int_equal(driver_read(&f->mmio, VIRTIO_MMIO_STATUS), DRIVER_STATUS_OK);
}

static void test_status(void **state)
{
	struct fixture *f = *state;

	start(f, 0);
	/* Bits are not taken back, and NEEDS_RESET is the device's. */
	driver_write(&f->mmio, VIRTIO_MMIO_STATUS, 1);
	assert_int_equal(driver_read(&f->mmio, VIRTIO_MMIO_STATUS), DRIVER_STATUS_OK);
	driver_write(&f->mmio, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_int_equal(driver_read(&f->mmio, VIRTIO_MMIO_STATUS), DRIVER_STATUS_OK);
	driver_write(&f->mmio, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_FAILED);
	assert_int_equal(driver_read(&f->mmio, VIRTIO_MMIO_STATUS),
			 DRIVER_STATUS_OK | VIRTIO_CONFIG_S_FAILED);
	driver_write(&f->mmio, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(driver_read(&f->mmio, VIRTIO_MMIO_STATUS), 0);
	assert_int_equal(f->resets, 2); /* one in driver_negotiate() */
}

static void test_queue_registers(void **state)
{
	struct fixture *f = *state;

	assert_true(driver_negotiate(&f->mmio, FEATURES));
	driver_queue_init(&f->queue, &f->guest, RING(0), 8, false, false);
	for (uint32_t queue = 0; queue < 4; queue++) {
		bool there = queue < 2;

		driver_setup_queue(&f->mmio, queue, &f->queue);
		assert_int_equal(driver_read(&f->mmio, VIRTIO_MMIO_QUEUE_NUM_MAX),
				 there ? VIRTQUEUE_MAX_SIZE : 0);
		assert_int_equal(driver_read(&f->mmio, VIRTIO_MMIO_QUEUE_READY), there);
		driver_write(&f->mmio, VIRTIO_MMIO_QUEUE_READY, 0);
		assert_int_equal(driver_read(&f->mmio, VIRTIO_MMIO_QUEUE_READY), 0);
	}
	driver_write(&f->mmio, VIRTIO_MMIO_QUEUE_SEL, UINT32_MAX);
	assert_int_equal(driver_read(&f->mmio, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
	/* Not before FEATURES_OK, and not after DRIVER_OK. */
	driver_write(&f->mmio, VIRTIO_MMIO_STATUS, 0);
	driver_setup_queue(&f->mmio, 0, &f->queue);
	assert_int_equal(driver_read(&f->mmio, VIRTIO_MMIO_QUEUE_READY), 0);
	start(f, 0);
	driver_setup_queue(&f->mmio, 1, &f->queue);
	assert_int_equal(driver_read(&f->mmio, VIRTIO_MMIO_QUEUE_READY), 0);
}

static void test_bad_queue(void **state)
{
	struct fixture *f = *state;

	for (unsigned int i = 0; i < 4; i++) {
		assert_true(driver_negotiate(&f->mmio, FEATURES));
		driver_queue_init(&f->queue, &f->guest, RING(0), 8, false, false);
		if (i == 0)
			f->queue.config.size = 3;
		else if (i == 1)
			f->queue.config.size = VIRTQUEUE_MAX_SIZE * 2;
		else if (i == 2)
			f->queue.config.descriptors++;
		else
			f->queue.config.device = UINT64_MAX - 3;
		driver_setup_queue(&f->mmio, 0, &f->queue);
		assert_int_equal(driver_read(&f->mmio, VIRTIO_MMIO_QUEUE_READY), 0);
		expect_needs_reset(f, "");
	}
	assert_int_equal(needed_resets(f), 4);
	/* Told once. */
	assert_int_equal(f->reports, 1);
}

static void test_config_space(void **state)
{
	struct fixture *f = *state;
	uint32_t generation;

	assert_int_equal(driver_config(&f->mmio, 0, 8), 0x0807060504030201);
	assert_int_equal(driver_config(&f->mmio, 2, 2), 0x0403);
	assert_int_equal(driver_config(&f->mmio, 7, 1), 8);
	/* Over the end, and far behind it. */
	assert_int_equal(driver_config(&f->mmio, 6, 8), 0x0807);
	assert_int_equal(driver_config(&f->mmio, 0xe00, 8), 0);
	/* The driver writes what it may. */
	virtio_mmio_bus_ops.write(&f->mmio, VIRTIO_MMIO_CONFIG + 6, "abcdefgh", 8);
	assert_int_equal(driver_config(&f->mmio, 0, 8), 0x0807060504030201);
	assert_int_equal(driver_config(&f->mmio, 8, 4), 0x66656463);
	virtio_mmio_bus_ops.write(&f->mmio, VIRTIO_MMIO_CONFIG + 0xe00, "abcdefgh", 8);
	/* The device changes it. */
	start(f, 0);
	assert_int_equal(driver_config(&f->mmio, 8, 4), 0); /* reset */
	generation = driver_read(&f->mmio, VIRTIO_MMIO_CONFIG_GENERATION);
	virtio_device_set_config(f->device, 0, "\11", 1, false);
	assert_int_equal(driver_read(&f->mmio, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	assert_int_not_equal(driver_read(&f->mmio, VIRTIO_MMIO_CONFIG_GENERATION), generation);
	virtio_device_set_config(f->device, 1, "\12", 1, true);
	assert_int_equal(wait_interrupt(f), VIRTIO_INTERRUPT_CONFIG);
	assert_int_equal(driver_config(&f->mmio, 0, 2), 0x0a09);
	assert_int_equal(driver_read(&f->mmio, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
}

/* ---- Work -------------------------------------------------------------------------------------- */

static void test_work(void **state)
{
	static const uint64_t features[] = {0, EVENT_IDX, PACKED, PACKED | EVENT_IDX};
	struct virtio_device_counters counters;
	struct fixture *f = *state;

	for (size_t i = 0; i < 4; i++) {
		start(f, features[i]);
		for (unsigned int j = 0; j < 50; j++) {
			driver_want(&f->queue, true);
			ask(f, DATA);
			expect_answer(f);
		}
	}
	/* By the eventfd that KVM writes to. */
	eventfd_write(virtio_device_kick_fd(f->device), 1);
	do {
		virtio_device_get_counters(f->device, &counters);
	} while (!counters.works || !counters.work_ns);
}

/* Requests before DRIVER_OK wait for it; those without a notification wait for that. */
static void test_not_before_driver_ok(void **state)
{
	struct fixture *f = *state;
	uint32_t id, length;

	assert_true(driver_negotiate(&f->mmio, FEATURES));
	driver_queue_init(&f->queue, &f->guest, RING(0), 8, false, false);
	driver_setup_queue(&f->mmio, 0, &f->queue);
	ask(f, DATA);
	usleep(20000);
	assert_false(driver_take(&f->queue, &id, &length));
	driver_ok(&f->mmio);
	expect_answer(f);
}

static void test_bad_request(void **state)
{
	struct fixture *f = *state;
	uint32_t id, length;

	start(f, 0);
	ask(f, HOLE);
	expect_needs_reset(f, "no memory");
	/* The device does nothing more. */
	ask(f, DATA);
	usleep(20000);
	assert_false(driver_take(&f->queue, &id, &length));
	assert_int_equal(needed_resets(f), 1);
	/* A reset helps, and a second mistake is counted, not told. */
	start(f, PACKED);
	ask(f, DATA);
	expect_answer(f);
	ask(f, HOLE);
	expect_needs_reset(f, "no memory");
	assert_int_equal(needed_resets(f), 2);
	assert_int_equal(f->reports, 1);
}

/* A notification whose queue there is none of, thousands of them. */
static void test_notify_storm(void **state)
{
	struct fixture *f = *state;

	start(f, EVENT_IDX);
	for (uint32_t i = 0; i < 20000; i++)
		driver_write(&f->mmio, VIRTIO_MMIO_QUEUE_NOTIFY, i * 0x10001);
	ask(f, DATA);
	expect_answer(f);
}

/* ---- Reset while work is under way ------------------------------------------------------------- */

static void *reset_main(void *arg)
{
	struct fixture *f = arg;

	driver_write(&f->mmio, VIRTIO_MMIO_STATUS, 0);
	return NULL;
}

static void *queue_stop_main(void *arg)
{
	struct fixture *f = arg;

	driver_write(&f->mmio, VIRTIO_MMIO_QUEUE_READY, 0);
	return NULL;
}

static void *pause_main(void *arg)
{
	struct fixture *f = arg;

	virtio_device_pause(f->device);
	return NULL;
}

static bool ends_within(pthread_t thread, long ms)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += ms * 1000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	return !pthread_timedjoin_np(thread, NULL, &until);
}

static void hold(struct fixture *f, bool hold)
{
	__atomic_store_n(&f->hold, hold, __ATOMIC_SEQ_CST);
}

/* Have the model be inside the first of two requests, and start something that must wait for it. */
static pthread_t start_while_held(struct fixture *f, void *(*what)(void *))
{
	pthread_t thread;

	hold(f, true);
	ask(f, DATA);
	ask(f, DATA);
	sem_wait(&f->inside);
	hold(f, false);
	pthread_create(&thread, NULL, what, f);
	wait_asleep(thread);
	assert_false(ends_within(thread, 50));
	return thread;
}

/*
 * The reset returns when the request at hand is done, the next one is not begun, and from then on
 * the rings are the driver's again.
 */
static void test_reset_during_work(void **state)
{
	struct fixture *f = *state;

	for (unsigned int i = 0; i < 10; i++) {
		uint32_t served, resets;
		pthread_t thread;

		start(f, i % 2 ? PACKED : EVENT_IDX);
		served = __atomic_load_n(&f->served, __ATOMIC_SEQ_CST);
		resets = __atomic_load_n(&f->resets, __ATOMIC_SEQ_CST);
		thread = start_while_held(f, reset_main);
		assert_int_equal(__atomic_load_n(&f->resets, __ATOMIC_SEQ_CST), resets);
		sem_post(&f->go_on);
		pthread_join(thread, NULL);
		assert_int_equal(f->served, served + 1);
		assert_int_equal(f->resets, resets + 1);
		memset(guest_at(&f->guest, RING(0)), 0x5a, DRIVER_QUEUE_BYTES);
		notify(f);
		usleep(5000);
		for (unsigned int j = 0; j < DRIVER_QUEUE_BYTES; j++)
			assert_int_equal(*(uint8_t *)guest_at(&f->guest, RING(0) + j), 0x5a);
		assert_int_equal(driver_read(&f->mmio, VIRTIO_MMIO_STATUS), 0);
	}
	start(f, 0);
	ask(f, DATA);
	expect_answer(f);
}

static void test_queue_stop_during_work(void **state)
{
	struct fixture *f = *state;
	pthread_t thread;
	uint32_t served;

	start(f, 0);
	served = __atomic_load_n(&f->served, __ATOMIC_SEQ_CST);
	thread = start_while_held(f, queue_stop_main);
	sem_post(&f->go_on);
	pthread_join(thread, NULL);
	assert_int_equal(f->served, served + 1);
	notify(f);
	usleep(5000);
	assert_int_equal(__atomic_load_n(&f->served, __ATOMIC_SEQ_CST), served + 1);
	assert_int_equal(driver_read(&f->mmio, VIRTIO_MMIO_STATUS), DRIVER_STATUS_OK);
}

/* A pause loses nothing. */
static void test_pause_during_work(void **state)
{
	struct fixture *f = *state;
	uint32_t id, length;
	pthread_t thread;

	start(f, 0);
	thread = start_while_held(f, pause_main);
	sem_post(&f->go_on);
	pthread_join(thread, NULL);
	expect_answer(f);
	ask(f, DATA);
	usleep(5000);
	assert_int_equal(__atomic_load_n(&f->served, __ATOMIC_SEQ_CST), 1);
	virtio_device_resume(f->device);
	while (__atomic_load_n(&f->served, __ATOMIC_SEQ_CST) < 3)
		usleep(100);
	expect_answer(f);
	assert_true(driver_take(&f->queue, &id, &length));
}

/* Several vCPUs do with the registers as they please. */
struct vandal {
	struct fixture *f;
	uint64_t random;
};

static void *vandal_main(void *arg)
{
	struct vandal *vandal = arg;
	struct fixture *f = vandal->f;
	struct driver_queue queue = f->queue;

	for (unsigned int i = 0; i < 3000; i++) {
		vandal->random = vandal->random * 6364136223846793005u + 1442695040888963407u;
		switch (vandal->random >> 60) {
		case 0:
			driver_write(&f->mmio, VIRTIO_MMIO_STATUS, 0);
			break;
		case 1:
			driver_negotiate(&f->mmio, FEATURES);
			break;
		case 2:
			driver_setup_queue(&f->mmio, vandal->random >> 40 & 1, &queue);
			break;
		case 3:
			driver_ok(&f->mmio);
			break;
		case 4:
			driver_write(&f->mmio, VIRTIO_MMIO_QUEUE_READY, 0);
			break;
		case 5:
			notify(f);
			break;
		default:
			driver_write(&f->mmio, vandal->random >> 30 & 0x1fc,
				     vandal->random >> 20 & 0xff);
		}
	}
	return NULL;
}

static void test_vandals(void **state)
{
	struct fixture *f = *state;
	struct vandal vandals[3];
	pthread_t threads[3];

	driver_queue_init(&f->queue, &f->guest, RING(0), 8, false, false);
	memset(guest_at(&f->guest, RING(0)), 0x11, 0x2000);
	for (unsigned int i = 0; i < 3; i++) {
		vandals[i] = (struct vandal){f, i};
		pthread_create(&threads[i], NULL, vandal_main, &vandals[i]);
	}
	for (unsigned int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	start(f, 0);
	ask(f, DATA);
	expect_answer(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_identity, setup, teardown),
		cmocka_unit_test_setup_teardown(test_features, setup, teardown),
		cmocka_unit_test_setup_teardown(test_status, setup, teardown),
		cmocka_unit_test_setup_teardown(test_queue_registers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_queue, setup, teardown),
		cmocka_unit_test_setup_teardown(test_config_space, setup, teardown),
		cmocka_unit_test_setup_teardown(test_work, setup, teardown),
		cmocka_unit_test_setup_teardown(test_not_before_driver_ok, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_request, setup, teardown),
		cmocka_unit_test_setup_teardown(test_notify_storm, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reset_during_work, setup, teardown),
		cmocka_unit_test_setup_teardown(test_queue_stop_during_work, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pause_during_work, setup, teardown),
		cmocka_unit_test_setup_teardown(test_vandals, setup, teardown),
	};

	return cmocka_run_group_tests_name("virtio_mmio", tests, NULL, NULL);
}
