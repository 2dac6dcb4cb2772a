/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_STRESS_CLOCK_H
#define VMM_STRESS_CLOCK_H

#include <stdint.h>
#include <time.h>

#define STRESS_NS_PER_S UINT64_C(1000000000)

/* CLOCK_MONOTONIC in nanoseconds. */
static inline uint64_t stress_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * STRESS_NS_PER_S + (uint64_t)now.tv_nsec;
}

/* Sleep that long, or until a signal. */
static inline void stress_sleep_ns(uint64_t ns)
{
	struct timespec time = {(time_t)(ns / STRESS_NS_PER_S), (long)(ns % STRESS_NS_PER_S)};

	nanosleep(&time, NULL);
}

#endif
