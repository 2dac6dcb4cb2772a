/* SPDX-License-Identifier: GPL-2.0-or-later */
/* DIMMs over the control socket: how they come and go, with guests that are well and that are not. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "tests/lib/interpose.h"
#include "tests/lib/memory_vm.h"

/* ---- DIMMs ----------------------------------------------------------------------------------- */

static void a_dimm_comes_and_goes(void **state)
{
	const uint64_t word = 0x1122334455667788;
	int fd = peer_greet();
	unsigned int slot;
	json_t *list, *data;
	gpa_t gpa;

	(void)state;
	add_backend(fd, "mem0", 256);
	assert_int_equal(device_count(fd), 0);
	add_dimm(fd, "dimm0", "mem0");
	slot = slot_hear_of(MEMORY_HOTPLUG_INSERTING);
	gpa = slot_gpa(slot);
	assert_int_equal(gpa % LAYOUT_HOTPLUG_ALIGN, 0);
	assert_int_equal(slots_read(MEMORY_HOTPLUG_SIZE_LOW), 256 * MIB);
	/* It is memory already when the guest hears of it, from end to end. */
	assert_int_equal(guest_mm_write(straw.mm, gpa, &word, sizeof(word)), 0);
	assert_int_equal(guest_mm_write(straw.mm, gpa + 256 * MIB - 8, &word, sizeof(word)), 0);
	slot_report(slot, 1, 0);
	expect_ost(fd, "dimm0", 1, 0);

	list = peer_query(fd, "query-memory-devices");
	assert_int_equal(json_array_size(list), 1);
	assert_string_equal(peer_text_at(json_array_get(list, 0), "type", NULL), "dimm");
	data = json_object_get(json_array_get(list, 0), "data");
	assert_string_equal(peer_text_at(data, "id", NULL), "dimm0");
	assert_string_equal(peer_text_at(data, "memdev", NULL), "/objects/mem0");
	assert_true((uint64_t)json_integer_value(json_object_get(data, "addr")) == gpa);
	assert_true(json_is_true(json_object_get(data, "hotplugged")));
	json_decref(list);
	assert_int_equal(plugged_bytes(fd), 256 * MIB);
	peer_expect_error(fd, "{\"execute\":\"object-del\",\"arguments\":{\"id\":\"mem0\"}}",
			  "GenericError", "in use");

	ask_back(fd, "dimm0");
	assert_int_equal(slot_hear_of(MEMORY_HOTPLUG_REMOVING), slot);
	slot_report(slot, 3, 0x84);
	slot_eject(slot);
	slot_report(slot, 3, 0);
	expect_ost(fd, "dimm0", 3, 0x84);
	expect_deleted(fd, "dimm0");
	expect_ost(fd, NULL, 3, 0);
	assert_int_equal(guest_mm_write(straw.mm, gpa, &word, sizeof(word)), -EFAULT);
	assert_int_equal(device_count(fd), 0);
	assert_int_equal(plugged_bytes(fd), 0);
	peer_expect_ok(fd, "{\"execute\":\"object-del\",\"arguments\":{\"id\":\"mem0\"}}");
	close(fd);
}

static void a_refusal_is_told_and_can_be_asked_again(void **state)
{
	int fd = peer_greet();
	unsigned int slot, i;
	json_t *data;

	(void)state;
	add_backend(fd, "mem0", 128);
	add_dimm(fd, "dimm0", "mem0");
	slot = slot_hear_of(MEMORY_HOTPLUG_INSERTING);
	for (i = 0; i < 3; i++) {
		ask_back(fd, "dimm0");
		assert_int_equal(slot_hear_of(MEMORY_HOTPLUG_REMOVING), slot);
		slot_report(slot, 3, 0x82);
		expect_ost(fd, "dimm0", 3, 0x82);
		data = peer_expect_event(fd, "DEVICE_UNPLUG_GUEST_ERROR");
		assert_string_equal(peer_text_at(data, "device", NULL), "dimm0");
		assert_string_equal(peer_text_at(data, "path", NULL), "/machine/peripheral/dimm0");
		assert_non_null(strstr(peer_text_at(data, "x-samara-reason", NULL), "busy"));
		json_decref(data);
		data = peer_expect_event(fd, "MEM_UNPLUG_ERROR");
		assert_string_equal(peer_text_at(data, "device", NULL), "dimm0");
		assert_non_null(strstr(peer_text_at(data, "msg", NULL), "0x82"));
		json_decref(data);
		assert_int_equal(device_count(fd), 1);
	}
	/* Not asked: what it says of an ejection is a report, and no refusal. */
	slot_report(slot, 0x103, 0x81);
	expect_ost(fd, "dimm0", 0x103, 0x81);
	peer_expect_silence(fd);

	ask_back(fd, "dimm0");
	slot_hear_of(MEMORY_HOTPLUG_REMOVING);
	slot_eject(slot);
	expect_deleted(fd, "dimm0");
	close(fd);
}

