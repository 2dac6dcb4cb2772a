/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/commands.h"
#include "vmm/stress_span.h"

/* By convention of shells: 128 and the number of SIGINT. */
#define EXIT_INTERRUPTED 130

/* How often a line is written where there is no terminal, in seconds. */
#define LOG_SECONDS      10

/* How often the live view is drawn. */
#define LIVE_SECONDS     0.4

/* What a workload file may hold as well: option n has the key KEY_WORKLOAD + n. */
#define KEY_WORKLOAD     0x200

enum {
	KEY_FILE = 0x100,
	KEY_JSON,
	KEY_CSV,
	KEY_NO_LIVE,
	KEY_STOP,
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
		 "remap-live, remap-device, protect-live, balloon, virtio-mem, dimm"),
	WORKLOAD(6, "rate", "N", "Steps per second of all of them (0: all they can)"),
	WORKLOAD(7, "pattern", "KIND",
		 "Which slots are used and changed: sequential, random, zipf[:EXPONENT], one (they "
		 "make one region), own (each a region, each vCPU its own) (random)"),
	WORKLOAD(8, "strangers", "N",
		 "Threads that do long operations on memory that nobody uses (1)"),
	WORKLOAD(9, "stranger-size", "SIZE", "Size of that memory (256M)"),
	WORKLOAD(10, "devices", "N", "Threads that do DMA to memory that moves (1)"),
	WORKLOAD(17, "device-pages", "N", "Pages that they pin at once, at most (16)"),
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
	{"stop-on-error", KEY_STOP, NULL, 0, "End when the first error is found", 3},
	{"compare", KEY_COMPARE, NULL, 0, "Print two such results side by side, run nothing", 4},
	{0},
};

struct arguments {
	struct stress_options stress;
	const char *json_path, *csv_path;
	bool compare, no_live, stop_on_error;
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
	case KEY_STOP:
		arguments->stop_on_error = true;
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
 * struct display - what a person sees meanwhile, and what goes into the CSV file
 *
 * Lock: @lock guards standard output and @lines; others are the main thread's.
 * @lines: of the live view, above the cursor
 */
struct display {
	const struct stress_options *options;
	bool terminal; /* standard error is one */
	bool live, stop_on_error;
	pthread_mutex_t lock;
	unsigned int lines;
	double next, csv_next; /* seconds */
	struct stress_progress last;
	struct stress_span live_span, csv_span;
	FILE *csv;
	bool csv_failed;
};

/* By a signal, or since there was an error. */
static volatile int interrupted;

static unsigned int terminal_columns(void)
{
	struct winsize size;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) || !size.ws_col)
		return 80;
	return size.ws_col;
}

/* To the first line of the view, and nothing from there on: ECMA-48, CUU and ED. */
static void erase_live(struct display *display)
{
	if (display->lines)
		printf("\r\033[%uA\033[J", display->lines);
	display->lines = 0;
	fflush(stdout);
}

static void show_live(struct display *display, const struct stress_progress *now)
{
	stress_span_next(&display->live_span, now);
	pthread_mutex_lock(&display->lock);
	erase_live(display);
	display->lines = stress_live_draw(stdout, &display->live_span, now, display->options);
	fflush(stdout);
	pthread_mutex_unlock(&display->lock);
}

static void show_line(struct display *display, const struct stress_progress *now)
{
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

static void show_progress(const struct stress_progress *now, void *arg)
{
	struct display *display = arg;

	if (display->csv && now->operation_ns && now->seconds >= display->csv_next) {
		stress_span_next(&display->csv_span, now);
		display->csv_failed |= stress_csv_line(display->csv, &display->csv_span, now) != 0;
		display->csv_next = now->seconds + 0.95;
	}
	if (display->stop_on_error && now->errors)
		interrupted = 1;
	if (!display->live)
		show_line(display, now);
	else if (now->map)
		show_live(display, now);
}

static void show_note(const char *line, void *arg)
{
	struct display *display = arg;

	pthread_mutex_lock(&display->lock);
	erase_live(display);
	fprintf(stderr, "%ssamara stress: %s\n",
		display->terminal && !display->live ? "\r\033[K" : "", line);
	pthread_mutex_unlock(&display->lock);
}

/* ---- The command ----------------------------------------------------------------------------- */

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

static int path_error(const char *option, const char *path, struct samara_error *err)
{
	return samara_error_set(err, -errno, "%s %s: %s", option, path, strerror(errno));
}

/*
 * Find out before the run whether its result can be written after it. A file that is there keeps
 * what it holds until then; one that is not is not left behind, should the run be killed.
 */
static int try_result_file(const char *option, const char *path, struct samara_error *err)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	struct stat node;

	if (fd >= 0) {
		close(fd);
		return unlink(path) ? path_error(option, path, err) : 0;
	}
	if (errno != EEXIST)
		return path_error(option, path, err);
	/* A FIFO's reader would take the close for the end. */
	if (!stat(path, &node) && S_ISFIFO(node.st_mode))
		return access(path, W_OK) ? path_error(option, path, err) : 0;
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return path_error(option, path, err);
	close(fd);
	return 0;
}

