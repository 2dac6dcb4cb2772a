/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "vmm/stress_layout.h"
#include "vmm/virtio_slots.h"
#include "vmm/stress_log.h"
#include "vmm/stress_rng.h"
#include "vmm/stress_span.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

/* ---- Histograms ------------------------------------------------------------------------------ */

static void test_buckets_hold_their_values(void **state)
{
	struct stress_rng rng = {1};

	(void)state;
	for (int i = 0; i < 100000; i++) {
		uint64_t value = stress_random(&rng) >> stress_below(&rng, 64);
		uint32_t bucket = stress_bucket(value);

		assert_true(bucket < STRESS_BUCKETS);
		if (bucket == STRESS_BUCKETS - 1)
			continue;
		assert_true(value <= stress_bucket_last(bucket));
		if (bucket)
			assert_true(value > stress_bucket_last(bucket - 1));
	}
}

static void test_buckets_are_narrow(void **state)
{
	(void)state;
	for (uint32_t i = 128; i < STRESS_BUCKETS; i++) {
		uint64_t first = stress_bucket_last(i - 1) + 1, last = stress_bucket_last(i);

		assert_true((double)(last - first + 1) <= 0.0079 * (double)first);
	}
}

static void test_quantiles(void **state)
{
	struct stress_hist *hist = test_calloc(1, sizeof(*hist));

	(void)state;
	assert_int_equal(stress_hist_quantile(hist, 0.5), 0);
	for (uint64_t i = 1; i <= 1000; i++)
		stress_hist_add(hist, i * 1000);
	assert_int_equal(hist->count, 1000);
	assert_in_range(stress_hist_quantile(hist, 0.5), 500000, 532000);
	assert_in_range(stress_hist_quantile(hist, 0.99), 990000, 1000000);
	assert_int_equal(stress_hist_quantile(hist, 1.0), 1000000);
	test_free(hist);
}

static void test_guest_buckets_merge(void **state)
{
	struct stress_hist *hist = test_calloc(1, sizeof(*hist));
	uint32_t *buckets = test_calloc(STRESS_BUCKETS, sizeof(*buckets));

	(void)state;
	buckets[stress_bucket(100)] = 3;
	buckets[stress_bucket(70000)] = 1;
	stress_hist_merge_guest(hist, buckets, 70000);
	stress_hist_merge_guest(hist, buckets, 60000);
	assert_int_equal(hist->count, 8);
	assert_int_equal(hist->max, 70000);
	assert_in_range(stress_hist_quantile(hist, 0.75), 100, 107);
	test_free(buckets);
	test_free(hist);
}

static void test_spans(void **state)
{
	struct stress_hist *before = test_calloc(1, sizeof(*before));
	struct stress_hist *now = test_calloc(1, sizeof(*now));
	struct stress_hist *span = test_calloc(1, sizeof(*span));

	(void)state;
	stress_hist_add(before, 1000000);
	stress_hist_merge(now, before);
	stress_hist_since(span, now, before);
	assert_int_equal(span->count, 0);
	assert_int_equal(span->max, 0);
	stress_hist_add(now, 50);
	stress_hist_add(now, 100);
	stress_hist_since(span, now, before);
	assert_int_equal(span->count, 2);
	assert_int_equal(span->min, 50);
	assert_int_equal(span->max, 100);
	assert_true(stress_hist_mean(span) == 75);
	assert_int_equal(now->max, 1000000);
	assert_int_equal(now->min, 50);
	test_free(before);
	test_free(now);
	test_free(span);
}

/* ---- The log of operations ------------------------------------------------------------------- */

