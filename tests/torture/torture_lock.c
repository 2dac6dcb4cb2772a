/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Torture of the lock design alone: torture_lock [SECONDS [SEED]], TAP.
 *
 * A tree of regions over CELLS addresses, each with a cell of memory. Readers hold ranges, several
 * at once, for moments or milliseconds; writers change, take out and put back ranges, and split and
 * merge regions all the while. No system call makes it slow, so that what must exclude each other
 * meets a million times. Known at every moment:
 *
 *   exclusion  who holds an address sees its cell whole and unchanging; a writer that has drained it
 *              finds nobody there
 *   gone       nobody holds an address that was taken out, however often regions are cut
 *   memory     the region that a holder came through is there until it lets go (also: SAN=address)
 *   strangers  a hold at one end of a region delays nobody who changes the other end
 *   progress   readers and writers get on, and in the end nothing is left
 */
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "mm/lock.h"
#include "mm/region_cut.h"
#include "tests/lib/tap.h"
#include "tests/lib/torture.h"

#define CELLS   512
#define READERS 4
#define WRITERS 2
#define NEST    9 /* more than a block of slots has */

/* What an address has: @a and @b are equal but while a writer is at them; odd: it was taken out. */
struct cell {
	uint64_t a, b;
	uint32_t inside; /* atomic: holders */
};

static struct region_tree *tree;
static struct cell cells[CELLS];
static char owner; /* what each region carries */
static uint32_t stop;

/* Atomic. */
static uint64_t holds, nested, changes, cuts, lives;
static uint64_t wrong_cell, wrong_gone, wrong_region, wrong_writer;

static bool running(void)
{
	return !__atomic_load_n(&stop, __ATOMIC_RELAXED);
}

static void delay(struct dice *dice)
{
	static const struct delays delays = {
		.of = 512, .sleep = 1, .yield = 3, .spin = 124, .sleep_us = 2000, .turns = 300};

	dice_delay(dice, &delays);
}

static struct region *make_region(const struct region *like, uint64_t first, uint64_t last)
{
	struct region *region = malloc(sizeof(*region));

	(void)like;
	if (region)
		region_init(region, tree, first, last, &owner);
	return region;
}

/* ---- Readers ---------------------------------------------------------------------------------- */

struct hold {
	struct region_guard guard;
	uint64_t value[8]; /* of the first cells */
};

static void enter(struct hold *hold)
{
	const struct region_guard *guard = &hold->guard;

	if (region_object(guard->region) != &owner || guard->region->tree != tree ||
	    guard->first < guard->region->first || guard->last > guard->region->last)
		count(&wrong_region);
	for (uint64_t at = guard->first; at <= guard->last; at++) {
		__atomic_fetch_add(&cells[at].inside, 1, __ATOMIC_RELAXED);
		if (cells[at].a != cells[at].b)
			count(&wrong_cell);
		if (cells[at].a & 1)
			count(&wrong_gone);
		if (at - guard->first < 8)
			hold->value[at - guard->first] = cells[at].a;
	}
}

static void leave(struct hold *hold)
{
	struct region_guard *guard = &hold->guard;

	if (region_object(guard->region) != &owner)
		count(&wrong_region);
	for (uint64_t at = guard->first; at <= guard->last; at++) {
		if (at - guard->first < 8 && (cells[at].a != hold->value[at - guard->first] ||
					      cells[at].b != hold->value[at - guard->first]))
			count(&wrong_cell);
		__atomic_fetch_sub(&cells[at].inside, 1, __ATOMIC_RELAXED);
	}
	region_read_unlock(guard);
}

/* One hold, and more on top of it; let go in another order than taken. */
static void read_some(struct dice *dice)
{
	struct hold hold[NEST];
	unsigned int held = 0, want = 1;
	bool busy;

	if (dice_throw(dice, 4) == 0)
		want += (unsigned int)dice_throw(dice, NEST);
	while (held < want) {
		uint64_t at = dice_throw(dice, CELLS);
		uint64_t first = at - dice_throw(dice, at < 8 ? at + 1 : 8);
		uint64_t last = at + dice_throw(dice, 8);
		struct region *region;

		if (last >= CELLS)
			last = CELLS - 1;
		if (want == 1 && dice_throw(dice, 4) == 0)
			region =
				region_try_fault_lock(tree, at, first, last, &hold[0].guard, &busy);
		else if (!held && dice_throw(dice, 2))
			region = region_read_lock_range(tree, at, first, last, &hold[0].guard);
		else
			region = region_try_read_lock_range(tree, at, first, last,
							    &hold[held].guard, &busy);
		if (!region)
			break;
		enter(&hold[held++]);
		count(held > 1 ? &nested : &holds);
		delay(dice);
	}
	for (unsigned int i = 0; i < held; i++)
		leave(&hold[(i + 1) % held]);
}