static int write_result(const struct stress_result *result, const char *path,
			struct samara_error *err)
{
	const char *option = "--json";
	FILE *out;
	int ret;

	if (!strcmp(path, "-"))
		return stress_write_json(result, stdout, err);
	out = fopen(path, "we");
	if (!out)
		return path_error(option, path, err);
	ret = stress_write_json(result, out, err);
	if (fclose(out) && !ret)
		ret = path_error(option, path, err);
	return ret;
}

static bool is_stdout(const char *path)
{
	return path && !strcmp(path, "-");
}

static int open_csv(struct display *display, const char *path, struct samara_error *err)
{
	if (!path)
		return 0;
	display->csv = is_stdout(path) ? stdout : fopen(path, "we");
	if (!display->csv || stress_csv_head(display->csv))
		return path_error("--csv", path, err);
	return 0;
}

static int close_csv(struct display *display, const char *path, struct samara_error *err)
{
	FILE *csv = display->csv;

	display->csv = NULL;
	if (csv && csv != stdout && fclose(csv))
		return path_error("--csv", path, err);
	if (display->csv_failed)
		return samara_error_set(err, -EIO, "--csv %s: it could not be written", path);
	return 0;
}

static int prepare(struct display *display, const struct arguments *arguments,
		   struct stress_watcher *watcher, struct samara_error *err)
{
	bool taken = is_stdout(arguments->json_path) || is_stdout(arguments->csv_path);

	if (is_stdout(arguments->json_path) && is_stdout(arguments->csv_path))
		return samara_error_set(err, -EINVAL,
					"--json, --csv: only one of them to standard output");
	pthread_mutex_init(&display->lock, NULL);
	display->options = &arguments->stress;
	display->stop_on_error = arguments->stop_on_error;
	display->terminal = isatty(STDERR_FILENO);
	display->live = isatty(STDOUT_FILENO) && !arguments->no_live && !taken;
	display->next = (display->terminal ? 1 : LOG_SECONDS) - 0.05;
	display->csv_next = 0.95;
	*watcher = (struct stress_watcher){
		.progress = show_progress,
		.note = show_note,
		.arg = display,
		.interval_s = display->live         ? LIVE_SECONDS
			      : arguments->csv_path ? 1
						    : 0,
		.map_cells = display->live ? stress_live_cells(terminal_columns()) : 0,
	};
	if (arguments->json_path && !is_stdout(arguments->json_path) &&
	    try_result_file("--json", arguments->json_path, err))
		return err->code;
	return open_csv(display, arguments->csv_path, err);
}

static int run(const struct arguments *arguments)
{
	bool taken = is_stdout(arguments->json_path) || is_stdout(arguments->csv_path);
	struct display *display = calloc(1, sizeof(*display));
	struct stress_result *result = malloc(sizeof(*result));
	struct stress_watcher watcher;
	struct samara_error err = {0};
	int ret;

	if (!result || !display)
		ret = samara_error_set(&err, -ENOMEM, "out of memory");
	else
		ret = prepare(display, arguments, &watcher, &err);
	if (ret) {
		ret = fail(&err);
		goto out;
	}
	catch_signals();
	ret = stress_run(&arguments->stress, &watcher, &interrupted, result, &err);
	erase_live(display);
	if (display->terminal && !display->live)
		fputs("\r\033[K", stderr);
	if (!ret)
		ret = close_csv(display, arguments->csv_path, &err);
	if (!ret)
		ret = stress_print(result, taken ? stderr : stdout, &err);
	if (!ret && arguments->json_path)
		ret = write_result(result, arguments->json_path, &err);
	if (ret)
		ret = fail(&err);
	else if (!stress_passed(result))
		ret = SAMARA_EXIT_FAILURE;
	else if (result->interrupted)
		ret = EXIT_INTERRUPTED;
out:
	free(result);
	free(display);
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
