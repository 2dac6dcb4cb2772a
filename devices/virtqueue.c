/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What both formats of virtqueues have in common: access to guest memory, chains, indirect tables.
 */
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "devices/virtqueue_internal.h"

/* ---- The rings in guest memory ----------------------------------------------------------------- */

int virtqueue_break(struct virtqueue *queue, int code, struct samara_error *err, const char *fmt,
		    ...)
{
	char text[sizeof(err->text)];
	va_list args;

	queue->broken = true;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	return samara_error_set(err, code, "%s", text);
}

static int not_memory(struct virtqueue *queue, int code, gpa_t gpa, uint64_t bytes,
		      struct samara_error *err)
{
	return virtqueue_break(queue, code, err,
			       "%" PRIu64 " bytes of the ring at %#" PRIx64 ": %s", bytes, gpa,
			       code == -EFAULT ? "no memory, or read-only" : strerror(-code));
}

/* Hold a value: it is aligned, so it lies in one region. NULL: the queue is broken. */
static void *hold(struct virtqueue *queue, gpa_t gpa, unsigned int bytes, bool write,
		  struct guest_mm_pin *pin, int *ret, struct samara_error *err)
{
	*ret = guest_mm_pin(queue->mm, gpa, bytes, write, pin);
	if (!*ret)
		return pin->iov[0].iov_base;
	not_memory(queue, *ret, gpa, bytes, err);
	return NULL;
}

int ring_load16(struct virtqueue *queue, gpa_t gpa, uint16_t *value, struct samara_error *err)
{
	struct guest_mm_pin pin;
	const uint16_t *at;
	int ret;

	at = hold(queue, gpa, sizeof(*at), false, &pin, &ret, err);
	if (!at)
		return ret;
	*value = le16toh(__atomic_load_n(at, __ATOMIC_ACQUIRE));
	guest_mm_unpin(&pin);
	return 0;
}

int ring_load32(struct virtqueue *queue, gpa_t gpa, uint32_t *value, struct samara_error *err)
{
	struct guest_mm_pin pin;
	const uint32_t *at;
	int ret;

	at = hold(queue, gpa, sizeof(*at), false, &pin, &ret, err);
	if (!at)
		return ret;
	*value = le32toh(__atomic_load_n(at, __ATOMIC_ACQUIRE));
	guest_mm_unpin(&pin);
	return 0;
}

int ring_store16(struct virtqueue *queue, gpa_t gpa, uint16_t value, struct samara_error *err)
{
	struct guest_mm_pin pin;
	uint16_t *at;
	int ret;

	at = hold(queue, gpa, sizeof(*at), true, &pin, &ret, err);
	if (!at)
		return ret;
	__atomic_store_n(at, htole16(value), __ATOMIC_RELEASE);
	guest_mm_unpin(&pin);
	return 0;
}

int ring_store32(struct virtqueue *queue, gpa_t gpa, uint32_t value, struct samara_error *err)
{
	struct guest_mm_pin pin;
	uint32_t *at;
	int ret;

	at = hold(queue, gpa, sizeof(*at), true, &pin, &ret, err);
	if (!at)
		return ret;
	__atomic_store_n(at, htole32(value), __ATOMIC_RELEASE);
	guest_mm_unpin(&pin);
	return 0;
}

int ring_read(struct virtqueue *queue, gpa_t gpa, void *to, uint64_t bytes,
	      struct samara_error *err)
{
	int ret = guest_mm_read(queue->mm, gpa, to, bytes);

	return ret ? not_memory(queue, ret, gpa, bytes, err) : 0;
}

int ring_write(struct virtqueue *queue, gpa_t gpa, const void *from, uint64_t bytes,
	       struct samara_error *err)
{
	int ret = guest_mm_write(queue->mm, gpa, from, bytes);

	return ret ? not_memory(queue, ret, gpa, bytes, err) : 0;
}

/* ---- Setting up -------------------------------------------------------------------------------- */

