/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DEVICES_VIRTIO_DEVICE_H
#define DEVICES_VIRTIO_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <samara/error.h>
#include <samara/guest_mm.h>

#include "devices/irq.h"
#include "devices/virtqueue.h"

/*
 * What all virtio devices have in common (virtio 1.2, 2 and 3), between a transport, which shows
 * registers to the driver, and a model, which knows what the device is for.
 *
 * Each device has a thread of its own, the worker, and the model's work is done there alone: never
 * on a vCPU. The driver's notifications wake it. A reset waits until the worker has left the
 * model: afterwards nothing of the former driver's memory is touched any more.
 */
struct virtio_device;

#define VIRTIO_MAX_QUEUES       8
#define VIRTIO_MAX_CONFIG_BYTES 64

/**
 * struct virtio_model - what a kind of device does
 * @id: device id (virtio 1.2, 5)
 * @work: do what there is to be done: requests in the queues, values that the driver wrote to the
 *        configuration space, what other threads asked for before they called
 *        virtio_device_kick(). When virtio_device_stopping(), it takes no further request, and
 *        leaves one that takes long where it is (VIRTIO_SERVE_LATER): a vCPU may wait, and
 *        whoever stops the VM. An error means that the driver broke the rules, or its memory is
 *        not there: the device needs a reset.
 * @reset: forget what was the driver's, and how far a request was that was left. No work is under
 *         way.
 * @timeout_ms: after how long @work shall be called without any notification; -1: never. May be
 *              NULL.
 *
 * Context: @work, @timeout_ms: the worker, which holds no pin. @reset: any thread.
 */
struct virtio_model {
	uint32_t id;
	unsigned int queue_count;
	size_t config_bytes;
	uint64_t writable; /* bit n: the driver may write byte n of the configuration space */
	int (*work)(void *model, struct samara_error *err);
	void (*reset)(void *model);
	int (*timeout_ms)(void *model);
};

/**
 * struct virtio_device_config - what a device is joined to
 * @name: for messages; lives as long as the device
 * @irq: an edge for each notification of the driver
 * @features: that the model offers, below bit 24; those of the rings besides
 * @packed: offer packed virtqueues
 * @report: takes a line about a driver that misbehaves, once for each kind; may be NULL
 *
 * Context of @report: any thread, no lock held.
 */
struct virtio_device_config {
	const char *name;
	struct guest_mm *mm;
	struct irq irq;
	uint64_t features;
	bool packed;
	void (*report)(void *arg, const char *line);
	void *report_arg;
};

/**
 * virtio_device_create() - make a device in its reset state, and start its worker
 * @arg: the model's own, for its functions
 * @space: the configuration space as it is at first
 *
 * Context: May sleep.
 * Return: 0, -ENOMEM, or what eventfd() or pthread_create() said.
 */
int virtio_device_create(const struct virtio_device_config *config,
			 const struct virtio_model *model, void *arg, const void *space,
			 struct virtio_device **out, struct samara_error *err);

/**
 * virtio_device_destroy() - end the worker and free the device
 *
 * Context: May sleep until the worker is done with a request. It is on no bus, and nobody calls it
 * any more.
 */
void virtio_device_destroy(struct virtio_device *device);

/**
 * virtio_device_reset() - as if the driver had written 0 to the status
 *
 * Context: May sleep until the worker is done with a request.
 */
void virtio_device_reset(struct virtio_device *device);

/**
 * virtio_device_pause(), virtio_device_resume() - have the worker rest, and go on
 *
 * Between the two the device touches no guest memory; what is asked of it is kept.
 *
 * Context: May sleep until the worker is done with a request.
 */
void virtio_device_pause(struct virtio_device *device);
void virtio_device_resume(struct virtio_device *device);

/**
 * virtio_device_hold(), virtio_device_release() - keep the worker out of the model; let it in again
 *
 * As a pause does, but apart from it: neither a resume nor a reset lets it in. Requests are kept.
 *
 * Context: hold: may sleep until the worker is done with a request.
 */
void virtio_device_hold(struct virtio_device *device);
void virtio_device_release(struct virtio_device *device);

/* Wake the worker. Context: Does not sleep; any thread. */
void virtio_device_kick(struct virtio_device *device);

/* An eventfd that does the same, for KVM_IOEVENTFD. */
int virtio_device_kick_fd(const struct virtio_device *device);

/**
 * struct virtio_device_counters - since the device was made
 * @work_ns: how long the worker was in the model: the VMM's share of what a driver waits for
 * @works: how often it went there
 * @needed_resets: because of what the driver did
 */
struct virtio_device_counters {
	uint64_t work_ns, works, needed_resets;
};

/* Context: Does not sleep; any thread. */
void virtio_device_get_counters(const struct virtio_device *device,
				struct virtio_device_counters *counters);

