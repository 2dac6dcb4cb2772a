/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cmocka.h>

#include "vmm/virtio_presence.h"

static struct irq irq;

static uint8_t look(struct virtio_presence *presence, unsigned int slot)
{
	uint8_t byte = 0xee;

	virtio_presence_bus_ops.read(presence, slot, &byte, 1);
	return byte;
}

/* An edge, however long it takes. */
static void wait_for_edge(void)
{
	struct pollfd poll_fd = {.fd = irq.eventfd, .events = POLLIN};
	eventfd_t count;

	assert_int_equal(poll(&poll_fd, 1, 60000), 1);
	assert_int_equal(eventfd_read(irq.eventfd, &count), 0);
}

static bool is_quiet(void)
{
	eventfd_t count;

	return eventfd_read(irq.eventfd, &count) != 0;
}

static void the_ports_say_what_is_there(void **state)
{
	struct virtio_presence *presence;
	uint32_t four = 0;

	(void)state;
	assert_int_equal(virtio_presence_create(irq, &presence), 0);
	for (unsigned int slot = 0; slot < VIRTIO_SLOTS; slot++)
		assert_int_equal(look(presence, slot), 0);
	virtio_presence_set(presence, 2, true);
	virtio_presence_set(presence, 3, true);
	virtio_presence_bus_ops.read(presence, 0, &four, 4);
	assert_int_equal(four, 0x01010000);
	virtio_presence_set(presence, 2, false);
	assert_int_equal(look(presence, 2), 0);
	assert_int_equal(look(presence, 3), 1);
	assert_true(is_quiet());
	virtio_presence_destroy(presence);
}

static void a_change_is_told_until_it_is_seen(void **state)
{
	struct virtio_presence *presence;

	(void)state;
	assert_int_equal(virtio_presence_create(irq, &presence), 0);
	assert_int_equal(virtio_presence_change(presence, 5, true), 0);
	wait_for_edge();
	/* Nobody has looked at that one: a look at another does not count. */
	look(presence, 4);
	wait_for_edge();
	wait_for_edge();
	assert_int_equal(look(presence, 5), 1);
	virtio_presence_stop(presence);
	is_quiet(); /* one more may have come as we looked */
	/* Stopped, it tells nothing; what is there is right all the same. */
	virtio_presence_set(presence, 5, false);
	assert_int_equal(look(presence, 5), 0);
	assert_true(is_quiet());
	virtio_presence_destroy(presence);
}

static void a_reset_forgets_what_was_to_tell(void **state)
{
	struct virtio_presence *presence;

	(void)state;
	assert_int_equal(virtio_presence_create(irq, &presence), 0);
	assert_int_equal(virtio_presence_change(presence, 0, true), 0);
	wait_for_edge();
	assert_int_equal(virtio_presence_change(presence, 0, false), 0);
	wait_for_edge();
	virtio_presence_reset(presence);
	assert_int_equal(look(presence, 0), 0);
	virtio_presence_destroy(presence);
	is_quiet();
}

static int make_irq(void **state)
{
	(void)state;
	irq.eventfd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return irq.eventfd < 0;
}

static int close_irq(void **state)
{
	(void)state;
	return close(irq.eventfd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_ports_say_what_is_there),
		cmocka_unit_test(a_change_is_told_until_it_is_seen),
		cmocka_unit_test(a_reset_forgets_what_was_to_tell),
	};

	return cmocka_run_group_tests_name("virtio_presence", tests, make_irq, close_irq);
}