/* Nothing happens to it; the interrupt comes again and again, since one may have been lost. */
static void a_guest_that_does_nothing_is_reminded(void **state)
{
	struct pollfd irq = {.fd = straw.irq, .events = POLLIN};
	struct dimm_counters counters;
	int fd = peer_greet();
	eventfd_t count;
	unsigned int i;

	(void)state;
	add_backend(fd, "mem0", 128);
	add_dimm(fd, "dimm0", "mem0");
	ask_back(fd, "dimm0");
	for (i = 0; i < 3; i++) {
		assert_int_equal(poll(&irq, 1, 60000), 1);
		assert_int_equal(eventfd_read(straw.irq, &count), 0);
	}
	assert_int_equal(device_count(fd), 1);
	dimms_get_counters(straw.dimms, &counters);
	assert_true(counters.reminders > 0);
	slot_hear_of(MEMORY_HOTPLUG_INSERTING);
	slot_hear_of(MEMORY_HOTPLUG_REMOVING);
	/* It has heard; what it does with that is its own. One edge may have been on its way: they end. */
	for (i = 0; i < 10 && poll(&irq, 1, 1500) == 1; i++)
		eventfd_read(straw.irq, &count);
	assert_true(i < 10);
	assert_int_equal(device_count(fd), 1);
	close(fd);
}

static void a_reset_keeps_dimms_and_ends_removals(void **state)
{
	struct memory_map_hole holes[MEMORY_MAP_HOLES];
	struct samara_error err = {0};
	struct memory_map map;
	int fd = peer_greet();
	uint64_t word = 7;
	gpa_t kept, gone;

	(void)state;
	add_backend(fd, "mem0", 128);
	add_backend(fd, "mem1", 128);
	add_backend(fd, "mem2", 128);
	add_dimm(fd, "kept", "mem0");
	kept = slot_gpa(slot_hear_of(MEMORY_HOTPLUG_INSERTING));
	add_dimm(fd, "asked", "mem1");
	gone = slot_gpa(slot_hear_of(MEMORY_HOTPLUG_INSERTING));
	add_dimm(fd, "refused", "mem2");
	slot_hear_of(MEMORY_HOTPLUG_INSERTING);
	ask_back(fd, "asked");
	ask_back(fd, "refused");
	slot_report(2, 3, 0x81);
	expect_ost(fd, "refused", 3, 0x81);
	json_decref(peer_expect_event(fd, "DEVICE_UNPLUG_GUEST_ERROR"));
	json_decref(peer_expect_event(fd, "MEM_UNPLUG_ERROR"));
	assert_int_equal(guest_mm_write(straw.mm, kept, &word, sizeof(word)), 0);

	peer_say(fd, "{\"execute\":\"system_reset\"}");
	expect_deleted(fd, "asked");
	json_decref(peer_hear(fd)); /* the reply */
	assert_int_equal(device_count(fd), 2);
	assert_int_equal(slots_read(MEMORY_HOTPLUG_NEXT), MEMORY_HOTPLUG_NONE);
	slots_write(MEMORY_HOTPLUG_SLOT, 0);
	assert_int_equal(slots_read(MEMORY_HOTPLUG_STATUS), MEMORY_HOTPLUG_ENABLED);
	slots_write(MEMORY_HOTPLUG_SLOT, 1);
	assert_int_equal(slots_read(MEMORY_HOTPLUG_STATUS), 0);
	assert_int_equal(guest_mm_write(straw.mm, gone, &word, sizeof(word)), -EFAULT);

	/* The kernel that boots then is told of the memory at start alone, and finds the rest. */
	assert_int_equal(memory_devices_ranges(straw.devices, holes), 2);
	assert_int_equal(memory_map_build(&map, straw.mm, holes, 2, &err), 0);
	assert_int_equal(memory_map_ram_end(&map, LAYOUT_KERNEL_MIN_GPA), 64 * MIB);
	assert_true(memory_map_ram_end(&map, kept) == kept);
	assert_int_equal(memory_map_build(&map, straw.mm, NULL, 0, &err), 0);
	assert_true(memory_map_ram_end(&map, kept) == kept + 128 * MIB);
	close(fd);
}

