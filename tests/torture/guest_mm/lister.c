/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <inttypes.h>

#include "tests/torture/guest_mm/round.h"

/* A lister: looks at all regions and counters, and waits for nobody. */

struct listing {
	struct tally *tally;
	gpa_t behind; /* the end of the region before */
};

static int check_listed(const struct guest_mm_region *region, void *arg)
{
	struct listing *listing = arg;

	if (region->gpa < listing->behind || !region->size_bytes ||
	    region->populated_pages > region->size_bytes / PAGE)
		tally_wrong(
			&listing->tally->wrong_listing,
			"listed: %#" PRIx64 "+%#" PRIx64 " after %#" PRIx64 ", %" PRIu64 " pages",
			region->gpa, region->size_bytes, listing->behind, region->populated_pages);
	listing->behind = region->gpa + region->size_bytes;
	return 0;
}

void *actor_lister(void *arg)
{
	struct actor *lister = arg;
	struct round *round = lister->round;
	struct guest_mm_stats stats;

	while (round_goes_on(round)) {
		struct listing listing = {.tally = &round->tally};

		guest_mm_for_each_region(round->windows.mm, check_listed, &listing);
		guest_mm_get_stats(round->windows.mm, &stats);
		count(&round->tally.listings);
		sleep_us(200);
	}
	return NULL;
}
