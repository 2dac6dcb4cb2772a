/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_CTL_H
#define VMM_CTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>
#include <libsmartcols.h>

#include <samara/error.h>

/*
 * Shared by the files of samara ctl.
 */

/* A number of a reply; those past signed 64 bits come as a string. */
uint64_t ctl_number(const json_t *object, const char *key);

/* A size in the largest binary unit that it is a multiple of. */
void ctl_format_size(char *text, size_t text_bytes, uint64_t bytes);

/* A reply as it came, for --json. Return: 0, -ENOMEM. */
int ctl_show_json(const json_t *value, struct samara_error *err);

struct ctl_column {
	const char *name;
	bool right;
};

/* Return: NULL when out of memory; -ENOMEM. */
struct libscols_table *ctl_new_table(const struct ctl_column *columns, unsigned int count);
int ctl_add_row(struct libscols_table *table, const char *const *cells, unsigned int count);

/**
 * struct ctl_verb - a verb that takes more than one command; immutable
 * @operands: how many words it takes besides options
 * @run: returns 0, -EINVAL for words that it does not understand, or another -errno; the error is
 * set
 */
struct ctl_verb {
	const char *name, *usage;
	int operands;
	int (*run)(const char *path, int count, char **words, struct samara_error *err);
	const char *summary;
};

/* Those about memory devices, and that which shows events; ended by one without a name (ctl_devices.c). */
extern const struct ctl_verb ctl_long_verbs[];

#endif
