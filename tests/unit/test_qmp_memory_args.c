/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is said about memory devices over the control socket: arguments, properties, the schema, and
 * samara ctl's verbs.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/memory_vm.h"

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
		{RAM("\"id\":\"m\",\"size\":4096,\"policy\":\"bind\""), "GenericError",
		 "host-nodes must be set for policy bind"},
		{RAM("\"id\":\"m\",\"size\":4096,\"host-nodes\":[0]"), "GenericError",
		 "host-nodes must be empty"},
		{RAM("\"id\":\"m\",\"size\":4096,\"policy\":\"bind\",\"host-nodes\":[64]"),
		 "GenericError", "'host-nodes' expects"},
		{RAM("\"id\":\"m\",\"size\":4096,\"policy\":\"bind\",\"host-nodes\":0"),
		 "GenericError", "expected: array"},
		{RAM("\"id\":\"m\",\"size\":4096,\"policy\":\"strict\""), "GenericError", "policy"},
		{RAM("\"id\":\"m\",\"size\":4096,\"colour\":1"), "GenericError", "'colour'"},
		{ADD("\"qom-type\":\"memory-backend-memfd\",\"id\":\"m\",\"size\":4096,"
		     "\"hugetlbsize\":2097152"),
		 "GenericError", "hugetlbsize"},
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
		 "GenericError", "must be on tmpfs"},
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
	assert_int_equal(slot_hear_of(MEMORY_HOTPLUG_INSERTING), 5);
	assert_true(slot_gpa(5) == 0x110000000);
	assert_int_equal(slots_read(MEMORY_HOTPLUG_NODE), 1);
	list = peer_query(fd, "query-memory-devices");
	data = json_object_get(json_array_get(list, 0), "data");
	assert_null(json_object_get(data, "id"));
	json_decref(list);
	ask_back(fd, "/machine/peripheral-anon/device[0]");
	slot_hear_of(MEMORY_HOTPLUG_REMOVING);
	slot_eject(5);
	data = peer_expect_event(fd, "DEVICE_DELETED");
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
	result = peer_query(fd, "query-balloon");
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

/* The reasons of an event are words that it declares. */
static void check_causes(const json_t *schema, const char *event)
{
	const json_t *type = find_named(schema, event, "event"), *reason;

	type = find_named(schema, peer_text_at((json_t *)type, "arg-type", NULL), "object");
	reason = json_array_get(json_object_get(type, "members"), 1);
	assert_string_equal(peer_text_at((json_t *)reason, "name", NULL), "reason");
	reason = find_named(schema, peer_text_at((json_t *)reason, "type", NULL), "enum");
	assert_non_null(reason);
	assert_int_equal(json_array_size(json_object_get(reason, "values")), 8);
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
	json_t *schema = peer_query(fd, "query-qmp-schema"),
	       *commands = peer_query(fd, "query-commands");
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
	check_causes(schema, "SHUTDOWN");
	check_causes(schema, "RESET");
	json_decref(schema);
	json_decref(commands);
	close(fd);
}

/* ---- samara ctl ---------------------------------------------------------------------------------- */

static void ctl_waits_for_the_guest(void **state)
{
	int fd = peer_greet();
	struct dimm_guest guest;

	(void)state;
	dimm_guest_start(&guest);
	assert_int_equal(ctl("plug", "256M", NULL, NULL), 0);
	assert_int_equal(ctl("plug", "128M", "--id", "mine"), 0);
	assert_int_equal(device_count(fd), 2);
	assert_int_equal(plugged_bytes(fd), 384 * MIB);
	assert_int_equal(ctl("devices", NULL, NULL, NULL), 0);
	assert_int_equal(ctl("devices", "--json", NULL, NULL), 0);
	assert_int_equal(ctl("unplug", "dimm0", NULL, NULL), 0);
	assert_int_equal(device_count(fd), 1);
	/* Its backend went with it: the id is free again. */
	assert_int_equal(ctl("plug", "128M", "--id", "dimm0"), 0);
	guest.refuses = true;
	assert_int_equal(ctl("unplug", "mine", NULL, NULL), SAMARA_EXIT_FAILURE);
	assert_int_equal(device_count(fd), 2);
	guest.refuses = false;
	assert_int_equal(ctl("unplug", "mine", NULL, NULL), 0);
	assert_int_equal(ctl("unplug", "mine", NULL, NULL), SAMARA_EXIT_FAILURE);
	assert_int_equal(ctl("plug", "2G", NULL, NULL), SAMARA_EXIT_FAILURE);
	assert_int_equal(ctl("resize", "1G", NULL, NULL), SAMARA_EXIT_FAILURE);
	dimm_guest_stop(&guest);
	/* A guest that does not answer is not waited for, for ever. */
	assert_int_equal(ctl("unplug", "dimm0", "--timeout", "1"), SAMARA_EXIT_FAILURE);
	assert_int_equal(ctl("unplug", "dimm0", "--node", "1"), SAMARA_EXIT_USAGE);
	assert_int_equal(ctl("plug", "much", NULL, NULL), SAMARA_EXIT_USAGE);
	assert_int_equal(ctl("plug", "4M", "--node", "x"), SAMARA_EXIT_USAGE);
	assert_int_equal(ctl("plug", "4M", "--id", NULL), SAMARA_EXIT_USAGE);
	assert_int_equal(device_count(fd), 1);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		MEMORY_TEST(wrong_arguments_are_named), MEMORY_TEST(places_can_be_chosen),
		MEMORY_TEST(properties_are_read),       MEMORY_TEST(the_balloon_is_asked),
		MEMORY_TEST(the_schema_is_whole),       MEMORY_TEST(ctl_waits_for_the_guest),
	};

	return cmocka_run_group_tests_name("memory over qmp", tests, make_folder, remove_folder);
}
