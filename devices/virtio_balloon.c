/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "devices/virtio_balloon.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <linux/virtio_balloon.h>

#include "devices/virtio_balloon_internal.h"

#define FIELD(name)   offsetof(struct virtio_balloon_config, name)
#define BYTES(name)   (UINT64_C(0xf) << FIELD(name))
#define FEATURE(name) (UINT64_C(1) << VIRTIO_BALLOON_F_##name)
#define PAGE_SHIFT    VIRTIO_BALLOON_PFN_SHIFT

static uint64_t actual_bytes(struct virtio_balloon *balloon)
{
	uint32_t pages;

	virtio_device_get_config(balloon->device, FIELD(actual), &pages, sizeof(pages));
	return (uint64_t)le32toh(pages) << PAGE_SHIFT;
}

static void look_at_actual(struct virtio_balloon *balloon)
{
	uint64_t actual = actual_bytes(balloon);

	if (actual == balloon->last_actual)
		return;
	balloon->last_actual = actual;
	if (balloon->config.changed)
		balloon->config.changed(balloon->config.arg, actual);
}

static int work(void *model, struct samara_error *err)
{
	struct virtio_balloon *balloon = model;
	int ret;

	ret = balloon_pages_work(balloon, err);
	if (!ret)
		ret = balloon_stats_work(balloon, err);
	if (!ret)
		ret = balloon_hints_work(balloon, err);
	look_at_actual(balloon);
	return ret;
}

static int timeout_ms(void *model)
{
	return balloon_stats_timeout_ms(model);
}

static void reset(void *model)
{
	struct virtio_balloon *balloon = model;

	balloon_stats_reset(balloon);
	balloon_hints_reset(balloon);
	balloon->progress = (struct balloon_progress){0};
	/* The next driver has an empty balloon; and as there may never be one, it is told now. */
	guest_mm_take_back(balloon->config.mm, 0, -SAMARA_PAGE_BYTES);
	look_at_actual(balloon);
}

static const struct virtio_model model = {
	.id = VIRTIO_ID_BALLOON,
	.queue_count = BALLOON_QUEUES,
	.config_bytes = sizeof(struct virtio_balloon_config),
	.writable = BYTES(actual) | BYTES(poison_val),
	.work = work,
	.reset = reset,
	.timeout_ms = timeout_ms,
};

int virtio_balloon_create(const struct virtio_balloon_setup *config, struct virtio_balloon **out,
			  struct samara_error *err)
{
	static const struct virtio_balloon_config space;
	struct virtio_balloon *balloon = calloc(1, sizeof(*balloon));
	struct virtio_device_config device = {
		.name = config->name,
		.mm = config->mm,
		.irq = config->irq,
		.features = FEATURE(STATS_VQ) | FEATURE(FREE_PAGE_HINT) | FEATURE(PAGE_POISON),
		.packed = config->packed,
		.report = config->report,
		.report_arg = config->arg,
	};
	int ret;

	if (!balloon)
		return samara_error_set(err, -ENOMEM, "%s: out of memory", config->name);
	if (config->deflate_on_oom)
		device.features |= FEATURE(DEFLATE_ON_OOM);
	if (config->reporting)
		device.features |= FEATURE(REPORTING);
	balloon->config = *config;
	balloon->last_hint_id = VIRTIO_BALLOON_CMD_ID_DONE;
	pthread_mutex_init(&balloon->lock, NULL);
	balloon_stats_reset(balloon);
	ret = virtio_device_create(&device, &model, balloon, &space, &balloon->device, err);
	if (ret) {
		pthread_mutex_destroy(&balloon->lock);
		free(balloon);
		return ret;
	}
	*out = balloon;
	return 0;
}

void virtio_balloon_destroy(struct virtio_balloon *balloon)
{
	if (!balloon)
		return;
	virtio_device_destroy(balloon->device);
	pthread_mutex_destroy(&balloon->lock);
	free(balloon);
}

struct virtio_device *virtio_balloon_device(struct virtio_balloon *balloon)
{
	return balloon->device;
}

int virtio_balloon_set_target(struct virtio_balloon *balloon, uint64_t bytes,
			      struct samara_error *err)
{
	uint64_t pages = bytes >> PAGE_SHIFT;
	uint32_t field = htole32((uint32_t)pages);

	if (pages > UINT32_MAX)
		return samara_error_set(err, -ERANGE,
					"%s: %" PRIu64 " MiB are more than a balloon can hold",
					balloon->config.name, bytes >> 20);
	virtio_device_set_config(balloon->device, FIELD(num_pages), &field, sizeof(field), true);
	return 0;
}

void virtio_balloon_get(struct virtio_balloon *balloon, struct virtio_balloon_state *state)
{
	uint32_t target;

	virtio_device_get_config(balloon->device, FIELD(num_pages), &target, sizeof(target));
	*state = (struct virtio_balloon_state){
		.target_bytes = (uint64_t)le32toh(target) << PAGE_SHIFT,
		.actual_bytes = actual_bytes(balloon),
		.inflated_pages = atomic_load(&balloon->inflated_pages),
		.deflated_pages = atomic_load(&balloon->deflated_pages),
		.reported_pages = atomic_load(&balloon->reported_pages),
		.hinted_pages = atomic_load(&balloon->hinted_pages),
		.wild_pages = atomic_load(&balloon->wild_pages),
		.kept_pages = atomic_load(&balloon->kept_pages),
	};
}
