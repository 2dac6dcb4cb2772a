/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The commands of the control socket. To add one: declare its arguments, write its function, give
 * it a row in the table at the end.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/qmp_command.h"

/* ---- The protocol itself ------------------------------------------------------------------- */

static const struct qmp_arg capabilities_args[] = {
	{"enable", QMP_ARG_STRINGS, true, NULL, NULL},
	{NULL, 0, false, NULL, NULL},
};

static int qmp_capabilities(struct qmp_call *call)
{
	const json_t *enable = qmp_strings(call, "enable");

	if (json_array_size(enable))
		return samara_error_set(&call->err, -EINVAL,
					"Parameter 'enable' names capability '%.64s', which is not "
					"offered",
					json_string_value(json_array_get(enable, 0)));
	call->session->negotiated = true;
	return 0;
}

static int query_version(struct qmp_call *call)
{
	return qmp_answer(call, qmp_version());
}

static json_t *list_commands(void)
{
	const struct qmp_command *const *table, *command;
	json_t *list = json_array();

	for (table = qmp_command_tables; list && *table; table++) {
		for (command = *table; command->name; command++) {
			if (json_array_append_new(list,
						  json_pack("{s:s}", "name", command->name))) {
				json_decref(list);
				return NULL;
			}
		}
	}
	return list;
}

static int query_commands(struct qmp_call *call)
{
	return qmp_answer(call, list_commands());
}

static int query_qmp_schema(struct qmp_call *call)
{
	return qmp_answer(call, qmp_schema());
}

/* ---- The virtual machine --------------------------------------------------------------------- */

static int query_name(struct qmp_call *call)
{
	const char *name = vm_get_config(call->vm)->name;

	return qmp_answer(call, json_pack("{s:s}", "name", name ? name : "samara"));
}

static int query_status(struct qmp_call *call)
{
	static const char *const names[] = {
		[VM_PRELAUNCH] = "prelaunch",
		[VM_RUNNING] = "running",
		[VM_PAUSED] = "paused",
		[VM_SHUTDOWN] = "shutdown",
	};
	enum vm_state state = vm_get_state(call->vm);

	return qmp_answer(call, json_pack("{s:b, s:b, s:s}", "running", state == VM_RUNNING,
					  "singlestep", 0, "status", names[state]));
}

static json_t *describe_cpu(struct vm *vm, unsigned int index)
{
	char path[48];

	snprintf(path, sizeof(path), "/machine/unattached/device[%u]", index);
	return json_pack("{s:i, s:s, s:i, s:{s:i, s:i, s:i}, s:s}", "cpu-index", (int)index,
			 "qom-path", path, "thread-id", vm_vcpu_tid(vm, index), "props",
			 "socket-id", 0, "core-id", (int)index, "thread-id", 0, "target", "x86_64");
}

static int query_cpus_fast(struct qmp_call *call)
{
	unsigned int i, count = vm_get_config(call->vm)->cpus;
	json_t *list = json_array();

	for (i = 0; list && i < count; i++) {
		if (json_array_append_new(list, describe_cpu(call->vm, i))) {
			json_decref(list);
			list = NULL;
		}
	}
	return qmp_answer(call, list);
}

static int stop(struct qmp_call *call)
{
	return vm_pause(call->vm, &call->err);
}

static int cont(struct qmp_call *call)
{
	return vm_resume(call->vm, &call->err);
}

static int system_reset(struct qmp_call *call)
{
	vm_request_reset(call->vm, false);
	return 0;
}

static int system_powerdown(struct qmp_call *call)
{
	vm_powerdown(call->vm);
	return 0;
}

static int quit(struct qmp_call *call)
{
	vm_quit(call->vm, VM_CAUSE_HOST_QMP_QUIT);
	return 0;
}

/* ---- Guest memory ---------------------------------------------------------------------------- */

static const char *const prot_words[] = {"rw", "ro", NULL};

static const struct qmp_arg range_args[] = {
	{"gpa", QMP_ARG_SIZE, false, NULL, NULL},
	{"size", QMP_ARG_SIZE, false, NULL, NULL},
	{NULL, 0, false, NULL, NULL},
};

static const struct qmp_arg plug_args[] = {
	{"gpa", QMP_ARG_SIZE, false, NULL, NULL},
	{"size", QMP_ARG_SIZE, false, NULL, NULL},
	{"prot", QMP_ARG_ENUM, true, prot_words, NULL},
	{NULL, 0, false, NULL, NULL},
};

