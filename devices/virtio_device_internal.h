/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DEVICES_VIRTIO_DEVICE_INTERNAL_H
#define DEVICES_VIRTIO_DEVICE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include <linux/virtio_config.h>

#include "devices/virtio_device.h"

/* Shared by virtio_device.c (life and work) and virtio_transport.c (the driver's registers). */

#define BIT(number) (UINT64_C(1) << (number))

/* A queue as the driver describes it, and as the worker uses it. */
struct virtio_queue {
	struct virtqueue_config config;
	bool ready;
	struct virtqueue virtqueue;
};

/**
 * struct virtio_device - a device between transport and model
 *
 * Lock key: I immutable; a atomic; l under @lock; w under @lock, and read without it by the worker
 * while it is @working: then nobody changes it. A queue's virtqueue is the worker's alone while it
 * is @working, and is set up under @lock while it is not.
 *
 * @lock is never held while the model works or the bus is used. vCPUs hold it for register
 * accesses, and wait for @idle when they reset the device.
 */
struct virtio_device {
	struct virtio_device_config config; /* I */
	const struct virtio_model *model;   /* I */
	void *arg;                          /* I */
	uint64_t offered;                   /* I: features */
	int kick_fd;                        /* I: an eventfd */
	pthread_t worker;                   /* I */
	pthread_mutex_t lock;
	pthread_cond_t idle;  /* @working has become false */
	bool working;         /* l: the worker is in the model */
	bool ending;          /* l: the worker shall end */
	bool paused;          /* l */
	atomic_uint stopping; /* a: how many keep the worker out; changed under @lock */
	uint64_t accepted;    /* w: features */
	uint8_t status;       /* l */
	struct virtio_queue queues[VIRTIO_MAX_QUEUES];      /* w */
	uint8_t space[VIRTIO_MAX_CONFIG_BYTES];             /* l: the configuration space */
	uint32_t generation;                                /* l */
	atomic_uint interrupts;                             /* a: VIRTIO_INTERRUPT_* */
	struct descriptor_chain chain;                      /* the worker's, while it is @working */
	atomic_uint_fast64_t work_ns, works, needed_resets; /* a */
};

/* Whether the model may work. Context: holds the lock. */
bool virtio_device_live(const struct virtio_device *device);

/*
 * The device can't go on with this driver (virtio 1.2, 2.1.2). Context: holds the lock, which is
 * let go for a moment.
 */
void virtio_device_need_reset(struct virtio_device *device, const struct samara_error *error);

/*
 * Have the worker leave the model, and keep it out until virtio_device_let_work(). Context: holds
 * the lock, which is let go while waiting.
 */
void virtio_device_stop_work(struct virtio_device *device);
void virtio_device_let_work(struct virtio_device *device);

#endif
