/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_LIB_TORTURE_H
#define TESTS_LIB_TORTURE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * What torture programs have in common: each thread has dice, which choose what it does and how long
 * it dawdles; the torture goes on for some time, and until everybody has got on.
 */

/**
 * struct dice - random numbers of one thread
 * @state: at first the seed; any number
 *
 * The high bits of a linear congruential generator (Knuth's MMIX; TAOCP 2, 3.3.4).
 */
struct dice {
	uint64_t state;
};

/* 0 .. @below - 1; @below is far below 2^31, so the bias does not matter. */
static inline uint64_t dice_throw(struct dice *dice, uint64_t below)
{
	dice->state = dice->state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (dice->state >> 33) % below;
}

/* Different for each @number, and not side by side. */
static inline struct dice dice_of(uint64_t number)
{
	return (struct dice){.state = number * 7919};
}

/**
 * struct delays - how a thread dawdles between two steps
 * @of: of so many times
 * @sleep: it sleeps so often, less than @sleep_us
 * @yield: gives its CPU away so often
 * @spin: turns so often on the spot, fewer than @turns times
 */
struct delays {
	unsigned int of;
	unsigned int sleep, yield, spin;
	unsigned int sleep_us, turns;
};

/* One of these delays, or none. */
void dice_delay(struct dice *dice, const struct delays *delays);

void sleep_us(unsigned long us);

/**
 * torture_for() - let the others get on
 * @seconds: at least
 * @enough: whether everybody did a little of everything, for which a busy machine may need longer: two
 *	minutes are waited for it
 * @arg: for @enough
 *
 * Context: beside the threads that do the work.
 */
void torture_for(double seconds, bool (*enough)(const void *arg), const void *arg);

/* One more of what several threads count. */
static inline void count(uint64_t *counter)
{
	__atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

/* What they have counted so far. */
static inline uint64_t counted(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

#endif
