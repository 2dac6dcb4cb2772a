/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>

#include "mm/parked.h"

#define PARKED_USED UINT64_C(0x800)
#define SLOTS_MIN   64

/* Where a key belongs: Fibonacci hashing (Knuth, TAOCP 3, 6.4). */
static size_t place_of(uint64_t key, size_t slots)
{
	return (size_t)((key * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & (slots - 1);
}

/* The slot that has @key, or the free one where it would be. There is always a free one. */
static uint64_t *find(uint64_t *slot, size_t slots, uint64_t key)
{
	size_t i = place_of(key, slots);

	while (slot[i] && slot[i] != key)
		i = (i + 1) & (slots - 1);
	return &slot[i];
}

static int grow(struct parked *parked)
{
	size_t slots = parked->slots ? 2 * parked->slots : SLOTS_MIN;
	uint64_t *slot = calloc(slots, sizeof(*slot));

	if (!slot)
		return -ENOMEM;
	for (size_t i = 0; i < parked->slots; i++)
		if (parked->slot[i])
			*find(slot, slots, parked->slot[i]) = parked->slot[i];
	free(parked->slot);
	parked->slot = slot;
	parked->slots = slots;
	return 0;
}

int parked_add(struct parked *parked, gpa_t page, unsigned int flags)
{
	uint64_t key = page | flags | PARKED_USED, *slot;

	if (2 * parked->count >= parked->slots && grow(parked) &&
	    parked->count + 1 >= parked->slots)
		return -ENOMEM;
	slot = find(parked->slot, parked->slots, key);
	if (*slot)
		return -EALREADY;
	*slot = key;
	parked->count++;
	return 0;
}

struct parked parked_take(struct parked *parked)
{
	struct parked all = *parked;

	*parked = (struct parked){0};
	return all;
}

void parked_free(struct parked *parked)
{
	free(parked->slot);
	*parked = (struct parked){0};
}

int parked_next(const struct parked *parked, size_t *at, gpa_t *page, unsigned int *flags)
{
	while (*at < parked->slots) {
		uint64_t key = parked->slot[(*at)++];

		if (!key)
			continue;
		*page = key & ~(SAMARA_PAGE_BYTES - 1);
		*flags = (unsigned int)(key & (PARKED_USED - 1));
		return 1;
	}
	return 0;
}
