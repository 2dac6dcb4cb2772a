/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "devices/virtio_device.h"

#define BIT(number)        (UINT64_C(1) << (number))
#define STATUS_LIVE        (VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK)
#define THREAD_NAME_LENGTH 15

/* A queue as the driver describes it, and as the worker uses it. */
struct queue {
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
	atomic_uint stopping; /* a: how many wait for @idle; changed under @lock */
	uint64_t accepted;    /* w: features */
	uint8_t status;       /* l */
	struct queue queues[VIRTIO_MAX_QUEUES];             /* w */
	uint8_t space[VIRTIO_MAX_CONFIG_BYTES];             /* l: the configuration space */
	uint32_t generation;                                /* l */
	atomic_uint interrupts;                             /* a: VIRTIO_INTERRUPT_* */
	struct descriptor_chain chain;                      /* the worker's, while it is @working */
	atomic_uint_fast64_t work_ns, works, needed_resets; /* a */
};

/* ---- Telling ------------------------------------------------------------------------------------ */

static void interrupt(struct virtio_device *device, uint32_t interrupts)
{
	atomic_fetch_or(&device->interrupts, interrupts);
	irq_trigger(&device->config.irq);
}

void virtio_device_report(const struct virtio_device *device, const char *fmt, ...)
{
	char line[320];
	va_list args;
	int name;

	if (!device->config.report)
		return;
	name = snprintf(line, sizeof(line), "%s: ", device->config.name);
	if (name < 0 || (size_t)name >= sizeof(line))
		return;
	va_start(args, fmt);
	vsnprintf(line + name, sizeof(line) - name, fmt, args);
	va_end(args);
	device->config.report(device->config.report_arg, line);
}

/*
 * The device can't go on with this driver (virtio 1.2, 2.1.2). Context: holds the lock, which is
 * let go for a moment.
 */
static void need_reset(struct virtio_device *device, const struct samara_error *error)
{
	bool first = !atomic_fetch_add(&device->needed_resets, 1);

	device->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	if (device->status & VIRTIO_CONFIG_S_DRIVER_OK) {
		device->generation++;
		interrupt(device, VIRTIO_INTERRUPT_CONFIG);
	}
	pthread_mutex_unlock(&device->lock);
	if (first)
		virtio_device_report(device,
				     "the driver broke the rules, the device needs a reset: %s "
				     "(only the first time is told)",
				     error->text);
	pthread_mutex_lock(&device->lock);
}

/* ---- The worker --------------------------------------------------------------------------------- */

/* Whether the model may work. Context: holds the lock. */
static bool live(const struct virtio_device *device)
{
	return (device->status & STATUS_LIVE) == STATUS_LIVE &&
	       !(device->status & VIRTIO_CONFIG_S_NEEDS_RESET) && !device->paused &&
	       !atomic_load(&device->stopping);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + now.tv_nsec;
}

/* Context: holds the lock, which is let go meanwhile. */
static void work(struct virtio_device *device)
{
	struct samara_error error = {0};
	uint64_t start;
	int ret;

	device->working = true;
	pthread_mutex_unlock(&device->lock);
	start = now_ns();
	ret = device->model->work(device->arg, &error);
	atomic_fetch_add(&device->work_ns, now_ns() - start);
	atomic_fetch_add(&device->works, 1);
	pthread_mutex_lock(&device->lock);
	device->working = false;
	pthread_cond_broadcast(&device->idle);
	if (ret)
		need_reset(device, &error);
}

static void wait_for_kick(struct virtio_device *device, bool ready)
{
	const struct virtio_model *model = device->model;
	int timeout_ms = ready && model->timeout_ms ? model->timeout_ms(device->arg) : -1;
	struct pollfd kick = {.fd = device->kick_fd, .events = POLLIN};
	eventfd_t count;

	if (poll(&kick, 1, timeout_ms) > 0)
		eventfd_read(device->kick_fd, &count);
}

static void *worker_main(void *arg)
{
	struct virtio_device *device = arg;
	bool ending = false, ready = false;

	while (!ending) {
		wait_for_kick(device, ready);
		pthread_mutex_lock(&device->lock);
		if (live(device))
			work(device);
		ready = live(device); /* whoever makes it so later kicks */
		ending = device->ending;
		pthread_mutex_unlock(&device->lock);
	}
	return NULL;
}

/*
 * Have the worker leave the model, and keep it out until let_work(). Context: holds the lock, which
 * is let go while waiting.
 */
static void stop_work(struct virtio_device *device)
{
	atomic_fetch_add(&device->stopping, 1);
	while (device->working)
		pthread_cond_wait(&device->idle, &device->lock);
}

