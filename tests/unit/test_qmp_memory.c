/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory devices over the control socket: real memory, real slots, and a guest of straw that does
 * with the slots' registers what a kernel would do, or what none would.
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

#include "devices/bus.h"
#include "tests/lib/qmp_peer.h"
#include "vmm/commands.h"
#include "vmm/dimm.h"
#include "vmm/memory_map.h"
#include "vmm/qmp.h"

#define MIB   (UINT64_C(1) << 20)
#define SLOTS 8u

/* ---- The VM of straw ------------------------------------------------------------------------- */

struct vm {
	struct vm_config config;
	struct layout layout;
	struct guest_mm *mm;
	struct qom *qom;
	struct memory_devices *devices;
	struct dimms *dimms;
	int irq;
	const struct vm_balloon *balloon;
	vm_event_fn *listener;
	void *listener_arg;
};

static struct vm straw;
static struct qmp_server *server;
static char folder[] = "/tmp/samara-test-qmp-XXXXXX";
static char path[sizeof(folder) + 8];

int vm_pause(struct vm *vm, struct samara_error *err)
{
	(void)vm;
	(void)err;
	return 0;
}

int vm_resume(struct vm *vm, struct samara_error *err)
{
	(void)vm;
	(void)err;
	return 0;
}

void vm_request_reset(struct vm *vm, bool by_guest)
{
	(void)by_guest;
	memory_devices_begin_reset(vm->devices);
	memory_hotplug_reset(dimms_registers(vm->dimms));
	memory_devices_end_reset(vm->devices);
}

void vm_quit(struct vm *vm)
{
	(void)vm;
}

void vm_powerdown(struct vm *vm)
{
	(void)vm;
}

enum vm_state vm_get_state(struct vm *vm)
{
	(void)vm;
	return VM_RUNNING;
}

struct guest_mm *vm_mm(struct vm *vm)
{
	return vm->mm;
}

const struct vm_config *vm_get_config(struct vm *vm)
{
	return &vm->config;
}

struct qom *vm_qom(struct vm *vm)
{
	return vm->qom;
}

struct memory_devices *vm_memory_devices(struct vm *vm)
{
	return vm->devices;
}

struct dimms *vm_dimms(struct vm *vm)
{
	return vm->dimms;
}

const struct vm_balloon *vm_get_balloon(struct vm *vm)
{
	return vm->balloon;
}

int vm_vcpu_tid(struct vm *vm, unsigned int index)
{
	(void)vm;
	return 1000 + (int)index;
}

int vm_add_listener(struct vm *vm, vm_event_fn *listener, void *arg)
{
	vm->listener = listener;
	vm->listener_arg = arg;
	return 0;
}

void vm_get_bus_counters(struct vm *vm, struct bus_counters *mmio, struct bus_counters *pio)
{
	(void)vm;
	(void)mmio;
	(void)pio;
}

static void notify(const struct vm_notice *notice, void *arg)
{
	struct vm *vm = arg;

	vm->listener(notice, vm->listener_arg);
}

static int create_memory(enum guest_mm_backing backing)
{
	struct samara_error err = {0};
	struct memory_devices_config config = {
		.layout = &straw.layout,
		.backing = backing,
		.max_bytes = 1024 * MIB,
		.nodes = 2,
		.notify = notify,
		.arg = &straw,
	};
	struct irq irq;
	int ret;

	straw.config.memory_bytes = 64 * MIB;
	ret = layout_init(&straw.layout, 64 * MIB, 1088 * MIB, 40, &err);
	if (!ret)
		ret = guest_mm_create(NULL, &straw.mm, &err);
	if (!ret)
		ret = guest_mm_add_window(straw.mm, 0, straw.layout.low_bytes, backing, &err);
	if (!ret)
		ret = guest_mm_add_window(straw.mm, LAYOUT_HIGH_GPA, straw.layout.high_bytes,
					  backing, &err);
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
	if (!ret)
		ret = qmp_server_start(&straw, path, &server, &err);
	if (ret)
		print_error("%s\n", err.text);
	return ret;
}

static int start(void **state)
{
	(void)state;
	memset(&straw, 0, sizeof(straw));
	return create_memory(GUEST_MM_ANON);
}

static int start_memfd(void **state)
{
	(void)state;
	memset(&straw, 0, sizeof(straw));
	return create_memory(GUEST_MM_MEMFD);
}

static int stop(void **state)
{
	(void)state;
	/* As the VM does it: no event comes any more when its listeners go. */
	dimms_stop(straw.dimms);
	qmp_server_stop(server);
	memory_devices_destroy(straw.devices);
	dimms_destroy(straw.dimms);
	qom_destroy(straw.qom);
	guest_mm_destroy(straw.mm);
	close(straw.irq);
	return 0;
}

