/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdbool.h>

#include "mm/around.h"
#include "mm/stage.h"

#define MIN_BYTES (16 * SAMARA_PAGE_BYTES)

static uint64_t get(const uint64_t *value)
{
	return __atomic_load_n(value, __ATOMIC_RELAXED);
}

static void put(uint64_t *value, uint64_t to)
{
	__atomic_store_n(value, to, __ATOMIC_RELAXED);
}

/*
 * Whether @page is a walk's next step: beside its last block, at most half a block away, since some
 * pages beside it may have been there already. Blocks of 2 MiB a guest may take downwards while it
 * goes upwards in each, as Linux' virtio-mem driver does when it unplugs: then the next step is anywhere
 * in the one before or behind.
 */
static bool is_next(gpa_t page, uint64_t first, uint64_t end, uint64_t bytes)
{
	uint64_t reach = (bytes < HUGE_BYTES ? bytes : HUGE_BYTES) / 2;
	gpa_t huge = page / HUGE_BYTES;

	if (page - end < reach || first - page - 1 < reach)
		return true;
	return bytes >= HUGE_BYTES / 2 &&
	       (huge == (end - 1) / HUGE_BYTES + 1 || huge + 1 == first / HUGE_BYTES);
}

/* The walk whose next step @page is; -1: none. */
static int find_walk(const struct around *around, gpa_t page)
{
	for (int i = 0; i < AROUND_WALKS; i++) {
		uint64_t first = get(&around->walk[i].first), end = get(&around->walk[i].end);

		if (first != end && is_next(page, first, end, get(&around->walk[i].bytes)))
			return i;
	}
	return -1;
}

/* Who touches here and there meets a neighbour by chance, but hardly where it begins or ends. */
static bool goes_straight(gpa_t page, uint64_t first, uint64_t end)
{
	return page - end < MIN_BYTES || first - page - 1 < MIN_BYTES ||
	       page - (first - HUGE_BYTES) < MIN_BYTES;
}

uint64_t around_bytes(const struct around *around, gpa_t page, uint64_t max, bool *down)
{
	int i = find_walk(around, page);
	uint64_t most = max > AROUND_AHEAD_BYTES ? max : AROUND_AHEAD_BYTES, first, end, bytes;

	*down = false;
	if (i < 0)
		return MIN_BYTES < max ? MIN_BYTES : max;
	first = get(&around->walk[i].first);
	end = get(&around->walk[i].end);
	bytes = 2 * get(&around->walk[i].bytes);
	*down = page < first;
	if (max >= HUGE_BYTES && bytes > max && goes_straight(page, first, end))
		return bytes < most ? bytes : most;
	return bytes < max ? bytes : max;
}

void around_filled(struct around *around, gpa_t page, gpa_t first, uint64_t bytes,
		   uint64_t block_bytes)
{
	int i = find_walk(around, page);

	if (i < 0)
		i = (int)(__atomic_fetch_add(&around->next, 1, __ATOMIC_RELAXED) % AROUND_WALKS);
	put(&around->walk[i].first, first);
	put(&around->walk[i].end, first + bytes);
	put(&around->walk[i].bytes, block_bytes);
}
