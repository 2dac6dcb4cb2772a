/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_STRESS_LOG_H
#define VMM_STRESS_LOG_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <samara/types.h>

#include "vmm/stress.h"

/*
 * The last operations of a run, to be told beside an error at one of their addresses.
 */

#define STRESS_LOG_ENTRIES 8192u

/**
 * struct stress_log_entry - one operation
 * @began_ns, @took_ns: by CLOCK_MONOTONIC; @took_ns is 0 while it goes on
 * @argument: as for stress_op()
 * @ret: 0 or -errno
 */
struct stress_log_entry {
	uint64_t began_ns, took_ns;
	gpa_t gpa;
	uint64_t size_bytes, argument;
	enum stress_op op;
	int ret;
};

/**
 * struct stress_log - a ring of them
 *
 * Lock: @lock guards all of it, for some instructions at a time.
 */
struct stress_log {
	pthread_mutex_t lock;
	uint64_t count;
	struct stress_log_entry entries[STRESS_LOG_ENTRIES];
};

void stress_log_init(struct stress_log *log);

/* Note that an operation begins. Return: its number, for stress_log_end(). */
uint64_t stress_log_begin(struct stress_log *log, enum stress_op op, gpa_t gpa, uint64_t size_bytes,
			  uint64_t argument, uint64_t now_ns);
void stress_log_end(struct stress_log *log, uint64_t number, uint64_t now_ns, int ret);

/**
 * stress_log_find() - the last operations that touched an address, the latest first
 *
 * Return: how many were put into @found, up to @most.
 */
unsigned int stress_log_find(struct stress_log *log, gpa_t gpa, struct stress_log_entry *found,
			     unsigned int most);

/* Operations that go on, the latest first. Return: as stress_log_find(). */
unsigned int stress_log_running(struct stress_log *log, struct stress_log_entry *found,
				unsigned int most);

/* One as a line: "unplug 0x1000-0x1fff, began 3.2 ms before, took 0.4 ms". */
void stress_log_describe(const struct stress_log_entry *entry, uint64_t now_ns, char *text,
			 size_t length);

#endif
