/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_VIRTIO_SLOTS_H
#define VMM_VIRTIO_SLOTS_H

/*
 * Where virtio-mmio devices have their registers and interrupts: slot N at VIRTIO_SLOT_GPA + N *
 * VIRTIO_SLOT_BYTES, with GSI VIRTIO_SLOT_GSI + N. Nothing but #defines: iasl includes it too.
 */
#define VIRTIO_SLOT_GPA   0xd0000000
#define VIRTIO_SLOT_BYTES 0x1000
#define VIRTIO_SLOT_GSI   16
#define VIRTIO_SLOTS      8

/*
 * A port for each slot that reads 1 if it has a device (vmm/virtio_presence.h), and the GSI of the
 * Generic Event Device that tells of changes.
 */
#define VIRTIO_SLOTS_PORT 0x660
#define VIRTIO_SLOTS_GSI  11

#endif
