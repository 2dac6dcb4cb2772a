/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/stress_table.h"

#include <errno.h>
#include <string.h>

struct libscols_table *stress_table_new(const char *const *columns, unsigned int count)
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

int stress_table_add(struct libscols_table *table, const char *const *cells, unsigned int count)
{
	struct libscols_line *line = scols_table_new_line(table, NULL);
	int ret = line ? 0 : -ENOMEM;

	for (unsigned int i = 0; !ret && i < count; i++)
		ret = scols_line_set_data(line, i, cells[i]);
	return ret;
}

int stress_table_print(struct libscols_table *table, FILE *out, int ret, struct samara_error *err)
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
