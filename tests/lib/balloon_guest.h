/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_LIB_BALLOON_GUEST_H
#define TESTS_LIB_BALLOON_GUEST_H

#include <stdbool.h>
#include <stdint.h>
#include <linux/virtio_balloon.h>

#include "devices/virtio_balloon_internal.h"
#include "tests/lib/virtio_driver.h"

/* A balloon as a guest's driver uses it, on memory whose pages are counted. */

#define BASE       UINT64_C(0x100000000)
#define BASE_BYTES (UINT64_C(512) << 20)
#define RAM_BYTES  (UINT64_C(272) << 20) /* plugged */
#define RING(n)    (BASE + 0x10000 * (gpa_t)(n))
#define LIST       (BASE + 0x100000) /* what the driver says */
#define PAGES      (BASE + (UINT64_C(16) << 20))
#define PAGE       SAMARA_PAGE_BYTES
#define PFN(gpa)   ((uint32_t)((gpa) >> SAMARA_PAGE_SHIFT))

#define BIT(n)     (UINT64_C(1) << (n))
#define ALL                                                                            \
	(BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_BALLOON_F_STATS_VQ) |                    \
	 BIT(VIRTIO_BALLOON_F_DEFLATE_ON_OOM) | BIT(VIRTIO_BALLOON_F_FREE_PAGE_HINT) | \
	 BIT(VIRTIO_BALLOON_F_REPORTING))

enum {
	INFLATE,
	DEFLATE,
	STATS,
	HINTS,
	REPORTS,
	QUEUES
};

/**
 * struct balloon_guest - a guest of one balloon
 * @reports, @report: lines about its driver; the last one
 * @changed, @changes: the size that was told last, and how often one was
 * @hints, @hint: ranges that were hinted; the first of them
 * @overs, @completes: rounds of hints that are over; those that were complete
 */
struct balloon_guest {
	struct guest guest;
	struct virtio_balloon *balloon;
	struct virtio_mmio mmio;
	struct driver_queue queues[QUEUES];
	int irq_fd;
	uint32_t reports; /* atomic */
	char report[256];
	bool hold;        /* the worker, when it reports, until somebody waits for it */
	uint64_t changed; /* atomic */
	uint32_t changes; /* atomic */
	unsigned int hints;
	struct chain_segment hint[16];
	unsigned int overs, completes;
};

/* A cmocka fixture: the memory and the balloon; *@state: its enum guest_mm_backing, NULL: anonymous. */
int balloon_guest_setup(void **state);
int balloon_guest_teardown(void **state);

/* Another balloon in the place of one that the test has destroyed. */
int balloon_guest_create(struct balloon_guest *f);

/* Have a driver for it, with these features; @poison: as in the configuration space. */
void balloon_guest_start(struct balloon_guest *f, uint64_t features, uint32_t poison);

void balloon_guest_notify(struct balloon_guest *f);
bool balloon_guest_needs_reset(struct balloon_guest *f);

/* Wait for an interrupt, at most for a minute; for a request to be used; for the device to give up. */
void balloon_guest_wait_interrupt(struct balloon_guest *f);
void balloon_guest_wait_used(struct balloon_guest *f, unsigned int queue);
void balloon_guest_expect_needs_reset(struct balloon_guest *f);

/* Have the device read @count bytes; a list of page numbers, until it is used. */
void balloon_guest_send(struct balloon_guest *f, unsigned int queue, const void *bytes,
			uint32_t count);
void balloon_guest_send_pages(struct balloon_guest *f, unsigned int queue, const uint32_t *numbers,
			      uint32_t count);

struct virtio_balloon_state balloon_guest_state_of(struct balloon_guest *f);

/* Write to pages from PAGES on, each its own; look at one, whether it has that or zeros. */
void balloon_guest_fill(struct balloon_guest *f, unsigned int first, unsigned int count);
void balloon_guest_expect_page(struct balloon_guest *f, unsigned int number, bool kept);

#endif