static int make_folder(void **state)
{
	(void)state;
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/qmp", folder);
	peer_use(path);
	return 0;
}

static int remove_folder(void **state)
{
	(void)state;
	return rmdir(folder);
}

/* ---- The guest of straw ---------------------------------------------------------------------- */

static uint32_t get(unsigned int offset)
{
	uint32_t value = 0;

	memory_hotplug_bus_ops.read(dimms_registers(straw.dimms), offset, &value, 4);
	return value;
}

static void put(unsigned int offset, uint32_t value)
{
	memory_hotplug_bus_ops.write(dimms_registers(straw.dimms), offset, &value, 4);
}

static void report(unsigned int slot, uint32_t event, uint32_t status)
{
	put(MEMORY_HOTPLUG_SLOT, slot);
	put(MEMORY_HOTPLUG_OST_EVENT, event);
	put(MEMORY_HOTPLUG_OST_STATUS, status);
}

static void eject(unsigned int slot)
{
	put(MEMORY_HOTPLUG_SLOT, slot);
	put(MEMORY_HOTPLUG_STATUS, MEMORY_HOTPLUG_EJECT);
}

/* The next slot with news, which are acknowledged; the test fails if they are others. */
static unsigned int hear_of(uint32_t news)
{
	uint32_t slot = get(MEMORY_HOTPLUG_NEXT);

	assert_true(slot < SLOTS);
	assert_true(get(MEMORY_HOTPLUG_STATUS) & news);
	put(MEMORY_HOTPLUG_STATUS, news);
	return slot;
}

static gpa_t gpa_of(unsigned int slot)
{
	put(MEMORY_HOTPLUG_SLOT, slot);
	return get(MEMORY_HOTPLUG_GPA_LOW) | (gpa_t)get(MEMORY_HOTPLUG_GPA_HIGH) << 32;
}

/* ---- What the tests say and hear ------------------------------------------------------------- */

static void add_backend(int fd, const char *id, unsigned int mib)
{
	char text[256];

	snprintf(text, sizeof(text),
		 "{\"execute\":\"object-add\",\"arguments\":{\"qom-type\":\"memory-backend-ram\","
		 "\"id\":\"%s\",\"size\":%llu}}",
		 id, (unsigned long long)(mib * MIB));
	peer_expect_ok(fd, text);
}

static void add_dimm(int fd, const char *id, const char *memdev)
{
	char text[256];

	snprintf(text, sizeof(text),
		 "{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"pc-dimm\",\"id\":\"%s\","
		 "\"memdev\":\"%s\"}}",
		 id, memdev);
	peer_expect_ok(fd, text);
}

static void ask_back(int fd, const char *id)
{
	char text[128];

	snprintf(text, sizeof(text), "{\"execute\":\"device_del\",\"arguments\":{\"id\":\"%s\"}}",
		 id);
	peer_expect_ok(fd, text);
}

/* The next event, which must be of that name; its data is to be released. */
static json_t *expect_event(int fd, const char *name)
{
	json_t *message = peer_hear(fd), *data;

	assert_string_equal(peer_text_at(message, "event", NULL), name);
	data = json_incref(json_object_get(message, "data"));
	json_decref(message);
	return data;
}

static void expect_ost(int fd, const char *device, int source, int status)
{
	json_t *data = expect_event(fd, "ACPI_DEVICE_OST"), *info = json_object_get(data, "info");
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

static void expect_deleted(int fd, const char *id)
{
	json_t *data = expect_event(fd, "DEVICE_DELETED");
	char device_path[128];

	snprintf(device_path, sizeof(device_path), "/machine/peripheral/%s", id);
	assert_string_equal(peer_text_at(data, "device", NULL), id);
	assert_string_equal(peer_text_at(data, "path", NULL), device_path);
	json_decref(data);
}

static void expect_silence(int fd)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

	assert_int_equal(poll(&poll_fd, 1, 100), 0);
}

static json_t *query(int fd, const char *command)
{
	char text[128];
	json_t *reply, *result;

	snprintf(text, sizeof(text), "{\"execute\":\"%s\"}", command);
	reply = peer_ask(fd, text);
	result = json_incref(json_object_get(reply, "return"));
	assert_non_null(result);
	json_decref(reply);
	return result;
}

static size_t device_count(int fd)
{
	json_t *list = query(fd, "query-memory-devices");
	size_t count = json_array_size(list);

	json_decref(list);
	return count;
}

