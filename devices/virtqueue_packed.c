/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Packed virtqueues (virtio 1.2, 2.8): one ring of descriptors that both sides write. Whose a
 * descriptor is, two bits say together with a counter that flips each time the ring ends.
 */
#include <endian.h>
#include <errno.h>
#include <stddef.h>
#include <linux/virtio_ring.h>

#include "devices/virtqueue_internal.h"

#define FLAG_AVAILABLE (1u << VRING_PACKED_DESC_F_AVAIL)
#define FLAG_USED      (1u << VRING_PACKED_DESC_F_USED)
#define EVENT_WRAP     (1u << VRING_PACKED_EVENT_F_WRAP_CTR)

static gpa_t slot(const struct virtqueue *queue, uint16_t position)
{
	return queue->config.descriptors + (gpa_t)position * DESCRIPTOR_BYTES;
}

static gpa_t flags_of(const struct virtqueue *queue, uint16_t position)
{
	return slot(queue, position) + offsetof(struct vring_packed_desc, flags);
}

/* Move a position on. */
static void advance(const struct virtqueue *queue, uint16_t *position, bool *wrap, uint16_t slots)
{
	*position += slots;
	if (*position >= queue->config.size) {
		*position -= queue->config.size;
		*wrap = !*wrap;
	}
}

/* Whether the next descriptor has been made available. Return: 1, 0, or -errno. */
static int look(struct virtqueue *queue, struct samara_error *err)
{
	uint16_t flags;
	int ret = ring_load16(queue, flags_of(queue, queue->next_available), &flags, err);

	if (ret)
		return ret;
	return !!(flags & FLAG_AVAILABLE) == queue->available_wrap &&
	       !!(flags & FLAG_USED) != queue->available_wrap;
}

/* The entries of an indirect table follow each other; but for WRITE their flags are ignored. */
static int walk_indirect(struct virtqueue *queue, const struct vring_packed_desc *descriptor,
			 struct descriptor_chain *chain, struct samara_error *err)
{
	gpa_t gpa = le64toh(descriptor->addr);
	struct vring_packed_desc entry;
	unsigned int entries;
	int ret;

	ret = chain_check_indirect(queue, le32toh(descriptor->len),
				   le16toh(descriptor->flags) & VRING_DESC_F_NEXT, &entries, err);
	if (ret)
		return ret;
	if (gpa + (uint64_t)entries * DESCRIPTOR_BYTES - 1 < gpa)
		return virtqueue_break(queue, -EPROTO, err,
				       "an indirect table past the end of the address space");
	for (unsigned int i = 0; !ret && i < entries; i++) {
		ret = ring_read(queue, gpa + (gpa_t)i * DESCRIPTOR_BYTES, &entry, sizeof(entry),
				err);
		if (!ret)
			ret = chain_add(chain, le64toh(entry.addr), le32toh(entry.len),
					le16toh(entry.flags) & VRING_DESC_F_WRITE, err);
	}
	return ret;
}

static int pop(struct virtqueue *queue, struct descriptor_chain *chain, struct samara_error *err)
{
	uint16_t position = queue->next_available, flags;
	bool wrap = queue->available_wrap;
	struct vring_packed_desc descriptor;
	int ret = look(queue, err);

	if (ret <= 0)
		return ret;
	/* The first one's flags, read above, publish the whole chain. */
	do {
		if (chain->slots == queue->config.size - queue->in_flight)
			return virtqueue_break(queue, -EPROTO, err,
					       "a chain that loops, or runs into another");
		ret = ring_read(queue, slot(queue, position), &descriptor, sizeof(descriptor), err);
		if (ret)
			return ret;
		flags = le16toh(descriptor.flags);
		if (flags & VRING_DESC_F_INDIRECT) {
			if (chain->slots)
				return virtqueue_break(queue, -EPROTO, err,
						       "an indirect table within a chain");
			ret = walk_indirect(queue, &descriptor, chain, err);
		} else {
			ret = chain_add(chain, le64toh(descriptor.addr), le32toh(descriptor.len),
					flags & VRING_DESC_F_WRITE, err);
		}
		if (ret)
			return ret;
		chain->slots++;
		advance(queue, &position, &wrap, 1);
	} while (flags & VRING_DESC_F_NEXT);

	/* The last descriptor has it (2.8.6). */
	chain->id = le16toh(descriptor.id);
	queue->next_available = position;
	queue->available_wrap = wrap;
	queue->in_flight += chain->slots;
	return 1;
}

static void unpop(struct virtqueue *queue, const struct descriptor_chain *chain)
{
	if (queue->next_available < chain->slots) {
		queue->next_available += queue->config.size;
		queue->available_wrap = !queue->available_wrap;
	}
	queue->next_available -= chain->slots;
	queue->in_flight -= chain->slots;
}

static int push(struct virtqueue *queue, const struct descriptor_chain *chain,
		uint32_t written_bytes, struct samara_error *err)
{
	struct vring_packed_desc descriptor = {
		.len = htole32(written_bytes),
		.id = htole16(chain->id),
	};
	gpa_t gpa = slot(queue, queue->next_used);
	size_t from = offsetof(struct vring_packed_desc, len);
	uint16_t flags = (queue->used_wrap ? FLAG_AVAILABLE | FLAG_USED : 0) |
			 (chain->writable_count ? VRING_DESC_F_WRITE : 0);
	int ret;

	ret = ring_write(queue, gpa + from, (const char *)&descriptor + from,
			 offsetof(struct vring_packed_desc, flags) - from, err);
	if (!ret)
		ret = ring_store16(queue, flags_of(queue, queue->next_used), flags, err);
	if (ret)
		return ret;
	advance(queue, &queue->next_used, &queue->used_wrap, chain->slots);
	queue->used_slots += chain->slots;
	queue->in_flight -= chain->slots;
	return 0;
}

static int must_notify(struct virtqueue *queue, struct samara_error *err)
{
	uint16_t slots = queue->used_slots, offset, event;
	uint32_t suppression;
	int ret;

	if (!slots)
		return 0;
	queue->used_slots = 0;
	ret = ring_load32(queue, queue->config.driver, &suppression, err);
	if (ret)
		return ret;
	offset = suppression & 0xffff;
	switch (suppression >> 16 & 3) {
	case VRING_PACKED_EVENT_FLAG_ENABLE:
		return 1;
	case VRING_PACKED_EVENT_FLAG_DESC:
		/* Without the feature it is reserved: to be on the safe side, tell. */
		if (!queue->config.event_index)
			return 1;
		/* A position of the round before counts from the start of this one backwards. */
		event = offset & ~EVENT_WRAP;
		if (!!(offset & EVENT_WRAP) != queue->used_wrap)
			event -= queue->config.size;
		return (uint16_t)(queue->next_used - event - 1) < slots;
	default:
		return 0;
	}
}

static int arm(struct virtqueue *queue, struct samara_error *err)
{
	uint32_t offset = queue->next_available | (queue->available_wrap ? EVENT_WRAP : 0);
	int ret = 0;

	/* Without the event index nothing is ever suppressed: the driver always tells. */
	if (queue->config.event_index)
		ret = ring_store32(queue, queue->config.device,
				   (uint32_t)VRING_PACKED_EVENT_FLAG_DESC << 16 | offset, err);
	if (ret)
		return ret;
	ring_fence();
	return look(queue, err);
}

const struct virtqueue_format virtqueue_packed = {
	.pop = pop,
	.unpop = unpop,
	.push = push,
	.must_notify = must_notify,
	.arm = arm,
};
