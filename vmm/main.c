/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "mm/lock.h"
#include "vmm/commands.h"

static const struct {
	const char *name; /* "samara run", as it calls itself in messages */
	int (*run)(int argc, char **argv);
	const char *summary;
} commands[] = {
	{"samara run", cmd_run, "run a virtual machine"},
	{"samara ctl", cmd_ctl, "control a running one: plug, unplug, regions, stats, ..."},
	{"samara doctor", cmd_doctor, "say what this host offers"},
	{"samara stress", cmd_stress, "change guest memory under load, and check every byte"},
};

#define COMMANDS      (sizeof(commands) / sizeof(commands[0]))
#define PREFIX_LENGTH (sizeof("samara ") - 1)

static void print_usage(FILE *to)
{
	size_t i;

	fprintf(to,
		"Usage: samara COMMAND [OPTION...]\n\n"
		"A virtual machine monitor whose guest memory changes while the guest runs.\n\n");
	for (i = 0; i < COMMANDS; i++)
		fprintf(to, "  %-15s %s\n", commands[i].name, commands[i].summary);
	fprintf(to, "\n  samara COMMAND --help tells more; samara --version tells the version.\n"
		    "\nExit status: 0; 1 when it could not be done; 2 for a wrong command line.\n");
}

/* What was asked for may not have reached anybody: a full disk, a closed pipe. */
static int flushed(void)
{
	if (fflush(stdout) || ferror(stdout)) {
		perror("samara: standard output");
		return SAMARA_EXIT_FAILURE;
	}
	return 0;
}

/*
 * What was closed at the start would be the number of the next file that is opened, and the guest's
 * serial port would write there. Return: 0, -1.
 */
static int open_standard_files(void)
{
	int fd;

	/* open() takes the lowest number that is free. */
	for (fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
			return -1;
	return 0;
}

int main(int argc, char **argv)
{
	size_t i;

	if (open_standard_files()) {
		perror("samara: /dev/null");
		return SAMARA_EXIT_FAILURE;
	}
	if (argc < 2) {
		print_usage(stderr);
		return SAMARA_EXIT_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		print_usage(stdout);
		return flushed();
	}
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
		printf("samara %s (LOCK=%s)\n", SAMARA_VERSION, lock_design);
		return flushed();
	}
	for (i = 0; i < COMMANDS; i++) {
		if (strcmp(argv[1], commands[i].name + PREFIX_LENGTH))
			continue;
		argv[1] = (char *)commands[i].name;
		return commands[i].run(argc - 1, argv + 1);
	}
	fprintf(stderr, "samara: '%s' is no command; samara --help lists them\n", argv[1]);
	return SAMARA_EXIT_USAGE;
}
