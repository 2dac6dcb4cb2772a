/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_CTL_WORDS_H
#define VMM_CTL_WORDS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <jansson.h>

#include <samara/error.h>

/*
 * What samara ctl understands: its verbs, their operands and options, as tables, and the words of a
 * command line read by them.
 *
 * getopt_long() and argp take cut-off options, which would make "--tim 1" mean something, and get in
 * the way of scripts once a longer option is added. Here an option is its whole name or an error.
 */
#define CTL_OPERANDS_MAX 3
#define CTL_OPTIONS_MAX  12

struct ctl_words;

/**
 * struct ctl_option - an option of a verb; immutable
 * @name: with its dashes
 * @value: what follows it, for people; NULL: nothing; "[SECONDS]": it may be left out
 * @summary: one line, or several
 */
struct ctl_option {
	const char *name, *value, *summary;
};

enum ctl_argument_kind {
	CTL_SIZE,
	CTL_PROT,
	CTL_TEXT,
	CTL_VALUE, /* JSON, and what is none is a text */
};

/* An operand that becomes an argument of a QMP command; immutable. */
struct ctl_argument {
	const char *name;
	enum ctl_argument_kind kind;
};

/**
 * struct ctl_verb - one way to use a verb; immutable
 * @usage: its operands, for people
 * @operands: how many; another entry of the same @name may take another number of them
 * @options: ended by one without a name; NULL: none. One that several entries of a name have takes
 * a value in all of them, or in none
 * @run: returns 0, -EINVAL for words that it does not understand, or another -errno; the error is
 * set. NULL: the verb is one QMP command, as the following say:
 * @execute: the command
 * @arguments: what its operands become
 * @show: prints the reply, NULL: there is nothing to print
 */
struct ctl_verb {
	const char *name, *usage;
	unsigned int operands;
	const struct ctl_option *options;
	const char *summary;
	int (*run)(const char *path, const struct ctl_words *words, struct samara_error *err);
	const char *execute;
	struct ctl_argument arguments[CTL_OPERANDS_MAX];
	int (*show)(const json_t *result, struct samara_error *err);
};

/**
 * struct ctl_words - a command line
 * @given: the options, each once: the last one counts; a value is NULL where there is none
 */
struct ctl_words {
	const struct ctl_verb *verb;
	const char *operands[CTL_OPERANDS_MAX];
	struct ctl_given {
		const char *name, *value;
	} given[CTL_OPTIONS_MAX];
	unsigned int given_count;
};

/**
 * ctl_parse_words() - find the verb, or that way to use it that takes so many operands
 * @verbs: ended by one without a name
 * @words: those after the verb
 *
 * Return: 0, -EINVAL (no such verb, a wrong number of operands, no such option, a missing value).
 */
int ctl_parse_words(const struct ctl_verb *verbs, const char *name, int count, char **words,
		    struct ctl_words *out, struct samara_error *err);

/* Whether an option was given. */
bool ctl_has(const struct ctl_words *words, const char *option);

/* Its value; NULL: it was not given, or without one. */
const char *ctl_value(const struct ctl_words *words, const char *option);

/**
 * ctl_number_option(), ctl_size_option() - the value of an option
 * @out: stays as it is when the option was not given
 *
 * Return: 0, -EINVAL.
 */
int ctl_number_option(const struct ctl_words *words, const char *option, long max, long *out,
		      struct samara_error *err);
int ctl_size_option(const struct ctl_words *words, const char *option, uint64_t *out,
		    struct samara_error *err);

/* A size. @what: for the message. Return: 0, -EINVAL. */
int ctl_parse_size(const char *text, const char *what, uint64_t *bytes, struct samara_error *err);

/* "plug GPA SIZE [--ro]"; where there are many options: "plug SIZE [OPTION...]". */
void ctl_format_usage(const struct ctl_verb *verb, char *text, size_t text_bytes);

/* All ways to use a verb, with its options. @name: NULL: all verbs, with what their usage leaves out */
void ctl_print_verbs(FILE *to, const struct ctl_verb *verbs, const char *name);

#endif
