/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef GUEST_VIRTIO_H
#define GUEST_VIRTIO_H

#include <stdbool.h>
#include <stdint.h>
#include <linux/virtio_ring.h>

/*
 * Just enough of virtio-mmio (virtio 1.2, 4.2) and of split virtqueues (2.7) for drivers that have
 * one request at a time in a queue, and look whether it is done.
 */
#define QUEUE_SIZE 4u

/* struct queue - the rings, in memory that the device can reach; all zero at first */
struct queue {
	struct vring_desc desc[QUEUE_SIZE];
	struct {
		uint16_t flags, idx, ring[QUEUE_SIZE], used_event;
	} avail;
	struct {
		uint16_t flags, idx;
		struct vring_used_elem ring[QUEUE_SIZE];
		uint16_t avail_event;
	} used __attribute__((aligned(4)));
	uint16_t seen;
} __attribute__((aligned(16)));

/* struct buffer - a part of a request */
struct buffer {
	const void *bytes;
	uint32_t length_bytes;
	bool writable;
};

/**
 * virtio_start() - have a device reset, agree on features, and give it its queues (3.1.1)
 * @registers: gpa of the registers
 * @id: device id that has to be there
 * @features: of bits 0 to 31; VIRTIO_F_VERSION_1 comes on top
 * @queues: from number 0 on
 *
 * Return: whether the device is at work.
 */
bool virtio_start(uint64_t registers, uint32_t id, uint32_t features, struct queue *const *queues,
		  uint32_t count);

/* Put a request into an empty queue, and tell the device. */
void virtio_submit(uint64_t registers, uint32_t index, struct queue *queue,
		   const struct buffer *buffers, uint32_t count);

/* Whether the device is done with it: once for each. */
bool virtio_is_done(struct queue *queue);

/* A field of the configuration space of 32 or 64 bits, which is one moment's (4.2.2.2). */
uint32_t virtio_read_config(uint64_t registers, uint32_t offset);
uint64_t virtio_read_config_long(uint64_t registers, uint32_t offset);
void virtio_write_config(uint64_t registers, uint32_t offset, uint32_t value);

#endif
