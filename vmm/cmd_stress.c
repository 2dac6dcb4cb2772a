/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/commands.h"
#include "vmm/stress_display.h"

/* By convention of shells: 128 and the number of SIGINT. */
#define EXIT_INTERRUPTED 130

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
		 "remap-live, remap-device, protect-live, balloon, virtio-mem, dimm; a Linux guest "
		 "has reback, populate, refused, protect-live and the last three"),
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
	WORKLOAD(18, "guest", "own|linux",
		 "Who runs in the VM: samara's own guest, or a Linux kernel with an agent (own)"),
	WORKLOAD(19, "kernel", "FILE", "Linux guest: its kernel, bzImage or ELF"),
	WORKLOAD(20, "modules", "DIR",
		 "Linux guest: where its virtio modules are, as /lib/modules/RELEASE"),
	WORKLOAD(21, "guest-memory", "SIZE", "Linux guest: memory at start (512M)"),
	WORKLOAD(22, "device-memory", "SIZE",
		 "Linux guest: what virtio-mem, and DIMMs, can add (256M each)"),
	WORKLOAD(25, "each", "N",
		 "Linux guest: go on until each operation of the mix was done so often (0)"),
	WORKLOAD(23, "console", "FILE", "Linux guest: keep what it prints"),
	WORKLOAD(24, "append", "TEXT", "Linux guest: more for its command line"),
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

/* By a signal, or since there was an error. */
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

/* Find out what would be in the way of telling what came of it. */
static int prepare(struct stress_display *display, const struct arguments *arguments, bool taken,
		   struct stress_watcher *watcher, struct samara_error *err)
{
	if (is_stdout(arguments->json_path) && is_stdout(arguments->csv_path))
		return samara_error_set(err, -EINVAL,
					"--json, --csv: only one of them to standard output");
	if (arguments->json_path && !is_stdout(arguments->json_path) &&
	    try_result_file("--json", arguments->json_path, err))
		return err->code;
	display->options = &arguments->stress;
	display->stop_on_error = arguments->stop_on_error;
	display->interrupt = &interrupted;
	return stress_display_begin(display, arguments->csv_path, !arguments->no_live && !taken,
				    watcher, err);
}

static int run(const struct arguments *arguments)
{
	bool taken = is_stdout(arguments->json_path) || is_stdout(arguments->csv_path);
	struct stress_display *display = calloc(1, sizeof(*display));
	struct stress_result *result = malloc(sizeof(*result));
	struct stress_watcher watcher;
	struct samara_error err = {0};
	int ret, end;

	if (!result || !display)
		ret = samara_error_set(&err, -ENOMEM, "out of memory");
	else
		ret = prepare(display, arguments, taken, &watcher, &err);
	if (ret) {
		ret = fail(&err);
		goto out;
	}
	catch_signals();
	ret = stress_run(&arguments->stress, &watcher, &interrupted, result, &err);
	end = stress_display_end(display, arguments->csv_path, ret ? NULL : &err);
	ret = ret ? ret : end;
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
