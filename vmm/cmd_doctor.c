/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * samara doctor: what this host offers, item by item, and which way the README's commands will go.
 */
#include <libsmartcols.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <jansson.h>

#include "vmm/commands.h"
#include "vmm/doctor.h"

#define COLUMNS_MAX 100u
#define COLUMNS_MIN 60u

/* The closing lines: for each verdict, what the README's commands do. */
static const char *const stock_lines[] = {
	[DOCTOR_NO] = "make demo: can't boot the Debian kernel here (see kvm-device and lab)",
	[DOCTOR_LAB] = "make demo: boots the Debian kernel in the lab",
	[DOCTOR_DIRECT] = "make demo: boots the Debian kernel directly",
};

static const char *const stress_lines[] = {
	[DOCTOR_NO] = "samara stress: can't run here (see kvm-device, uffd-permission and lab)",
	[DOCTOR_LAB] = "samara stress: runs in the lab",
	[DOCTOR_DIRECT] = "samara stress: runs directly",
};

/* The lab's cases need the lab wherever all else runs. */
static const char *check_line(const struct doctor_report *report)
{
	switch (report->stress) {
	case DOCTOR_DIRECT:
		return report->lab_usable ? "make check: runs its vCPUs directly, and the lab's "
					    "cases in the lab"
					  : "make check: runs its vCPUs directly; the lab's cases "
					    "can't run here";
	case DOCTOR_LAB:
		return "make check: runs its vCPUs in the lab alone, all else directly";
	case DOCTOR_NO:
		break;
	}
	return "make check: only what needs no vCPU runs here (see kvm-device and lab)";
}

/* ---- For programs ---------------------------------------------------------------------------- */

static json_t *item_json(const struct doctor_item *item)
{
	json_t *json = json_pack("{s:s, s:s, s:s, s:s}", "name", item->name, "status",
				 doctor_status_name(item->status), "found", item->found, "meaning",
				 item->meaning);

	if (json && item->fix)
		json_object_set_new(json, "fix", json_string(item->fix));
	return json;
}

