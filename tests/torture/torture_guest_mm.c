/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Torture of the guest memory manager: torture_guest_mm [SECONDS [SEED]], TAP.
 *
 * vCPUs (raw accesses), devices (pins) and operators (plug, unplug, remap, protect) work on zones
 * of guest memory at once, on each kind of backing, first undisturbed, then with system calls and
 * allocations that fail at random. What each word must be is known at every moment:
 *
 *   private zones  move between two homes. A vCPU knows what it wrote to each word last.
 *   counter zone   moves and is protected. Each counter starts at a signature, so an increment that
 *                  hit a stray page is recognised by what it returned; the others add up exactly.
 *   secret zones   come and go. What was there before an unplug is never seen after it.
 *   DMA zones      move, and come to be in a file and back. A device's bytes are what it wrote, during
 *                  a pin and at the next.
 *
 * Every page of a private zone carries its gpa and a generation; a secret zone's epoch also ends by
 * discarding its pages, and by unplugging and plugging others in one batch.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <samara/guest_mm.h>

#include "mm/mm.h"
#include "tests/lib/interpose.h"
#include "tests/lib/tap.h"
#include "tests/lib/torture.h"
#include "tests/torture/guest_mm/windows.h"

#define VCPUS     3
#define DEVICES   2
#define OPERATORS 3
#define THREADS   (VCPUS + DEVICES + OPERATORS + 1)

#define COUNTERS  8
#define SIGNATURE UINT64_C(0x5a3a7a0000000000) /* of counters; the low 40 bits count */
#define SECRET    UINT64_C(0x5ec7e70000000000) /* of secrets; the low 40 bits are the epoch */
#define LOW_BITS  ((UINT64_C(1) << 40) - 1)

/* A range of guest memory that one operator works on. */
struct zone {
	gpa_t home[2];
	uint64_t pages;
	uint32_t at;    /* atomic: which home */
	uint32_t seq;   /* atomic: odd while an operation is on its way */
	uint64_t epoch; /* atomic: grows when the zone is gone */
};

static struct windows windows;
static struct zone private_zone[VCPUS], dma_zone[DEVICES], secret_zone[2], counter_zone;
static uint64_t landed[COUNTERS]; /* atomic */
static uint32_t stop;             /* atomic */
static bool failing;              /* calls fail at random: so may operations */
static uint64_t seed;

/* What happened: atomic. */
static uint64_t accesses, pins, operations, operations_failed, listings, strays;
static uint64_t wrong_bytes, wrong_gone, wrong_change, wrong_answer, wrong_listing;

/* Count something wrong, and tell of the first few. */
static __attribute__((format(printf, 2, 3))) void wrong(uint64_t *kind, const char *fmt, ...)
{
	char text[200];
	va_list args;

	if (__atomic_fetch_add(kind, 1, __ATOMIC_RELAXED) >= 5)
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	printf("# %s\n", text);
}

static uint32_t get(uint32_t *value)
{
	return __atomic_load_n(value, __ATOMIC_SEQ_CST);
}

static bool running(void)
{
	return !__atomic_load_n(&stop, __ATOMIC_RELAXED);
}

static void delay(struct dice *dice)
{
	static const struct delays delays = {
		.of = 16, .sleep = 1, .yield = 1, .spin = 1, .sleep_us = 300, .turns = 2000};

	dice_delay(dice, &delays);
}

static uint64_t *word_at(gpa_t gpa)
{
	return windows_word(&windows, gpa);
}

static gpa_t home_of(struct zone *zone)
{
	return zone->home[get(&zone->at)];
}

/* ---- vCPUs ----------------------------------------------------------------------------------- */

#define OWN_WORDS 64

struct vcpu {
	unsigned int index;
	struct dice dice;
	uint64_t value[OWN_WORDS]; /* what is in each word */
	uint64_t generation;
};

static uint64_t offset_of(const struct zone *zone, unsigned int word)
{
	return (word % zone->pages) * PAGE + word / zone->pages * 8;
}

/* Read a word when no operation is on its way; false: the torture ends. */
static bool read_quietly(struct zone *zone, unsigned int word, uint64_t *value)
{
	while (running()) {
		uint32_t before = get(&zone->seq);

		*value = __atomic_load_n(word_at(home_of(zone) + offset_of(zone, word)),
					 __ATOMIC_ACQUIRE);
		if (!(before & 1) && before == get(&zone->seq))
			return true;
	}
	return false;
}

