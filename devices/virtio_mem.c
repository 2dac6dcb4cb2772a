/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "devices/virtio_mem.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_mem.h>

#include "devices/broken.h"

#define GUEST_REQUESTS     0 /* the one queue */
#define WORD_BITS          64

/*
 * So much is unplugged at a time, or a block: between two looks at whether the device is to stop.
 * What the guest has filled takes long: 0.01 s in huge pages, 0.3 s in small ones, on a machine with
 * other work.
 */
#define PIECE_BYTES        (UINT64_C(1) << 30)

/* Instead of a response: the device is stopping, and the request is not done. */
#define REQUEST_LEFT       UINT_MAX

/*
 * How much more than it is asked for a guest may choose from. Linux adds memory in blocks of up to
 * 128 MiB on x86 as long as it has less than 64 GiB (arch/x86/mm/init_64.c); two of them.
 */
#define USABLE_EXTRA_BYTES (UINT64_C(256) << 20)

/* Blocks that follow each other, by their numbers. */
struct blocks {
	uint64_t first, count;
};

/* An unplug request that was left while it was worked on, and how many blocks are done; 0: none. */
struct left {
	struct blocks blocks;
	uint64_t done;
};

/**
 * struct virtio_mem - a range of blocks
 *
 * Lock key: I immutable; l under @lock; w the worker's, or virtio_mem_reset()'s while the worker is
 * kept out. @lock is taken before the virtio_device's own.
 */
struct virtio_mem {
	struct virtio_mem_setup setup; /* I */
	struct virtio_device *device;  /* I */
	uint64_t block_count;          /* I */
	uint64_t *plugged;             /* w: a bit for each block */
	struct left left;              /* w */
	bool complained;               /* w: of what the driver may not */
	bool told_of_reset;            /* w: that not all could be unplugged */
	pthread_mutex_t lock;
	bool frozen;                   /* l */
	struct virtio_mem_state state; /* l */
};

/* ---- Blocks ------------------------------------------------------------------------------------ */

static bool is_plugged(const struct virtio_mem *mem, uint64_t block)
{
	return mem->plugged[block / WORD_BITS] >> block % WORD_BITS & 1;
}

/* The first block from @block on that is in another state than it, or the end. */
static uint64_t run_end(const struct virtio_mem *mem, uint64_t block, uint64_t end)
{
	uint64_t same = is_plugged(mem, block) ? UINT64_MAX : 0;

	while (block < end) {
		if (block % WORD_BITS == 0 && mem->plugged[block / WORD_BITS] == same)
			block += WORD_BITS;
		else if (is_plugged(mem, block) == (bool)same)
			block++;
		else
			return block;
	}
	return end;
}

static void mark(struct virtio_mem *mem, const struct blocks *blocks, bool plugged)
{
	for (uint64_t block = blocks->first; block < blocks->first + blocks->count; block++) {
		uint64_t bit = UINT64_C(1) << block % WORD_BITS;

		if (plugged)
			mem->plugged[block / WORD_BITS] |= bit;
		else
			mem->plugged[block / WORD_BITS] &= ~bit;
	}
}

/* Whether all blocks are in one state. */
static bool all_are(const struct virtio_mem *mem, const struct blocks *blocks, bool plugged)
{
	return is_plugged(mem, blocks->first) == plugged &&
	       run_end(mem, blocks->first, blocks->first + blocks->count) ==
		       blocks->first + blocks->count;
}

/* ---- State and configuration space ------------------------------------------------------------- */

static void show(struct virtio_mem *mem, size_t offset, uint64_t value, bool notify)
{
	uint64_t field = htole64(value);

	virtio_device_set_config(mem->device, offset, &field, sizeof(field), notify);
}

static uint64_t usable_bytes(const struct virtio_mem *mem, uint64_t requested_bytes)
{
	uint64_t block = mem->setup.block_bytes, size = mem->setup.size_bytes;
	uint64_t extra = USABLE_EXTRA_BYTES > 2 * block ? USABLE_EXTRA_BYTES : 2 * block;

	return size - requested_bytes < extra ? size : requested_bytes + extra;
}

/* Context: holds the lock. */
static void set_usable(struct virtio_mem *mem, uint64_t bytes)
{
	mem->state.usable_bytes = bytes;
	show(mem, offsetof(struct virtio_mem_config, usable_region_size), bytes, false);
}

