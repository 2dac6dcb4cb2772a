/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest/virtio.h"

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>

#define MAGIC        0x74726976u /* virtio 1.2, 4.2.2 */
#define VERSION      2u

/* VIRTIO_F_VERSION_1, bit 32, in the second word of features. */
#define IS_VERSION_1 1u

static uint32_t load(uint64_t registers, uint32_t offset)
{
	return *(volatile uint32_t *)(registers + offset);
}

static void store(uint64_t registers, uint32_t offset, uint32_t value)
{
	*(volatile uint32_t *)(registers + offset) = value;
}

static void store_gpa(uint64_t registers, uint32_t offset, const void *at)
{
	store(registers, offset, (uint32_t)(uint64_t)at);
	store(registers, offset + 4, (uint32_t)((uint64_t)at >> 32));
}

static void add_status(uint64_t registers, uint32_t status)
{
	store(registers, VIRTIO_MMIO_STATUS, load(registers, VIRTIO_MMIO_STATUS) | status);
}

static bool start_queue(uint64_t registers, uint32_t index, struct queue *queue)
{
	/* Interrupts would go nowhere. */
	queue->avail.flags = VRING_AVAIL_F_NO_INTERRUPT;
	store(registers, VIRTIO_MMIO_QUEUE_SEL, index);
	if (load(registers, VIRTIO_MMIO_QUEUE_NUM_MAX) < QUEUE_SIZE)
		return false;
	store(registers, VIRTIO_MMIO_QUEUE_NUM, QUEUE_SIZE);
	store_gpa(registers, VIRTIO_MMIO_QUEUE_DESC_LOW, queue->desc);
	store_gpa(registers, VIRTIO_MMIO_QUEUE_AVAIL_LOW, &queue->avail);
	store_gpa(registers, VIRTIO_MMIO_QUEUE_USED_LOW, &queue->used);
	store(registers, VIRTIO_MMIO_QUEUE_READY, 1);
	return load(registers, VIRTIO_MMIO_QUEUE_READY);
}

bool virtio_start(uint64_t registers, uint32_t id, uint32_t features, struct queue *const *queues,
		  uint32_t count)
{
	uint32_t i;

	if (load(registers, VIRTIO_MMIO_MAGIC_VALUE) != MAGIC ||
	    load(registers, VIRTIO_MMIO_VERSION) != VERSION ||
	    load(registers, VIRTIO_MMIO_DEVICE_ID) != id)
		return false;
	store(registers, VIRTIO_MMIO_STATUS, 0);
	if (load(registers, VIRTIO_MMIO_STATUS))
		return false;
	add_status(registers, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	add_status(registers, VIRTIO_CONFIG_S_DRIVER);
	store(registers, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	store(registers, VIRTIO_MMIO_DRIVER_FEATURES, features);
	store(registers, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	store(registers, VIRTIO_MMIO_DRIVER_FEATURES, IS_VERSION_1);
	add_status(registers, VIRTIO_CONFIG_S_FEATURES_OK);
	if (!(load(registers, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_FEATURES_OK))
		return false;
	for (i = 0; i < count; i++)
		if (!start_queue(registers, i, queues[i]))
			return false;
	add_status(registers, VIRTIO_CONFIG_S_DRIVER_OK);
	return true;
}

void virtio_submit(uint64_t registers, uint32_t index, struct queue *queue,
		   const struct buffer *buffers, uint32_t count)
{
	uint16_t idx = queue->avail.idx;
	uint32_t i;

	for (i = 0; i < count; i++) {
		struct vring_desc *desc = &queue->desc[i];

		desc->addr = (uint64_t)buffers[i].bytes;
		desc->len = buffers[i].length_bytes;
		desc->flags = buffers[i].writable ? VRING_DESC_F_WRITE : 0;
		if (i + 1 < count)
			desc->flags |= VRING_DESC_F_NEXT;
		desc->next = (uint16_t)(i + 1);
	}
	queue->avail.ring[idx % QUEUE_SIZE] = 0;
	__atomic_store_n(&queue->avail.idx, (uint16_t)(idx + 1), __ATOMIC_SEQ_CST);
	store(registers, VIRTIO_MMIO_QUEUE_NOTIFY, index);
}

bool virtio_is_done(struct queue *queue)
{
	if (__atomic_load_n(&queue->used.idx, __ATOMIC_ACQUIRE) == queue->seen)
		return false;
	queue->seen++;
	return true;
}

uint32_t virtio_read_config(uint64_t registers, uint32_t offset)
{
	return load(registers, VIRTIO_MMIO_CONFIG + offset);
}

uint64_t virtio_read_config_long(uint64_t registers, uint32_t offset)
{
	uint32_t generation;
	uint64_t value;

	do {
		generation = load(registers, VIRTIO_MMIO_CONFIG_GENERATION);
		value = virtio_read_config(registers, offset) |
			(uint64_t)virtio_read_config(registers, offset + 4) << 32;
	} while (load(registers, VIRTIO_MMIO_CONFIG_GENERATION) != generation);
	return value;
}

void virtio_write_config(uint64_t registers, uint32_t offset, uint32_t value)
{
	store(registers, VIRTIO_MMIO_CONFIG + offset, value);
}