static int check_area(const char *name, gpa_t gpa, uint64_t bytes, unsigned int align,
		      struct samara_error *err)
{
	if (gpa % align)
		return samara_error_set(err, -EINVAL,
					"the %s area at %#" PRIx64 " is not aligned to %u bytes",
					name, gpa, align);
	if (gpa + bytes - 1 < gpa)
		return samara_error_set(err, -EINVAL,
					"the %s area at %#" PRIx64
					" reaches past the end of the address space",
					name, gpa);
	return 0;
}

int virtqueue_check(const struct virtqueue_config *config, struct samara_error *err)
{
	unsigned int size = config->size;
	int ret;

	if (!size || size > VIRTQUEUE_MAX_SIZE)
		return samara_error_set(err, -EINVAL, "a queue of %u descriptors; it is 1 to %d",
					size, VIRTQUEUE_MAX_SIZE);
	if (!config->packed && size & (size - 1))
		return samara_error_set(err, -EINVAL,
					"a split queue of %u descriptors, which is no power of two",
					size);
	ret = check_area("descriptor", config->descriptors, (uint64_t)size * DESCRIPTOR_BYTES, 16,
			 err);
	/* Sizes and alignments: virtio 1.2, 2.7 (with the event fields) and 2.8.10.1. */
	if (!ret)
		ret = config->packed ? check_area("driver", config->driver, 4, 4, err)
				     : check_area("driver", config->driver, 6 + 2 * (uint64_t)size,
						  2, err);
	if (!ret)
		ret = config->packed ? check_area("device", config->device, 4, 4, err)
				     : check_area("device", config->device, 6 + 8 * (uint64_t)size,
						  4, err);
	return ret;
}

void virtqueue_init(struct virtqueue *queue, struct guest_mm *mm,
		    const struct virtqueue_config *config)
{
	*queue = (struct virtqueue){
		.mm = mm,
		.config = *config,
		.available_wrap = true,
		.used_wrap = true,
	};
}

/* ---- Chains ------------------------------------------------------------------------------------ */

void chain_start(struct descriptor_chain *chain, struct virtqueue *queue)
{
	chain->queue = queue;
	chain->id = 0;
	chain->slots = 0;
	chain->readable_count = 0;
	chain->writable_count = 0;
	chain->readable_bytes = 0;
	chain->writable_bytes = 0;
}

int chain_add(struct descriptor_chain *chain, gpa_t gpa, uint32_t length_bytes, bool writable,
	      struct samara_error *err)
{
	unsigned int count = chain->readable_count + chain->writable_count;

	if (count == VIRTQUEUE_MAX_SIZE)
		return virtqueue_break(chain->queue, -EPROTO, err,
				       "a chain of more than %d buffers", VIRTQUEUE_MAX_SIZE);
	if (!length_bytes)
		return virtqueue_break(chain->queue, -EPROTO, err, "a buffer without bytes");
	if (gpa + length_bytes - 1 < gpa)
		return virtqueue_break(chain->queue, -EPROTO, err,
				       "a buffer of %" PRIu32 " bytes at %#" PRIx64
				       " reaches past the end of the address space",
				       length_bytes, gpa);
	if (!writable && chain->writable_count)
		return virtqueue_break(chain->queue, -EPROTO, err,
				       "a buffer to read behind one to write");
	chain->segments[count] = (struct chain_segment){gpa, length_bytes};
	if (writable) {
		chain->writable_count++;
		chain->writable_bytes += length_bytes;
	} else {
		chain->readable_count++;
		chain->readable_bytes += length_bytes;
	}
	return 0;
}

