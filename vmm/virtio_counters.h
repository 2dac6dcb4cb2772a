/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_VIRTIO_COUNTERS_H
#define VMM_VIRTIO_COUNTERS_H

#include <stdint.h>

#include <samara/error.h>

#include "devices/virtio_device.h"
#include "vmm/qom.h"

/*
 * The property x-samara-counters of a virtio device: what it has done since it was made, and the
 * time its thread worked for it, the VMM's own share.
 */
struct virtio_counter {
	const char *name;
	uint64_t value;
};

/**
 * virtio_counters_get() - a getter's work: an object with these and those that every device has
 * @counters: ended by one without a name
 *
 * Return: 0, -ENOMEM.
 */
int virtio_counters_get(const struct virtio_device *device, const struct virtio_counter *counters,
			union qom_value *value, struct samara_error *err);

#endif
