/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DEVICES_VIRTIO_BALLOON_INTERNAL_H
#define DEVICES_VIRTIO_BALLOON_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "devices/virtio_balloon.h"

/* Queues (virtio 1.2, 5.5.2). */
enum {
	BALLOON_INFLATE,
	BALLOON_DEFLATE,
	BALLOON_STATS,
	BALLOON_HINTS,
	BALLOON_REPORTS,
	BALLOON_QUEUES,
};

/* What a driver is told of once. */
enum balloon_complaint {
	BALLOON_WILD_PAGES = 1,
	BALLOON_KEPT_PAGES = 2,
};

/* struct virtio_balloon's hints. */
struct balloon_hints {
	virtio_balloon_hint_fn *hint; /* NULL: nobody wants any */
	virtio_balloon_hints_over_fn *over;
	void *arg;
	uint32_t id; /* of the round that was asked for */
	bool begun;  /* the driver has answered with it */
	bool told;   /* @over was called */
};

/*
 * How far the first request of a queue is, if it was left while it was worked on: all 0 at its
 * start, and when it is done.
 */
struct balloon_progress {
	uint64_t inflated, deflated; /* page numbers of the list */
	unsigned int reported;       /* ranges of the report */
	gpa_t next;                  /* in the range after these; 0: its start */
};

/**
 * struct virtio_balloon - a balloon
 *
 * Lock key: I immutable; a atomic; l under @lock; w the worker's, or virtio_device_reset()'s while
 * the worker is kept out. @lock is taken before the virtio_device's own; hints are given with it
 * held.
 */
struct virtio_balloon {
	struct virtio_balloon_setup config; /* I */
	struct virtio_device *device;       /* I */
	pthread_mutex_t lock;
	struct virtio_balloon_stats stats; /* l */
	struct balloon_hints hints;        /* l */
	unsigned int poll_interval_s;      /* l */
	uint64_t poll_due_ns;              /* l: on CLOCK_MONOTONIC */
	uint32_t last_hint_id;             /* l */
	bool stats_held;                   /* w: stats_chain is the driver's next answer's buffer */
	struct descriptor_chain stats_chain; /* w */
	struct balloon_progress progress;    /* w */
	uint64_t last_actual;                /* w: bytes */
	unsigned int complained;             /* w: enum balloon_complaint */
	atomic_uint_fast64_t inflated_pages, deflated_pages, reported_pages, hinted_pages; /* a */
	atomic_uint_fast64_t wild_pages, kept_pages;                                       /* a */
};

/* The worker's parts: one queue each. Return: as struct virtio_model's @work. */
int balloon_pages_work(struct virtio_balloon *balloon, struct samara_error *err);
int balloon_hints_work(struct virtio_balloon *balloon, struct samara_error *err);
int balloon_stats_work(struct virtio_balloon *balloon, struct samara_error *err);

/* In how many ms statistics are to be asked for; -1: not at all. Context: the worker. */
int balloon_stats_timeout_ms(struct virtio_balloon *balloon);

/* Forget what the driver said. Context: the worker is kept out. */
void balloon_stats_reset(struct virtio_balloon *balloon);
void balloon_hints_reset(struct virtio_balloon *balloon);

#endif
