/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <poll.h>
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
#include <linux/virtio_mmio.h>

#include "tests/lib/balloon_guest.h"

static void note_report(void *arg, const char *line)
{
	struct balloon_guest *f = arg;

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
	struct balloon_guest *f = arg;

	__atomic_fetch_add(&f->changes, 1, __ATOMIC_SEQ_CST);
	__atomic_store_n(&f->changed, actual_bytes, __ATOMIC_SEQ_CST);
}

int balloon_guest_create(struct balloon_guest *f)
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

int balloon_guest_setup(void **state)
{
	const enum guest_mm_backing *backing = *state;
	struct balloon_guest *f = calloc(1, sizeof(*f));

	if (guest_create(&f->guest, BASE, BASE_BYTES, RAM_BYTES,
			 backing ? *backing : GUEST_MM_ANON))
		return -1;
	*state = f;
	f->irq_fd = eventfd(0, EFD_NONBLOCK);
	return balloon_guest_create(f);
}

int balloon_guest_teardown(void **state)
{
	struct balloon_guest *f = *state;

	virtio_balloon_destroy(f->balloon);
	guest_destroy(&f->guest);
	close(f->irq_fd);
	free(f);
	return 0;
}

void balloon_guest_start(struct balloon_guest *f, uint64_t features, uint32_t poison)
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

void balloon_guest_notify(struct balloon_guest *f)
{
	driver_write(&f->mmio, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
}

bool balloon_guest_needs_reset(struct balloon_guest *f)
{
	return driver_read(&f->mmio, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

/* Wait for an interrupt, or for a minute. */
void balloon_guest_wait_interrupt(struct balloon_guest *f)
{
	struct pollfd irq = {.fd = f->irq_fd, .events = POLLIN};
	eventfd_t count;

	assert_true(poll(&irq, 1, 60000) > 0);
	eventfd_read(f->irq_fd, &count);
	driver_write(&f->mmio, VIRTIO_MMIO_INTERRUPT_ACK, 3);
}

void balloon_guest_wait_used(struct balloon_guest *f, unsigned int queue)
{
	uint32_t id, length;

	while (!driver_take(&f->queues[queue], &id, &length)) {
		assert_false(balloon_guest_needs_reset(f));
		balloon_guest_wait_interrupt(f);
	}
	assert_int_equal(length, 0);
}

void balloon_guest_expect_needs_reset(struct balloon_guest *f)
{
	while (!balloon_guest_needs_reset(f))
		balloon_guest_wait_interrupt(f);
}

/* Have the device read @bytes. */
void balloon_guest_send(struct balloon_guest *f, unsigned int queue, const void *bytes,
			uint32_t count)
{
	const struct driver_buffer buffer = {LIST, count, false};

	memcpy(guest_at(&f->guest, LIST), bytes, count);
	driver_add(&f->queues[queue], &buffer, 1, 0);
	balloon_guest_notify(f);
}

void balloon_guest_send_pages(struct balloon_guest *f, unsigned int queue, const uint32_t *numbers,
			      uint32_t count)
{
	balloon_guest_send(f, queue, numbers, count * sizeof(*numbers));
	balloon_guest_wait_used(f, queue);
}

struct virtio_balloon_state balloon_guest_state_of(struct balloon_guest *f)
{
	struct virtio_balloon_state s;

	virtio_balloon_get(f->balloon, &s);
	return s;
}

void balloon_guest_fill(struct balloon_guest *f, unsigned int first, unsigned int count)
{
	for (unsigned int i = first; i < first + count; i++)
		memset(guest_at(&f->guest, PAGES + i * PAGE), 0x40 + i % 64, PAGE);
}

void balloon_guest_expect_page(struct balloon_guest *f, unsigned int number, bool kept)
{
	const uint8_t *page = guest_at(&f->guest, PAGES + number * PAGE);

	assert_int_equal(page[0], kept ? 0x40 + number % 64 : 0);
	assert_int_equal(page[PAGE - 1], kept ? 0x40 + number % 64 : 0);
}