static void use_private_word(struct vcpu *vcpu)
{
	struct zone *zone = &private_zone[vcpu->index];
	unsigned int word = (unsigned int)dice_throw(&vcpu->dice, OWN_WORDS);
	uint64_t old = vcpu->value[word], value;
	uint64_t new = (home_of(zone) << 8) ^ (uint64_t)vcpu->index << 60 ^
		       ++vcpu->generation << 16 ^ word;

	if (!read_quietly(zone, word, &value))
		return;
	if (value != old)
		wrong(&wrong_bytes, "vCPU %u word %u is %#" PRIx64 ", not %#" PRIx64, vcpu->index,
		      word, value, old);
	__atomic_store_n(word_at(home_of(zone) + offset_of(zone, word)), new, __ATOMIC_RELAXED);
	/* It landed there or in nothing. */
	if (!read_quietly(zone, word, &value))
		return;
	if (value != old && value != new)
		wrong(&wrong_bytes, "vCPU %u word %u became %#" PRIx64, vcpu->index, word, value);
	if (value == old)
		count(&strays);
	vcpu->value[word] = value;
}

static void use_counter(struct vcpu *vcpu)
{
	unsigned int i = (unsigned int)dice_throw(&vcpu->dice, COUNTERS);
	uint64_t *counter = word_at(home_of(&counter_zone) + offset_of(&counter_zone, i));
	uint64_t was = __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);

	if ((was & ~LOW_BITS) == SIGNATURE)
		count(&landed[i]);
	else if (was < LOW_BITS)
		count(&strays);
	else
		wrong(&wrong_bytes, "counter %u was %#" PRIx64, i, was);
}

static void use_secret(struct vcpu *vcpu)
{
	struct zone *zone = &secret_zone[dice_throw(&vcpu->dice, 2)];
	uint64_t epoch = __atomic_load_n(&zone->epoch, __ATOMIC_SEQ_CST);
	unsigned int word = (unsigned int)dice_throw(&vcpu->dice, 64);
	uint64_t *at = word_at(zone->home[0] + offset_of(zone, word));
	uint64_t value = __atomic_load_n(at, __ATOMIC_RELAXED);

	if ((value & ~LOW_BITS) == SECRET && (value & LOW_BITS) < epoch)
		wrong(&wrong_gone, "epoch %" PRIu64 " still shows in %" PRIu64, value & LOW_BITS,
		      epoch);
	/* Page 0 is the operator's, to see that it comes as zeros. */
	if (word % zone->pages)
		__atomic_store_n(at + 256, 1, __ATOMIC_RELAXED);
}

static void *vcpu_main(void *arg)
{
	struct vcpu *vcpu = arg;

	while (running()) {
		switch (dice_throw(&vcpu->dice, 3)) {
		case 0:
			use_private_word(vcpu);
			break;
		case 1:
			use_counter(vcpu);
			break;
		default:
			use_secret(vcpu);
			break;
		}
		count(&accesses);
		delay(&vcpu->dice);
	}
	return NULL;
}

/* ---- Devices --------------------------------------------------------------------------------- */

struct device {
	unsigned int index;
	struct dice dice;
	uint64_t value; /* in every word of its zone */
};

/* Every word of a pin: check it, or write it. */
static bool dma(const struct guest_mm_pin *pin, uint64_t value, bool write)
{
	for (unsigned int i = 0; i < pin->iov_count; i++) {
		uint64_t *word = pin->iov[i].iov_base;

		for (uint64_t left = pin->iov[i].iov_len / 8; left; left--, word++) {
			if (write)
				__atomic_store_n(word, value, __ATOMIC_RELAXED);
			else if (__atomic_load_n(word, __ATOMIC_RELAXED) != value)
				return false;
		}
	}
	return true;
}

static void use_pin(struct device *device, const struct guest_mm_pin *pin)
{
	struct guest_mm_pin second;
	int ret;

	if (!dma(pin, device->value, false))
		wrong(&wrong_bytes, "device %u lost its bytes", device->index);
	device->value = device->value * 3 + 1;
	dma(pin, device->value, true);
	if (dice_throw(&device->dice, 4) == 0) {
		/* Another pin on top: of something that is changed all the time. */
		ret = guest_mm_pin(windows.mm, home_of(&counter_zone), PAGE, false, &second);
		if (!ret)
			guest_mm_unpin(&second);
		else if (ret != -EAGAIN && ret != -EFAULT && !(failing && ret == -ENOMEM))
			wrong(&wrong_answer, "second pin: %d", ret);
	}
	delay(&device->dice);
	if (!dma(pin, device->value, false))
		wrong(&wrong_bytes, "device %u: bytes changed under its pin", device->index);
}

