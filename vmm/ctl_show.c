/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading and printing replies. Those about memory devices are in ctl_devices.c. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/ctl.h"

uint64_t ctl_number(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	if (json_is_string(value))
		return strtoull(json_string_value(value), NULL, 0);
	return (uint64_t)json_integer_value(value);
}

const char *ctl_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

void ctl_format_size(char *text, size_t text_bytes, uint64_t bytes)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	unsigned int unit = 0;

	while (bytes && unit < 4 && !(bytes % 1024)) {
		bytes /= 1024;
		unit++;
	}
	snprintf(text, text_bytes, "%" PRIu64 " %s", bytes, units[unit]);
}

/* ---- Tables ---------------------------------------------------------------------------------- */

struct libscols_table *ctl_new_table(const struct ctl_column *columns, unsigned int count)
{
	struct libscols_table *table = scols_new_table();
	unsigned int i;

	for (i = 0; table && i < count; i++) {
		if (!scols_table_new_column(table, columns[i].name, 0,
					    columns[i].right ? SCOLS_FL_RIGHT : 0)) {
			scols_unref_table(table);
			table = NULL;
		}
	}
	return table;
}

int ctl_add_row(struct libscols_table *table, const char *const *cells, unsigned int count)
{
	struct libscols_line *line = scols_table_new_line(table, NULL);
	unsigned int i;

	for (i = 0; line && i < count; i++)
		if (scols_line_set_data(line, i, cells[i]))
			return -ENOMEM;
	return line ? 0 : -ENOMEM;
}

int ctl_print_table(struct libscols_table *table, int ret, struct samara_error *err)
{
	if (!ret && scols_print_table(table))
		ret = -ENOMEM;
	scols_unref_table(table);
	return ret ? samara_error_set(err, ret, "out of memory") : 0;
}

/* ---- Replies --------------------------------------------------------------------------------- */

int ctl_show_json(const json_t *result, struct samara_error *err)
{
	if (json_dumpf(result, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY))
		return samara_error_set(err, -ENOMEM, "out of memory");
	putchar('\n');
	return 0;
}

int ctl_show_regions(const json_t *result, struct samara_error *err)
{
	static const struct ctl_column columns[] = {
		{"FIRST", true},    {"LAST", true},      {"SIZE", true},  {"PROT", false},
		{"BACKING", false}, {"POPULATED", true}, {"STATE", false}};
	struct libscols_table *table = ctl_new_table(columns, 7);
	const json_t *region;
	size_t i;
	int ret = table ? 0 : -ENOMEM;

	json_array_foreach(result, i, region)
	{
		char first[24], last[24], size[32], populated[32];
		uint64_t gpa = ctl_number(region, "gpa"), size_bytes = ctl_number(region, "size");
		const char *prot = json_string_value(json_object_get(region, "prot"));
		const char *backing = json_string_value(json_object_get(region, "backing"));
		const char *cells[] = {first,
				       last,
				       size,
				       prot ? prot : "?",
				       backing ? backing : "?",
				       populated,
				       json_is_true(json_object_get(region, "locked")) ? "changing"
										       : ""};

		if (ret)
			break;
		snprintf(first, sizeof(first), "0x%" PRIx64, gpa);
		snprintf(last, sizeof(last), "0x%" PRIx64, gpa + size_bytes - 1);
		ctl_format_size(size, sizeof(size), size_bytes);
		ctl_format_size(populated, sizeof(populated), ctl_number(region, "populated"));
		ret = ctl_add_row(table, cells, 7);
	}
	return ctl_print_table(table, ret, err);
}

int ctl_show_stats(const json_t *result, struct samara_error *err)
{
	static const struct ctl_column columns[] = {{"COUNTER", false}, {"VALUE", true}};
	struct libscols_table *table = ctl_new_table(columns, 2);
	const char *name;
	json_t *value;
	int ret = table ? 0 : -ENOMEM;

	json_object_foreach((json_t *)result, name, value)
	{
		const char *format = !strcmp(name, "last-nothing-gpa") ? "0x%" PRIx64 : "%" PRIu64;
		const char *cells[2] = {name, NULL};
		char text[32];

		if (ret)
			break;
		snprintf(text, sizeof(text), format, ctl_number(result, name));
		cells[1] = !strcmp(name, "lock") && json_is_string(value) ? json_string_value(value)
									  : text;
		ret = ctl_add_row(table, cells, 2);
	}
	return ctl_print_table(table, ret, err);
}

/* One member that is a text. */
static int show_text(const json_t *result, const char *key, struct samara_error *err)
{
	const char *text = json_string_value(json_object_get(result, key));

	if (!text)
		return samara_error_set(err, -EPROTO, "the server's reply names no %s", key);
	puts(text);
	return 0;
}

int ctl_show_status(const json_t *result, struct samara_error *err)
{
	return show_text(result, "status", err);
}

int ctl_show_name(const json_t *result, struct samara_error *err)
{
	return show_text(result, "name", err);
}

int ctl_show_version(const json_t *result, struct samara_error *err)
{
	return show_text(result, "package", err);
}

int ctl_show_cpus(const json_t *result, struct samara_error *err)
{
	static const struct ctl_column columns[] = {{"VCPU", true}, {"THREAD", true}};
	struct libscols_table *table = ctl_new_table(columns, 2);
	const json_t *cpu;
	int ret = table ? 0 : -ENOMEM;
	size_t i;

	json_array_foreach(result, i, cpu)
	{
		char index[24], thread[24];
		const char *cells[] = {index, thread};

		if (ret)
			break;
		snprintf(index, sizeof(index), "%" PRIu64, ctl_number(cpu, "cpu-index"));
		snprintf(thread, sizeof(thread), "%" PRIu64, ctl_number(cpu, "thread-id"));
		ret = ctl_add_row(table, cells, 2);
	}
	return ctl_print_table(table, ret, err);
}
