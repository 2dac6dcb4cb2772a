/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MM_AROUND_H
#define MM_AROUND_H

#include <stdbool.h>
#include <stdint.h>

#include <samara/types.h>

/*
 * How much a fault brings along. A block of 16 pages takes hardly longer than a single page
 * (KERNEL-FACTS: 99 and 107 us), so that is the least. A guest that walks through its memory, up or
 * down, touches next what lies beside the block before: each time it does, the block for it
 * doubles, to 2 MiB or what the configuration allows. One that touches here and there gets 16 pages
 * wherever it does; unless a huge page may come in their place (mm/populate.c).
 *
 * Who walks from one huge page straight into the next gets several of them at once, up to
 * AROUND_AHEAD_BYTES and never more than it has walked: the kernel clears a huge page for nothing each
 * time that it finds one missing, twice if KVM asks, before it tells userfaultfd.
 */
#define AROUND_WALKS       16
#define AROUND_AHEAD_BYTES (UINT64_C(32) << 20)

/**
 * struct around - the walks that are seen in a window, each by the block it populated last
 *
 * All fields are atomic (relaxed). Handlers on several CPUs may mix two walks up or lose one: the
 * next block is then the smallest again.
 */
struct around {
	struct {
		gpa_t first, end; /* first == end: unused */
		uint64_t bytes;
	} walk[AROUND_WALKS];
	uint32_t next; /* which one is forgotten for a new one */
};

/**
 * around_bytes() - how much the missing page at @page deserves
 * @max: of small pages
 * @down: whether the walk goes downwards, if it is more than 2 MiB
 *
 * Return: @max at most, a power of two; more, up to AROUND_AHEAD_BYTES, for a walk by huge pages, if those
 * come as huge pages as well.
 */
uint64_t around_bytes(const struct around *around, gpa_t page, uint64_t max, bool *down);

/* Remember that for the missing page at @page, @bytes from @first on were populated. */
void around_filled(struct around *around, gpa_t page, gpa_t first, uint64_t bytes,
		   uint64_t block_bytes);

#endif
