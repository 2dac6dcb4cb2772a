/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MM_WAIT_H
#define MM_WAIT_H

#include <time.h>

#include "mm/cpu_relax.h"

/*
 * Wait for something that nobody announces: spin for about a microsecond, then sleep 20 us at a
 * time, after some milliseconds 500 us at a time. @round counts from 0.
 */
static inline void wait_a_little(unsigned int round)
{
	struct timespec pause = {.tv_nsec = round < 160 ? 20000 : 500000};

	if (round < 128)
		cpu_relax();
	else
		clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
}

#endif
