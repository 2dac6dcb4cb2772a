/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <string.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>

#include "tests/lib/virtio_driver.h"

/* ---- Guest memory ------------------------------------------------------------------------------ */

int guest_create(struct guest *guest, gpa_t gpa, uint64_t window_bytes, uint64_t plugged_bytes,
		 enum guest_mm_backing backing)
{
	struct guest_mm_config config = {.fault_around_pages = 16};
	struct samara_error err = {0};
	int ret = guest_mm_create(&config, &guest->mm, &err);

	if (!ret)
		ret = guest_mm_add_window(guest->mm, gpa, window_bytes, backing, &err);
	if (!ret && plugged_bytes)
		ret = guest_mm_plug(guest->mm, gpa, plugged_bytes, GUEST_MM_RDWR, &err);
	if (!ret)
		ret = guest_mm_get_window(guest->mm, 0, &guest->window);
	if (ret)
		fprintf(stderr, "guest memory: %s\n", err.text);
	return ret;
}

void guest_destroy(struct guest *guest)
{
	guest_mm_destroy(guest->mm);
}

void *guest_at(const struct guest *guest, gpa_t gpa)
{
	return (char *)guest->window.hva + (gpa - guest->window.gpa);
}

static uint16_t load16(const struct driver_queue *queue, gpa_t gpa)
{
	return __atomic_load_n((uint16_t *)guest_at(queue->guest, gpa), __ATOMIC_ACQUIRE);
}

static void store16(const struct driver_queue *queue, gpa_t gpa, uint16_t value)
{
	__atomic_store_n((uint16_t *)guest_at(queue->guest, gpa), value, __ATOMIC_RELEASE);
}

static uint32_t load32(const struct driver_queue *queue, gpa_t gpa)
{
	return __atomic_load_n((uint32_t *)guest_at(queue->guest, gpa), __ATOMIC_ACQUIRE);
}

static void store32(const struct driver_queue *queue, gpa_t gpa, uint32_t value)
{
	__atomic_store_n((uint32_t *)guest_at(queue->guest, gpa), value, __ATOMIC_RELEASE);
}

/* ---- Queues ------------------------------------------------------------------------------------ */

void driver_queue_init(struct driver_queue *queue, const struct guest *guest, gpa_t gpa,
		       unsigned int size, bool packed, bool event_index)
{
	*queue = (struct driver_queue){
		.guest = guest,
		.config =
			{
				.size = size,
				.descriptors = gpa,
				.driver = gpa + 0x1000,
				.device = gpa + 0x2000,
				.packed = packed,
				.indirect = true,
				.event_index = event_index,
			},
		.wrap = true,
		.used_wrap = true,
	};
	memset(guest_at(guest, gpa), 0, DRIVER_QUEUE_BYTES);
}

void driver_describe(const struct driver_queue *queue, gpa_t table, unsigned int index, gpa_t gpa,
		     uint32_t length_bytes, uint16_t flags, uint16_t next_or_id)
{
	char *at = guest_at(queue->guest, table + 16 * (gpa_t)index);
	struct vring_desc split = {gpa, length_bytes, flags, next_or_id};
	struct vring_packed_desc packed = {gpa, length_bytes, next_or_id, flags};
	size_t flags_at = offsetof(struct vring_packed_desc, flags);

	if (!queue->config.packed) {
		memcpy(at, &split, sizeof(split));
		return;
	}
	/* The flags publish the rest. */
	memcpy(at, &packed, flags_at);
	store16(queue, table + 16 * (gpa_t)index + flags_at, flags);
}

void driver_offer(struct driver_queue *queue, uint16_t head)
{
	gpa_t ring = queue->config.driver;

	store16(queue, ring + 4 + 2 * (queue->next % queue->config.size), head);
	store16(queue, ring + 2, ++queue->next);
	queue->added++;
}

static uint16_t flags_for(const struct driver_buffer *buffer, bool next)
{
	return (buffer->writable ? VRING_DESC_F_WRITE : 0) | (next ? VRING_DESC_F_NEXT : 0);
}

static uint16_t available_flags(bool wrap)
{
	return wrap ? 1 << VRING_PACKED_DESC_F_AVAIL : 1 << VRING_PACKED_DESC_F_USED;
}