static const struct qmp_arg protect_args[] = {
	{"gpa", QMP_ARG_SIZE, false, NULL, NULL},
	{"size", QMP_ARG_SIZE, false, NULL, NULL},
	{"prot", QMP_ARG_ENUM, false, prot_words, NULL},
	{NULL, 0, false, NULL, NULL},
};

static const struct qmp_arg remap_args[] = {
	{"gpa", QMP_ARG_SIZE, false, NULL, NULL},
	{"size", QMP_ARG_SIZE, false, NULL, NULL},
	{"new-gpa", QMP_ARG_SIZE, false, NULL, NULL},
	{NULL, 0, false, NULL, NULL},
};

static unsigned int prot(const struct qmp_call *call)
{
	return qmp_has(call, "prot") && !strcmp(qmp_word(call, "prot"), "ro") ? GUEST_MM_READ
									      : GUEST_MM_RDWR;
}

static int plug(struct qmp_call *call)
{
	return guest_mm_plug(vm_mm(call->vm), qmp_size(call, "gpa"), qmp_size(call, "size"),
			     prot(call), &call->err);
}

static int unplug(struct qmp_call *call)
{
	return guest_mm_unplug(vm_mm(call->vm), qmp_size(call, "gpa"), qmp_size(call, "size"),
			       &call->err);
}

static int remap(struct qmp_call *call)
{
	return guest_mm_remap(vm_mm(call->vm), qmp_size(call, "gpa"), qmp_size(call, "size"),
			      qmp_size(call, "new-gpa"), &call->err);
}

static int protect(struct qmp_call *call)
{
	return guest_mm_protect(vm_mm(call->vm), qmp_size(call, "gpa"), qmp_size(call, "size"),
				prot(call), &call->err);
}

static int populate(struct qmp_call *call)
{
	return guest_mm_populate(vm_mm(call->vm), qmp_size(call, "gpa"), qmp_size(call, "size"),
				 &call->err);
}

/* A listing while it is taken; one thread's own. */
struct listing {
	struct guest_mm_region *regions;
	size_t count, capacity;
};

/* Runs in a read-side section: it only copies; JSON is made afterwards. */
static int collect(const struct guest_mm_region *region, void *arg)
{
	struct listing *listing = arg;

	if (listing->count == listing->capacity) {
		size_t capacity = listing->capacity ? listing->capacity * 2 : 64;
		struct guest_mm_region *regions;

		regions = reallocarray(listing->regions, capacity, sizeof(*regions));
		if (!regions)
			return -ENOMEM;
		listing->regions = regions;
		listing->capacity = capacity;
	}
	listing->regions[listing->count++] = *region;
	return 0;
}

static json_t *describe_region(const struct guest_mm_region *region)
{
	static const char *const backings[] = {
		[GUEST_MM_ANON] = "anon",
		[GUEST_MM_MEMFD] = "memfd",
		[GUEST_MM_HUGETLB] = "hugetlb",
		[GUEST_MM_FILE_SHARED] = "file-shared",
		[GUEST_MM_FILE_PRIVATE] = "file-private",
	};

	return json_pack(
		"{s:o, s:o, s:s, s:s, s:o, s:b}", "gpa", qmp_number(region->gpa), "size",
		qmp_number(region->size_bytes), "prot", region->prot & GUEST_MM_WRITE ? "rw" : "ro",
		"backing", backings[region->backing], "populated",
		qmp_number(region->populated_pages * SAMARA_PAGE_BYTES), "locked", region->locked);
}

static int regions(struct qmp_call *call)
{
	struct listing listing = {0};
	json_t *list = json_array();
	size_t i;
	int ret;

	ret = guest_mm_for_each_region(vm_mm(call->vm), collect, &listing);
	for (i = 0; !ret && list && i < listing.count; i++)
		if (json_array_append_new(list, describe_region(&listing.regions[i])))
			ret = -ENOMEM;
	free(listing.regions);
	if (ret) {
		json_decref(list);
		list = NULL;
	}
	return qmp_answer(call, list);
}

static int stats(struct qmp_call *call)
{
	return qmp_answer(call, qmp_stats(call->vm));
}

