/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_STRESS_SPAN_H
#define VMM_STRESS_SPAN_H

#include <stdio.h>

#include "vmm/stress.h"

/**
 * struct stress_span - what a run did since the last time one looked
 * @operations_per_s, @faults_per_s, @operation_ns, @fault_cycles: the span's own
 *
 * The other fields are what was seen last.
 * Locks: one thread at a time.
 */
struct stress_span {
	double length_s, operations_per_s, faults_per_s, cycle_ns;
	uint64_t operations, faults;
	struct stress_hist operation_ns, fault_cycles;
	double seconds;
	uint64_t operations_before, faults_before;
	struct stress_hist operation_ns_before, fault_cycles_before;
};

/* The next span ends here. @now has latencies. */
void stress_span_next(struct stress_span *span, const struct stress_progress *now);

/* CSV: the names of the columns, and a line for a span. Return: 0, -EIO. */
int stress_csv_head(FILE *out);
int stress_csv_line(FILE *out, const struct stress_span *span, const struct stress_progress *now);

/**
 * stress_live_draw() - the live view: some lines of text
 * @now: has the map, with as many cells as stress_live_cells() said
 *
 * Return: how many lines.
 */
unsigned int stress_live_draw(FILE *out, const struct stress_span *span,
			      const struct stress_progress *now,
			      const struct stress_options *options);

/* How many cells of the map the live view has in each range on a terminal of that width. */
unsigned int stress_live_cells(unsigned int columns);

/* A time as people read it: "95.2 us". */
const char *stress_format_ns(char *text, size_t length, double ns);

#endif
