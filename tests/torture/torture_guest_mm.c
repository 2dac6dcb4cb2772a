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
#include <sched.h>
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

#define PAGE       SAMARA_PAGE_BYTES
#define BASE       UINT64_C(0x100000000)
#define SECOND     UINT64_C(0x200000000)
#define BASE_BYTES (UINT64_C(64) << 20)

#define VCPUS      3
#define DEVICES    2
#define OPERATORS  3
#define THREADS    (VCPUS + DEVICES + OPERATORS + 1)

#define COUNTERS   8
#define SIGNATURE  UINT64_C(0x5a3a7a0000000000) /* of counters; the low 40 bits count */
#define SECRET     UINT64_C(0x5ec7e70000000000) /* of secrets; the low 40 bits are the epoch */
#define LOW_BITS   ((UINT64_C(1) << 40) - 1)

/* A range of guest memory that one operator works on. */
struct zone {
	gpa_t home[2];
	uint64_t pages;
	uint32_t at;    /* atomic: which home */
	uint32_t seq;   /* atomic: odd while an operation is on its way */
	uint64_t epoch; /* atomic: grows when the zone is gone */
};

static struct guest_mm *mm;
static struct guest_mm_window window[2];
static struct zone private_zone[VCPUS], dma_zone[DEVICES], secret_zone[2], counter_zone;
static uint64_t landed[COUNTERS]; /* atomic */
static uint32_t stop;             /* atomic */
static bool failing;              /* calls fail at random: so may operations */
static uint64_t seed;

/* What happened: atomic. */
static uint64_t accesses, pins, operations, operations_failed, listings, strays;
static uint64_t wrong_bytes, wrong_gone, wrong_change, wrong_answer, wrong_listing;

static unsigned int tests_done, tests_failed;

static void report(bool good, const char *name, const char *variant)
{
	printf("%sok %u - %s, %s\n", good ? "" : "not ", ++tests_done, name, variant);
	fflush(stdout);
	tests_failed += !good;
}

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

static void count(uint64_t *counter)
{
	__atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

static uint32_t get(uint32_t *value)
{
	return __atomic_load_n(value, __ATOMIC_SEQ_CST);
}

static bool running(void)
{
	return !__atomic_load_n(&stop, __ATOMIC_RELAXED);
}

struct dice {
	uint64_t state;
};

static uint64_t throw(struct dice * dice, uint64_t below)
{
	dice->state = dice->state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (dice->state >> 33) % below;
}

static void sleep_us(long us)
{
	struct timespec pause = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};

	nanosleep(&pause, NULL);
}

static void delay(struct dice *dice)
{
	switch (throw(dice, 16)) {
	case 0:
		sleep_us((long) throw(dice, 300));
		break;
	case 1:
		sched_yield();
		break;
	case 2:
		for (volatile uint64_t i = throw(dice, 2000); i; i--)
			;
		break;
	default:
		break;
	}
}

static char *hva(gpa_t gpa)
{
	unsigned int w = gpa >= SECOND;

	return (char *)window[w].hva + (gpa - window[w].gpa);
}

