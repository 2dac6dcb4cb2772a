/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <sched.h>
#include <time.h>

#include "tests/lib/torture.h"

#define PATIENCE_MS 120000

void sleep_us(unsigned long us)
{
	struct timespec pause = {.tv_sec = (time_t)(us / 1000000),
				 .tv_nsec = (long)(us % 1000000 * 1000)};

	nanosleep(&pause, NULL);
}

void dice_delay(struct dice *dice, const struct delays *delays)
{
	uint64_t kind = dice_throw(dice, delays->of);

	if (kind < delays->sleep)
		sleep_us(dice_throw(dice, delays->sleep_us));
	else if (kind < delays->sleep + delays->yield)
		sched_yield();
	else if (kind < delays->sleep + delays->yield + delays->spin)
		for (volatile uint64_t i = dice_throw(dice, delays->turns); i; i--)
			;
}

void torture_for(double seconds, bool (*enough)(const void *arg), const void *arg)
{
	sleep_us((unsigned long)(seconds * 1e6));
	for (unsigned int ms = 0; ms < PATIENCE_MS && !enough(arg); ms++)
		sleep_us(1000);
}