static void test_log_finds_by_address(void **state)
{
	struct stress_log *log = test_calloc(1, sizeof(*log));
	struct stress_log_entry found[3];
	uint64_t number;
	char text[160];

	(void)state;
	stress_log_init(log);
	number = stress_log_begin(log, STRESS_OP_PLUG, 0x10000, 0x4000, 3, 1000);
	stress_log_end(log, number, 3000000, 0);
	number = stress_log_begin(log, STRESS_OP_REMAP, 0x20000, 0x1000, 0x11000, 2000);
	assert_int_equal(stress_log_running(log, found, 3), 1);
	assert_int_equal(found[0].op, STRESS_OP_REMAP);
	/* The target counts as well, and the latest comes first. */
	assert_int_equal(stress_log_find(log, 0x11000, found, 3), 2);
	assert_int_equal(found[0].op, STRESS_OP_REMAP);
	assert_int_equal(found[1].op, STRESS_OP_PLUG);
	assert_int_equal(stress_log_find(log, 0x11000, found, 1), 1);
	assert_int_equal(stress_log_find(log, 0x12000, found, 3), 1);
	assert_int_equal(stress_log_find(log, 0xffff, found, 3), 0);
	assert_int_equal(stress_log_find(log, 0x14000, found, 3), 0);
	stress_log_end(log, number, 5000000, -ENOMEM);
	assert_int_equal(stress_log_running(log, found, 3), 0);
	stress_log_find(log, 0x20000, found, 1);
	stress_log_describe(&found[0], 6002000, text, sizeof(text));
	assert_string_equal(text, "remap 0x20000-0x20fff to 0x11000, began 6.000 ms before, "
				  "failed: Cannot allocate memory");
	/* An entry that is overwritten is not ended by its old owner. */
	for (unsigned int i = 0; i < STRESS_LOG_ENTRIES; i++)
		stress_log_begin(log, STRESS_OP_UNPLUG, 0x50000, 0x1000, 0, 7000);
	stress_log_end(log, number, 9000, 0);
	assert_int_equal(stress_log_find(log, 0x20000, found, 3), 0);
	assert_int_equal(stress_log_running(log, found, 3), 3);
	test_free(log);
}

/* ---- The live view --------------------------------------------------------------------------- */

static void test_live_view(void **state)
{
	struct stress_span *span = test_calloc(1, sizeof(*span));
	struct stress_map *map = test_calloc(1, sizeof(*map));
	struct stress_hist *hist = test_calloc(1, sizeof(*hist));
	struct stress_progress now = {
		.seconds = 2,
		.operations = 300,
		.faults = 50,
		.errors = 4,
		.operation_ns = hist,
		.fault_cycles = hist,
		.tsc_hz = 1e9,
		.map = map,
	};
	struct stress_options options;
	unsigned int lines, newlines = 0;
	char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);

	(void)state;
	stress_options_init(&options);
	stress_hist_add(hist, 64000);
	map->wanted = stress_live_cells(40);
	assert_in_range(map->wanted, 20, STRESS_MAP_CELLS);
	map->cells[STRESS_MAP_SLOTS][1] = (struct stress_map_cell){4096, 0, false};
	map->cells[STRESS_MAP_SLOTS][2] = (struct stress_map_cell){8192, 4096, false};
	map->cells[STRESS_MAP_SLOTS][3] = (struct stress_map_cell){8192, 8192, false};
	map->cells[STRESS_MAP_SLOTS][4] = (struct stress_map_cell){8192, 8192, true};
	stress_span_next(span, &now);
	lines = stress_live_draw(out, span, &now, &options);
	fclose(out);
	for (const char *c = text; *c; c++)
		newlines += *c == '\n';
	assert_int_equal(lines, newlines);
	assert_non_null(strstr(text, "4 errors"));
	assert_non_null(strstr(text, "150/s  p50 64.0 us"));
	assert_non_null(strstr(text, "slots      | .+#! "));
	assert_non_null(strstr(text, "devices    | "));
	for (const char *line = text; line;
	     line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
		if (!strncmp(line, "slots", 5))
			assert_true(strcspn(line, "\n") <= 40);
	free(text);
	test_free(span);
	test_free(map);
	test_free(hist);
}

/* ---- Patterns and counters ------------------------------------------------------------------- */

