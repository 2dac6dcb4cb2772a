/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_UNIT_MEMORY_VM_H
#define TESTS_UNIT_MEMORY_VM_H

/*
 * A VM of straw with real memory, real slots for DIMMs and a control socket, for the programs that
 * test these; part of each program's source. Its guest does with the slots' registers what a kernel
 * would do, or what none would.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cmocka.h>

#include <jansson.h>

#include "tests/lib/control_socket.h"
#include "tests/lib/qmp_peer.h"
#include "tests/lib/straw_vm.h"
#include "vmm/dimm.h"
#include "vmm/memory_map.h"

#define MIB   (UINT64_C(1) << 20)
#define SLOTS 8u

/* ---- The VM of straw ------------------------------------------------------------------------- */

static void reset(struct vm *vm)
{
	memory_devices_begin_reset(vm->devices);
	memory_hotplug_reset(dimms_registers(vm->dimms));
	memory_devices_end_reset(vm->devices);
}

/* A private file's is that of the program, of which there is a copy. */
static int add_window(gpa_t gpa, uint64_t size_bytes, enum guest_mm_backing backing,
		      struct samara_error *err)
{
	struct guest_mm_window_config config = {
		.gpa = gpa,
		.size_bytes = size_bytes,
		.backing = backing,
		.fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC),
	};
	int ret = guest_mm_add_window_config(straw.mm, &config, err);

	close(config.fd);
	return ret;
}

/* Lines about a guest that misbehaves. */
static atomic_uint complaints;

static __attribute__((unused)) void count_complaint(void *arg, const char *line)
{
	(void)arg;
	(void)line;
	atomic_fetch_add(&complaints, 1);
}

static __attribute__((unused)) int create_memory(enum guest_mm_backing backing)
{
	struct samara_error err = {0};
	struct memory_devices_config config = {
		.layout = &straw.layout,
		.backing = backing,
		.max_bytes = 1024 * MIB,
		.nodes = 2,
		.notify = straw_tell,
		.report = count_complaint,
		.arg = &straw,
	};
	struct irq irq;
	int ret;

	straw.config.memory_bytes = 64 * MIB;
	straw.reset = reset;
	straw.state = VM_RUNNING;
	ret = layout_init(&straw.layout, 64 * MIB, 1088 * MIB, 40, &err);
	if (!ret)
		ret = guest_mm_create(NULL, &straw.mm, &err);
	if (!ret)
		ret = add_window(0, straw.layout.low_bytes, backing, &err);
	if (!ret)
		ret = add_window(LAYOUT_HIGH_GPA, straw.layout.high_bytes, backing, &err);
	if (!ret)
		ret = guest_mm_plug(straw.mm, 0, 64 * MIB, GUEST_MM_RDWR, &err);
	if (!ret)
		ret = qom_create(&straw.qom);
	config.mm = straw.mm;
	config.qom = straw.qom;
	if (!ret)
		ret = memory_devices_create(&config, &straw.devices, &err);
	irq.eventfd = straw.irq = eventfd(0, EFD_NONBLOCK);
	if (!ret)
		ret = dimms_create(straw.devices, SLOTS, irq, &straw.dimms, &err);
	if (ret) {
		print_error("%s\n", err.text);
		return ret;
	}
	return socket_serve(&straw);
}

static __attribute__((unused)) int start(void **state)
{
	(void)state;
	memset(&straw, 0, sizeof(straw));
	return create_memory(GUEST_MM_ANON);
}

static __attribute__((unused)) int start_memfd(void **state)
{
	(void)state;
	memset(&straw, 0, sizeof(straw));
	return create_memory(GUEST_MM_MEMFD);
}

static __attribute__((unused)) int start_private_file(void **state)
{
	(void)state;
	memset(&straw, 0, sizeof(straw));
	return create_memory(GUEST_MM_FILE_PRIVATE);
}

static __attribute__((unused)) int stop(void **state)
{
	int ret;

	(void)state;
	/* As the VM does it: no event comes any more when its listeners go. */
	dimms_stop(straw.dimms);
	ret = socket_close();
	memory_devices_destroy(straw.devices);
	dimms_destroy(straw.dimms);
	qom_destroy(straw.qom);
	guest_mm_destroy(straw.mm);
	close(straw.irq);
	return ret;
}

/* ---- The guest of straw ---------------------------------------------------------------------- */

static __attribute__((unused)) uint32_t get(unsigned int offset)
{
	uint32_t value = 0;

	memory_hotplug_bus_ops.read(dimms_registers(straw.dimms), offset, &value, 4);
	return value;
}

static __attribute__((unused)) void put(unsigned int offset, uint32_t value)
{
	memory_hotplug_bus_ops.write(dimms_registers(straw.dimms), offset, &value, 4);
}

static __attribute__((unused)) void report(unsigned int slot, uint32_t event, uint32_t status)
{
	put(MEMORY_HOTPLUG_SLOT, slot);
	put(MEMORY_HOTPLUG_OST_EVENT, event);
	put(MEMORY_HOTPLUG_OST_STATUS, status);
}

static __attribute__((unused)) void eject(unsigned int slot)
{
	put(MEMORY_HOTPLUG_SLOT, slot);
	put(MEMORY_HOTPLUG_STATUS, MEMORY_HOTPLUG_EJECT);
}

