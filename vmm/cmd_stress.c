/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/commands.h"
#include "vmm/config.h"
#include "vmm/stress.h"

/* By convention of shells: 128 and the number of SIGINT. */
#define EXIT_INTERRUPTED 130

/* How often a line is written where there is no terminal, in seconds. */
#define LOG_SECONDS      10

/* What a workload file may hold as well: option n has the key KEY_WORKLOAD + n. */
#define KEY_WORKLOAD     0x200

enum {
	KEY_FILE = 0x100,
	KEY_JSON,
	KEY_CSV,
	KEY_NO_LIVE,
	KEY_COMPARE,
};

#define WORKLOAD(n, name, argument, text)                       \
	{                                                       \
		name, KEY_WORKLOAD + (n), argument, 0, text, 1, \
	}

static const struct argp_option options[] = {
	{"seconds", 's', "N", 0, "How long it runs (10)", 1},
	{"cpus", 'c', "N", 0, "vCPUs (2)", 1},
	WORKLOAD(0, "slots", "N", "Ranges that come and go (16)"),
	WORKLOAD(1, "slot-size", "SIZE|LEAST..MOST", "Size of each (4M)"),
	WORKLOAD(2, "memory", "SIZE", "As many slots as make this"),
	WORKLOAD(3, "backing", "anon|memfd", "What is behind guest memory (anon)"),
	WORKLOAD(4, "operators", "N", "Threads that change memory in use (1)"),
	WORKLOAD(5, "mix", "OP=WEIGHT,...",
		 "What they do: plug, unplug, remap, protect, populate, discard, reback, refused, "
		 "remap-live, remap-device, protect-live"),
	WORKLOAD(6, "rate", "N", "Steps per second of all of them (0: all they can)"),
	WORKLOAD(7, "pattern", "KIND",
		 "Which slots are used and changed: sequential, random, zipf[:EXPONENT], one (they "
		 "make one region), own (each a region, each vCPU its own) (random)"),
	WORKLOAD(8, "strangers", "N",
		 "Threads that do long operations on memory that nobody uses (1)"),
	WORKLOAD(9, "stranger-size", "SIZE", "Size of that memory (256M)"),
	WORKLOAD(10, "devices", "N", "Threads that do DMA to memory that moves (1)"),
	WORKLOAD(11, "device-hold", "US", "How long they hold it at most (500)"),
	WORKLOAD(12, "device-rest", "US", "How long they rest after that (1000)"),
	WORKLOAD(13, "fault-around", "PAGES", "Pages populated per fault (16)"),
	WORKLOAD(14, "seed", "N", "Same seed, same choices (random)"),
	WORKLOAD(15, "inject", "PLACE:ODDS[:DELAY]",
		 "One of ODDS calls at PLACE fails, or takes DELAY longer; may be repeated"),
	{"copy-only", KEY_WORKLOAD + 16, NULL, 0, "Move memory by copying, never by UFFDIO_MOVE",
	 1},
	{"file", KEY_FILE, "FILE", 0,
	 "Set all these from a JSON file; options after it come on top", 2},
	{"json", KEY_JSON, "FILE", 0, "Write the result as JSON; - is standard output", 3},
	{"csv", KEY_CSV, "FILE", 0, "Write a line for each second as CSV; - is standard output", 3},
	{"no-live", KEY_NO_LIVE, NULL, 0, "No live view, also on a terminal", 3},
	{"compare", KEY_COMPARE, NULL, 0, "Print two such results side by side, run nothing", 4},
	{0},
};

struct arguments {
	struct stress_options stress;
	const char *json_path, *csv_path;
	bool compare, no_live;
	char *files[2];
	unsigned int file_count;
};

/* The name of the option with that key, if a workload has it. */
static const char *workload_name(int key)
{
	for (const struct argp_option *option = options; option->name; option++)
		if (option->key == key && (key >= KEY_WORKLOAD || key == 's' || key == 'c'))
			return option->name;
	return NULL;
}

