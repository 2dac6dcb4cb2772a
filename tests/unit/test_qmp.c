/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control socket, with a VM of straw behind it: vm_*() and guest_mm_*() are defined here, so
 * that the tests decide how long a command takes and when events come.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include <jansson.h>

#include "devices/bus.h"
#include "tests/lib/qmp_peer.h"
#include "vmm/commands.h"
#include "vmm/memory_devices.h"
#include "vmm/qmp.h"
#include "vmm/qmp_client.h"
#include "vmm/qmp_command.h"

/* ---- The VM of straw ------------------------------------------------------------------------- */

#define GPA_WAITS   0xb10c000 /* an unplug there waits until straw.release is set */
#define GPA_REFUSED 0xbad000  /* a plug there fails */

struct vm {
	struct vm_config config;
	struct memory_devices *memory_devices;
	struct qom *qom;
	vm_event_fn *listener;
	void *listener_arg;
	_Atomic enum vm_state state;
	atomic_int resets, quits, waiting;
	atomic_bool release;
	unsigned int region_count;
	uint64_t gpa, size_bytes, new_gpa;
	unsigned int prot;
};

static struct vm straw;

static void tell_by(enum vm_event event, bool by_guest)
{
	const struct vm_notice notice = {.event = event, .by_guest = by_guest};

	if (straw.listener)
		straw.listener(&notice, straw.listener_arg);
}

static void tell(enum vm_event event)
{
	tell_by(event, false);
}

int vm_pause(struct vm *vm, struct samara_error *err)
{
	(void)err;
	vm->state = VM_PAUSED;
	tell(VM_EVENT_STOP);
	return 0;
}

int vm_resume(struct vm *vm, struct samara_error *err)
{
	if (vm->state == VM_SHUTDOWN)
		return samara_error_set(err, -EINVAL, "the VM has ended");
	vm->state = VM_RUNNING;
	tell(VM_EVENT_RESUME);
	return 0;
}

/* The virtio devices' commands take devices; the lab has some. */
const struct qmp_command qmp_virtio_commands[] = {{NULL, NULL, false, NULL, NULL, NULL, NULL}};

void vm_request_reset(struct vm *vm, bool by_guest)
{
	(void)by_guest;
	vm->resets++;
	tell(VM_EVENT_RESET);
}

void vm_quit(struct vm *vm)
{
	tell(VM_EVENT_SHUTDOWN);
	vm->quits++;
}

void vm_powerdown(struct vm *vm)
{
	(void)vm;
	tell(VM_EVENT_POWERDOWN);
}

/* It has no devices, nor slots for them; tests/unit/test_qmp_memory.c has. */
struct memory_devices *vm_memory_devices(struct vm *vm)
{
	return vm->memory_devices;
}

int vm_add_virtio_mem(struct vm *vm, const struct virtio_mem_options *options, const char *memdev,
		      gpa_t gpa, struct samara_error *err)
{
	(void)vm;
	(void)gpa;
	return samara_error_set(err, -EPERM, "%s of straw, block %u", memdev,
				(unsigned int)options->block_bytes);
}

int vm_remove_virtio_mem(struct vm *vm, const char *id, struct samara_error *err)
{
	(void)vm;
	(void)id;
	(void)err;
	return -ENOENT;
}

struct dimms *vm_dimms(struct vm *vm)
{
	(void)vm;
	return NULL;
}

struct qom *vm_qom(struct vm *vm)
{
	return vm->qom;
}

const struct vm_balloon *vm_get_balloon(struct vm *vm)
{
	(void)vm;
	return NULL;
}

enum vm_state vm_get_state(struct vm *vm)
{
	return vm->state;
}

struct guest_mm *vm_mm(struct vm *vm)
{
	(void)vm;
	return NULL;
}

const struct vm_config *vm_get_config(struct vm *vm)
{
	return &vm->config;
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
	mmio->reads = 11;
	pio->nowhere = 22;
}

int guest_mm_plug(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes, unsigned int prot,
		  struct samara_error *err)
{
	(void)mm;
	straw.gpa = gpa;
	straw.size_bytes = size_bytes;
	straw.prot = prot;
	if (gpa == GPA_REFUSED)
		return samara_error_set(err, -EEXIST, "0xbad000: plugged already");
	return 0;
}

int guest_mm_unplug(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes, struct samara_error *err)
{
	(void)mm;
	(void)size_bytes;
	(void)err;
	if (gpa != GPA_WAITS)
		return 0;
	straw.waiting++;
	while (!straw.release)
		usleep(1000);
	straw.waiting--;
	return 0;
}

int guest_mm_remap(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes, gpa_t new_gpa,
		   struct samara_error *err)
{
	(void)mm;
	(void)err;
	straw.gpa = gpa;
	straw.size_bytes = size_bytes;
	straw.new_gpa = new_gpa;
	return 0;
}

int guest_mm_protect(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes, unsigned int prot,
		     struct samara_error *err)
{
	return guest_mm_plug(mm, gpa, size_bytes, prot, err);
}

int guest_mm_discard(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes, struct samara_error *err)
{
	return guest_mm_plug(mm, gpa, size_bytes, 0, err);
}

int guest_mm_reback(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes,
		    const struct guest_mm_memory *memory, struct samara_error *err)
{
	(void)memory;
	return guest_mm_plug(mm, gpa, size_bytes, 0, err);
}

