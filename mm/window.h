/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MM_WINDOW_H
#define MM_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <samara/guest_mm.h>

#include "mm/uffd.h"

/*
 * Windows: host address space for guest-physical ranges, made at start and never changed. Most of
 * it has no page behind it; which pages are there is kept in a bitmap, so that a pin need not ask
 * the kernel.
 */

#define WINDOWS_MAX 8

/**
 * struct window - a linear mapping of [gpa, gpa + size_bytes) at hva
 *
 * Lock key: I immutable after window_create(); a atomic.
 *
 * A bit of @present is set once its page is there, by whoever populated it holding the page's
 * region; it is cleared by a writer that has marked and drained that region. So a reader that
 * holds the region and sees the bit can rely on the page. Pages behind nothing (mm/stray.c) have no
 * bit.
 */
struct window {
	gpa_t gpa;                     /* I */
	uint64_t size_bytes;           /* I */
	char *hva;                     /* I */
	int fd;                        /* I: memfd, or -1 */
	enum guest_mm_backing backing; /* I */
	bool can_protect;              /* I: registered for write protection */
	uint64_t *present;             /* a: a bit per page */
	uint64_t present_pages;        /* a: how many are set */
};

int window_create(struct window *window, const struct uffd *uffd, gpa_t gpa, uint64_t size_bytes,
		  enum guest_mm_backing backing, struct samara_error *err);
void window_destroy(struct window *window);

static inline char *window_hva(const struct window *window, gpa_t gpa)
{
	return window->hva + (gpa - window->gpa);
}

static inline bool window_covers(const struct window *window, gpa_t gpa, uint64_t size_bytes)
{
	return gpa >= window->gpa && gpa - window->gpa <= window->size_bytes &&
	       size_bytes <= window->size_bytes - (gpa - window->gpa);
}

/* The bitmap. Ranges are page aligned and inside the window. */
bool window_present(const struct window *window, gpa_t gpa);
void window_set_present(struct window *window, gpa_t gpa, uint64_t size_bytes);
void window_clear_present(struct window *window, gpa_t gpa, uint64_t size_bytes);
uint64_t window_count_present(const struct window *window, gpa_t gpa, uint64_t size_bytes);

/**
 * window_next_run() - the first run of pages from @gpa on that are all present, or all missing
 * @end: where to stop looking
 * @present: which kind
 * @run_bytes: length of the run, 0 if there is none before @end
 *
 * Return: the run's first gpa, @end if there is none.
 */
gpa_t window_next_run(const struct window *window, gpa_t gpa, gpa_t end, bool present,
		      uint64_t *run_bytes);

/**
 * window_discard() - give the pages of a range back to the host
 *
 * An access from now on finds them missing. Nothing is lost when it fails.
 *
 * Context: May sleep. Everyone who might populate the range is kept out by the caller.
 * Return: 0, or what madvise() or fallocate() said.
 */
int window_discard(struct window *window, gpa_t gpa, uint64_t size_bytes);

#endif
