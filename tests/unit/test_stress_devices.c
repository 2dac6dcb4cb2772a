/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests of samara stress at memory devices, and what comes of them: answers of a guest that the
 * test plays at the devices' registers, and answers that are not true.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/stress_clock.h"
#include "vmm/stress_coverage.h"
#include "vmm/stress_state.h"

/* However long it takes that the DIMMs' thread has carried something out. */
#define PATIENCE_NS (60 * STRESS_NS_PER_S)

#define OST_BUSY    0x82

static struct stress *s;
static struct stress_worker worker;
static char noted[512];
static unsigned int gone;

static void note(const char *line, void *arg)
{
	(void)arg;
	snprintf(noted, sizeof(noted), "%s", line);
}

static const struct stress_watcher watcher = {.note = note};

static void dimm_gone(void *arg, gpa_t gpa, uint64_t size_bytes)
{
	(void)arg;
	assert_true(gpa >= s->layout.dimm_gpa && size_bytes);
	gone++;
}

static int set_up(void **state)
{
	struct stress_board_config board = {
		.with_mem = true, .with_balloon = true, .with_dimms = true};
	struct stress_devices_config devices = {.dimm_gone = dimm_gone};
	const struct guest_mm_config config = {0};

	(void)state;
	s = calloc(1, sizeof(*s));
	assert_non_null(s);
	s->watcher = &watcher;
	pthread_mutex_init(&s->note_lock, NULL);
	stress_log_init(&s->log);
	assert_int_equal(stress_layout_init(&s->layout, 1, 1, 4096, 4096, 0, NULL), 0);
	assert_int_equal(guest_mm_create(&config, &s->mm, NULL), 0);
	assert_int_equal(guest_mm_add_window(s->mm, STRESS_WINDOW_GPA, s->layout.window_bytes,
					     GUEST_MM_ANON, NULL),
			 0);
	board.mm = s->mm;
	board.layout = &s->layout;
	board.notify = stress_devices_notice;
	board.arg = &s->devices;
	assert_int_equal(stress_board_create(&s->board, &board, NULL, NULL), 0);

	devices.memory = s->board.memory;
	devices.qom = s->board.qom;
	devices.mem = virtio_memory_device(s->board.mem);
	devices.mem_path = STRESS_BOARD_MEM_PATH;
	devices.mem_gpa = s->layout.mem_gpa;
	devices.mem_bytes = STRESS_MEM_BLOCKS * STRESS_MEM_BLOCK_BYTES;
	devices.block_bytes = STRESS_MEM_BLOCK_BYTES;
	devices.balloon = balloon_device(s->board.balloon);
	devices.balloon_gpa = s->layout.balloon_gpa;
	devices.balloon_pages = STRESS_BALLOON_PAGES;
	devices.dimms = s->board.dimms;
	devices.dimm_slots = 1;
	devices.dimm_units = STRESS_DIMM_UNITS;
	devices.dimm_gpa = s->layout.dimm_gpa;
	devices.dimm_unit_bytes = STRESS_DIMM_UNIT_BYTES;
	stress_devices_init(&s->devices, s, &devices);

	worker = (struct stress_worker){.stress = s, .rng = {1}};
	noted[0] = 0;
	gone = 0;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	stress_board_destroy(&s->board);
	guest_mm_destroy(s->mm);
	free(s);
	return 0;
}

/* ---- The guest ------------------------------------------------------------------------------- */

static uint32_t get(uint32_t offset)
{
	uint32_t value;

	assert_int_equal(bus_read(s->board.pio, MEMORY_HOTPLUG_PORT + offset, &value, 4), 0);
	return value;
}

static void set(uint32_t offset, uint32_t value)
{
	assert_int_equal(bus_write(s->board.pio, MEMORY_HOTPLUG_PORT + offset, &value, 4), 0);
}

static void say(uint32_t source, uint32_t status)
{
	set(MEMORY_HOTPLUG_SLOT, 0);
	set(MEMORY_HOTPLUG_OST_EVENT, source);
	set(MEMORY_HOTPLUG_OST_STATUS, status);
}

static void hear_of(uint32_t event)
{
	assert_int_equal(get(MEMORY_HOTPLUG_NEXT), 0);
	assert_true(get(MEMORY_HOTPLUG_STATUS) & event);
	set(MEMORY_HOTPLUG_STATUS, event);
}

static uint64_t operations(enum stress_op op)
{
	uint64_t count;

	pthread_mutex_lock(&s->devices.lock);
	count = s->devices.operations[op];
	pthread_mutex_unlock(&s->devices.lock);
	return count;
}

