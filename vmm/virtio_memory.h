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
 * @options: live as long as the device
 * @gpa: its range, in a window of its own
 * @report: as in struct virtio_mem_setup
 */
struct virtio_memory_config {
	struct memory_devices *devices;
	const struct virtio_mem_options *options;
	gpa_t gpa;
	struct irq irq;
	void (*report)(void *arg, const char *line);
};

/**
 * virtio_memory_create() - make a device and list it, with a backend "memID" of its own
 *
 * Context: May sleep, takes memory_devices_lock(), starts a thread.
 * Return: 0, or as memory_devices_add_backend(), memory_device_init(), virtio_mem_create().
 */
int virtio_memory_create(const struct virtio_memory_config *config, struct virtio_memory **out,
			 struct samara_error *err);

/* Context: it is on no bus. May sleep, takes memory_devices_lock(). */
void virtio_memory_destroy(struct virtio_memory *memory);

/* The device itself, for transport and reset; it lives as long. */
struct virtio_mem *virtio_memory_device(struct virtio_memory *memory);

#endif
