/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/config.h"
#include "vmm/ctl_words.h"

/* With more of them than this, a usage line says OPTION instead. */
#define OPTIONS_SHOWN 2

/* Where the help for something begins. */
#define USAGE_COLUMNS 44

/* ---- Usage ----------------------------------------------------------------------------------- */

static unsigned int count_options(const struct ctl_verb *verb)
{
	unsigned int count = 0;

	while (verb->options && verb->options[count].name)
		count++;
	return count;
}

static void append(char *text, size_t text_bytes, const char *before, const char *what,
		   const char *after)
{
	size_t length = strlen(text);

	snprintf(text + length, text_bytes - length, "%s%s%s", before, what, after);
}

void ctl_format_usage(const struct ctl_verb *verb, char *text, size_t text_bytes)
{
	const struct ctl_option *option;

	snprintf(text, text_bytes, "%s", verb->name);
	if (*verb->usage)
		append(text, text_bytes, " ", verb->usage, "");
	if (count_options(verb) > OPTIONS_SHOWN) {
		append(text, text_bytes, " ", "[OPTION...]", "");
		return;
	}
	for (option = verb->options; option && option->name; option++) {
		append(text, text_bytes, " [", option->name, "");
		if (option->value)
			append(text, text_bytes, " ", option->value, "");
		append(text, text_bytes, "", "]", "");
	}
}

/* Lines after the first begin below it. */
static void print_entry(FILE *to, unsigned int indent, const char *what, const char *summary)
{
	const char *line = summary;
	size_t bytes = strcspn(line, "\n");

	fprintf(to, "%*s%-*s %.*s\n", (int)indent, "", (int)(USAGE_COLUMNS - indent), what,
		(int)bytes, line);
	while (line[bytes]) {
		line += bytes + 1;
		bytes = strcspn(line, "\n");
		fprintf(to, "%*s%.*s\n", USAGE_COLUMNS + 1, "", (int)bytes, line);
	}
}

void ctl_print_verbs(FILE *to, const struct ctl_verb *verbs, const char *name)
{
	const struct ctl_option *option;
	const struct ctl_verb *verb;
	char text[160];

	for (verb = verbs; verb->name; verb++) {
		if (name && strcmp(verb->name, name))
			continue;
		ctl_format_usage(verb, text, sizeof(text));
		print_entry(to, 2, text, verb->summary);
		if (!name && count_options(verb) <= OPTIONS_SHOWN)
			continue;
		for (option = verb->options; option && option->name; option++) {
			snprintf(text, sizeof(text), "%s %s", option->name,
				 option->value ? option->value : "");
			print_entry(to, 6, text, option->summary);
		}
	}
}

/* ---- Words ----------------------------------------------------------------------------------- */

/* An option of any way to use the verb; @bytes: the length of its name. */
static const struct ctl_option *find_option(const struct ctl_verb *verbs, const char *verb_name,
					    const char *name, size_t bytes)
{
	const struct ctl_option *option;
	const struct ctl_verb *verb;

	for (verb = verbs; verb->name; verb++) {
		if (strcmp(verb->name, verb_name))
			continue;
		for (option = verb->options; option && option->name; option++)
			if (strlen(option->name) == bytes && !memcmp(option->name, name, bytes))
				return option;
	}
	return NULL;
}

static struct ctl_given *find_given(const struct ctl_words *words, const char *name)
{
	for (unsigned int i = 0; i < words->given_count; i++)
		if (!strcmp(words->given[i].name, name))
			return (struct ctl_given *)&words->given[i];
	return NULL;
}

static int note_option(struct ctl_words *words, const char *name, const char *value,
		       struct samara_error *err)
{
	struct ctl_given *given = find_given(words, name);

	if (!given && words->given_count == CTL_OPTIONS_MAX)
		return samara_error_set(err, -EINVAL, "%s: one option too many", name);
	if (!given)
		given = &words->given[words->given_count++];
	*given = (struct ctl_given){name, value};
	return 0;
}

/*
 * "--name", "--name VALUE" or "--name=VALUE". Return: how many words it was, -EINVAL.
 */
static int parse_option(const struct ctl_verb *verbs, const char *verb, int count, char **words,
			struct ctl_words *out, struct samara_error *err)
{
	size_t bytes = strcspn(words[0], "=");
	const struct ctl_option *option = find_option(verbs, verb, words[0], bytes);
	const char *value = words[0][bytes] ? words[0] + bytes + 1 : NULL;
	int ret, used = 1;