static void wait_for(enum stress_op op, uint64_t count)
{
	uint64_t start = stress_now_ns();

	while (operations(op) != count) {
		assert_true(stress_now_ns() - start < PATIENCE_NS);
		stress_sleep_ns(1000000);
	}
}

static uint64_t plugged(gpa_t gpa, uint64_t bytes)
{
	uint64_t found = 0;

	stress_coverage(s->mm, gpa, bytes, UINT64_MAX, &found);
	return found;
}

/* ---- DIMMs ----------------------------------------------------------------------------------- */

static void plug_dimm(void)
{
	stress_devices_step(&worker, STRESS_MIX_DIMM);
	hear_of(MEMORY_HOTPLUG_INSERTING);
	say(1, 0);
	wait_for(STRESS_OP_DIMM, 1);
}

static void a_dimm_comes_and_goes(void **state)
{
	const struct stress_request *request = &s->devices.dimm[0];

	(void)state;
	stress_devices_step(&worker, STRESS_MIX_DIMM);
	assert_true(request->asked && request->wanted > 0);
	assert_int_equal(plugged(request->gpa, request->size_bytes), request->wanted);
	/* No answer yet: nothing more is asked for. */
	stress_devices_step(&worker, STRESS_MIX_DIMM);
	assert_int_equal(operations(STRESS_OP_DIMM), 0);
	hear_of(MEMORY_HOTPLUG_INSERTING);
	say(1, 0);
	wait_for(STRESS_OP_DIMM, 1);
	assert_true(request->there);

	stress_devices_step(&worker, STRESS_MIX_DIMM);
	hear_of(MEMORY_HOTPLUG_REMOVING);
	assert_int_equal(gone, 0);
	set(MEMORY_HOTPLUG_STATUS, MEMORY_HOTPLUG_EJECT);
	wait_for(STRESS_OP_DIMM, 2);
	assert_int_equal(gone, 1);
	assert_false(request->there);
	assert_int_equal(plugged(request->gpa, request->size_bytes), 0);
	assert_int_equal(s->operation_errors, 0);
	assert_int_equal(s->devices.operation_ns[STRESS_OP_DIMM].count, 2);
}

static void a_guest_may_keep_a_dimm(void **state)
{
	(void)state;
	plug_dimm();
	for (unsigned int i = 0; i < 3; i++) {
		stress_devices_step(&worker, STRESS_MIX_DIMM);
		hear_of(MEMORY_HOTPLUG_REMOVING);
		say(3, OST_BUSY);
		wait_for(STRESS_OP_DIMM, 2 + i);
		assert_true(s->devices.dimm[0].there);
	}
	assert_int_equal(gone, 0);
	assert_int_equal(s->operation_errors, 0);
}

/* Memory that is not there when the guest has taken it into use, and the device has plugged it. */
static void missing_memory_is_found(void **state)
{
	const struct stress_request *request = &s->devices.dimm[0];

	(void)state;
	stress_devices_step(&worker, STRESS_MIX_DIMM);
	assert_int_equal(guest_mm_unplug(s->mm, request->gpa, SAMARA_PAGE_BYTES, NULL), 0);
	hear_of(MEMORY_HOTPLUG_INSERTING);
	say(1, 0);
	wait_for(STRESS_OP_DIMM, 1);
	assert_int_equal(s->operation_errors, 1);
	assert_non_null(strstr(noted, "dimm at 0x"));
	assert_true(request->broken);
	stress_devices_step(&worker, STRESS_MIX_DIMM);
	assert_int_equal(get(MEMORY_HOTPLUG_NEXT), MEMORY_HOTPLUG_NONE);
}

/* ---- virtio ---------------------------------------------------------------------------------- */

static void a_size_is_asked_for_until_it_is_there(void **state)
{
	const struct stress_request *request = &s->devices.mem;
	struct virtio_mem_state mem;

	(void)state;
	stress_devices_step(&worker, STRESS_MIX_VIRTIO_MEM);
	virtio_mem_get(s->devices.config.mem, &mem);
	assert_true(request->asked && request->wanted > 0);
	assert_int_equal(mem.requested_bytes, request->wanted);
	assert_int_equal(operations(STRESS_OP_VIRTIO_MEM), 0);
	/* Another size than was asked for is on the way there. */
	stress_devices_notice(&(struct vm_notice){.event = VM_EVENT_MEMORY_SIZE_CHANGED,
						  .size_bytes = request->wanted + 1},
			      &s->devices);
	assert_true(request->asked);

	assert_int_equal(guest_mm_plug(s->mm, request->gpa, request->wanted, GUEST_MM_RDWR, NULL),
			 0);
	stress_devices_notice(&(struct vm_notice){.event = VM_EVENT_MEMORY_SIZE_CHANGED,
						  .size_bytes = request->wanted},
			      &s->devices);
	assert_int_equal(operations(STRESS_OP_VIRTIO_MEM), 1);
	assert_int_equal(s->operation_errors, 0);
}

