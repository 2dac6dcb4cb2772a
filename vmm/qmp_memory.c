/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QMP commands about memory that comes and goes as devices: backends, devices, their properties. A
 * further kind of device is a row in the table `drivers`.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/virtio_mem.h"
#include "vmm/config.h"
#include "vmm/dimm.h"
#include "vmm/memory_devices.h"
#include "vmm/qmp_command.h"
#include "vmm/qom.h"

#define HUGE_BYTES (UINT64_C(2) << 20)

/* What is not there has a class of its own, by which tools tell it from other errors. */
static int with_class(struct qmp_call *call, int ret)
{
	if (ret == -ENODEV)
		call->error_class = "DeviceNotFound";
	return ret;
}

/* ---- object-add, object-del ------------------------------------------------------------------ */

static const char *const policies[] = {"default", "preferred", "bind", "interleave", NULL};

/* Options of QEMU's backends that change nothing here are taken and passed over. */
#define BACKEND_ARGS                                                                              \
	QMP_MEMBER("qom-type", STRING), QMP_MEMBER("id", STRING), QMP_MEMBER("size", SIZE),       \
		QMP_OPTION("share", BOOL), QMP_OPTION("prealloc", BOOL),                          \
		QMP_OPTION("merge", BOOL), QMP_OPTION("dump", BOOL), QMP_OPTION("reserve", BOOL), \
		QMP_OPTION("host-nodes", ANY),                                                    \
	{                                                                                         \
		"policy", QMP_ARG_ENUM, true, policies, NULL                                      \
	}

static const struct qmp_arg ram_args[] = {BACKEND_ARGS, QMP_END};
static const struct qmp_arg memfd_args[] = {BACKEND_ARGS, QMP_OPTION("hugetlb", BOOL),
					    QMP_OPTION("hugetlbsize", SIZE),
					    QMP_OPTION("seal", BOOL), QMP_END};
static const struct qmp_arg file_args[] = {BACKEND_ARGS,
					   QMP_MEMBER("mem-path", STRING),
					   QMP_OPTION("discard-data", BOOL),
					   QMP_OPTION("pmem", BOOL),
					   QMP_OPTION("readonly", BOOL),
					   QMP_END};

/* "host-nodes": a list of numbers. */
static int read_host_nodes(struct qmp_call *call, uint64_t *nodes)
{
	const json_t *list = qmp_value(call, "host-nodes"), *node;
	size_t i;

	*nodes = 0;
	if (list && !json_is_array(list))
		return samara_error_set(&call->err, -EINVAL,
					"Invalid parameter type for 'host-nodes', expected: array");
	json_array_foreach((json_t *)(uintptr_t)list, i, node)
	{
		if (!json_is_integer(node) || json_integer_value(node) < 0 ||
		    json_integer_value(node) > 63)
			return samara_error_set(&call->err, -EINVAL,
						"Parameter 'host-nodes' expects numbers of nodes, "
						"0 to 63");
		*nodes |= UINT64_C(1) << json_integer_value(node);
	}
	return 0;
}

static int read_placement(struct qmp_call *call, struct guest_mm_placement *placement)
{
	int ret = read_host_nodes(call, &placement->nodes);

	if (!ret && qmp_has(call, "policy"))
		ret = parse_policy(qmp_word(call, "policy"), "Parameter 'policy'", &placement->numa,
				   &call->err);
	if (ret)
		return ret;
	if (placement->numa == GUEST_MM_NUMA_ANY && placement->nodes)
		return samara_error_set(&call->err, -EINVAL,
					"host-nodes must be empty for policy default, or you "
					"should explicitly specify a policy other than default");
	if (placement->numa != GUEST_MM_NUMA_ANY && !placement->nodes)
		return samara_error_set(&call->err, -EINVAL, "host-nodes must be set for policy %s",
					qmp_word(call, "policy"));
	return 0;
}

static int add_backend(struct qmp_call *call, struct memory_backend_config *config)
{
	int ret = read_placement(call, &config->placement);

	if (ret)
		return ret;
	config->id = qmp_word(call, "id");
	config->size_bytes = qmp_size(call, "size");
	config->prealloc = qmp_bool(call, "prealloc", false);
	return memory_devices_add_backend(vm_memory_devices(call->vm), config, &call->err);
}

