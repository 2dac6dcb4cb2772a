/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DEVICES_VIRTIO_MEM_H
#define DEVICES_VIRTIO_MEM_H

#include <stdbool.h>
#include <stdint.h>

#include <samara/error.h>
#include <samara/guest_mm.h>

#include "devices/irq.h"
#include "devices/virtio_device.h"

/*
 * virtio-mem (virtio 1.2, 5.15): a range of guest-physical addresses whose blocks the guest plugs
 * and unplugs, to reach the size that it is asked for. A request's blocks are one operation of
 * guest_mm, or, to be unplugged, one for each GiB, and the device may be paused between them. What
 * is unplugged may be read, and reads as zeros.
 */
struct virtio_mem;

#define VIRTIO_MEM_MIN_BLOCK_BYTES (UINT64_C(2) << 20)
#define VIRTIO_MEM_NO_NODE         (-1)

/**
 * struct virtio_mem_setup - what a device is made of
 * @name: for messages; lives as long as the device
 * @gpa, @size_bytes: its range: in one window of @mm, and nothing is plugged there; both are
 *                    multiples of @block_bytes
 * @block_bytes: a power of two, VIRTIO_MEM_MIN_BLOCK_BYTES at least
 * @requested_bytes: asked of the guest at first
 * @node: proximity domain, as the SRAT names it, or VIRTIO_MEM_NO_NODE
 * @report: takes a line about a driver that misbehaves, once for each kind; may be NULL
 * @changed: the guest has plugged or unplugged; may be NULL
 * @arg: for both
 *
 * Context of @changed: the device's worker, or virtio_mem_reset()'s caller; must not call
 * virtio_mem_reset() or _destroy().
 */
struct virtio_mem_setup {
	const char *name;
	struct guest_mm *mm;
	struct irq irq;
	gpa_t gpa;
	uint64_t size_bytes, block_bytes, requested_bytes;
	int node;
	bool packed;
	void (*report)(void *arg, const char *line);
	void (*changed)(void *arg, uint64_t plugged_bytes);
	void *arg;
};

/**
 * virtio_mem_check() - whether sizes fit together
 *
 * Return: 0, -EINVAL with a line that says which does not.
 */
int virtio_mem_check(uint64_t size_bytes, uint64_t block_bytes, uint64_t requested_bytes,
		     struct samara_error *err);

/**
 * virtio_mem_create() - make a device with all its blocks unplugged
 *
 * Context: May sleep, starts a thread.
 * Return: 0, -EINVAL (sizes, or @gpa is not aligned to blocks), -ENOMEM, or why there is no thread.
 */
int virtio_mem_create(const struct virtio_mem_setup *setup, struct virtio_mem **out,
		      struct samara_error *err);

/* What is plugged stays. Context: It is on no bus, and nobody calls it any more. May sleep. */
void virtio_mem_destroy(struct virtio_mem *mem);

/* What the transport shows. It lives as long as the device. */
struct virtio_device *virtio_mem_device(struct virtio_mem *mem);

/**
 * virtio_mem_reset() - the machine was reset: all blocks are unplugged
 *
 * What the host cannot unplug now stays as it is, is counted as busy and reported: a system reset
 * should unplug all (5.15.6.2), but a driver that finds memory plugged asks for it, again and again
 * until it is done (5.15.5.1), and Linux does.
 *
 * A reset of the device alone, by the driver, leaves them as they are (5.15.5.2): have
 * virtio_device_reset() do that, and the blocks survive a reset of the machine.
 *
 * Context: May sleep until a request is done; no vCPU runs.
 */
void virtio_mem_reset(struct virtio_mem *mem);

/**
 * virtio_mem_freeze(), virtio_mem_thaw() - have it stay without any memory; go on
 *
 * A device that is to be taken away: it serves no request and takes no other requested size, so
 * whatever the driver does, nothing is plugged that nobody would unplug. What it had to tell by
 * @changed is told when freeze returns.
 *
 * Context: One thread at a time; freeze may sleep until a request is done.
 * Return: freeze: 0, -EBUSY (some is plugged, or asked for; it goes on as before).
 */
int virtio_mem_freeze(struct virtio_mem *mem);
void virtio_mem_thaw(struct virtio_mem *mem);

/**
 * virtio_mem_set_requested() - ask the guest for another size
 *
 * Context: Any thread; does not sleep for long.
 * Return: 0, -EINVAL (no multiple of the block size, or larger than the device), -EBUSY (frozen).
 */
int virtio_mem_set_requested(struct virtio_mem *mem, uint64_t bytes, struct samara_error *err);

/**
 * struct virtio_mem_state - how far the guest has got, and what happened since creation
 * @usable_bytes: how much of the range the guest may use
 * @refused: requests answered by an error: blocks outside, or in the wrong state
 * @denied: plug requests beyond what was asked for
 * @busy: requests that the host could not carry out, and resets that left something plugged
 */
struct virtio_mem_state {
	gpa_t gpa;
	uint64_t size_bytes, block_bytes, usable_bytes, requested_bytes, plugged_bytes;
	int node;
	uint64_t plugs, unplugs, refused, denied, busy;
};

/* Context: Any thread; does not sleep for long. */
void virtio_mem_get(struct virtio_mem *mem, struct virtio_mem_state *state);

#endif
