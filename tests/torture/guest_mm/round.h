/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_TORTURE_GUEST_MM_ROUND_H
#define TESTS_TORTURE_GUEST_MM_ROUND_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "tests/lib/torture.h"
#include "tests/torture/guest_mm/tally.h"
#include "tests/torture/guest_mm/windows.h"
#include "tests/torture/guest_mm/zone.h"

/*
 * One round of torture_guest_mm: what all its threads share, and the threads. Each kind of thread has
 * a file of its own, and keeps what it alone knows on its stack.
 */

#define VCPUS        3
#define DEVICES      2
#define OPERATORS    3
#define LISTERS      1

#define SECRETS      2
#define SECRET_WORDS 64 /* of each secret zone */
#define COUNTERS     8

/* What a counter starts at, and what is in a secret zone; the low bits count, or are the epoch. */
#define SIGNATURE    UINT64_C(0x5a3a7a0000000000)
#define SECRET       UINT64_C(0x5ec7e70000000000)
#define LOW_BITS     ((UINT64_C(1) << 40) - 1)

/**
 * struct round - what all threads of a round share
 * @windows: immutable
 * @private_zone: one for each vCPU; they move
 * @dma_zone: one for each device; they move, and come to be in a file and back
 * @counter_zone: moves and is protected
 * @secret_zone: these come and go
 * @landed: increments of each counter that were seen to hit it; atomic
 * @stop: the threads are to end; atomic
 * @tally: what was seen
 */
struct round {
	struct windows windows;
	struct zone private_zone[VCPUS];
	struct zone dma_zone[DEVICES];
	struct zone counter_zone;
	struct zone secret_zone[SECRETS];
	uint64_t landed[COUNTERS];
	uint32_t stop;
	struct tally tally;
};

/**
 * struct actor - a thread of a round
 * @round: immutable
 * @index: among those of its kind; immutable
 * @dice: its own
 * @thread: the main thread's
 */
struct actor {
	struct round *round;
	unsigned int index;
	struct dice dice;
	pthread_t thread;
};

/* The kinds of threads; each takes a struct actor, and ends when the round does. */
void *actor_vcpu(void *arg);
void *actor_device(void *arg);
void *actor_operator(void *arg);
void *actor_lister(void *arg);

static inline bool round_goes_on(const struct round *round)
{
	return !__atomic_load_n(&round->stop, __ATOMIC_RELAXED);
}

/* Dawdle, or not. */
void actor_delay(struct actor *actor);

/**
 * round_run() - everybody at once, and then a look at what is left
 * @name: what the results are called after
 * @fail: calls fail at random
 * @seconds: at least
 * @seed: grows by one for each thread
 */
void round_run(struct tap *tap, const char *name, enum guest_mm_backing backing, bool copy_only,
	       bool fail, double seconds, uint64_t *seed);

#endif
