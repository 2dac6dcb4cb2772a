/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DEVICES_VIRTQUEUE_INTERNAL_H
#define DEVICES_VIRTQUEUE_INTERNAL_H

#include "devices/virtqueue.h"

/* Shared by virtqueue.c and the two formats. */

/* Both formats' descriptors (virtio 1.2, 2.7.5 and 2.8.13), and entries of an indirect table. */
#define DESCRIPTOR_BYTES 16

/**
 * virtqueue_break() - the driver broke the rules: nothing more is done with this queue
 *
 * Return: @code; the text is why.
 */
int virtqueue_break(struct virtqueue *queue, int code, struct samara_error *err, const char *fmt,
		    ...) __attribute__((format(printf, 4, 5)));

/*
 * Values in the rings, little endian in guest memory; @gpa is aligned to the value's size. A load
 * is an acquire, a store a release: what is published by a value is seen with it.
 *
 * Return: 0, or what guest_mm_pin() said; then the queue is broken.
 */
int ring_load16(struct virtqueue *queue, gpa_t gpa, uint16_t *value, struct samara_error *err);
int ring_load32(struct virtqueue *queue, gpa_t gpa, uint32_t *value, struct samara_error *err);
int ring_store16(struct virtqueue *queue, gpa_t gpa, uint16_t value, struct samara_error *err);
int ring_store32(struct virtqueue *queue, gpa_t gpa, uint32_t value, struct samara_error *err);

/*
 * Between a store to the ring and a load of what the driver stores before it loads the first: at
 * least one side sees the other. (As __atomic_thread_fence(__ATOMIC_SEQ_CST), which gcc refuses to
 * compile for ThreadSanitizer.)
 */
static inline void ring_fence(void)
{
	__sync_synchronize();
}

/* Copies of parts that are published by a value, or will be. Return: as above. */
int ring_read(struct virtqueue *queue, gpa_t gpa, void *to, uint64_t bytes,
	      struct samara_error *err);
int ring_write(struct virtqueue *queue, gpa_t gpa, const void *from, uint64_t bytes,
	       struct samara_error *err);

/* Begin with a chain that is empty. */
void chain_start(struct descriptor_chain *chain, struct virtqueue *queue);

/* Add a buffer. Return: 0, -EPROTO. */
int chain_add(struct descriptor_chain *chain, gpa_t gpa, uint32_t length_bytes, bool writable,
	      struct samara_error *err);

/**
 * chain_check_indirect() - whether a descriptor may name a table of descriptors
 * @entries: how many it holds
 *
 * Return: 0, -EPROTO.
 */
int chain_check_indirect(struct virtqueue *queue, uint32_t length_bytes, bool next,
			 unsigned int *entries, struct samara_error *err);

/* The two formats. */
struct virtqueue_format {
	int (*pop)(struct virtqueue *queue, struct descriptor_chain *chain,
		   struct samara_error *err);
	void (*unpop)(struct virtqueue *queue, const struct descriptor_chain *chain);
	int (*push)(struct virtqueue *queue, const struct descriptor_chain *chain,
		    uint32_t written_bytes, struct samara_error *err);
	int (*must_notify)(struct virtqueue *queue, struct samara_error *err);
	int (*arm)(struct virtqueue *queue, struct samara_error *err);
};

extern const struct virtqueue_format virtqueue_split, virtqueue_packed;

#endif