/* Slots and places are used again, in whatever order they became free. */
static void places_are_used_again(void **state)
{
	static const char *const ids[SLOTS] = {"a", "b", "c", "d", "e", "f", "g", "h"};
	int fd = peer_greet();
	unsigned int i;
	gpa_t third;

	(void)state;
	for (i = 0; i < SLOTS; i++) {
		add_backend(fd, ids[i], 128);
		add_dimm(fd, ids[i], ids[i]);
		assert_int_equal(slot_hear_of(MEMORY_HOTPLUG_INSERTING), i);
		assert_true(slot_gpa(i) == straw.layout.hotplug_gpa + i * 128 * MIB);
	}
	add_backend(fd, "more", 4);
	peer_expect_error(fd,
			  "{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"pc-dimm\","
			  "\"memdev\":\"more\"}}",
			  "GenericError", "not enough space");
	third = slot_gpa(2);
	ask_back(fd, "c");
	slot_hear_of(MEMORY_HOTPLUG_REMOVING);
	slot_eject(2);
	expect_deleted(fd, "c");
	add_dimm(fd, "new", "c");
	assert_int_equal(slot_hear_of(MEMORY_HOTPLUG_INSERTING), 2);
	assert_true(slot_gpa(2) == third);
	close(fd);
}

/* ---- Guests that misbehave ------------------------------------------------------------------- */

static void a_storm_of_reports_is_cut_off(void **state)
{
	int fd = peer_greet(), deaf = peer_greet();
	struct dimm_counters counters;
	unsigned int i;

	(void)state;
	add_backend(fd, "mem0", 128);
	add_dimm(fd, "dimm0", "mem0");
	for (i = 0; i < 100000; i++)
		slot_report(i % 40, i, i);
	/* Whoever is connected, reading or not, is served on. */
	peer_expect_ok(fd, "{\"execute\":\"query-status\"}");
	peer_expect_ok(deaf, "{\"execute\":\"query-status\"}");
	dimms_get_counters(straw.dimms, &counters);
	assert_true(counters.passed <= SLOTS * 32);
	assert_true(counters.dropped > 10000);
	assert_int_equal(memory_vm_complaints, 1);
	/* A device that is spoken of on the host's behalf is heard again. */
	ask_back(fd, "dimm0");
	slot_report(0, 3, 0x82);
	for (;;) {
		json_t *message = peer_hear(fd);
		bool refused =
			!strcmp(peer_text_at(message, "event", NULL), "DEVICE_UNPLUG_GUEST_ERROR");

		json_decref(message);
		if (refused)
			break;
	}
	close(deaf);
	close(fd);
}

static void what_was_not_asked_for_can_be_ejected(void **state)
{
	int fd = peer_greet();
	unsigned int i;

	(void)state;
	add_backend(fd, "mem0", 128);
	for (i = 0; i < 20; i++) {
		add_dimm(fd, "dimm0", "mem0");
		slot_eject(0);
		slot_eject(0);
		slot_eject(1);
		expect_deleted(fd, "dimm0");
	}
	assert_int_equal(device_count(fd), 0);
	peer_expect_silence(fd);
	close(fd);
}

/* The host can't carry one out, again and again: what other slots have to say does not wait for it. */
static void an_ejection_that_fails_holds_up_its_slot_alone(void **state)
{
	int fd = peer_greet();
	json_t *list;
	gpa_t gpa;

	(void)state;
	for (unsigned int i = 0; i < 3; i++) {
		char id[8], memdev[8];

		snprintf(id, sizeof(id), "dimm%u", i);
		snprintf(memdev, sizeof(memdev), "mem%u", i);
		add_backend(fd, memdev, 128);
		add_dimm(fd, id, memdev);
	}
	gpa = slot_gpa(0);
	/* An unplug of memory that is there has something to give back. */
	assert_int_equal(guest_mm_write(straw.mm, gpa, &gpa, sizeof(gpa)), 0);
	interpose_fail_randomly(INTERPOSE_MADVISE, 1);
	slot_eject(0);
	slot_report(0, 0x103, 0);
	slot_report(1, 0x103, 0x84);
	slot_eject(1);
	slot_report(1, 0x103, 0);
	slot_report(2, 1, 0);
	expect_ost(fd, "dimm1", 0x103, 0x84);
	expect_deleted(fd, "dimm1");
	expect_ost(fd, NULL, 0x103, 0);
	expect_ost(fd, "dimm2", 1, 0);
	/* Its own tasks are in order, and the ejection is tried again. */
	peer_expect_silence(fd);
	list = peer_query(fd, "query-memory-devices");
	assert_int_equal(json_array_size(list), 2);
	json_decref(list);
	interpose_fail_randomly(0, 0);
	expect_deleted(fd, "dimm0");
	expect_ost(fd, NULL, 0x103, 0);
	close(fd);
}

