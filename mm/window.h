/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MM_WINDOW_H
#define MM_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <samara/guest_mm.h>

#include "mm/around.h"
#include "mm/backing.h"
#include "mm/page_bitmap.h"
#include "mm/piece.h"
#include "mm/stage.h"
#include "mm/uffd.h"

/*
 * Windows: host address space for guest-physical ranges, made at start and never moved. Most of it
 * has no page behind it; which pages are there is kept in a bitmap, so that a pin need not ask the
 * kernel.
 */

#define WINDOWS_MAX 8

/**
 * struct window - a linear mapping of [gpa, gpa + size_bytes) at hva
 *
 * Lock key: I immutable after window_create(); a atomic; R written by the holder of the tree lock,
 * read under RCU.
 *
 * A bit of @present is set once its page is there, by whoever populated it holding the page's
 * region; it is cleared by a writer that has marked and drained that region. So a reader that
 * holds the region and sees the bit can rely on the page. Pages behind nothing (mm/stray.c) have no
 * bit. A bit of @discarded is set while a plugged page is missing because it was discarded; of @lent,
 * besides, while the guest has said that it will not use it. A bit of @tables stands for the 2 MiB
 * that begin there: they have had small pages, or a huge one that was cut. Linux before 6.14 keeps an
 * empty table of page-table entries, so no huge page can be moved there ever again; later ones free it
 * with the last page (stage->tables_go).
 *
 * Equal stripes of the window are watched by one userfaultfd each.
 */
struct window {
	gpa_t gpa;                    /* I */
	uint64_t size_bytes;          /* I */
	char *hva;                    /* I */
	struct backing own;           /* I: what is behind it from the start */
	struct maple_tree pieces;     /* R: struct piece, where reback changed the mapping */
	bool has_pieces;              /* a: there is or was one */
	bool can_protect;             /* I: registered for write protection */
	const struct uffd *uffd;      /* I: one for each stripe */
	uint64_t stripe_bytes;        /* I */
	struct stage stage;           /* locks of its own */
	struct around around;         /* a */
	struct page_bitmap present;   /* a */
	struct page_bitmap discarded; /* a */
	struct page_bitmap lent;      /* a */
	struct page_bitmap tables;    /* a */
};

/**
 * window_create() - reserve, map and register
 * @uffd: @uffd_count of them; they stay as long as the window
 * @huge_pages: populate anonymous memory with them where that is possible
 */
int window_create(struct window *window, const struct uffd *uffd, unsigned int uffd_count,
		  bool huge_pages, const struct guest_mm_window_config *config,
		  struct samara_error *err);
void window_destroy(struct window *window);

/* What the kernel is to know of a mapping in the window, or one that shall be. Return: 0, -errno. */
int window_advise(const struct window *window, const struct backing *backing, void *hva,
		  uint64_t size_bytes);

static inline char *window_hva(const struct window *window, gpa_t gpa)
{
	return window->hva + (gpa - window->gpa);
}

static inline bool window_covers(const struct window *window, gpa_t gpa, uint64_t size_bytes)
{
	return gpa >= window->gpa && gpa - window->gpa <= window->size_bytes &&
	       size_bytes <= window->size_bytes - (gpa - window->gpa);
}

static inline bool window_present(const struct window *window, gpa_t gpa)
{
	return page_bitmap_test(&window->present, gpa);
}

/* The 2 MiB around @gpa have small pages, or a huge one is about to be cut. */
void window_note_table(struct window *window, gpa_t gpa);

/**
 * window_backing() - what is behind a range at its start
 * @bytes: the range's length; cut to how much of it that is behind
 *
 * Context: the caller keeps reback out of the range: it holds the region, or the tree lock, or the
 * range is no memory. As long as it does, the answer is true.
 */
const struct backing *window_backing(const struct window *window, gpa_t gpa, uint64_t *bytes);

/* The userfaultfd that watches an address. */
static inline const struct uffd *window_uffd(const struct window *window, gpa_t gpa)
{
	return &window->uffd[(gpa - window->gpa) / window->stripe_bytes];
}

/* Cut a range behind the end of the stripe that it starts in. */
static inline uint64_t window_in_stripe(const struct window *window, gpa_t gpa, uint64_t size_bytes)
{
	uint64_t left = window->stripe_bytes - (gpa - window->gpa) % window->stripe_bytes;

	return size_bytes < left ? size_bytes : left;
}

/*
 * Cut a range where one mapping of the host ends: most of userfaultfd's calls work on one at a time.
 * Context: as window_backing().
 */
static inline uint64_t window_in_mapping(const struct window *window, gpa_t gpa,
					 uint64_t size_bytes)
{
	uint64_t bytes = window_in_stripe(window, gpa, size_bytes);

	window_backing(window, gpa, &bytes);
	return bytes;
}

/* Whether others may reach any page of a range through a file. */
bool window_is_shared(const struct window *window, gpa_t gpa, uint64_t size_bytes);

/*
 * Whether nothing is behind a range, and nothing has been since it was last given back as a whole: no
 * page, no write protection, and no page table, which would be in the way of huge pages. Context:
 * who might populate it is kept out, and it has no stray pages.
 */
bool window_is_bare(const struct window *window, gpa_t gpa, uint64_t size_bytes);

/* Whether a range is anonymous memory from end to end, and nobody's copy of a file. */
bool window_is_anon(const struct window *window, gpa_t gpa, uint64_t size_bytes);

/* Pages came, or are gone: keep the bitmaps. */
void window_set_present(struct window *window, gpa_t gpa, uint64_t size_bytes);
void window_clear_present(struct window *window, gpa_t gpa, uint64_t size_bytes);

/* Pages that were lent are used again. */
void window_take_back(struct window *window, gpa_t gpa, uint64_t size_bytes);

/* A range is no memory any more: forget what was known of its pages. */
void window_forget(struct window *window, gpa_t gpa, uint64_t size_bytes);

/**
 * window_fill() - put pages behind missing ones, whatever the backing
 *
 * As struct backing_ops' fill: one step, of at least a page of the backing. Records what came.
 */
int window_fill(struct guest_mm *mm, struct window *window, gpa_t gpa, uint64_t size_bytes,
		bool protect, uint64_t *done);

/*
 * Give the pages of a range back to the host; an access from now on finds them missing. Nothing is
 * lost when it fails. The bitmaps are the caller's.
 *
 * Context: May sleep. Everyone who might populate the range is kept out by the caller.
 * Return: 0, or what madvise() or fallocate() said.
 */
int window_discard(struct window *window, gpa_t gpa, uint64_t size_bytes);

/* The same for a plugged range, drained: where nothing was, it costs nothing, however large. */
int window_drop(struct window *window, gpa_t gpa, uint64_t size_bytes);

/* Where pages are scarce, make those of a plugged range present, and record them. */
int window_reserve(struct window *window, gpa_t gpa, uint64_t size_bytes);

/* uffd_protect(), uffd_unprotect() and uffd_wake() over all stripes of a range. */
int window_protect(const struct window *window, gpa_t gpa, uint64_t size_bytes);
void window_unprotect(const struct window *window, gpa_t gpa, uint64_t size_bytes);
void window_wake(const struct window *window, gpa_t gpa, uint64_t size_bytes);

#endif
