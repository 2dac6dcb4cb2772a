/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory statistics (virtio 1.2, 5.5.6.3). The driver leaves a buffer with the device; to give it
 * back is to ask for the next statistics.
 */
#include <endian.h>
#include <limits.h>
#include <stddef.h>
#include <string.h>
#include <time.h>
#include <linux/virtio_balloon.h>

#include "devices/virtio_balloon_internal.h"

#define NS_PER_S  UINT64_C(1000000000)
#define NS_PER_MS UINT64_C(1000000)

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

static int parse(const struct descriptor_chain *chain, struct virtio_balloon_stats *stats,
		 struct samara_error *err)
{
	struct virtio_balloon_stat entry;

	memset(stats->values, 0xff, sizeof(stats->values));
	stats->updated_s = time(NULL);
	for (uint64_t at = 0; at + sizeof(entry) <= chain->readable_bytes &&
			      at < 2 * sizeof(entry) * VIRTIO_BALLOON_STATS;
	     at += sizeof(entry)) {
		int ret = chain_read(chain, at, &entry, sizeof(entry), err);

		if (ret)
			return ret;
		if (le16toh(entry.tag) < VIRTIO_BALLOON_STATS)
			stats->values[le16toh(entry.tag)] = le64toh(entry.val);
	}
	return 0;
}

static int give_back(struct virtio_balloon *balloon, struct samara_error *err)
{
	struct virtqueue *queue = virtio_device_queue(balloon->device, BALLOON_STATS);
	int ret;

	balloon->stats_held = false;
	/* The driver may have taken the queue away. */
	if (!queue)
		return 0;
	ret = virtqueue_push(queue, &balloon->stats_chain, 0, err);
	return ret ? ret : virtio_device_notify(balloon->device, queue, err);
}

static int take_stats(void *arg, struct descriptor_chain *chain, uint32_t *written_bytes,
		      struct samara_error *err)
{
	struct virtio_balloon *balloon = arg;
	struct virtio_balloon_stats stats;
	int ret = parse(chain, &stats, err);

	(void)written_bytes;
	if (ret)
		return ret;
	pthread_mutex_lock(&balloon->lock);
	balloon->stats = stats;
	pthread_mutex_unlock(&balloon->lock);
	/* There should be one buffer at a time; with more of them, the last one is kept. */
	if (balloon->stats_held)
		ret = give_back(balloon, err);
	if (ret)
		return ret;
	balloon->stats_chain = *chain;
	balloon->stats_held = true;
	return VIRTIO_SERVE_KEPT;
}

int balloon_stats_timeout_ms(struct virtio_balloon *balloon)
{
	uint64_t now = now_ns(), due = 0, ms;
	bool wanted;

	pthread_mutex_lock(&balloon->lock);
	wanted = balloon->poll_interval_s;
	due = balloon->poll_due_ns;
	pthread_mutex_unlock(&balloon->lock);
	/* Without a buffer, the driver's next notification is what is waited for. */
	if (!wanted || !balloon->stats_held)
		return -1;
	if (due <= now)
		return 0;
	/* Whoever is woken before it is due waits again. */
	ms = (due - now + NS_PER_MS - 1) / NS_PER_MS;
	return ms < INT_MAX ? (int)ms : INT_MAX;
}

int balloon_stats_work(struct virtio_balloon *balloon, struct samara_error *err)
{
	int ret;

	if (!virtio_device_has(balloon->device, VIRTIO_BALLOON_F_STATS_VQ))
		return 0;
	ret = virtio_device_serve(balloon->device, BALLOON_STATS, take_stats, balloon, err);
	if (ret || balloon_stats_timeout_ms(balloon))
		return ret;
	pthread_mutex_lock(&balloon->lock);
	balloon->poll_due_ns = now_ns() + balloon->poll_interval_s * NS_PER_S;
	pthread_mutex_unlock(&balloon->lock);
	return give_back(balloon, err);
}

void balloon_stats_reset(struct virtio_balloon *balloon)
{
	balloon->stats_held = false;
	pthread_mutex_lock(&balloon->lock);
	memset(balloon->stats.values, 0xff, sizeof(balloon->stats.values));
	balloon->stats.updated_s = 0;
	pthread_mutex_unlock(&balloon->lock);
}

void virtio_balloon_get_stats(struct virtio_balloon *balloon, struct virtio_balloon_stats *stats)
{
	pthread_mutex_lock(&balloon->lock);
	*stats = balloon->stats;
	pthread_mutex_unlock(&balloon->lock);
}

void virtio_balloon_poll_stats(struct virtio_balloon *balloon, unsigned int interval_s)
{
	pthread_mutex_lock(&balloon->lock);
	balloon->poll_interval_s = interval_s;
	balloon->poll_due_ns = now_ns();
	pthread_mutex_unlock(&balloon->lock);
	virtio_device_kick(balloon->device);
}

unsigned int virtio_balloon_poll_interval(struct virtio_balloon *balloon)
{
	unsigned int interval_s;

	pthread_mutex_lock(&balloon->lock);
	interval_s = balloon->poll_interval_s;
	pthread_mutex_unlock(&balloon->lock);
	return interval_s;
}