static uint64_t plugged_bytes(int fd)
{
	json_t *summary = query(fd, "query-memory-size-summary");
	uint64_t bytes = (uint64_t)json_integer_value(json_object_get(summary, "plugged-memory"));

	assert_int_equal(json_integer_value(json_object_get(summary, "base-memory")), 64 * MIB);
	json_decref(summary);
	return bytes;
}

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
	slot = hear_of(MEMORY_HOTPLUG_INSERTING);
	gpa = gpa_of(slot);
	assert_int_equal(gpa % LAYOUT_HOTPLUG_ALIGN, 0);
	assert_int_equal(get(MEMORY_HOTPLUG_SIZE_LOW), 256 * MIB);
	/* It is memory already when the guest hears of it, from end to end. */
	assert_int_equal(guest_mm_write(straw.mm, gpa, &word, sizeof(word)), 0);
	assert_int_equal(guest_mm_write(straw.mm, gpa + 256 * MIB - 8, &word, sizeof(word)), 0);
	report(slot, 1, 0);
	expect_ost(fd, "dimm0", 1, 0);

	list = query(fd, "query-memory-devices");
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
	assert_int_equal(hear_of(MEMORY_HOTPLUG_REMOVING), slot);
	report(slot, 3, 0x84);
	eject(slot);
	report(slot, 3, 0);
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
	slot = hear_of(MEMORY_HOTPLUG_INSERTING);
	for (i = 0; i < 3; i++) {
		ask_back(fd, "dimm0");
		assert_int_equal(hear_of(MEMORY_HOTPLUG_REMOVING), slot);
		report(slot, 3, 0x82);
		expect_ost(fd, "dimm0", 3, 0x82);
		data = expect_event(fd, "DEVICE_UNPLUG_GUEST_ERROR");
		assert_string_equal(peer_text_at(data, "device", NULL), "dimm0");
		assert_string_equal(peer_text_at(data, "path", NULL), "/machine/peripheral/dimm0");
		assert_non_null(strstr(peer_text_at(data, "x-samara-reason", NULL), "busy"));
		json_decref(data);
		data = expect_event(fd, "MEM_UNPLUG_ERROR");
		assert_string_equal(peer_text_at(data, "device", NULL), "dimm0");
		assert_non_null(strstr(peer_text_at(data, "msg", NULL), "0x82"));
		json_decref(data);
		assert_int_equal(device_count(fd), 1);
	}
	/* Not asked: what it says of an ejection is a report, and no refusal. */
	report(slot, 0x103, 0x81);
	expect_ost(fd, "dimm0", 0x103, 0x81);
	expect_silence(fd);

	ask_back(fd, "dimm0");
	hear_of(MEMORY_HOTPLUG_REMOVING);
	eject(slot);
	expect_deleted(fd, "dimm0");
	close(fd);
}

/* Nothing happens to it; the interrupt comes again and again, since one may have been lost. */
static void a_guest_that_does_nothing_is_reminded(void **state)
{
	struct pollfd irq = {.fd = straw.irq, .events = POLLIN};
	int fd = peer_greet();
	eventfd_t count;
	unsigned int i;

	(void)state;
	add_backend(fd, "mem0", 128);
	add_dimm(fd, "dimm0", "mem0");
	ask_back(fd, "dimm0");
	for (i = 0; i < 3; i++) {
		assert_int_equal(poll(&irq, 1, 5000), 1);
		assert_int_equal(eventfd_read(straw.irq, &count), 0);
	}
	assert_int_equal(device_count(fd), 1);
	hear_of(MEMORY_HOTPLUG_INSERTING);
	hear_of(MEMORY_HOTPLUG_REMOVING);
	/* It has heard; what it does with that is its own. One edge may have been on its way. */
	usleep(1200000);
	eventfd_read(straw.irq, &count);
	assert_int_equal(poll(&irq, 1, 1500), 0);
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
	kept = gpa_of(hear_of(MEMORY_HOTPLUG_INSERTING));
	add_dimm(fd, "asked", "mem1");
	gone = gpa_of(hear_of(MEMORY_HOTPLUG_INSERTING));
	add_dimm(fd, "refused", "mem2");
	hear_of(MEMORY_HOTPLUG_INSERTING);
	ask_back(fd, "asked");
	ask_back(fd, "refused");
	report(2, 3, 0x81);
	expect_ost(fd, "refused", 3, 0x81);
	json_decref(expect_event(fd, "DEVICE_UNPLUG_GUEST_ERROR"));
	json_decref(expect_event(fd, "MEM_UNPLUG_ERROR"));
	assert_int_equal(guest_mm_write(straw.mm, kept, &word, sizeof(word)), 0);

	peer_say(fd, "{\"execute\":\"system_reset\"}");
	expect_deleted(fd, "asked");
	json_decref(peer_hear(fd)); /* the reply */
	assert_int_equal(device_count(fd), 2);
	assert_int_equal(get(MEMORY_HOTPLUG_NEXT), MEMORY_HOTPLUG_NONE);
	put(MEMORY_HOTPLUG_SLOT, 0);
	assert_int_equal(get(MEMORY_HOTPLUG_STATUS), MEMORY_HOTPLUG_ENABLED);
	put(MEMORY_HOTPLUG_SLOT, 1);
	assert_int_equal(get(MEMORY_HOTPLUG_STATUS), 0);
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
		assert_int_equal(hear_of(MEMORY_HOTPLUG_INSERTING), i);
		assert_true(gpa_of(i) == straw.layout.hotplug_gpa + i * 128 * MIB);
	}
	add_backend(fd, "more", 4);
	peer_expect_error(fd,
			  "{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"pc-dimm\","
			  "\"memdev\":\"more\"}}",
			  "GenericError", "not enough space");
	third = gpa_of(2);
	ask_back(fd, "c");
	hear_of(MEMORY_HOTPLUG_REMOVING);
	eject(2);
	expect_deleted(fd, "c");
	add_dimm(fd, "new", "c");
	assert_int_equal(hear_of(MEMORY_HOTPLUG_INSERTING), 2);
	assert_true(gpa_of(2) == third);
	close(fd);
}

