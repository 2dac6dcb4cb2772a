/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <libsmartcols.h>

#include "vmm/stress_span.h"

struct quantile {
	const char *name;
	double fraction; /* 1: the maximum */
};

static const struct quantile quantiles[] = {{"p50", 0.5},    {"p90", 0.9},      {"p99", 0.99},
					    {"p999", 0.999}, {"p9999", 0.9999}, {"max", 1}};
#define QUANTILES (sizeof(quantiles) / sizeof(*quantiles))

static uint64_t hist_value(const struct stress_hist *hist, const struct quantile *quantile)
{
	return quantile->fraction < 1 ? stress_hist_quantile(hist, quantile->fraction) : hist->max;
}

/* Nanoseconds in a TSC cycle, 0 if that was not to be found out. */
static double cycle_ns(const struct stress_result *result)
{
	return result->tsc_hz > 0 ? 1e9 / result->tsc_hz : 0;
}

static uint64_t operations_total(const struct stress_result *result)
{
	uint64_t total = 0;

	for (unsigned int op = 0; op < STRESS_OPS; op++)
		total += result->operations[op];
	return total;
}

/* ---- Tables ---------------------------------------------------------------------------------- */

static struct libscols_table *new_table(const char *const *columns, unsigned int count)
{
	struct libscols_table *table = scols_new_table();

	if (!table)
		return NULL;
	for (unsigned int i = 0; i < count; i++) {
		if (!scols_table_new_column(table, columns[i], 0, i ? SCOLS_FL_RIGHT : 0)) {
			scols_unref_table(table);
			return NULL;
		}
	}
	return table;
}

static int add_row(struct libscols_table *table, const char *const *cells, unsigned int count)
{
	struct libscols_line *line = scols_table_new_line(table, NULL);
	int ret = line ? 0 : -ENOMEM;

	for (unsigned int i = 0; !ret && i < count; i++)
		ret = scols_line_set_data(line, i, cells[i]);
	return ret;
}

/* A table's end: onto @out, whatever @ret says of its making. */
static int print_table(struct libscols_table *table, FILE *out, int ret, struct samara_error *err)
{
	if (!ret) {
		scols_table_set_stream(table, out);
		ret = scols_print_table(table);
	}
	scols_unref_table(table);
	if (ret)
		return samara_error_set(err, ret, "a table could not be printed: %s",
					strerror(-ret));
	return 0;
}

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
	return add_row(table, row, 7);
}

static int print_operations(const struct stress_result *result, FILE *out, struct samara_error *err)
{
	static const char *const columns[] = {"", "COUNT", "P50", "P90", "P99", "P99.9", "MAX"};
	struct libscols_table *table = new_table(columns, 7);
	int ret = 0;

	if (!table)
		return samara_error_set(err, -ENOMEM, "out of memory for a table");
	for (unsigned int op = 0; !ret && op < STRESS_OPS; op++)
		if (result->operations[op])
			ret = add_operation(table, stress_op_names[op], result->operations[op],
					    &result->operation_ns[op], 1);
	if (!ret)
		ret = add_operation(table, "first touch", result->fault_cycles.count,
				    &result->fault_cycles, cycle_ns(result));
	return print_table(table, out, ret, err);
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

int stress_print(const struct stress_result *result, FILE *out, struct samara_error *err)
{
	const struct stress_options *options = &result->options;
	int ret = print_operations(result, out, err);

	if (ret)
		return ret;
	fprintf(out,
		"lock %s, %u vCPUs, %.1f s, seed %" PRIu64 "%s: %" PRIu64 " operations, %" PRIu64
		" faults, %" PRIu64 " visits to slots, %" PRIu64 " to memory of devices, %" PRIu64
		" DMA\n",
		result->mm.lock, options->cpus, result->seconds, options->seed,
		result->interrupted ? " (interrupted)" : "", operations_total(result),
		result->mm.faults, result->visits, result->device_visits, result->dma);
	fprintf(out,
		"checked %.1f MiB by vCPUs and %.1f MiB by the host; %" PRIu64
		" increments; %" PRIu64 " accesses to nothing, and %" PRIu64
		" that missed moving memory\n",
		(double)result->checked_by_guest_bytes / 0x1p20,
		(double)result->checked_by_host_bytes / 0x1p20, result->increments,
		result->nothing_accesses, result->live_missed);
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

/* ---- JSON ------------------------------------------------------------------------------------ */

/* Pairs of a bucket's largest value and its count, of the buckets that are not empty. */
static json_t *buckets_json(const struct stress_hist *hist, double scale)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < STRESS_BUCKETS; i++) {
		double last = (double)stress_bucket_last(i) * scale;
		json_t *pair;

		if (!hist->buckets[i])
			continue;
		pair = json_array();
		json_array_append_new(pair, json_integer((json_int_t)(last + 0.5)));
		json_array_append_new(pair, json_integer((json_int_t)hist->buckets[i]));
		json_array_append_new(list, pair);
	}
	return list;
}

