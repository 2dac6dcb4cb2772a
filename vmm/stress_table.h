/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_STRESS_TABLE_H
#define VMM_STRESS_TABLE_H

#include <stdio.h>

#include <libsmartcols.h>

#include <samara/error.h>

/* Tables of results. stress_table_new(): NULL: out of memory; _add(): 0, -errno. */
struct libscols_table *stress_table_new(const char *const *columns, unsigned int count);
int stress_table_add(struct libscols_table *table, const char *const *cells, unsigned int count);

/**
 * stress_table_print() - a table's end: onto @out, unless @ret says that it could not be made
 *
 * Return: 0, or what went wrong.
 */
int stress_table_print(struct libscols_table *table, FILE *out, int ret, struct samara_error *err);

#endif
