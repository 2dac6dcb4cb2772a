/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * samara doctor: the verdicts follow from what was seen, and what it says of this host agrees with
 * itself and with what can be seen from here.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include <jansson.h>

#include "vmm/commands.h"
#include "vmm/doctor.h"

/* ---- Verdicts -------------------------------------------------------------------------------- */

static void verdicts_follow(void **state)
{
	static const struct {
		enum doctor_virtualization virtualization;
		bool kvm, uffd, faults, instructions, lab;
		enum doctor_way stock, stress;
	} cases[] = {
		{DOCTOR_HARDWARE, 1, 1, 1, 1, 0, DOCTOR_DIRECT, DOCTOR_DIRECT},
		{DOCTOR_HARDWARE, 1, 1, 1, 0, 1, DOCTOR_LAB, DOCTOR_DIRECT},
		{DOCTOR_EMULATED, 1, 1, 1, 1, 1, DOCTOR_LAB, DOCTOR_DIRECT},
		{DOCTOR_EMULATED, 1, 1, 1, 0, 0, DOCTOR_NO, DOCTOR_DIRECT},
		{DOCTOR_HARDWARE, 0, 1, 1, 1, 1, DOCTOR_LAB, DOCTOR_LAB},
		{DOCTOR_HARDWARE, 1, 0, 1, 1, 1, DOCTOR_LAB, DOCTOR_LAB},
		{DOCTOR_HARDWARE, 1, 1, 0, 1, 0, DOCTOR_NO, DOCTOR_NO},
		{DOCTOR_NONE, 1, 1, 1, 1, 1, DOCTOR_LAB, DOCTOR_LAB},
		{DOCTOR_NONE, 0, 0, 0, 0, 0, DOCTOR_NO, DOCTOR_NO},
	};
	unsigned int i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct doctor_report report = {
			.virtualization = cases[i].virtualization,
			.kvm_usable = cases[i].kvm,
			.uffd_usable = cases[i].uffd,
			.faults_served = cases[i].faults,
			.instructions_run = cases[i].instructions,
			.lab_usable = cases[i].lab,
		};

		doctor_conclude(&report);
		assert_int_equal(report.stock_kernel, cases[i].stock);
		assert_int_equal(report.stress, cases[i].stress);
	}
}

static void items_keep_what_they_were_told(void **state)
{
	struct doctor_report report = {0};
	int i;

	(void)state;
	for (i = 0; i < 200; i++)
		doctor_add(&report, "thing", i % 2 ? DOCTOR_MISSING : DOCTOR_OK, "use", "do it",
			   "number %d", i);
	assert_int_equal(report.count, 200);
	assert_string_equal(report.items[137].found, "number 137");
	assert_string_equal(report.items[137].fix, "do it");
	assert_null(report.items[136].fix); /* what is well needs no advice */
	doctor_free(&report);
}

/* ---- The command, as a program of its own ---------------------------------------------------- */

struct run {
	int status;
	char *output;
};