int guest_mm_write(struct guest_mm *mm, gpa_t gpa, const void *from, uint64_t length_bytes)
{
	(void)mm, (void)gpa, (void)from, (void)length_bytes;
	return 0;
}

int guest_mm_populate(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes, struct samara_error *err)
{
	return guest_mm_plug(mm, gpa, size_bytes, 0, err);
}

int guest_mm_for_each_region(struct guest_mm *mm,
			     int (*visit)(const struct guest_mm_region *region, void *arg),
			     void *arg)
{
	unsigned int i;
	int ret = 0;

	(void)mm;
	for (i = 0; i < straw.region_count && !ret; i++) {
		struct guest_mm_region region = {
			.gpa = (uint64_t)i << 21,
			.size_bytes = 1 << 21,
			.prot = i % 2 ? GUEST_MM_READ : GUEST_MM_RDWR,
			.backing = GUEST_MM_MEMFD,
			.populated_pages = i,
			.locked = i == 1,
		};

		ret = visit(&region, arg);
	}
	return ret;
}

void guest_mm_get_stats(struct guest_mm *mm, struct guest_mm_stats *stats)
{
	(void)mm;
	*stats = (struct guest_mm_stats){
		.lock = "region", .plugs = 7, .last_nothing_gpa = UINT64_MAX};
}

/* ---- Set-up ---------------------------------------------------------------------------------- */

static char folder[] = "/tmp/samara-test-qmp-XXXXXX";
static char path[sizeof(folder) + 8];
static struct qmp_server *server;

static int start(void **state)
{
	struct memory_devices_config devices = {.nodes = 1};
	struct samara_error err = {0};

	(void)state;
	memset(&straw, 0, sizeof(straw));
	if (qom_create(&straw.qom))
		return -1;
	devices.qom = straw.qom;
	if (memory_devices_create(&devices, &straw.memory_devices, &err))
		return -1;
	straw.state = VM_RUNNING;
	straw.config.cpus = 2;
	straw.region_count = 3;
	if (qmp_server_start(&straw, path, &server, &err)) {
		print_error("%s\n", err.text);
		return -1;
	}
	return 0;
}