/* A short life: threads come and go, and leave their slots to others. */
static void *reader_life(void *arg)
{
	/* A copy: others' dice share the line of the original. */
	struct dice dice = *(struct dice *)arg;

	for (unsigned int i = 0; i < 3000 && running(); i++)
		read_some(&dice);
	*(struct dice *)arg = dice;
	count(&lives);
	return NULL;
}

static void *reader_main(void *arg)
{
	pthread_t thread;

	while (running()) {
		pthread_create(&thread, NULL, reader_life, arg);
		pthread_join(thread, NULL);
	}
	return NULL;
}

/* ---- Writers ---------------------------------------------------------------------------------- */

/* The range has been drained: nobody is there. @gone: what the cells shall say. */
static void change_cells(uint64_t first, uint64_t last, bool gone, struct dice *dice)
{
	for (uint64_t at = first; at <= last; at++) {
		if (__atomic_load_n(&cells[at].inside, __ATOMIC_RELAXED))
			count(&wrong_writer);
		cells[at].a = (cells[at].a & ~UINT64_C(1)) + 2 + gone;
	}
	delay(dice);
	for (uint64_t at = first; at <= last; at++)
		cells[at].b = cells[at].a;
	for (uint64_t at = first; at <= last; at++)
		if (__atomic_load_n(&cells[at].inside, __ATOMIC_RELAXED))
			count(&wrong_writer);
}

static void unite_at(uint64_t at)
{
	struct region *low = at ? region_find(tree, at - 1) : NULL;
	struct region *high = at < CELLS ? region_find(tree, at) : NULL;

	if (low && high && low != high)
		region_unite(low, high, make_region);
}

/* From the first region that @first is in to the first gap, or @last. Return: false: it is free. */
static bool plugged_run(uint64_t first, uint64_t *last)
{
	uint64_t at = first;
	struct region *region;

	while (at <= *last && (region = region_find(tree, at)) != NULL)
		at = region->last + 1;
	if (at == first)
		return false;
	if (at <= *last)
		*last = at - 1;
	return true;
}

static void write_some(struct dice *dice)
{
	uint64_t first = dice_throw(dice, CELLS);
	uint64_t last = first + dice_throw(dice, dice_throw(dice, 8) ? 8 : 128);
	MA_STATE(mas, &tree->map, 0, 0);
	struct region *region;

	if (last >= CELLS)
		last = CELLS - 1;
	lock_tree_write(tree);
	if (!plugged_run(first, &last)) {
		/* Free: plug what is free of it. Nobody is there, so nobody is waited for. */
		mas_set(&mas, first);
		region = mas_find(&mas, last);
		if (region)
			last = region->first - 1;
		change_cells(first, last, false, dice);
		mas_set_range(&mas, first, last);
		region = make_region(NULL, first, last);
		mas_store(&mas, region);
	} else if (dice_throw(dice, 4)) {
		if (region_isolate(tree, first, last, make_region))
			count(&wrong_writer);
		change_cells(first, last, false, dice);
		count(&cuts);
	} else {
		if (region_isolate(tree, first, last, make_region))
			count(&wrong_writer);
		change_cells(first, last, true, dice);
		mas_set(&mas, first);
		mas_for_each (&mas, region, last)
			region_retire(region);
		mas_set_range(&mas, first, last);
		mas_store(&mas, NULL);
	}
	unite_at(first);
	unite_at(last + 1);
	unlock_tree_write(tree);
	count(&changes);
}

static void *writer_main(void *arg)
{
	struct dice *dice = arg;

	while (running()) {
		write_some(dice);
		delay(dice);
		if (dice_throw(dice, 4) == 0)
			sleep_us(dice_throw(dice, 200));
	}
	return NULL;
}

static bool everybody_got_on(const void *arg)
{
	(void)arg;
	return counted(&holds) > 100 && counted(&nested) > 100 && counted(&changes) > 100 &&
	       counted(&cuts) > 20 && counted(&lives) >= READERS;
}

