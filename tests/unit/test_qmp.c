/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The control socket: its protocol, and what each command does. */
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tests/lib/straw_mm.h"
#include "vmm/qmp_throttle.h"

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
	straw_mm.gpa = 1;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[256];

		snprintf(text, sizeof(text), "{\"execute\":\"x-samara-plug\",\"arguments\":{%s}}\n",
			 cases[i].arguments);
		peer_expect_error(fd, text, "GenericError", cases[i].part);
	}
	peer_expect_error(fd, "{\"execute\":\"stop\",\"arguments\":{\"now\":1}}", "GenericError",
			  "'now' is unexpected");
	assert_int_equal(straw_mm.gpa, 1); /* none got through */
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
		assert_true(straw_mm.gpa == cases[i].value);
		assert_true(straw_mm.new_gpa == cases[i].value);
		assert_int_equal(straw_mm.size_bytes, 2 << 20);
	}
	close(fd);
}

static void memory_commands_reach_the_manager(void **state)
{
	int fd = peer_greet();

	(void)state;
	peer_expect_ok(
		fd, "{\"execute\":\"x-samara-plug\",\"arguments\":{\"gpa\":4096,\"size\":8192}}");
	assert_int_equal(straw_mm.prot, GUEST_MM_RDWR);
	peer_expect_ok(fd,
		       "{\"execute\":\"x-samara-plug\",\"arguments\":{\"gpa\":4096,\"size\":8192,"
		       "\"prot\":\"ro\"}}");
	assert_int_equal(straw_mm.prot, GUEST_MM_READ);
	peer_expect_ok(
		fd, "{\"execute\":\"x-samara-protect\",\"arguments\":{\"gpa\":4096,\"size\":8192,"
		    "\"prot\":\"rw\"}}");
	assert_int_equal(straw_mm.prot, GUEST_MM_RDWR);
	peer_expect_error(fd,
			  "{\"execute\":\"x-samara-protect\",\"arguments\":{\"gpa\":0,\"size\":1}}",
			  "GenericError", "'prot' is missing");
	peer_expect_ok(fd, "{\"execute\":\"x-samara-populate\",\"arguments\":{\"gpa\":12288,"
			   "\"size\":4096}}");
	assert_int_equal(straw_mm.gpa, 12288);
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
	json_t *result, *region, *version;

	(void)state;
	result = peer_query(fd, "query-cpus-fast");
	assert_int_equal(json_array_size(result), 2);
	assert_int_equal(
		json_integer_value(json_object_get(json_array_get(result, 1), "thread-id")), 1001);
	json_decref(result);

	result = peer_query(fd, "x-samara-regions");
	assert_int_equal(json_array_size(result), 3);
	region = json_array_get(result, 1);
	assert_int_equal(json_integer_value(json_object_get(region, "gpa")), 1 << 21);
	assert_int_equal(json_integer_value(json_object_get(region, "populated")), 4096);
	assert_string_equal(peer_text_at(region, "prot", NULL), "ro");
	assert_string_equal(peer_text_at(region, "backing", NULL), "memfd");
	assert_true(json_is_true(json_object_get(region, "locked")));
	json_decref(result);

	result = peer_query(fd, "x-samara-stats");
	assert_int_equal(json_integer_value(json_object_get(result, "plugs")), 7);
	assert_int_equal(json_integer_value(json_object_get(result, "mmio-reads")), 11);
	assert_int_equal(json_integer_value(json_object_get(result, "pio-nowhere")), 22);
	assert_string_equal(peer_text_at(result, "last-nothing-gpa", NULL), "0xffffffffffffffff");
	json_decref(result);

	/* As the greeting has it. */
	result = peer_query(fd, "query-version");
	version = json_object_get(result, "qemu");
	assert_true(json_integer_value(json_object_get(version, "major")) > 0);
	assert_true(json_is_integer(json_object_get(version, "minor")));
	assert_true(json_is_integer(json_object_get(version, "micro")));
	assert_non_null(strstr(peer_text_at(result, "package", NULL), "samara"));
	json_decref(result);

	result = peer_query(fd, "query-name");
	assert_string_equal(peer_text_at(result, "name", NULL), "samara");
	json_decref(result);
	close(fd);
}

/* Every command that query-commands names is found, whatever it says of missing arguments. */
static void commands_are_listed(void **state)
{
	int fd = peer_greet(), found = 0;
	json_t *commands = peer_query(fd, "query-commands"), *command;
	size_t i;

	(void)state;
	json_array_foreach(commands, i, command)
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
	json_decref(commands);
	close(fd);
}

static void tell_by(enum vm_event event, enum vm_cause cause)
{
	straw_tell(&(struct vm_notice){.event = event, .cause = cause}, &straw);
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
	tell_by(VM_EVENT_SHUTDOWN, VM_CAUSE_GUEST_SHUTDOWN);
	event = peer_hear(two);
	assert_string_equal(peer_text_at(event, "event", NULL), "SHUTDOWN");
	assert_true(json_is_true(json_object_get(json_object_get(event, "data"), "guest")));
	json_decref(event);
	assert_int_equal(poll(&fd, 1, 50), 0); /* it did not negotiate, and hears nothing */
	close(one);
	close(two);
	close(mute);
}

static void expect_cause(int fd, const char *event, bool guest, const char *reason)
{
	json_t *message = peer_hear(fd), *data = json_object_get(message, "data");

	assert_string_equal(peer_text_at(message, "event", NULL), event);
	assert_true(json_is_boolean(json_object_get(data, "guest")));
	assert_int_equal(json_is_true(json_object_get(data, "guest")), guest);
	assert_string_equal(peer_text_at(data, "reason", NULL), reason);
	json_decref(message);
}

