/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tests/bench/cell.h"

static cpu_set_t allowed;

void cell_value(const struct cell *cell, const char *unit, double value)
{
	printf("%s.%s %.9g\n", cell->name, unit, value);
}

int cell_serve(const struct cell *cells, unsigned int count)
{
	char line[64];

	sched_getaffinity(0, sizeof(allowed), &allowed);
	for (unsigned int i = 0; i < count; i++)
		printf("%s\n", cells[i].name);
	printf(".\n");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		unsigned long which = strtoul(line, NULL, 10);

		if (which >= count)
			return 1;
		cells[which].run(&cells[which]);
		printf(".\n");
		fflush(stdout);
	}
	return 0;
}

uint64_t cell_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

uint64_t cell_kept_off_ns(void)
{
	/* Documentation/scheduler/sched-stats.rst: on the CPU, waiting for it, time slices. */
	FILE *file = fopen("/proc/thread-self/schedstat", "r");
	unsigned long long kept_off = 0;

	if (file) {
		if (fscanf(file, "%*u %llu", &kept_off) != 1)
			kept_off = 0;
		fclose(file);
	}
	return kept_off;
}

unsigned int cell_cpus(void)
{
	/* In a process that serves nobody. */
	if (!CPU_COUNT(&allowed))
		sched_getaffinity(0, sizeof(allowed), &allowed);
	return (unsigned int)CPU_COUNT(&allowed);
}

void cell_on_cpu(unsigned int which)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	which %= cell_cpus();
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &allowed) && !which--)
			CPU_SET(cpu, &one);
	sched_setaffinity(0, sizeof(one), &one);
}
