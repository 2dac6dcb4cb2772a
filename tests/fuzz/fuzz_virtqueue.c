/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libFuzzer: a driver that writes what it likes into its rings, before and while a device uses
 * them. Whatever it is, the queue ends broken or goes on, and what it hands out keeps its word.
 *
 * The input is a header, patches of an image of guest memory, and steps: what the device does, and
 * where the driver writes between. The image is full of descriptors that go on in the next one, so
 * that long chains, and tables from gpa 0x1000 on, need little input. Guest memory starts at gpa 0, so that small numbers
 * are addresses.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <linux/virtio_ring.h>

#include "devices/virtqueue.h"

#define WINDOW_BYTES  0x20000u
#define PLUGGED_BYTES 0x10000u
#define IMAGE_BYTES   0x3000u
#define STEPS_MAX     64
#define HELD_MAX      4 /* chains */
#define PATCHES_MAX   32

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct header {
	uint8_t flags; /* packed, indirect, event index; the device's area at the end of memory */
	uint8_t size;
	uint8_t patches, steps;
	uint8_t from_end;           /* how far, in units of 8 bytes */
	uint8_t descriptor_flags;   /* of all descriptors */
	uint16_t descriptor_length; /* of all, too */
};

struct patch {
	uint16_t at;
	uint8_t bytes[16];
} __attribute__((packed));

struct input {
	const uint8_t *data;
	size_t size;
};

static struct guest_mm *mm;

static void require(bool condition)
{
	if (!condition)
		abort();
}

static struct guest_mm *make_guest(void)
{
	struct guest_mm_config config = {.fault_threads = 1};
	struct guest_mm *made;

	require(!guest_mm_create(&config, &made, NULL));
	require(!guest_mm_add_window(made, 0, WINDOW_BYTES, GUEST_MM_ANON, NULL));
	require(!guest_mm_plug(made, 0, PLUGGED_BYTES, GUEST_MM_RDWR, NULL));
	return made;
}

/* What is missing is zero. */
static void take(struct input *input, void *bytes, size_t count)
{
	size_t there = count < input->size ? count : input->size;

	memset(bytes, 0, count);
	memcpy(bytes, input->data, there);
	input->data += there;
	input->size -= there;
}

static void fill(uint8_t *image, const struct header *header)
{
	for (unsigned int i = 0; i < IMAGE_BYTES / 16; i++) {
		uint16_t flags = header->descriptor_flags;
		struct vring_desc split = {0x4000, header->descriptor_length, flags,
					   (i + 1) % VIRTQUEUE_MAX_SIZE};
		struct vring_packed_desc packed = {0x4000, header->descriptor_length, i,
						   flags | 1u << VRING_PACKED_DESC_F_AVAIL};

		if (header->flags & 1)
			memcpy(image + 16 * i, &packed, sizeof(packed));
		else
			memcpy(image + 16 * i, &split, sizeof(split));
	}
}

static void patch(uint8_t *image, struct input *input)
{
	struct patch patch;

	take(input, &patch, sizeof(patch));
	memcpy(image + patch.at % (IMAGE_BYTES - sizeof(patch.bytes)), patch.bytes,
	       sizeof(patch.bytes));
}

static void check_chain(const struct descriptor_chain *chain)
{
	unsigned int count = chain->readable_count + chain->writable_count;
	uint64_t readable = 0, writable = 0;

	require(count && count <= VIRTQUEUE_MAX_SIZE);
	for (unsigned int i = 0; i < count; i++) {
		const struct chain_segment *segment = &chain->segments[i];

		require(segment->length_bytes);
		require(segment->gpa + (segment->length_bytes - 1) >= segment->gpa);
		if (i < chain->readable_count)
			readable += segment->length_bytes;
		else
			writable += segment->length_bytes;
	}
	require(readable == chain->readable_bytes && writable == chain->writable_bytes);
}

static void use_chain(const struct descriptor_chain *chain, uint8_t how)
{
	static uint8_t bytes[256];
	uint64_t offset = how & 0xf, count = 1u << (how >> 4 & 7);
	int ret;

	ret = chain_read(chain, offset, bytes, count, NULL);
	require((ret == -EMSGSIZE) == (offset + count > chain->readable_bytes));
	ret = chain_write(chain, offset, bytes, count, NULL);
	require((ret == -EMSGSIZE) == (offset + count > chain->writable_bytes));
}

/* One thing the device does. Return: what the queue said. */
static int step(struct virtqueue *queue, struct descriptor_chain **chains, unsigned int *held,
		uint8_t what)
{
	int ret = 0;

	switch (what & 3) {
	case 0:
		if (*held == HELD_MAX)
			break;
		ret = virtqueue_pop(queue, chains[*held], NULL);
		if (ret > 0) {
			check_chain(chains[*held]);
			use_chain(chains[*held], what >> 2);
			++*held;
		}
		break;
	case 1:
		if (!*held)
			break;
		/* Not always the oldest. */
		ret = virtqueue_push(queue, chains[--*held], what, NULL);
		break;
	case 2:
		ret = virtqueue_must_notify(queue, NULL);
		break;
	default:
		ret = virtqueue_arm(queue, NULL);
	}
	return ret;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct descriptor_chain *chains[HELD_MAX];
	static uint8_t image[IMAGE_BYTES];
	struct input input = {data, size};
	struct virtqueue_config config;
	struct virtqueue queue;
	struct header header;
	unsigned int held = 0;

	if (!mm) {
		mm = make_guest();
		/* One by one, with what AddressSanitizer puts between. */
		for (unsigned int i = 0; i < HELD_MAX; i++)
			require((chains[i] = malloc(sizeof(*chains[i]))) != NULL);
	}
	take(&input, &header, sizeof(header));
	/* Descriptors, then the other two areas, on the heels of each other. */
	config = (struct virtqueue_config){
		.size = header.size,
		.descriptors = 0,
		.driver = 16u * header.size,
		.device = (16u * header.size + 6 + 2u * header.size + 3) & ~3u,
		.packed = header.flags & 1,
		.indirect = header.flags & 2,
		.event_index = header.flags & 4,
	};
	/* Or with the end of a ring where memory ends. */
	if (header.flags & 8)
		config.device = PLUGGED_BYTES - 8u * header.from_end;
	if (virtqueue_check(&config, NULL))
		return 0;
	virtqueue_init(&queue, mm, &config);
	fill(image, &header);
	/* What the driver has made available is up to the patches. */
	if (!config.packed)
		memset(image + config.driver, 0, 6 + 2u * header.size);
	for (unsigned int i = 0; i < header.patches % PATCHES_MAX; i++)
		patch(image, &input);
	require(!guest_mm_write(mm, 0, image, sizeof(image)));
	for (unsigned int i = 0; i < header.steps % STEPS_MAX; i++) {
		uint8_t now[4];

		take(&input, now, sizeof(now));
		if (step(&queue, chains, &held, now[0]) < 0)
			require(queue.broken && virtqueue_pop(&queue, chains[0], NULL) < 0);
		/* The driver goes on writing. */
		if (now[1] & 1)
			guest_mm_write(mm, (now[1] << 4 | now[2]) % IMAGE_BYTES, &now[3], 1);
	}
	return 0;
}
