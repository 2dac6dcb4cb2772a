/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * samara ctl: talk to a running samara over its control socket.
 */
#include <errno.h>
#include <inttypes.h>
#include <libsmartcols.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "vmm/commands.h"
#include "vmm/config.h"
#include "vmm/ctl.h"
#include "vmm/ctl_stats.h"
#include "vmm/qmp_client.h"

#define OPERANDS_MAX 3

/* What an option of a verb does. */
enum option {
	OPTION_NONE,
	OPTION_RO,   /* --ro: plug for reading only */
	OPTION_JSON, /* --json: print the reply as it is */
};

/**
 * struct verb - one verb of samara ctl; immutable
 * @usage: its operands, for people
 * @execute: the QMP command
 * @operands: the arguments that the operands become, in order; "prot" is a word, others are sizes
 * @option: what it knows besides
 * @show: prints the reply, NULL: there is nothing to print
 */
struct verb {
	const char *name, *usage, *execute, *operands[OPERANDS_MAX];
	enum option option;
	int (*show)(const json_t *result, struct samara_error *err);
	const char *summary;
};

/* ---- Printing replies ------------------------------------------------------------------------ */

uint64_t ctl_number(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	if (json_is_string(value))
		return strtoull(json_string_value(value), NULL, 0);
	return (uint64_t)json_integer_value(value);
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

static int no_memory(struct samara_error *err)
{
	return samara_error_set(err, -ENOMEM, "out of memory");
}

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

static int show_regions(const json_t *result, struct samara_error *err)
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
	if (!ret && scols_print_table(table))
		ret = -ENOMEM;
	scols_unref_table(table);
	return ret ? no_memory(err) : 0;
}

static int show_stats(const json_t *result, struct samara_error *err)
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
	if (!ret && scols_print_table(table))
		ret = -ENOMEM;
	scols_unref_table(table);
	return ret ? no_memory(err) : 0;
}

static int show_status(const json_t *result, struct samara_error *err)
{
	const char *status = json_string_value(json_object_get(result, "status"));

	if (!status)
		return samara_error_set(err, -EPROTO, "the server's reply names no status");
	puts(status);
	return 0;
}

int ctl_show_json(const json_t *value, struct samara_error *err)
{
	if (json_dumpf(value, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY))
		return no_memory(err);
	putchar('\n');
	return 0;
}

/* ---- The verbs ------------------------------------------------------------------------------- */

static const struct verb verbs[] = {
	{"plug",
	 "GPA SIZE [--ro]",
	 "x-samara-plug",
	 {"gpa", "size"},
	 OPTION_RO,
	 NULL,
	 "make a range memory, zeroed"},
	{"unplug",
	 "GPA SIZE",
	 "x-samara-unplug",
	 {"gpa", "size"},
	 OPTION_NONE,
	 NULL,
	 "make a range no memory; its pages go back to the host"},
	{"remap",
	 "GPA SIZE NEW_GPA",
	 "x-samara-remap",
	 {"gpa", "size", "new-gpa"},
	 OPTION_NONE,
	 NULL,
	 "move a range, contents kept"},
	{"protect",
	 "GPA SIZE ro|rw",
	 "x-samara-protect",
	 {"gpa", "size", "prot"},
	 OPTION_NONE,
	 NULL,
	 "forbid or allow writing"},
	{"populate",
	 "GPA SIZE",
	 "x-samara-populate",
	 {"gpa", "size"},
	 OPTION_NONE,
	 NULL,
	 "have every page present now"},
	{"regions",
	 "[--json]",
	 "x-samara-regions",
	 {NULL},
	 OPTION_JSON,
	 show_regions,
	 "list guest memory, region by region"},
	{"stats",
	 "[--json] [--watch [SECONDS]]",
	 "x-samara-stats",
	 {NULL},
	 OPTION_JSON,
	 show_stats,
	 "counters since the start; and how fast they grow"},
	{"status",
	 "[--json]",
	 "query-status",
	 {NULL},
	 OPTION_JSON,
	 show_status,
	 "running, paused, prelaunch or shutdown"},
	{"stop", "", "stop", {NULL}, OPTION_NONE, NULL, "pause the guest (QMP's word for it)"},
	{"cont", "", "cont", {NULL}, OPTION_NONE, NULL, "let it run on"},
	{"powerdown",
	 "",
	 "system_powerdown",
	 {NULL},
	 OPTION_NONE,
	 NULL,
	 "press the power button; the guest decides"},
	{"reset", "", "system_reset", {NULL}, OPTION_NONE, NULL, "reset the guest"},
	{"quit", "", "quit", {NULL}, OPTION_NONE, NULL, "end samara"},
};

