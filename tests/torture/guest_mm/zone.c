/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/torture/guest_mm/zone.h"

#define ZONE_PAGES 16

void zone_make(struct zone *zone, const struct windows *windows, unsigned int number)
{
	struct samara_error err;

	*zone = (struct zone){
		.windows = windows,
		.home = {BASE + number * ZONE_PAGES * PAGE,
			 SECOND + number * 4 * ZONE_PAGES * PAGE + PAGE},
		.pages = ZONE_PAGES,
	};
	must(guest_mm_plug(windows->mm, zone->home[0], zone->pages * PAGE, GUEST_MM_RDWR, &err),
	     &err);
}

void zone_end(struct zone *zone, struct tally *tally)
{
	struct samara_error err = {0};
	int ret;

	ret = guest_mm_unplug(zone->windows->mm, zone_home(zone), zone->pages * PAGE, &err);
	tally_operation(tally, "unplug", ret, &err);
}

gpa_t zone_home(const struct zone *zone)
{
	return zone->home[__atomic_load_n(&zone->at, __ATOMIC_SEQ_CST)];
}

uint32_t zone_seq(const struct zone *zone)
{
	return __atomic_load_n(&zone->seq, __ATOMIC_SEQ_CST);
}

static uint64_t offset_of(const struct zone *zone, unsigned int word)
{
	return (word % zone->pages) * PAGE + word / zone->pages * 8;
}

uint64_t *zone_word(const struct zone *zone, unsigned int word)
{
	return windows_word(zone->windows, zone_home(zone) + offset_of(zone, word));
}

void zone_move(struct zone *zone, struct tally *tally)
{
	uint32_t at = __atomic_load_n(&zone->at, __ATOMIC_SEQ_CST);
	struct samara_error err = {0};
	int ret;

	__atomic_fetch_add(&zone->seq, 1, __ATOMIC_SEQ_CST);
	ret = guest_mm_remap(zone->windows->mm, zone->home[at], zone->pages * PAGE, zone->home[!at],
			     &err);
	if (tally_operation(tally, "remap", ret, &err))
		__atomic_store_n(&zone->at, !at, __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&zone->seq, 1, __ATOMIC_SEQ_CST);
}

bool zone_read_quietly(const struct zone *zone, unsigned int word, uint64_t *value,
		       const uint32_t *stop)
{
	while (!__atomic_load_n(stop, __ATOMIC_RELAXED)) {
		uint32_t before = zone_seq(zone);

		*value = __atomic_load_n(zone_word(zone, word), __ATOMIC_ACQUIRE);
		if (!(before & 1) && before == zone_seq(zone))
			return true;
	}
	return false;
}
