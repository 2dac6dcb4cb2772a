/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * samara ctl: talk to a running samara over its control socket.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vmm/commands.h"
#include "vmm/ctl.h"

/* @name: a verb, or NULL: all of them */
static void print_usage(FILE *to, const char *name)
{
	fputs("usage: samara ctl SOCKET VERB ...\n", to);
	ctl_print_verbs(to, ctl_verbs, name);
	fputs("samara ctl VERB --help tells of one. GPA and SIZE are bytes: 0x100000000, 128M, "
	      "4G.\n"
	      "Exit status: 0, 1 when it could not be done, 2 for a wrong command line.\n",
	      to);
}

static int usage_error(const struct samara_error *err)
{
	fprintf(stderr, "samara ctl: %s (samara ctl --help tells)\n", err->text);
	return SAMARA_EXIT_USAGE;
}

static bool is_help(const char *word)
{
	return !strcmp(word, "--help") || !strcmp(word, "-h");
}

static bool asks_for_help(int count, char **words)
{
	for (int i = 0; i < count; i++)
		if (is_help(words[i]))
			return true;
	return false;
}

static const char *find_name(const char *name)
{
	const struct ctl_verb *verb;

	for (verb = ctl_verbs; verb->name; verb++)
		if (!strcmp(verb->name, name))
			return verb->name;
	return NULL;
}

static int run(const char *path, const struct ctl_words *words)
{
	struct samara_error err = {0};
	int ret = words->verb->run ? words->verb->run(path, words, &err)
				   : ctl_run_command(path, words, &err);

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
	struct samara_error err = {0};
	struct ctl_words words;
	const char *path;

	if (argc == 2 && is_help(argv[1])) {
		print_usage(stdout, NULL);
		return 0;
	}
	/* samara ctl SOCKET VERB --help, and without a socket. */
	if (argc > 2 && asks_for_help(argc - 2, argv + 2)) {
		print_usage(stdout, find_name(is_help(argv[2]) ? argv[1] : argv[2]));
		return 0;
	}
	if (argc < 3) {
		print_usage(stderr, NULL);
		return SAMARA_EXIT_USAGE;
	}
	/* As --qmp of samara run has it. */
	path = strncmp(argv[1], "unix:", 5) ? argv[1] : argv[1] + 5;
	if (ctl_parse_words(ctl_verbs, argv[2], argc - 3, argv + 3, &words, &err))
		return usage_error(&err);
	return run(path, &words);
}