#define VERB_COUNT (sizeof(verbs) / sizeof(verbs[0]))

#define FORMAT     "  %-9s%-30s%s\n"

static void print_usage(FILE *to)
{
	const struct ctl_verb *verb;
	unsigned int i;

	fputs("usage: samara ctl SOCKET VERB ...\n", to);
	for (i = 0; i < VERB_COUNT; i++)
		fprintf(to, FORMAT, verbs[i].name, verbs[i].usage, verbs[i].summary);
	for (verb = ctl_long_verbs; verb->name; verb++)
		fprintf(to, FORMAT, verb->name, verb->usage, verb->summary);
	fprintf(to, FORMAT, "raw", "'JSON'", "send one QMP command, print what it returns");
	fputs("GPA and SIZE are bytes: 0x100000000, 128M, 4G.\n", to);
}

static int usage_error(const struct samara_error *err)
{
	fprintf(stderr, "samara ctl: %s (samara ctl --help tells)\n", err->text);
	return SAMARA_EXIT_USAGE;
}

/* Put operand @text into @arguments as @name. */
static int add_operand(json_t *arguments, const char *name, const char *text,
		       struct samara_error *err)
{
	char number[24];
	uint64_t value;
	int ret;

	if (!strcmp(name, "prot")) {
		if (strcmp(text, "ro") && strcmp(text, "rw"))
			return samara_error_set(err, -EINVAL, "protect: '%s' is neither ro nor rw",
						text);
		return json_object_set_new(arguments, name, json_string(text)) ? -ENOMEM : 0;
	}
	ret = parse_size(text, name, &value, err);
	if (ret)
		return ret;
	/* As a string: addresses go up to 2^64-1, JSON integers end at 2^63-1 in many readers. */
	snprintf(number, sizeof(number), "0x%" PRIx64, value);
	return json_object_set_new(arguments, name, json_string(number)) ? no_memory(err) : 0;
}

static int add_option(const struct verb *verb, const char *text, json_t *arguments, bool *as_json,
		      struct samara_error *err)
{
	if (verb->option == OPTION_RO && !strcmp(text, "--ro"))
		return json_object_set_new(arguments, "prot", json_string("ro")) ? no_memory(err)
										 : 0;
	if (verb->option == OPTION_JSON && !strcmp(text, "--json")) {
		*as_json = true;
		return 0;
	}
	return samara_error_set(err, -EINVAL, "%s: there is no option %s", verb->name, text);
}

/* Turn the words after the verb into the arguments of its QMP command. */
static int parse_words(const struct verb *verb, int count, char **words, json_t *arguments,
		       bool *as_json, struct samara_error *err)
{
	unsigned int operand = 0;
	int i, ret;

	for (i = 0; i < count; i++) {
		if (!strncmp(words[i], "--", 2))
			ret = add_option(verb, words[i], arguments, as_json, err);
		else if (operand == OPERANDS_MAX || !verb->operands[operand])
			ret = samara_error_set(err, -EINVAL, "%s: one word too many: %s",
					       verb->name, words[i]);
		else
			ret = add_operand(arguments, verb->operands[operand++], words[i], err);
		if (ret)
			return ret;
	}
	if (operand < OPERANDS_MAX && verb->operands[operand])
		return samara_error_set(err, -EINVAL, "%s: expects %s", verb->name, verb->usage);
	return 0;
}

/* Connect, run one command, print its outcome. Returns the exit status. */
static int run(const char *path, json_t *command,
	       int (*show)(const json_t *result, struct samara_error *err))
{
	struct qmp_client *client = NULL;
	struct samara_error err = {0};
	json_t *result = NULL;
	int ret;

	ret = qmp_client_connect(path, &client, &err);
	if (!ret)
		ret = qmp_client_run(client, command, &result, &err);
	if (!ret && show)
		ret = show(result, &err);
	if (!ret && fflush(stdout))
		ret = samara_error_set(&err, -EIO, "standard output can't be written");
	if (ret)
		fprintf(stderr, "samara ctl: %s\n", err.text);
	json_decref(result);
	qmp_client_close(client);
	return ret ? SAMARA_EXIT_FAILURE : 0;
}