/* The words are QEMU's (qapi/run-state.json). */
static void ends_and_resets_say_why(void **state)
{
	int fd = peer_greet();

	(void)state;
	tell_by(VM_EVENT_SHUTDOWN, VM_CAUSE_HOST_ERROR);
	expect_cause(fd, "SHUTDOWN", false, "host-error");
	tell_by(VM_EVENT_SHUTDOWN, VM_CAUSE_HOST_QMP_QUIT);
	expect_cause(fd, "SHUTDOWN", false, "host-qmp-quit");
	tell_by(VM_EVENT_SHUTDOWN, VM_CAUSE_HOST_QMP_SYSTEM_RESET);
	expect_cause(fd, "SHUTDOWN", false, "host-qmp-system-reset");
	tell_by(VM_EVENT_SHUTDOWN, VM_CAUSE_HOST_SIGNAL);
	expect_cause(fd, "SHUTDOWN", false, "host-signal");
	tell_by(VM_EVENT_SHUTDOWN, VM_CAUSE_HOST_UI);
	expect_cause(fd, "SHUTDOWN", false, "host-ui");
	tell_by(VM_EVENT_SHUTDOWN, VM_CAUSE_GUEST_SHUTDOWN);
	expect_cause(fd, "SHUTDOWN", true, "guest-shutdown");
	tell_by(VM_EVENT_SHUTDOWN, VM_CAUSE_GUEST_RESET);
	expect_cause(fd, "SHUTDOWN", true, "guest-reset");
	tell_by(VM_EVENT_RESET, VM_CAUSE_GUEST_RESET);
	expect_cause(fd, "RESET", true, "guest-reset");
	tell_by(VM_EVENT_RESET, VM_CAUSE_HOST_QMP_SYSTEM_RESET);
	expect_cause(fd, "RESET", false, "host-qmp-system-reset");
	/* QMP's own quit names itself. */
	peer_say(fd, "{\"execute\":\"quit\"}");
	expect_cause(fd, "SHUTDOWN", false, "host-qmp-quit");
	close(fd);
}

static void stop_and_cont_are_told(void **state)
{
	int fd = peer_greet(), other = peer_greet();
	json_t *event;

	(void)state;
	peer_expect_ok(other, "{\"execute\":\"stop\"}");
	event = peer_hear(fd);
	assert_string_equal(peer_text_at(event, "event", NULL), "STOP");
	json_decref(event);
	peer_expect_ok(other, "{\"execute\":\"cont\"}");
	event = peer_hear(fd);
	assert_string_equal(peer_text_at(event, "event", NULL), "RESUME");
	assert_null(json_object_get(event, "data"));
	json_decref(event);
	close(other);
	close(fd);
}

static void tell_of_device(enum vm_event event, const char *device_path, uint64_t size_bytes)
{
	const struct vm_notice notice = {
		.event = event, .path = device_path, .size_bytes = size_bytes};

	straw_tell(&notice, &straw);
}

static void expect_size(int fd, json_int_t size_bytes)
{
	json_t *event = peer_hear(fd);

	assert_string_equal(peer_text_at(event, "event", NULL), "MEMORY_DEVICE_SIZE_CHANGE");
	assert_int_equal(
		json_integer_value(json_object_get(json_object_get(event, "data"), "size")),
		size_bytes);
	json_decref(event);
}

/* What is held back of a device's sizes comes before its end, and never after. */
static void sizes_come_before_the_end_of_their_device(void **state)
{
	int fd = peer_greet();
	struct pollfd more = {.fd = fd, .events = POLLIN};
	char device[32];
	json_t *event;

	(void)state;
	/* More devices than there are places for at a time. */
	for (unsigned int i = 0; i < 3 * VIRTIO_SLOTS; i++) {
		snprintf(device, sizeof(device), "/machine/peripheral/vm%u", i);
		tell_of_device(VM_EVENT_MEMORY_SIZE_CHANGED, device, 3);
		tell_of_device(VM_EVENT_MEMORY_SIZE_CHANGED, device, 2);
		tell_of_device(VM_EVENT_MEMORY_SIZE_CHANGED, device, 0);
		tell_of_device(VM_EVENT_DEVICE_DELETED, device, 0);
		expect_size(fd, 3);
		expect_size(fd, 0);
		event = peer_hear(fd);
		assert_string_equal(peer_text_at(event, "event", NULL), "DEVICE_DELETED");
		assert_string_equal(peer_text_at(event, "data", "path"), device);
		json_decref(event);
	}
	assert_int_equal(poll(&more, 1, 2 * QMP_THROTTLE_MS), 0);
	close(fd);
}

static void quit_is_answered_before_the_end(void **state)
{
	int fd = peer_greet(), got_reply = 0, got_event = 0;
	char *line;

	peer_say(fd, "{\"execute\":\"quit\",\"id\":\"q\"}");
	straw_wait_for(&straw.quits, 1);
	straw_teardown(state);
	while ((line = peer_hear_line(fd))) {
		got_reply += !!strstr(line, "\"id\":\"q\"");
		got_event += !!strstr(line, "SHUTDOWN");
	}
	assert_int_equal(got_reply, 1);
	assert_int_equal(got_event, 1);
	close(fd);
	assert_int_equal(straw_setup(state), 0);
}

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
		QMP_TEST(ends_and_resets_say_why),
		QMP_TEST(stop_and_cont_are_told),
		QMP_TEST(sizes_come_before_the_end_of_their_device),
		QMP_TEST(quit_is_answered_before_the_end),
	};

	return cmocka_run_group_tests_name("qmp", tests, make_folder, remove_folder);
}
