/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_CTL_H
#define VMM_CTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>
#include <libsmartcols.h>

#include <samara/error.h>

#include "vmm/ctl_words.h"

/*
 * Shared by the files of samara ctl: reading replies, printing them, and the verbs.
 */

/* A number of a reply; those past signed 64 bits come as a string. */
uint64_t ctl_number(const json_t *object, const char *key);

/* A member that is a text; "" if it is none. */
const char *ctl_text(const json_t *object, const char *key);

/* A size in the largest binary unit that it is a multiple of. */
void ctl_format_size(char *text, size_t text_bytes, uint64_t bytes);

struct ctl_column {
	const char *name;
	bool right;
};

/* Return: NULL when out of memory; -ENOMEM. */
struct libscols_table *ctl_new_table(const struct ctl_column *columns, unsigned int count);
int ctl_add_row(struct libscols_table *table, const char *const *cells, unsigned int count);

/* Print it and free it. @ret: what filling it returned; the table may be NULL then. Return: 0, -ENOMEM. */
int ctl_print_table(struct libscols_table *table, int ret, struct samara_error *err);

/* As struct ctl_verb's @show, each the reply of the command that it is named after. */
int ctl_show_json(const json_t *result, struct samara_error *err);
int ctl_show_regions(const json_t *result, struct samara_error *err);
int ctl_show_stats(const json_t *result, struct samara_error *err);
int ctl_show_status(const json_t *result, struct samara_error *err);
int ctl_show_cpus(const json_t *result, struct samara_error *err);
int ctl_show_name(const json_t *result, struct samara_error *err);
int ctl_show_version(const json_t *result, struct samara_error *err);
int ctl_show_devices(const json_t *result, struct samara_error *err);
int ctl_show_memory(const json_t *result, struct samara_error *err);
int ctl_show_slots(const json_t *result, struct samara_error *err);

/**
 * ctl_run_command() - a verb that is one QMP command
 *
 * Return: as struct ctl_verb's @run.
 */
int ctl_run_command(const char *path, const struct ctl_words *words, struct samara_error *err);

/* As struct ctl_verb's @run, each in the file of its subject. */
int ctl_plug(const char *path, const struct ctl_words *words, struct samara_error *err);
int ctl_unplug(const char *path, const struct ctl_words *words, struct samara_error *err);
int ctl_resize(const char *path, const struct ctl_words *words, struct samara_error *err);
int ctl_balloon(const char *path, const struct ctl_words *words, struct samara_error *err);
int ctl_free(const char *path, const struct ctl_words *words, struct samara_error *err);
int ctl_balloon_state(const char *path, const struct ctl_words *words, struct samara_error *err);
int ctl_stats(const char *path, const struct ctl_words *words, struct samara_error *err);
int ctl_events(const char *path, const struct ctl_words *words, struct samara_error *err);
int ctl_raw(const char *path, const struct ctl_words *words, struct samara_error *err);

/* All verbs; ended by one without a name (ctl_verbs.c). */
extern const struct ctl_verb ctl_verbs[];

#endif