static void test_patterns_differ(void **state)
{
	(void)state;
	assert_int_not_equal(stress_pattern(STRESS_WINDOW_GPA, 1), 0);
	assert_int_not_equal(stress_pattern(STRESS_WINDOW_GPA, 1),
			     stress_pattern(STRESS_WINDOW_GPA + 8, 1));
	assert_int_not_equal(stress_pattern(STRESS_WINDOW_GPA, 1),
			     stress_pattern(STRESS_WINDOW_GPA, 2));
	/* The highest address does not reach the generation. */
	assert_int_equal(stress_pattern(512 * GIB - 8, 0) >> STRESS_GENERATION_SHIFT, 0);
	/* What the guest writes where nothing is has no live counter's signature. */
	assert_true(stress_pattern(512 * GIB - 8, 0xff) >> STRESS_LIVE_SHIFT !=
		    STRESS_LIVE_SIGNATURE);
}

static void test_counters_have_words_of_their_own(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < STRESS_SHARED_COUNTERS; i++) {
		assert_true(stress_shared_offset(i) + 8 <= STRESS_SHARED_BYTES);
		for (uint32_t k = 0; k < i; k++)
			assert_int_not_equal(stress_shared_offset(i), stress_shared_offset(k));
	}
	for (uint32_t i = 0; i < STRESS_LIVE_COUNTERS; i++) {
		assert_true(stress_live_offset(i) + 8 <= STRESS_LIVE_BYTES);
		assert_int_equal(stress_live_offset(i) % 8, 0);
	}
	assert_true(stress_protect_word(0) >= 8);
	assert_true(stress_protect_word(STRESS_MAX_CPUS - 1) + 8 <= STRESS_PAGE_BYTES);
}

/* A generation's words lie in their unit, and in time each word has its turn. */
static void check_unit_words(uint64_t unit_bytes, uint32_t words)
{
	const struct stress_pool pool = {.gpa = STRESS_WINDOW_GPA, .unit_bytes = unit_bytes};
	bool seen[STRESS_PAGE_WORDS] = {0};

	for (uint32_t generation = 0; generation < 2 * STRESS_PAGE_WORDS; generation++) {
		struct stress_area area = stress_unit_area(&pool, 3, generation, words);
		uint64_t last_page = area.first_page + (area.pages - 1) * area.page_step;
		uint64_t last_word = area.first_word + (area.words - 1) * area.word_step;

		assert_int_equal(area.gpa, STRESS_WINDOW_GPA + 3 * unit_bytes);
		assert_int_equal(area.generation, generation);
		assert_true(area.pages && last_page < unit_bytes / STRESS_PAGE_BYTES);
		assert_true(last_word < STRESS_PAGE_WORDS);
		for (uint32_t i = 0; i < area.words; i++)
			seen[area.first_word + i * area.word_step] = true;
	}
	for (unsigned int i = 0; i < STRESS_PAGE_WORDS; i++)
		assert_true(seen[i]);
}

static void test_units_have_their_words(void **state)
{
	(void)state;
	check_unit_words(STRESS_PAGE_BYTES, 4);
	check_unit_words(STRESS_PAGE_BYTES, 64);
	check_unit_words(STRESS_LARGE_BYTES, 4);
	check_unit_words(STRESS_LARGE_BYTES, 64);
}

/* ---- Layout ---------------------------------------------------------------------------------- */

struct span {
	gpa_t gpa;
	uint64_t bytes;
};

static int by_gpa(const void *a, const void *b)
{
	const struct span *x = a, *y = b;

	return x->gpa < y->gpa ? -1 : x->gpa > y->gpa;
}