/* The next slot with news, which are acknowledged; the test fails if they are others. */
static __attribute__((unused)) unsigned int hear_of(uint32_t news)
{
	uint32_t slot = get(MEMORY_HOTPLUG_NEXT);

	assert_true(slot < SLOTS);
	assert_true(get(MEMORY_HOTPLUG_STATUS) & news);
	put(MEMORY_HOTPLUG_STATUS, news);
	return slot;
}

static __attribute__((unused)) gpa_t gpa_of(unsigned int slot)
{
	put(MEMORY_HOTPLUG_SLOT, slot);
	return get(MEMORY_HOTPLUG_GPA_LOW) | (gpa_t)get(MEMORY_HOTPLUG_GPA_HIGH) << 32;
}

/* ---- What the tests say and hear ------------------------------------------------------------- */

static __attribute__((unused)) void add_backend(int fd, const char *id, unsigned int mib)
{
	char text[256];

	snprintf(text, sizeof(text),
		 "{\"execute\":\"object-add\",\"arguments\":{\"qom-type\":\"memory-backend-ram\","
		 "\"id\":\"%s\",\"size\":%llu}}",
		 id, (unsigned long long)(mib * MIB));
	peer_expect_ok(fd, text);
}

static __attribute__((unused)) void add_dimm(int fd, const char *id, const char *memdev)
{
	char text[256];

	snprintf(text, sizeof(text),
		 "{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"pc-dimm\",\"id\":\"%s\","
		 "\"memdev\":\"%s\"}}",
		 id, memdev);
	peer_expect_ok(fd, text);
}

static __attribute__((unused)) void ask_back(int fd, const char *id)
{
	char text[128];

	snprintf(text, sizeof(text), "{\"execute\":\"device_del\",\"arguments\":{\"id\":\"%s\"}}",
		 id);
	peer_expect_ok(fd, text);
}

static __attribute__((unused)) void expect_ost(int fd, const char *device, int source, int status)
{
	json_t *data = peer_expect_event(fd, "ACPI_DEVICE_OST"),
	       *info = json_object_get(data, "info");
	json_t *id = json_object_get(info, "device");

	if (device)
		assert_string_equal(json_string_value(id), device);
	else
		assert_null(id);
	assert_string_equal(peer_text_at(info, "slot-type", NULL), "DIMM");
	assert_int_equal(json_integer_value(json_object_get(info, "source")), source);
	assert_int_equal(json_integer_value(json_object_get(info, "status")), status);
	json_decref(data);
}

static __attribute__((unused)) void expect_deleted(int fd, const char *id)
{
	json_t *data = peer_expect_event(fd, "DEVICE_DELETED");
	char device_path[128];

	snprintf(device_path, sizeof(device_path), "/machine/peripheral/%s", id);
	assert_string_equal(peer_text_at(data, "device", NULL), id);
	assert_string_equal(peer_text_at(data, "path", NULL), device_path);
	json_decref(data);
}

static __attribute__((unused)) size_t device_count(int fd)
{
	json_t *list = peer_query(fd, "query-memory-devices");
	size_t count = json_array_size(list);

	json_decref(list);
	return count;
}

static __attribute__((unused)) uint64_t plugged_bytes(int fd)
{
	json_t *summary = peer_query(fd, "query-memory-size-summary");
	uint64_t bytes = (uint64_t)json_integer_value(json_object_get(summary, "plugged-memory"));

	assert_int_equal(json_integer_value(json_object_get(summary, "base-memory")), 64 * MIB);
	json_decref(summary);
	return bytes;
}

/* ---- A guest that works ---------------------------------------------------------------------- */

/* A kernel's part: takes what is plugged, and lets go or refuses what it is asked for. */
struct dimm_guest {
	pthread_t thread;
	atomic_bool stop, refuses;
};

static __attribute__((unused)) void work_off_news(struct dimm_guest *guest)
{
	uint32_t slot;

	while ((slot = get(MEMORY_HOTPLUG_NEXT)) != MEMORY_HOTPLUG_NONE) {
		if (get(MEMORY_HOTPLUG_STATUS) & MEMORY_HOTPLUG_INSERTING) {
			put(MEMORY_HOTPLUG_STATUS, MEMORY_HOTPLUG_INSERTING);
			report(slot, 1, 0);
		} else {
			put(MEMORY_HOTPLUG_STATUS, MEMORY_HOTPLUG_REMOVING);
			report(slot, 3, 0x84);
			if (guest->refuses) {
				report(slot, 3, 0x82);
			} else {
				eject(slot);
				report(slot, 3, 0);
			}
		}
	}
}

static __attribute__((unused)) void *run_guest(void *arg)
{
	struct pollfd irq = {.fd = straw.irq, .events = POLLIN};
	struct dimm_guest *guest = arg;
	eventfd_t count;

	while (!guest->stop) {
		if (poll(&irq, 1, 50) == 1)
			eventfd_read(straw.irq, &count);
		work_off_news(guest);
	}
	return NULL;
}

static __attribute__((unused)) void start_guest(struct dimm_guest *guest)
{
	guest->stop = false;
	guest->refuses = false;
	assert_int_equal(pthread_create(&guest->thread, NULL, run_guest, guest), 0);
}

static __attribute__((unused)) void stop_guest(struct dimm_guest *guest)
{
	guest->stop = true;
	pthread_join(guest->thread, NULL);
}

#endif