static int stop(void **state)
{
	struct stat stat;

	(void)state;
	straw.release = true;
	qmp_server_stop(server);
	straw.listener = NULL;
	memory_devices_destroy(straw.memory_devices);
	qom_destroy(straw.qom);
	return lstat(path, &stat) == 0; /* the socket file is gone */
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

/* ---- A client by hand -------------------------------------------------------------------------- */

/* That the server serves others: the test of every hostile client. */
static void expect_alive(void)
{
	int fd = peer_greet();

	peer_expect_ok(fd, "{\"execute\":\"query-status\"}");
	close(fd);
}

static void expect_end(int fd)
{
	char buffer[4096];
	ssize_t got;

	do {
		got = recv(fd, buffer, sizeof(buffer), 0);
	} while (got > 0);
	assert_true(got == 0 || errno == ECONNRESET);
}

static void wait_for(atomic_int *counter, int value)
{
	int i;

	for (i = 0; i < 120000 && *counter != value; i++)
		usleep(1000);
	assert_int_equal(*counter, value);
}

/* ---- The protocol ---------------------------------------------------------------------------- */

static void greeting_names_version(void **state)
{
	int fd = peer_dial();
	json_t *message = peer_hear(fd), *version;

	(void)state;
	version = json_object_get(json_object_get(message, "QMP"), "version");
	assert_true(json_is_integer(json_object_get(json_object_get(version, "qemu"), "major")));
	assert_non_null(strstr(peer_text_at(version, "package", NULL), "samara"));
	json_decref(message);
	close(fd);
}

static void commands_need_negotiation(void **state)
{
	int fd = peer_dial();

	(void)state;
	json_decref(peer_hear(fd));
	peer_expect_error(fd, "{\"execute\":\"stop\"}", "CommandNotFound", "qmp_capabilities");
	peer_expect_error(fd,
			  "{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[\"oob\"]}}",
			  "GenericError", "'oob'");
	peer_expect_error(fd, "{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[1]}}",
			  "GenericError", "'enable'");
	peer_expect_ok(fd, "{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[]}}");
	peer_expect_error(fd, "{\"execute\":\"qmp_capabilities\"}", "CommandNotFound",
			  "already complete");
	assert_int_equal(straw.state, VM_RUNNING);
	close(fd);
}

static void ids_come_back(void **state)
{
	static const char *const ids[] = {"7", "\"libvirt-12\"", "{\"a\":[1,null]}", "null"};
	int fd = peer_greet();
	unsigned int i;

	(void)state;
	for (i = 0; i < 4; i++) {
		json_t *reply, *id = json_loads(ids[i], JSON_DECODE_ANY, NULL);
		char text[128];

		snprintf(text, sizeof(text), "{\"execute\":\"%s\",\"id\":%s}\n",
			 i % 2 ? "query-name" : "no-such", ids[i]);
		reply = peer_ask(fd, text);
		assert_true(json_equal(json_object_get(reply, "id"), id));
		assert_non_null(json_object_get(reply, i % 2 ? "return" : "error"));
		json_decref(reply);
		json_decref(id);
	}
	close(fd);
}

static void framing_is_jsons_own(void **state)
{
	const char *slow = "{\"execute\": \"query-\\u0073tatus\",\n \"id\": \"}]\\\"{\"}";
	int fd = peer_greet();
	json_t *reply;

	(void)state;
	/* Two in one packet without line ends; then one byte by byte, over two lines. */
	peer_say(fd, "{\"execute\":\"query-name\",\"id\":1}{\"execute\":\"query-name\",\"id\":2}");
	reply = peer_hear(fd);
	assert_int_equal(json_integer_value(json_object_get(reply, "id")), 1);
	json_decref(reply);
	reply = peer_hear(fd);
	assert_int_equal(json_integer_value(json_object_get(reply, "id")), 2);
	json_decref(reply);
	for (; *slow; slow++)
		assert_int_equal(send(fd, slow, 1, MSG_NOSIGNAL), 1);
	reply = peer_hear(fd);
	assert_string_equal(peer_text_at(reply, "return", "status"), "running");
	assert_string_equal(peer_text_at(reply, "id", NULL), "}]\"{");
	json_decref(reply);
	close(fd);
}

static void wrong_messages_are_named(void **state)
{
	int fd = peer_greet();

	(void)state;
	peer_expect_error(fd, "[]", "GenericError", "must be a JSON object");
	peer_expect_error(fd, "{}", "GenericError", "lacks member 'execute'");
	peer_expect_error(fd, "{\"execute\":1}", "GenericError", "'execute' must be a string");
	peer_expect_error(fd, "{\"execute\":\"stop\",\"arguments\":[]}", "GenericError",
			  "'arguments' must be an object");
	peer_expect_error(fd, "{\"execute\":\"stop\",\"exec-oob\":1}", "GenericError",
			  "'exec-oob' is unexpected");
	peer_expect_error(fd, "{\"execute\":\"fly\"}", "CommandNotFound", "fly");
	peer_expect_error(fd, "{\"execute\":\"stop\",\"execute\":\"stop\"}", "GenericError",
			  "JSON");
	peer_expect_error(fd, "{\"execute\" \"stop\"}", "GenericError", "JSON parse error");
	peer_expect_error(fd, "{\"execute\":\"stop\"]", "GenericError", "JSON parse error");
	peer_expect_error(fd, "{\"execute\":\"\xff\"}", "GenericError", "JSON parse error");
	peer_expect_error(fd, "hello {\"execute\":\"stop\"}\n", "GenericError", "JSON parse error");
	peer_expect_error(fd, "{\"execute\":\"stop\n", "GenericError", "JSON parse error");
	peer_expect_ok(fd, "{\"execute\":\"query-status\"}");
	assert_int_equal(straw.state, VM_RUNNING);
	close(fd);
}

static void wrong_arguments_are_named(void **state)
{
	static const struct {
		const char *arguments, *part;
	} cases[] = {
		{"\"gpa\":0", "'size' is missing"},
		{"\"gpa\":0,\"size\":1,\"sise\":2", "'sise' is unexpected"},
		{"\"gpa\":true,\"size\":1", "'gpa'"},
		{"\"gpa\":4096.0,\"size\":1", "'gpa'"},
		{"\"gpa\":null,\"size\":1", "'gpa'"},
		{"\"gpa\":-4096,\"size\":1", "'gpa' is negative"},
		{"\"gpa\":\"\",\"size\":1", "'gpa'"},
		{"\"gpa\":\"-1\",\"size\":1", "'gpa'"},
		{"\"gpa\":\"4X\",\"size\":1", "'gpa'"},
		{"\"gpa\":\"0x10000000000000000\",\"size\":1", "'gpa'"},
		{"\"gpa\":\"17179869184G\",\"size\":1", "'gpa'"},
		{"\"gpa\":18446744073709551616,\"size\":1", "integer"},
		{"\"gpa\":0,\"size\":1,\"prot\":\"rx\"", "'rw', 'ro'"},
		{"\"gpa\":0,\"size\":1,\"prot\":3", "'prot'"},
	};
	int fd = peer_greet();
	unsigned int i;

	(void)state;
	straw.gpa = 1;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[256];

		snprintf(text, sizeof(text), "{\"execute\":\"x-samara-plug\",\"arguments\":{%s}}\n",
			 cases[i].arguments);
		peer_expect_error(fd, text, "GenericError", cases[i].part);
	}
	peer_expect_error(fd, "{\"execute\":\"stop\",\"arguments\":{\"now\":1}}", "GenericError",
			  "'now' is unexpected");
	assert_int_equal(straw.gpa, 1); /* none got through */
	close(fd);
}

static void sizes_in_every_spelling(void **state)
{
	static const struct {
		const char *json;
		uint64_t value;
	} cases[] = {
		{"4294967296", UINT64_C(1) << 32},      {"9223372036854775807", INT64_MAX},
		{"\"0x100000000\"", UINT64_C(1) << 32}, {"\"4G\"", UINT64_C(1) << 32},
		{"\"0xffffffffffffffff\"", UINT64_MAX}, {"\"18446744073709551615\"", UINT64_MAX},
	};
	int fd = peer_greet();
	unsigned int i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[256];

		snprintf(
			text, sizeof(text),
			"{\"execute\":\"x-samara-remap\",\"arguments\":{\"gpa\":%s,\"size\":\"2M\","
			"\"new-gpa\":%s}}",
			cases[i].json, cases[i].json);
		peer_expect_ok(fd, text);
		assert_true(straw.gpa == cases[i].value);
		assert_true(straw.new_gpa == cases[i].value);
		assert_int_equal(straw.size_bytes, 2 << 20);
	}
	close(fd);
}

