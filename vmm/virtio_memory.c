/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/virtio_config.h>

#include "vmm/virtio_counters.h"
#include "vmm/virtio_memory.h"

/*
 * Lock key: [i] immutable. @lock: @device.requested_bytes is what the device was last asked for;
 * taken after that of qom and before those of the device.
 */
struct virtio_memory {
	struct memory_device device;
	struct virtio_mem *mem; /* [i] */
	pthread_mutex_t lock;
};

/* ---- Properties ------------------------------------------------------------------------------ */

static int get_plugged(void *object, union qom_value *value, struct samara_error *err)
{
	const struct memory_device *device = object;

	(void)err;
	value->size = atomic_load(&device->plugged_bytes);
	return 0;
}

static int get_block(void *object, union qom_value *value, struct samara_error *err)
{
	const struct memory_device *device = object;

	(void)err;
	value->size = atomic_load(&device->block_bytes);
	return 0;
}

static int get_requested(void *object, union qom_value *value, struct samara_error *err)
{
	const struct memory_device *device = object;

	(void)err;
	value->size = atomic_load(&device->requested_bytes);
	return 0;
}

static int set_requested(void *object, const union qom_value *value, struct samara_error *err)
{
	struct virtio_memory *memory = object;
	int ret;

	pthread_mutex_lock(&memory->lock);
	ret = virtio_mem_set_requested(memory->mem, value->size, err);
	if (!ret)
		atomic_store(&memory->device.requested_bytes, value->size);
	pthread_mutex_unlock(&memory->lock);
	return ret;
}

static int get_counters(void *object, union qom_value *value, struct samara_error *err)
{
	const struct virtio_memory *memory = object;
	struct virtio_mem_state state;

	virtio_mem_get(memory->mem, &state);
	const struct virtio_counter counters[] = {
		{"plugs", state.plugs},
		{"unplugs", state.unplugs},
		{"refused", state.refused},
		{"denied", state.denied},
		{"busy", state.busy},
		{"usable-bytes", state.usable_bytes},
		{NULL, 0},
	};

	return virtio_counters_get(virtio_mem_device(memory->mem), counters, value, err);
}

/* QEMU's names; "size" is what is plugged. */
static const struct qom_property properties[] = {
	{"id", QOM_STRING, memory_device_get_id, NULL},
	{"memdev", QOM_STRING, memory_device_get_memdev, NULL},
	{"node", QOM_SIZE, memory_device_get_node, NULL},
	{"memaddr", QOM_SIZE, memory_device_get_gpa, NULL},
	{"max-size", QOM_SIZE, memory_device_get_size, NULL},
	{"size", QOM_SIZE, get_plugged, NULL},
	{"block-size", QOM_SIZE, get_block, NULL},
	{"requested-size", QOM_SIZE, get_requested, set_requested},
	{"hotplugged", QOM_BOOL, memory_device_get_hotplugged, NULL},
	{"x-samara-counters", QOM_OBJECT, get_counters, NULL},
	{NULL, 0, NULL, NULL},
};

/* ---- As a memory device ---------------------------------------------------------------------- */

static const char *name_of(const struct memory_device *device)
{
	return device->id ? device->id : device->path;
}

/* What has its registers and interrupt takes it away: vm_remove_virtio_mem(). */
static int refuse_unplug(struct memory_device *device, struct samara_error *err)
{
	return samara_error_set(err, -EOPNOTSUPP,
				"%s: a virtio-mem device that was there at start stays as long as "
				"the VM; its memory comes back by a requested-size of 0",
				name_of(device));
}

/* Its transport is reset with it, by whoever holds both (vmm/vm_virtio.c). */
static void reset_elsewhere(struct memory_device *device)
{
	(void)device;
}

static void destroy(struct memory_device *device)
{
	struct virtio_memory *memory = (struct virtio_memory *)device;

	virtio_mem_destroy(memory->mem);
	memory_device_fini(device);
	pthread_mutex_destroy(&memory->lock);
	free(memory);
}

static const struct memory_device_ops ops = {
	.kind = MEMORY_DEVICE_VIRTIO_MEM,
	.request_unplug = refuse_unplug,
	.reset = reset_elsewhere,
	.destroy = destroy,
};

static void changed(void *arg, uint64_t plugged_bytes)
{
	struct memory_device *device = arg;
	const struct vm_notice notice = {
		.event = VM_EVENT_MEMORY_SIZE_CHANGED,
		.device = device->id,
		.path = device->path,
		.size_bytes = plugged_bytes,
	};

	memory_device_set_plugged(device, plugged_bytes);
	memory_devices_notify(device->owner, &notice);
}

/* ---- Life ------------------------------------------------------------------------------------ */