static void check_layout(unsigned int cpus, unsigned int slots, uint64_t slot_bytes,
			 uint64_t stranger_bytes, unsigned int strangers)
{
	struct stress_layout layout;
	struct samara_error err = {0};
	struct span *spans = test_calloc(cpus + 2 * slots + 2 * strangers + 16, sizeof(*spans));
	size_t n = 0;
	gpa_t end;

	assert_int_equal(stress_layout_init(&layout, cpus, slots, slot_bytes, stranger_bytes,
					    strangers, &err),
			 0);
	for (unsigned int i = 0; i < cpus; i++)
		spans[n++] =
			(struct span){layout.own_gpa + i * STRESS_LARGE_BYTES, STRESS_OWN_BYTES};
	spans[n++] = (struct span){layout.shared_gpa, STRESS_SHARED_BYTES};
	spans[n++] = (struct span){layout.protect_gpa, STRESS_PROTECT_PAGES * STRESS_PAGE_BYTES};
	spans[n++] = (struct span){layout.void_gpa, STRESS_LARGE_BYTES};
	for (unsigned int i = 0; i < STRESS_LIVE_PLACES; i++) {
		spans[n++] = (struct span){layout.live_gpa[i], STRESS_LIVE_BYTES};
		spans[n++] = (struct span){layout.device_gpa[i], STRESS_DEVICE_BYTES};
	}
	spans[n++] = (struct span){layout.mem_gpa, STRESS_MEM_BLOCKS * STRESS_MEM_BLOCK_BYTES};
	spans[n++] = (struct span){layout.balloon_gpa, STRESS_BALLOON_PAGES * STRESS_PAGE_BYTES};
	spans[n++] = (struct span){layout.dimm_gpa,
				   STRESS_DIMM_SLOTS * STRESS_DIMM_UNITS * STRESS_DIMM_UNIT_BYTES};
	assert_int_equal(layout.mem_gpa % STRESS_MEM_BLOCK_BYTES, 0);
	assert_int_equal(layout.dimm_gpa % STRESS_DIMM_UNIT_BYTES, 0);
	for (unsigned int i = 0; i < layout.places; i++)
		spans[n++] = (struct span){stress_place_gpa(&layout, i), slot_bytes};
	for (unsigned int i = 0; i < 2 * strangers; i++)
		spans[n++] =
			(struct span){stress_stranger_gpa(&layout, i / 2, i % 2), stranger_bytes};
	assert_int_equal(layout.places, 2 * slots);
	assert_int_equal(stress_place_gpa(&layout, 1), stress_place_gpa(&layout, 0) + slot_bytes);

	qsort(spans, n, sizeof(*spans), by_gpa);
	end = STRESS_WINDOW_GPA;
	for (size_t i = 0; i < n; i++) {
		assert_true(spans[i].gpa >= end);
		assert_int_equal(spans[i].gpa % SAMARA_PAGE_BYTES, 0);
		end = spans[i].gpa + spans[i].bytes;
	}
	assert_true(end <= STRESS_WINDOW_GPA + layout.window_bytes);
	assert_true(layout.stacks_gpa >= STRESS_CONTROL_GPA + sizeof(struct stress_control));
	assert_true(layout.tables_gpa >= layout.stacks_gpa + cpus * STRESS_STACK_BYTES);
	assert_true(layout.tables_gpa + stress_tables_bytes(&layout) <= layout.boot_bytes);
	test_free(spans);
}

static void test_layout_does_not_overlap(void **state)
{
	(void)state;
	check_layout(2, 16, 4 * MIB, 256 * MIB, 1);
	check_layout(STRESS_MAX_CPUS, 1, SAMARA_PAGE_BYTES, SAMARA_PAGE_BYTES, 0);
	check_layout(1, STRESS_MAX_SLOTS, 3 * MIB + SAMARA_PAGE_BYTES, MIB, 3);
	check_layout(8, 4, 1 * GIB, 4 * GIB, 2);
}

static void expect_refused(int code, const char *name, unsigned int cpus, unsigned int slots,
			   uint64_t slot_bytes, uint64_t stranger_bytes)
{
	struct stress_layout layout;
	struct samara_error err = {0};

	assert_int_equal(
		stress_layout_init(&layout, cpus, slots, slot_bytes, stranger_bytes, 1, &err),
		code);
	assert_int_equal(err.code, code);
	assert_non_null(strstr(err.text, name));
}

