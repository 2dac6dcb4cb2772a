/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Split virtqueues (virtio 1.2, 2.7): a table of descriptors, a ring in which the driver makes
 * chains available, and one in which the device hands them back. Offsets are those of struct
 * vring_avail and struct vring_used in linux/virtio_ring.h.
 */
#include <endian.h>
#include <errno.h>
#include <linux/virtio_ring.h>

#include "devices/virtqueue_internal.h"

#define RING_FLAGS   0
#define RING_INDEX   2
#define RING_ENTRIES 4

static gpa_t available_entry(const struct virtqueue *queue, uint16_t index)
{
	return queue->config.driver + RING_ENTRIES + 2 * (index & (queue->config.size - 1));
}

static gpa_t used_entry(const struct virtqueue *queue, uint16_t index)
{
	return queue->config.device + RING_ENTRIES + 8 * (gpa_t)(index & (queue->config.size - 1));
}

/* Behind the entries: where the driver wants its next notification, and where the device does. */
static gpa_t used_event(const struct virtqueue *queue)
{
	return queue->config.driver + RING_ENTRIES + 2 * (gpa_t)queue->config.size;
}

static gpa_t available_event(const struct virtqueue *queue)
{
	return queue->config.device + RING_ENTRIES + 8 * (gpa_t)queue->config.size;
}

/* A table that descriptors name each other in: the queue's, or an indirect one. */
struct table {
	gpa_t gpa;
	unsigned int entries;
	bool indirect;
};

static int walk(struct virtqueue *queue, uint16_t head, struct descriptor_chain *chain,
		struct samara_error *err)
{
	struct table table = {.gpa = queue->config.descriptors, .entries = queue->config.size};
	unsigned int index = head, steps = 0;
	struct vring_desc descriptor;
	uint16_t flags;
	int ret;

	do {
		if (index >= table.entries)
			return virtqueue_break(queue, -EPROTO, err,
					       "descriptor %u of a table of %u", index,
					       table.entries);
		/* No descriptor is in a chain twice. */
		if (steps++ == table.entries)
			return virtqueue_break(queue, -EPROTO, err, "a chain that loops");
		ret = ring_read(queue, table.gpa + (gpa_t)index * DESCRIPTOR_BYTES, &descriptor,
				sizeof(descriptor), err);
		if (ret)
			return ret;
		flags = le16toh(descriptor.flags);
		if (flags & VRING_DESC_F_INDIRECT) {
			if (table.indirect)
				return virtqueue_break(queue, -EPROTO, err,
						       "an indirect table within another");
			ret = chain_check_indirect(queue, le32toh(descriptor.len),
						   flags & VRING_DESC_F_NEXT, &table.entries, err);
			if (ret)
				return ret;
			table.gpa = le64toh(descriptor.addr);
			table.indirect = true;
			if (table.gpa + (uint64_t)table.entries * DESCRIPTOR_BYTES - 1 < table.gpa)
				return virtqueue_break(queue, -EPROTO, err,
						       "an indirect table past the end of the "
						       "address space");
			index = 0;
			steps = 0;
			flags = VRING_DESC_F_NEXT;
			continue;
		}
		ret = chain_add(chain, le64toh(descriptor.addr), le32toh(descriptor.len),
				flags & VRING_DESC_F_WRITE, err);
		if (ret)
			return ret;
		index = le16toh(descriptor.next);
	} while (flags & VRING_DESC_F_NEXT);
	return 0;
}

static int pop(struct virtqueue *queue, struct descriptor_chain *chain, struct samara_error *err)
{
	uint16_t index, waiting, head;
	int ret;

	ret = ring_load16(queue, queue->config.driver + RING_INDEX, &index, err);
	if (ret)
		return ret;
	waiting = index - queue->next_available;
	if (!waiting)
		return 0;
	if (waiting > queue->config.size - queue->in_flight)
		return virtqueue_break(queue, -EPROTO, err,
				       "%u chains made available, where %u can be", waiting,
				       queue->config.size - queue->in_flight);
	ret = ring_load16(queue, available_entry(queue, queue->next_available), &head, err);
	if (!ret)
		ret = walk(queue, head, chain, err);
	if (ret)
		return ret;
	chain->id = head;
	queue->next_available++;
	queue->in_flight++;
	return 1;
}

static void unpop(struct virtqueue *queue, const struct descriptor_chain *chain)
{
	(void)chain;
	queue->next_available--;
	queue->in_flight--;
}

static int push(struct virtqueue *queue, const struct descriptor_chain *chain,
		uint32_t written_bytes, struct samara_error *err)
{
	struct vring_used_elem element = {
		.id = htole32(chain->id),
		.len = htole32(written_bytes),
	};
	int ret = ring_write(queue, used_entry(queue, queue->next_used), &element, sizeof(element),
			     err);

	if (!ret)
		ret = ring_store16(queue, queue->config.device + RING_INDEX, queue->next_used + 1,
				   err);
	if (ret)
		return ret;
	queue->next_used++;
	queue->in_flight--;
	return 0;
}

static int must_notify(struct virtqueue *queue, struct samara_error *err)
{
	uint16_t before = queue->signalled, now = queue->next_used, flags, event;
	int ret;

	if (before == now)
		return 0;
	queue->signalled = now;
	if (!queue->config.event_index) {
		ret = ring_load16(queue, queue->config.driver + RING_FLAGS, &flags, err);
		return ret ? ret : !(flags & VRING_AVAIL_F_NO_INTERRUPT);
	}
	ret = ring_load16(queue, used_event(queue), &event, err);
	/* 2.7.7.2: when the entry of that index is among those pushed since. */
	return ret ? ret : (uint16_t)(now - event - 1) < (uint16_t)(now - before);
}

static int arm(struct virtqueue *queue, struct samara_error *err)
{
	uint16_t index;
	int ret = 0;

	/* Without the event index, VRING_USED_F_NO_NOTIFY is never set: the driver always tells. */
	if (queue->config.event_index)
		ret = ring_store16(queue, available_event(queue), queue->next_available, err);
	if (ret)
		return ret;
	ring_fence();
	ret = ring_load16(queue, queue->config.driver + RING_INDEX, &index, err);
	return ret ? ret : index != queue->next_available;
}

const struct virtqueue_format virtqueue_split = {
	.pop = pop,
	.unpop = unpop,
	.push = push,
	.must_notify = must_notify,
	.arm = arm,
};