static void torture(struct tap *tap, double seconds, uint64_t seed)
{
	struct dice dice[READERS + WRITERS];
	pthread_t thread[READERS + WRITERS];
	struct lock_counters counters;
	uint64_t inside = 0;

	stop = 0;
	for (unsigned int i = 0; i < READERS + WRITERS; i++) {
		dice[i] = dice_of(++seed);
		pthread_create(&thread[i], NULL, i < READERS ? reader_main : writer_main, &dice[i]);
	}
	torture_for(seconds, everybody_got_on, NULL);
	__atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
	for (unsigned int i = 0; i < READERS + WRITERS; i++)
		pthread_join(thread[i], NULL);
	for (unsigned int i = 0; i < CELLS; i++)
		inside += cells[i].inside;
	region_tree_count(tree, &counters);
	printf("# %" PRIu64 " holds, %" PRIu64 " nested, %" PRIu64 " changes, %" PRIu64
	       " of them cut, %" PRIu64 " lives; %" PRIu64 " aborts, %" PRIu64 " retries, %" PRIu64
	       " ms waited\n",
	       holds, nested, changes, cuts, lives, counters.abort, counters.retry,
	       counters.wait_ns / 1000000);
	tap_report(tap, !wrong_cell, "exclusion: what is held does not change");
	tap_report(tap, !wrong_writer, "exclusion: a writer that has drained is alone");
	tap_report(tap, !wrong_gone, "gone is gone: nobody holds what was taken out");
	tap_report(tap, !wrong_region, "memory: a region stays for as long as it is held");
	tap_report(tap, !inside && mt_validate(&tree->map) == 0,
		   "the tree is sound, and nobody is inside");
	tap_report(tap, everybody_got_on(NULL), "everybody got on");
}

/* ---- Nobody waits for a stranger in the same region ------------------------------------------- */

struct stranger {
	uint64_t first, last;
	uint32_t done; /* atomic */
};