static void *device_main(void *arg)
{
	struct device *device = arg;
	struct zone *zone = &dma_zone[device->index];

	while (running()) {
		uint32_t seq = get(&zone->seq);
		struct guest_mm_pin pin;
		int ret = guest_mm_pin(windows.mm, home_of(zone), zone->pages * PAGE, true, &pin);

		if (!ret) {
			use_pin(device, &pin);
			guest_mm_unpin(&pin);
			count(&pins);
		} else if (!(ret == -EFAULT && (seq & 1 || seq != get(&zone->seq))) &&
			   !(failing && ret == -ENOMEM)) {
			wrong(&wrong_answer, "pin: %d", ret);
		}
		delay(&device->dice);
	}
	return NULL;
}

/* ---- Operators ------------------------------------------------------------------------------- */

struct worker {
	unsigned int index;
	struct dice dice;
};

/* An operation that may fail only if calls fail. */
static bool done(const char *what, int ret, const struct samara_error *err)
{
	count(&operations);
	if (!ret)
		return true;
	count(&operations_failed);
	if (!failing || !strstr(err->text, "0x") || err->code != ret)
		wrong(&wrong_answer, "%s: %d: %s", what, ret, err->text);
	return false;
}

static void move_zone(struct zone *zone)
{
	uint32_t at = get(&zone->at);
	struct samara_error err = {0};
	int ret;

	__atomic_fetch_add(&zone->seq, 1, __ATOMIC_SEQ_CST);
	ret = guest_mm_remap(windows.mm, zone->home[at], zone->pages * PAGE, zone->home[!at], &err);
	if (done("remap", ret, &err))
		__atomic_store_n(&zone->at, !at, __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&zone->seq, 1, __ATOMIC_SEQ_CST);
}

/* Once it is read-only, nothing changes in it. */
static void protect_zone(struct zone *zone, struct dice *dice)
{
	uint64_t first = dice_throw(dice, zone->pages),
		 pages = 1 + dice_throw(dice, zone->pages - first);
	gpa_t gpa = home_of(zone) + first * PAGE;
	struct samara_error err = {0};
	uint64_t before[COUNTERS], now;

	if (!done("protect", guest_mm_protect(windows.mm, gpa, pages * PAGE, GUEST_MM_READ, &err),
		  &err))
		return;
	for (uint64_t i = 0; i < pages && i < COUNTERS; i++)
		before[i] = __atomic_load_n(word_at(gpa + i * PAGE), __ATOMIC_RELAXED);
	if (dice_throw(dice, 2))
		move_zone(zone); /* read-only it goes, read-only it arrives */
	sleep_us(dice_throw(dice, 500));
	gpa = home_of(zone) + first * PAGE;
	for (uint64_t i = 0; i < pages && i < COUNTERS; i++) {
		now = __atomic_load_n(word_at(gpa + i * PAGE), __ATOMIC_RELAXED);
		if (now != before[i])
			wrong(&wrong_change, "read-only %#" PRIx64 " became %#" PRIx64, before[i],
			      now);
	}
	while (!done("unprotect",
		     guest_mm_protect(windows.mm, gpa, pages * PAGE, GUEST_MM_RDWR, &err), &err))
		sleep_us(100);
}

static void replace_zone(struct zone *zone, struct dice *dice)
{
	uint64_t epoch = zone->epoch, part = 1 + dice_throw(dice, zone->pages - 1);
	struct samara_error err = {0};
	gpa_t gpa = zone->home[0];

	for (unsigned int i = 0; i < 64; i++)
		__atomic_store_n(word_at(gpa + offset_of(zone, i)), SECRET | epoch,
				 __ATOMIC_RELAXED);
	delay(dice);
	/* In two parts, at a random place: split, then both sides go. */
	while (!done("unplug", guest_mm_unplug(windows.mm, gpa, part * PAGE, &err), &err))
		sleep_us(100);
	while (!done(
		"unplug",
		guest_mm_unplug(windows.mm, gpa + part * PAGE, (zone->pages - part) * PAGE, &err),
		&err))
		sleep_us(100);
	__atomic_store_n(&zone->epoch, epoch + 1, __ATOMIC_SEQ_CST);
	delay(dice);
	while (!done("plug",
		     guest_mm_plug(windows.mm, gpa, zone->pages * PAGE, GUEST_MM_RDWR, &err), &err))
		sleep_us(100);
	for (unsigned int i = 0; i < PAGE / 8; i++) {
		uint64_t value = __atomic_load_n(word_at(gpa) + i, __ATOMIC_RELAXED);

		if (value)
			wrong(&wrong_gone, "plugged memory holds %#" PRIx64, value);
	}
}

