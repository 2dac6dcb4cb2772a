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

enum {
	KEY_SLOTS = 0x100,
	KEY_SLOT_SIZE,
	KEY_BACKING,
	KEY_OPERATORS,
	KEY_STRANGERS,
	KEY_STRANGER_SIZE,
	KEY_FAULT_AROUND,
	KEY_SEED,
	KEY_JSON,
	KEY_COPY_ONLY,
	KEY_COMPARE,
};

static const struct argp_option options[] = {
	{"seconds", 's', "N", 0, "How long it runs (10)", 0},
	{"cpus", 'c', "N", 0, "vCPUs (2)", 0},
	{"slots", KEY_SLOTS, "N", 0, "Ranges that come and go (16)", 0},
	{"slot-size", KEY_SLOT_SIZE, "SIZE", 0, "Size of each (4M)", 0},
	{"backing", KEY_BACKING, "anon|memfd", 0, "What is behind guest memory (anon)", 0},
	{"operators", KEY_OPERATORS, "N", 0, "Threads that change memory in use (1)", 0},
	{"strangers", KEY_STRANGERS, "N", 0,
	 "Threads that do long operations on memory that nobody uses (1)", 0},
	{"stranger-size", KEY_STRANGER_SIZE, "SIZE", 0, "Size of that memory (256M)", 0},
	{"fault-around", KEY_FAULT_AROUND, "PAGES", 0, "Pages populated per fault (16)", 0},
	{"copy-only", KEY_COPY_ONLY, NULL, 0, "Move memory by copying, never by UFFDIO_MOVE", 0},
	{"seed", KEY_SEED, "N", 0, "Same seed, same choices (random)", 0},
	{"json", KEY_JSON, "FILE", 0, "Write the result as JSON; - is standard output", 0},
	{"compare", KEY_COMPARE, NULL, 0, "Print two such results side by side, run nothing", 1},
	{0},
};

struct arguments {
	struct stress_options stress;
	const char *json_path;
	bool compare;
	char *files[2];
	unsigned int file_count;
};

static unsigned int parse_count(struct argp_state *state, const char *option, const char *text)
{
	char *end;
	unsigned long value;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || end == text || *end || value > 1000000000 || *text == '-')
		argp_error(state, "%s %s: not a number that makes sense", option, text);
	return (unsigned int)value;
}

static uint64_t parse_bytes(struct argp_state *state, const char *option, const char *text)
{
	struct samara_error err = {0};
	uint64_t bytes = 0;

	if (parse_size(text, option, &bytes, &err))
		argp_error(state, "%s", err.text);
	return bytes;
}

static uint64_t parse_seed(struct argp_state *state, const char *text)
{
	char *end;
	uint64_t seed;

	errno = 0;
	seed = strtoull(text, &end, 0);
	if (errno || end == text || *end || *text == '-')
		argp_error(state, "--seed %s: not a 64-bit number", text);
	return seed;
}

static error_t parse_option(int key, char *text, struct argp_state *state)
{
	struct arguments *arguments = state->input;
	struct stress_options *stress = &arguments->stress;
	struct samara_error err = {0};

	switch (key) {
	case 's':
		stress->seconds = parse_count(state, "--seconds", text);
		break;
	case 'c':
		stress->cpus = parse_count(state, "--cpus", text);
		break;
	case KEY_SLOTS:
		stress->slots = parse_count(state, "--slots", text);
		break;
	case KEY_SLOT_SIZE:
		stress->slot_bytes = parse_bytes(state, "--slot-size", text);
		break;
	case KEY_BACKING:
		if (!strcmp(text, "anon"))
			stress->backing = GUEST_MM_ANON;
		else if (!strcmp(text, "memfd"))
			stress->backing = GUEST_MM_MEMFD;
		else
			argp_error(state, "--backing %s: choose anon or memfd", text);
		break;
	case KEY_OPERATORS:
		stress->operators = parse_count(state, "--operators", text);
		break;
	case KEY_STRANGERS:
		stress->strangers = parse_count(state, "--strangers", text);
		break;
	case KEY_STRANGER_SIZE:
		stress->stranger_bytes = parse_bytes(state, "--stranger-size", text);
		break;
	case KEY_FAULT_AROUND:
		stress->fault_around_pages = parse_count(state, "--fault-around", text);
		break;
	case KEY_COPY_ONLY:
		stress->copy_only = true;
		break;
	case KEY_SEED:
		stress->seed = parse_seed(state, text);
		break;
	case KEY_JSON:
		arguments->json_path = text;
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
		if (!arguments->compare && stress_check_options(stress, &err))
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