/* Carry out, count and show a change of blocks that all are in the other state. */
static int change(struct virtio_mem *mem, const struct blocks *blocks, bool plug,
		  struct samara_error *err)
{
	uint64_t bytes = blocks->count * mem->setup.block_bytes;
	gpa_t gpa = mem->setup.gpa + blocks->first * mem->setup.block_bytes;
	int ret = 0;

	if (plug)
		ret = guest_mm_plug(mem->setup.mm, gpa, bytes, GUEST_MM_RDWR, err);
	else if (!BROKEN_VIRTIO_MEM)
		ret = guest_mm_unplug(mem->setup.mm, gpa, bytes, err);
	if (ret)
		return ret;
	mark(mem, blocks, plug);
	pthread_mutex_lock(&mem->lock);
	mem->state.plugged_bytes += plug ? bytes : -bytes;
	if (plug)
		mem->state.plugs++;
	else
		mem->state.unplugs++;
	bytes = mem->state.plugged_bytes;
	show(mem, offsetof(struct virtio_mem_config, plugged_size), bytes, false);
	pthread_mutex_unlock(&mem->lock);
	if (mem->setup.changed)
		mem->setup.changed(mem->setup.arg, bytes);
	return 0;
}

/* The next blocks to be unplugged at a time. */
static struct blocks piece_of(const struct virtio_mem *mem, uint64_t block, uint64_t end)
{
	uint64_t most = PIECE_BYTES / mem->setup.block_bytes;

	if (!most)
		most = 1;
	return (struct blocks){block, end - block < most ? end - block : most};
}

/*
 * As much as goes; with @patient to the end, though the device is stopping. Return: 0, 1 (there is
 * more), or the first error: then what could not be unplugged stays usable.
 */
static int unplug_all(struct virtio_mem *mem, bool patient, struct samara_error *err)
{
	uint64_t block = 0;
	int first = 0;

	while (block < mem->block_count) {
		uint64_t end = run_end(mem, block, mem->block_count);
		struct blocks piece = piece_of(mem, block, end);
		int ret;

		if (!is_plugged(mem, block)) {
			block = end;
			continue;
		}
		ret = change(mem, &piece, false, first ? NULL : err);
		if (!first)
			first = ret;
		block += piece.count;
		if (!patient && virtio_device_stopping(mem->device))
			return 1;
	}
	if (first)
		return first;
	pthread_mutex_lock(&mem->lock);
	set_usable(mem, usable_bytes(mem, mem->state.requested_bytes));
	pthread_mutex_unlock(&mem->lock);
	return 0;
}

/* ---- Requests ---------------------------------------------------------------------------------- */

static void count(struct virtio_mem *mem, uint64_t *counter)
{
	pthread_mutex_lock(&mem->lock);
	++*counter;
	pthread_mutex_unlock(&mem->lock);
}

/* Which blocks a request is about. Return: false if it names what a guest may not use. */
static bool named_blocks(struct virtio_mem *mem, uint64_t gpa, unsigned int nb_blocks,
			 struct blocks *blocks)
{
	uint64_t block_bytes = mem->setup.block_bytes, offset = gpa - mem->setup.gpa, usable;

	pthread_mutex_lock(&mem->lock);
	usable = mem->state.usable_bytes;
	pthread_mutex_unlock(&mem->lock);
	*blocks = (struct blocks){offset / block_bytes, nb_blocks};
	return nb_blocks && gpa >= mem->setup.gpa && offset % block_bytes == 0 && offset < usable &&
	       nb_blocks <= (usable - offset) / block_bytes;
}

static unsigned int refuse(struct virtio_mem *mem, const char *what, uint64_t gpa,
			   unsigned int nb_blocks)
{
	count(mem, &mem->state.refused);
	if (!mem->complained)
		virtio_device_report(mem->device,
				     "the driver wants to %s %u blocks at %#" PRIx64
				     ", which it may not (told once, counted)",
				     what, nb_blocks, gpa);
	mem->complained = true;
	return VIRTIO_MEM_RESP_ERROR;
}

