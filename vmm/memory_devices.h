/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_MEMORY_DEVICES_H
#define VMM_MEMORY_DEVICES_H

#include <stdbool.h>
#include <stdint.h>

#include <samara/error.h>
#include <samara/guest_mm.h>

#include "vmm/layout.h"
#include "vmm/memory_backend.h"
#include "vmm/memory_map.h"
#include "vmm/qom.h"
#include "vmm/vm_event.h"

/*
 * Memory that comes and goes as devices: the backends, the devices that use them, and the place
 * each has in the part of the address space that was kept for them at start.
 *
 * What kinds of devices there are it does not know: a kind makes its struct memory_device, adds it
 * here and answers by its operations (vmm/dimm.c is one).
 */
struct memory_devices;
struct memory_device;

enum memory_device_kind {
	MEMORY_DEVICE_DIMM,
	MEMORY_DEVICE_VIRTIO_MEM,
};

/**
 * struct memory_device_ops - a kind of device; immutable
 * @kind: what query-memory-devices calls it
 * @request_unplug: ask the guest to let it go; what comes of it is told by events
 * @reset: the machine is reset, no vCPU runs; may remove and free @device
 * @destroy: free it; it is in no list any more
 *
 * Context of request_unplug and reset: memory_devices_lock() held.
 */
struct memory_device_ops {
	enum memory_device_kind kind;
	int (*request_unplug)(struct memory_device *device, struct samara_error *err);
	void (*reset)(struct memory_device *device);
	void (*destroy)(struct memory_device *device);
};

/**
 * struct memory_device - what all of them have; the first member of each kind's own
 * @id: NULL: it was given none
 * @path: its QOM path
 * @slot: -1: it has none
 * @own_place: as in struct memory_device_request
 * @plugged_bytes: how much of it is memory now; atomic, memory_device_set_plugged() writes it
 * @requested_bytes, @block_bytes: for virtio-mem; atomic, the kind's own to write
 * @next: the list's: its locks are told in memory_devices.c
 *
 * The others are immutable.
 */
struct memory_device {
	const struct memory_device_ops *ops;
	struct memory_devices *owner;
	struct memory_backend *backend;
	char *id, *path;
	gpa_t gpa;
	uint64_t size_bytes;
	uint32_t node;
	int slot;
	bool hotplugged, own_place;
	_Atomic uint64_t requested_bytes, plugged_bytes, block_bytes;
	struct memory_device *next;
};

/**
 * struct memory_devices_config - what they are part of
 * @max_bytes: how much there may be of them in all
 * @nodes: NUMA nodes of the guest, at least 1
 * @notify: hears of what the guest does with its devices
 * @report: takes a line about a guest that misbehaves, once for each kind; may be NULL
 * @arg: for both
 */
struct memory_devices_config {
	struct guest_mm *mm;
	struct qom *qom;
	const struct layout *layout;
	enum guest_mm_backing backing;
	uint64_t max_bytes;
	unsigned int nodes;
	vm_event_fn *notify;
	void (*report)(void *arg, const char *line);
	void *arg;
};

/* Return: 0, -ENOMEM. */
int memory_devices_create(const struct memory_devices_config *config, struct memory_devices **out,
			  struct samara_error *err);

/* Destroys devices and backends as well. Context: no vCPU runs. */
void memory_devices_destroy(struct memory_devices *devices);

const struct memory_devices_config *memory_devices_config(const struct memory_devices *devices);

/* Tell of an event. Context: any, the lock may be held: listeners do not ask back. */
void memory_devices_notify(struct memory_devices *devices, const struct vm_notice *notice);

/**
 * memory_devices_lock() - devices neither come nor go meanwhile
 *
 * Taken before qom_*(), guest_mm_*() and the locks of devices; not from vCPU threads.
 */
void memory_devices_lock(struct memory_devices *devices);
void memory_devices_unlock(struct memory_devices *devices);

/* ---- For QMP and the like; these take the lock ----------------------------------------------- */

/**
 * memory_devices_add_backend() - object-add
 *
 * Return: 0, -EEXIST (the id is taken), or as memory_backend_create().
 */
int memory_devices_add_backend(struct memory_devices *devices,
			       const struct memory_backend_config *config,
			       struct samara_error *err);

/* object-del. Return: 0, -ENOENT, -EBUSY (a device uses it; named). */
int memory_devices_remove_backend(struct memory_devices *devices, const char *id,
				  struct samara_error *err);

/**
 * memory_devices_unplug() - device_del: ask the guest to let a device go
 * @id: the device's, or its QOM path
 *
 * Return: 0: it was asked; -ENODEV (no such device), or what the device says.
 */
int memory_devices_unplug(struct memory_devices *devices, const char *id, struct samara_error *err);