/* memory_devices_lock() held. */
static int add(struct virtio_memory *memory, const struct virtio_memory_config *config,
	       const struct memory_device_request *request, struct samara_error *err)
{
	const struct virtio_mem_options *options = config->options;
	struct memory_device *device = &memory->device;
	struct virtio_mem_setup setup = {
		.mm = memory_devices_config(config->devices)->mm,
		.irq = config->irq,
		.block_bytes = options->block_bytes,
		.requested_bytes = options->requested_bytes,
		.node = options->node,
		.packed = options->packed,
		.report = config->report,
		.changed = changed,
		.arg = device,
	};
	int ret = memory_device_init(config->devices, device, request, err);

	if (ret)
		return ret;
	if (device->backend->own_memory || device->backend->config.kind == MEMORY_BACKEND_FILE ||
	    device->backend->config.prealloc) {
		memory_device_fini(device);
		return samara_error_set(
			err, -EOPNOTSUPP,
			"memdev %s: blocks come and go, so they are of what is "
			"behind all of the VM's memory: no file, no memfd or policy "
			"of its own, nothing preallocated",
			device->backend->config.id);
	}
	setup.gpa = device->gpa;
	setup.size_bytes = device->size_bytes;
	atomic_store(&device->requested_bytes, options->requested_bytes);
	atomic_store(&device->block_bytes, options->block_bytes);
	setup.name = name_of(device);
	ret = virtio_mem_create(&setup, &memory->mem, err);
	if (!ret)
		ret = memory_device_add(device, "virtio-mem-device", properties, err);
	if (ret) {
		virtio_mem_destroy(memory->mem);
		memory_device_fini(device);
	}
	return ret;
}

static int list(struct virtio_memory *memory, const struct virtio_memory_config *config,
		const struct memory_device_request *request, struct samara_error *err)
{
	int ret;

	memory_devices_lock(config->devices);
	ret = add(memory, config, request, err);
	memory_devices_unlock(config->devices);
	return ret;
}

/* With a backend that is named as those of DIMMs that are there from the start. */
static int list_with_backend(struct virtio_memory *memory,
			     const struct virtio_memory_config *config,
			     struct memory_device_request *request, struct samara_error *err)
{
	char memdev[72];
	const struct memory_backend_config backend = {
		.kind = MEMORY_BACKEND_RAM,
		.id = memdev,
		.size_bytes = config->options->size_bytes,
	};
	int ret;

	snprintf(memdev, sizeof(memdev), "mem%.64s", config->options->id);
	ret = memory_devices_add_backend(config->devices, &backend, err);
	if (ret)
		return ret;
	request->memdev = memdev;
	request->own_place = true;
	ret = list(memory, config, request, err);
	if (ret)
		memory_devices_remove_backend(config->devices, memdev, NULL);
	return ret;
}

int virtio_memory_create(const struct virtio_memory_config *config, struct virtio_memory **out,
			 struct samara_error *err)
{
	const struct virtio_mem_options *options = config->options;
	struct memory_device_request request = {
		.id = options->id,
		.memdev = config->memdev,
		.node = options->node == VIRTIO_MEM_NO_NODE ? 0 : (uint32_t)options->node,
		.gpa = config->gpa,
		.align_bytes = options->block_bytes,
		.hotplugged = config->hotplugged,
	};
	struct virtio_memory *memory = calloc(1, sizeof(*memory));
	int ret;

	if (!memory)
		return samara_error_set(err, -ENOMEM, "virtio-mem: out of memory");
	memory->device.ops = &ops;
	pthread_mutex_init(&memory->lock, NULL);
	/* Where DIMMs are as well, what guests take as blocks is a DIMM's. */
	if (config->memdev && request.align_bytes < LAYOUT_HOTPLUG_ALIGN)
		request.align_bytes = LAYOUT_HOTPLUG_ALIGN;
	ret = config->memdev ? list(memory, config, &request, err)
			     : list_with_backend(memory, config, &request, err);
	if (ret) {
		pthread_mutex_destroy(&memory->lock);
		free(memory);
		return samara_error_prefix(err, "virtio-mem %s", options->id ? options->id : "");
	}
	*out = memory;
	return 0;
}

int virtio_memory_begin_unplug(struct virtio_memory *memory, struct samara_error *err)
{
	const struct memory_device *device = &memory->device;

	if (virtio_mem_freeze(memory->mem))
		return samara_error_set(err, -EBUSY,
					"%s: virtio-mem device cannot get unplugged while some of "
					"its memory is still plugged: set its requested-size to 0, "
					"and wait until its size is",
					name_of(device));
	/* Linux acknowledges a device again when its driver has let it go. */
	if (!(virtio_device_status(virtio_mem_device(memory->mem)) & VIRTIO_CONFIG_S_DRIVER))
		return 0;
	virtio_mem_thaw(memory->mem);
	return samara_error_set(
		err, -EBUSY,
		"%s: the guest's driver uses it; Linux lets no virtio-mmio device "
		"go by ACPI, but by /sys/bus/platform/drivers/virtio-mmio/unbind in "
		"the guest",
		name_of(device));
}

bool virtio_memory_is(const struct virtio_memory *memory, const char *id)
{
	const struct memory_device *device = &memory->device;

	return !strcmp(device->path, id) || (device->id && !strcmp(device->id, id));
}

/* What others can have from here on: its id, its place, its backend. */
static void unlist(struct memory_device *device)
{
	memory_devices_lock(device->owner);
	memory_device_remove(device);
	memory_devices_unlock(device->owner);
}

void virtio_memory_delete(struct virtio_memory *memory)
{
	struct memory_device *device = &memory->device;
	const struct vm_notice notice = {
		.event = VM_EVENT_DEVICE_DELETED, .device = device->id, .path = device->path};

	unlist(device);
	memory_devices_notify(device->owner, &notice);
	destroy(device);
}

void virtio_memory_destroy(struct virtio_memory *memory)
{
	if (!memory)
		return;
	unlist(&memory->device);
	destroy(&memory->device);
}

struct virtio_mem *virtio_memory_device(struct virtio_memory *memory)
{
	return memory->mem;
}