static void *change_main(void *arg)
{
	struct stranger *own = arg;

	for (unsigned int round = 0; round < 50; round++) {
		lock_tree_write(tree);
		if (region_isolate(tree, own->first, own->last, make_region))
			count(&wrong_writer);
		for (uint64_t at = own->first; at <= own->last; at++)
			if (__atomic_load_n(&cells[at].inside, __ATOMIC_RELAXED))
				count(&wrong_writer);
		unite_at(own->first);
		unite_at(own->last + 1);
		unlock_tree_write(tree);
	}
	__atomic_store_n(&own->done, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

/* A hold on the first cells, fifty changes of the last ones and then one of the first. */
static void test_stranger(struct tap *tap)
{
	struct stranger far = {.first = CELLS - 8, .last = CELLS - 1}, near = {.last = 3};
	struct hold hold;
	pthread_t thread;
	bool waited, busy, one;

	stop = 0;
	if (!region_try_read_lock_range(tree, 2, 0, 3, &hold.guard, &busy)) {
		tap_report(tap, false, "nobody waits for a stranger in the same region");
		return;
	}
	enter(&hold);
	pthread_create(&thread, NULL, change_main, &far);
	for (unsigned int ms = 0; ms < 120000 && !__atomic_load_n(&far.done, __ATOMIC_SEQ_CST);
	     ms++)
		sleep_us(1000);
	tap_report(tap, __atomic_load_n(&far.done, __ATOMIC_SEQ_CST),
		   "nobody waits for a stranger in the same region");
	if (!far.done)
		leave(&hold);
	pthread_join(thread, NULL);
	if (!__atomic_load_n(&far.done, __ATOMIC_SEQ_CST))
		return;
	one = region_find(tree, 0) == region_find(tree, CELLS - 1);
	tap_report(tap, one && region_find(tree, 0) != hold.guard.region,
		   "and the region is whole again under its holder");
	/* It came through a region that is long over: it is waited for all the same. */
	pthread_create(&thread, NULL, change_main, &near);
	sleep_us(50000);
	waited = !__atomic_load_n(&near.done, __ATOMIC_SEQ_CST);
	leave(&hold);
	pthread_join(thread, NULL);
	tap_report(tap, waited && !wrong_writer && !wrong_cell && !wrong_region,
		   "a holder is waited for by range, whatever region it came through");
}

/* ---- One reader and one writer, as fast as they can ------------------------------------------- */

/*
 * Where the reader's slot is not published before it looks at the mark, both get in: if the writer
 * comes within the few nanoseconds that a store waits in its CPU. So nothing else is done here, and
 * it is done millions of times. The lines that the two share are kept apart.
 */
static struct {
	uint64_t a __attribute__((aligned(128)));
	uint64_t b __attribute__((aligned(128)));
	uint64_t reads __attribute__((aligned(128)));
	uint64_t torn, writes;
} duel;

static void on_cpu(unsigned int which)
{
	cpu_set_t all, one;

	CPU_ZERO(&one);
	if (sched_getaffinity(0, sizeof(all), &all))
		return;
	for (unsigned int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &all) && !which--)
			CPU_SET(cpu, &one);
	if (CPU_COUNT(&one))
		sched_setaffinity(0, sizeof(one), &one);
}

static void *duel_reader(void *arg)
{
	struct region_guard guard;
	bool busy;

	(void)arg;
	on_cpu(0);
	for (unsigned int round = 0; running(); round++) {
		uint64_t a, b;

		if (!(round / 1024 % 2 ? region_try_fault_lock : region_try_read_lock_range)(
			    tree, CELLS, CELLS, CELLS, &guard, &busy))
			continue;
		for (unsigned int i = 0; i < 8; i++) {
			b = __atomic_load_n(&duel.b, __ATOMIC_ACQUIRE);
			a = __atomic_load_n(&duel.a, __ATOMIC_ACQUIRE);
			duel.torn += a != b;
		}
		__atomic_store_n(&duel.reads, duel.reads + 1, __ATOMIC_RELAXED);
		region_read_unlock(&guard);
	}
	return NULL;
}

static void *duel_writer(void *arg)
{
	(void)arg;
	on_cpu(1);
	while (running()) {
		lock_tree_write(tree);
		region_start_write(region_find(tree, CELLS));
		region_drain(tree);
		__atomic_store_n(&duel.a, duel.a + 1, __ATOMIC_RELEASE);
		for (volatile int i = 20; i; i--)
			;
		__atomic_store_n(&duel.b, duel.b + 1, __ATOMIC_RELEASE);
		unlock_tree_write(tree);
		__atomic_store_n(&duel.writes, duel.writes + 1, __ATOMIC_RELAXED);
		for (volatile uint64_t i = duel.writes * 7 % 400; i; i--)
			;
	}
	return NULL;
}

/* On a busy machine a writer that waits for grace periods gets on slowly. */
static bool both_got_on(const void *arg)
{
	(void)arg;
	return counted(&duel.writes) > 10 && counted(&duel.reads) > 10;
}

static void test_duel(struct tap *tap, double seconds)
{
	pthread_t thread[2];
	void *object;

	stop = 0;
	region_tree_insert(tree, CELLS, CELLS, &owner);
	pthread_create(&thread[0], NULL, duel_reader, NULL);
	pthread_create(&thread[1], NULL, duel_writer, NULL);
	torture_for(seconds, both_got_on, NULL);
	__atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
	for (unsigned int i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	printf("# duel: %" PRIu64 " reads, %" PRIu64 " writes, %" PRIu64 " torn\n", duel.reads,
	       duel.writes, duel.torn);
	tap_report(tap, !duel.torn && both_got_on(NULL),
		   "exclusion: a reader and a writer at full speed");
	region_tree_remove(tree, CELLS, &object);
}

int main(int argc, char **argv)
{
	double seconds = argc > 1 ? atof(argv[1]) : 5;
	bool by_range = !strncmp(lock_design, "region", 6) || !strcmp(lock_design, "range");
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : (uint64_t)time(NULL);
	struct tap tap = {0};

	printf("# LOCK=%s, %g seconds, seed %" PRIu64 "\n", lock_design, seconds, seed);
	if (region_tree_create(&tree) || region_tree_insert(tree, 0, CELLS - 1, &owner))
		tap_bail_out("out of memory");
	if (by_range)
		test_stranger(&tap);
	else
		tap_skip(&tap, "nobody waits for a stranger in the same region",
			 "in LOCK=%s a region is held whole", lock_design);
	test_duel(&tap, seconds / 3);
	torture(&tap, seconds * 2 / 3, seed);
	region_tree_destroy(tree);
	return tap_end(&tap);
}