static error_t parse_option(int key, char *text, struct argp_state *state)
{
	struct arguments *arguments = state->input;
	const char *name = workload_name(key);
	struct samara_error err = {0};

	if (name) {
		if (stress_option_set(&arguments->stress, name, text ? text : "true", &err))
			argp_error(state, "%s", err.text);
		return 0;
	}
	switch (key) {
	case KEY_FILE:
		if (stress_options_load(&arguments->stress, text, &err))
			argp_error(state, "--file %s", err.text);
		break;
	case KEY_JSON:
		arguments->json_path = text;
		break;
	case KEY_CSV:
		arguments->csv_path = text;
		break;
	case KEY_NO_LIVE:
		arguments->no_live = true;
		break;
	case KEY_COMPARE:
		arguments->compare = true;
		break;
	case ARGP_KEY_ARG:
		if (!arguments->compare)
			argp_error(state, "%s: an argument that nothing asks for", text);
		if (arguments->file_count == 2)
			argp_error(state, "--compare takes two files");
		arguments->files[arguments->file_count++] = text;
		break;
	case ARGP_KEY_END:
		if (arguments->compare && arguments->file_count != 2)
			argp_error(state, "--compare takes two files");
		if (!arguments->compare && stress_check_options(&arguments->stress, &err))
			argp_error(state, "%s", err.text);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

/* ---- Progress -------------------------------------------------------------------------------- */

/**
 * struct display - what a person sees meanwhile
 *
 * Locks: notes come one at a time; stdio's own lock keeps lines whole. Others: the main thread's.
 */
struct display {
	bool terminal;
	double next; /* seconds */
	struct stress_progress last;
};

static void show_progress(const struct stress_progress *now, void *arg)
{
	struct display *display = arg;
	double span = now->seconds - display->last.seconds;

	if (now->seconds < display->next || span <= 0)
		return;
	fprintf(stderr, "%s%.0f s: %.0f operations/s, %.0f faults/s, %" PRIu64 " errors%s",
		display->terminal ? "\r\033[K" : "", now->seconds,
		(double)(now->operations - display->last.operations) / span,
		(double)(now->faults - display->last.faults) / span, now->errors,
		display->terminal ? "" : "\n");
	display->last = *now;
	display->next = now->seconds + (display->terminal ? 1 : LOG_SECONDS) - 0.05;
}

static void show_note(const char *line, void *arg)
{
	struct display *display = arg;

	fprintf(stderr, "%ssamara stress: %s\n", display->terminal ? "\r\033[K" : "", line);
}

/* ---- The command ----------------------------------------------------------------------------- */

static volatile int interrupted;

static void on_signal(int signal)
{
	(void)signal;
	interrupted = 1;
}

/* The first one ends the run in order, the next one ends samara. */
static void catch_signals(void)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESETHAND};

	sigemptyset(&action.sa_mask);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
}

static int fail(const struct samara_error *err)
{
	fprintf(stderr, "samara stress: %s\n", err->text);
	return SAMARA_EXIT_FAILURE;
}

static int json_error(const char *path, struct samara_error *err)
{
	return samara_error_set(err, -errno, "--json %s: %s", path, strerror(errno));
}

/*
 * Find out before the run whether its result can be written after it. A file that is there keeps
 * what it holds until then; one that is not is not left behind, should the run be killed.
 */
static int try_result_file(const char *path, struct samara_error *err)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	struct stat node;

	if (fd >= 0) {
		close(fd);
		return unlink(path) ? json_error(path, err) : 0;
	}
	if (errno != EEXIST)
		return json_error(path, err);
	/* A FIFO's reader would take the close for the end. */
	if (!stat(path, &node) && S_ISFIFO(node.st_mode))
		return access(path, W_OK) ? json_error(path, err) : 0;
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return json_error(path, err);
	close(fd);
	return 0;
}

static int write_result(const struct stress_result *result, const char *path,
			struct samara_error *err)
{
	FILE *out;
	int ret;

	if (!strcmp(path, "-"))
		return stress_write_json(result, stdout, err);
	out = fopen(path, "we");
	if (!out)
		return json_error(path, err);
	ret = stress_write_json(result, out, err);
	if (fclose(out) && !ret)
		ret = json_error(path, err);
	return ret;
}

static int run(const struct arguments *arguments)
{
	struct display display = {.terminal = isatty(STDERR_FILENO)};
	struct stress_watcher watcher = {show_progress, show_note, &display};
	bool json_to_stdout = arguments->json_path && !strcmp(arguments->json_path, "-");
	struct stress_result *result = malloc(sizeof(*result));
	struct samara_error err = {0};
	int ret;

	if (arguments->json_path && !json_to_stdout &&
	    try_result_file(arguments->json_path, &err)) {
		free(result);
		return fail(&err);
	}
	if (!result) {
		samara_error_set(&err, -ENOMEM, "out of memory");
		return fail(&err);
	}
	display.next = (display.terminal ? 1 : LOG_SECONDS) - 0.05;
	catch_signals();
	ret = stress_run(&arguments->stress, &watcher, &interrupted, result, &err);
	if (display.terminal)
		fputs("\r\033[K", stderr);
	if (!ret)
		ret = stress_print(result, json_to_stdout ? stderr : stdout, &err);
	if (!ret && arguments->json_path)
		ret = write_result(result, arguments->json_path, &err);
	if (ret)
		ret = fail(&err);
	else if (!stress_passed(result))
		ret = SAMARA_EXIT_FAILURE;
	else if (result->interrupted)
		ret = EXIT_INTERRUPTED;
	free(result);
	return ret;
}

int cmd_stress(int argc, char **argv)
{
	static const struct argp argp = {
		.options = options,
		.parser = parse_option,
		.args_doc = "\n--compare FILE FILE",
		.doc = "Change the memory of a running VM while its vCPUs write and check it: "
		       "plug, "
		       "unplug, move, protect. Ends with what was done and whether every byte was "
		       "right.\vExit status: 0 all was right; 1 something was wrong, or it could "
		       "not run; 2 usage; 130 interrupted, and all was right until then.",
	};
	struct arguments arguments = {0};
	struct samara_error err = {0};
	uint64_t seed = 0;

	stress_options_init(&arguments.stress);
	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		seed = (uint64_t)getpid();
	arguments.stress.seed = seed >> 32;
	argp_err_exit_status = SAMARA_EXIT_USAGE;
	if (argp_parse(&argp, argc, argv, 0, NULL, &arguments))
		return SAMARA_EXIT_USAGE;
	if (arguments.compare)
		return stress_compare(arguments.files[0], arguments.files[1], stdout, &err)
			       ? fail(&err)
			       : 0;
	return run(&arguments);
}
