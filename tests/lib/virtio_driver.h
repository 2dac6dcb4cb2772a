/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_LIB_VIRTIO_DRIVER_H
#define TESTS_LIB_VIRTIO_DRIVER_H

#include <stdbool.h>
#include <stdint.h>

#include <samara/guest_mm.h>

#include "devices/virtio_mmio.h"
#include "devices/virtqueue.h"

/*
 * The driver's side of virtio, as a guest would do it: rings in guest memory, which is reached
 * through the window's host address, and the registers of virtio-mmio. One thread per queue.
 */

/* A guest_mm with one window, all of it plugged. */
struct guest {
	struct guest_mm *mm;
	struct guest_mm_window window;
};

/* Return: 0, or -errno with a line on standard error. */
int guest_create(struct guest *guest, gpa_t gpa, uint64_t window_bytes, uint64_t plugged_bytes,
		 enum guest_mm_backing backing);
void guest_destroy(struct guest *guest);

/* The host's address of a gpa in the window. */
void *guest_at(const struct guest *guest, gpa_t gpa);

struct driver_buffer {
	gpa_t gpa;
	uint32_t length_bytes;
	bool writable; /* by the device */
};

struct driver_queue {
	const struct guest *guest;
	struct virtqueue_config config;
	uint16_t next;       /* split: of the available ring; packed: position */
	uint16_t next_used;  /* the same */
	uint16_t descriptor; /* split: the next free one */
	uint16_t added;      /* since driver_must_notify() */
	bool wrap, used_wrap;
	uint16_t slots[VIRTQUEUE_MAX_SIZE]; /* packed: by id */
	uint16_t next_id;
};

/* How many bytes the areas of a queue take, at least. */
#define DRIVER_QUEUE_BYTES 0x3000u

/* Clear DRIVER_QUEUE_BYTES at @gpa, and have a queue there. */
void driver_queue_init(struct driver_queue *queue, const struct guest *guest, gpa_t gpa,
		       unsigned int size, bool packed, bool event_index);

/* Write a descriptor of the ring, or of a table at @table. */
void driver_describe(const struct driver_queue *queue, gpa_t table, unsigned int index, gpa_t gpa,
		     uint32_t length_bytes, uint16_t flags, uint16_t next_or_id);

/* Split: make a head available. */
void driver_offer(struct driver_queue *queue, uint16_t head);

/**
 * driver_add() - make a request available
 * @table: gpa of room for an indirect table, or 0
 *
 * Return: its id.
 */
uint16_t driver_add(struct driver_queue *queue, const struct driver_buffer *buffers,
		    unsigned int count, gpa_t table);

/* Take a request that the device has used. Return: false if there is none. */
bool driver_take(struct driver_queue *queue, uint32_t *id, uint32_t *length_bytes);

/* Whether the device wants to be told of what was added since this was last asked. */
bool driver_must_notify(struct driver_queue *queue);

/* Ask for a notification of the next used request, or (without event index) for none at all. */
void driver_want(struct driver_queue *queue, bool wanted);

/* Registers of a virtio-mmio device; 32 bits wide. */
uint32_t driver_read(struct virtio_mmio *mmio, uint64_t offset);
void driver_write(struct virtio_mmio *mmio, uint64_t offset, uint32_t value);

/* The configuration space. */
uint64_t driver_config(struct virtio_mmio *mmio, uint64_t offset, unsigned int bytes);

/**
 * driver_negotiate() - reset, ACKNOWLEDGE, DRIVER, features, FEATURES_OK
 *
 * Return: whether the device took the features.
 */
bool driver_negotiate(struct virtio_mmio *mmio, uint64_t features);

/* Tell the device of a queue; READY is set. */
void driver_setup_queue(struct virtio_mmio *mmio, unsigned int index,
			const struct driver_queue *queue);

#define DRIVER_STATUS_OK 15u /* ACKNOWLEDGE, DRIVER, FEATURES_OK, DRIVER_OK */

/* Add DRIVER_OK. */
void driver_ok(struct virtio_mmio *mmio);

#endif
