/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MM_STAGE_H
#define MM_STAGE_H

#include <stdbool.h>
#include <stdint.h>

#include <samara/guest_mm.h>

struct fill;

/* What the kernel's huge pages are on x86, and on arm64 with pages of 4 KiB. */
#define HUGE_BYTES (UINT64_C(2) << 20)
#define STAGES     8

/**
 * struct stage - staging areas of a window: 2 MiB each, in which the kernel makes huge pages
 *
 * Lock key: I immutable; a atomic.
 *
 * A thread takes an area that is free, has the kernel fill it, moves the pages away, and gives it
 * back empty. There are as many as threads that can be expected to do so at once; the next one
 * copies instead. They obey the window's NUMA placement. When the kernel has no huge page to give, it is
 * left alone for a while: the small ones that it gives instead are dearer to move than to copy.
 */
struct stage {
	char *area;     /* I: STAGES of them, or NULL: there are none */
	void *map;      /* I: what was mapped for it */
	bool tables_go; /* I: a table whose pages are all discarded goes with them (stage_init()) */
	uint32_t taken; /* a: a bit per area */
	uint32_t rest;  /* a: how often it is not asked after it had none */
	int pagemap;    /* I: while there is a map: tells huge pages from small ones; -1: unknown */
	struct guest_mm_placement placement; /* I: where their pages come from */
};

/* Make staging areas; without memory for them, or without UFFDIO_MOVE, there are none. */
void stage_init(struct stage *stage, bool can_move, const struct guest_mm_placement *placement);
void stage_destroy(struct stage *stage);

/* Whether it is worth while to try stage_fill(); each time that it is not, that comes nearer. */
bool stage_may_fill(struct stage *stage);

/**
 * stage_fill() - put 2 MiB of zeros at a place that is wholly missing, as one huge page
 *
 * Context: Takes no lock.
 * Return: 0; an error: copying may do; what is there all the same is recorded.
 */
int stage_fill(const struct fill *fill, char *hva);

#endif