/* Whether a driver is at work that has accepted a feature. Context: any thread. */
bool virtio_device_accepted(struct virtio_device *device, unsigned int feature);

/* ---- For the model ------------------------------------------------------------------------------ */

/* A queue, NULL while the driver does not use it. Context: the worker. */
struct virtqueue *virtio_device_queue(struct virtio_device *device, unsigned int index);

/* Whether a feature was negotiated. Context: the worker. */
bool virtio_device_has(const struct virtio_device *device, unsigned int feature);

/* Whether the worker is waited for, until it leaves the model. Context: the worker. */
bool virtio_device_stopping(const struct virtio_device *device);

/* What a virtio_serve_fn has done with a request, but for an error. */
enum virtio_serve {
	VIRTIO_SERVE_DONE,  /* it goes back to the driver */
	VIRTIO_SERVE_KEPT,  /* the chain was copied, and will be pushed later */
	VIRTIO_SERVE_LATER, /* the worker is stopping: it stays in its queue, and comes again */
};

/**
 * typedef virtio_serve_fn - handle one request
 * @written_bytes: set to how much of the writable part was written; 0 before
 *
 * A request that takes long asks virtio_device_stopping() between parts that do not, and then
 * leaves the rest for later. The model keeps how far it is, and goes on there when the request comes
 * again: the driver hears of it when all is done. Meanwhile a driver that breaks the rules may have
 * put another in its place.
 *
 * Return: enum virtio_serve, or -errno: the driver broke the rules.
 */
typedef int virtio_serve_fn(void *arg, struct descriptor_chain *chain, uint32_t *written_bytes,
			    struct samara_error *err);

/**
 * virtio_device_serve() - handle the requests in a queue, give them back, and notify the driver
 *
 * Context: the worker, in @work.
 * Return: 0 (there are no more, or the worker is stopping), or -errno for @work to return.
 */
int virtio_device_serve(struct virtio_device *device, unsigned int index, virtio_serve_fn *serve,
			void *arg, struct samara_error *err);

/**
 * virtio_device_notify() - tell the driver of what was pushed to a queue, if it wants to know
 *
 * Return: 0, or as virtqueue_must_notify().
 */
int virtio_device_notify(struct virtio_device *device, struct virtqueue *queue,
			 struct samara_error *err);

/**
 * virtio_device_set_config() - change a part of the configuration space
 * @notify: tell the driver
 *
 * Context: Any thread; does not sleep for long.
 */
void virtio_device_set_config(struct virtio_device *device, size_t offset, const void *bytes,
			      size_t count, bool notify);

/* Read a part of it; what lies behind its end is zero. Context: as above. */
void virtio_device_get_config(struct virtio_device *device, size_t offset, void *bytes,
			      size_t count);

/**
 * virtio_device_report() - tell people of a driver that misbehaves
 */
void virtio_device_report(const struct virtio_device *device, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* ---- For the transport: registers of virtio 1.2, 4.2.2. Context: any thread; may sleep --------- */

enum virtio_queue_area {
	VIRTIO_QUEUE_DESCRIPTORS,
	VIRTIO_QUEUE_DRIVER,
	VIRTIO_QUEUE_DEVICE,
};

#define VIRTIO_INTERRUPT_QUEUE  1u
#define VIRTIO_INTERRUPT_CONFIG 2u

uint32_t virtio_device_id(const struct virtio_device *device);
uint64_t virtio_device_features(const struct virtio_device *device);

/* The driver accepts features: 32 of them, from bit 32 * @word. */
void virtio_device_accept(struct virtio_device *device, unsigned int word, uint32_t features);

uint8_t virtio_device_status(struct virtio_device *device);
void virtio_device_set_status(struct virtio_device *device, uint8_t status);

/* Of a queue that there is none of, everything reads as 0, and writes go nowhere. */
unsigned int virtio_queue_max_size(const struct virtio_device *device, unsigned int queue);
void virtio_queue_set_size(struct virtio_device *device, unsigned int queue, uint32_t size);
void virtio_queue_set_area(struct virtio_device *device, unsigned int queue,
			   enum virtio_queue_area area, unsigned int word, uint32_t value);
bool virtio_queue_ready(struct virtio_device *device, unsigned int queue);
void virtio_queue_set_ready(struct virtio_device *device, unsigned int queue, bool ready);

/* VIRTIO_INTERRUPT_* that the driver has not acknowledged. */
uint32_t virtio_device_interrupts(const struct virtio_device *device);
void virtio_device_acknowledge(struct virtio_device *device, uint32_t interrupts);

/* Changes with each change of the configuration space that the device makes. */
uint32_t virtio_device_generation(struct virtio_device *device);

/* The driver writes to the configuration space; what it may not write stays. */
void virtio_device_write_config(struct virtio_device *device, size_t offset, const void *bytes,
				size_t count);

#endif