static void test_layout_refuses(void **state)
{
	(void)state;
	expect_refused(-EINVAL, "--cpus", 0, 1, MIB, MIB);
	expect_refused(-EINVAL, "--cpus", STRESS_MAX_CPUS + 1, 1, MIB, MIB);
	expect_refused(-EINVAL, "--slots", 1, 0, MIB, MIB);
	expect_refused(-EINVAL, "--slots", 1, STRESS_MAX_SLOTS + 1, MIB, MIB);
	expect_refused(-EINVAL, "--slot-size", 1, 1, 0, MIB);
	expect_refused(-EINVAL, "--slot-size", 1, 1, 100, MIB);
	expect_refused(-ERANGE, "--slot-size", 1, 1, UINT64_MAX & ~(SAMARA_PAGE_BYTES - 1), MIB);
	expect_refused(-EINVAL, "--stranger-size", 1, 1, MIB, 1);
	expect_refused(-ERANGE, "--slots", 1, STRESS_MAX_SLOTS, GIB, MIB);
}

/* Walk the tables as the guest's MMU does. Return: the gpa, or UINT64_MAX when it is not mapped. */
static gpa_t walk(const struct stress_layout *layout, const uint64_t *tables, uint64_t address)
{
	uint64_t table = layout->tables_gpa, entry = 0;

	for (int shift = 39; shift >= 21; shift -= 9) {
		uint64_t offset = table - layout->tables_gpa;

		assert_true(offset < stress_tables_bytes(layout));
		entry = tables[offset / 8 + (address >> shift & 511)];
		if (!(entry & 1))
			return UINT64_MAX;
		assert_true(entry & 2);
		table = entry & UINT64_C(0xffffffffff000);
	}
	assert_true(entry & 0x80);
	return table + (address & (STRESS_LARGE_BYTES - 1));
}

static void test_tables_map_windows_and_registers(void **state)
{
	struct stress_layout layout;
	uint64_t *tables;

	(void)state;
	assert_int_equal(stress_layout_init(&layout, 4, 100, 30 * MIB, GIB, 2, NULL), 0);
	tables = test_calloc(1, stress_tables_bytes(&layout));
	stress_tables_write(&layout, tables);
	for (uint64_t gpa = 0; gpa < layout.boot_bytes; gpa += MIB)
		assert_int_equal(walk(&layout, tables, gpa + 8), gpa + 8);
	for (uint64_t offset = 0; offset < layout.window_bytes; offset += MIB)
		assert_int_equal(walk(&layout, tables, STRESS_WINDOW_GPA + offset),
				 STRESS_WINDOW_GPA + offset);
	assert_int_equal(walk(&layout, tables, layout.boot_bytes), UINT64_MAX);
	assert_int_equal(walk(&layout, tables, 3 * GIB), UINT64_MAX);
	for (unsigned int i = 0; i < VIRTIO_SLOTS; i++)
		assert_int_equal(walk(&layout, tables, VIRTIO_SLOT_GPA + i * VIRTIO_SLOT_BYTES),
				 VIRTIO_SLOT_GPA + i * VIRTIO_SLOT_BYTES);
	assert_int_equal(walk(&layout, tables, STRESS_WINDOW_GPA + layout.window_bytes),
			 UINT64_MAX);
	test_free(tables);
}

/* ---- Results --------------------------------------------------------------------------------- */

static void test_verdict(void **state)
{
	struct stress_result *result = test_calloc(1, sizeof(*result));

	(void)state;
	result->interrupted = true;
	assert_true(stress_passed(result));
	result->integrity_errors = 1;
	assert_false(stress_passed(result));
	result->integrity_errors = 0;
	result->lost_increments = 1;
	assert_false(stress_passed(result));
	result->lost_increments = 0;
	result->operation_errors = 1;
	assert_false(stress_passed(result));
	result->operation_errors = 0;
	result->stuck_cpus = 1;
	assert_false(stress_passed(result));
	result->stuck_cpus = 0;
	result->failure.code = -EIO;
	assert_false(stress_passed(result));
	test_free(result);
}