static uint16_t add_split(struct driver_queue *queue, const struct driver_buffer *buffers,
			  unsigned int count)
{
	unsigned int size = queue->config.size;
	uint16_t head = queue->descriptor % size;

	for (unsigned int i = 0; i < count; i++) {
		uint16_t index = queue->descriptor++ % size;

		driver_describe(queue, queue->config.descriptors, index, buffers[i].gpa,
				buffers[i].length_bytes, flags_for(&buffers[i], i + 1 < count),
				(index + 1) % size);
	}
	driver_offer(queue, head);
	return head;
}

static uint16_t add_packed(struct driver_queue *queue, const struct driver_buffer *buffers,
			   unsigned int count, uint16_t more_flags)
{
	uint16_t id = queue->next_id++ % queue->config.size, first = queue->next, first_flags = 0;

	queue->slots[id] = count;
	for (unsigned int i = 0; i < count; i++) {
		uint16_t flags = flags_for(&buffers[i], i + 1 < count) | more_flags |
				 available_flags(queue->wrap);

		/* The first one last: it makes the others available too. */
		if (!i)
			first_flags = flags;
		driver_describe(queue, queue->config.descriptors, queue->next, buffers[i].gpa,
				buffers[i].length_bytes,
				i ? flags : flags ^ available_flags(true) ^ available_flags(false),
				id);
		if (++queue->next == queue->config.size) {
			queue->next = 0;
			queue->wrap = !queue->wrap;
		}
	}
	store16(queue, queue->config.descriptors + 16 * first + 14, first_flags);
	queue->added += count;
	return id;
}

uint16_t driver_add(struct driver_queue *queue, const struct driver_buffer *buffers,
		    unsigned int count, gpa_t table)
{
	struct driver_buffer indirect = {table, 16 * count, false};
	uint16_t head;

	for (unsigned int i = 0; table && i < count; i++)
		driver_describe(queue, table, i, buffers[i].gpa, buffers[i].length_bytes,
				flags_for(&buffers[i], !queue->config.packed && i + 1 < count),
				queue->config.packed ? 0 : i + 1);
	if (queue->config.packed)
		return table ? add_packed(queue, &indirect, 1, VRING_DESC_F_INDIRECT)
			     : add_packed(queue, buffers, count, 0);
	if (!table)
		return add_split(queue, buffers, count);
	head = queue->descriptor++ % queue->config.size;
	driver_describe(queue, queue->config.descriptors, head, table, 16 * count,
			VRING_DESC_F_INDIRECT, 0);
	driver_offer(queue, head);
	return head;
}

static bool take_packed(struct driver_queue *queue, uint32_t *id, uint32_t *length_bytes)
{
	gpa_t at = queue->config.descriptors + 16 * (gpa_t)queue->next_used;
	uint16_t flags = load16(queue, at + 14), short_id;
	bool available = flags & 1 << VRING_PACKED_DESC_F_AVAIL;
	bool used = flags & 1 << VRING_PACKED_DESC_F_USED;

	if (available != used || used != queue->used_wrap)
		return false;
	memcpy(length_bytes, guest_at(queue->guest, at + 8), 4);
	memcpy(&short_id, guest_at(queue->guest, at + 12), 2);
	*id = short_id;
	queue->next_used += queue->slots[short_id % VIRTQUEUE_MAX_SIZE];
	if (queue->next_used >= queue->config.size) {
		queue->next_used -= queue->config.size;
		queue->used_wrap = !queue->used_wrap;
	}
	return true;
}

bool driver_take(struct driver_queue *queue, uint32_t *id, uint32_t *length_bytes)
{
	gpa_t ring = queue->config.device, at;

	if (queue->config.packed)
		return take_packed(queue, id, length_bytes);
	if (load16(queue, ring + 2) == queue->next_used)
		return false;
	at = ring + 4 + 8 * (gpa_t)(queue->next_used++ % queue->config.size);
	memcpy(id, guest_at(queue->guest, at), 4);
	memcpy(length_bytes, guest_at(queue->guest, at + 4), 4);
	return true;
}

static bool passed(uint16_t event, uint16_t now, uint16_t before)
{
	return (uint16_t)(now - event - 1) < (uint16_t)(now - before);
}

static bool must_notify_packed(const struct driver_queue *queue, uint16_t before)
{
	uint32_t suppression = load32(queue, queue->config.device);
	uint16_t event = suppression & 0x7fff;

	if (suppression >> 16 != VRING_PACKED_EVENT_FLAG_DESC)
		return suppression >> 16 == VRING_PACKED_EVENT_FLAG_ENABLE;
	if ((suppression >> 15 & 1) != queue->wrap)
		event -= queue->config.size;
	return passed(event, queue->next, before);
}