/**
 * memory_devices_for_each() - list the devices in the order of their addresses
 * @visit: another value than 0 ends the listing and is returned; takes no lock and does not sleep,
 *         and of a device it reads what is atomic, or was there when it was added
 *
 * Context: Any thread; does not wait for a device that is being plugged or unplugged.
 */
int memory_devices_for_each(struct memory_devices *devices,
			    int (*visit)(const struct memory_device *device, void *arg), void *arg);

/**
 * memory_devices_plugged_bytes() - how much memory the guest has by them now
 *
 * Context: Any thread; does not sleep, takes no lock.
 */
uint64_t memory_devices_plugged_bytes(const struct memory_devices *devices);

/* ---- For a reset ----------------------------------------------------------------------------- */

/**
 * memory_devices_begin_reset() - reset the devices; they neither come nor go until end_reset()
 *
 * Context: may sleep; no vCPU runs.
 */
void memory_devices_begin_reset(struct memory_devices *devices);
void memory_devices_end_reset(struct memory_devices *devices);

/**
 * memory_devices_ranges() - what the guest finds by devices, and is not to be told of as RAM
 * @ranges: of MEMORY_MAP_HOLES
 *
 * Context: memory_devices_begin_reset(), or nothing runs yet.
 * Return: how many there are; in ascending order.
 */
unsigned int memory_devices_ranges(struct memory_devices *devices, struct memory_map_hole *ranges);

/* ---- For the kinds of devices; memory_devices_lock() held ------------------------------------- */

#define MEMORY_DEVICES_ANYWHERE UINT64_MAX

/**
 * struct memory_device_request - what a new device shall have
 * @id: NULL: none
 * @memdev: id of its backend
 * @gpa: MEMORY_DEVICES_ANYWHERE, or where it is to be
 * @align_bytes: a power of two that its gpa shall be a multiple of
 * @own_place: @gpa was kept for it alone when the address space was laid out: it takes nothing of
 * the place and the max_bytes that the others share
 */
struct memory_device_request {
	const char *id, *memdev;
	uint32_t node;
	gpa_t gpa;
	uint64_t align_bytes;
	bool hotplugged, own_place;
};

/**
 * memory_device_init() - check a request and fill in a device from it: id, backend, place
 * @device: zeroed, its ops set; memory_device_fini() undoes this
 *
 * Plugs nothing, and adds it to no list.
 *
 * Return: 0; -EEXIST (the id, or part of the place, is taken), -ENODEV (no such backend), -EBUSY (a
 * device has that backend), -EINVAL (node or gpa), -ENOSPC (no room left), -ENOMEM.
 */
int memory_device_init(struct memory_devices *devices, struct memory_device *device,
		       const struct memory_device_request *request, struct samara_error *err);
void memory_device_fini(struct memory_device *device);

/**
 * memory_device_add() - into the list and at its QOM path
 *
 * Return: 0, -EEXIST, -ENOMEM.
 */
int memory_device_add(struct memory_device *device, const char *type,
		      const struct qom_property *properties, struct samara_error *err);

/**
 * memory_device_set_plugged() - note how much of a device that was added is memory now
 *
 * Context: one thread at a time for each device; the lock need not be held. Does not sleep.
 */
void memory_device_set_plugged(struct memory_device *device, uint64_t bytes);

/* Take it out of the list, away from its path, and free its backend for others. */
void memory_device_remove(struct memory_device *device);

/* The properties that all of them have: id, memdev, node, addr, size, hotplugged, hotpluggable. */
#define MEMORY_DEVICE_PROPERTIES                                              \
	{"id", QOM_STRING, memory_device_get_id, NULL},                       \
		{"memdev", QOM_STRING, memory_device_get_memdev, NULL},       \
		{"node", QOM_SIZE, memory_device_get_node, NULL},             \
		{"addr", QOM_SIZE, memory_device_get_gpa, NULL},              \
		{"size", QOM_SIZE, memory_device_get_size, NULL},             \
		{"hotplugged", QOM_BOOL, memory_device_get_hotplugged, NULL}, \
	{                                                                     \
		"hotpluggable", QOM_BOOL, memory_device_get_pluggable, NULL   \
	}

int memory_device_get_id(void *device, union qom_value *value, struct samara_error *err);
int memory_device_get_memdev(void *device, union qom_value *value, struct samara_error *err);
int memory_device_get_node(void *device, union qom_value *value, struct samara_error *err);
int memory_device_get_gpa(void *device, union qom_value *value, struct samara_error *err);
int memory_device_get_size(void *device, union qom_value *value, struct samara_error *err);
int memory_device_get_hotplugged(void *device, union qom_value *value, struct samara_error *err);
int memory_device_get_pluggable(void *device, union qom_value *value, struct samara_error *err);

#endif