/* ---- What they return ------------------------------------------------------------------------ */

static const struct qmp_arg version_numbers[] = {
	QMP_MEMBER("major", SIZE), QMP_MEMBER("minor", SIZE), QMP_MEMBER("micro", SIZE), QMP_END};
static const struct qmp_arg version_members[] = {
	{"qemu", QMP_ARG_OBJECT, false, NULL, version_numbers},
	QMP_MEMBER("package", STRING),
	QMP_END};
static const struct qmp_arg version_result = {NULL, QMP_ARG_OBJECT, false, NULL, version_members};

static const struct qmp_arg name_members[] = {QMP_MEMBER("name", STRING), QMP_END};
static const struct qmp_arg name_result = {NULL, QMP_ARG_OBJECT, false, NULL, name_members};
static const struct qmp_arg names_result = {NULL, QMP_ARG_OBJECTS, false, NULL, name_members};

static const struct qmp_arg status_members[] = {QMP_MEMBER("running", BOOL),
						QMP_MEMBER("singlestep", BOOL),
						QMP_MEMBER("status", STRING), QMP_END};
static const struct qmp_arg status_result = {NULL, QMP_ARG_OBJECT, false, NULL, status_members};

static const struct qmp_arg cpu_place[] = {QMP_MEMBER("socket-id", SIZE),
					   QMP_MEMBER("core-id", SIZE),
					   QMP_MEMBER("thread-id", SIZE), QMP_END};
static const struct qmp_arg cpu_members[] = {
	QMP_MEMBER("cpu-index", SIZE), QMP_MEMBER("qom-path", STRING),
	QMP_MEMBER("thread-id", SIZE), {"props", QMP_ARG_OBJECT, false, NULL, cpu_place},
	QMP_MEMBER("target", STRING),  QMP_END};
static const struct qmp_arg cpus_result = {NULL, QMP_ARG_OBJECTS, false, NULL, cpu_members};

static const struct qmp_arg region_members[] = {QMP_MEMBER("gpa", SIZE),
						QMP_MEMBER("size", SIZE),
						QMP_MEMBER("prot", STRING),
						QMP_MEMBER("backing", STRING),
						QMP_MEMBER("populated", SIZE),
						QMP_MEMBER("locked", BOOL),
						QMP_END};
static const struct qmp_arg regions_result = {NULL, QMP_ARG_OBJECTS, false, NULL, region_members};

/* Counters come with versions: nobody is to rely on one by its type. */
static const struct qmp_arg any_result = {NULL, QMP_ARG_ANY, false, NULL, NULL};

/* ---- The table ------------------------------------------------------------------------------- */

#define COMMAND(name, args, run)                         \
	{                                                \
		name, args, false, run, NULL, NULL, NULL \
	}
#define QUERY(name, args, run, result)                     \
	{                                                  \
		name, args, false, run, result, NULL, NULL \
	}

static const struct qmp_command commands[] = {
	{"qmp_capabilities", capabilities_args, true, qmp_capabilities, NULL, NULL, NULL},
	QUERY("query-version", NULL, query_version, &version_result),
	QUERY("query-commands", NULL, query_commands, &names_result),
	QUERY("query-qmp-schema", NULL, query_qmp_schema, &any_result),
	QUERY("query-name", NULL, query_name, &name_result),
	QUERY("query-status", NULL, query_status, &status_result),
	QUERY("query-cpus-fast", NULL, query_cpus_fast, &cpus_result),
	COMMAND("stop", NULL, stop),
	COMMAND("cont", NULL, cont),
	COMMAND("system_reset", NULL, system_reset),
	COMMAND("system_powerdown", NULL, system_powerdown),
	COMMAND("quit", NULL, quit),
	COMMAND("x-samara-plug", plug_args, plug),
	COMMAND("x-samara-unplug", range_args, unplug),
	COMMAND("x-samara-remap", remap_args, remap),
	COMMAND("x-samara-protect", protect_args, protect),
	COMMAND("x-samara-populate", range_args, populate),
	QUERY("x-samara-regions", NULL, regions, &regions_result),
	QUERY("x-samara-stats", NULL, stats, &any_result),
	COMMAND(NULL, NULL, NULL),
};

const struct qmp_command *const qmp_command_tables[] = {commands, qmp_memory_commands,
							qmp_balloon_commands, NULL};
