/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DEVICES_VIRTIO_MMIO_H
#define DEVICES_VIRTIO_MMIO_H

#include <stdint.h>

#include "devices/bus.h"
#include "devices/virtio_device.h"

/*
 * The register block through which a driver sees a virtio device (virtio 1.2, 4.2.2), version 2.
 */

/**
 * struct virtio_mmio - a register block
 * @device: immutable. The selectors: atomic.
 */
struct virtio_mmio {
	struct virtio_device *device;
	uint32_t features_word, accepted_word, queue;
};

/* The device is a struct virtio_mmio at VIRTIO_MMIO_BYTES addresses. */
extern const struct bus_ops virtio_mmio_bus_ops;

#define VIRTIO_MMIO_BYTES 0x1000u

/* Make one whose selectors are 0; virtio_mmio_reset() makes them so again. */
void virtio_mmio_init(struct virtio_mmio *mmio, struct virtio_device *device);
void virtio_mmio_reset(struct virtio_mmio *mmio);

#endif
