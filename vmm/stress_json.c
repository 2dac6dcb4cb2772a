/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The result of a run as JSON: docs/stress.md. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "vmm/stress.h"

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
		{"tree_nodes", stats->tree_nodes},
		{"tree_bytes", stats->tree_bytes},
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

static json_t *linux_json(const struct stress_result *result)
{
	const struct stress_linux_result *guest = &result->linux_guest;
	const struct stress_linux_options *options = &result->options.linux_guest;
	json_t *object = json_object();

	json_object_set_new(object, "kernel", json_string(options->kernel));
	json_object_set_new(object, "release", json_string(guest->release));
	set_integer(object, "memory_bytes", options->memory_bytes);
	set_integer(object, "device_bytes", options->device_bytes);
	set_integer(object, "written_bytes", guest->written_bytes);
	set_integer(object, "released_bytes", guest->released_bytes);
	set_integer(object, "faults", guest->faults);
	set_integer(object, "least_bytes", guest->least_bytes);
	set_integer(object, "most_bytes", guest->most_bytes);
	set_integer(object, "declined", guest->declined);
	json_object_set_new(object, "missing", json_string(guest->missing));
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
	json_object_set_new(root, "guest",
			    json_string(options->guest == STRESS_GUEST_LINUX ? "linux" : "own"));
	if (options->guest == STRESS_GUEST_LINUX)
		json_object_set_new(root, "linux", linux_json(result));
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
	set_integer(root, "operations", stress_operations_total(result));
	for (unsigned int op = 0; op < STRESS_OPS; op++) {
		set_integer(kinds, stress_op_names[op], result->operations[op]);
		json_object_set_new(times, stress_op_names[op],
				    hist_json(&result->operation_ns[op], 1));
	}
	json_object_set_new(root, "operations_by_kind", kinds);
	json_object_set_new(root, "operation_ns", times);
	set_integer(root, "faults", result->mm.faults);
	json_object_set_new(root, "fault_ns",
			    hist_json(&result->fault_cycles, stress_cycle_ns(result)));
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