/* Another file behind a zone, or the window's own memory again; its bytes stay. */
static void reback_zone(struct zone *zone, struct dice *dice)
{
	struct guest_mm_memory memory = {.kind = GUEST_MM_MEMORY_OWN, .fd = -1};
	struct samara_error err = {0};

	if (dice_throw(dice, 2)) {
		memory.kind = GUEST_MM_MEMORY_FILE;
		memory.fd = memfd_create("torture", MFD_CLOEXEC);
		if (memory.fd < 0 || ftruncate(memory.fd, (off_t)(zone->pages * PAGE)))
			wrong(&wrong_answer, "no memfd");
	}
	done("reback",
	     guest_mm_reback(windows.mm, home_of(zone), zone->pages * PAGE, &memory, &err), &err);
	if (memory.fd >= 0)
		close(memory.fd);
}

/* The zone's contents end all at once, by a batch or by a discard; then there are zeros. */
static void empty_zone(struct zone *zone, struct dice *dice)
{
	uint64_t epoch = zone->epoch, half = zone->pages / 2;
	gpa_t gpa = zone->home[0];
	struct guest_mm_op ops[] = {
		{.op = GUEST_MM_OP_DISCARD, .gpa = gpa, .size_bytes = half * PAGE},
		{.op = GUEST_MM_OP_UNPLUG,
		 .gpa = gpa + half * PAGE,
		 .size_bytes = (zone->pages - half) * PAGE},
		{.op = GUEST_MM_OP_PROTECT, .gpa = gpa, .size_bytes = PAGE, .prot = GUEST_MM_READ},
	};
	struct samara_error err = {0};

	for (unsigned int i = 0; i < 64; i++)
		__atomic_store_n(word_at(gpa + offset_of(zone, i)), SECRET | epoch,
				 __ATOMIC_RELAXED);
	delay(dice);
	if (dice_throw(dice, 2)) {
		while (!done("discard", guest_mm_discard(windows.mm, gpa, zone->pages * PAGE, &err),
			     &err))
			sleep_us(100);
		__atomic_store_n(&zone->epoch, epoch + 1, __ATOMIC_SEQ_CST);
		return;
	}
	ops[0].gpa += PAGE;
	ops[0].size_bytes -= PAGE;
	/* Page 0 keeps its contents: they are this epoch's for as long as it lives. */
	__atomic_store_n(word_at(gpa), 0, __ATOMIC_RELAXED);
	for (unsigned int i = 0; i < 64; i += (unsigned int)zone->pages)
		__atomic_store_n(word_at(gpa + offset_of(zone, i)), 0, __ATOMIC_RELAXED);
	while (!done("batch", guest_mm_batch(windows.mm, ops, 3, &err), &err))
		sleep_us(100);
	__atomic_store_n(&zone->epoch, epoch + 1, __ATOMIC_SEQ_CST);
	while (!done("plug",
		     guest_mm_plug(windows.mm, ops[1].gpa, ops[1].size_bytes, GUEST_MM_RDWR, &err),
		     &err))
		sleep_us(100);
	while (!done("unprotect", guest_mm_protect(windows.mm, gpa, PAGE, GUEST_MM_RDWR, &err),
		     &err))
		sleep_us(100);
}

static void *operator_main(void *arg)
{
	struct worker *own = arg;

	while (running()) {
		switch (own->index) {
		case 0:
			if (dice_throw(&own->dice, 2))
				move_zone(&counter_zone);
			else
				protect_zone(&counter_zone, &own->dice);
			break;
		case 1:
			if (dice_throw(&own->dice, 2))
				move_zone(&private_zone[dice_throw(&own->dice, VCPUS)]);
			else if (dice_throw(&own->dice, 3))
				move_zone(&dma_zone[dice_throw(&own->dice, DEVICES)]);
			else
				reback_zone(&dma_zone[dice_throw(&own->dice, DEVICES)], &own->dice);
			break;
		default:
			if (dice_throw(&own->dice, 2))
				replace_zone(&secret_zone[dice_throw(&own->dice, 2)], &own->dice);
			else
				empty_zone(&secret_zone[dice_throw(&own->dice, 2)], &own->dice);
			break;
		}
		delay(&own->dice);
	}
	return NULL;
}

