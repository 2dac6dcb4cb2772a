/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <fcntl.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "tests/lib/memory_vm.h"

/* ---- The VM ---------------------------------------------------------------------------------- */

atomic_uint memory_vm_complaints;

static void count_complaint(void *arg, const char *line)
{
	(void)arg, (void)line;
	memory_vm_complaints++;
}

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

int memory_vm_setup(void **state)
{
	const enum guest_mm_backing *asked = *state, backing = asked ? *asked : GUEST_MM_ANON;
	struct memory_devices_config config = {
		.layout = &straw.layout,
		.backing = backing,
		.max_bytes = 1024 * MIB,
		.nodes = 2,
		.notify = straw_tell,
		.report = count_complaint,
		.arg = &straw,
	};
	struct samara_error err = {0};
	int ret;

	memory_vm_complaints = 0;
	straw = (struct vm){
		.config.memory_bytes = 64 * MIB,
		.irq = eventfd(0, EFD_NONBLOCK),
		.reset = reset,
		.state = VM_RUNNING,
	};
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
	if (!ret)
		ret = dimms_create(straw.devices, SLOTS, (struct irq){straw.irq}, &straw.dimms,
				   &err);
	if (ret) {
		print_error("%s\n", err.text);
		return ret;
	}
	return socket_serve(&straw);
}

int memory_vm_teardown(void **state)
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

/* ---- What clients say and hear --------------------------------------------------------------- */

void add_backend(int fd, const char *id, unsigned int mib)
{
	char text[256];

	snprintf(text, sizeof(text),
		 "{\"execute\":\"object-add\",\"arguments\":{\"qom-type\":\"memory-backend-ram\","
		 "\"id\":\"%s\",\"size\":%llu}}",
		 id, (unsigned long long)(mib * MIB));
	peer_expect_ok(fd, text);
}

void add_dimm(int fd, const char *id, const char *memdev)
{
	char text[256];

	snprintf(text, sizeof(text),
		 "{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"pc-dimm\",\"id\":\"%s\","
		 "\"memdev\":\"%s\"}}",
		 id, memdev);
	peer_expect_ok(fd, text);
}

void ask_back(int fd, const char *id)
{
	char text[128];

	snprintf(text, sizeof(text), "{\"execute\":\"device_del\",\"arguments\":{\"id\":\"%s\"}}",
		 id);
	peer_expect_ok(fd, text);
}

void expect_ost(int fd, const char *device, int source, int status)
{
	json_t *data = peer_expect_event(fd, "ACPI_DEVICE_OST");
	json_t *info = json_object_get(data, "info"), *id = json_object_get(info, "device");

	if (device)
		assert_string_equal(json_string_value(id), device);
	else
		assert_null(id);
	assert_string_equal(peer_text_at(info, "slot-type", NULL), "DIMM");
	assert_int_equal(json_integer_value(json_object_get(info, "source")), source);
	assert_int_equal(json_integer_value(json_object_get(info, "status")), status);
	json_decref(data);
}

void expect_deleted(int fd, const char *id)
{
	json_t *data = peer_expect_event(fd, "DEVICE_DELETED");
	char path[128];

	snprintf(path, sizeof(path), "/machine/peripheral/%s", id);
	assert_string_equal(peer_text_at(data, "device", NULL), id);
	assert_string_equal(peer_text_at(data, "path", NULL), path);
	json_decref(data);
}

size_t device_count(int fd)
{
	json_t *list = peer_query(fd, "query-memory-devices");
	size_t count = json_array_size(list);

	json_decref(list);
	return count;
}

uint64_t plugged_bytes(int fd)
{
	json_t *summary = peer_query(fd, "query-memory-size-summary");
	uint64_t bytes = (uint64_t)json_integer_value(json_object_get(summary, "plugged-memory"));

	assert_int_equal(json_integer_value(json_object_get(summary, "base-memory")), 64 * MIB);
	json_decref(summary);
	return bytes;
}