/* ---- Guests that misbehave ------------------------------------------------------------------- */

static void a_storm_of_reports_is_cut_off(void **state)
{
	int fd = peer_greet(), deaf = peer_greet();
	uint64_t passed, dropped;
	unsigned int i;

	(void)state;
	add_backend(fd, "mem0", 128);
	add_dimm(fd, "dimm0", "mem0");
	for (i = 0; i < 100000; i++)
		report(i % 40, i, i);
	/* Whoever is connected, reading or not, is served on. */
	peer_expect_ok(fd, "{\"execute\":\"query-status\"}");
	peer_expect_ok(deaf, "{\"execute\":\"query-status\"}");
	dimms_get_reports(straw.dimms, &passed, &dropped);
	assert_true(passed <= SLOTS * 32);
	assert_true(dropped > 10000);
	/* A device that is spoken of on the host's behalf is heard again. */
	ask_back(fd, "dimm0");
	report(0, 3, 0x82);
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
		eject(0);
		eject(0);
		eject(1);
		expect_deleted(fd, "dimm0");
	}
	assert_int_equal(device_count(fd), 0);
	expect_silence(fd);
	close(fd);
}

/* ---- Arguments ------------------------------------------------------------------------------- */

#define ADD(more)  "{\"execute\":\"object-add\",\"arguments\":{" more "}}"
#define RAM(more)  ADD("\"qom-type\":\"memory-backend-ram\"," more)
#define PLUG(more) "{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"pc-dimm\"," more "}}"

