/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_STRESS_DISPLAY_H
#define VMM_STRESS_DISPLAY_H

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>

#include "vmm/stress_span.h"

/**
 * struct stress_display - what a person sees of a run, and what goes into the CSV file
 *
 * Lock: @lock guards standard output and @lines; others are the main thread's.
 * @lines: of the live view, above the cursor
 * @interrupt: is set where an error shall end the run
 */
struct stress_display {
	const struct stress_options *options;
	bool terminal; /* standard error is one */
	bool live, stop_on_error;
	volatile int *interrupt;
	pthread_mutex_t lock;
	unsigned int lines;
	double next, csv_next; /* seconds */
	struct stress_progress last;
	struct stress_span live_span, csv_span;
	FILE *csv;
	bool csv_failed;
};

/**
 * stress_display_begin() - see what there is to write to
 * @display: all zero but for @options, @stop_on_error and @interrupt
 * @csv_path: NULL: none; "-": standard output
 * @live: draw the live view, if standard output is a terminal
 * @watcher: filled in
 *
 * Return: 0, -errno (the CSV file).
 */
int stress_display_begin(struct stress_display *display, const char *csv_path, bool live,
			 struct stress_watcher *watcher, struct samara_error *err);

/* Take the live view away, and close the CSV file. Return: 0, -EIO, -errno (the CSV file). */
int stress_display_end(struct stress_display *display, const char *csv_path,
		       struct samara_error *err);

#endif
