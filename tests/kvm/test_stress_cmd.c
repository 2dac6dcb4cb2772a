/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The program samara itself, as people run it: faults on purpose, the live view on a terminal, what
 * it writes for machines; and that it finds each of the faults of mm/broken.h and devices/broken.h in
 * those programs that `make BREAK=...` builds beside it.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <pty.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#define OUTPUT_BYTES (1u << 20)
#define ARGUMENTS    32u
#define LIMIT_S      "400"

static char output[OUTPUT_BYTES];

/* This program is build/.../tests/kvm/NAME: samara is in build/..., broken ones in folders there. */
static void find_program(const char *folder, char path[PATH_MAX])
{
	char self[PATH_MAX] = {0};

	assert_true(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
	assert_true(snprintf(path, PATH_MAX, "%s/../../%ssamara", dirname(self), folder) <
		    PATH_MAX);
}

static void need(const char *path, int mode)
{
	if (access(path, mode)) {
		print_message("# SKIP %s: %s\n", path, strerror(errno));
		skip();
	}
}

/* What it writes, on a terminal or into a pipe; all of it in @output. Return: its exit status. */
static int run(const char *folder, bool terminal, const char *const *arguments)
{
	const struct winsize size = {.ws_row = 40, .ws_col = 100};
	const char *argv[ARGUMENTS] = {"timeout", "-k", "5", LIMIT_S};
	char path[PATH_MAX];
	unsigned int count = 4;
	size_t length = 0;
	int ends[2], status;
	ssize_t got;
	pid_t child;

	need("/dev/kvm", R_OK | W_OK);
	find_program(folder, path);
	need(path, X_OK);
	argv[count++] = path;
	argv[count++] = "stress";
	while (*arguments && count < ARGUMENTS - 1)
		argv[count++] = *arguments++;
	if (terminal) {
		child = forkpty(&ends[0], NULL, NULL, &size);
	} else {
		assert_int_equal(pipe(ends), 0);
		child = fork();
	}
	assert_true(child >= 0);
	if (!child) {
		if (!terminal) {
			dup2(ends[1], STDOUT_FILENO);
			dup2(ends[1], STDERR_FILENO);
			close(ends[0]);
			close(ends[1]);
		}
		execvp("timeout", (char *const *)argv);
		_exit(127);
	}
	if (!terminal)
		close(ends[1]);
	/* A terminal whose other side is closed gives EIO. */
	while (length < OUTPUT_BYTES - 1 &&
	       (got = read(ends[0], output + length, OUTPUT_BYTES - 1 - length)) > 0)
		length += (size_t)got;
	output[length] = 0;
	close(ends[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

#define RUN(folder, terminal, ...) \
	run(folder, terminal, (const char *const[]){"--seed", "7", __VA_ARGS__, NULL})

static void expect(const char *text)
{
	if (!strstr(output, text))
		fail_msg("no \"%s\" in:\n%.4000s", text, output);
}

/* How many calls were struck at a place, from the line "injected: PLACE n of m, ...". */
static unsigned long struck(const char *place)
{
	const char *line = strstr(output, "injected: "), *found;

	assert_non_null(line);
	found = strstr(line, place);
	assert_non_null(found);
	return strtoul(found + strlen(place), NULL, 10);
}

/* ---- Faults on purpose ----------------------------------------------------------------------- */

/* What may fail, how often, and with which work it is called at all. */
static const struct injection {
	const char *place, *odds, *backing, *mix;
} injections[] = {
	{"alloc", "20", "anon", NULL},
	{"uffd-copy", "20", "anon", NULL},
	{"uffd-zero", "20", "anon", NULL},
	{"uffd-move", "20", "anon", NULL},
	{"uffd-protect", "20", "anon", NULL},
	{"madvise", "20", "anon", NULL},
	{"fallocate", "20", "memfd", NULL},
	/* A call for each mapping that is made anew, and that is seldom. */
	{"mmap", "2", "anon", "plug=1,reback=2,unplug=1"},
	{"mremap", "2", "anon", "plug=1,reback=2,unplug=1"},
};

/* Run until something is struck, longer where the machine is busy. */
static void expect_struck(const struct injection *injection)
{
	static const char *const seconds[] = {"2", "10", "60"};
	const char *mix = injection->mix ? "--mix" : NULL;
	char rule[32];

	snprintf(rule, sizeof(rule), "%s:%s", injection->place, injection->odds);
	for (size_t i = 0; i < sizeof(seconds) / sizeof(*seconds); i++) {
		if (RUN("", false, "-s", seconds[i], "--stranger-size", "16M", "--inject", rule,
			"--backing", injection->backing, mix, injection->mix))
			fail_msg("%s: %.4000s", rule, output);
		expect("PASS");
		if (struck(injection->place))
			return;
	}
	fail_msg("%s: nothing was struck: %.4000s", rule, output);
}

static void test_inject_fails(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(injections) / sizeof(*injections); i++)
		expect_struck(&injections[i]);
}

/* All of them at once: what is tried again fails somewhere else. */
static void test_inject_all(void **state)
{
	(void)state;
	if (RUN("", false, "-s", "10", "--stranger-size", "16M", "--inject", "all:50"))
		fail_msg("%.4000s", output);
	expect("PASS");
	/* Each has its own count, and those that are called most have some. */
	for (size_t i = 0; i < sizeof(injections) / sizeof(*injections); i++)
		struck(injections[i].place);
	assert_true(struck("alloc") > 0);
	assert_true(struck("uffd-copy") > 0);
	assert_true(struck("madvise") > 0);
}

static void test_inject_delays(void **state)
{
	(void)state;
	assert_int_equal(RUN("", false, "-s", "5", "--stranger-size", "16M", "--inject",
			     "uffd-copy:20:3ms", "--inject", "uffd-wake:50:1ms"),
			 0);
	expect("PASS");
	assert_true(struck("uffd-copy") > 0);
	assert_true(struck("uffd-wake") > 0);
}

/* The guest leaves KVM_RUN each round, so that there is something to strike; few rounds will do. */
static void test_inject_kvm_run(void **state)
{
	(void)state;
	assert_int_equal(RUN("", false, "-s", "2", "--strangers", "0", "--inject", "kvm-run:3"), 0);
	expect("PASS");
	assert_true(struck("kvm-run") > 0);
	assert_int_equal(RUN("", false, "-s", "2", "--strangers", "0", "--inject", "kvm-run:3:1ms"),
			 0);
	expect("PASS");
	assert_true(struck("kvm-run") > 0);
}

static void test_inject_setup(void **state)
{
	(void)state;
	assert_int_equal(RUN("", false, "-s", "1", "--inject", "kvm-setup:1"), 1);
	expect("samara stress: KVM_CREATE_VM: Cannot allocate memory");
}

static void test_nothing_is_struck_unasked(void **state)
{
	(void)state;
	assert_int_equal(RUN("", false, "-s", "1", "--strangers", "0"), 0);
	assert_null(strstr(output, "injected"));
}

/* ---- For people and machines ----------------------------------------------------------------- */

static void test_live_view(void **state)
{
	(void)state;
	assert_int_equal(RUN("", true, "-s", "4", "--stranger-size", "16M"), 0);
	expect("of 4 s, 2 vCPUs, seed 7: 0 errors");
	expect("operations");
	expect("\ndevices    |");
	expect("\nslots      |");
	expect("\nstrangers  |");
	/* Drawn again over itself, and gone at the end. */
	expect("\033[13A\033[J");
	expect("PASS");
	assert_int_equal(RUN("", true, "-s", "1", "--strangers", "0", "--no-live"), 0);
	assert_null(strstr(output, "\nslots      |"));
	assert_int_equal(RUN("", false, "-s", "1", "--strangers", "0"), 0);
	assert_null(strstr(output, "\033["));
}

static void test_csv(void **state)
{
	unsigned int lines = 0, commas = 0;

	(void)state;
	assert_int_equal(RUN("", false, "-s", "3", "--strangers", "0", "--csv", "-"), 0);
	expect("seconds,operations,faults,errors,");
	for (const char *line = strstr(output, "seconds,"); line && line[0] != 'l';
	     line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
		unsigned int n = 0;

		for (const char *c = line; *c && *c != '\n'; c++)
			n += *c == ',';
		if (!n || (commas && n != commas))
			continue;
		commas = n;
		lines++;
	}
	assert_int_equal(commas, 18);
	/* The names, and a line at each full second; of those a busy machine may leave some out. */
	assert_in_range(lines, 2, 60);
}

static void test_json(void **state)
{
	char path[] = "/tmp/samara-test-XXXXXX";
	json_t *root, *fault;

	(void)state;
	close(mkstemp(path));
	assert_int_equal(RUN("", false, "-s", "1", "--strangers", "0", "--pattern", "zipf:1.2",
			     "--json", path),
			 0);
	root = json_load_file(path, 0, NULL);
	unlink(path);
	assert_non_null(root);
	assert_string_equal(json_string_value(json_object_get(root, "pattern")), "zipf");
	assert_int_equal(json_array_size(json_object_get(root, "errors")), 0);
	fault = json_object_get(root, "fault_ns");
	assert_true(json_array_size(json_object_get(fault, "buckets")) > 0);
	assert_true(json_is_integer(json_object_get(fault, "p9999")));
	json_decref(root);
}

/* ---- Broken on purpose ----------------------------------------------------------------------- */

/* With the workload of share/stress/devices.json. */
static void expect_found(const char *folder)
{
	int status =
		RUN(folder, false, "-s", "50", "--stop-on-error", "--cpus", "1", "--slots", "1",
		    "--slot-size", "64K", "--strangers", "0", "--devices", "2", "--device-pages",
		    "1", "--device-hold", "50", "--device-rest", "0", "--mix", "remap-device=1");

	assert_int_equal(status, 1);
	expect("FAIL");
	/* The place, and what was done there. */
	expect("error 1: what a device wrote at gpa 0x");
	expect("(what devices do DMA to), seen by host: expected 0x");
	expect("    remap 0x");
}

static void test_finds_drain(void **state)
{
	(void)state;
	expect_found("broken-drain/");
}

static void test_finds_lock(void **state)
{
	(void)state;
	expect_found("broken-lock/");
}

static void test_finds_barrier(void **state)
{
	(void)state;
	expect_found("broken-barrier/");
}

/* What a device has taken and the guest finds all the same. */
static void expect_found_at(const char *folder, const char *mix, const char *error,
			    const char *place)
{
	int status = RUN(folder, false, "-s", "50", "--stop-on-error", "--strangers", "0",
			 "--devices", "0", "--mix", mix);

	assert_int_equal(status, 1);
	expect("FAIL");
	expect(error);
	expect(place);
	expect("seen by vCPU ");
}

static void test_finds_discard(void **state)
{
	(void)state;
	/* As it is looked at, or as it comes again. */
	expect_found_at("broken-discard/", "dimm=1", ", found 0x", "(a DIMM)");
	expect("    dimm 0x");
	expect_found_at("broken-discard/", "virtio-mem=1",
			": a read of what is not plugged at gpa 0x", "(a block of virtio-mem)");
}

static void test_finds_virtio_mem(void **state)
{
	(void)state;
	expect_found_at("broken-virtio-mem/", "virtio-mem=1",
			": a read of what is not plugged at gpa 0x", "(a block of virtio-mem)");
	expect("    virtio-mem 0x");
}

static void test_finds_balloon(void **state)
{
	(void)state;
	expect_found_at("broken-balloon/", "balloon=1",
			": a page in the balloon was not zero at gpa 0x", "(the balloon's memory)");
	expect("    balloon 0x");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_inject_fails),
		cmocka_unit_test(test_inject_all),
		cmocka_unit_test(test_inject_delays),
		cmocka_unit_test(test_inject_kvm_run),
		cmocka_unit_test(test_inject_setup),
		cmocka_unit_test(test_nothing_is_struck_unasked),
		cmocka_unit_test(test_live_view),
		cmocka_unit_test(test_csv),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_finds_drain),
		cmocka_unit_test(test_finds_lock),
		cmocka_unit_test(test_finds_barrier),
		cmocka_unit_test(test_finds_discard),
		cmocka_unit_test(test_finds_virtio_mem),
		cmocka_unit_test(test_finds_balloon),
	};

	return cmocka_run_group_tests_name("samara stress", tests, NULL, NULL);
}