/* ---- Listers --------------------------------------------------------------------------------- */

static int check_listed(const struct guest_mm_region *region, void *arg)
{
	gpa_t *behind = arg;

	if (region->gpa < *behind || !region->size_bytes ||
	    region->populated_pages > region->size_bytes / PAGE)
		wrong(&wrong_listing,
		      "listed: %#" PRIx64 "+%#" PRIx64 " after %#" PRIx64 ", %" PRIu64 " pages",
		      region->gpa, region->size_bytes, *behind, region->populated_pages);
	*behind = region->gpa + region->size_bytes;
	return 0;
}

static void *lister_main(void *arg)
{
	struct guest_mm_stats stats;
	gpa_t behind;

	(void)arg;
	while (running()) {
		behind = 0;
		guest_mm_for_each_region(windows.mm, check_listed, &behind);
		guest_mm_get_stats(windows.mm, &stats);
		count(&listings);
		sleep_us(200);
	}
	return NULL;
}

/* ---- One round ------------------------------------------------------------------------------- */

static void make_zone(struct zone *zone, unsigned int number, uint64_t pages)
{
	struct samara_error err;

	*zone = (struct zone){
		/* Side by side in the first window, so that they merge and split. */
		.home = {BASE + number * 16 * PAGE, SECOND + number * 64 * PAGE + PAGE},
		.pages = pages,
	};
	must(guest_mm_plug(windows.mm, zone->home[0], pages * PAGE, GUEST_MM_RDWR, &err), &err);
}

static void make_zones(void)
{
	unsigned int number = 0;

	for (unsigned int i = 0; i < VCPUS; i++)
		make_zone(&private_zone[i], number++, 16);
	for (unsigned int i = 0; i < DEVICES; i++)
		make_zone(&dma_zone[i], number++, 16);
	make_zone(&counter_zone, number++, 16);
	for (unsigned int i = 0; i < 2; i++)
		make_zone(&secret_zone[i], number++, 16);
	for (unsigned int i = 0; i < COUNTERS; i++) {
		landed[i] = 0;
		*word_at(counter_zone.home[0] + offset_of(&counter_zone, i)) = SIGNATURE;
	}
}

static void check_counters(void)
{
	for (unsigned int i = 0; i < COUNTERS; i++) {
		uint64_t value = *word_at(home_of(&counter_zone) + offset_of(&counter_zone, i));

		if (value != SIGNATURE + landed[i])
			wrong(&wrong_bytes,
			      "counter %u is %" PRIu64 ", increments landed: %" PRIu64, i,
			      value - SIGNATURE, landed[i]);
	}
}

/* After all is over: everything works, nothing is left behind. */
static bool is_sound(void)
{
	struct guest_mm_stats stats;
	struct samara_error err = {0};
	struct guest_mm_pin pin;

	for (unsigned int i = 0; i < DEVICES; i++) {
		if (guest_mm_pin(windows.mm, home_of(&dma_zone[i]), PAGE, true, &pin))
			return false;
		guest_mm_unpin(&pin);
	}
	move_zone(&counter_zone);
	check_counters();
	for (unsigned int i = 0; i < VCPUS; i++)
		done("unplug",
		     guest_mm_unplug(windows.mm, home_of(&private_zone[i]), 16 * PAGE, &err), &err);
	for (unsigned int i = 0; i < DEVICES; i++)
		done("unplug", guest_mm_unplug(windows.mm, home_of(&dma_zone[i]), 16 * PAGE, &err),
		     &err);
	for (unsigned int i = 0; i < 2; i++)
		done("unplug", guest_mm_unplug(windows.mm, secret_zone[i].home[0], 16 * PAGE, &err),
		     &err);
	done("unplug", guest_mm_unplug(windows.mm, home_of(&counter_zone), 16 * PAGE, &err), &err);
	guest_mm_get_stats(windows.mm, &stats);
	if (stats.regions || stats.plugged_bytes || stats.populated_bytes)
		wrong(&wrong_answer, "left behind: %" PRIu64 " regions, %" PRIu64 " bytes",
		      stats.regions, stats.populated_bytes);
	return mt_validate(&windows.mm->tree->map) == 0;
}

