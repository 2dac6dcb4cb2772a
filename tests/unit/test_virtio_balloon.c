/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>
#include <cmocka.h>
#include <linux/virtio_mmio.h>

#include "tests/lib/balloon_guest.h"

/* What a balloon is told and tells: its target, the guest's statistics, hints of free pages. */

/* ---- The configuration space ------------------------------------------------------------------- */

static void test_target(void **state)
{
	struct balloon_guest *f = *state;
	uint32_t actual = 5;
	struct samara_error err;

	balloon_guest_start(f, ALL, 0);
	assert_int_equal(virtio_balloon_set_target(f->balloon, 8 * PAGE + 1, &err), 0);
	assert_int_equal(
		driver_config(&f->mmio, offsetof(struct virtio_balloon_config, num_pages), 4), 8);
	balloon_guest_wait_interrupt(f);
	assert_int_equal(balloon_guest_state_of(f).target_bytes, 8 * PAGE);
	assert_int_equal(virtio_balloon_set_target(f->balloon, UINT64_C(1) << 44, &err), -ERANGE);
	assert_int_equal(balloon_guest_state_of(f).target_bytes, 8 * PAGE);
	virtio_mmio_bus_ops.write(
		&f->mmio, VIRTIO_MMIO_CONFIG + offsetof(struct virtio_balloon_config, actual),
		&actual, 4);
	while (__atomic_load_n(&f->changed, __ATOMIC_SEQ_CST) != 5 * PAGE)
		usleep(100);
	assert_int_equal(balloon_guest_state_of(f).actual_bytes, 5 * PAGE);
	/* The driver does not set the target. */
	virtio_mmio_bus_ops.write(&f->mmio, VIRTIO_MMIO_CONFIG, &actual, 4);
	assert_int_equal(balloon_guest_state_of(f).target_bytes, 8 * PAGE);
	/* A new driver has an empty balloon, and the same target. */
	virtio_device_reset(virtio_balloon_device(f->balloon));
	assert_int_equal(balloon_guest_state_of(f).actual_bytes, 0);
	assert_int_equal(balloon_guest_state_of(f).target_bytes, 8 * PAGE);
	/* Which is told at once: there may be no new driver. */
	assert_int_equal(__atomic_load_n(&f->changed, __ATOMIC_SEQ_CST), 0);
	assert_int_equal(__atomic_load_n(&f->changes, __ATOMIC_SEQ_CST), 2);
	virtio_device_reset(virtio_balloon_device(f->balloon));
	assert_int_equal(__atomic_load_n(&f->changes, __ATOMIC_SEQ_CST), 2);
}

/* ---- Statistics -------------------------------------------------------------------------------- */

static void send_stats(struct balloon_guest *f, uint64_t memory_free)
{
	const struct virtio_balloon_stat entries[] = {
		{VIRTIO_BALLOON_S_MEMTOT, UINT64_C(0x123456789abcdef)},
		{0xffff, 1}, /* from the future */
		{VIRTIO_BALLOON_S_MEMFREE, memory_free},
		{VIRTIO_BALLOON_STATS, 2},
	};

	balloon_guest_send(f, STATS, entries, sizeof(entries));
}

static void expect_stats(struct balloon_guest *f, uint64_t memory_free)
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
	struct balloon_guest *f = *state;
	struct virtio_balloon_stats stats;
	uint32_t id, length;

	balloon_guest_start(f, ALL, 0);
	virtio_balloon_get_stats(f->balloon, &stats);
	assert_int_equal(stats.updated_s, 0);
	send_stats(f, 1);
	expect_stats(f, 1);
	/* The device keeps the buffer until it wants to know more. */
	usleep(20000);
	assert_false(driver_take(&f->queues[STATS], &id, &length));
	virtio_balloon_poll_stats(f->balloon, 1);
	assert_int_equal(virtio_balloon_poll_interval(f->balloon), 1);
	balloon_guest_wait_used(f, STATS);
	send_stats(f, 2);
	expect_stats(f, 2);
	/* And again after a second. */
	balloon_guest_wait_used(f, STATS);
	virtio_balloon_poll_stats(f->balloon, 0);
	send_stats(f, 3);
	expect_stats(f, 3);
	/* Two at a time: the first one comes back. */
	send_stats(f, 4);
	balloon_guest_wait_used(f, STATS);
	expect_stats(f, 4);
	assert_false(driver_take(&f->queues[STATS], &id, &length));
	/* After a reset, the former driver's buffer is forgotten. */
	balloon_guest_start(f, ALL, 0);
	virtio_balloon_get_stats(f->balloon, &stats);
	assert_int_equal(stats.updated_s, 0);
	virtio_balloon_poll_stats(f->balloon, 1);
	usleep(20000);
	assert_false(driver_take(&f->queues[STATS], &id, &length));
	send_stats(f, 5);
	balloon_guest_wait_used(f, STATS);
	expect_stats(f, 5);
}