static int print_json(const struct doctor_report *report)
{
	json_t *json, *items = json_array();
	size_t i;
	int ret;

	for (i = 0; i < report->count; i++)
		json_array_append_new(items, item_json(&report->items[i]));
	json = json_pack("{s:s, s:s, s:s, s:o, s:[s, s, s]}", "virtualization",
			 doctor_virtualization_name(report->virtualization), "stock_kernel",
			 doctor_way_name(report->stock_kernel), "stress",
			 doctor_way_name(report->stress), "items", items, "summary",
			 stock_lines[report->stock_kernel], stress_lines[report->stress],
			 check_line(report));
	if (!json)
		return -1;
	ret = json_dumpf(json, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(json);
	return ret;
}

/* ---- For people ------------------------------------------------------------------------------ */

/* The terminal's width, or a pipe's: COLUMNS_MAX at most, so that lines stay readable. */
static unsigned int width(void)
{
	const char *columns = getenv("COLUMNS");
	struct winsize size;
	unsigned int value = 0;

	if (columns)
		value = (unsigned int)strtoul(columns, NULL, 10);
	else if (!ioctl(STDOUT_FILENO, TIOCGWINSZ, &size))
		value = size.ws_col;
	if (!value || value > COLUMNS_MAX)
		return COLUMNS_MAX;
	return value < COLUMNS_MIN ? COLUMNS_MIN : value;
}

/* A copy of @text with line breaks at word ends, so that no line is longer than @columns. */
static char *wrap(const char *text, unsigned int columns)
{
	char *copy = strdup(text), *start = copy, *space = NULL, *c;

	for (c = copy; c && *c; c++) {
		if (*c == ' ')
			space = c;
		if ((unsigned int)(c - start) >= columns && space) {
			*space = '\n';
			start = space + 1;
			space = NULL;
		}
	}
	return copy;
}

/* A table whose last column wraps at line breaks and fills the terminal. */
static struct libscols_table *new_table(const char *const *names, unsigned int count)
{
	struct libscols_table *table = scols_new_table();
	struct libscols_column *column = NULL;
	unsigned int i;

	for (i = 0; table && i < count; i++) {
		column = scols_table_new_column(table, names[i], 0,
						i + 1 == count ? SCOLS_FL_WRAP : 0);
		if (!column) {
			scols_unref_table(table);
			return NULL;
		}
	}
	if (!table)
		return NULL;
	scols_column_set_safechars(column, "\n");
	scols_column_set_wrapfunc(column, scols_wrapnl_chunksize, scols_wrapnl_nextchunk, NULL);
	scols_table_set_termforce(table, SCOLS_TERMFORCE_ALWAYS);
	scols_table_set_termwidth(table, width());
	return table;
}

static unsigned int longest_name(const struct doctor_report *report)
{
	size_t i, longest = 0;

	for (i = 0; i < report->count; i++)
		if (strlen(report->items[i].name) > longest)
			longest = strlen(report->items[i].name);
	return (unsigned int)longest;
}

/* Add a line of one or two plain cells and a last one that is wrapped. */
static int add_line(struct libscols_table *table, const char *name, const char *status,
		    const char *text, unsigned int columns)
{
	struct libscols_line *line = scols_table_new_line(table, NULL);
	char *wrapped = wrap(text, columns);
	size_t cell = 0;

	if (!line || !wrapped || scols_line_set_data(line, cell++, name) ||
	    (status && scols_line_set_data(line, cell++, status)) ||
	    scols_line_refer_data(line, cell, wrapped)) {
		free(wrapped);
		return -1;
	}
	return 0;
}

static int print_items(const struct doctor_report *report)
{
	static const char *const names[] = {"ITEM", "STATUS", "FOUND - WHAT IT IS FOR"};
	/* Beside the name: "limited", and a space after each. */
	unsigned int columns = width() - longest_name(report) - 9;
	struct libscols_table *table = new_table(names, 3);
	char *text;
	size_t i;
	int ret = table ? 0 : -1;

	for (i = 0; !ret && i < report->count; i++) {
		const struct doctor_item *item = &report->items[i];

		if (asprintf(&text, "%s - %s", item->found, item->meaning) < 0) {
			ret = -1;
			break;
		}
		ret = add_line(table, item->name, doctor_status_name(item->status), text, columns);
		free(text);
	}
	if (!ret)
		ret = scols_print_table(table);
	scols_unref_table(table);
	return ret;
}

static int print_fixes(const struct doctor_report *report)
{
	static const char *const names[] = {"ITEM", "HOW TO GET IT"};
	unsigned int columns = width() - longest_name(report) - 1;
	struct libscols_table *table = new_table(names, 2);
	size_t i;
	int ret = table ? 0 : -1;

	for (i = 0; !ret && i < report->count; i++)
		if (report->items[i].fix)
			ret = add_line(table, report->items[i].name, NULL, report->items[i].fix,
				       columns);
	if (!ret && !scols_table_is_empty(table)) {
		putchar('\n');
		ret = scols_print_table(table);
	}
	scols_unref_table(table);
	return ret;
}

static int print_text(const struct doctor_report *report)
{
	if (print_items(report) || print_fixes(report))
		return -1;
	putchar('\n');
	printf("Virtualization: %s.\n", doctor_virtualization_name(report->virtualization));
	puts(stock_lines[report->stock_kernel]);
	puts(stress_lines[report->stress]);
	puts(check_line(report));
	return 0;
}

int cmd_doctor(int argc, char **argv)
{
	bool as_json = argc == 2 && !strcmp(argv[1], "--json");
	struct doctor_report report;
	int ret, status = SAMARA_EXIT_FAILURE;

	if (argc == 2 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))) {
		puts("usage: samara doctor [--json]\n"
		     "Tells what this host offers samara. Exit status 0 if samara can run "
		     "something "
		     "here.");
		return 0;
	}
	if (argc > 1 && !as_json) {
		fprintf(stderr,
			"samara doctor: unknown argument '%s' (--json is the only option)\n",
			argv[1]);
		return SAMARA_EXIT_USAGE;
	}
	ret = doctor_examine(&report);
	if (!ret)
		ret = as_json ? print_json(&report) : print_text(&report);
	if (ret)
		fputs("samara doctor: out of memory\n", stderr);
	else if (fflush(stdout))
		fputs("samara doctor: standard output can't be written\n", stderr);
	else if (report.stock_kernel != DOCTOR_NO || report.stress != DOCTOR_NO)
		status = 0;
	doctor_free(&report);
	return status;
}
