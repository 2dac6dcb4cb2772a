/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MM_PAGE_BITMAP_H
#define MM_PAGE_BITMAP_H

#include <stdbool.h>
#include <stdint.h>

#include <samara/types.h>

/**
 * struct page_bitmap - a bit for each page of a gpa range, and how many are set
 *
 * Lock key: I immutable after page_bitmap_init(); a atomic.
 *
 * A bit of @groups is set before any bit of its 64 words is, and cleared with all of them at once: so
 * what was never populated is passed over 16 MiB at a time.
 *
 * Ranges given to the functions are page aligned and inside the bitmap's. The end of a range is 0
 * where the address space ends. Setting is a release, looking an acquire.
 */
struct page_bitmap {
	gpa_t gpa;       /* I */
	uint64_t pages;  /* I */
	uint64_t *words; /* a */
	uint8_t *groups; /* a: one per 64 words, behind them; 0: they are 0 */
	uint64_t set;    /* a: how many bits are */
};

/*
 * Whether no bit of the 16 MiB that each page of a range is in was set since they were last cleared
 * as a whole. That none of its own is set does not tell so much.
 */
bool page_bitmap_is_fresh(const struct page_bitmap *map, gpa_t gpa, uint64_t size_bytes);

/* All bits 0; no memory is used before they are set. Return: 0, -ENOMEM. */
int page_bitmap_init(struct page_bitmap *map, gpa_t gpa, uint64_t size_bytes);
void page_bitmap_destroy(struct page_bitmap *map);

bool page_bitmap_test(const struct page_bitmap *map, gpa_t gpa);

/* Set or clear a range's bits. Return: how many were changed. */
uint64_t page_bitmap_set(struct page_bitmap *map, gpa_t gpa, uint64_t size_bytes);
uint64_t page_bitmap_clear(struct page_bitmap *map, gpa_t gpa, uint64_t size_bytes);

uint64_t page_bitmap_count(const struct page_bitmap *map, gpa_t gpa, uint64_t size_bytes);

/**
 * page_bitmap_next_run() - the first run of pages from @gpa on whose bits are all @value
 * @end: where to stop looking
 * @run_bytes: length of the run, 0 if there is none before @end
 *
 * Return: the run's first gpa, @end if there is none.
 */
gpa_t page_bitmap_next_run(const struct page_bitmap *map, gpa_t gpa, gpa_t end, bool value,
			   uint64_t *run_bytes);

#endif