static int add_ram(struct qmp_call *call)
{
	struct memory_backend_config config = {
		.kind = MEMORY_BACKEND_RAM,
		.share = qmp_bool(call, "share", false),
	};

	return add_backend(call, &config);
}

static int add_memfd(struct qmp_call *call)
{
	struct memory_backend_config config = {
		.kind = MEMORY_BACKEND_MEMFD,
		.share = qmp_bool(call, "share", true),
		.huge = qmp_bool(call, "hugetlb", false),
	};
	uint64_t page_bytes = qmp_size(call, "hugetlbsize");

	if (page_bytes && (!config.huge || page_bytes != HUGE_BYTES))
		return samara_error_set(
			&call->err, -EOPNOTSUPP,
			"Parameter 'hugetlbsize': there are huge pages of 2 MiB, with hugetlb on");
	return add_backend(call, &config);
}

static int add_file(struct qmp_call *call)
{
	struct memory_backend_config config = {
		.kind = MEMORY_BACKEND_FILE,
		.share = qmp_bool(call, "share", false),
		.discard = qmp_bool(call, "discard-data", false),
		.path = qmp_word(call, "mem-path"),
	};

	if (qmp_bool(call, "pmem", false) || qmp_bool(call, "readonly", false))
		return samara_error_set(&call->err, -EOPNOTSUPP,
					"Parameters 'pmem' and 'readonly': a DIMM is ordinary "
					"memory");
	return add_backend(call, &config);
}

static const struct qmp_variant objects[] = {
	{"memory-backend-ram", ram_args, add_ram},
	{"memory-backend-memfd", memfd_args, add_memfd},
	{"memory-backend-file", file_args, add_file},
	{NULL, NULL, NULL},
};

static const struct qmp_arg id_args[] = {QMP_MEMBER("id", STRING), QMP_END};

static int object_del(struct qmp_call *call)
{
	return memory_devices_remove_backend(vm_memory_devices(call->vm), qmp_word(call, "id"),
					     &call->err);
}

/* ---- device_add, device_del ------------------------------------------------------------------ */

static const struct qmp_arg dimm_args[] = {QMP_MEMBER("driver", STRING),
					   QMP_OPTION("id", STRING),
					   QMP_OPTION("memdev", STRING),
					   QMP_OPTION("node", SIZE),
					   QMP_OPTION("slot", SIZE),
					   QMP_OPTION("addr", SIZE),
					   QMP_END};

static int add_dimm(struct qmp_call *call)
{
	struct memory_device_request request = {
		.id = qmp_word(call, "id"),
		.memdev = qmp_word(call, "memdev"),
		.gpa = qmp_has(call, "addr") && qmp_size(call, "addr") ? qmp_size(call, "addr")
								       : MEMORY_DEVICES_ANYWHERE,
		.hotplugged = true,
	};
	struct dimms *dimms = vm_dimms(call->vm);
	uint64_t node = qmp_size(call, "node"), slot = qmp_size(call, "slot");

	if (!dimms)
		return samara_error_set(&call->err, -ENOSPC,
					"this VM has no memory slots: it was to be started with "
					"--memory SIZE,max=SIZE");
	if (!request.memdev)
		return samara_error_set(&call->err, -EINVAL, "'memdev' property is not set");
	request.node = node > UINT32_MAX ? UINT32_MAX : (uint32_t)node;
	return with_class(call, dimms_plug(dimms, &request,
					   !qmp_has(call, "slot") ? DIMM_ANY_SLOT
					   : slot > INT32_MAX     ? INT32_MAX
								  : (int)slot,
					   &call->err));
}

/* On which bus and where on it is for PCI; here a device has the next virtio-mmio slot. */
static const struct qmp_arg virtio_mem_args[] = {QMP_MEMBER("driver", STRING),
						 QMP_OPTION("id", STRING),
						 QMP_OPTION("memdev", STRING),
						 QMP_OPTION("node", SIZE),
						 QMP_OPTION("memaddr", SIZE),
						 QMP_OPTION("block-size", SIZE),
						 QMP_OPTION("requested-size", SIZE),
						 QMP_OPTION("prealloc", BOOL),
						 QMP_OPTION("bus", STRING),
						 QMP_OPTION("addr", ANY),
						 QMP_END};

