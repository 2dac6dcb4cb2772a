/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Promises of the guest memory manager one by one, each where it is hardest to keep:
 * torture_guest_mm_promises, TAP. torture_guest_mm has them all at once, and for as long as one likes.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <samara/guest_mm.h>

#include "mm/lock.h"
#include "tests/lib/interpose.h"
#include "tests/lib/tap.h"
#include "tests/lib/torture.h"
#include "tests/torture/guest_mm/windows.h"

static uint32_t get(const uint32_t *value)
{
	return __atomic_load_n(value, __ATOMIC_SEQ_CST);
}

/* ---- Nobody waits for a stranger --------------------------------------------------------------- */

#define STRANGER_PAGES  1024
#define STRANGER_ROUNDS 512

/* What waits for a pin in A. */
struct change {
	int (*operation)(struct guest_mm *mm, gpa_t gpa); /* immutable, as are @mm and @gpa */
	struct guest_mm *mm;
	gpa_t gpa;
	uint32_t finished; /* atomic */
	int ret;           /* the thread's until it is joined */
};

/* Who is busy in B meanwhile. The counts are what it did: the thread's until it is joined. */
struct stranger {
	const struct windows *windows;
	gpa_t gpa;
	uint64_t accesses, pins;
};

static int do_unplug(struct guest_mm *mm, gpa_t gpa)
{
	return guest_mm_unplug(mm, gpa, 16 * PAGE, NULL);
}

static int do_remap(struct guest_mm *mm, gpa_t gpa)
{
	return guest_mm_remap(mm, gpa, 16 * PAGE, gpa + 1024 * PAGE, NULL);
}

static int do_protect(struct guest_mm *mm, gpa_t gpa)
{
	return guest_mm_protect(mm, gpa, 16 * PAGE, GUEST_MM_READ, NULL);
}