static bool everybody_got_on(const void *arg)
{
	(void)arg;
	return __atomic_load_n(&accesses, __ATOMIC_RELAXED) > 50 &&
	       __atomic_load_n(&pins, __ATOMIC_RELAXED) > 5 &&
	       __atomic_load_n(&operations, __ATOMIC_RELAXED) > 20 &&
	       __atomic_load_n(&listings, __ATOMIC_RELAXED) > 5;
}

static void torture(struct tap *tap, const char *name, enum guest_mm_backing backing,
		    bool copy_only, bool fail, double seconds)
{
	static struct vcpu vcpus[VCPUS];
	static struct device devices[DEVICES];
	static struct worker operators[OPERATORS];
	struct guest_mm_stats stats;
	pthread_t thread[THREADS];
	unsigned int n = 0;
	bool sound;

	accesses = pins = operations = operations_failed = listings = strays = 0;
	wrong_bytes = wrong_gone = wrong_change = wrong_answer = wrong_listing = 0;
	windows_make(&windows, backing, copy_only);
	make_zones();
	stop = 0;
	failing = fail;
	if (fail)
		interpose_fail_randomly(INTERPOSE_ALL & ~INTERPOSE_MMAP, 40);
	for (unsigned int i = 0; i < VCPUS; i++) {
		vcpus[i] = (struct vcpu){.index = i, .dice = dice_of(++seed)};
		pthread_create(&thread[n++], NULL, vcpu_main, &vcpus[i]);
	}
	for (unsigned int i = 0; i < DEVICES; i++) {
		devices[i] = (struct device){.index = i, .dice = dice_of(++seed)};
		pthread_create(&thread[n++], NULL, device_main, &devices[i]);
	}
	for (unsigned int i = 0; i < OPERATORS; i++) {
		operators[i] = (struct worker){.index = i, .dice = dice_of(++seed)};
		pthread_create(&thread[n++], NULL, operator_main, &operators[i]);
	}
	pthread_create(&thread[n++], NULL, lister_main, NULL);
	torture_for(seconds, everybody_got_on, NULL);
	__atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
	for (unsigned int i = 0; i < n; i++)
		pthread_join(thread[i], NULL);
	interpose_fail_randomly(0, 0);
	failing = false;
	guest_mm_get_stats(windows.mm, &stats);
	sound = is_sound();
	printf("# %s: %" PRIu64 " accesses, %" PRIu64 " pins, %" PRIu64 " operations (%" PRIu64
	       " failed), %" PRIu64 " listings, %" PRIu64 " writes to nothing, %" PRIu64
	       " faults, %" PRIu64 " deferred, %" PRIu64 " held\n",
	       name, accesses, pins, operations, operations_failed, listings, strays, stats.faults,
	       stats.faults_deferred, stats.faults_held);
	tap_report(tap, !wrong_gone, "promise 3: gone is gone, %s", name);
	tap_report(tap, !wrong_bytes, "promise 4: nothing is lost, %s", name);
	tap_report(tap, !wrong_change, "what is read-only does not change, %s", name);
	tap_report(tap, !wrong_listing, "listings are in order, %s", name);
	tap_report(tap, !wrong_answer && sound, "%s, %s",
		   fail ? "promise 7: every failure has an answer" : "every operation succeeds",
		   name);
	tap_report(tap, everybody_got_on(NULL), "everybody got on, %s", name);
	windows_destroy(&windows);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		enum guest_mm_backing backing;
		bool copy_only, fail;
	} round[] = {
		{"anon", GUEST_MM_ANON, false, false},
		{"memfd", GUEST_MM_MEMFD, false, false},
		{"copy_only", GUEST_MM_ANON, true, false},
		{"anon, calls fail", GUEST_MM_ANON, false, true},
		{"memfd, calls fail", GUEST_MM_MEMFD, false, true},
		{"copy_only, calls fail", GUEST_MM_ANON, true, true},
	};
	double seconds = argc > 1 ? atof(argv[1]) : 5;
	struct tap tap = {0};

	seed = argc > 2 ? strtoull(argv[2], NULL, 0) : (uint64_t)time(NULL);
	printf("# LOCK=%s, %g seconds, seed %" PRIu64 "\n", lock_design, seconds, seed);
	for (unsigned int i = 0; i < sizeof(round) / sizeof(round[0]); i++)
		torture(&tap, round[i].name, round[i].backing, round[i].copy_only, round[i].fail,
			seconds / 6);
	return tap_end(&tap);
}
