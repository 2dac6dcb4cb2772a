/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Free page hints (virtio 1.2, 5.5.6.5). A round has a number, which the driver sends back before
 * the pages that belong to it.
 */
#include <endian.h>
#include <errno.h>
#include <stddef.h>
#include <linux/virtio_balloon.h>

#include "devices/virtio_balloon_internal.h"

/* Context: holds the lock. */
static void set_command(struct virtio_balloon *balloon, uint32_t id)
{
	uint32_t field = htole32(id);

	virtio_device_set_config(balloon->device,
				 offsetof(struct virtio_balloon_config, free_page_hint_cmd_id),
				 &field, sizeof(field), true);
}

/* Context: holds the lock. */
static void tell_over(struct balloon_hints *hints, bool complete)
{
	if (hints->hint && !hints->told)
		hints->over(hints->arg, complete);
	hints->told = true;
	hints->begun = false;
}

/* What the driver says of the pages to come. Context: holds the lock. */
static void take_id(struct virtio_balloon *balloon, uint32_t id)
{
	struct balloon_hints *hints = &balloon->hints;

	if (!hints->hint)
		return;
	if (id != VIRTIO_BALLOON_CMD_ID_STOP)
		/* Those of an earlier round are of no use. */
		hints->begun = id == hints->id && !hints->told;
	else if (hints->begun)
		tell_over(hints, true);
}

/* Context: holds the lock. */
static void take_pages(struct virtio_balloon *balloon, const struct descriptor_chain *chain)
{
	const struct chain_segment *segments = chain_writable(chain);

	if (!balloon->hints.hint || !balloon->hints.begun)
		return;
	for (unsigned int i = 0; i < chain->writable_count; i++) {
		balloon->hints.hint(balloon->hints.arg, segments[i].gpa, segments[i].length_bytes);
		atomic_fetch_add(&balloon->hinted_pages,
				 segments[i].length_bytes >> SAMARA_PAGE_SHIFT);
	}
}

static int take_hint(void *arg, struct descriptor_chain *chain, uint32_t *written_bytes,
		     struct samara_error *err)
{
	struct virtio_balloon *balloon = arg;
	uint32_t id;
	int ret;

	(void)written_bytes;
	if (chain->readable_bytes) {
		ret = chain_read(chain, 0, &id, sizeof(id), err);
		if (ret)
			return ret;
	}
	pthread_mutex_lock(&balloon->lock);
	if (chain->readable_bytes)
		take_id(balloon, le32toh(id));
	take_pages(balloon, chain);
	pthread_mutex_unlock(&balloon->lock);
	return 0;
}

int balloon_hints_work(struct virtio_balloon *balloon, struct samara_error *err)
{
	if (!virtio_device_has(balloon->device, VIRTIO_BALLOON_F_FREE_PAGE_HINT))
		return 0;
	return virtio_device_serve(balloon->device, BALLOON_HINTS, take_hint, balloon, err);
}

void balloon_hints_reset(struct virtio_balloon *balloon)
{
	pthread_mutex_lock(&balloon->lock);
	/* The next driver knows of no round. */
	tell_over(&balloon->hints, false);
	set_command(balloon, VIRTIO_BALLOON_CMD_ID_STOP);
	pthread_mutex_unlock(&balloon->lock);
}

/* Context: holds the lock, so a reset comes before, or ends the round. */
static int check_startable(struct virtio_balloon *balloon, struct samara_error *err)
{
	if (balloon->hints.hint)
		return samara_error_set(err, -EBUSY,
					"%s: the guest is naming its free pages already",
					balloon->config.name);
	if (!virtio_device_accepted(balloon->device, VIRTIO_BALLOON_F_FREE_PAGE_HINT))
		return samara_error_set(err, -EOPNOTSUPP,
					"%s: the guest has no driver that names its free pages",
					balloon->config.name);
	return 0;
}

int virtio_balloon_start_hints(struct virtio_balloon *balloon, virtio_balloon_hint_fn *hint,
			       virtio_balloon_hints_over_fn *over, void *arg,
			       struct samara_error *err)
{
	int ret;

	pthread_mutex_lock(&balloon->lock);
	ret = check_startable(balloon, err);
	if (ret)
		goto unlock;
	/* 0 and 1 mean something else. */
	if (++balloon->last_hint_id <= VIRTIO_BALLOON_CMD_ID_DONE)
		balloon->last_hint_id = VIRTIO_BALLOON_CMD_ID_DONE + 1;
	balloon->hints = (struct balloon_hints){
		.hint = hint,
		.over = over,
		.arg = arg,
		.id = balloon->last_hint_id,
	};
	set_command(balloon, balloon->hints.id);
unlock:
	pthread_mutex_unlock(&balloon->lock);
	return ret;
}

void virtio_balloon_end_hints(struct virtio_balloon *balloon)
{
	pthread_mutex_lock(&balloon->lock);
	if (balloon->hints.hint)
		set_command(balloon, VIRTIO_BALLOON_CMD_ID_DONE);
	balloon->hints = (struct balloon_hints){0};
	pthread_mutex_unlock(&balloon->lock);
}