static json_t *hist_json(const struct stress_hist *hist, double scale)
{
	json_t *object = json_object();

	json_object_set_new(object, "count", json_integer((json_int_t)hist->count));
	for (size_t i = 0; i < QUANTILES; i++) {
		double value = (double)hist_value(hist, &quantiles[i]) * scale;

		json_object_set_new(object, quantiles[i].name,
				    json_integer((json_int_t)(value + 0.5)));
	}
	json_object_set_new(object, "min",
			    json_integer((json_int_t)((double)hist->min * scale + 0.5)));
	json_object_set_new(object, "mean", json_real(stress_hist_mean(hist) * scale));
	json_object_set_new(object, "buckets", buckets_json(hist, scale));
	return object;
}

static json_t *mm_json(const struct guest_mm_stats *stats)
{
	const struct {
		const char *name;
		uint64_t value;
	} fields[] = {
		{"regions", stats->regions},
		{"windows", stats->windows},
		{"plugged_bytes", stats->plugged_bytes},
		{"populated_bytes", stats->populated_bytes},
		{"plugs", stats->plugs},
		{"unplugs", stats->unplugs},
		{"remaps", stats->remaps},
		{"protects", stats->protects},
		{"failed_operations", stats->failed_operations},
		{"faults", stats->faults},
		{"fault_pages", stats->fault_pages},
		{"fault_write_protect", stats->fault_write_protect},
		{"faults_deferred", stats->faults_deferred},
		{"faults_nothing", stats->faults_nothing},
		{"faults_held", stats->faults_held},
		{"pins", stats->pins},
		{"lock_success", stats->lock_success},
		{"lock_abort", stats->lock_abort},
		{"lock_retry", stats->lock_retry},
		{"lock_miss", stats->lock_miss},
	};
	json_t *object = json_object();

	for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++)
		json_object_set_new(object, fields[i].name,
				    json_integer((json_int_t)fields[i].value));
	return object;
}

static void set_integer(json_t *object, const char *name, uint64_t value)
{
	json_object_set_new(object, name, json_integer((json_int_t)value));
}

static json_t *found_json(const struct stress_result *result)
{
	json_t *list = json_array();

	for (unsigned int i = 0; i < result->found_count; i++) {
		const struct stress_found *found = &result->found[i];
		json_t *object = json_object(), *operations = json_array();
		char word[32];

		json_object_set_new(object, "what", json_string(found->what));
		json_object_set_new(object, "place", json_string(found->place));
		json_object_set_new(object, "seen_by", json_string(found->who));
		/* Words use all of their 64 bits, which JSON's numbers do not have. */
		snprintf(word, sizeof(word), "%#" PRIx64, found->gpa);
		json_object_set_new(object, "gpa", json_string(word));
		snprintf(word, sizeof(word), "%#" PRIx64, found->expected);
		json_object_set_new(object, "expected", json_string(word));
		snprintf(word, sizeof(word), "%#" PRIx64, found->found);
		json_object_set_new(object, "found", json_string(word));
		for (unsigned int k = 0; k < found->operation_count; k++)
			json_array_append_new(operations, json_string(found->operations[k]));
		json_object_set_new(object, "last_operations", operations);
		json_array_append_new(list, object);
	}
	return list;
}

