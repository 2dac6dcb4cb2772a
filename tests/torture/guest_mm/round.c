/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <inttypes.h>
#include <stdio.h>

#include "mm/mm.h"
#include "tests/lib/interpose.h"
#include "tests/torture/guest_mm/round.h"

#define ACTORS     (VCPUS + DEVICES + OPERATORS + LISTERS)

/* Of those calls that may, one in so many fails. */
#define FAIL_CALLS (INTERPOSE_ALL & ~INTERPOSE_MMAP)
#define FAIL_ODDS  40

void actor_delay(struct actor *actor)
{
	static const struct delays delays = {
		.of = 16, .sleep = 1, .yield = 1, .spin = 1, .sleep_us = 300, .turns = 2000};

	dice_delay(&actor->dice, &delays);
}

static void make_zones(struct round *round)
{
	unsigned int number = 0;

	for (unsigned int i = 0; i < VCPUS; i++)
		zone_make(&round->private_zone[i], &round->windows, number++);
	for (unsigned int i = 0; i < DEVICES; i++)
		zone_make(&round->dma_zone[i], &round->windows, number++);
	zone_make(&round->counter_zone, &round->windows, number++);
	for (unsigned int i = 0; i < SECRETS; i++)
		zone_make(&round->secret_zone[i], &round->windows, number++);
	for (unsigned int i = 0; i < COUNTERS; i++)
		*zone_word(&round->counter_zone, i) = SIGNATURE;
}

static void end_zones(struct round *round)
{
	for (unsigned int i = 0; i < VCPUS; i++)
		zone_end(&round->private_zone[i], &round->tally);
	for (unsigned int i = 0; i < DEVICES; i++)
		zone_end(&round->dma_zone[i], &round->tally);
	for (unsigned int i = 0; i < SECRETS; i++)
		zone_end(&round->secret_zone[i], &round->tally);
	zone_end(&round->counter_zone, &round->tally);
}

static void start(struct round *round, struct actor actors[ACTORS], uint64_t *seed)
{
	static const struct {
		void *(*main)(void *arg);
		unsigned int count;
	} kinds[] = {
		{actor_vcpu, VCPUS},
		{actor_device, DEVICES},
		{actor_operator, OPERATORS},
		{actor_lister, LISTERS},
	};

	for (unsigned int kind = 0; kind < sizeof(kinds) / sizeof(kinds[0]); kind++) {
		for (unsigned int i = 0; i < kinds[kind].count; i++, actors++) {
			*actors = (struct actor){
				.round = round, .index = i, .dice = dice_of(++*seed)};
			if (pthread_create(&actors->thread, NULL, kinds[kind].main, actors))
				tap_bail_out("no thread");
		}
	}
}

static bool everybody_got_on(const void *arg)
{
	return tally_everybody_got_on(arg);
}

static void check_counters(struct round *round)
{
	for (unsigned int i = 0; i < COUNTERS; i++) {
		uint64_t value = *zone_word(&round->counter_zone, i);

		if (value != SIGNATURE + round->landed[i])
			tally_wrong(&round->tally.wrong_bytes,
				    "counter %u is %" PRIu64 ", increments landed: %" PRIu64, i,
				    value - SIGNATURE, round->landed[i]);
	}
}

/* After all is over: everything works, nothing is left behind. */
static bool is_sound(struct round *round)
{
	struct guest_mm *mm = round->windows.mm;
	struct guest_mm_stats stats;
	struct guest_mm_pin pin;

	for (unsigned int i = 0; i < DEVICES; i++) {
		if (guest_mm_pin(mm, zone_home(&round->dma_zone[i]), PAGE, true, &pin))
			return false;
		guest_mm_unpin(&pin);
	}
	zone_move(&round->counter_zone, &round->tally);
	check_counters(round);
	end_zones(round);
	guest_mm_get_stats(mm, &stats);
	if (stats.regions || stats.plugged_bytes || stats.populated_bytes)
		tally_wrong(&round->tally.wrong_answer,
			    "left behind: %" PRIu64 " regions, %" PRIu64 " bytes", stats.regions,
			    stats.populated_bytes);
	return mt_validate(&mm->tree->map) == 0;
}

static void print_counts(const struct tally *tally, const struct guest_mm_stats *stats,
			 const char *name)
{
	printf("# %s: %" PRIu64 " accesses, %" PRIu64 " pins, %" PRIu64 " operations (%" PRIu64
	       " failed), %" PRIu64 " listings, %" PRIu64 " writes to nothing, %" PRIu64
	       " faults, %" PRIu64 " deferred, %" PRIu64 " held\n",
	       name, tally->accesses, tally->pins, tally->operations, tally->operations_failed,
	       tally->listings, tally->strays, stats->faults, stats->faults_deferred,
	       stats->faults_held);
}

void round_run(struct tap *tap, const char *name, enum guest_mm_backing backing, bool copy_only,
	       bool fail, double seconds, uint64_t *seed)
{
	struct round round = {.tally = {.failing = fail}};
	struct actor actors[ACTORS];
	struct guest_mm_stats stats;
	bool sound;

	windows_make(&round.windows, backing, copy_only);
	make_zones(&round);
	if (fail)
		interpose_fail_randomly(FAIL_CALLS, FAIL_ODDS);
	start(&round, actors, seed);
	torture_for(seconds, everybody_got_on, &round.tally);
	__atomic_store_n(&round.stop, 1, __ATOMIC_SEQ_CST);
	for (unsigned int i = 0; i < ACTORS; i++)
		pthread_join(actors[i].thread, NULL);
	interpose_fail_randomly(0, 0);
	guest_mm_get_stats(round.windows.mm, &stats);
	/* From here on nothing may fail. */
	round.tally.failing = false;
	sound = is_sound(&round);
	round.tally.failing = fail;
	print_counts(&round.tally, &stats, name);
	tally_report(&round.tally, tap, name, sound);
	windows_destroy(&round.windows);
}
