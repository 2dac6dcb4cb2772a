/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Two results side by side: samara stress --compare. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "vmm/stress_span.h"
#include "vmm/stress_table.h"

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

	table = stress_table_new(columns, 4);
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
		ret = stress_table_add(table, row, 4);
		if (ret)
			break;
	}
	ret = stress_table_print(table, out, ret, err);
out:
	json_decref(a);
	json_decref(b);
	return ret;
}