int chain_check_indirect(struct virtqueue *queue, uint32_t length_bytes, bool next,
			 unsigned int *entries, struct samara_error *err)
{
	const char *why = NULL;

	if (!queue->config.indirect)
		why = "without the feature for it";
	else if (next)
		why = "that goes on behind it";
	else if (!length_bytes || length_bytes % DESCRIPTOR_BYTES)
		why = "of no whole number of descriptors";
	else if (length_bytes / DESCRIPTOR_BYTES > VIRTQUEUE_MAX_SIZE)
		why = "that is too long";
	*entries = length_bytes / DESCRIPTOR_BYTES;
	return why ? virtqueue_break(queue, -EPROTO, err,
				     "an indirect table %s (%" PRIu32 " bytes)", why, length_bytes)
		   : 0;
}

static int copy(const struct descriptor_chain *chain, bool write, uint64_t offset, char *bytes,
		uint64_t length_bytes, struct samara_error *err)
{
	const struct chain_segment *segment = write ? chain_writable(chain) : chain->segments;
	uint64_t size_bytes = write ? chain->writable_bytes : chain->readable_bytes;

	if (offset > size_bytes || length_bytes > size_bytes - offset)
		return samara_error_set(err, -EMSGSIZE,
					"a request of %" PRIu64 " bytes to %s, where %" PRIu64
					" at %" PRIu64 " are needed",
					size_bytes, write ? "write" : "read", length_bytes, offset);
	while (offset >= segment->length_bytes && length_bytes)
		offset -= segment++->length_bytes;
	while (length_bytes) {
		struct guest_mm *mm = chain->queue->mm;
		uint64_t chunk = segment->length_bytes - offset;
		gpa_t gpa = segment->gpa + offset;
		int ret;

		if (chunk > length_bytes)
			chunk = length_bytes;
		ret = write ? guest_mm_write(mm, gpa, bytes, chunk)
			    : guest_mm_read(mm, gpa, bytes, chunk);
		if (ret)
			return samara_error_set(
				err, ret, "a buffer of %" PRIu32 " bytes at %#" PRIx64 ": %s",
				segment->length_bytes, segment->gpa,
				ret == -EFAULT ? "no memory, or read-only" : strerror(-ret));
		bytes += chunk;
		length_bytes -= chunk;
		offset = 0;
		segment++;
	}
	return 0;
}

int chain_read(const struct descriptor_chain *chain, uint64_t offset, void *to, uint64_t bytes,
	       struct samara_error *err)
{
	return copy(chain, false, offset, to, bytes, err);
}

int chain_write(const struct descriptor_chain *chain, uint64_t offset, const void *from,
		uint64_t bytes, struct samara_error *err)
{
	/* copy() does not write through @bytes in this direction. */
	return copy(chain, true, offset, (char *)(uintptr_t)from, bytes, err);
}

/* ---- The queue --------------------------------------------------------------------------------- */

static const struct virtqueue_format *format(const struct virtqueue *queue)
{
	return queue->config.packed ? &virtqueue_packed : &virtqueue_split;
}

static int refuse(struct samara_error *err)
{
	return samara_error_set(err, -EPROTO, "the queue is broken");
}

int virtqueue_pop(struct virtqueue *queue, struct descriptor_chain *chain, struct samara_error *err)
{
	if (queue->broken)
		return refuse(err);
	chain_start(chain, queue);
	return format(queue)->pop(queue, chain, err);
}

void virtqueue_unpop(struct virtqueue *queue, const struct descriptor_chain *chain)
{
	format(queue)->unpop(queue, chain);
}

int virtqueue_push(struct virtqueue *queue, const struct descriptor_chain *chain,
		   uint32_t written_bytes, struct samara_error *err)
{
	return queue->broken ? refuse(err) : format(queue)->push(queue, chain, written_bytes, err);
}

int virtqueue_must_notify(struct virtqueue *queue, struct samara_error *err)
{
	if (queue->broken)
		return refuse(err);
	/* What was pushed must be seen before it is looked whether the driver waits for it. */
	ring_fence();
	return format(queue)->must_notify(queue, err);
}

int virtqueue_arm(struct virtqueue *queue, struct samara_error *err)
{
	return queue->broken ? refuse(err) : format(queue)->arm(queue, err);
}