static int run_raw(const char *path, int count, char **words)
{
	struct samara_error err = {0};
	json_error_t reason;
	json_t *command;
	int status;

	if (count != 1) {
		samara_error_set(&err, -EINVAL, "raw: expects one JSON object");
		return usage_error(&err);
	}
	command = json_loads(words[0], JSON_REJECT_DUPLICATES, &reason);
	if (!json_is_object(command)) {
		samara_error_set(&err, -EINVAL, "raw: %s",
				 command ? "not a JSON object" : reason.text);
		json_decref(command);
		return usage_error(&err);
	}
	status = run(path, command, ctl_show_json);
	json_decref(command);
	return status;
}

static int run_verb(const char *path, const struct verb *verb, int count, char **words)
{
	json_t *arguments = json_object(), *command;
	struct samara_error err = {0};
	bool as_json = false;
	int status;

	if (parse_words(verb, count, words, arguments, &as_json, &err)) {
		json_decref(arguments);
		return usage_error(&err);
	}
	command = json_pack("{s:s, s:o}", "execute", verb->execute, "arguments", arguments);
	if (!command) {
		fputs("samara ctl: out of memory\n", stderr);
		return SAMARA_EXIT_FAILURE;
	}
	status = run(path, command, as_json ? ctl_show_json : verb->show);
	json_decref(command);
	return status;
}

/* The words that are no options, nor their values. */
static int count_operands(int count, char **words)
{
	int operands = 0, i;

	for (i = 0; i < count; i++) {
		if (strncmp(words[i], "--", 2))
			operands++;
		else if (strcmp(words[i], "--ro") && strcmp(words[i], "--json"))
			i++;
	}
	return operands;
}

/* NULL: there is none that takes so many operands; plug and unplug exist for ranges, too. */
static const struct ctl_verb *find_long_verb(const char *name, int count, char **words)
{
	const struct ctl_verb *verb;

	for (verb = ctl_long_verbs; verb->name; verb++)
		if (!strcmp(verb->name, name) && verb->operands == count_operands(count, words))
			return verb;
	return NULL;
}

static int run_long_verb(const char *path, const struct ctl_verb *verb, int count, char **words)
{
	struct samara_error err = {0};
	int ret = verb->run(path, count, words, &err);

	if (ret == -EINVAL && err.code == -EINVAL)
		return usage_error(&err);
	if (!ret && fflush(stdout))
		ret = samara_error_set(&err, -EIO, "standard output can't be written");
	if (ret)
		fprintf(stderr, "samara ctl: %s\n", err.text);
	return ret ? SAMARA_EXIT_FAILURE : 0;
}

int cmd_ctl(int argc, char **argv)
{
	const struct ctl_verb *long_verb;
	struct samara_error err = {0};
	const char *path;
	unsigned int i;

	if (argc == 2 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))) {
		print_usage(stdout);
		return 0;
	}
	if (argc < 3) {
		print_usage(stderr);
		return SAMARA_EXIT_USAGE;
	}
	/* As --qmp of samara run has it. */
	path = strncmp(argv[1], "unix:", 5) ? argv[1] : argv[1] + 5;
	if (!strcmp(argv[2], "raw"))
		return run_raw(path, argc - 3, argv + 3);
	if (!strcmp(argv[2], "stats") && ctl_is_watch(argc - 3, argv + 3))
		return ctl_watch(path, argc - 3, argv + 3);
	long_verb = find_long_verb(argv[2], argc - 3, argv + 3);
	if (long_verb)
		return run_long_verb(path, long_verb, argc - 3, argv + 3);
	for (i = 0; i < VERB_COUNT; i++)
		if (!strcmp(verbs[i].name, argv[2]))
			return run_verb(path, &verbs[i], argc - 3, argv + 3);
	samara_error_set(&err, -EINVAL, "there is no verb '%s'", argv[2]);
	return usage_error(&err);
}