/* Whatever there is no memory for, and though there is none to clear up with: all is as before. */
static void a_plug_that_fails_leaves_nothing(void **state)
{
	const struct memory_device_request request = {.id = "dimm0",
						      .memdev = "mem0",
						      .gpa = MEMORY_DEVICES_ANYWHERE,
						      .hotplugged = true};
	int fd = peer_greet(), ret = -1;
	struct samara_error err = {0};
	struct guest_mm_stats stats;
	unsigned int nth;

	(void)state;
	/* Beside one that is there: to take it away again cuts a region, which needs memory. */
	add_backend(fd, "mem1", 128);
	add_dimm(fd, "dimm1", "mem1");
	add_backend(fd, "mem0", 128);
	for (nth = 1; ret; nth++) {
		interpose_fail_nth(INTERPOSE_MALLOC, nth, 0, 0);
		ret = dimms_plug(straw.dimms, &request, DIMM_ANY_SLOT, &err);
		interpose_end();
		guest_mm_get_stats(straw.mm, &stats);
		assert_int_equal(stats.plugged_bytes, (ret ? 192 : 320) * MIB);
		assert_int_equal(device_count(fd), ret ? 1 : 2);
		assert_true(!ret || ret == -ENOMEM);
	}
	assert_true(nth > 3);
	assert_int_equal(plugged_bytes(fd), 256 * MIB);
	close(fd);
}

/* To plug memory may take long (a file, prealloc): who asks what there is does not wait for that. */
static void questions_do_not_wait_for_a_plug(void **state)
{
	int fd = peer_greet();

	(void)state;
	add_backend(fd, "mem0", 128);
	add_dimm(fd, "dimm0", "mem0");
	memory_devices_lock(straw.devices);
	assert_int_equal(device_count(fd), 1);
	assert_int_equal(plugged_bytes(fd), 128 * MIB);
	memory_devices_unlock(straw.devices);
	close(fd);
}

/* ---- Clients side by side ---------------------------------------------------------------------- */

static void *plug_and_unplug(void *arg)
{
	char id[16];
	int i, failures = 0;

	snprintf(id, sizeof(id), "client%d", *(int *)arg);
	for (i = 0; i < 15; i++) {
		failures += ctl("plug", "128M", "--id", id) != 0;
		failures += ctl("unplug", id, NULL, NULL) != 0;
	}
	*(int *)arg = failures;
	return NULL;
}

static void clients_do_not_disturb_each_other(void **state)
{
	int numbers[4] = {0, 1, 2, 3}, fd = peer_greet(), deaf = peer_greet(), i;
	struct guest_mm_stats stats;
	pthread_t threads[4];
	struct dimm_guest guest;

	(void)state;
	dimm_guest_start(&guest);
	for (i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, plug_and_unplug, &numbers[i]);
	for (i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	for (i = 0; i < 4; i++)
		assert_int_equal(numbers[i], 0);
	dimm_guest_stop(&guest);
	assert_int_equal(plugged_bytes(fd), 0);
	guest_mm_get_stats(straw.mm, &stats);
	assert_int_equal(stats.plugged_bytes, 64 * MIB);
	assert_int_equal(stats.unplugs, 60);
	/* One that never read an event has them all, and is there still. */
	peer_expect_ok(deaf, "{\"execute\":\"query-status\"}");
	close(deaf);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		MEMORY_TEST(a_dimm_comes_and_goes),
		MEMORY_TEST(a_refusal_is_told_and_can_be_asked_again),
		MEMORY_TEST(a_guest_that_does_nothing_is_reminded),
		MEMORY_TEST(a_reset_keeps_dimms_and_ends_removals),
		MEMORY_TEST(places_are_used_again),
		MEMORY_TEST(a_storm_of_reports_is_cut_off),
		MEMORY_TEST(what_was_not_asked_for_can_be_ejected),
		MEMORY_TEST(an_ejection_that_fails_holds_up_its_slot_alone),
		MEMORY_TEST(a_plug_that_fails_leaves_nothing),
		MEMORY_TEST(questions_do_not_wait_for_a_plug),
		MEMORY_TEST(clients_do_not_disturb_each_other),
	};

	return cmocka_run_group_tests_name("qmp memory", tests, make_folder, remove_folder);
}