static void memory_commands_reach_the_manager(void **state)
{
	int fd = peer_greet();

	(void)state;
	peer_expect_ok(
		fd, "{\"execute\":\"x-samara-plug\",\"arguments\":{\"gpa\":4096,\"size\":8192}}");
	assert_int_equal(straw.prot, GUEST_MM_RDWR);
	peer_expect_ok(fd,
		       "{\"execute\":\"x-samara-plug\",\"arguments\":{\"gpa\":4096,\"size\":8192,"
		       "\"prot\":\"ro\"}}");
	assert_int_equal(straw.prot, GUEST_MM_READ);
	peer_expect_ok(
		fd, "{\"execute\":\"x-samara-protect\",\"arguments\":{\"gpa\":4096,\"size\":8192,"
		    "\"prot\":\"rw\"}}");
	assert_int_equal(straw.prot, GUEST_MM_RDWR);
	peer_expect_error(fd,
			  "{\"execute\":\"x-samara-protect\",\"arguments\":{\"gpa\":0,\"size\":1}}",
			  "GenericError", "'prot' is missing");
	peer_expect_ok(fd, "{\"execute\":\"x-samara-populate\",\"arguments\":{\"gpa\":12288,"
			   "\"size\":4096}}");
	assert_int_equal(straw.gpa, 12288);
	peer_expect_ok(
		fd, "{\"execute\":\"x-samara-unplug\",\"arguments\":{\"gpa\":4096,\"size\":8192}}");
	peer_expect_error(fd,
			  "{\"execute\":\"x-samara-plug\",\"arguments\":{\"gpa\":\"0xbad000\","
			  "\"size\":4096}}",
			  "GenericError", "plugged already");
	close(fd);
}

static void queries_answer(void **state)
{
	int fd = peer_greet();
	json_t *reply, *list;

	(void)state;
	reply = peer_ask(fd, "{\"execute\":\"query-cpus-fast\"}");
	list = json_object_get(reply, "return");
	assert_int_equal(json_array_size(list), 2);
	assert_int_equal(json_integer_value(json_object_get(json_array_get(list, 1), "thread-id")),
			 1001);
	json_decref(reply);

	reply = peer_ask(fd, "{\"execute\":\"x-samara-regions\"}");
	list = json_object_get(reply, "return");
	assert_int_equal(json_array_size(list), 3);
	list = json_array_get(list, 1);
	assert_int_equal(json_integer_value(json_object_get(list, "gpa")), 1 << 21);
	assert_int_equal(json_integer_value(json_object_get(list, "populated")), 4096);
	assert_string_equal(peer_text_at(list, "prot", NULL), "ro");
	assert_string_equal(peer_text_at(list, "backing", NULL), "memfd");
	assert_true(json_is_true(json_object_get(list, "locked")));
	json_decref(reply);

	reply = peer_ask(fd, "{\"execute\":\"x-samara-stats\"}");
	list = json_object_get(reply, "return");
	assert_int_equal(json_integer_value(json_object_get(list, "plugs")), 7);
	assert_int_equal(json_integer_value(json_object_get(list, "mmio-reads")), 11);
	assert_int_equal(json_integer_value(json_object_get(list, "pio-nowhere")), 22);
	assert_string_equal(peer_text_at(list, "last-nothing-gpa", NULL), "0xffffffffffffffff");
	json_decref(reply);

	reply = peer_ask(fd, "{\"execute\":\"query-name\"}");
	assert_string_equal(peer_text_at(reply, "return", "name"), "samara");
	json_decref(reply);
	close(fd);
}

/* Every command that query-commands names is found, whatever it says of missing arguments. */
static void commands_are_listed(void **state)
{
	int fd = peer_greet(), found = 0;
	json_t *reply = peer_ask(fd, "{\"execute\":\"query-commands\"}"), *command;
	size_t i;

	(void)state;
	json_array_foreach(json_object_get(reply, "return"), i, command)
	{
		char text[128];
		json_t *answer;

		found += !strcmp(peer_text_at(command, "name", NULL), "x-samara-unplug");
		if (!strcmp(peer_text_at(command, "name", NULL), "qmp_capabilities"))
			continue;
		snprintf(text, sizeof(text), "{\"execute\":\"%s\"}",
			 peer_text_at(command, "name", NULL));
		answer = peer_ask(fd, text);
		assert_string_not_equal(peer_text_at(answer, "error", "class"), "CommandNotFound");
		json_decref(answer);
	}
	assert_int_equal(found, 1);
	json_decref(reply);
	close(fd);
}

