/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Short runs of the stress guest on /dev/kvm: each way of backing and moving memory, one vCPU and
 * more of them than the host has CPUs, slots of one page.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmm/stress.h"

static void no_progress(const struct stress_progress *progress, void *arg)
{
	(void)progress;
	(void)arg;
}

static void print_note(const char *line, void *arg)
{
	(void)arg;
	print_message("# %s\n", line);
}

static const struct stress_watcher watcher = {.progress = no_progress, .note = print_note};
static const volatile int no_interrupt;

/* Ends the run when there were enough answers: nothing else is counted where devices are alone. */
#define ANSWERS 5u

static volatile int enough;

static void count_answers(const struct stress_progress *progress, void *arg)
{
	(void)arg;
	enough = progress->operations >= ANSWERS;
}

static const struct stress_watcher device_watcher = {.progress = count_answers, .note = print_note};

static void need_kvm(void)
{
	if (access("/dev/kvm", R_OK | W_OK)) {
		print_message("# SKIP /dev/kvm: %s\n", strerror(errno));
		skip();
	}
}

static struct stress_options some_options(void)
{
	struct stress_options options;

	stress_options_init(&options);
	options.seconds = 2;
	options.seed = 42;
	options.stranger_bytes = UINT64_C(32) << 20;
	return options;
}

static bool did_all(const struct stress_result *result)
{
	return result->operations[STRESS_OP_PLUG] && result->operations[STRESS_OP_REMAP] &&
	       result->operations[STRESS_OP_PROTECT] && result->visits && result->increments &&
	       result->checked_by_guest_bytes && result->dma && result->fault_cycles.count;
}

/* Run, and expect that it did something of each kind (on a busy machine, after a while) and found
 * nothing wrong. */
static void run_and_pass(const struct stress_options *given)
{
	struct stress_result *result = test_calloc(1, sizeof(*result));
	struct stress_options options = *given;
	struct samara_error err = {0};

	need_kvm();
	for (options.seconds = given->seconds; options.seconds <= 100; options.seconds *= 5) {
		memset(result, 0, sizeof(*result));
		if (stress_run(&options, &watcher, &no_interrupt, result, &err))
			fail_msg("%s", err.text);
		if (!stress_passed(result))
			stress_print(result, stderr, NULL);
		assert_true(stress_passed(result));
		assert_true(result->tsc_hz > 1e6);
		if (did_all(result))
			break;
	}
	assert_true(did_all(result));
	test_free(result);
}

static void test_default(void **state)
{
	struct stress_options options = some_options();

	(void)state;
	run_and_pass(&options);
}

static void test_memfd(void **state)
{
	struct stress_options options = some_options();

	(void)state;
	options.backing = GUEST_MM_MEMFD;
	run_and_pass(&options);
}

static void test_copy_only(void **state)
{
	struct stress_options options = some_options();

	(void)state;
	options.copy_only = true;
	run_and_pass(&options);
}

static void test_many_cpus(void **state)
{
	struct stress_options options = some_options();

	(void)state;
	options.cpus = 8;
	options.operators = 3;
	run_and_pass(&options);
}

static void test_small_slots(void **state)
{
	struct stress_options options = some_options();

	(void)state;
	options.cpus = 1;
	options.slots = 3;
	options.slot_bytes = options.slot_min_bytes = SAMARA_PAGE_BYTES;
	options.strangers = 0;
	options.fault_around_pages = 1;
	run_and_pass(&options);
}

static void test_patterns(void **state)
{
	(void)state;
	for (unsigned int pattern = 0; pattern < STRESS_PATTERNS; pattern++) {
		struct stress_options options = some_options();

		options.pattern = pattern;
		options.slot_min_bytes = SAMARA_PAGE_BYTES;
		options.slots = 7;
		options.cpus = 3;
		options.devices = 2;
		run_and_pass(&options);
	}
}