/* Longer than poll() can wait: it waits as long as it can. */
static void test_stats_seldom(void **state)
{
	struct balloon_guest *f = *state;

	balloon_guest_start(f, ALL, 0);
	virtio_balloon_poll_stats(f->balloon, UINT32_MAX);
	send_stats(f, 1);
	balloon_guest_wait_used(f, STATS);
	send_stats(f, 2);
	expect_stats(f, 2);
	virtio_device_pause(virtio_balloon_device(f->balloon));
	assert_int_equal(balloon_stats_timeout_ms(f->balloon), INT_MAX);
	virtio_device_resume(virtio_balloon_device(f->balloon));
	virtio_balloon_poll_stats(f->balloon, 1);
	balloon_guest_wait_used(f, STATS);
}

static void test_stats_queue_taken_away(void **state)
{
	struct balloon_guest *f = *state;
	uint32_t number = PFN(PAGES);

	balloon_guest_start(f, ALL, 0);
	send_stats(f, 1);
	expect_stats(f, 1);
	driver_write(&f->mmio, VIRTIO_MMIO_QUEUE_SEL, STATS);
	driver_write(&f->mmio, VIRTIO_MMIO_QUEUE_READY, 0);
	virtio_balloon_poll_stats(f->balloon, 1);
	balloon_guest_send_pages(f, INFLATE, &number, 1);
	assert_false(balloon_guest_needs_reset(f));
}

/* ---- Hints ------------------------------------------------------------------------------------- */

static void note_hint(void *arg, gpa_t gpa, uint64_t size_bytes)
{
	struct balloon_guest *f = arg;

	f->hint[f->hints++] = (struct chain_segment){gpa, size_bytes};
}

static void note_over(void *arg, bool complete)
{
	struct balloon_guest *f = arg;

	f->overs++;
	f->completes += complete;
}

static int start_hints(struct balloon_guest *f)
{
	struct samara_error err;

	return virtio_balloon_start_hints(f->balloon, note_hint, note_over, f, &err);
}

static void send_id(struct balloon_guest *f, uint32_t id)
{
	balloon_guest_send(f, HINTS, &id, sizeof(id));
	balloon_guest_wait_used(f, HINTS);
}

static void send_hint(struct balloon_guest *f, unsigned int page, unsigned int count)
{
	const struct driver_buffer buffer = {PAGES + page * PAGE, count * PAGE, true};

	driver_add(&f->queues[HINTS], &buffer, 1, 0);
	balloon_guest_notify(f);
	balloon_guest_wait_used(f, HINTS);
}

static uint32_t command(struct balloon_guest *f)
{
	return driver_config(&f->mmio,
			     offsetof(struct virtio_balloon_config, free_page_hint_cmd_id), 4);
}

static void test_hints(void **state)
{
	struct balloon_guest *f = *state;
	uint32_t id;

	assert_int_equal(start_hints(f), -EOPNOTSUPP);
	balloon_guest_start(f, ALL & ~BIT(VIRTIO_BALLOON_F_FREE_PAGE_HINT), 0);
	assert_int_equal(start_hints(f), -EOPNOTSUPP);
	balloon_guest_start(f, ALL, 0);
	balloon_guest_fill(f, 0, 16);
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
	assert_int_equal(balloon_guest_state_of(f).hinted_pages, 4);
	virtio_balloon_end_hints(f->balloon);
	assert_int_equal(command(f), VIRTIO_BALLOON_CMD_ID_DONE);
	send_id(f, id);
	send_hint(f, 2, 3);
	assert_int_equal(f->hints, 2);
	/* A hint is no discard. */
	for (unsigned int i = 0; i < 16; i++)
		balloon_guest_expect_page(f, i, true);
	/* Another round has another number, and no hint comes after a reset. */
	assert_int_equal(start_hints(f), 0);
	assert_int_not_equal(command(f), id);
	id = command(f);
	send_id(f, id);
	balloon_guest_start(f, ALL, 0);
	assert_int_equal(f->overs, 2);
	assert_int_equal(f->completes, 1);
	assert_int_equal(command(f), VIRTIO_BALLOON_CMD_ID_STOP);
	send_id(f, id);
	send_hint(f, 2, 3);
	assert_int_equal(f->hints, 2);
	assert_int_equal(start_hints(f), -EBUSY);
	virtio_balloon_end_hints(f->balloon);
	/* And it is nobody's any more. */
	balloon_guest_start(f, ALL, 0);
	assert_int_equal(f->overs, 2);
	assert_int_equal(start_hints(f), 0);
	virtio_balloon_end_hints(f->balloon);
}

static void test_short_hint(void **state)
{
	struct balloon_guest *f = *state;

	balloon_guest_start(f, ALL, 0);
	balloon_guest_send(f, HINTS, "ab", 2);
	balloon_guest_expect_needs_reset(f);
}

int main(void)
{
#define WITH_GUEST(test) \
	cmocka_unit_test_setup_teardown(test, balloon_guest_setup, balloon_guest_teardown)
	const struct CMUnitTest tests[] = {
		WITH_GUEST(test_target),       WITH_GUEST(test_stats),
		WITH_GUEST(test_stats_seldom), WITH_GUEST(test_stats_queue_taken_away),
		WITH_GUEST(test_hints),        WITH_GUEST(test_short_hint),
	};

	return cmocka_run_group_tests_name("virtio_balloon", tests, NULL, NULL);
}
