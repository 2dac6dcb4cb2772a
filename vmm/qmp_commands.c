/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The commands of the control socket. To add one: declare its arguments, write its function, give
 * it a row in the table at the end.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/bus.h"
#include "vmm/qmp_command.h"

/* A number that may be past JSON's (jansson's) signed 64 bits: those as a string, which we read. */
static json_t *number(uint64_t value)
{
	char text[24];

	if (value <= INT64_MAX)
		return json_integer((json_int_t)value);
	snprintf(text, sizeof(text), "0x%llx", (unsigned long long)value);
	return json_string(text);
}

static int no_memory(struct qmp_call *call)
{
	return samara_error_set(&call->err, -ENOMEM, "%s: out of memory", call->command->name);
}

/* End a query: @result is the reply. */
static int answer(struct qmp_call *call, json_t *result)
{
	call->result = result;
	return result ? 0 : no_memory(call);
}

/* ---- The protocol itself ------------------------------------------------------------------- */

static const struct qmp_arg capabilities_args[] = {
	{"enable", QMP_ARG_STRINGS, true, NULL},
	{NULL, 0, false, NULL},
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
	return answer(call, qmp_version());
}

static int query_commands(struct qmp_call *call)
{
	const struct qmp_command *command;
	json_t *list = json_array();

	for (command = qmp_commands; list && command->name; command++) {
		if (json_array_append_new(list, json_pack("{s:s}", "name", command->name))) {
			json_decref(list);
			list = NULL;
		}
	}
	return answer(call, list);
}

/* ---- The virtual machine --------------------------------------------------------------------- */

static int query_name(struct qmp_call *call)
{
	const char *name = vm_get_config(call->vm)->name;

	return answer(call, json_pack("{s:s}", "name", name ? name : "samara"));
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

	return answer(call, json_pack("{s:b, s:b, s:s}", "running", state == VM_RUNNING,
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
	return answer(call, list);
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

static int quit(struct qmp_call *call)
{
	vm_quit(call->vm);
	return 0;
}

/* ---- Guest memory ---------------------------------------------------------------------------- */

static const char *const prot_words[] = {"rw", "ro", NULL};

static const struct qmp_arg range_args[] = {
	{"gpa", QMP_ARG_SIZE, false, NULL},
	{"size", QMP_ARG_SIZE, false, NULL},
	{NULL, 0, false, NULL},
};

static const struct qmp_arg plug_args[] = {
	{"gpa", QMP_ARG_SIZE, false, NULL},
	{"size", QMP_ARG_SIZE, false, NULL},
	{"prot", QMP_ARG_ENUM, true, prot_words},
	{NULL, 0, false, NULL},
};

static const struct qmp_arg protect_args[] = {
	{"gpa", QMP_ARG_SIZE, false, NULL},
	{"size", QMP_ARG_SIZE, false, NULL},
	{"prot", QMP_ARG_ENUM, false, prot_words},
	{NULL, 0, false, NULL},
};

static const struct qmp_arg remap_args[] = {
	{"gpa", QMP_ARG_SIZE, false, NULL},
	{"size", QMP_ARG_SIZE, false, NULL},
	{"new-gpa", QMP_ARG_SIZE, false, NULL},
	{NULL, 0, false, NULL},
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
	return json_pack(
		"{s:o, s:o, s:s, s:s, s:o, s:b}", "gpa", number(region->gpa), "size",
		number(region->size_bytes), "prot", region->prot & GUEST_MM_WRITE ? "rw" : "ro",
		"backing", region->backing == GUEST_MM_MEMFD ? "memfd" : "anon", "populated",
		number(region->populated_pages * SAMARA_PAGE_BYTES), "locked", region->locked);
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
	return answer(call, list);
}

static int stats(struct qmp_call *call)
{
	struct bus_counters mmio = {0}, pio = {0};
	struct guest_mm_stats mm = {0};
	json_t *result = json_object();
	unsigned int i;

	guest_mm_get_stats(vm_mm(call->vm), &mm);
	vm_get_bus_counters(call->vm, &mmio, &pio);
	const struct {
		const char *name;
		uint64_t value;
	} counters[] = {
		{"regions", mm.regions},
		{"windows", mm.windows},
		{"plugged-bytes", mm.plugged_bytes},
		{"populated-bytes", mm.populated_bytes},
		{"plugs", mm.plugs},
		{"unplugs", mm.unplugs},
		{"remaps", mm.remaps},
		{"protects", mm.protects},
		{"failed-operations", mm.failed_operations},
		{"faults", mm.faults},
		{"fault-pages", mm.fault_pages},
		{"fault-write-protect", mm.fault_write_protect},
		{"faults-deferred", mm.faults_deferred},
		{"faults-nothing", mm.faults_nothing},
		{"faults-held", mm.faults_held},
		{"last-nothing-gpa", mm.last_nothing_gpa},
		{"pins", mm.pins},
		{"lock-success", mm.lock_success},
		{"lock-abort", mm.lock_abort},
		{"lock-retry", mm.lock_retry},
		{"lock-miss", mm.lock_miss},
		{"mmio-reads", mmio.reads},
		{"mmio-writes", mmio.writes},
		{"mmio-nowhere", mmio.nowhere},
		{"pio-reads", pio.reads},
		{"pio-writes", pio.writes},
		{"pio-nowhere", pio.nowhere},
	};

	json_object_set_new(result, "lock", json_string(mm.lock));
	for (i = 0; i < sizeof(counters) / sizeof(counters[0]); i++) {
		if (json_object_set_new(result, counters[i].name, number(counters[i].value))) {
			json_decref(result);
			return no_memory(call);
		}
	}
	return answer(call, result);
}

static const struct qmp_arg balloon_args[] = {
	{"size", QMP_ARG_SIZE, false, NULL},
	{NULL, 0, false, NULL},
};

static const struct qmp_arg balloon_stats_args[] = {
	{"interval", QMP_ARG_SIZE, false, NULL},
	{NULL, 0, false, NULL},
};

static const struct qmp_arg virtio_mem_args[] = {
	{"index", QMP_ARG_SIZE, false, NULL},
	{"size", QMP_ARG_SIZE, false, NULL},
	{NULL, 0, false, NULL},
};

/* ---- The table ------------------------------------------------------------------------------- */

const struct qmp_command qmp_commands[] = {
	{"qmp_capabilities", capabilities_args, true, qmp_capabilities},
	{"query-version", NULL, false, query_version},
	{"query-commands", NULL, false, query_commands},
	{"query-name", NULL, false, query_name},
	{"query-status", NULL, false, query_status},
	{"query-cpus-fast", NULL, false, query_cpus_fast},
	{"stop", NULL, false, stop},
	{"cont", NULL, false, cont},
	{"system_reset", NULL, false, system_reset},
	{"quit", NULL, false, quit},
	{"x-samara-plug", plug_args, false, plug},
	{"x-samara-unplug", range_args, false, unplug},
	{"x-samara-remap", remap_args, false, remap},
	{"x-samara-protect", protect_args, false, protect},
	{"x-samara-populate", range_args, false, populate},
	{"x-samara-balloon", balloon_args, false, qmp_virtio_balloon},
	{"x-samara-balloon-stats", balloon_stats_args, false, qmp_virtio_balloon_stats},
	{"x-samara-virtio-mem", virtio_mem_args, false, qmp_virtio_mem},
	{"x-samara-query-virtio", NULL, false, qmp_query_virtio},
	{"x-samara-regions", NULL, false, regions},
	{"x-samara-stats", NULL, false, stats},
	{NULL, NULL, false, NULL},
};
