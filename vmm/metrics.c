/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the metrics endpoint says. Source: "Exposition formats", text format 0.0.4, of the Prometheus
 * documentation: base units (bytes, seconds), counters end in _total.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/metrics.h"
#include "vmm/stats.h"

/* The name of a metric: samara_, '_' for '-', the unit, _total for counters. */
static void put_name(FILE *to, const struct stat_info *info)
{
	size_t length = strlen(info->name);

	if (info->unit == STAT_NS)
		length -= strlen("-ns");
	fputs("samara_", to);
	for (size_t i = 0; i < length; i++)
		fputc(info->name[i] == '-' ? '_' : info->name[i], to);
	if (info->unit == STAT_NS)
		fputs("_seconds", to);
	if (info->kind == STAT_COUNTER)
		fputs("_total", to);
}

static void put_stat(FILE *to, const struct stat_info *info, uint64_t value)
{
	fputs("# HELP ", to);
	put_name(to, info);
	fprintf(to, " %s\n# TYPE ", info->help);
	put_name(to, info);
	fprintf(to, " %s\n", info->kind == STAT_COUNTER ? "counter" : "gauge");
	put_name(to, info);
	if (info->unit == STAT_NS)
		fprintf(to, " %" PRIu64 ".%09" PRIu64 "\n", value / 1000000000, value % 1000000000);
	else
		fprintf(to, " %" PRIu64 "\n", value);
}

/* The value of a label, in quotes. */
static void put_label(FILE *to, const char *text)
{
	fputc('"', to);
	for (; *text; text++) {
		if (*text == '\n')
			fputs("\\n", to);
		else if (*text == '"' || *text == '\\')
			fprintf(to, "\\%c", *text);
		else
			fputc(*text, to);
	}
	fputc('"', to);
}

static void put_info(FILE *to, struct vm *vm, const char *lock)
{
	const struct vm_config *config = vm_get_config(vm);

	fputs("# HELP samara_info Which samara this is: always 1.\n# TYPE samara_info gauge\n"
	      "samara_info{name=",
	      to);
	put_label(to, config->name ? config->name : "samara");
	fputs(",version=", to);
	put_label(to, SAMARA_VERSION);
	fputs(",lock=", to);
	put_label(to, lock);
	fputs("} 1\n", to);
	fprintf(to,
		"# HELP samara_vcpus Virtual CPUs.\n# TYPE samara_vcpus gauge\nsamara_vcpus %u\n",
		config->cpus);
	fprintf(to,
		"# HELP samara_running Whether the guest runs: 1, or 0 while it is paused.\n"
		"# TYPE samara_running gauge\nsamara_running %d\n",
		vm_get_state(vm) == VM_RUNNING);
}

char *metrics_text(struct vm *vm)
{
	const struct stat_info *info;
	struct stats stats;
	size_t length;
	char *text = NULL;
	FILE *to = open_memstream(&text, &length);
	bool failed;

	if (!to)
		return NULL;
	stats_read(vm, &stats);
	put_info(to, vm, stats.mm.lock);
	for (info = stats_list; info->name; info++)
		/* A number of 64 bits does not fit into Prometheus' floating point. */
		if (info->kind != STAT_ADDRESS)
			put_stat(to, info, stats_value(&stats, info));
	failed = ferror(to);
	if (fclose(to) || failed) {
		free(text);
		return NULL;
	}
	return text;
}
