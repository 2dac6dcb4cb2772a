/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/stress_span.h"

#include <errno.h>
#include <inttypes.h>

void stress_span_next(struct stress_span *span, const struct stress_progress *now)
{
	span->length_s = now->seconds - span->seconds;
	span->operations = now->operations - span->operations_before;
	span->faults = now->faults - span->faults_before;
	span->operations_per_s = span->length_s > 0 ? (double)span->operations / span->length_s : 0;
	span->faults_per_s = span->length_s > 0 ? (double)span->faults / span->length_s : 0;
	span->cycle_ns = now->tsc_hz > 0 ? 1e9 / now->tsc_hz : 0;
	stress_hist_since(&span->operation_ns, now->operation_ns, &span->operation_ns_before);
	stress_hist_since(&span->fault_cycles, now->fault_cycles, &span->fault_cycles_before);
	span->seconds = now->seconds;
	span->operations_before = now->operations;
	span->faults_before = now->faults;
	span->operation_ns_before = *now->operation_ns;
	span->fault_cycles_before = *now->fault_cycles;
}

int stress_csv_head(FILE *out)
{
	fputs("seconds,operations,faults,errors,injected,regions,tree_nodes,plugged_bytes,"
	      "populated_bytes,"
	      "own_rss_bytes,operation_p50_ns,operation_p99_ns,operation_max_ns,fault_p50_ns,"
	      "fault_p99_ns,fault_max_ns,checked_bytes,guest_bytes,guest_faults\n",
	      out);
	return fflush(out) ? -EIO : 0;
}

int stress_csv_line(FILE *out, const struct stress_span *span, const struct stress_progress *now)
{
	const struct stress_hist *operation = &span->operation_ns, *fault = &span->fault_cycles;

	fprintf(out,
		"%.3f,%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64
		",%" PRIu64 ",%" PRIu64 ",",
		now->seconds, span->operations, span->faults, now->errors, now->injected,
		now->regions, now->tree_nodes, now->plugged_bytes, now->populated_bytes);
	/* Not to be told just then: no value. */
	if (now->rss_bytes)
		fprintf(out, "%" PRIu64, now->rss_bytes);
	fprintf(out, ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%.0f,%.0f,%.0f,%" PRIu64 ",",
		stress_hist_quantile(operation, 0.5), stress_hist_quantile(operation, 0.99),
		operation->max, (double)stress_hist_quantile(fault, 0.5) * span->cycle_ns,
		(double)stress_hist_quantile(fault, 0.99) * span->cycle_ns,
		(double)fault->max * span->cycle_ns, now->checked_bytes);
	if (now->guest_bytes)
		fprintf(out, "%" PRIu64 ",%" PRIu64 "\n", now->guest_bytes, now->guest_faults);
	else
		fputs(",\n", out);
	return fflush(out) ? -EIO : 0;
}
