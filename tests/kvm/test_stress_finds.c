/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The stress guest finds what is broken. guest_mm_remap() is replaced here: with one that loses the
 * contents, one that copies while vCPUs go on writing, and one that says it failed. A definition in
 * the program itself comes before the one in libsamara-mm.a.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <samara/guest_mm.h>

#include "vmm/stress.h"

/* Enough for many moves, also where a vCPU takes a microsecond per instruction; longer on a busy machine. */
static const unsigned int seconds[] = {5, 20, 100};

#define NOTE_BYTES 512

typedef int remap_fn(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes, gpa_t new_gpa,
		     struct samara_error *err);

static remap_fn *broken_remap;

int guest_mm_remap(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes, gpa_t new_gpa,
		   struct samara_error *err)
{
	return broken_remap(mm, gpa, size_bytes, new_gpa, err);
}

static int remap_loses_contents(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes, gpa_t new_gpa,
				struct samara_error *err)
{
	int ret = guest_mm_plug(mm, new_gpa, size_bytes, GUEST_MM_RDWR, err);

	return ret ? ret : guest_mm_unplug(mm, gpa, size_bytes, err);
}

/* Nobody is kept from writing between the copy and the unplug. */
static int remap_copies_unprotected(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes,
				    gpa_t new_gpa, struct samara_error *err)
{
	int ret = guest_mm_plug(mm, new_gpa, size_bytes, GUEST_MM_RDWR, err);
	void *copy = malloc(size_bytes);

	if (!copy)
		return samara_error_set(err, -ENOMEM, "out of memory");
	if (!ret && (guest_mm_read(mm, gpa, copy, size_bytes) ||
		     guest_mm_write(mm, new_gpa, copy, size_bytes)))
		ret = samara_error_set(err, -EIO, "copying failed");
	free(copy);
	/* Long enough for a vCPU to come by. */
	usleep(5000);
	return ret ? ret : guest_mm_unplug(mm, gpa, size_bytes, err);
}

static int remap_fails(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes, gpa_t new_gpa,
		       struct samara_error *err)
{
	(void)mm;
	(void)size_bytes;
	(void)new_gpa;
	return samara_error_set(err, -ENOMEM, "remap %#llx: broken on purpose",
				(unsigned long long)gpa);
}

static void no_progress(const struct stress_progress *progress, void *arg)
{
	(void)progress;
	(void)arg;
}

static void keep_first_note(const char *line, void *arg)
{
	char *first = arg;

	if (!*first)
		snprintf(first, NOTE_BYTES, "%s", line);
}

/* Until it finds what @found looks for. */
static void run_with(remap_fn *remap, bool (*found)(const struct stress_result *result),
		     struct stress_result *result, char first[NOTE_BYTES])
{
	const struct stress_watcher watcher = {
		.progress = no_progress, .note = keep_first_note, .arg = first};
	static const volatile int no_interrupt;
	struct stress_options options;
	struct samara_error err = {0};

	if (access("/dev/kvm", R_OK | W_OK)) {
		print_message("# SKIP /dev/kvm: %s\n", strerror(errno));
		skip();
	}
	broken_remap = remap;
	stress_options_init(&options);
	options.seed = 1;
	options.strangers = 0;
	for (unsigned int i = 0; i < sizeof(seconds) / sizeof(*seconds); i++) {
		memset(first, 0, NOTE_BYTES);
		memset(result, 0, sizeof(*result));
		options.seconds = seconds[i];
		if (stress_run(&options, &watcher, &no_interrupt, result, &err))
			fail_msg("%s", err.text);
		print_message("# %s\n", first);
		if (found(result))
			break;
	}
	assert_true(found(result));
	assert_false(stress_passed(result));
}

static bool has_wrong_bytes(const struct stress_result *result)
{
	return result->integrity_errors > 0;
}

static bool has_lost_increments(const struct stress_result *result)
{
	return result->lost_increments > 0;
}

static bool has_failed_operations(const struct stress_result *result)
{
	return result->operation_errors > 0;
}

static void test_lost_contents(void **state)
{
	struct stress_result *result = test_calloc(1, sizeof(*result));
	char first[NOTE_BYTES];

	(void)state;
	run_with(remap_loses_contents, has_wrong_bytes, result, first);
	assert_non_null(strstr(first, "gpa 0x1"));
	test_free(result);
}

static void test_lost_increments(void **state)
{
	struct stress_result *result = test_calloc(1, sizeof(*result));
	char first[NOTE_BYTES];

	(void)state;
	run_with(remap_copies_unprotected, has_lost_increments, result, first);
	test_free(result);
}

static void test_failed_operation(void **state)
{
	struct stress_result *result = test_calloc(1, sizeof(*result));
	char first[NOTE_BYTES];

	(void)state;
	run_with(remap_fails, has_failed_operations, result, first);
	assert_non_null(strstr(first, "broken on purpose"));
	test_free(result);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lost_contents),
		cmocka_unit_test(test_lost_increments),
		cmocka_unit_test(test_failed_operation),
	};

	return cmocka_run_group_tests_name("stress finds errors", tests, NULL, NULL);
}