bool driver_must_notify(struct driver_queue *queue)
{
	uint16_t before = queue->next - queue->added;

	queue->added = 0;
	__sync_synchronize();
	if (queue->config.packed)
		return must_notify_packed(queue, before);
	if (!queue->config.event_index)
		return !(load16(queue, queue->config.device) & VRING_USED_F_NO_NOTIFY);
	return passed(load16(queue, queue->config.device + 4 + 8 * (gpa_t)queue->config.size),
		      queue->next, before);
}

void driver_want(struct driver_queue *queue, bool wanted)
{
	gpa_t ring = queue->config.driver;

	if (queue->config.packed)
		store32(queue, ring,
			!wanted ? VRING_PACKED_EVENT_FLAG_DISABLE << 16
			: !queue->config.event_index
				? VRING_PACKED_EVENT_FLAG_ENABLE << 16
				: VRING_PACKED_EVENT_FLAG_DESC << 16 | queue->next_used |
					  (uint32_t)queue->used_wrap << 15);
	else if (queue->config.event_index)
		store16(queue, ring + 4 + 2 * (gpa_t)queue->config.size,
			wanted ? queue->next_used : queue->next_used - 1);
	else
		store16(queue, ring, wanted ? 0 : VRING_AVAIL_F_NO_INTERRUPT);
	__sync_synchronize();
}

/* ---- Registers --------------------------------------------------------------------------------- */

uint32_t driver_read(struct virtio_mmio *mmio, uint64_t offset)
{
	uint32_t value;

	virtio_mmio_bus_ops.read(mmio, offset, &value, sizeof(value));
	return value;
}

void driver_write(struct virtio_mmio *mmio, uint64_t offset, uint32_t value)
{
	virtio_mmio_bus_ops.write(mmio, offset, &value, sizeof(value));
}

uint64_t driver_config(struct virtio_mmio *mmio, uint64_t offset, unsigned int bytes)
{
	uint64_t value = 0;

	virtio_mmio_bus_ops.read(mmio, VIRTIO_MMIO_CONFIG + offset, &value, bytes);
	return value;
}

bool driver_negotiate(struct virtio_mmio *mmio, uint64_t features)
{
	uint32_t status = VIRTIO_CONFIG_S_ACKNOWLEDGE;

	driver_write(mmio, VIRTIO_MMIO_STATUS, 0);
	driver_write(mmio, VIRTIO_MMIO_STATUS, status);
	status |= VIRTIO_CONFIG_S_DRIVER;
	driver_write(mmio, VIRTIO_MMIO_STATUS, status);
	for (unsigned int word = 0; word < 2; word++) {
		driver_write(mmio, VIRTIO_MMIO_DRIVER_FEATURES_SEL, word);
		driver_write(mmio, VIRTIO_MMIO_DRIVER_FEATURES, features >> 32 * word);
	}
	status |= VIRTIO_CONFIG_S_FEATURES_OK;
	driver_write(mmio, VIRTIO_MMIO_STATUS, status);
	return driver_read(mmio, VIRTIO_MMIO_STATUS) == status;
}

static void write_area(struct virtio_mmio *mmio, uint64_t offset, gpa_t gpa)
{
	driver_write(mmio, offset, gpa);
	driver_write(mmio, offset + 4, gpa >> 32);
}

void driver_setup_queue(struct virtio_mmio *mmio, unsigned int index,
			const struct driver_queue *queue)
{
	driver_write(mmio, VIRTIO_MMIO_QUEUE_SEL, index);
	driver_write(mmio, VIRTIO_MMIO_QUEUE_NUM, queue->config.size);
	write_area(mmio, VIRTIO_MMIO_QUEUE_DESC_LOW, queue->config.descriptors);
	write_area(mmio, VIRTIO_MMIO_QUEUE_AVAIL_LOW, queue->config.driver);
	write_area(mmio, VIRTIO_MMIO_QUEUE_USED_LOW, queue->config.device);
	driver_write(mmio, VIRTIO_MMIO_QUEUE_READY, 1);
}

void driver_ok(struct virtio_mmio *mmio)
{
	driver_write(mmio, VIRTIO_MMIO_STATUS,
		     driver_read(mmio, VIRTIO_MMIO_STATUS) | VIRTIO_CONFIG_S_DRIVER_OK);
}