static uint64_t *word_at(gpa_t gpa)
{
	return (uint64_t *)hva(gpa);
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
	unsigned int word = (unsigned int) throw(&vcpu->dice, OWN_WORDS);
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
	unsigned int i = (unsigned int) throw(&vcpu->dice, COUNTERS);
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
	struct zone *zone = &secret_zone[throw(&vcpu->dice, 2)];
	uint64_t epoch = __atomic_load_n(&zone->epoch, __ATOMIC_SEQ_CST);
	unsigned int word = (unsigned int) throw(&vcpu->dice, 64);
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
		switch (throw(&vcpu->dice, 3)) {
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
	if (throw(&device->dice, 4) == 0) {
		/* Another pin on top: of something that is changed all the time. */
		ret = guest_mm_pin(mm, home_of(&counter_zone), PAGE, false, &second);
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
		int ret = guest_mm_pin(mm, home_of(zone), zone->pages * PAGE, true, &pin);

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
	ret = guest_mm_remap(mm, zone->home[at], zone->pages * PAGE, zone->home[!at], &err);
	if (done("remap", ret, &err))
		__atomic_store_n(&zone->at, !at, __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&zone->seq, 1, __ATOMIC_SEQ_CST);
}

/* Once it is read-only, nothing changes in it. */
static void protect_zone(struct zone *zone, struct dice *dice)
{
	uint64_t first = throw(dice, zone->pages), pages = 1 + throw(dice, zone->pages - first);
	gpa_t gpa = home_of(zone) + first * PAGE;
	struct samara_error err = {0};
	uint64_t before[COUNTERS], now;

	if (!done("protect", guest_mm_protect(mm, gpa, pages * PAGE, GUEST_MM_READ, &err), &err))
		return;
	for (uint64_t i = 0; i < pages && i < COUNTERS; i++)
		before[i] = __atomic_load_n(word_at(gpa + i * PAGE), __ATOMIC_RELAXED);
	if (throw(dice, 2))
		move_zone(zone); /* read-only it goes, read-only it arrives */
	sleep_us((long) throw(dice, 500));
	gpa = home_of(zone) + first * PAGE;
	for (uint64_t i = 0; i < pages && i < COUNTERS; i++) {
		now = __atomic_load_n(word_at(gpa + i * PAGE), __ATOMIC_RELAXED);
		if (now != before[i])
			wrong(&wrong_change, "read-only %#" PRIx64 " became %#" PRIx64, before[i],
			      now);
	}
	while (!done("unprotect", guest_mm_protect(mm, gpa, pages * PAGE, GUEST_MM_RDWR, &err),
		     &err))
		sleep_us(100);
}

static void replace_zone(struct zone *zone, struct dice *dice)
{
	uint64_t epoch = zone->epoch, part = 1 + throw(dice, zone->pages - 1);
	struct samara_error err = {0};
	gpa_t gpa = zone->home[0];

	for (unsigned int i = 0; i < 64; i++)
		__atomic_store_n(word_at(gpa + offset_of(zone, i)), SECRET | epoch,
				 __ATOMIC_RELAXED);
	delay(dice);
	/* In two parts, at a random place: split, then both sides go. */
	while (!done("unplug", guest_mm_unplug(mm, gpa, part * PAGE, &err), &err))
		sleep_us(100);
	while (!done("unplug",
		     guest_mm_unplug(mm, gpa + part * PAGE, (zone->pages - part) * PAGE, &err),
		     &err))
		sleep_us(100);
	__atomic_store_n(&zone->epoch, epoch + 1, __ATOMIC_SEQ_CST);
	delay(dice);
	while (!done("plug", guest_mm_plug(mm, gpa, zone->pages * PAGE, GUEST_MM_RDWR, &err), &err))
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

	if (throw(dice, 2)) {
		memory.kind = GUEST_MM_MEMORY_FILE;
		memory.fd = memfd_create("torture", MFD_CLOEXEC);
		if (memory.fd < 0 || ftruncate(memory.fd, (off_t)(zone->pages * PAGE)))
			wrong(&wrong_answer, "no memfd");
	}
	done("reback", guest_mm_reback(mm, home_of(zone), zone->pages * PAGE, &memory, &err), &err);
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
	if (throw(dice, 2)) {
		while (!done("discard", guest_mm_discard(mm, gpa, zone->pages * PAGE, &err), &err))
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
	while (!done("batch", guest_mm_batch(mm, ops, 3, &err), &err))
		sleep_us(100);
	__atomic_store_n(&zone->epoch, epoch + 1, __ATOMIC_SEQ_CST);
	while (!done("plug", guest_mm_plug(mm, ops[1].gpa, ops[1].size_bytes, GUEST_MM_RDWR, &err),
		     &err))
		sleep_us(100);
	while (!done("unprotect", guest_mm_protect(mm, gpa, PAGE, GUEST_MM_RDWR, &err), &err))
		sleep_us(100);
}

static void *operator_main(void *arg)
{
	struct worker *own = arg;

	while (running()) {
		switch (own->index) {
		case 0:
			if (throw(&own->dice, 2))
				move_zone(&counter_zone);
			else
				protect_zone(&counter_zone, &own->dice);
			break;
		case 1:
			if (throw(&own->dice, 2))
				move_zone(&private_zone[throw(&own->dice, VCPUS)]);
			else if (throw(&own->dice, 3))
				move_zone(&dma_zone[throw(&own->dice, DEVICES)]);
			else
				reback_zone(&dma_zone[throw(&own->dice, DEVICES)], &own->dice);
			break;
		default:
			if (throw(&own->dice, 2))
				replace_zone(&secret_zone[throw(&own->dice, 2)], &own->dice);
			else
				empty_zone(&secret_zone[throw(&own->dice, 2)], &own->dice);
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
		guest_mm_for_each_region(mm, check_listed, &behind);
		guest_mm_get_stats(mm, &stats);
		count(&listings);
		sleep_us(200);
	}
	return NULL;
}

/* ---- One round ------------------------------------------------------------------------------- */

static void must(int ret, const struct samara_error *err)
{
	if (!ret)
		return;
	printf("Bail out! %s\n", err->text);
	exit(1);
}

static void make_mm(enum guest_mm_backing backing, bool copy_only)
{
	struct guest_mm_config config = {.copy_only = copy_only, .fault_around_pages = 8};
	struct samara_error err;

	must(guest_mm_create(&config, &mm, &err), &err);
	must(guest_mm_add_window(mm, BASE, BASE_BYTES, backing, &err), &err);
	must(guest_mm_add_window(mm, SECOND, BASE_BYTES, backing, &err), &err);
	for (unsigned int i = 0; i < 2; i++)
		guest_mm_get_window(mm, i, &window[i]);
}

static void make_zone(struct zone *zone, unsigned int number, uint64_t pages)
{
	struct samara_error err;

	*zone = (struct zone){
		/* Side by side in the first window, so that they merge and split. */
		.home = {BASE + number * 16 * PAGE, SECOND + number * 64 * PAGE + PAGE},
		.pages = pages,
	};
	must(guest_mm_plug(mm, zone->home[0], pages * PAGE, GUEST_MM_RDWR, &err), &err);
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
		if (guest_mm_pin(mm, home_of(&dma_zone[i]), PAGE, true, &pin))
			return false;
		guest_mm_unpin(&pin);
	}
	move_zone(&counter_zone);
	check_counters();
	for (unsigned int i = 0; i < VCPUS; i++)
		done("unplug", guest_mm_unplug(mm, home_of(&private_zone[i]), 16 * PAGE, &err),
		     &err);
	for (unsigned int i = 0; i < DEVICES; i++)
		done("unplug", guest_mm_unplug(mm, home_of(&dma_zone[i]), 16 * PAGE, &err), &err);
	for (unsigned int i = 0; i < 2; i++)
		done("unplug", guest_mm_unplug(mm, secret_zone[i].home[0], 16 * PAGE, &err), &err);
	done("unplug", guest_mm_unplug(mm, home_of(&counter_zone), 16 * PAGE, &err), &err);
	guest_mm_get_stats(mm, &stats);
	if (stats.regions || stats.plugged_bytes || stats.populated_bytes)
		wrong(&wrong_answer, "left behind: %" PRIu64 " regions, %" PRIu64 " bytes",
		      stats.regions, stats.populated_bytes);
	return mt_validate(&mm->tree->map) == 0;
}

static bool everybody_got_on(void)
{
	return __atomic_load_n(&accesses, __ATOMIC_RELAXED) > 50 &&
	       __atomic_load_n(&pins, __ATOMIC_RELAXED) > 5 &&
	       __atomic_load_n(&operations, __ATOMIC_RELAXED) > 20 &&
	       __atomic_load_n(&listings, __ATOMIC_RELAXED) > 5;
}

static void torture(const char *name, enum guest_mm_backing backing, bool copy_only, bool fail,
		    double seconds)
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
	make_mm(backing, copy_only);
	make_zones();
	stop = 0;
	failing = fail;
	if (fail)
		interpose_fail_randomly(INTERPOSE_ALL & ~INTERPOSE_MMAP, 40);
	for (unsigned int i = 0; i < VCPUS; i++) {
		vcpus[i] = (struct vcpu){.index = i, .dice = {++seed * 7919}};
		pthread_create(&thread[n++], NULL, vcpu_main, &vcpus[i]);
	}
	for (unsigned int i = 0; i < DEVICES; i++) {
		devices[i] = (struct device){.index = i, .dice = {++seed * 7919}};
		pthread_create(&thread[n++], NULL, device_main, &devices[i]);
	}
	for (unsigned int i = 0; i < OPERATORS; i++) {
		operators[i] = (struct worker){.index = i, .dice = {++seed * 7919}};
		pthread_create(&thread[n++], NULL, operator_main, &operators[i]);
	}
	pthread_create(&thread[n++], NULL, lister_main, NULL);
	sleep_us((long)(seconds * 1e6));
	/* A busy machine may need longer for a little of everything. */
	for (unsigned int ms = 0; ms < 120000 && !everybody_got_on(); ms++)
		sleep_us(1000);
	__atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
	for (unsigned int i = 0; i < n; i++)
		pthread_join(thread[i], NULL);
	interpose_fail_randomly(0, 0);
	failing = false;
	guest_mm_get_stats(mm, &stats);
	sound = is_sound();
	printf("# %s: %" PRIu64 " accesses, %" PRIu64 " pins, %" PRIu64 " operations (%" PRIu64
	       " failed), %" PRIu64 " listings, %" PRIu64 " writes to nothing, %" PRIu64
	       " faults, %" PRIu64 " deferred, %" PRIu64 " held\n",
	       name, accesses, pins, operations, operations_failed, listings, strays, stats.faults,
	       stats.faults_deferred, stats.faults_held);
	report(!wrong_gone, "promise 3: gone is gone", name);
	report(!wrong_bytes, "promise 4: nothing is lost", name);
	report(!wrong_change, "what is read-only does not change", name);
	report(!wrong_listing, "listings are in order", name);
	report(!wrong_answer && sound,
	       fail ? "promise 7: every failure has an answer" : "every operation succeeds", name);
	report(everybody_got_on(), "everybody got on", name);
	guest_mm_destroy(mm);
}

/* ---- Promises, one by one -------------------------------------------------------------------- */

struct change {
	int (*operation)(struct guest_mm *mm, gpa_t gpa);
	gpa_t gpa;
	uint32_t finished; /* atomic */
	int ret;
};

static int do_unplug(struct guest_mm *own, gpa_t gpa)
{
	return guest_mm_unplug(own, gpa, 16 * PAGE, NULL);
}

static int do_remap(struct guest_mm *own, gpa_t gpa)
{
	return guest_mm_remap(own, gpa, 16 * PAGE, gpa + 1024 * PAGE, NULL);
}

static int do_protect(struct guest_mm *own, gpa_t gpa)
{
	return guest_mm_protect(own, gpa, 16 * PAGE, GUEST_MM_READ, NULL);
}

static void *change_main(void *arg)
{
	struct change *change = arg;

	change->ret = change->operation(mm, change->gpa);
	__atomic_store_n(&change->finished, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

static int find_locked(const struct guest_mm_region *region, void *arg)
{
	(void)arg;
	return region->locked;
}

/* What a stranger does: it must all complete. The counts are what it did. */
static void be_a_stranger(gpa_t gpa, uint64_t *faults, uint64_t *pinned)
{
	struct guest_mm_pin pin;
	uint64_t value;

	for (unsigned int i = 0; i < 512; i++) {
		__atomic_store_n(word_at(gpa + i * PAGE), i, __ATOMIC_RELAXED);
		(*faults)++;
		if (guest_mm_pin(mm, gpa + i * PAGE, 64, true, &pin) == 0) {
			(*pinned)++;
			guest_mm_unpin(&pin);
		}
		if (guest_mm_read(mm, gpa + i * PAGE, &value, 8) == 0 && value == i)
			(*pinned)++;
	}
	guest_mm_populate(mm, gpa, 1024 * PAGE, NULL);
}

static void *stranger_main(void *arg)
{
	uint64_t *counts = arg;

	be_a_stranger(SECOND, &counts[0], &counts[1]);
	return NULL;
}

/* An operation on A waits for a pin on A; all that time faults and pins in B come and go. */
static void test_stranger(const char *name, int (*operation)(struct guest_mm *, gpa_t))
{
	struct change change = {.operation = operation, .gpa = BASE};
	uint64_t counts[2] = {0};
	struct guest_mm_stats before, after;
	struct guest_mm_pin pin;
	struct samara_error err;
	pthread_t thread, stranger;
	bool pending;

	make_mm(GUEST_MM_ANON, false);
	must(guest_mm_plug(mm, BASE, 16 * PAGE, GUEST_MM_RDWR, &err), &err);
	must(guest_mm_plug(mm, SECOND, 1024 * PAGE, GUEST_MM_RDWR, &err), &err);
	if (guest_mm_pin(mm, BASE, PAGE, true, &pin))
		must(-EFAULT, &(struct samara_error){.text = "no pin"});
	guest_mm_get_stats(mm, &before);
	pthread_create(&thread, NULL, change_main, &change);
	while (!guest_mm_for_each_region(mm, find_locked, NULL))
		sleep_us(100);
	pthread_create(&stranger, NULL, stranger_main, counts);
	pthread_join(stranger, NULL);
	pending = !get(&change.finished);
	guest_mm_get_stats(mm, &after);
	sleep_us(300000);
	pending &= !get(&change.finished);
	guest_mm_unpin(&pin);
	pthread_join(thread, NULL);
	printf("# %s: %" PRIu64 " accesses and %" PRIu64 " pins elsewhere while it waited\n", name,
	       counts[0], counts[1]);
	report(pending && counts[0] == 512 && counts[1] == 1024 && !change.ret &&
		       after.faults > before.faults && after.lock_abort == before.lock_abort,
	       "promise 1: nobody waits for a stranger", name);
	guest_mm_destroy(mm);
}

static uint64_t system_calls(void)
{
	return interpose_count(INTERPOSE_MADVISE) + interpose_count(INTERPOSE_FALLOCATE) +
	       interpose_count(INTERPOSE_COPY) + interpose_count(INTERPOSE_MOVE) +
	       interpose_count(INTERPOSE_PROTECT);
}

/* What one of each operation takes among so many regions: allocations, system calls. */
static void cost_among(unsigned int regions, uint64_t cost[2])
{
	struct samara_error err;
	gpa_t at = SECOND;

	make_mm(GUEST_MM_ANON, false);
	for (unsigned int i = 0; i < regions; i++)
		must(guest_mm_plug(mm, BASE + 2 * i * PAGE, PAGE, GUEST_MM_RDWR, &err), &err);
	must(guest_mm_plug(mm, at, 64 * PAGE, GUEST_MM_RDWR, &err), &err);
	must(guest_mm_populate(mm, at, 64 * PAGE, &err), &err);
	cost[0] = interpose_count(INTERPOSE_MALLOC);
	cost[1] = system_calls();
	must(guest_mm_protect(mm, at + 8 * PAGE, 8 * PAGE, GUEST_MM_READ, &err), &err);
	must(guest_mm_protect(mm, at + 8 * PAGE, 8 * PAGE, GUEST_MM_RDWR, &err), &err);
	must(guest_mm_remap(mm, at + 20 * PAGE, 8 * PAGE, at + 100 * PAGE, &err), &err);
	must(guest_mm_unplug(mm, at + 40 * PAGE, 8 * PAGE, &err), &err);
	must(guest_mm_plug(mm, at + 40 * PAGE, 8 * PAGE, GUEST_MM_RDWR, &err), &err);
	cost[0] = interpose_count(INTERPOSE_MALLOC) - cost[0];
	cost[1] = system_calls() - cost[1];
	guest_mm_destroy(mm);
}

static void test_cost(void)
{
	uint64_t few[2], many[2];

	cost_among(8, few);
	cost_among(8000, many);
	printf("# among 8 regions: %" PRIu64 " allocations, %" PRIu64
	       " system calls; among 8000: %" PRIu64 ", %" PRIu64 "\n",
	       few[0], few[1], many[0], many[1]);
	report(many[1] == few[1] && many[0] <= few[0] + 4,
	       "promise 6: an operation costs what it touches", "8 and 8000 regions");
}

/* Operators that never pause, on the very pages that are faulted in: the faults get through. */
static void *toggler_main(void *arg)
{
	gpa_t gpa = BASE + (uint64_t)(uintptr_t)arg * 64 * PAGE;

	for (unsigned int prot = GUEST_MM_READ; running(); prot ^= GUEST_MM_WRITE)
		guest_mm_protect(mm, gpa, 512 * PAGE, prot, NULL);
	return NULL;
}

static void test_no_starvation(void)
{
	struct samara_error err;
	pthread_t thread[3];

	make_mm(GUEST_MM_ANON, false);
	must(guest_mm_plug(mm, BASE, 1024 * PAGE, GUEST_MM_RDWR, &err), &err);
	stop = 0;
	for (uintptr_t i = 0; i < 3; i++)
		pthread_create(&thread[i], NULL, toggler_main, (void *)i);
	for (unsigned int i = 0; i < 512; i += 8)
		(void)__atomic_load_n(word_at(BASE + (128 + i) * PAGE), __ATOMIC_RELAXED);
	__atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
	for (uintptr_t i = 0; i < 3; i++)
		pthread_join(thread[i], NULL);
	report(true, "faults get through between operations that never pause", "anon");
	guest_mm_destroy(mm);
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

	seed = argc > 2 ? strtoull(argv[2], NULL, 0) : (uint64_t)time(NULL);
	printf("# LOCK=%s, %g seconds, seed %" PRIu64 "\n", lock_design, seconds, seed);
	if (strcmp(lock_design, "single")) {
		test_stranger("unplug", do_unplug);
		test_stranger("remap", do_remap);
		test_stranger("protect", do_protect);
	} else {
		printf("ok %u - promise 1: nobody waits for a stranger # SKIP in LOCK=%s everybody "
		       "waits for everybody\n",
		       ++tests_done, lock_design);
	}
	test_cost();
	test_no_starvation();
	for (unsigned int i = 0; i < sizeof(round) / sizeof(round[0]); i++)
		torture(round[i].name, round[i].backing, round[i].copy_only, round[i].fail,
			seconds / 6);
	printf("1..%u\n", tests_done);
	return tests_failed != 0;
}