static int add_virtio_mem_device(struct qmp_call *call)
{
	const char *memdev = qmp_word(call, "memdev");
	uint64_t gpa = qmp_has(call, "memaddr") && qmp_size(call, "memaddr")
			       ? qmp_size(call, "memaddr")
			       : MEMORY_DEVICES_ANYWHERE;
	uint64_t node = qmp_size(call, "node");
	const struct virtio_mem_options options = {
		/* What it is called in messages; nothing writes to it. */
		.id = (char *)(uintptr_t)qmp_word(call, "id"),
		.block_bytes = qmp_has(call, "block-size") ? qmp_size(call, "block-size")
							   : VIRTIO_MEM_MIN_BLOCK_BYTES,
		.requested_bytes = qmp_size(call, "requested-size"),
		.node = !qmp_has(call, "node") && !vm_get_config(call->vm)->node_count
				? VIRTIO_MEM_NO_NODE
			: node > UINT16_MAX ? UINT16_MAX
					    : (int)node,
		.packed = true,
	};

	if (!memdev)
		return samara_error_set(&call->err, -EINVAL, "'memdev' property is not set");
	if (qmp_bool(call, "prealloc", false))
		return samara_error_set(&call->err, -EOPNOTSUPP,
					"Parameter 'prealloc': a block is populated as the guest "
					"touches it");
	return with_class(call, vm_add_virtio_mem(call->vm, &options, memdev, gpa, &call->err));
}

static const struct qmp_variant drivers[] = {
	{"pc-dimm", dimm_args, add_dimm},
	{"virtio-mem-device", virtio_mem_args, add_virtio_mem_device},
	{"virtio-mem-pci", virtio_mem_args, add_virtio_mem_device},
	{NULL, NULL, NULL},
};

static int device_del(struct qmp_call *call)
{
	const char *id = qmp_word(call, "id");
	int ret = vm_remove_virtio_mem(call->vm, id, &call->err);

	if (ret != -ENOENT)
		return ret;
	return with_class(call, memory_devices_unplug(vm_memory_devices(call->vm), id, &call->err));
}

/* ---- Properties ------------------------------------------------------------------------------ */

static const struct qmp_arg qom_get_args[] = {QMP_MEMBER("path", STRING),
					      QMP_MEMBER("property", STRING), QMP_END};
static const struct qmp_arg qom_set_args[] = {QMP_MEMBER("path", STRING),
					      QMP_MEMBER("property", STRING),
					      QMP_MEMBER("value", ANY), QMP_END};
static const struct qmp_arg qom_list_args[] = {QMP_MEMBER("path", STRING), QMP_END};

static const struct qmp_arg property_members[] = {QMP_MEMBER("name", STRING),
						  QMP_MEMBER("type", STRING), QMP_END};
static const struct qmp_arg properties_result = {NULL, QMP_ARG_OBJECTS, false, NULL,
						 property_members};
static const struct qmp_arg any_result = {NULL, QMP_ARG_ANY, false, NULL, NULL};

static int run_qom_get(struct qmp_call *call)
{
	return with_class(call, qom_get(vm_qom(call->vm), qmp_word(call, "path"),
					qmp_word(call, "property"), &call->result, &call->err));
}

static int run_qom_set(struct qmp_call *call)
{
	return with_class(call, qom_set(vm_qom(call->vm), qmp_word(call, "path"),
					qmp_word(call, "property"), qmp_value(call, "value"),
					&call->err));
}

static int run_qom_list(struct qmp_call *call)
{
	return with_class(call, qom_list(vm_qom(call->vm), qmp_word(call, "path"), &call->result,
					 &call->err));
}

/* ---- Questions ------------------------------------------------------------------------------- */

static json_t *describe_dimm(const struct memory_device *device, const char *memdev)
{
	return json_pack("{s:s, s:{s:s*, s:o, s:o, s:i, s:i, s:s, s:b, s:b}}", "type", "dimm",
			 "data", "id", device->id, "addr", qmp_number(device->gpa), "size",
			 qmp_number(device->size_bytes), "slot", device->slot, "node",
			 (int)device->node, "memdev", memdev, "hotpluggable", true, "hotplugged",
			 device->hotplugged);
}

static json_t *describe_virtio_mem(const struct memory_device *device, const char *memdev)
{
	return json_pack("{s:s, s:{s:s*, s:o, s:o, s:o, s:o, s:o, s:i, s:s}}", "type", "virtio-mem",
			 "data", "id", device->id, "memaddr", qmp_number(device->gpa),
			 "requested-size", qmp_number(atomic_load(&device->requested_bytes)),
			 "size", qmp_number(atomic_load(&device->plugged_bytes)), "max-size",
			 qmp_number(device->size_bytes), "block-size",
			 qmp_number(atomic_load(&device->block_bytes)), "node", (int)device->node,
			 "memdev", memdev);
}

