/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_VIRTIO_MEMORY_H
#define VMM_VIRTIO_MEMORY_H

#include <samara/error.h>

#include "devices/irq.h"
#include "devices/virtio_mem.h"
#include "vmm/config.h"
#include "vmm/memory_devices.h"

/*
 * virtio-mem as a memory device: listed beside the DIMMs, with its sizes as properties, and an
 * event when the guest has plugged or unplugged.
 */
struct virtio_memory;

/**
 * struct virtio_memory_config - what one is made of
 * @options: not needed after creation
 * @memdev: NULL: a backend "memID" of its own, of @options' size; or the id of one that is there
 * @gpa: its range, in a window of its own; MEMORY_DEVICES_ANYWHERE, or a place where DIMMs are too:
 *       for a device that is plugged while the VM runs
 * @report: as in struct virtio_mem_setup
 */
struct virtio_memory_config {
	struct memory_devices *devices;
	const struct virtio_mem_options *options;
	const char *memdev;
	gpa_t gpa;
	bool hotplugged;
	struct irq irq;
	void (*report)(void *arg, const char *line);
};

/**
 * virtio_memory_create() - make a device and list it
 *
 * Context: May sleep, takes memory_devices_lock(), starts a thread.
 * Return: 0, or as memory_devices_add_backend(), memory_device_init(), virtio_mem_create().
 */
int virtio_memory_create(const struct virtio_memory_config *config, struct virtio_memory **out,
			 struct samara_error *err);

/**
 * virtio_memory_begin_unplug() - see that it can go: nothing of it is memory, no driver has it
 *
 * If so it stays so, whatever the driver or qom-set ask for; virtio_memory_delete() is to follow.
 *
 * Context: May sleep until a request is done; one caller at a time.
 * Return: 0, -EBUSY: all is as before.
 */
int virtio_memory_begin_unplug(struct virtio_memory *memory, struct samara_error *err);

/* Whether a device is the one of that id or path. Context: Does not sleep. */
bool virtio_memory_is(const struct virtio_memory *memory, const char *id);

/**
 * virtio_memory_delete(), virtio_memory_destroy() - free it; with or without telling of it
 *
 * When its end is told, others can have its id, its place and its backend.
 *
 * Context: it is on no bus. May sleep, takes memory_devices_lock().
 */
void virtio_memory_delete(struct virtio_memory *memory);
void virtio_memory_destroy(struct virtio_memory *memory);

/* The device itself, for transport and reset; it lives as long. */
struct virtio_mem *virtio_memory_device(struct virtio_memory *memory);

#endif
