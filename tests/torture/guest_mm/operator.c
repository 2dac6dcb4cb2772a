/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <inttypes.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/torture/guest_mm/round.h"

/*
 * Operators: plug, unplug, move, protect, reback, discard and batch. Each zone has one: the first has
 * the counters, the second what moves, the third what comes and goes.
 */

#define RETRY_US 100

/* ---- Parts of a zone; where calls fail, as often as it takes -------------------------------------- */

static gpa_t gpa_of(const struct zone *zone, uint64_t page)
{
	return zone_home(zone) + page * PAGE;
}

static void plug(struct zone *zone, uint64_t page, uint64_t pages, struct tally *tally)
{
	struct guest_mm *mm = zone->windows->mm;
	struct samara_error err = {0};

	while (!tally_operation(
		tally, "plug",
		guest_mm_plug(mm, gpa_of(zone, page), pages * PAGE, GUEST_MM_RDWR, &err), &err))
		sleep_us(RETRY_US);
}

static void unplug(struct zone *zone, uint64_t page, uint64_t pages, struct tally *tally)
{
	struct guest_mm *mm = zone->windows->mm;
	struct samara_error err = {0};

	while (!tally_operation(tally, "unplug",
				guest_mm_unplug(mm, gpa_of(zone, page), pages * PAGE, &err), &err))
		sleep_us(RETRY_US);
}

static void unprotect(struct zone *zone, uint64_t page, uint64_t pages, struct tally *tally)
{
	struct guest_mm *mm = zone->windows->mm;
	struct samara_error err = {0};

	while (!tally_operation(
		tally, "unprotect",
		guest_mm_protect(mm, gpa_of(zone, page), pages * PAGE, GUEST_MM_RDWR, &err), &err))
		sleep_us(RETRY_US);
}

/* ---- The counters --------------------------------------------------------------------------------- */

/* Once it is read-only, nothing changes in it. */
static void protect_zone(struct zone *zone, struct actor *own)
{
	struct tally *tally = &own->round->tally;
	unsigned int first = (unsigned int)dice_throw(&own->dice, zone->pages);
	unsigned int pages = 1 + (unsigned int)dice_throw(&own->dice, zone->pages - first);
	struct samara_error err = {0};
	uint64_t before[COUNTERS], now;
	int ret;

	ret = guest_mm_protect(zone->windows->mm, gpa_of(zone, first), pages * PAGE, GUEST_MM_READ,
			       &err);
	if (!tally_operation(tally, "protect", ret, &err))
		return;
	/* The first word of each page. */
	for (unsigned int i = 0; i < pages && i < COUNTERS; i++)
		before[i] = __atomic_load_n(zone_word(zone, first + i), __ATOMIC_RELAXED);
	if (dice_throw(&own->dice, 2))
		zone_move(zone, tally); /* read-only it goes, read-only it arrives */
	sleep_us(dice_throw(&own->dice, 500));
	for (unsigned int i = 0; i < pages && i < COUNTERS; i++) {
		now = __atomic_load_n(zone_word(zone, first + i), __ATOMIC_RELAXED);
		if (now != before[i])
			tally_wrong(&tally->wrong_change, "read-only %#" PRIx64 " became %#" PRIx64,
				    before[i], now);
	}
	unprotect(zone, first, pages, tally);
}

/* ---- What moves ----------------------------------------------------------------------------------- */

/* Another file behind a zone, or the window's own memory again; its bytes stay. */
static void reback_zone(struct zone *zone, struct actor *own)
{
	struct tally *tally = &own->round->tally;
	struct guest_mm_memory memory = {.kind = GUEST_MM_MEMORY_OWN, .fd = -1};
	struct samara_error err = {0};
	int ret;

	if (dice_throw(&own->dice, 2)) {
		memory.kind = GUEST_MM_MEMORY_FILE;
		memory.fd = memfd_create("torture", MFD_CLOEXEC);
		if (memory.fd < 0 || ftruncate(memory.fd, (off_t)(zone->pages * PAGE)))
			tally_wrong(&tally->wrong_answer, "no memfd");
	}
	ret = guest_mm_reback(zone->windows->mm, zone_home(zone), zone->pages * PAGE, &memory,
			      &err);
	tally_operation(tally, "reback", ret, &err);
	if (memory.fd >= 0)
		close(memory.fd);
}

/* ---- What comes and goes -------------------------------------------------------------------------- */