static json_t *injected_json(const struct stress_result *result)
{
	json_t *object = json_object();

	for (unsigned int i = 0; i < INJECT_PLACES; i++) {
		json_t *place;

		if (!result->options.inject.place[i].odds)
			continue;
		place = json_object();
		set_integer(place, "odds", result->options.inject.place[i].odds);
		set_integer(place, "delay_ns", result->options.inject.place[i].delay_ns);
		set_integer(place, "calls", result->injected.calls[i]);
		set_integer(place, "struck", result->injected.struck[i]);
		json_object_set_new(object, inject_place_names[i], place);
	}
	return object;
}

static json_t *mix_json(const struct stress_options *options)
{
	json_t *object = json_object();

	for (unsigned int i = 0; i < STRESS_MIXES; i++)
		if (options->weight[i])
			set_integer(object, stress_mix_names[i], options->weight[i]);
	return object;
}

int stress_write_json(const struct stress_result *result, FILE *out, struct samara_error *err)
{
	const struct stress_options *options = &result->options;
	json_t *root = json_object(), *kinds = json_object(), *times = json_object();
	int ret = 0;

	json_object_set_new(root, "lock", json_string(result->mm.lock));
	json_object_set_new(root, "passed", json_boolean(stress_passed(result)));
	json_object_set_new(root, "seconds", json_real(result->seconds));
	set_integer(root, "cpus", options->cpus);
	set_integer(root, "slots", options->slots);
	set_integer(root, "slot_bytes", options->slot_bytes);
	set_integer(root, "slot_min_bytes", options->slot_min_bytes);
	json_object_set_new(root, "mix", mix_json(options));
	json_object_set_new(root, "pattern", json_string(stress_pattern_name(options->pattern)));
	if (options->pattern == STRESS_PATTERN_ZIPF)
		json_object_set_new(root, "zipf", json_real(options->zipf));
	set_integer(root, "rate", options->rate);
	set_integer(root, "devices", options->devices);
	set_integer(root, "device_pages", options->device_pages);
	set_integer(root, "device_hold_us", options->device_hold_us);
	set_integer(root, "device_rest_us", options->device_rest_us);
	set_integer(root, "stranger_bytes", options->stranger_bytes);
	set_integer(root, "operators", options->operators);
	set_integer(root, "strangers", options->strangers);
	set_integer(root, "fault_around_pages", options->fault_around_pages);
	json_object_set_new(root, "backing",
			    json_string(options->backing == GUEST_MM_MEMFD ? "memfd" : "anon"));
	json_object_set_new(root, "copy_only", json_boolean(options->copy_only));
	set_integer(root, "seed", options->seed);
	set_integer(root, "operations", operations_total(result));
	for (unsigned int op = 0; op < STRESS_OPS; op++) {
		set_integer(kinds, stress_op_names[op], result->operations[op]);
		json_object_set_new(times, stress_op_names[op],
				    hist_json(&result->operation_ns[op], 1));
	}
	json_object_set_new(root, "operations_by_kind", kinds);
	json_object_set_new(root, "operation_ns", times);
	set_integer(root, "faults", result->mm.faults);
	json_object_set_new(root, "fault_ns", hist_json(&result->fault_cycles, cycle_ns(result)));
	json_object_set_new(root, "tsc_hz", json_real(result->tsc_hz));
	set_integer(root, "integrity_errors", result->integrity_errors);
	set_integer(root, "lost_increments", result->lost_increments);
	set_integer(root, "operation_errors", result->operation_errors);
	set_integer(root, "stuck_cpus", result->stuck_cpus);
	set_integer(root, "checked_bytes",
		    result->checked_by_guest_bytes + result->checked_by_host_bytes);
	set_integer(root, "checked_by_guest_bytes", result->checked_by_guest_bytes);
	set_integer(root, "checked_by_host_bytes", result->checked_by_host_bytes);
	set_integer(root, "nothing_accesses", result->nothing_accesses);
	set_integer(root, "live_missed", result->live_missed);
	set_integer(root, "increments", result->increments);
	set_integer(root, "visits", result->visits);
	set_integer(root, "device_visits", result->device_visits);
	set_integer(root, "dma", result->dma);
	json_object_set_new(root, "errors", found_json(result));
	json_object_set_new(root, "injected", injected_json(result));
	set_integer(root, "rss_first_bytes", result->rss_first_bytes);
	set_integer(root, "rss_last_bytes", result->rss_last_bytes);
	json_object_set_new(root, "interrupted", json_boolean(result->interrupted));
	json_object_set_new(root, "failure",
			    result->failure.code ? json_string(result->failure.text) : json_null());
	json_object_set_new(root, "guest_mm", mm_json(&result->mm));

	if (json_dumpf(root, out, JSON_INDENT(2)) || fputc('\n', out) == EOF || fflush(out))
		ret = samara_error_set(err, -EIO, "JSON could not be written: %s", strerror(errno));
	json_decref(root);
	return ret;
}