/* A result with a number for each thing, into a file. */
static void write_result(const char *path, const char *lock, uint64_t scale)
{
	struct stress_result *result = test_calloc(1, sizeof(*result));
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	stress_options_init(&result->options);
	result->options.seed = 77;
	result->mm.lock = lock;
	result->mm.faults = 100 * scale;
	result->operations[STRESS_OP_PLUG] = 3 * scale;
	result->operations[STRESS_OP_REMAP] = 4 * scale;
	result->checked_by_guest_bytes = MIB;
	result->tsc_hz = 2e9;
	for (uint64_t i = 0; i < 100; i++)
		stress_hist_add(&result->fault_cycles, 2000 * scale);
	assert_int_equal(stress_write_json(result, file, NULL), 0);
	assert_int_equal(fclose(file), 0);
	test_free(result);
}

static int64_t number(const json_t *root, const char *object, const char *name)
{
	const json_t *value = json_object_get(object ? json_object_get(root, object) : root, name);

	assert_true(json_is_integer(value));
	return json_integer_value(value);
}

static void test_json(void **state)
{
	char path[] = "/tmp/samara-test-XXXXXX";
	json_t *root;

	(void)state;
	close(mkstemp(path));
	write_result(path, "region", 1);
	root = json_load_file(path, JSON_REJECT_DUPLICATES, NULL);
	unlink(path);
	assert_non_null(root);
	assert_string_equal(json_string_value(json_object_get(root, "lock")), "region");
	assert_int_equal(number(root, NULL, "operations"), 7);
	assert_int_equal(number(root, "operations_by_kind", "remap"), 4);
	assert_int_equal(number(root, NULL, "faults"), 100);
	assert_int_equal(number(root, "fault_ns", "p50"), 1000);
	assert_int_equal(number(root, "fault_ns", "max"), 1000);
	assert_int_equal(number(root, NULL, "integrity_errors"), 0);
	assert_int_equal(number(root, NULL, "checked_bytes"), MIB);
	assert_int_equal(number(root, NULL, "seed"), 77);
	assert_true(json_is_true(json_object_get(root, "passed")));
	json_decref(root);
}

static void test_compare(void **state)
{
	char a[] = "/tmp/samara-test-XXXXXX", b[] = "/tmp/samara-test-XXXXXX";
	struct samara_error err = {0};
	char *text = NULL;
	size_t length;
	FILE *out;

	(void)state;
	close(mkstemp(a));
	close(mkstemp(b));
	write_result(a, "region", 1);
	write_result(b, "single", 5);
	out = open_memstream(&text, &length);
	assert_int_equal(stress_compare(a, b, out, &err), 0);
	fclose(out);
	assert_non_null(strstr(text, "region"));
	assert_non_null(strstr(text, "single"));
	assert_non_null(strstr(text, "1000 ns"));
	assert_non_null(strstr(text, "5000 ns"));
	assert_non_null(strstr(text, "5.00"));
	free(text);

	/* Not a result, and no file at all: named. */
	assert_int_equal(truncate(b, 0), 0);
	assert_true(stress_compare(a, b, stdout, &err) < 0);
	assert_non_null(strstr(err.text, b));
	unlink(b);
	assert_true(stress_compare(a, b, stdout, &err) < 0);
	assert_non_null(strstr(err.text, b));
	unlink(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_buckets_hold_their_values),
		cmocka_unit_test(test_buckets_are_narrow),
		cmocka_unit_test(test_quantiles),
		cmocka_unit_test(test_guest_buckets_merge),
		cmocka_unit_test(test_spans),
		cmocka_unit_test(test_log_finds_by_address),
		cmocka_unit_test(test_live_view),
		cmocka_unit_test(test_patterns_differ),
		cmocka_unit_test(test_counters_have_words_of_their_own),
		cmocka_unit_test(test_layout_does_not_overlap),
		cmocka_unit_test(test_layout_refuses),
		cmocka_unit_test(test_units_have_their_words),
		cmocka_unit_test(test_tables_map_windows_and_registers),
		cmocka_unit_test(test_verdict),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_compare),
	};

	return cmocka_run_group_tests_name("stress", tests, NULL, NULL);
}