static int describe_device(const struct memory_device *device, void *list)
{
	char memdev[128];
	json_t *entry;

	snprintf(memdev, sizeof(memdev), "/objects/%s", device->backend->config.id);
	entry = device->ops->kind == MEMORY_DEVICE_DIMM ? describe_dimm(device, memdev)
							: describe_virtio_mem(device, memdev);
	return json_array_append_new(list, entry) ? -ENOMEM : 0;
}

static const struct qmp_arg device_members[] = {
	QMP_MEMBER("type", STRING), {"data", QMP_ARG_ANY, false, NULL, NULL}, QMP_END};
static const struct qmp_arg devices_result = {NULL, QMP_ARG_OBJECTS, false, NULL, device_members};

static int query_memory_devices(struct qmp_call *call)
{
	json_t *list = json_array();

	if (memory_devices_for_each(vm_memory_devices(call->vm), describe_device, list)) {
		json_decref(list);
		list = NULL;
	}
	return qmp_answer(call, list);
}

static const struct qmp_arg summary_members[] = {QMP_MEMBER("base-memory", SIZE),
						 QMP_MEMBER("plugged-memory", SIZE), QMP_END};
static const struct qmp_arg summary_result = {NULL, QMP_ARG_OBJECT, false, NULL, summary_members};

static int query_memory_size_summary(struct qmp_call *call)
{
	uint64_t plugged_bytes = memory_devices_plugged_bytes(vm_memory_devices(call->vm));

	return qmp_answer(call, json_pack("{s:o, s:o}", "base-memory",
					  qmp_number(vm_get_config(call->vm)->memory_bytes),
					  "plugged-memory", qmp_number(plugged_bytes)));
}

static const struct qmp_arg ost_members[] = {
	QMP_OPTION("device", STRING), QMP_MEMBER("slot", STRING), QMP_MEMBER("slot-type", STRING),
	QMP_MEMBER("source", SIZE),   QMP_MEMBER("status", SIZE), QMP_END};
static const struct qmp_arg osts_result = {NULL, QMP_ARG_OBJECTS, false, NULL, ost_members};

static int query_acpi_ospm_status(struct qmp_call *call)
{
	struct dimms *dimms = vm_dimms(call->vm);
	json_t *list = json_array();
	struct dimm_ost ost;
	unsigned int slot;

	for (slot = 0; dimms && list && !dimms_get_ost(dimms, slot, &ost); slot++) {
		json_t *entry =
			json_pack("{s:s*, s:o, s:s, s:I, s:I}", "device", *ost.id ? ost.id : NULL,
				  "slot", json_sprintf("%u", slot), "slot-type", "DIMM", "source",
				  (json_int_t)ost.source, "status", (json_int_t)ost.status);

		if (json_array_append_new(list, entry)) {
			json_decref(list);
			list = NULL;
		}
	}
	return qmp_answer(call, list);
}

/* ---- The table ------------------------------------------------------------------------------- */

#define COMMAND(name, args, run)                         \
	{                                                \
		name, args, false, run, NULL, NULL, NULL \
	}
#define QUERY(name, args, run, result)                     \
	{                                                  \
		name, args, false, run, result, NULL, NULL \
	}
#define CHOICE(name, tag, variants)                          \
	{                                                    \
		name, NULL, false, NULL, NULL, tag, variants \
	}

const struct qmp_command qmp_memory_commands[] = {
	CHOICE("object-add", "qom-type", objects),
	COMMAND("object-del", id_args, object_del),
	CHOICE("device_add", "driver", drivers),
	COMMAND("device_del", id_args, device_del),
	QUERY("qom-get", qom_get_args, run_qom_get, &any_result),
	COMMAND("qom-set", qom_set_args, run_qom_set),
	QUERY("qom-list", qom_list_args, run_qom_list, &properties_result),
	QUERY("query-memory-devices", NULL, query_memory_devices, &devices_result),
	QUERY("query-memory-size-summary", NULL, query_memory_size_summary, &summary_result),
	QUERY("query-acpi-ospm-status", NULL, query_acpi_ospm_status, &osts_result),
	COMMAND(NULL, NULL, NULL),
};