/* ---- Comparison ------------------------------------------------------------------------------ */

/* A row: a number, at the top or in an object of the result. */
struct metric {
	const char *title, *object, *name;
	bool is_ns;
};

static const struct metric metrics[] = {
	{"operations", NULL, "operations", false},
	{"faults", NULL, "faults", false},
	{"fault p50", "fault_ns", "p50", true},
	{"fault p99", "fault_ns", "p99", true},
	{"fault p99.9", "fault_ns", "p999", true},
	{"fault max", "fault_ns", "max", true},
	{"checked MiB", NULL, "checked_bytes", false},
	{"integrity errors", NULL, "integrity_errors", false},
	{"lost increments", NULL, "lost_increments", false},
};

static int load_result(const char *path, json_t **out, struct samara_error *err)
{
	json_error_t why;
	json_t *root = json_load_file(path, 0, &why);

	if (!root && why.line < 0)
		return samara_error_set(err, -EINVAL, "%s", why.text);
	if (!root)
		return samara_error_set(err, -EINVAL, "%s:%d: %s", path, why.line, why.text);
	if (!json_is_string(json_object_get(root, "lock"))) {
		json_decref(root);
		return samara_error_set(
			err, -EINVAL, "%s: not a result of samara stress: no \"lock\" in it", path);
	}
	*out = root;
	return 0;
}

static int get_number(const json_t *root, const char *path, const struct metric *metric,
		      double *value, struct samara_error *err)
{
	const json_t *object = metric->object ? json_object_get(root, metric->object) : root;
	const json_t *number = json_object_get(object, metric->name);

	if (!json_is_number(number))
		return samara_error_set(err, -EINVAL, "%s: no number \"%s%s%s\" in it", path,
					metric->object ? metric->object : "",
					metric->object ? "." : "", metric->name);
	*value = json_number_value(number);
	return 0;
}

static const char *format_metric(char *text, size_t length, const struct metric *metric,
				 double value)
{
	if (metric->is_ns)
		return stress_format_ns(text, length, value);
	if (!strcmp(metric->name, "checked_bytes"))
		value /= 0x1p20;
	snprintf(text, length, "%.0f", value);
	return text;
}

int stress_compare(const char *path_a, const char *path_b, FILE *out, struct samara_error *err)
{
	json_t *a = NULL, *b = NULL;
	struct libscols_table *table = NULL;
	int ret = load_result(path_a, &a, err);

	if (!ret)
		ret = load_result(path_b, &b, err);
	if (ret)
		goto out;

	const char *columns[] = {"", json_string_value(json_object_get(a, "lock")),
				 json_string_value(json_object_get(b, "lock")), "RATIO"};

	table = new_table(columns, 4);
	if (!table) {
		ret = samara_error_set(err, -ENOMEM, "out of memory for a table");
		goto out;
	}
	for (size_t i = 0; i < sizeof(metrics) / sizeof(*metrics); i++) {
		const struct metric *metric = &metrics[i];
		char cells[3][32];
		const char *row[] = {metric->title, cells[0], cells[1], cells[2]};
		double value_a, value_b;

		ret = get_number(a, path_a, metric, &value_a, err);
		if (!ret)
			ret = get_number(b, path_b, metric, &value_b, err);
		if (ret) {
			scols_unref_table(table);
			goto out;
		}
		format_metric(cells[0], sizeof(cells[0]), metric, value_a);
		format_metric(cells[1], sizeof(cells[1]), metric, value_b);
		if (value_a > 0 && value_b > 0)
			snprintf(cells[2], sizeof(cells[2]), "%.2f", value_b / value_a);
		else
			snprintf(cells[2], sizeof(cells[2]), "-");
		ret = add_row(table, row, 4);
		if (ret)
			break;
	}
	ret = print_table(table, out, ret, err);
out:
	json_decref(a);
	json_decref(b);
	return ret;
}