/* Run cmd_doctor() in a child, as @uid if that is not 0, and take what it prints. */
static void run_doctor(struct run *run, const char *argument, uid_t uid, const char *columns)
{
	char *argv[] = {"samara doctor", (char *)argument, NULL};
	size_t used = 0, capacity = 1 << 20;
	int fds[2], status;
	ssize_t got;
	pid_t child;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	fflush(NULL);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		dup2(fds[1], 1);
		dup2(fds[1], 2);
		if (columns)
			setenv("COLUMNS", columns, 1);
		if (uid && (setgid(uid) || setuid(uid)))
			_exit(99);
		status = cmd_doctor(argument ? 2 : 1, argv);
		fflush(NULL);
		_exit(status);
	}
	close(fds[1]);
	run->output = malloc(capacity);
	while ((got = read(fds[0], run->output + used, capacity - used - 1)) > 0)
		used += (size_t)got;
	run->output[used] = '\0';
	close(fds[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	run->status = WEXITSTATUS(status);
}

static const char *text_of(const json_t *json, const char *key)
{
	const char *text = json_string_value(json_object_get(json, key));

	return text ? text : "";
}

static const json_t *item(const json_t *report, const char *name)
{
	const json_t *value;
	size_t i;

	json_array_foreach(json_object_get(report, "items"), i,
			   value) if (!strcmp(text_of(value, "name"), name)) return value;
	return NULL;
}

static bool is_ok(const json_t *report, const char *name)
{
	const json_t *value = item(report, name);

	return value && !strcmp(text_of(value, "status"), "ok");
}

static json_t *examine(uid_t uid, int *status)
{
	struct run run;
	json_t *report;

	run_doctor(&run, "--json", uid, NULL);
	report = json_loads(run.output, JSON_REJECT_DUPLICATES, NULL);
	if (!report)
		fail_msg("not JSON: %s", run.output);
	free(run.output);
	*status = run.status;
	return report;
}

/* What must hold of any report. */
static void check_agreement(const json_t *report, int status)
{
	const char *virtualization = text_of(report, "virtualization");
	const char *stock = text_of(report, "stock_kernel"), *stress = text_of(report, "stress");
	const json_t *value, *other;
	size_t i, j;

	assert_int_equal(status, strcmp(stock, "no") || strcmp(stress, "no") ? 0 : 1);
	if (!strcmp(stock, "direct")) {
		assert_string_equal(virtualization, "hardware");
		assert_string_equal(stress, "direct");
	}
	if (!strcmp(stress, "direct")) {
		assert_true(is_ok(report, "kvm-device"));
		assert_true(is_ok(report, "kvm-needs"));
		assert_true(is_ok(report, "uffd-permission"));
		assert_true(is_ok(report, "fault-userfaultfd"));
	}
	if (!strcmp(stock, "lab") || !strcmp(stress, "lab"))
		assert_true(is_ok(report, "lab"));
	assert_int_equal(!strcmp(virtualization, "hardware"), is_ok(report, "virtualization"));
	json_array_foreach(json_object_get(report, "items"), i, value)
	{
		assert_true(*text_of(value, "name") && *text_of(value, "found") &&
			    *text_of(value, "meaning"));
		assert_non_null(strstr("ok limited missing", text_of(value, "status")));
		json_array_foreach(json_object_get(report, "items"), j, other) if (i != j)
			assert_string_not_equal(text_of(value, "name"), text_of(other, "name"));
	}
}

static void this_hosts_report_agrees_with_itself(void **state)
{
	int status, kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	json_t *report = examine(0, &status);

	(void)state;
	check_agreement(report, status);
	assert_int_equal(is_ok(report, "kvm-device"), kvm >= 0);
	if (kvm >= 0) {
		assert_non_null(item(report, "instruction-cmpxchg16b"));
		assert_non_null(item(report, "fault-exit"));
		close(kvm);
	}
	json_decref(report);
}

/* A user who may open nothing gets a report with reasons, and no crash. */
static void a_user_without_permission_is_told(void **state)
{
	const uid_t nobody = 65534;
	struct stat node;
	json_t *report;
	int status;

	(void)state;
	if (geteuid()) {
		print_message("# SKIP only root can become another user\n");
		skip();
	}
	report = examine(nobody, &status);
	check_agreement(report, status);
	if (!is_ok(report, "kvm-device")) {
		const char *fix = text_of(item(report, "kvm-device"), "fix");

		/* A group helps only where the node lets one in. */
		assert_true(*fix);
		if (!stat("/dev/kvm", &node) && !(node.st_mode & 0060))
			assert_null(strstr(fix, "usermod"));
		assert_string_equal(text_of(report, "virtualization"), "none");
		assert_string_not_equal(text_of(report, "stress"), "direct");
	}
	json_decref(report);
}

/* Bytes that begin a character: what a column counts. */
static size_t line_width(const char *line, size_t length)
{
	size_t i, width = 0;

	for (i = 0; i < length; i++)
		width += (line[i] & 0xc0) != 0x80;
	return width;
}

static void check_width(const char *columns, size_t limit)
{
	struct run run;
	const char *line;

	run_doctor(&run, NULL, 0, columns);
	assert_non_null(strstr(run.output, "virtualization"));
	assert_non_null(strstr(run.output, "make demo: "));
	assert_non_null(strstr(run.output, "make check: "));
	for (line = run.output; *line; line += strcspn(line, "\n") + 1) {
		size_t length = strcspn(line, "\n");

		if (line_width(line, length) > limit)
			fail_msg("over %zu columns: %.*s", limit, (int)length, line);
	}
	free(run.output);
}

static void text_fits_the_terminal(void **state)
{
	(void)state;
	check_width("200", 100);
	check_width("80", 80);
	check_width("72", 72);
}

static void unknown_arguments_are_refused(void **state)
{
	struct run run;

	(void)state;
	run_doctor(&run, "--help", 0, NULL);
	assert_int_equal(run.status, 0);
	free(run.output);
	run_doctor(&run, "--yaml", 0, NULL);
	assert_int_equal(run.status, SAMARA_EXIT_USAGE);
	assert_string_equal(run.output,
			    "samara doctor: unknown argument '--yaml' (--json is the only "
			    "option)\n");
	free(run.output);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(verdicts_follow),
		cmocka_unit_test(items_keep_what_they_were_told),
		cmocka_unit_test(this_hosts_report_agrees_with_itself),
		cmocka_unit_test(a_user_without_permission_is_told),
		cmocka_unit_test(text_fits_the_terminal),
		cmocka_unit_test(unknown_arguments_are_refused),
	};

	return cmocka_run_group_tests_name("doctor", tests, NULL, NULL);
}