	if (!option)
		return samara_error_set(err, -EINVAL, "%s: there is no option %.*s", verb,
					(int)bytes, words[0]);
	if (value && !option->value)
		return samara_error_set(err, -EINVAL, "%s: %s takes no value", verb, option->name);
	if (!value && option->value && count > 1 && words[1][0] != '-') {
		value = words[1];
		used = 2;
	}
	if (!value && option->value && *option->value != '[')
		return samara_error_set(err, -EINVAL, "%s: %s: its value is missing: %s", verb,
					option->name, option->value);
	ret = note_option(out, option->name, value, err);
	return ret ? ret : used;
}

/* Which way to use the verb takes so many operands. @last: the last of them, NULL: there is none */
static int choose_verb(const struct ctl_verb *verbs, const char *name, unsigned int operands,
		       const char *last, struct ctl_words *words, struct samara_error *err)
{
	const struct ctl_verb *verb;
	char ways[400] = "", usage[160];
	bool missing = false;

	for (verb = verbs; verb->name; verb++) {
		if (strcmp(verb->name, name))
			continue;
		if (verb->operands == operands) {
			words->verb = verb;
			return 0;
		}
		missing |= operands < verb->operands;
		ctl_format_usage(verb, usage, sizeof(usage));
		append(ways, sizeof(ways), *ways ? ", or: " : "", usage, "");
	}
	if (missing)
		return samara_error_set(err, -EINVAL, "%s: a word is missing; usage: %s", name,
					ways);
	return samara_error_set(err, -EINVAL, "%s: one word too many: '%.40s'; usage: %s", name,
				last, ways);
}

static int check_options(const struct ctl_words *words, struct samara_error *err)
{
	const struct ctl_verb alone[] = {*words->verb, {.name = NULL}};
	char usage[160];

	for (unsigned int i = 0; i < words->given_count; i++) {
		const char *name = words->given[i].name;

		if (find_option(alone, words->verb->name, name, strlen(name)))
			continue;
		ctl_format_usage(words->verb, usage, sizeof(usage));
		return samara_error_set(err, -EINVAL, "%s: there is no option %s here; usage: %s",
					words->verb->name, name, usage);
	}
	return 0;
}

int ctl_parse_words(const struct ctl_verb *verbs, const char *name, int count, char **words,
		    struct ctl_words *out, struct samara_error *err)
{
	const struct ctl_verb *verb = verbs;
	const char *last = NULL;
	unsigned int operands = 0;
	int i, ret;

	*out = (struct ctl_words){0};
	while (verb->name && strcmp(verb->name, name))
		verb++;
	if (!verb->name)
		return samara_error_set(err, -EINVAL, "there is no verb '%s'", name);
	for (i = 0; i < count; i++) {
		if (words[i][0] == '-') {
			ret = parse_option(verbs, name, count - i, words + i, out, err);
			if (ret < 0)
				return ret;
			i += ret - 1;
			continue;
		}
		if (operands < CTL_OPERANDS_MAX)
			out->operands[operands] = words[i];
		operands++;
		last = words[i];
	}
	ret = choose_verb(verbs, name, operands, last, out, err);
	return ret ? ret : check_options(out, err);
}

/* ---- What they say --------------------------------------------------------------------------- */

bool ctl_has(const struct ctl_words *words, const char *option)
{
	return find_given(words, option);
}

const char *ctl_value(const struct ctl_words *words, const char *option)
{
	const struct ctl_given *given = find_given(words, option);

	return given ? given->value : NULL;
}

int ctl_number_option(const struct ctl_words *words, const char *option, long max, long *out,
		      struct samara_error *err)
{
	const char *text = ctl_value(words, option);
	char *end;
	long value;

	if (!text)
		return 0;
	errno = 0;
	value = strtol(text, &end, 10);
	if (errno || *text < '0' || *text > '9' || *end || value > max)
		return samara_error_set(err, -EINVAL, "%s: '%s' is not a number from 0 to %ld",
					option, text, max);
	*out = value;
	return 0;
}

int ctl_parse_size(const char *text, const char *what, uint64_t *bytes, struct samara_error *err)
{
	/* Whatever is wrong with it, it is the command line's fault. */
	if (!parse_size(text, what, bytes, err))
		return 0;
	return err->code = -EINVAL;
}

int ctl_size_option(const struct ctl_words *words, const char *option, uint64_t *out,
		    struct samara_error *err)
{
	const char *text = ctl_value(words, option);

	return text ? ctl_parse_size(text, option, out, err) : 0;
}