static void wrong_arguments_are_named(void **state)
{
	static const struct {
		const char *text, *error_class, *part;
	} cases[] = {
		{ADD("\"id\":\"m\",\"size\":4096"), "GenericError", "'qom-type' is missing"},
		{ADD("\"qom-type\":\"rng\",\"id\":\"m\""), "GenericError", "'rng'"},
		{ADD("\"qom-type\":1,\"id\":\"m\""), "GenericError", "expected: string"},
		{RAM("\"size\":4096"), "GenericError", "'id' is missing"},
		{RAM("\"id\":\"m\""), "GenericError", "'size' is missing"},
		{RAM("\"id\":\"m\",\"size\":0"), "GenericError", "4 KiB"},
		{RAM("\"id\":\"m\",\"size\":4097"), "GenericError", "4 KiB"},
		{RAM("\"id\":\"m\",\"size\":-4096"), "GenericError", "negative"},
		{RAM("\"id\":\"m/../x\",\"size\":4096"), "GenericError", "identifier"},
		{RAM("\"id\":\"\",\"size\":4096"), "GenericError", "identifier"},
		{RAM("\"id\":\"m0\",\"size\":4096"), "GenericError", "duplicate"},
		{RAM("\"id\":\"m\",\"size\":4096,\"share\":1"), "GenericError", "boolean"},
		{RAM("\"id\":\"m\",\"size\":4096,\"share\":true"), "GenericError", "backing=memfd"},
		{RAM("\"id\":\"m\",\"size\":4096,\"policy\":\"bind\""), "GenericError", "policy"},
		{RAM("\"id\":\"m\",\"size\":4096,\"colour\":1"), "GenericError", "'colour'"},
		{ADD("\"qom-type\":\"memory-backend-memfd\",\"id\":\"m\",\"size\":4096"),
		 "GenericError", "backing=memfd"},
		{ADD("\"qom-type\":\"memory-backend-memfd\",\"id\":\"m\",\"size\":4096,"
		     "\"share\":false,\"hugetlb\":true"),
		 "GenericError", "hugetlb"},
		{ADD("\"qom-type\":\"memory-backend-file\",\"id\":\"m\",\"size\":4096"),
		 "GenericError", "'mem-path' is missing"},
		{ADD("\"qom-type\":\"memory-backend-file\",\"id\":\"m\",\"size\":4096,"
		     "\"mem-path\":\"/nowhere\""),
		 "GenericError", "No such file"},
		{ADD("\"qom-type\":\"memory-backend-file\",\"id\":\"m\",\"size\":4096,"
		     "\"mem-path\":\"/tmp\""),
		 "GenericError", "not a regular file"},
		{ADD("\"qom-type\":\"memory-backend-file\",\"id\":\"m\",\"size\":4096,"
		     "\"mem-path\":\"/etc/passwd\",\"share\":true"),
		 "GenericError", "can't go to a file"},
		{"{\"execute\":\"object-del\",\"arguments\":{\"id\":\"m9\"}}", "GenericError",
		 "'m9' not found"},
		{"{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"floppy\"}}",
		 "GenericError", "'floppy'"},
		{PLUG("\"id\":\"d\""), "GenericError", "'memdev' property is not set"},
		{PLUG("\"memdev\":\"m9\""), "DeviceNotFound", "'m9' not found"},
		{PLUG("\"memdev\":\"m0\""), "GenericError", "already busy"},
		{PLUG("\"memdev\":\"m1\",\"id\":\"d0\""), "GenericError", "Duplicate"},
		{PLUG("\"memdev\":\"m1\",\"id\":\"0d\""), "GenericError", "identifier"},
		{PLUG("\"memdev\":\"m1\",\"node\":2"), "GenericError", "NUMA nodes: 2"},
		{PLUG("\"memdev\":\"m1\",\"slot\":0"), "GenericError", "slot 0 is busy"},
		{PLUG("\"memdev\":\"m1\",\"slot\":8"), "GenericError", "[0-7]"},
		{PLUG("\"memdev\":\"m1\",\"slot\":\"0xffffffffffffffff\""), "GenericError",
		 "valid range"},
		{PLUG("\"memdev\":\"m1\",\"addr\":4096"), "GenericError", "aligned"},
		{PLUG("\"memdev\":\"m1\",\"addr\":134217728"), "GenericError", "usable range"},
		{PLUG("\"memdev\":\"m1\",\"addr\":\"0xfffffffff8000000\""), "GenericError",
		 "usable range"},
		{PLUG("\"memdev\":\"m1\",\"addr\":4294967296"), "GenericError", "in use"},
		{PLUG("\"memdev\":\"big\""), "GenericError", "not enough space"},
		{"{\"execute\":\"device_del\",\"arguments\":{\"id\":\"d9\"}}", "DeviceNotFound",
		 "'d9' not found"},
		{"{\"execute\":\"qom-get\",\"arguments\":{\"path\":\"/machine/peripheral/d9\","
		 "\"property\":\"size\"}}",
		 "DeviceNotFound", "d9"},
		{"{\"execute\":\"qom-get\",\"arguments\":{\"path\":\"/machine/peripheral/d0\","
		 "\"property\":\"taste\"}}",
		 "GenericError", "'pc-dimm.taste' not found"},
		{"{\"execute\":\"qom-set\",\"arguments\":{\"path\":\"/machine/peripheral/d0\","
		 "\"property\":\"size\",\"value\":1}}",
		 "GenericError", "not writable"},
		{"{\"execute\":\"qom-list\",\"arguments\":{\"path\":\"/nowhere\"}}",
		 "DeviceNotFound", "/nowhere"},
		{"{\"execute\":\"balloon\",\"arguments\":{\"value\":1048576}}", "DeviceNotActive",
		 "No balloon device"},
		{"{\"execute\":\"query-balloon\"}", "DeviceNotActive", "No balloon device"},
	};
	int fd = peer_greet();
	unsigned int i;

	(void)state;
	add_backend(fd, "m0", 128);
	add_backend(fd, "m1", 128);
	add_backend(fd, "big", 1024);
	add_dimm(fd, "d0", "m0");
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		peer_expect_error(fd, cases[i].text, cases[i].error_class, cases[i].part);
	assert_int_equal(device_count(fd), 1);
	close(fd);
}