/* Each kind of device alone, until the guest has answered a few times, however long that takes. */
static void run_device(enum stress_mix mix, enum stress_op op)
{
	struct stress_options options = some_options();
	struct stress_result *result = test_calloc(1, sizeof(*result));
	struct samara_error err = {0};

	need_kvm();
	memset(options.weight, 0, sizeof(options.weight));
	options.weight[mix] = 1;
	options.slots = 1;
	options.strangers = options.devices = 0;
	options.seconds = 100;
	enough = 0;
	if (stress_run(&options, &device_watcher, &enough, result, &err))
		fail_msg("%s", err.text);
	if (!stress_passed(result))
		stress_print(result, stderr, NULL);
	assert_true(stress_passed(result));
	assert_true(result->operations[op] >= ANSWERS);
	assert_true(result->operation_ns[op].count >= ANSWERS);
	assert_true(result->checked_by_guest_bytes > 0);
	test_free(result);
}

static void test_virtio_mem(void **state)
{
	(void)state;
	run_device(STRESS_MIX_VIRTIO_MEM, STRESS_OP_VIRTIO_MEM);
}

static void test_balloon(void **state)
{
	(void)state;
	run_device(STRESS_MIX_BALLOON, STRESS_OP_BALLOON);
}

static void test_dimm(void **state)
{
	(void)state;
	run_device(STRESS_MIX_DIMM, STRESS_OP_DIMM);
}

static void test_rate(void **state)
{
	struct stress_options options = some_options();
	struct stress_result *result = test_calloc(1, sizeof(*result));
	struct samara_error err = {0};
	uint64_t total = 0;

	(void)state;
	need_kvm();
	options.rate = 50;
	options.strangers = 0;
	if (stress_run(&options, &watcher, &no_interrupt, result, &err))
		fail_msg("%s", err.text);
	for (unsigned int op = 0; op < STRESS_OPS; op++)
		total += result->operations[op];
	/* A step is at most four operations, of three pieces at most; a busy machine makes fewer steps. */
	assert_in_range(total, 1, 50 * (uint64_t)(result->seconds + 1) * 12);
	test_free(result);
}

static void test_interrupted(void **state)
{
	struct stress_options options = some_options();
	struct stress_result *result = test_calloc(1, sizeof(*result));
	struct samara_error err = {0};
	volatile int interrupt = 1;

	(void)state;
	need_kvm();
	options.seconds = 100000;
	if (stress_run(&options, &watcher, &interrupt, result, &err))
		fail_msg("%s", err.text);
	assert_true(result->interrupted);
	assert_true(stress_passed(result));
	test_free(result);
}

static void expect_refused(const struct stress_options *options, const char *name)
{
	struct stress_result *result = test_calloc(1, sizeof(*result));
	struct samara_error err = {0};

	assert_true(stress_run(options, &watcher, &no_interrupt, result, &err) < 0);
	assert_non_null(strstr(err.text, name));
	test_free(result);
}

static void test_bad_options(void **state)
{
	struct stress_options options = some_options();

	(void)state;
	options.operators = 0;
	expect_refused(&options, "--operators");
	options = some_options();
	options.strangers = 1000;
	expect_refused(&options, "--strangers");
	options = some_options();
	options.slot_min_bytes = options.slot_bytes + SAMARA_PAGE_BYTES;
	expect_refused(&options, "--slot-size");
	options = some_options();
	memset(options.weight, 0, sizeof(options.weight));
	expect_refused(&options, "--mix");
	options = some_options();
	options.fault_around_pages = 3;
	expect_refused(&options, "--fault-around");
	options = some_options();
	options.cpus = 0;
	expect_refused(&options, "--cpus");
	options = some_options();
	options.seconds = 0;
	expect_refused(&options, "--seconds");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_default),     cmocka_unit_test(test_memfd),
		cmocka_unit_test(test_copy_only),   cmocka_unit_test(test_many_cpus),
		cmocka_unit_test(test_small_slots), cmocka_unit_test(test_patterns),
		cmocka_unit_test(test_virtio_mem),  cmocka_unit_test(test_balloon),
		cmocka_unit_test(test_dimm),        cmocka_unit_test(test_rate),
		cmocka_unit_test(test_interrupted), cmocka_unit_test(test_bad_options),
	};

	return cmocka_run_group_tests_name("stress on KVM", tests, NULL, NULL);
}