static void *change_main(void *arg)
{
	struct change *change = arg;

	change->ret = change->operation(change->mm, change->gpa);
	__atomic_store_n(&change->finished, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

static int find_locked(const struct guest_mm_region *region, void *arg)
{
	(void)arg;
	return region->locked;
}

/* All of it must complete. */
static void *stranger_main(void *arg)
{
	struct stranger *own = arg;
	struct guest_mm *mm = own->windows->mm;
	struct guest_mm_pin pin;
	uint64_t value;

	for (unsigned int i = 0; i < STRANGER_ROUNDS; i++) {
		gpa_t gpa = own->gpa + i * PAGE;

		__atomic_store_n(windows_word(own->windows, gpa), i, __ATOMIC_RELAXED);
		own->accesses++;
		if (guest_mm_pin(mm, gpa, 64, true, &pin) == 0) {
			own->pins++;
			guest_mm_unpin(&pin);
		}
		if (guest_mm_read(mm, gpa, &value, 8) == 0 && value == i)
			own->pins++;
	}
	guest_mm_populate(mm, own->gpa, STRANGER_PAGES * PAGE, NULL);
	return NULL;
}

/* An operation on A waits for a pin on A; all that time faults and pins in B come and go. */
static void test_stranger(struct tap *tap, const char *name,
			  int (*operation)(struct guest_mm *, gpa_t))
{
	struct windows windows;
	struct change change = {.operation = operation, .gpa = BASE};
	struct stranger stranger = {.windows = &windows, .gpa = SECOND};
	struct guest_mm_stats before, after;
	struct guest_mm_pin pin;
	struct samara_error err;
	pthread_t changing, elsewhere;
	bool pending;

	windows_make(&windows, GUEST_MM_ANON, false);
	change.mm = windows.mm;
	must(guest_mm_plug(windows.mm, BASE, 16 * PAGE, GUEST_MM_RDWR, &err), &err);
	must(guest_mm_plug(windows.mm, SECOND, STRANGER_PAGES * PAGE, GUEST_MM_RDWR, &err), &err);
	if (guest_mm_pin(windows.mm, BASE, PAGE, true, &pin))
		tap_bail_out("no pin");
	guest_mm_get_stats(windows.mm, &before);
	pthread_create(&changing, NULL, change_main, &change);
	/* One that does not wait at all may be over before it was seen. */
	while (!guest_mm_for_each_region(windows.mm, find_locked, NULL) && !get(&change.finished))
		sleep_us(100);
	pthread_create(&elsewhere, NULL, stranger_main, &stranger);
	pthread_join(elsewhere, NULL);
	pending = !get(&change.finished);
	guest_mm_get_stats(windows.mm, &after);
	sleep_us(300000);
	pending &= !get(&change.finished);
	guest_mm_unpin(&pin);
	pthread_join(changing, NULL);
	printf("# %s: %" PRIu64 " accesses and %" PRIu64 " pins elsewhere while it waited\n", name,
	       stranger.accesses, stranger.pins);
	tap_report(tap,
		   pending && stranger.accesses == STRANGER_ROUNDS &&
			   stranger.pins == 2 * STRANGER_ROUNDS && !change.ret &&
			   after.faults > before.faults && after.lock_abort == before.lock_abort,
		   "promise 1: nobody waits for a stranger, %s", name);
	windows_destroy(&windows);
}

/* ---- An operation costs what it touches -------------------------------------------------------- */

struct cost {
	uint64_t allocations, system_calls;
};

static struct cost cost_so_far(void)
{
	return (struct cost){
		.allocations = interpose_count(INTERPOSE_MALLOC),
		.system_calls = interpose_count(INTERPOSE_MADVISE) +
				interpose_count(INTERPOSE_FALLOCATE) +
				interpose_count(INTERPOSE_COPY) + interpose_count(INTERPOSE_MOVE) +
				interpose_count(INTERPOSE_PROTECT),
	};
}

/* What one of each operation takes among so many regions. */
static struct cost cost_among(unsigned int regions)
{
	struct windows windows;
	struct samara_error err;
	struct cost before, after;
	gpa_t at = SECOND;

	windows_make(&windows, GUEST_MM_ANON, false);
	for (unsigned int i = 0; i < regions; i++)
		must(guest_mm_plug(windows.mm, BASE + 2 * i * PAGE, PAGE, GUEST_MM_RDWR, &err),
		     &err);
	must(guest_mm_plug(windows.mm, at, 64 * PAGE, GUEST_MM_RDWR, &err), &err);
	must(guest_mm_populate(windows.mm, at, 64 * PAGE, &err), &err);
	before = cost_so_far();
	must(guest_mm_protect(windows.mm, at + 8 * PAGE, 8 * PAGE, GUEST_MM_READ, &err), &err);
	must(guest_mm_protect(windows.mm, at + 8 * PAGE, 8 * PAGE, GUEST_MM_RDWR, &err), &err);
	must(guest_mm_remap(windows.mm, at + 20 * PAGE, 8 * PAGE, at + 100 * PAGE, &err), &err);
	must(guest_mm_unplug(windows.mm, at + 40 * PAGE, 8 * PAGE, &err), &err);
	must(guest_mm_plug(windows.mm, at + 40 * PAGE, 8 * PAGE, GUEST_MM_RDWR, &err), &err);
	after = cost_so_far();
	windows_destroy(&windows);
	return (struct cost){.allocations = after.allocations - before.allocations,
			     .system_calls = after.system_calls - before.system_calls};
}

static void test_cost(struct tap *tap)
{
	struct cost few = cost_among(8), many = cost_among(8000);

	printf("# among 8 regions: %" PRIu64 " allocations, %" PRIu64
	       " system calls; among 8000: %" PRIu64 ", %" PRIu64 "\n",
	       few.allocations, few.system_calls, many.allocations, many.system_calls);
	tap_report(tap,
		   many.system_calls == few.system_calls && many.allocations <= few.allocations + 4,
		   "promise 6: an operation costs what it touches, 8 and 8000 regions");
}

/* ---- Faults get through ------------------------------------------------------------------------ */

#define TOGGLERS 3

struct toggler {
	struct guest_mm *mm; /* immutable, as is @gpa */
	gpa_t gpa;
	const uint32_t *stop; /* atomic */
	pthread_t thread;
};

/* Operators that never pause, on the very pages that are faulted in. */
static void *toggler_main(void *arg)
{
	struct toggler *own = arg;

	for (unsigned int prot = GUEST_MM_READ; !get(own->stop); prot ^= GUEST_MM_WRITE)
		guest_mm_protect(own->mm, own->gpa, 512 * PAGE, prot, NULL);
	return NULL;
}

static void test_no_starvation(struct tap *tap)
{
	struct toggler togglers[TOGGLERS];
	struct windows windows;
	struct samara_error err;
	uint32_t stop = 0;

	windows_make(&windows, GUEST_MM_ANON, false);
	must(guest_mm_plug(windows.mm, BASE, 1024 * PAGE, GUEST_MM_RDWR, &err), &err);
	for (unsigned int i = 0; i < TOGGLERS; i++) {
		togglers[i] = (struct toggler){
			.mm = windows.mm, .gpa = BASE + i * 64 * PAGE, .stop = &stop};
		pthread_create(&togglers[i].thread, NULL, toggler_main, &togglers[i]);
	}
	for (unsigned int i = 0; i < 512; i += 8)
		(void)__atomic_load_n(windows_word(&windows, BASE + (128 + i) * PAGE),
				      __ATOMIC_RELAXED);
	__atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
	for (unsigned int i = 0; i < TOGGLERS; i++)
		pthread_join(togglers[i].thread, NULL);
	tap_report(tap, true, "faults get through between operations that never pause, anon");
	windows_destroy(&windows);
}

int main(void)
{
	struct tap tap = {0};

	printf("# LOCK=%s\n", lock_design);
	if (strcmp(lock_design, "single")) {
		test_stranger(&tap, "unplug", do_unplug);
		test_stranger(&tap, "remap", do_remap);
		test_stranger(&tap, "protect", do_protect);
	} else {
		tap_skip(&tap, "promise 1: nobody waits for a stranger",
			 "in LOCK=%s everybody waits for everybody", lock_design);
	}
	test_cost(&tap);
	test_no_starvation(&tap);
	return tap_end(&tap);
}