/* A device without an id, at a place and in a slot of the user's choice. */
static void places_can_be_chosen(void **state)
{
	int fd = peer_greet();
	json_t *list, *data;

	(void)state;
	add_backend(fd, "m0", 256);
	peer_expect_ok(fd,
		       PLUG("\"memdev\":\"m0\",\"slot\":5,\"addr\":\"0x110000000\",\"node\":1"));
	assert_int_equal(hear_of(MEMORY_HOTPLUG_INSERTING), 5);
	assert_true(gpa_of(5) == 0x110000000);
	assert_int_equal(get(MEMORY_HOTPLUG_NODE), 1);
	list = query(fd, "query-memory-devices");
	data = json_object_get(json_array_get(list, 0), "data");
	assert_null(json_object_get(data, "id"));
	json_decref(list);
	ask_back(fd, "/machine/peripheral-anon/device[0]");
	hear_of(MEMORY_HOTPLUG_REMOVING);
	eject(5);
	data = expect_event(fd, "DEVICE_DELETED");
	assert_null(json_object_get(data, "device"));
	assert_string_equal(peer_text_at(data, "path", NULL), "/machine/peripheral-anon/device[0]");
	json_decref(data);
	close(fd);
}

static void properties_are_read(void **state)
{
	int fd = peer_greet();
	json_t *reply;

	(void)state;
	add_backend(fd, "m0", 128);
	add_dimm(fd, "d0", "m0");
	reply = peer_ask(fd, "{\"execute\":\"qom-get\",\"arguments\":{\"path\":"
			     "\"/machine/peripheral/d0\",\"property\":\"addr\"}}");
	assert_true((uint64_t)json_integer_value(json_object_get(reply, "return")) ==
		    straw.layout.hotplug_gpa);
	json_decref(reply);
	reply = peer_ask(fd, "{\"execute\":\"qom-get\",\"arguments\":{\"path\":\"/objects/m0\","
			     "\"property\":\"size\"}}");
	assert_int_equal(json_integer_value(json_object_get(reply, "return")), 128 * MIB);
	json_decref(reply);
	reply = peer_ask(
		fd, "{\"execute\":\"qom-list\",\"arguments\":{\"path\":\"/machine/peripheral\"}}");
	assert_int_equal(json_array_size(json_object_get(reply, "return")), 1);
	json_decref(reply);
	reply = peer_ask(fd, "{\"execute\":\"qom-list\",\"arguments\":{\"path\":\"/\"}}");
	assert_int_equal(json_array_size(json_object_get(reply, "return")), 2);
	json_decref(reply);
	close(fd);
}

/* ---- Backends -------------------------------------------------------------------------------- */

static void a_files_contents_are_the_memorys(void **state)
{
	static const char text[] = "what the file holds";
	char file[] = "/tmp/samara-test-file-XXXXXX", command[256], read_back[sizeof(text)];
	int file_fd = mkstemp(file), fd = peer_greet();
	const off_t far = 64 * (off_t)MIB;
	gpa_t gpa;

	(void)state;
	assert_true(file_fd >= 0);
	/* A hole between, and more memory than file. */
	assert_int_equal(pwrite(file_fd, text, sizeof(text), 4000), sizeof(text));
	assert_int_equal(pwrite(file_fd, text, sizeof(text), far), sizeof(text));
	snprintf(command, sizeof(command),
		 ADD("\"qom-type\":\"memory-backend-file\",\"id\":\"m0\",\"size\":\"128M\","
		     "\"mem-path\":\"%s\""),
		 file);
	peer_expect_ok(fd, command);
	add_dimm(fd, "d0", "m0");
	gpa = gpa_of(hear_of(MEMORY_HOTPLUG_INSERTING));
	assert_int_equal(guest_mm_read(straw.mm, gpa + 4000, read_back, sizeof(text)), 0);
	assert_string_equal(read_back, text);
	assert_int_equal(guest_mm_read(straw.mm, gpa + (gpa_t)far, read_back, sizeof(text)), 0);
	assert_string_equal(read_back, text);
	assert_int_equal(guest_mm_read(straw.mm, gpa + 32 * MIB, read_back, sizeof(text)), 0);
	assert_int_equal(read_back[0], 0);
	close(fd);
	close(file_fd);
	unlink(file);
}

static void shared_backends_need_shared_memory(void **state)
{
	int fd = peer_greet();

	(void)state;
	peer_expect_ok(fd, ADD("\"qom-type\":\"memory-backend-memfd\",\"id\":\"m0\","
			       "\"size\":\"128M\",\"share\":true,\"prealloc\":true"));
	add_dimm(fd, "d0", "m0");
	assert_int_equal(device_count(fd), 1);
	close(fd);
}

/* ---- The balloon's hook ---------------------------------------------------------------------- */

static uint64_t balloon_target;

static int set_target(void *device, uint64_t bytes, struct samara_error *err)
{
	(void)device;
	if (bytes > 64 * MIB)
		return samara_error_set(err, -ERANGE, "more than there is");
	balloon_target = bytes;
	return 0;
}

static uint64_t get_target(void *device)
{
	(void)device;
	return balloon_target;
}