static void let_work(struct virtio_device *device)
{
	if (atomic_fetch_sub(&device->stopping, 1) == 1 && live(device))
		virtio_device_kick(device);
}

void virtio_device_kick(struct virtio_device *device)
{
	eventfd_write(device->kick_fd, 1);
}

int virtio_device_kick_fd(const struct virtio_device *device)
{
	return device->kick_fd;
}

/* ---- Life --------------------------------------------------------------------------------------- */

static int start_worker(struct virtio_device *device, struct samara_error *err)
{
	char name[THREAD_NAME_LENGTH + 1];
	int ret = pthread_create(&device->worker, NULL, worker_main, device);

	if (ret)
		return samara_error_set(err, -ret, "%s: thread: %s", device->config.name,
					strerror(ret));
	snprintf(name, sizeof(name), "%.*s", THREAD_NAME_LENGTH, device->config.name);
	pthread_setname_np(device->worker, name);
	return 0;
}

int virtio_device_create(const struct virtio_device_config *config,
			 const struct virtio_model *model, void *arg, const void *space,
			 struct virtio_device **out, struct samara_error *err)
{
	struct virtio_device *device = calloc(1, sizeof(*device));
	int ret;

	if (!device)
		return samara_error_set(err, -ENOMEM, "%s: out of memory", config->name);
	device->config = *config;
	device->model = model;
	device->arg = arg;
	device->offered = config->features | BIT(VIRTIO_F_VERSION_1) |
			  BIT(VIRTIO_RING_F_INDIRECT_DESC) | BIT(VIRTIO_RING_F_EVENT_IDX) |
			  (config->packed ? BIT(VIRTIO_F_RING_PACKED) : 0);
	memcpy(device->space, space, model->config_bytes);
	pthread_mutex_init(&device->lock, NULL);
	pthread_cond_init(&device->idle, NULL);
	device->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (device->kick_fd < 0)
		ret = samara_error_set(err, -errno, "%s: eventfd: %s", config->name,
				       strerror(errno));
	else
		ret = start_worker(device, err);
	if (ret) {
		if (device->kick_fd >= 0)
			close(device->kick_fd);
		pthread_cond_destroy(&device->idle);
		pthread_mutex_destroy(&device->lock);
		free(device);
		return ret;
	}
	*out = device;
	return 0;
}

void virtio_device_destroy(struct virtio_device *device)
{
	if (!device)
		return;
	pthread_mutex_lock(&device->lock);
	device->ending = true;
	stop_work(device);
	pthread_mutex_unlock(&device->lock);
	virtio_device_kick(device);
	pthread_join(device->worker, NULL);
	close(device->kick_fd);
	pthread_cond_destroy(&device->idle);
	pthread_mutex_destroy(&device->lock);
	free(device);
}

void virtio_device_reset(struct virtio_device *device)
{
	const struct virtio_model *model = device->model;

	pthread_mutex_lock(&device->lock);
	stop_work(device);
	device->status = 0;
	device->accepted = 0;
	memset(device->queues, 0, sizeof(device->queues));
	for (size_t i = 0; i < model->config_bytes; i++)
		if (model->writable >> i & 1)
			device->space[i] = 0;
	atomic_store(&device->interrupts, 0);
	/* The model has locks of its own, within which it calls the device. */
	pthread_mutex_unlock(&device->lock);
	model->reset(device->arg);
	pthread_mutex_lock(&device->lock);
	let_work(device);
	pthread_mutex_unlock(&device->lock);
}

void virtio_device_pause(struct virtio_device *device)
{
	pthread_mutex_lock(&device->lock);
	device->paused = true;
	stop_work(device);
	let_work(device);
	pthread_mutex_unlock(&device->lock);
}

void virtio_device_resume(struct virtio_device *device)
{
	pthread_mutex_lock(&device->lock);
	device->paused = false;
	pthread_mutex_unlock(&device->lock);
	virtio_device_kick(device);
}

void virtio_device_get_counters(const struct virtio_device *device,
				struct virtio_device_counters *counters)
{
	*counters = (struct virtio_device_counters){
		.work_ns = atomic_load(&device->work_ns),
		.works = atomic_load(&device->works),
		.needed_resets = atomic_load(&device->needed_resets),
	};
}

bool virtio_device_accepted(struct virtio_device *device, unsigned int feature)
{
	bool accepted;

	pthread_mutex_lock(&device->lock);
	accepted = device->status & VIRTIO_CONFIG_S_DRIVER_OK && device->accepted & BIT(feature);
	pthread_mutex_unlock(&device->lock);
	return accepted;
}

/* ---- For the model ------------------------------------------------------------------------------ */

