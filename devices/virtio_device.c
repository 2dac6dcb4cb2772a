/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>
#include <linux/virtio_ring.h>

#include "devices/virtio_device_internal.h"

#define STATUS_LIVE        (VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK)
#define THREAD_NAME_LENGTH 15

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

void virtio_device_need_reset(struct virtio_device *device, const struct samara_error *error)
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

bool virtio_device_live(const struct virtio_device *device)
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
		virtio_device_need_reset(device, &error);
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
		if (virtio_device_live(device))
			work(device);
		ready = virtio_device_live(device); /* whoever makes it so later kicks */
		ending = device->ending;
		pthread_mutex_unlock(&device->lock);
	}
	return NULL;
}

void virtio_device_stop_work(struct virtio_device *device)
{
	atomic_fetch_add(&device->stopping, 1);
	while (device->working)
		pthread_cond_wait(&device->idle, &device->lock);
}

void virtio_device_let_work(struct virtio_device *device)
{
	if (atomic_fetch_sub(&device->stopping, 1) == 1 && virtio_device_live(device))
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
	virtio_device_stop_work(device);
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
	virtio_device_stop_work(device);
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
	virtio_device_let_work(device);
	pthread_mutex_unlock(&device->lock);
}

void virtio_device_pause(struct virtio_device *device)
{
	pthread_mutex_lock(&device->lock);
	device->paused = true;
	virtio_device_stop_work(device);
	virtio_device_let_work(device);
	pthread_mutex_unlock(&device->lock);
}

void virtio_device_resume(struct virtio_device *device)
{
	pthread_mutex_lock(&device->lock);
	device->paused = false;
	pthread_mutex_unlock(&device->lock);
	virtio_device_kick(device);
}

void virtio_device_hold(struct virtio_device *device)
{
	pthread_mutex_lock(&device->lock);
	virtio_device_stop_work(device);
	pthread_mutex_unlock(&device->lock);
}

void virtio_device_release(struct virtio_device *device)
{
	pthread_mutex_lock(&device->lock);
	virtio_device_let_work(device);
	pthread_mutex_unlock(&device->lock);
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

	if (ret == VIRTIO_SERVE_LATER)
		virtqueue_unpop(queue, &device->chain);
	if (ret != VIRTIO_SERVE_DONE)
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