static void the_balloon_is_asked(void **state)
{
	const struct vm_balloon balloon = {.set = set_target, .get = get_target};
	int fd = peer_greet();
	json_t *result;

	(void)state;
	straw.balloon = &balloon;
	peer_expect_ok(fd, "{\"execute\":\"balloon\",\"arguments\":{\"value\":33554432}}");
	peer_expect_error(fd, "{\"execute\":\"balloon\",\"arguments\":{\"value\":0}}",
			  "GenericError", "'value'");
	peer_expect_error(fd, "{\"execute\":\"balloon\",\"arguments\":{\"value\":\"1T\"}}",
			  "GenericError", "more than there is");
	result = query(fd, "query-balloon");
	assert_int_equal(json_integer_value(json_object_get(result, "actual")), 32 * MIB);
	json_decref(result);
	close(fd);
}

/* ---- The schema ------------------------------------------------------------------------------ */

static const json_t *find_named(const json_t *schema, const char *name, const char *meta_type)
{
	const json_t *entry;
	size_t i;

	json_array_foreach(
		schema, i,
		entry) if (!strcmp(peer_text_at((json_t *)entry, "name", NULL), name) &&
			   (!meta_type || !strcmp(peer_text_at((json_t *)entry, "meta-type", NULL),
						  meta_type))) return entry;
	return NULL;
}

static void check_type(const json_t *schema, const json_t *entry, const char *key)
{
	const char *name = json_string_value(json_object_get(entry, key));

	if (name && !find_named(schema, name, NULL))
		fail_msg("type '%s' is used, and not there", name);
}

static void check_list(const json_t *schema, const json_t *list)
{
	const json_t *member;
	size_t i;

	json_array_foreach(list, i, member) check_type(schema, member, "type");
}

static void the_schema_is_whole(void **state)
{
	static const char *const events[] = {"RESUME",           "STOP",
					     "SHUTDOWN",         "POWERDOWN",
					     "GUEST_PANICKED",   "RESET",
					     "ACPI_DEVICE_OST",  "MEMORY_DEVICE_SIZE_CHANGE",
					     "DEVICE_DELETED",   "DEVICE_UNPLUG_GUEST_ERROR",
					     "MEM_UNPLUG_ERROR", "BALLOON_CHANGE"};
	int fd = peer_greet();
	json_t *schema = query(fd, "query-qmp-schema"), *commands = query(fd, "query-commands");
	const json_t *entry, *other, *object_add;
	size_t i, j;

	(void)state;
	json_array_foreach(schema, i, entry)
	{
		static const char *const keys[] = {"arg-type", "ret-type", "element-type"};

		for (j = 0; j < 3; j++)
			check_type(schema, entry, keys[j]);
		check_list(schema, json_object_get(entry, "members"));
		check_list(schema, json_object_get(entry, "variants"));
		/* No name twice. */
		json_array_foreach(schema, j, other)
			assert_true(i == j || !json_equal(json_object_get(entry, "name"),
							  json_object_get(other, "name")));
	}
	json_array_foreach(commands, i, entry) assert_non_null(
		find_named(schema, peer_text_at((json_t *)entry, "name", NULL), "command"));
	for (i = 0; i < sizeof(events) / sizeof(events[0]); i++)
		assert_non_null(find_named(schema, events[i], "event"));
	object_add = find_named(schema, "object-add", "command");
	object_add =
		find_named(schema, peer_text_at((json_t *)object_add, "arg-type", NULL), "object");
	assert_string_equal(peer_text_at((json_t *)object_add, "tag", NULL), "qom-type");
	assert_int_equal(json_array_size(json_object_get(object_add, "variants")), 3);
	json_decref(schema);
	json_decref(commands);
	close(fd);
}

/* ---- A guest that works, clients side by side, samara ctl ------------------------------------- */

/* A kernel's part: takes what is plugged, and lets go or refuses what it is asked for. */
struct guest {
	pthread_t thread;
	atomic_bool stop, refuses;
};

static void work_off_news(struct guest *guest)
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

static void *run_guest(void *arg)
{
	struct pollfd irq = {.fd = straw.irq, .events = POLLIN};
	struct guest *guest = arg;
	eventfd_t count;

	while (!guest->stop) {
		if (poll(&irq, 1, 50) == 1)
			eventfd_read(straw.irq, &count);
		work_off_news(guest);
	}
	return NULL;
}

static void start_guest(struct guest *guest)
{
	guest->stop = false;
	guest->refuses = false;
	assert_int_equal(pthread_create(&guest->thread, NULL, run_guest, guest), 0);
}

static void stop_guest(struct guest *guest)
{
	guest->stop = true;
	pthread_join(guest->thread, NULL);
}

