/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdbool.h>

#include "mm/around.h"

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
 * The walk whose next step @page is: beside its last block, at most half a block away. -1: none.
 * Some pages beside it may have been there already.
 */
static int find_walk(const struct around *around, gpa_t page)
{
	for (int i = 0; i < AROUND_WALKS; i++) {
		uint64_t first = get(&around->walk[i].first), end = get(&around->walk[i].end);
		uint64_t reach = get(&around->walk[i].bytes) / 2;

		if (first != end && (page - end < reach || first - page - 1 < reach))
			return i;
	}
	return -1;
}

uint64_t around_bytes(const struct around *around, gpa_t page, uint64_t max)
{
	int i = find_walk(around, page);
	uint64_t bytes = i < 0 ? MIN_BYTES : 2 * get(&around->walk[i].bytes);

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