/* What vCPUs must not see when the epoch is over. */
static void write_secrets(struct zone *zone, struct actor *own)
{
	for (unsigned int i = 0; i < SECRET_WORDS; i++)
		__atomic_store_n(zone_word(zone, i), SECRET | zone->epoch, __ATOMIC_RELAXED);
	actor_delay(own);
}

static void end_epoch(struct zone *zone)
{
	__atomic_store_n(&zone->epoch, zone->epoch + 1, __ATOMIC_SEQ_CST);
}

/* In two parts, at a random place: split, then both sides go. What comes is zeros. */
static void replace_zone(struct zone *zone, struct actor *own)
{
	struct tally *tally = &own->round->tally;
	uint64_t part = 1 + dice_throw(&own->dice, zone->pages - 1);

	write_secrets(zone, own);
	unplug(zone, 0, part, tally);
	unplug(zone, part, zone->pages - part, tally);
	end_epoch(zone);
	actor_delay(own);
	plug(zone, 0, zone->pages, tally);
	for (unsigned int i = 0; i < PAGE / 8; i++) {
		uint64_t value = __atomic_load_n(zone_word(zone, 0) + i, __ATOMIC_RELAXED);

		if (value)
			tally_wrong(&tally->wrong_gone, "plugged memory holds %#" PRIx64, value);
	}
}

static void discard_zone(struct zone *zone, struct actor *own)
{
	struct guest_mm *mm = zone->windows->mm;
	struct samara_error err = {0};

	write_secrets(zone, own);
	while (!tally_operation(&own->round->tally, "discard",
				guest_mm_discard(mm, zone_home(zone), zone->pages * PAGE, &err),
				&err))
		sleep_us(RETRY_US);
	end_epoch(zone);
}

/* All at once: one half is discarded, but for page 0, which is protected; the other is unplugged. */
static void batch_zone(struct zone *zone, struct actor *own)
{
	struct tally *tally = &own->round->tally;
	uint64_t half = zone->pages / 2;
	struct guest_mm_op ops[] = {
		{.op = GUEST_MM_OP_DISCARD,
		 .gpa = gpa_of(zone, 1),
		 .size_bytes = (half - 1) * PAGE},
		{.op = GUEST_MM_OP_UNPLUG,
		 .gpa = gpa_of(zone, half),
		 .size_bytes = (zone->pages - half) * PAGE},
		{.op = GUEST_MM_OP_PROTECT,
		 .gpa = gpa_of(zone, 0),
		 .size_bytes = PAGE,
		 .prot = GUEST_MM_READ},
	};
	struct samara_error err = {0};

	write_secrets(zone, own);
	/* Page 0 keeps its contents: they are this epoch's for as long as it lives. */
	for (unsigned int i = 0; i < SECRET_WORDS; i += (unsigned int)zone->pages)
		__atomic_store_n(zone_word(zone, i), 0, __ATOMIC_RELAXED);
	while (!tally_operation(tally, "batch", guest_mm_batch(zone->windows->mm, ops, 3, &err),
				&err))
		sleep_us(RETRY_US);
	end_epoch(zone);
	plug(zone, half, zone->pages - half, tally);
	unprotect(zone, 0, 1, tally);
}

/* ---- The threads ---------------------------------------------------------------------------------- */

static void change_counters(struct actor *own)
{
	struct zone *zone = &own->round->counter_zone;

	if (dice_throw(&own->dice, 2))
		zone_move(zone, &own->round->tally);
	else
		protect_zone(zone, own);
}

static void change_movers(struct actor *own)
{
	struct round *round = own->round;

	if (dice_throw(&own->dice, 2))
		zone_move(&round->private_zone[dice_throw(&own->dice, VCPUS)], &round->tally);
	else if (dice_throw(&own->dice, 3))
		zone_move(&round->dma_zone[dice_throw(&own->dice, DEVICES)], &round->tally);
	else
		reback_zone(&round->dma_zone[dice_throw(&own->dice, DEVICES)], own);
}

static void change_secrets(struct actor *own)
{
	struct zone *zone = &own->round->secret_zone[dice_throw(&own->dice, SECRETS)];

	if (dice_throw(&own->dice, 2))
		replace_zone(zone, own);
	else if (dice_throw(&own->dice, 2))
		discard_zone(zone, own);
	else
		batch_zone(zone, own);
}

void *actor_operator(void *arg)
{
	static void (*const change[OPERATORS])(struct actor * own) = {
		change_counters, change_movers, change_secrets};
	struct actor *own = arg;

	while (round_goes_on(own->round)) {
		change[own->index](own);
		actor_delay(own);
	}
	return NULL;
}