static int ctl(const char *verb, const char *a, const char *b, const char *c)
{
	const char *argv[] = {"samara ctl", path, verb, a, b, c, NULL};
	int argc = 3;

	while (argv[argc])
		argc++;
	return cmd_ctl(argc, (char **)argv);
}

/* TAP is on standard output: what the command prints must not get there. */
static int saved[2];

static void mute(void)
{
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC), i;

	fflush(stdout);
	for (i = 0; i < 2; i++) {
		saved[i] = dup(i + 1);
		dup2(null, i + 1);
	}
	close(null);
}

static void unmute(void)
{
	int i;

	fflush(stdout);
	for (i = 0; i < 2; i++) {
		dup2(saved[i], i + 1);
		close(saved[i]);
	}
}

static int quiet_ctl(const char *verb, const char *a, const char *b, const char *c)
{
	int status;

	mute();
	status = ctl(verb, a, b, c);
	unmute();
	return status;
}

static void ctl_waits_for_the_guest(void **state)
{
	int fd = peer_greet();
	struct guest guest;

	(void)state;
	start_guest(&guest);
	assert_int_equal(quiet_ctl("plug", "256M", NULL, NULL), 0);
	assert_int_equal(quiet_ctl("plug", "128M", "--id", "mine"), 0);
	assert_int_equal(device_count(fd), 2);
	assert_int_equal(plugged_bytes(fd), 384 * MIB);
	assert_int_equal(quiet_ctl("devices", NULL, NULL, NULL), 0);
	assert_int_equal(quiet_ctl("devices", "--json", NULL, NULL), 0);
	assert_int_equal(quiet_ctl("unplug", "dimm0", NULL, NULL), 0);
	assert_int_equal(device_count(fd), 1);
	/* Its backend went with it: the id is free again. */
	assert_int_equal(quiet_ctl("plug", "128M", "--id", "dimm0"), 0);
	guest.refuses = true;
	assert_int_equal(quiet_ctl("unplug", "mine", NULL, NULL), SAMARA_EXIT_FAILURE);
	assert_int_equal(device_count(fd), 2);
	guest.refuses = false;
	assert_int_equal(quiet_ctl("unplug", "mine", NULL, NULL), 0);
	assert_int_equal(quiet_ctl("unplug", "mine", NULL, NULL), SAMARA_EXIT_FAILURE);
	assert_int_equal(quiet_ctl("plug", "2G", NULL, NULL), SAMARA_EXIT_FAILURE);
	assert_int_equal(quiet_ctl("resize", "1G", NULL, NULL), SAMARA_EXIT_FAILURE);
	stop_guest(&guest);
	/* A guest that does not answer is not waited for, for ever. */
	assert_int_equal(quiet_ctl("unplug", "dimm0", "--timeout", "1"), SAMARA_EXIT_FAILURE);
	assert_int_equal(quiet_ctl("unplug", "dimm0", "--node", "1"), SAMARA_EXIT_USAGE);
	assert_int_equal(quiet_ctl("plug", "much", NULL, NULL), SAMARA_EXIT_USAGE);
	assert_int_equal(quiet_ctl("plug", "4M", "--node", "x"), SAMARA_EXIT_USAGE);
	assert_int_equal(quiet_ctl("plug", "4M", "--id", NULL), SAMARA_EXIT_USAGE);
	assert_int_equal(device_count(fd), 1);
	close(fd);
}

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
	struct guest guest;

	(void)state;
	start_guest(&guest);
	mute();
	for (i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, plug_and_unplug, &numbers[i]);
	for (i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	unmute();
	for (i = 0; i < 4; i++)
		assert_int_equal(numbers[i], 0);
	stop_guest(&guest);
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
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
	const struct CMUnitTest tests[] = {
		TEST(a_dimm_comes_and_goes),
		TEST(a_refusal_is_told_and_can_be_asked_again),
		TEST(a_guest_that_does_nothing_is_reminded),
		TEST(a_reset_keeps_dimms_and_ends_removals),
		TEST(places_are_used_again),
		TEST(a_storm_of_reports_is_cut_off),
		TEST(what_was_not_asked_for_can_be_ejected),
		TEST(wrong_arguments_are_named),
		TEST(places_can_be_chosen),
		TEST(properties_are_read),
		TEST(a_files_contents_are_the_memorys),
		cmocka_unit_test_setup_teardown(shared_backends_need_shared_memory, start_memfd,
						stop),
		TEST(the_balloon_is_asked),
		TEST(the_schema_is_whole),
		TEST(ctl_waits_for_the_guest),
		TEST(clients_do_not_disturb_each_other),
	};

	return cmocka_run_group_tests_name("qmp memory", tests, make_folder, remove_folder);
}