struct virtqueue *virtio_device_queue(struct virtio_device *device, unsigned int index)
{
	return device->queues[index].ready ? &device->queues[index].virtqueue : NULL;
}

bool virtio_device_has(const struct virtio_device *device, unsigned int feature)
{
	return device->accepted & BIT(feature);
}

bool virtio_device_stopping(const struct virtio_device *device)
{
	return atomic_load(&device->stopping);
}

static int serve_one(struct virtio_device *device, struct virtqueue *queue, virtio_serve_fn *serve,
		     void *arg, struct samara_error *err)
{
	uint32_t written_bytes = 0;
	int ret = serve(arg, &device->chain, &written_bytes, err);

	if (ret)
		return ret < 0 ? ret : 0;
	ret = virtqueue_push(queue, &device->chain, written_bytes, err);
	return ret ? ret : virtio_device_notify(device, queue, err);
}

int virtio_device_serve(struct virtio_device *device, unsigned int index, virtio_serve_fn *serve,
			void *arg, struct samara_error *err)
{
	struct virtqueue *queue = virtio_device_queue(device, index);
	int ret = 1;

	while (queue && ret > 0 && !virtio_device_stopping(device)) {
		ret = virtqueue_pop(queue, &device->chain, err);
		if (!ret)
			ret = virtqueue_arm(queue, err);
		else if (ret > 0)
			ret = serve_one(device, queue, serve, arg, err) ?: 1;
	}
	return ret < 0 ? ret : 0;
}

int virtio_device_notify(struct virtio_device *device, struct virtqueue *queue,
			 struct samara_error *err)
{
	int ret = virtqueue_must_notify(queue, err);

	if (ret > 0)
		interrupt(device, VIRTIO_INTERRUPT_QUEUE);
	return ret < 0 ? ret : 0;
}

/* How much of an access to the configuration space lies in it. */
static size_t clip(const struct virtio_device *device, size_t offset, size_t count)
{
	size_t size = device->model->config_bytes;

	return offset >= size ? 0 : count < size - offset ? count : size - offset;
}

void virtio_device_set_config(struct virtio_device *device, size_t offset, const void *bytes,
			      size_t count, bool notify)
{
	pthread_mutex_lock(&device->lock);
	memcpy(device->space + offset, bytes, clip(device, offset, count));
	device->generation++;
	if (notify && device->status & VIRTIO_CONFIG_S_DRIVER_OK)
		interrupt(device, VIRTIO_INTERRUPT_CONFIG);
	pthread_mutex_unlock(&device->lock);
}

void virtio_device_get_config(struct virtio_device *device, size_t offset, void *bytes,
			      size_t count)
{
	memset(bytes, 0, count);
	pthread_mutex_lock(&device->lock);
	memcpy(bytes, device->space + offset, clip(device, offset, count));
	pthread_mutex_unlock(&device->lock);
}

/* ---- For the transport -------------------------------------------------------------------------- */

uint32_t virtio_device_id(const struct virtio_device *device)
{
	return device->model->id;
}

uint64_t virtio_device_features(const struct virtio_device *device)
{
	return device->offered;
}

void virtio_device_accept(struct virtio_device *device, unsigned int word, uint32_t features)
{
	if (word > 1)
		return;
	pthread_mutex_lock(&device->lock);
	if (!(device->status & VIRTIO_CONFIG_S_FEATURES_OK)) {
		device->accepted &= ~((uint64_t)UINT32_MAX << 32 * word);
		device->accepted |= (uint64_t)features << 32 * word;
	}
	pthread_mutex_unlock(&device->lock);
}

uint8_t virtio_device_status(struct virtio_device *device)
{
	uint8_t status;

	pthread_mutex_lock(&device->lock);
	status = device->status;
	pthread_mutex_unlock(&device->lock);
	return status;
}

/* Context: holds the lock. */
static bool features_are_good(const struct virtio_device *device)
{
	return !(device->accepted & ~device->offered) && device->accepted & BIT(VIRTIO_F_VERSION_1);
}

void virtio_device_set_status(struct virtio_device *device, uint8_t status)
{
	if (!status) {
		virtio_device_reset(device);
		return;
	}
	pthread_mutex_lock(&device->lock);
	/* What is set stays until a reset (2.1.1). NEEDS_RESET is not the driver's to set. */
	status &= ~VIRTIO_CONFIG_S_NEEDS_RESET;
	status |= device->status;
	if (status & VIRTIO_CONFIG_S_FEATURES_OK && !features_are_good(device))
		status &= ~VIRTIO_CONFIG_S_FEATURES_OK;
	if (!(status & VIRTIO_CONFIG_S_FEATURES_OK))
		status &= ~VIRTIO_CONFIG_S_DRIVER_OK;
	device->status = status;
	if (live(device))
		virtio_device_kick(device);
	pthread_mutex_unlock(&device->lock);
}