static unsigned int plug(struct virtio_mem *mem, uint64_t gpa, unsigned int nb_blocks)
{
	struct blocks blocks;
	bool too_much;

	if (!named_blocks(mem, gpa, nb_blocks, &blocks) || !all_are(mem, &blocks, false))
		return refuse(mem, "plug", gpa, nb_blocks);
	pthread_mutex_lock(&mem->lock);
	too_much = mem->state.plugged_bytes + nb_blocks * mem->setup.block_bytes >
		   mem->state.requested_bytes;
	mem->state.denied += too_much;
	pthread_mutex_unlock(&mem->lock);
	if (too_much)
		return VIRTIO_MEM_RESP_NACK;
	if (!change(mem, &blocks, true, NULL))
		return VIRTIO_MEM_RESP_ACK;
	count(mem, &mem->state.busy);
	return VIRTIO_MEM_RESP_BUSY;
}

/* Half of a request is none: what it has unplugged is plugged again, empty. */
static unsigned int undo_unplug(struct virtio_mem *mem)
{
	struct blocks done = {mem->left.blocks.first, mem->left.done};

	mem->left = (struct left){0};
	if (done.count && change(mem, &done, true, NULL))
		virtio_device_report(
			mem->device,
			"the host can neither unplug the blocks of a request, nor plug "
			"again those that it has unplugged");
	count(mem, &mem->state.busy);
	return VIRTIO_MEM_RESP_BUSY;
}

static unsigned int unplug(struct virtio_mem *mem, uint64_t gpa, unsigned int nb_blocks)
{
	struct left *left = &mem->left;
	struct blocks blocks;
	bool known = named_blocks(mem, gpa, nb_blocks, &blocks);

	/* If it is not the one that was left, it begins; and only now it is looked at. */
	if (!known || memcmp(&left->blocks, &blocks, sizeof(blocks)) != 0) {
		*left = (struct left){0};
		if (!known || !all_are(mem, &blocks, true))
			return refuse(mem, "unplug", gpa, nb_blocks);
		left->blocks = blocks;
	}
	while (left->done < blocks.count) {
		struct blocks piece =
			piece_of(mem, blocks.first + left->done, blocks.first + blocks.count);

		if (change(mem, &piece, false, NULL))
			return undo_unplug(mem);
		left->done += piece.count;
		if (left->done < blocks.count && virtio_device_stopping(mem->device))
			return REQUEST_LEFT;
	}
	*left = (struct left){0};
	return VIRTIO_MEM_RESP_ACK;
}

static unsigned int unplug_everything(struct virtio_mem *mem)
{
	int ret = unplug_all(mem, false, NULL);

	if (ret > 0)
		return REQUEST_LEFT;
	if (!ret)
		return VIRTIO_MEM_RESP_ACK;
	count(mem, &mem->state.busy);
	return VIRTIO_MEM_RESP_BUSY;
}

static unsigned int request_state(struct virtio_mem *mem, uint64_t gpa, unsigned int nb_blocks,
				  uint16_t *state)
{
	struct blocks blocks;

	if (!named_blocks(mem, gpa, nb_blocks, &blocks))
		return refuse(mem, "know of", gpa, nb_blocks);
	*state = all_are(mem, &blocks, true)    ? VIRTIO_MEM_STATE_PLUGGED
		 : all_are(mem, &blocks, false) ? VIRTIO_MEM_STATE_UNPLUGGED
						: VIRTIO_MEM_STATE_MIXED;
	return VIRTIO_MEM_RESP_ACK;
}

static unsigned int answer(struct virtio_mem *mem, const struct virtio_mem_req *request,
			   uint16_t *state)
{
	/* Plug, unplug and state requests look alike. */
	uint64_t gpa = le64toh(request->u.plug.addr);
	unsigned int nb_blocks = le16toh(request->u.plug.nb_blocks);

	if (le16toh(request->type) != VIRTIO_MEM_REQ_UNPLUG)
		mem->left = (struct left){0};
	switch (le16toh(request->type)) {
	case VIRTIO_MEM_REQ_PLUG:
		return plug(mem, gpa, nb_blocks);
	case VIRTIO_MEM_REQ_UNPLUG:
		return unplug(mem, gpa, nb_blocks);
	case VIRTIO_MEM_REQ_UNPLUG_ALL:
		return unplug_everything(mem);
	case VIRTIO_MEM_REQ_STATE:
		return request_state(mem, gpa, nb_blocks, state);
	default:
		return refuse(mem, "do something unknown with", gpa, nb_blocks);
	}
}