static void events_reach_all_that_negotiated(void **state)
{
	int one = peer_greet(), two = peer_greet(), mute = peer_dial();
	struct pollfd fd = {.fd = mute, .events = POLLIN};
	json_t *event, *timestamp;
	time_t now = time(NULL);

	(void)state;
	json_decref(peer_hear(mute));
	peer_expect_ok(one, "{\"execute\":\"stop\"}");
	event = peer_hear(two);
	assert_string_equal(peer_text_at(event, "event", NULL), "STOP");
	timestamp = json_object_get(event, "timestamp");
	assert_in_range(json_integer_value(json_object_get(timestamp, "seconds")), now - 1,
			now + 60);
	assert_in_range(json_integer_value(json_object_get(timestamp, "microseconds")), 0, 999999);
	json_decref(event);
	peer_expect_ok(two, "{\"execute\":\"cont\"}");
	peer_expect_ok(two, "{\"execute\":\"system_reset\"}");
	assert_int_equal(straw.resets, 1);
	tell_by(VM_EVENT_SHUTDOWN, true);
	event = peer_hear(two);
	assert_string_equal(peer_text_at(event, "event", NULL), "SHUTDOWN");
	assert_true(json_is_true(json_object_get(json_object_get(event, "data"), "guest")));
	json_decref(event);
	assert_int_equal(poll(&fd, 1, 50), 0); /* it did not negotiate, and hears nothing */
	close(one);
	close(two);
	close(mute);
}

static void quit_is_answered_before_the_end(void **state)
{
	int fd = peer_greet(), got_reply = 0, got_event = 0;
	char *line;

	peer_say(fd, "{\"execute\":\"quit\",\"id\":\"q\"}");
	wait_for(&straw.quits, 1);
	stop(state);
	while ((line = peer_hear_line(fd))) {
		got_reply += !!strstr(line, "\"id\":\"q\"");
		got_event += !!strstr(line, "SHUTDOWN");
	}
	assert_int_equal(got_reply, 1);
	assert_int_equal(got_event, 1);
	close(fd);
	assert_int_equal(start(state), 0);
}

/* ---- Slow and hostile clients ---------------------------------------------------------------- */

static void a_waiting_command_holds_up_nobody_else(void **state)
{
	int slow = peer_greet(), other = peer_greet(), i;
	json_t *event;

	(void)state;
	peer_say(slow, "{\"execute\":\"x-samara-unplug\",\"arguments\":{\"gpa\":\"0xb10c000\","
		       "\"size\":4096},\"id\":\"late\"}");
	wait_for(&straw.waiting, 1);
	for (i = 0; i < 100; i++)
		peer_expect_ok(other, "{\"execute\":\"x-samara-regions\"}");
	peer_expect_ok(other, "{\"execute\":\"stop\"}");
	/* It hears of events meanwhile, */
	event = peer_hear(slow);
	assert_string_equal(peer_text_at(event, "event", NULL), "STOP");
	json_decref(event);
	/* and what it asks next is answered in order. */
	peer_say(slow, "{\"execute\":\"query-name\",\"id\":\"next\"}");
	straw.release = true;
	event = peer_hear(slow);
	assert_string_equal(peer_text_at(event, "id", NULL), "late");
	json_decref(event);
	event = peer_hear(slow);
	assert_string_equal(peer_text_at(event, "id", NULL), "next");
	json_decref(event);
	close(slow);
	close(other);
}

static void a_client_may_leave_in_the_middle_of_its_command(void **state)
{
	int i;

	(void)state;
	for (i = 0; i < 3; i++) {
		int fd = peer_greet();

		peer_say(fd,
			 "{\"execute\":\"x-samara-unplug\",\"arguments\":{\"gpa\":\"0xb10c000\","
			 "\"size\":4096}}");
		wait_for(&straw.waiting, i + 1);
		close(fd);
	}
	expect_alive();
	straw.release = true;
	wait_for(&straw.waiting, 0);
	expect_alive();
}

static void stop_waits_for_a_command(void **state)
{
	int fd = peer_greet();

	(void)state;
	peer_say(fd, "{\"execute\":\"x-samara-unplug\",\"arguments\":{\"gpa\":\"0xb10c000\","
		     "\"size\":4096},\"id\":1}");
	wait_for(&straw.waiting, 1);
	stop(state);
	assert_int_equal(straw.waiting, 0);
	json_decref(peer_hear(fd)); /* its reply was sent */
	expect_end(fd);
	close(fd);
	assert_int_equal(start(state), 0);
}

static void a_client_that_never_reads_is_dropped(void **state)
{
	int fd = peer_greet(), i;

	(void)state;
	/* 1 MiB of backlog and the socket's buffer, with some 90 bytes per event. */
	for (i = 0; i < 40000; i++)
		tell(VM_EVENT_STOP);
	expect_alive();
	expect_end(fd);
	close(fd);
}

/* One that asks and asks without reading is not read any further; nothing piles up. */
static void questions_without_reading_are_held_back(void **state)
{
	const char *question = "{\"execute\":\"x-samara-regions\"}";
	int fd = peer_greet(), flags = fcntl(fd, F_GETFL), sent = 0;

	(void)state;
	straw.region_count = 1000;
	fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	for (;;) {
		struct pollfd out = {.fd = fd, .events = POLLOUT};

		if (send(fd, question, strlen(question), MSG_NOSIGNAL) == (ssize_t)strlen(question))
			sent++;
		else if (!poll(&out, 1, 200))
			break;
		assert_true(sent < 1000000);
	}
	expect_alive();
	close(fd);
	expect_alive();
}