unsigned int virtio_queue_max_size(const struct virtio_device *device, unsigned int queue)
{
	return queue < device->model->queue_count ? VIRTQUEUE_MAX_SIZE : 0;
}

/* The queue, with the lock held, if its place may be set; else NULL, without the lock. */
static struct queue *lock_to_configure(struct virtio_device *device, unsigned int index)
{
	if (index >= device->model->queue_count)
		return NULL;
	pthread_mutex_lock(&device->lock);
	if (!device->queues[index].ready)
		return &device->queues[index];
	pthread_mutex_unlock(&device->lock);
	return NULL;
}

void virtio_queue_set_size(struct virtio_device *device, unsigned int index, uint32_t size)
{
	struct queue *queue = lock_to_configure(device, index);

	if (!queue)
		return;
	queue->config.size = size;
	pthread_mutex_unlock(&device->lock);
}

void virtio_queue_set_area(struct virtio_device *device, unsigned int index,
			   enum virtio_queue_area area, unsigned int word, uint32_t value)
{
	struct queue *queue = lock_to_configure(device, index);
	gpa_t *gpa;

	if (!queue)
		return;
	gpa = area == VIRTIO_QUEUE_DESCRIPTORS ? &queue->config.descriptors
	      : area == VIRTIO_QUEUE_DRIVER    ? &queue->config.driver
					       : &queue->config.device;
	*gpa &= ~((gpa_t)UINT32_MAX << 32 * word);
	*gpa |= (gpa_t)value << 32 * word;
	pthread_mutex_unlock(&device->lock);
}

bool virtio_queue_ready(struct virtio_device *device, unsigned int index)
{
	bool ready;

	if (index >= device->model->queue_count)
		return false;
	pthread_mutex_lock(&device->lock);
	ready = device->queues[index].ready;
	pthread_mutex_unlock(&device->lock);
	return ready;
}

/* Context: holds the lock; the worker does not work, as there is no DRIVER_OK. */
static void make_ready(struct virtio_device *device, struct queue *queue)
{
	struct samara_error error = {0};

	queue->config.packed = device->accepted & BIT(VIRTIO_F_RING_PACKED);
	queue->config.indirect = device->accepted & BIT(VIRTIO_RING_F_INDIRECT_DESC);
	queue->config.event_index = device->accepted & BIT(VIRTIO_RING_F_EVENT_IDX);
	if (virtqueue_check(&queue->config, &error)) {
		need_reset(device, &error);
		return;
	}
	virtqueue_init(&queue->virtqueue, device->config.mm, &queue->config);
	queue->ready = true;
}

void virtio_queue_set_ready(struct virtio_device *device, unsigned int index, bool ready)
{
	struct queue *queue;

	if (index >= device->model->queue_count)
		return;
	queue = &device->queues[index];
	pthread_mutex_lock(&device->lock);
	if (!ready) {
		/* The driver takes the ring away: the worker must be out of it (4.2.2.2). */
		stop_work(device);
		queue->ready = false;
		let_work(device);
	} else if (!queue->ready && device->status & VIRTIO_CONFIG_S_FEATURES_OK &&
		   !(device->status & VIRTIO_CONFIG_S_DRIVER_OK)) {
		/* Queues are set up between these two (3.1.1). */
		make_ready(device, queue);
	}
	pthread_mutex_unlock(&device->lock);
}

uint32_t virtio_device_interrupts(const struct virtio_device *device)
{
	return atomic_load(&device->interrupts);
}

void virtio_device_acknowledge(struct virtio_device *device, uint32_t interrupts)
{
	atomic_fetch_and(&device->interrupts, ~interrupts);
}

uint32_t virtio_device_generation(struct virtio_device *device)
{
	uint32_t generation;

	pthread_mutex_lock(&device->lock);
	generation = device->generation;
	pthread_mutex_unlock(&device->lock);
	return generation;
}

void virtio_device_write_config(struct virtio_device *device, size_t offset, const void *bytes,
				size_t count)
{
	const struct virtio_model *model = device->model;
	const uint8_t *from = bytes;
	bool written = false;

	pthread_mutex_lock(&device->lock);
	for (size_t i = 0; i < count; i++) {
		if (offset + i >= model->config_bytes || !(model->writable >> (offset + i) & 1))
			continue;
		device->space[offset + i] = from[i];
		written = true;
	}
	pthread_mutex_unlock(&device->lock);
	if (written)
		virtio_device_kick(device);
}