static int serve(void *arg, struct descriptor_chain *chain, uint32_t *written_bytes,
		 struct samara_error *err)
{
	struct virtio_mem_req request;
	struct virtio_mem_resp response = {0};
	unsigned int type;
	uint16_t state = 0;
	int ret = chain_read(chain, 0, &request, sizeof(request), err);

	if (ret)
		return ret;
	/* Nothing is done for a driver that could not hear of it. */
	if (chain->writable_bytes < sizeof(response))
		return samara_error_set(err, -EPROTO,
					"a request with %" PRIu64 " bytes for the response of %zu",
					chain->writable_bytes, sizeof(response));
	ret = chain_write(chain, 0, &response, sizeof(response), err);
	if (ret)
		return ret;
	type = answer(arg, &request, &state);
	if (type == REQUEST_LEFT)
		return VIRTIO_SERVE_LATER;
	response.type = htole16((uint16_t)type);
	response.u.state.state = htole16(state);
	*written_bytes = sizeof(response);
	return chain_write(chain, 0, &response, sizeof(response), err);
}

static int work(void *model, struct samara_error *err)
{
	struct virtio_mem *mem = model;

	return virtio_device_serve(mem->device, GUEST_REQUESTS, serve, mem, err);
}

/* The device is reset, and not the machine: blocks keep their state (5.15.5.2). */
static void keep_all(void *model)
{
	((struct virtio_mem *)model)->left = (struct left){0};
}

static const struct virtio_model model = {
	.id = VIRTIO_ID_MEM,
	.queue_count = 1,
	.config_bytes = sizeof(struct virtio_mem_config),
	.work = work,
	.reset = keep_all,
};

/* ---- Life -------------------------------------------------------------------------------------- */

int virtio_mem_check(uint64_t size_bytes, uint64_t block_bytes, uint64_t requested_bytes,
		     struct samara_error *err)
{
	if (block_bytes < VIRTIO_MEM_MIN_BLOCK_BYTES || block_bytes & (block_bytes - 1))
		return samara_error_set(err, -EINVAL,
					"block size: %" PRIu64
					" bytes are no power of two from 2M on",
					block_bytes);
	if (!size_bytes || size_bytes % block_bytes)
		return samara_error_set(err, -EINVAL,
					"size: %" PRIu64
					" bytes are no multiple of the block size, %" PRIu64,
					size_bytes, block_bytes);
	if (requested_bytes > size_bytes || requested_bytes % block_bytes)
		return samara_error_set(
			err, -EINVAL, "requested size: %" PRIu64 " bytes are %s, %" PRIu64,
			requested_bytes,
			requested_bytes > size_bytes ? "more than the size"
						     : "no multiple of the block size",
			requested_bytes > size_bytes ? size_bytes : block_bytes);
	return 0;
}

static int check(const struct virtio_mem_setup *setup, struct samara_error *err)
{
	int ret = virtio_mem_check(setup->size_bytes, setup->block_bytes, setup->requested_bytes,
				   err);

	if (ret)
		return samara_error_prefix(err, "%s", setup->name);
	if (setup->gpa % setup->block_bytes || setup->gpa + (setup->size_bytes - 1) < setup->gpa)
		return samara_error_set(err, -EINVAL,
					"%s: its range at %#" PRIx64
					" is not aligned to blocks, or "
					"reaches past the end of the address space",
					setup->name, setup->gpa);
	return 0;
}

static int create_device(struct virtio_mem *mem, struct samara_error *err)
{
	const struct virtio_mem_setup *setup = &mem->setup;
	struct virtio_device_config config = {
		.name = setup->name,
		.mm = setup->mm,
		.irq = setup->irq,
		.features = UINT64_C(1) << VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE,
		.packed = setup->packed,
		.report = setup->report,
		.report_arg = setup->arg,
	};
	struct virtio_mem_config space = {
		.block_size = htole64(setup->block_bytes),
		.node_id = setup->node == VIRTIO_MEM_NO_NODE ? 0 : htole16(setup->node),
		.addr = htole64(setup->gpa),
		.region_size = htole64(setup->size_bytes),
		.usable_region_size = htole64(mem->state.usable_bytes),
		.requested_size = htole64(setup->requested_bytes),
	};

	if (setup->node != VIRTIO_MEM_NO_NODE)
		config.features |= UINT64_C(1) << VIRTIO_MEM_F_ACPI_PXM;
	return virtio_device_create(&config, &model, mem, &space, &mem->device, err);
}

