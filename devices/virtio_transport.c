/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a driver does with a device's registers (virtio 1.2, 2.1, 2.2, 3.1 and 4.2.2): features,
 * status, the places of queues, interrupts, the configuration space.
 */
#include <linux/virtio_ring.h>

#include "devices/virtio_device_internal.h"

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
	if (virtio_device_live(device))
		virtio_device_kick(device);
	pthread_mutex_unlock(&device->lock);
}

unsigned int virtio_queue_max_size(const struct virtio_device *device, unsigned int queue)
{
	return queue < device->model->queue_count ? VIRTQUEUE_MAX_SIZE : 0;
}

/* The queue, with the lock held, if its place may be set; else NULL, without the lock. */
static struct virtio_queue *lock_to_configure(struct virtio_device *device, unsigned int index)
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
	struct virtio_queue *queue = lock_to_configure(device, index);

	if (!queue)
		return;
	queue->config.size = size;
	pthread_mutex_unlock(&device->lock);
}

void virtio_queue_set_area(struct virtio_device *device, unsigned int index,
			   enum virtio_queue_area area, unsigned int word, uint32_t value)
{
	struct virtio_queue *queue = lock_to_configure(device, index);
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
static void make_ready(struct virtio_device *device, struct virtio_queue *queue)
{
	struct samara_error error = {0};

	queue->config.packed = device->accepted & BIT(VIRTIO_F_RING_PACKED);
	queue->config.indirect = device->accepted & BIT(VIRTIO_RING_F_INDIRECT_DESC);
	queue->config.event_index = device->accepted & BIT(VIRTIO_RING_F_EVENT_IDX);
	if (virtqueue_check(&queue->config, &error)) {
		virtio_device_need_reset(device, &error);
		return;
	}
	virtqueue_init(&queue->virtqueue, device->config.mm, &queue->config);
	queue->ready = true;
}

void virtio_queue_set_ready(struct virtio_device *device, unsigned int index, bool ready)
{
	struct virtio_queue *queue;

	if (index >= device->model->queue_count)
		return;
	queue = &device->queues[index];
	pthread_mutex_lock(&device->lock);
	if (!ready) {
		/* The driver takes the ring away: the worker must be out of it (4.2.2.2). */
		virtio_device_stop_work(device);
		queue->ready = false;
		virtio_device_let_work(device);
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
