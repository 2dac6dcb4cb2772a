/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DEVICES_VIRTQUEUE_H
#define DEVICES_VIRTQUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include <samara/error.h>
#include <samara/guest_mm.h>

/*
 * The device's side of a virtqueue, split or packed (virtio 1.2, 2.7 and 2.8).
 *
 * Everything in the rings is the driver's, and may be wrong or change while it is looked at: each
 * value is read once, checked, and used from the copy. A queue that breaks the rules is broken for
 * good: the call says why, and each later one fails as well, until the queue is set up anew.
 *
 * Guest memory is held for one access at a time and never from call to call, so a device may change
 * the memory map while it works on a chain.
 *
 * Context of all functions but virtqueue_check(): one thread at a time for each queue, which holds
 * no pin; may sleep.
 */

/* Descriptors in a ring, and buffers in a chain, at most. */
#define VIRTQUEUE_MAX_SIZE 256

/**
 * struct virtqueue_config - where a queue is, and what was negotiated
 * @size: entries of the ring
 * @descriptors, @driver, @device: gpas of the three areas, as the registers of virtio 1.2, 4.2.2
 *                                 call them
 * @packed: VIRTIO_F_RING_PACKED, and so on
 */
struct virtqueue_config {
	unsigned int size;
	gpa_t descriptors, driver, device;
	bool packed, indirect, event_index;
};

/**
 * struct virtqueue - a queue at work; set up by virtqueue_init()
 *
 * Lock key: I immutable after virtqueue_init(); the others belong to the thread that uses it.
 */
struct virtqueue {
	struct guest_mm *mm;            /* I */
	struct virtqueue_config config; /* I */
	bool broken;
	uint16_t next_available; /* split: free-running; packed: a position in the ring */
	uint16_t next_used;
	uint16_t signalled;  /* split: next_used at the last notification */
	bool available_wrap; /* packed: the wrap counters (2.8.1) */
	bool used_wrap;
	uint16_t used_slots;    /* packed: positions used since the last notification */
	unsigned int in_flight; /* split: chains popped and not pushed; packed: their positions */
};

struct chain_segment {
	gpa_t gpa;
	uint32_t length_bytes; /* not 0, and no overflow */
};

/**
 * struct descriptor_chain - one request: what the device reads, then what it writes
 * @segments: the readable ones first
 *
 * It stays valid until it is pushed or its queue set up anew; several may be held.
 */
struct descriptor_chain {
	struct virtqueue *queue;
	uint16_t id;    /* the driver's own name for it */
	uint16_t slots; /* how many positions of the ring it takes (packed) */
	unsigned int readable_count, writable_count;
	uint64_t readable_bytes, writable_bytes;
	struct chain_segment segments[VIRTQUEUE_MAX_SIZE];
};

/**
 * virtqueue_check() - whether a queue can be where the driver says
 *
 * Whether there is memory shows when it is used.
 *
 * Context: Does not sleep.
 * Return: 0, -EINVAL (size, alignment, past the end of the address space).
 */
int virtqueue_check(const struct virtqueue_config *config, struct samara_error *err);

/* Start at the beginning of a queue that was checked. */
void virtqueue_init(struct virtqueue *queue, struct guest_mm *mm,
		    const struct virtqueue_config *config);

/**
 * virtqueue_pop() - take the next request
 * @chain: filled in; holds nothing of use unless 1 is returned
 *
 * Return: 1, 0 (there is none), -EPROTO (broken, @err says how), -EFAULT (the ring is not in
 * memory), or what guest_mm_pin() said.
 */
int virtqueue_pop(struct virtqueue *queue, struct descriptor_chain *chain,
		  struct samara_error *err);

/**
 * chain_read(), chain_write() - copy from the readable, and to the writable part of a request
 * @offset: within that part
 *
 * Return: 0, -EFAULT (the driver named what is not memory, or not writable), -EMSGSIZE (past the
 * end of the part; nothing was copied), or what guest_mm_pin() said.
 */
int chain_read(const struct descriptor_chain *chain, uint64_t offset, void *to, uint64_t bytes,
	       struct samara_error *err);
int chain_write(const struct descriptor_chain *chain, uint64_t offset, const void *from,
		uint64_t bytes, struct samara_error *err);

/**
 * virtqueue_unpop() - leave a request in the queue after all: it is popped again
 * @chain: the one popped last; nothing was popped or pushed since
 *
 * What the driver said is read anew then, and may be something else.
 *
 * Context: Does not sleep.
 */
void virtqueue_unpop(struct virtqueue *queue, const struct descriptor_chain *chain);

/* The writable segments of a request, as gpas. */
static inline const struct chain_segment *chain_writable(const struct descriptor_chain *chain)
{
	return chain->segments + chain->readable_count;
}

/**
 * virtqueue_push() - give a request back to the driver
 * @written_bytes: how much of the writable part was written, from its start
 *
 * Return: as virtqueue_pop(), but never 1.
 */
int virtqueue_push(struct virtqueue *queue, const struct descriptor_chain *chain,
		   uint32_t written_bytes, struct samara_error *err);

/**
 * virtqueue_must_notify() - whether the driver wants to hear of what was pushed since last asked
 *
 * Return: 1 (yes), 0, or as virtqueue_pop().
 */
int virtqueue_must_notify(struct virtqueue *queue, struct samara_error *err);

/**
 * virtqueue_arm() - ask the driver to notify of the next request
 *
 * To be called when virtqueue_pop() found none, before waiting.
 *
 * Return: 1 (a request has come meanwhile: pop again), 0, or as virtqueue_pop().
 */
int virtqueue_arm(struct virtqueue *queue, struct samara_error *err);

#endif