static void garbage_is_answered_then_dropped(void **state)
{
	int fd = peer_dial(), lines = 0, i;
	char *line;

	(void)state;
	json_decref(peer_hear(fd));
	for (i = 0; i < 50; i++)
		if (send(fd, "GET / HTTP/1.1\r\n", 16, MSG_NOSIGNAL) != 16)
			break;
	while ((line = peer_hear_line(fd))) {
		assert_non_null(strstr(line, "JSON parse error"));
		lines++;
	}
	assert_in_range(lines, 1, 8);
	close(fd);
	expect_alive();
}

static void random_bytes_do_no_harm(void **state)
{
	static const char alphabet[] = "{}[]\":,\\\n\r\0\x80 etrue";
	unsigned int seed = 20260, i, round;

	(void)state;
	for (round = 0; round < 50; round++) {
		int fd = round % 2 ? peer_greet() : peer_dial();

		for (i = 0; i < 2000; i++) {
			char byte = alphabet[rand_r(&seed) % (sizeof(alphabet) - 1)];

			if (send(fd, &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT) != 1)
				break;
		}
		close(fd);
	}
	expect_alive();
}

static void a_line_of_ten_megabytes_is_dropped(void **state)
{
	char block[65536];
	int fd = peer_greet(), i;
	ssize_t sent = 0;

	(void)state;
	memset(block, 'a', sizeof(block));
	memcpy(block, "{\"execute\":\"", 12);
	for (i = 0; i < 160 && sent >= 0; i++) {
		sent = send(fd, block, sizeof(block), MSG_NOSIGNAL);
		memset(block, 'a', sizeof(block));
	}
	assert_true(sent < 0); /* it was cut off on the way */
	close(fd);
	expect_alive();
}

static void half_a_line_waits(void **state)
{
	int fd = peer_greet(), mute = peer_greet();
	json_t *reply;

	(void)state;
	peer_say(mute, "{\"execute\":\"qu");
	peer_expect_ok(fd, "{\"execute\":\"query-status\"}");
	peer_say(mute, "ery-status\"}");
	reply = peer_hear(mute);
	assert_non_null(json_object_get(reply, "return"));
	json_decref(reply);
	close(mute);
	close(fd);
}

static void deep_nesting_is_dropped(void **state)
{
	int fd = peer_greet(), i;
	json_t *reply;

	(void)state;
	peer_say(fd, "{\"execute\":\"query-status\",\"id\":");
	for (i = 0; i < 1000; i++)
		if (send(fd, "[", 1, MSG_NOSIGNAL) != 1)
			break;
	reply = peer_hear(fd);
	assert_non_null(strstr(peer_text_at(reply, "error", "desc"), "nested"));
	json_decref(reply);
	expect_end(fd);
	close(fd);
	expect_alive();
}

/* What was sent before the sender's side was closed is carried out and answered. */
static void a_half_closed_client_gets_its_replies(void **state)
{
	int fd = peer_dial(), lines = 0;

	(void)state;
	peer_say(fd, "{\"execute\":\"qmp_capabilities\"}{\"execute\":\"query-name\"}"
		     "{\"execute\":\"system_reset\"}");
	shutdown(fd, SHUT_WR);
	while (peer_hear_line(fd))
		lines++;
	assert_int_equal(lines, 5); /* greeting, three replies, RESET */
	assert_int_equal(straw.resets, 1);
	close(fd);
}

static void clients_are_limited(void **state)
{
	int fds[QMP_CLIENTS_MAX], late, last;
	unsigned int i;
	json_t *message;

	(void)state;
	for (i = 0; i < QMP_CLIENTS_MAX; i++)
		fds[i] = peer_greet();
	late = peer_dial();
	message = peer_hear(late);
	assert_non_null(strstr(peer_text_at(message, "error", "desc"), "too many clients"));
	json_decref(message);
	expect_end(late);
	peer_expect_ok(fds[0], "{\"execute\":\"query-status\"}");
	close(fds[1]);
	/* The place is free again, a moment later. */
	for (i = 0, last = -1; i < 60000 && last < 0; i++) {
		last = peer_dial();
		message = peer_hear(last);
		if (!json_object_get(message, "QMP")) {
			close(last);
			last = -1;
			usleep(1000);
		}
		json_decref(message);
	}
	assert_true(last >= 0);
	close(last);
	close(late);
	close(fds[0]);
	for (i = 2; i < QMP_CLIENTS_MAX; i++)
		close(fds[i]);
}

/* ---- The socket file ------------------------------------------------------------------------- */

static void socket_is_the_owners(void **state)
{
	struct stat stat;

	(void)state;
	assert_int_equal(lstat(path, &stat), 0);
	assert_true(S_ISSOCK(stat.st_mode));
	assert_int_equal(stat.st_mode & 0777, 0600);
}

static void a_live_socket_is_refused(void **state)
{
	struct samara_error err = {0};
	struct qmp_server *second;

	(void)state;
	assert_int_equal(qmp_server_start(&straw, path, &second, &err), -EADDRINUSE);
	assert_non_null(strstr(err.text, path));
	expect_alive();
}

