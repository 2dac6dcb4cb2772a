/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_BALLOON_H
#define VMM_BALLOON_H

#include <samara/error.h>

#include "devices/irq.h"
#include "devices/virtio_balloon.h"
#include "vmm/config.h"
#include "vmm/memory_devices.h"
#include "vmm/vm.h"

/*
 * The VM's balloon as its user sees it: not how much is in it, but how much memory the guest has
 * left of all that it was given, memory devices included. Its statistics are properties of
 * BALLOON_PATH.
 */
struct balloon;

/* As libvirt names it. */
#define BALLOON_ID   "balloon0"
#define BALLOON_PATH "/machine/peripheral/" BALLOON_ID

/**
 * struct balloon_config - what it is made of
 * @memory_bytes: the guest's memory at start
 * @report: as in struct virtio_balloon_setup
 */
struct balloon_config {
	struct memory_devices *devices;
	const struct balloon_options *options;
	uint64_t memory_bytes;
	struct irq irq;
	void (*report)(void *arg, const char *line);
};

/**
 * balloon_create() - make a balloon, and give it its path
 *
 * Context: May sleep, starts a thread.
 * Return: 0, -EEXIST (a memory device has that id), or as virtio_balloon_create().
 */
int balloon_create(const struct balloon_config *config, struct balloon **out,
		   struct samara_error *err);

/* Context: it is on no bus. May sleep. */
void balloon_destroy(struct balloon *balloon);

/* For the transport, and for QMP; both live as long. */
struct virtio_balloon *balloon_device(struct balloon *balloon);
const struct vm_balloon *balloon_control(const struct balloon *balloon);

#endif
