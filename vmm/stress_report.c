/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The result of a run as text for people. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "vmm/stress_span.h"
#include "vmm/stress_table.h"

static int add_operation(struct libscols_table *table, const char *name, uint64_t count,
			 const struct stress_hist *hist, double scale)
{
	static const double fractions[] = {0.5, 0.9, 0.99, 0.999};
	char cells[6][32];
	const char *row[] = {name, cells[0], cells[1], cells[2], cells[3], cells[4], cells[5]};

	snprintf(cells[0], sizeof(cells[0]), "%" PRIu64, count);
	for (unsigned int i = 0; i < 4; i++)
		stress_format_ns(cells[1 + i], sizeof(cells[1 + i]),
				 (double)stress_hist_quantile(hist, fractions[i]) * scale);
	stress_format_ns(cells[5], sizeof(cells[5]), (double)hist->max * scale);
	return stress_table_add(table, row, 7);
}

static int print_operations(const struct stress_result *result, FILE *out, struct samara_error *err)
{
	static const char *const columns[] = {"", "COUNT", "P50", "P90", "P99", "P99.9", "MAX"};
	struct libscols_table *table = stress_table_new(columns, 7);
	int ret = 0;

	if (!table)
		return samara_error_set(err, -ENOMEM, "out of memory for a table");
	for (unsigned int op = 0; !ret && op < STRESS_OPS; op++)
		if (result->operations[op])
			ret = add_operation(table, stress_op_names[op], result->operations[op],
					    &result->operation_ns[op], 1);
	if (!ret)
		ret = add_operation(table, "first touch", result->fault_cycles.count,
				    &result->fault_cycles, stress_cycle_ns(result));
	return stress_table_print(table, out, ret, err);
}

static void print_found(const struct stress_result *result, FILE *out)
{
	for (unsigned int i = 0; i < result->found_count; i++) {
		const struct stress_found *found = &result->found[i];

		fprintf(out,
			"error %u: %s at gpa %#" PRIx64 " (%s), seen by %s: expected %#" PRIx64
			", found %#" PRIx64 "\n",
			i + 1, found->what, found->gpa, found->place, found->who, found->expected,
			found->found);
		for (unsigned int k = 0; k < found->operation_count; k++)
			fprintf(out, "    %s\n", found->operations[k]);
	}
}

static void print_injected(const struct stress_result *result, FILE *out)
{
	const char *between = "injected: ";

	for (unsigned int i = 0; i < INJECT_PLACES; i++) {
		if (!result->options.inject.place[i].odds)
			continue;
		fprintf(out, "%s%s %" PRIu64 " of %" PRIu64, between, inject_place_names[i],
			result->injected.struck[i], result->injected.calls[i]);
		between = ", ";
	}
	if (between[0] == ',')
		fputc('\n', out);
}

/* What was done, and by how many. */
static void print_own_guest(const struct stress_result *result, FILE *out)
{
	const struct stress_options *options = &result->options;

	fprintf(out,
		"lock %s, %u vCPUs, %.1f s, seed %" PRIu64 "%s: %" PRIu64 " operations, %" PRIu64
		" faults, %" PRIu64 " visits to slots, %" PRIu64 " to memory of devices, %" PRIu64
		" DMA\n",
		result->mm.lock, options->cpus, result->seconds, options->seed,
		result->interrupted ? " (interrupted)" : "", stress_operations_total(result),
		result->mm.faults, result->visits, result->device_visits, result->dma);
	fprintf(out,
		"checked %.1f MiB by vCPUs and %.1f MiB by the host; %" PRIu64
		" increments; %" PRIu64 " accesses to nothing, and %" PRIu64
		" that missed moving memory\n",
		(double)result->checked_by_guest_bytes / 0x1p20,
		(double)result->checked_by_host_bytes / 0x1p20, result->increments,
		result->nothing_accesses, result->live_missed);
}

static void print_linux_guest(const struct stress_result *result, FILE *out)
{
	const struct stress_linux_result *guest = &result->linux_guest;
	const struct stress_options *options = &result->options;

	fprintf(out,
		"lock %s, Linux %s, %u vCPUs, %.1f s, seed %" PRIu64 "%s: %" PRIu64
		" operations, %" PRIu64 " faults of the host, %" PRIu64 " of the guest\n",
		result->mm.lock, guest->release[0] ? guest->release : "(it never said)",
		options->cpus, result->seconds, options->seed,
		result->interrupted ? " (interrupted)" : "", stress_operations_total(result),
		result->mm.faults, guest->faults);
	fprintf(out,
		"checked %.1f MiB by vCPUs and %.1f MiB by the host; %" PRIu64
		" visits wrote %.1f MiB and gave %.1f MiB back; it had %.1f to %.1f MiB\n",
		(double)result->checked_by_guest_bytes / 0x1p20,
		(double)result->checked_by_host_bytes / 0x1p20, result->visits,
		(double)guest->written_bytes / 0x1p20, (double)guest->released_bytes / 0x1p20,
		(double)guest->least_bytes / 0x1p20, (double)guest->most_bytes / 0x1p20);
	if (guest->declined)
		fprintf(out, "%" PRIu64 " requests that the guest did not fulfil in time\n",
			guest->declined);
	if (guest->missing[0])
		fprintf(out, "left out, as the guest has no driver (--modules): %s\n",
			guest->missing);
}

int stress_print(const struct stress_result *result, FILE *out, struct samara_error *err)
{
	int ret = print_operations(result, out, err);

	if (ret)
		return ret;
	if (result->options.guest == STRESS_GUEST_LINUX)
		print_linux_guest(result, out);
	else
		print_own_guest(result, out);
	if (result->rss_first_bytes && result->rss_last_bytes)
		fprintf(out, "resident besides guest memory: %.1f MiB at first, %.1f MiB at last\n",
			(double)result->rss_first_bytes / 0x1p20,
			(double)result->rss_last_bytes / 0x1p20);
	print_injected(result, out);
	print_found(result, out);
	if (result->failure.code)
		fprintf(out, "ended early: %s\n", result->failure.text);
	if (result->stuck_cpus)
		fprintf(out, "%u vCPUs got no further and had to be ended\n", result->stuck_cpus);
	fprintf(out,
		"%s: %" PRIu64 " integrity errors, %" PRIu64 " lost increments, %" PRIu64
		" operations with a wrong outcome\n",
		stress_passed(result) ? "PASS" : "FAIL", result->integrity_errors,
		result->lost_increments, result->operation_errors);
	return 0;
}