static void a_stale_socket_is_replaced(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char old[sizeof(path)];
	struct samara_error err = {0};
	struct qmp_server *second;

	(void)state;
	snprintf(old, sizeof(old), "%s/old", folder);
	strcpy(address.sun_path, old);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 1), 0);
	close(fd); /* as a process that died: the file stays */
	assert_int_equal(qmp_server_start(&straw, old, &second, &err), 0);
	qmp_server_stop(second);
	assert_int_equal(access(old, F_OK), -1);
}

static void a_file_that_is_no_socket_is_refused(void **state)
{
	struct samara_error err = {0};
	struct qmp_server *second;
	char file[sizeof(path)];
	int fd;

	(void)state;
	snprintf(file, sizeof(file), "%s/file", folder);
	fd = open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	assert_int_equal(qmp_server_start(&straw, file, &second, &err), -EEXIST);
	assert_non_null(strstr(err.text, file));
	assert_int_equal(unlink(file), 0);
}

static void bad_paths_are_named(void **state)
{
	struct samara_error err = {0};
	struct qmp_server *second;
	char longest[150];

	(void)state;
	memset(longest, 'x', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(qmp_server_start(&straw, longest, &second, &err), -ENAMETOOLONG);
	assert_non_null(strstr(err.text, "149"));
	assert_int_equal(qmp_server_start(&straw, "", &second, &err), -EINVAL);
	assert_int_equal(qmp_server_start(&straw, "/nonexistent/qmp", &second, &err), -ENOENT);
	assert_non_null(strstr(err.text, "/nonexistent/qmp"));
}

static void anothers_file_is_left_alone(void **state)
{
	struct stat stat;
	int fd;

	assert_int_equal(unlink(path), 0);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	stop(state);
	assert_int_equal(lstat(path, &stat), 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(start(state), 0);
}

/* ---- The client ------------------------------------------------------------------------------ */

static int ctl(const char *verb, const char *a, const char *b, const char *c)
{
	char *argv[] = {"samara ctl", path, (char *)verb, (char *)a, (char *)b, (char *)c, NULL};
	int argc = 0, out, err, status, null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	while (argv[argc])
		argc++;
	/* TAP is on standard output: what the command prints must not get there. */
	fflush(stdout);
	fflush(stderr);
	out = dup(1);
	err = dup(2);
	dup2(null, 1);
	dup2(null, 2);
	status = cmd_ctl(argc, argv);
	fflush(stdout);
	dup2(out, 1);
	dup2(err, 2);
	close(out);
	close(err);
	close(null);
	return status;
}

static void ctl_runs_verbs(void **state)
{
	(void)state;
	assert_int_equal(ctl("plug", "4G", "128M", "--ro"), 0);
	assert_true(straw.gpa == UINT64_C(4) << 30);
	assert_int_equal(straw.size_bytes, 128 << 20);
	assert_int_equal(straw.prot, GUEST_MM_READ);
	assert_int_equal(ctl("protect", "0x1000", "4096", "rw"), 0);
	assert_int_equal(straw.prot, GUEST_MM_RDWR);
	assert_int_equal(ctl("remap", "0", "4K", "0xfffffffffffff000"), 0);
	assert_true(straw.new_gpa == UINT64_C(0xfffffffffffff000));
	assert_int_equal(ctl("regions", NULL, NULL, NULL), 0);
	assert_int_equal(ctl("regions", "--json", NULL, NULL), 0);
	assert_int_equal(ctl("stats", NULL, NULL, NULL), 0);
	assert_int_equal(ctl("stop", NULL, NULL, NULL), 0);
	assert_int_equal(straw.state, VM_PAUSED);
	assert_int_equal(ctl("cont", NULL, NULL, NULL), 0);
	assert_int_equal(straw.state, VM_RUNNING);
	assert_int_equal(ctl("reset", NULL, NULL, NULL), 0);
	assert_int_equal(straw.resets, 1);
	assert_int_equal(ctl("raw", "{\"execute\":\"query-name\"}", NULL, NULL), 0);
}

static void ctl_tells_failure_from_misuse(void **state)
{
	(void)state;
	straw.gpa = 1;
	assert_int_equal(ctl("plug", NULL, NULL, NULL), SAMARA_EXIT_USAGE);
	assert_int_equal(ctl("plug", "4G", "--ro", NULL), SAMARA_EXIT_USAGE);
	assert_int_equal(ctl("plug", "4G", "many", NULL), SAMARA_EXIT_USAGE);
	assert_int_equal(ctl("unplug", "4G", "1M", "2M"), SAMARA_EXIT_USAGE);
	assert_int_equal(ctl("unplug", "4G", "1M", "--ro"), SAMARA_EXIT_USAGE);
	assert_int_equal(ctl("protect", "4G", "1M", "no"), SAMARA_EXIT_USAGE);
	assert_int_equal(ctl("fly", NULL, NULL, NULL), SAMARA_EXIT_USAGE);
	assert_int_equal(ctl("raw", "[]", NULL, NULL), SAMARA_EXIT_USAGE);
	assert_int_equal(straw.gpa, 1);
	assert_int_equal(ctl("plug", "0xbad000", "4K", NULL), SAMARA_EXIT_FAILURE);
	assert_int_equal(ctl("raw", "{\"execute\":\"fly\"}", NULL, NULL), SAMARA_EXIT_FAILURE);
}

/* A server that greets as @greeting says, then closes after @reads messages. */
struct impostor {
	int listener;
	const char *greeting;
	int reads;
};

static void *impose(void *arg)
{
	struct impostor *impostor = arg;
	int fd = accept(impostor->listener, NULL, NULL), i;
	char buffer[512];

	if (impostor->greeting)
		send(fd, impostor->greeting, strlen(impostor->greeting), MSG_NOSIGNAL);
	for (i = 0; i < impostor->reads; i++) {
		if (recv(fd, buffer, sizeof(buffer), 0) <= 0)
			break;
		if (i + 1 < impostor->reads)
			send(fd, "{\"return\":{}}\r\n", 15, MSG_NOSIGNAL);
	}
	close(fd);
	return NULL;
}

static int meet(struct impostor *impostor, struct samara_error *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	json_t *command = json_pack("{s:s}", "execute", "stop");
	struct qmp_client *client = NULL;
	pthread_t thread;
	int ret;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/other", folder);
	impostor->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(impostor->listener, (struct sockaddr *)&address, sizeof(address)), 0);
	listen(impostor->listener, 1);
	pthread_create(&thread, NULL, impose, impostor);
	ret = qmp_client_connect(address.sun_path, &client, err);
	if (!ret)
		ret = qmp_client_run(client, command, NULL, err);
	qmp_client_close(client);
	pthread_join(thread, NULL);
	close(impostor->listener);
	unlink(address.sun_path);
	json_decref(command);
	return ret;
}

#define QMP_HELLO "{\"QMP\":{\"version\":{},\"capabilities\":[]}}\r\n"

static void other_servers_are_told_apart(void **state)
{
	struct impostor http = {.greeting = "HTTP/1.1 400 Bad Request\r\n\r\n"};
	struct impostor json = {.greeting = "{\"hello\":1}\r\n"};
	struct impostor gone = {.greeting = NULL};
	struct impostor breaks = {.greeting = QMP_HELLO, .reads = 2};
	struct impostor half = {.greeting = "{\"QMP\":"};
	struct samara_error err = {0};

	(void)state;
	assert_int_equal(meet(&http, &err), -EPROTO);
	assert_non_null(strstr(err.text, "not a QMP server"));
	assert_int_equal(meet(&json, &err), -EPROTO);
	assert_int_equal(meet(&gone, &err), -ECONNRESET);
	assert_int_equal(meet(&half, &err), -ECONNRESET);
	assert_int_equal(meet(&breaks, &err), -ECONNRESET);
	assert_non_null(strstr(err.text, "connection was lost"));
}

static void sockets_that_are_not_there_are_named(void **state)
{
	struct samara_error err = {0};
	struct qmp_client *client;

	(void)state;
	assert_int_equal(qmp_client_connect("/nonexistent", &client, &err), -ENOENT);
	assert_non_null(strstr(err.text, "/nonexistent: there is no such socket"));
	assert_int_equal(qmp_client_connect("/etc/passwd", &client, &err), -ECONNREFUSED);
	assert_non_null(strstr(err.text, "/etc/passwd"));
	assert_int_equal(qmp_client_connect("", &client, &err), -EINVAL);
}

#define QMP_TEST(f) cmocka_unit_test_setup_teardown(f, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		QMP_TEST(greeting_names_version),
		QMP_TEST(commands_need_negotiation),
		QMP_TEST(ids_come_back),
		QMP_TEST(framing_is_jsons_own),
		QMP_TEST(wrong_messages_are_named),
		QMP_TEST(wrong_arguments_are_named),
		QMP_TEST(sizes_in_every_spelling),
		QMP_TEST(memory_commands_reach_the_manager),
		QMP_TEST(queries_answer),
		QMP_TEST(commands_are_listed),
		QMP_TEST(events_reach_all_that_negotiated),
		QMP_TEST(quit_is_answered_before_the_end),
		QMP_TEST(a_waiting_command_holds_up_nobody_else),
		QMP_TEST(a_client_may_leave_in_the_middle_of_its_command),
		QMP_TEST(stop_waits_for_a_command),
		QMP_TEST(a_client_that_never_reads_is_dropped),
		QMP_TEST(questions_without_reading_are_held_back),
		QMP_TEST(garbage_is_answered_then_dropped),
		QMP_TEST(random_bytes_do_no_harm),
		QMP_TEST(a_line_of_ten_megabytes_is_dropped),
		QMP_TEST(half_a_line_waits),
		QMP_TEST(deep_nesting_is_dropped),
		QMP_TEST(a_half_closed_client_gets_its_replies),
		QMP_TEST(clients_are_limited),
		QMP_TEST(socket_is_the_owners),
		QMP_TEST(a_live_socket_is_refused),
		QMP_TEST(a_stale_socket_is_replaced),
		QMP_TEST(a_file_that_is_no_socket_is_refused),
		QMP_TEST(bad_paths_are_named),
		QMP_TEST(anothers_file_is_left_alone),
		QMP_TEST(ctl_runs_verbs),
		QMP_TEST(ctl_tells_failure_from_misuse),
		QMP_TEST(other_servers_are_told_apart),
		QMP_TEST(sockets_that_are_not_there_are_named),
	};

	return cmocka_run_group_tests_name("qmp", tests, make_folder, remove_folder);
}
