/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_FREE_PAGES_H
#define VMM_FREE_PAGES_H

#include <stdint.h>

#include <samara/error.h>
#include <samara/guest_mm.h>

#include "devices/virtio_balloon.h"

/*
 * How much of its memory the guest has free: one round of free page hints (virtio 1.2, 5.5.6.5),
 * added up. That is what a save or a migration could leave out, and what a balloon or free page
 * reports could give back at once.
 *
 * Nothing is discarded. A hint says that the contents did not matter when it was given; the guest
 * may write to the page the moment after, and Linux does: what it has named it keeps on a list, from
 * which its shrinker takes pages whenever memory is short (drivers/virtio/virtio_balloon.c,
 * shrink_free_pages()), without a word to the device. A discard then would destroy what was
 * written. Only who logs writes from before the round on can use a hint for more than counting.
 *
 * Linux names free blocks of its largest order (MAX_PAGE_ORDER: 4 MiB), and it gets them as any user
 * of memory does: by allocating them. So it names no fragments, it has little left while the round
 * lasts, and a kernel that clears what it allocates (init_on_alloc, Debian's default) touches all
 * that it names.
 */

/* Ranges that do not touch: what 512 GiB are in when every other block of 4 MiB is free. */
#define FREE_PAGES_RANGES_MAX 65536u

/**
 * struct free_pages_request - how one round is asked for
 * @timeout_ms: how long the guest may take
 * @check: called before the round, and now and then while it lasts: 0: go on; or -errno with the
 *         error set: end the round
 */
struct free_pages_request {
	unsigned int timeout_ms;
	int (*check)(void *arg, struct samara_error *err);
	void *arg;
};

/**
 * struct free_pages - what the guest has named
 * @free_bytes: each page once; without addresses that are no memory
 * @ranges, @largest_bytes: of those, put together where they touch
 * @populated_bytes: of @free_bytes, present on the host when all were named
 * @grown_bytes: by how much more of all the guest's memory was present then than before the round
 */
struct free_pages {
	uint64_t free_bytes, ranges, largest_bytes, populated_bytes, grown_bytes;
};

/**
 * free_pages_ask() - have the guest name its free pages, and let it have them back
 *
 * The guest has them back in any case, a failure included: it hears of it as soon as it can.
 *
 * Context: May sleep, @timeout_ms and a little more. Not from a vCPU's thread, nor the balloon's.
 * Return: 0, -EBUSY (another round is on its way), -EOPNOTSUPP (the guest has no driver that
 * names pages), -EIO (it has broken the rules), -ETIMEDOUT, -ECANCELED (the guest, or its driver,
 * was reset meanwhile), -E2BIG (it names more than FREE_PAGES_RANGES_MAX ranges), -ENOMEM, or what
 * @check returned.
 */
int free_pages_ask(struct virtio_balloon *balloon, struct guest_mm *mm,
		   const struct free_pages_request *request, struct free_pages *out,
		   struct samara_error *err);

#endif
