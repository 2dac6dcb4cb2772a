/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MM_SLOW_H
#define MM_SLOW_H

#include <stdint.h>

#include <samara/guest_mm.h>

struct range;

/**
 * struct slow - the watch on operations that wait for long
 *
 * Lock key: I immutable; a atomic, written by the operation (one at a time: it has the tree lock),
 * read by the fault service's retry thread, which reports.
 *
 * @since_ns is 0 while no operation can be waiting. A reader that finds it the same before and after
 * reading the rest has read what belongs together.
 */
struct slow {
	void (*report)(const struct guest_mm_slow_operation *slow, void *arg); /* I */
	void *arg;                                                             /* I */
	uint64_t period_ns;                                                    /* I */
	uint64_t since_ns;                                                     /* a */
	const char *operation;                                                 /* a */
	gpa_t gpa;                                                             /* a */
	uint64_t size_bytes;                                                   /* a */
};

/* An operation begins to wait for those who hold a range, and has done so. */
void slow_begin(struct slow *slow, const struct range *range);
void slow_end(struct slow *slow);

/**
 * slow_watch() - report an operation that has waited for longer than a period
 *
 * Return: nanoseconds after which to look again, UINT64_MAX: nobody wants to know.
 */
uint64_t slow_watch(struct guest_mm *mm);

#endif
