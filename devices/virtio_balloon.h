/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DEVICES_VIRTIO_BALLOON_H
#define DEVICES_VIRTIO_BALLOON_H

#include <stdbool.h>
#include <stdint.h>

#include <samara/error.h>
#include <samara/guest_mm.h>

#include "devices/irq.h"
#include "devices/virtio_device.h"

/*
 * virtio-balloon (virtio 1.2, 5.5): the guest lends pages to the host. Pages of the balloon, and
 * free pages that the guest reports, are discarded at once: they are memory still, and read as
 * zeros when the guest takes them back.
 *
 * The page numbers are the driver's and may be anything: those that are no memory are counted and
 * passed over.
 */
struct virtio_balloon;

/**
 * struct virtio_balloon_setup - what a balloon is joined to, and what it offers
 * @name: for messages; lives as long as the balloon
 * @deflate_on_oom: the guest may take pages back when it is out of memory
 * @reporting: the guest reports free pages by itself
 * @report: takes a line about a driver that misbehaves, once for each kind; may be NULL
 * @changed: the guest says that its balloon has another size, or a reset has emptied it; may be NULL
 * @arg: for both
 *
 * Context of @changed: the balloon's worker, or whoever resets the device while the worker is kept
 * out (a vCPU, too); no lock of the balloon's is held. Must not reset or destroy the device.
 */
struct virtio_balloon_setup {
	const char *name;
	struct guest_mm *mm;
	struct irq irq;
	bool packed, deflate_on_oom, reporting;
	void (*report)(void *arg, const char *line);
	void (*changed)(void *arg, uint64_t actual_bytes);
	void *arg;
};

/**
 * virtio_balloon_create() - make a balloon without air in it
 *
 * Context: May sleep, starts a thread.
 * Return: 0, -ENOMEM, or why there is no thread.
 */
int virtio_balloon_create(const struct virtio_balloon_setup *config, struct virtio_balloon **out,
			  struct samara_error *err);

/* Context: It is on no bus, and nobody calls it any more. May sleep. */
void virtio_balloon_destroy(struct virtio_balloon *balloon);

/* What the transport shows. It lives as long as the balloon. */
struct virtio_device *virtio_balloon_device(struct virtio_balloon *balloon);

/**
 * virtio_balloon_set_target() - ask the guest for that much memory
 * @bytes: rounded down to pages
 *
 * Context: Any thread; does not sleep for long.
 * Return: 0, -ERANGE (more than 2^32 - 1 pages).
 */
int virtio_balloon_set_target(struct virtio_balloon *balloon, uint64_t bytes,
			      struct samara_error *err);

/**
 * struct virtio_balloon_state - how full a balloon is, and what happened since it was made
 * @target_bytes: asked of the guest
 * @actual_bytes: what the guest says it has given
 * @wild_pages: page numbers where no memory is
 * @kept_pages: that should have been discarded, and the host could not
 */
struct virtio_balloon_state {
	uint64_t target_bytes, actual_bytes;
	uint64_t inflated_pages, deflated_pages, reported_pages, hinted_pages;
	uint64_t wild_pages, kept_pages;
};

/* Context: Any thread; does not sleep for long. */
void virtio_balloon_get(struct virtio_balloon *balloon, struct virtio_balloon_state *state);

/* As many as there are tags (VIRTIO_BALLOON_S_* in linux/virtio_balloon.h), with room for more. */
#define VIRTIO_BALLOON_STATS 16

/**
 * struct virtio_balloon_stats - what the guest last said of its memory
 * @values: by tag; UINT64_MAX: it did not say
 * @updated_s: when, in seconds since 1970; 0: never
 */
struct virtio_balloon_stats {
	uint64_t values[VIRTIO_BALLOON_STATS];
	uint64_t updated_s;
};

/* Context: Any thread; does not sleep for long. */
void virtio_balloon_get_stats(struct virtio_balloon *balloon, struct virtio_balloon_stats *stats);

/**
 * virtio_balloon_poll_stats() - ask the guest for statistics now and then
 * @interval_s: seconds; the first time is at once; 0: no more
 *
 * Context: Any thread; does not sleep for long.
 */
void virtio_balloon_poll_stats(struct virtio_balloon *balloon, unsigned int interval_s);
unsigned int virtio_balloon_poll_interval(struct virtio_balloon *balloon);

/**
 * typedef virtio_balloon_hint_fn - the contents of a range did not matter when the guest said so
 *
 * The guest may write there at any time, and then they do: a hint is of use to somebody who knows
 * what was written since hinting was started (a snapshot or a migration with a dirty log), and to
 * nobody else. So nothing is discarded (virtio 1.2, 5.5.6.5). Linux does so, too: while it keeps
 * the pages for us, its shrinker frees them again whenever memory is short, and whoever gets them
 * writes to them; no word of that comes to us. The range is as the driver gave it: any address, any
 * length but 0.
 *
 * Context: the balloon's worker, with the balloon's lock held: must not call the balloon.
 */
typedef void virtio_balloon_hint_fn(void *arg, gpa_t gpa, uint64_t size_bytes);

/**
 * typedef virtio_balloon_hints_over_fn - no hint comes any more; the round is still to be ended
 * @complete: the guest has named all that it has; false: it was reset, or its driver was
 *
 * Context: the balloon's worker, or who resets it; as above.
 */
typedef void virtio_balloon_hints_over_fn(void *arg, bool complete);

/**
 * virtio_balloon_start_hints() - have the guest name its free pages
 * @hint: called for each range, until @over
 * @over: called once, unless the hints are ended before
 *
 * The guest keeps the pages until virtio_balloon_end_hints(). Nothing says when it has them back:
 * a round that follows at once may find some of them kept still, and not name these.
 *
 * Context: Any thread; may sleep until a request is done.
 * Return: 0, -EBUSY (another round has not been ended), -EOPNOTSUPP (the guest's driver cannot).
 */
int virtio_balloon_start_hints(struct virtio_balloon *balloon, virtio_balloon_hint_fn *hint,
			       virtio_balloon_hints_over_fn *over, void *arg,
			       struct samara_error *err);

/**
 * virtio_balloon_end_hints() - let the guest have its pages back
 *
 * No function of the round's is called once it has returned.
 *
 * Context: Who has started them; not the balloon's worker. May sleep until a hint is taken.
 */
void virtio_balloon_end_hints(struct virtio_balloon *balloon);

#endif
