/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_VIRTIO_PRESENCE_H
#define VMM_VIRTIO_PRESENCE_H

#include <stdbool.h>

#include "devices/bus.h"
#include "devices/irq.h"
#include "vmm/virtio_slots.h"

/*
 * Which virtio slots have a device: a port for each, which reads 1 if so (vmm/virtio.asl asks it for
 * _STA), and the interrupt of a Generic Event Device by which the guest hears that one has come or
 * gone. It is told again each second until it has looked, since an interrupt before its driver is
 * there is lost.
 */
struct virtio_presence;

/**
 * virtio_presence_create() - make the ports; no slot has a device
 * @irq: of the Generic Event Device; lives as long
 *
 * Return: 0, -ENOMEM.
 */
int virtio_presence_create(struct irq irq, struct virtio_presence **out);

/**
 * virtio_presence_stop() - tell the guest no more
 *
 * Context: May sleep; any number of times; not concurrently with virtio_presence_change().
 */
void virtio_presence_stop(struct virtio_presence *presence);

/* Context: It is on no bus. */
void virtio_presence_destroy(struct virtio_presence *presence);

/* A slot has a device, or has none any more; the guest is not told. Context: does not sleep. */
void virtio_presence_set(struct virtio_presence *presence, unsigned int slot, bool there);

/**
 * virtio_presence_change() - the same, and tell the guest
 *
 * Context: May sleep, starts a thread the first time; one caller at a time.
 * Return: 0, or why there is no thread: nothing is changed then.
 */
int virtio_presence_change(struct virtio_presence *presence, unsigned int slot, bool there);

/* The machine was reset: the guest will look at all of them. Context: no vCPU runs. */
void virtio_presence_reset(struct virtio_presence *presence);

/* The device is a struct virtio_presence at VIRTIO_SLOTS ports. */
extern const struct bus_ops virtio_presence_bus_ops;

#endif