int virtio_mem_create(const struct virtio_mem_setup *setup, struct virtio_mem **out,
		      struct samara_error *err)
{
	struct virtio_mem *mem;
	int ret = check(setup, err);

	if (ret)
		return ret;
	mem = calloc(1, sizeof(*mem));
	if (!mem)
		return samara_error_set(err, -ENOMEM, "%s: out of memory", setup->name);
	mem->setup = *setup;
	mem->block_count = setup->size_bytes / setup->block_bytes;
	mem->state = (struct virtio_mem_state){
		.gpa = setup->gpa,
		.size_bytes = setup->size_bytes,
		.block_bytes = setup->block_bytes,
		.usable_bytes = usable_bytes(mem, setup->requested_bytes),
		.requested_bytes = setup->requested_bytes,
		.node = setup->node,
	};
	pthread_mutex_init(&mem->lock, NULL);
	mem->plugged =
		calloc((mem->block_count + WORD_BITS - 1) / WORD_BITS, sizeof(*mem->plugged));
	ret = mem->plugged ? create_device(mem, err)
			   : samara_error_set(err, -ENOMEM, "%s: out of memory", setup->name);
	if (ret) {
		free(mem->plugged);
		pthread_mutex_destroy(&mem->lock);
		free(mem);
		return ret;
	}
	*out = mem;
	return 0;
}

void virtio_mem_destroy(struct virtio_mem *mem)
{
	if (!mem)
		return;
	virtio_device_destroy(mem->device);
	pthread_mutex_destroy(&mem->lock);
	free(mem->plugged);
	free(mem);
}

struct virtio_device *virtio_mem_device(struct virtio_mem *mem)
{
	return mem->device;
}

void virtio_mem_reset(struct virtio_mem *mem)
{
	struct virtio_mem_state state;
	struct samara_error error;

	/* From here on no driver is at work: the blocks are ours. */
	virtio_device_reset(mem->device);
	if (!unplug_all(mem, true, &error))
		return;
	count(mem, &mem->state.busy);
	virtio_mem_get(mem, &state);
	if (!mem->told_of_reset)
		virtio_device_report(mem->device,
				     "%" PRIu64 " bytes could not be unplugged at the reset, and "
				     "stay until the driver unplugs them (told once, counted): %s",
				     state.plugged_bytes, error.text);
	mem->told_of_reset = true;
}

int virtio_mem_freeze(struct virtio_mem *mem)
{
	bool empty;

	/* A request that is being served may end with memory plugged. */
	virtio_device_hold(mem->device);
	pthread_mutex_lock(&mem->lock);
	empty = !mem->state.plugged_bytes && !mem->state.requested_bytes;
	mem->frozen = empty;
	pthread_mutex_unlock(&mem->lock);
	if (empty)
		return 0;
	virtio_device_release(mem->device);
	return -EBUSY;
}

void virtio_mem_thaw(struct virtio_mem *mem)
{
	pthread_mutex_lock(&mem->lock);
	mem->frozen = false;
	pthread_mutex_unlock(&mem->lock);
	virtio_device_release(mem->device);
}

/* Context: holds the lock. */
static void request(struct virtio_mem *mem, uint64_t bytes)
{
	mem->state.requested_bytes = bytes;
	/* It grows only, while a driver may be using it (5.15.4.2). */
	if (usable_bytes(mem, bytes) > mem->state.usable_bytes)
		set_usable(mem, usable_bytes(mem, bytes));
	show(mem, offsetof(struct virtio_mem_config, requested_size), bytes, true);
}

int virtio_mem_set_requested(struct virtio_mem *mem, uint64_t bytes, struct samara_error *err)
{
	int ret = virtio_mem_check(mem->setup.size_bytes, mem->setup.block_bytes, bytes, err);

	if (ret)
		return samara_error_prefix(err, "%s", mem->setup.name);
	pthread_mutex_lock(&mem->lock);
	if (mem->frozen)
		ret = samara_error_set(err, -EBUSY, "%s: the device is being unplugged",
				       mem->setup.name);
	else
		request(mem, bytes);
	pthread_mutex_unlock(&mem->lock);
	return ret;
}

void virtio_mem_get(struct virtio_mem *mem, struct virtio_mem_state *state)
{
	pthread_mutex_lock(&mem->lock);
	*state = mem->state;
	pthread_mutex_unlock(&mem->lock);
}