static void blocks_that_are_not_there_are_found(void **state)
{
	(void)state;
	stress_devices_step(&worker, STRESS_MIX_VIRTIO_MEM);
	stress_devices_notice(&(struct vm_notice){.event = VM_EVENT_MEMORY_SIZE_CHANGED,
						  .size_bytes = s->devices.mem.wanted},
			      &s->devices);
	assert_int_equal(s->operation_errors, 1);
	assert_non_null(strstr(noted, "virtio-mem at 0x"));
}

static void the_balloon_is_asked_for_another_size(void **state)
{
	const struct stress_request *request = &s->devices.balloon;
	struct virtio_balloon_state balloon;

	(void)state;
	stress_devices_step(&worker, STRESS_MIX_BALLOON);
	virtio_balloon_get(s->devices.config.balloon, &balloon);
	assert_int_equal(balloon.target_bytes, request->wanted);
	assert_true(request->wanted > 0 && request->wanted <= request->size_bytes);
	/* What the guest says is what counts, and it says nothing. */
	stress_devices_notice(&(struct vm_notice){.event = VM_EVENT_BALLOON_CHANGED}, &s->devices);
	assert_true(request->asked);
	assert_int_equal(operations(STRESS_OP_BALLOON), 0);
}

static void a_guest_that_is_silent_is_an_error(void **state)
{
	(void)state;
	stress_devices_step(&worker, STRESS_MIX_BALLOON);
	stress_devices_look(&s->devices);
	assert_int_equal(s->operation_errors, 0);
	s->devices.balloon.began_ns -= (STRESS_ANSWER_S + 1) * STRESS_NS_PER_S;
	s->devices.balloon.seen_ns = s->devices.balloon.began_ns;
	stress_devices_look(&s->devices);
	assert_int_equal(s->operation_errors, 1);
	assert_non_null(strstr(noted, "has not done it after"));
	assert_true(s->devices.balloon.broken);
}

static uint64_t guest_rounds;

static uint64_t rounds(void *arg)
{
	(void)arg;
	return guest_rounds;
}

/* Time that the guest did not get does not count. */
static void a_guest_that_is_slow_is_none(void **state)
{
	struct stress_request *request = &s->devices.balloon;

	(void)state;
	s->devices.config.rounds = rounds;
	guest_rounds = 5;
	stress_devices_step(&worker, STRESS_MIX_BALLOON);
	request->began_ns -= (STRESS_ANSWER_S + 1) * STRESS_NS_PER_S;
	request->seen_ns -= (STRESS_ANSWER_S + 1) * STRESS_NS_PER_S;
	guest_rounds++;
	stress_devices_look(&s->devices);
	assert_int_equal(s->operation_errors, 0);
	guest_rounds += STRESS_ANSWER_ROUNDS;
	stress_devices_look(&s->devices);
	assert_int_equal(s->operation_errors, 1);
}

static void a_guest_that_stands_is_an_error(void **state)
{
	struct stress_request *request = &s->devices.balloon;

	(void)state;
	s->devices.config.rounds = rounds;
	stress_devices_step(&worker, STRESS_MIX_BALLOON);
	request->began_ns -= (STRESS_ANSWER_S + 1) * STRESS_NS_PER_S;
	request->seen_ns -= (STRESS_ANSWER_S + 1) * STRESS_NS_PER_S;
	stress_devices_look(&s->devices);
	assert_int_equal(s->operation_errors, 1);
}

static bool nobody_failed(struct stress *stress)
{
	(void)stress;
	return false;
}

static void nothing_to_wait_for_is_no_error(void **state)
{
	(void)state;
	plug_dimm();
	stress_devices_finish(&s->devices, nobody_failed);
	assert_int_equal(s->operation_errors, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_dimm_comes_and_goes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_guest_may_keep_a_dimm, set_up, tear_down),
		cmocka_unit_test_setup_teardown(missing_memory_is_found, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_size_is_asked_for_until_it_is_there, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(blocks_that_are_not_there_are_found, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(the_balloon_is_asked_for_another_size, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_guest_that_is_silent_is_an_error, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_guest_that_is_slow_is_none, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_guest_that_stands_is_an_error, set_up, tear_down),
		cmocka_unit_test_setup_teardown(nothing_to_wait_for_is_no_error, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("stress devices", tests, NULL, NULL);
}
