/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a run shall be: options, workload files, and the plans that follow from them alone. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmm/stress_plan.h"

#define STEPS 2000

static struct stress_options with_seed(uint64_t seed)
{
	struct stress_options options;

	stress_options_init(&options);
	options.seed = seed;
	return options;
}

/* The plans of one operator, and what it draws for the details of each. */
static void draw(const struct stress_options *options, unsigned int index,
		 struct stress_plan *plans)
{
	struct stress_order *order = test_calloc(1, sizeof(*order));
	struct stress_planner planner;

	stress_order_fill(order, options);
	stress_planner_init(&planner, options, order, index, options->seed * 31 + index);
	for (unsigned int i = 0; i < STEPS; i++)
		stress_plan_next(&planner, &plans[i]);
	test_free(order);
}

static bool same(const struct stress_plan *a, const struct stress_plan *b)
{
	for (unsigned int i = 0; i < STEPS; i++)
		if (a[i].what != b[i].what || a[i].slot != b[i].slot ||
		    a[i].details.state != b[i].details.state)
			return false;
	return true;
}

static void test_same_seed_same_choices(void **state)
{
	struct stress_plan *a = test_calloc(STEPS, sizeof(*a)), *b = test_calloc(STEPS, sizeof(*b));

	(void)state;
	for (unsigned int pattern = 0; pattern < STRESS_PATTERNS; pattern++) {
		struct stress_options options = with_seed(7), other = with_seed(8);

		options.pattern = other.pattern = pattern;
		draw(&options, 0, a);
		draw(&options, 0, b);
		assert_true(same(a, b));
		draw(&options, 1, b);
		assert_false(same(a, b));
		draw(&other, 0, b);
		assert_false(same(a, b));
	}
	test_free(a);
	test_free(b);
}

static void test_weights(void **state)
{
	struct stress_plan *plans = test_calloc(STEPS, sizeof(*plans));
	struct stress_options options = with_seed(3);
	unsigned int count[STRESS_MIXES] = {0};

	(void)state;
	assert_int_equal(stress_option_set(&options, "mix", "plug=1,remap-live=3", NULL), 0);
	draw(&options, 0, plans);
	for (unsigned int i = 0; i < STEPS; i++)
		count[plans[i].what]++;
	assert_int_equal(count[STRESS_MIX_PLUG] + count[STRESS_MIX_REMAP_LIVE], STEPS);
	assert_in_range(count[STRESS_MIX_PLUG], STEPS / 4 - 100, STEPS / 4 + 100);
	test_free(plans);
}

/* How often each slot is in what the pattern makes of it. */
static void count_order(const struct stress_options *options, unsigned int *count)
{
	struct stress_order *order = test_calloc(1, sizeof(*order));

	memset(count, 0, STRESS_MAX_SLOTS * sizeof(*count));
	stress_order_fill(order, options);
	assert_in_range(order->length, 1, STRESS_ORDER);
	for (unsigned int i = 0; i < order->length; i++) {
		assert_true(order->slot[i] < options->slots);
		count[order->slot[i]]++;
	}
	test_free(order);
}

static void test_patterns(void **state)
{
	unsigned int *count = test_calloc(STRESS_MAX_SLOTS, sizeof(*count));
	struct stress_options options = with_seed(1);

	(void)state;
	options.slots = 100;
	options.pattern = STRESS_PATTERN_SEQUENTIAL;
	count_order(&options, count);
	for (unsigned int i = 0; i < 100; i++)
		assert_int_equal(count[i], 1);
	options.pattern = STRESS_PATTERN_RANDOM;
	count_order(&options, count);
	for (unsigned int i = 0; i < 100; i++)
		assert_in_range(count[i], 10, 80);
	/* H(100) is 5.19: the first has 19 % of them, the tenth a tenth of that. */
	options.pattern = STRESS_PATTERN_ZIPF;
	options.zipf = 1;
	count_order(&options, count);
	assert_in_range(count[0], 700, 880);
	assert_in_range(count[9], 50, 110);
	test_free(count);
}

/* Each vCPU comes by its own slots, and by no other. */
static void test_own_slots(void **state)
{
	struct stress_order *order = test_calloc(1, sizeof(*order));
	struct stress_options options = with_seed(1);
	uint32_t first, step;

	(void)state;
	options.pattern = STRESS_PATTERN_OWN;
	options.slots = 10;
	options.cpus = 3;
	stress_order_fill(order, &options);
	stress_order_steps(order, &options, &first, &step);
	for (unsigned int cpu = 0; cpu < 3; cpu++) {
		unsigned int at = cpu * first;

		for (unsigned int i = 0; i < 50; i++) {
			assert_int_equal(at % 3, cpu);
			at = (at + step) % order->length;
		}
	}
	test_free(order);
}

static void test_options(void **state)
{
	static const struct {
		const char *name, *text;
	} wrong[] = {
		{"slots", "-1"},           {"slots", "3x"},    {"mix", "plug"},
		{"mix", "plough=3"},       {"mix", "plug=-3"}, {"pattern", "zipf:"},
		{"pattern", "random:2"},   {"pattern", "zip"}, {"slot-size", "64K.."},
		{"backing", "paper"},      {"seed", "-1"},     {"inject", "alloc"},
		{"inject", "alloc:0"},     {"inject", "a:1"},  {"inject", "alloc:1:5"},
		{"inject", "uffd-wake:5"}, {"memory", "1K"},   {"copy-only", "perhaps"},
		{"mix", "dimms=1"},
	};
	struct stress_options options = with_seed(1);
	struct samara_error err = {0};

	(void)state;
	assert_int_equal(stress_option_set(&options, "slot-size", "64K..8M", &err), 0);
	assert_int_equal(options.slot_min_bytes, 64 << 10);
	assert_int_equal(options.slot_bytes, 8 << 20);
	assert_int_equal(stress_option_set(&options, "memory", "1G", &err), 0);
	assert_int_equal(options.slots, 128);
	assert_int_equal(stress_option_set(&options, "pattern", "zipf:1.5", &err), 0);
	assert_true(options.pattern == STRESS_PATTERN_ZIPF && options.zipf == 1.5);
	assert_int_equal(stress_option_set(&options, "inject", "uffd-copy:100:2ms", &err), 0);
	assert_int_equal(options.inject.place[INJECT_UFFD_COPY].odds, 100);
	assert_int_equal(options.inject.place[INJECT_UFFD_COPY].delay_ns, 2000000);
	assert_int_equal(options.inject.place[INJECT_ALLOC].odds, 0);
	assert_int_equal(stress_option_set(&options, "mix", "balloon=2,virtio-mem=3,dimm=5", &err),
			 0);
	assert_int_equal(options.weight[STRESS_MIX_BALLOON], 2);
	assert_int_equal(options.weight[STRESS_MIX_VIRTIO_MEM], 3);
	assert_int_equal(options.weight[STRESS_MIX_DIMM], 5);
	assert_int_equal(options.weight[STRESS_MIX_PLUG], 0);
	assert_int_equal(stress_option_set(&options, "slits", "4", &err), -ENOENT);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		err = (struct samara_error){0};
		assert_int_equal(stress_option_set(&options, wrong[i].name, wrong[i].text, &err),
				 -EINVAL);
		assert_non_null(strstr(err.text, wrong[i].name));
	}
}

static int load(struct stress_options *options, const char *text, struct samara_error *err)
{
	char path[] = "/tmp/samara-test-XXXXXX";
	int fd = mkstemp(path), ret;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	ret = stress_options_load(options, path, err);
	if (ret)
		assert_non_null(strstr(err->text, path));
	unlink(path);
	return ret;
}

static void test_file(void **state)
{
	struct stress_options options = with_seed(1);
	struct samara_error err = {0};

	(void)state;
	assert_int_equal(load(&options,
			      "{\"comment\": \"x\", \"cpus\": 5, \"slot-size\": \"8K..64K\","
			      " \"mix\": {\"plug\": 9, \"unplug\": 8}, \"copy-only\": true,"
			      " \"inject\": [\"alloc:50\", \"mmap:7:1us\"]}",
			      &err),
			 0);
	assert_int_equal(options.cpus, 5);
	assert_int_equal(options.slot_min_bytes, 8192);
	assert_int_equal(options.weight[STRESS_MIX_PLUG], 9);
	assert_int_equal(options.weight[STRESS_MIX_REMAP], 0);
	assert_true(options.copy_only);
	assert_int_equal(options.inject.place[INJECT_ALLOC].odds, 50);
	assert_int_equal(options.inject.place[INJECT_MMAP].delay_ns, 1000);
	assert_int_equal(load(&options, "{\"cpu\": 5}", &err), -ENOENT);
	assert_int_equal(load(&options, "{\"cpus\": 5,}", &err), -EINVAL);
	assert_int_equal(load(&options, "{\"cpus\": 1.5}", &err), -EINVAL);
	assert_int_equal(load(&options, "{\"mix\": {\"plug\": \"much\"}}", &err), -EINVAL);
	assert_int_equal(load(&options, "[]", &err), -EINVAL);
	assert_int_equal(load(&options, "", &err), -EINVAL);
	assert_int_equal(stress_options_load(&options, "/nonexistent", &err), -EINVAL);
	assert_non_null(strstr(err.text, "/nonexistent"));
}

/* Strike as often as was asked for, the same calls for the same seed, nothing when not armed. */
static void test_inject(void **state)
{
	struct inject_rules rules = {0};
	struct inject_counts counts;
	bool struck[1000];
	unsigned int total = 0;

	(void)state;
	assert_false(inject_any(&rules));
	assert_int_equal(inject_parse(&rules, "alloc:10", NULL), 0);
	assert_int_equal(inject_strike(INJECT_ALLOC), 0);
	inject_arm(&rules, 5);
	assert_true(inject_fails());
	for (unsigned int i = 0; i < 1000; i++) {
		int code = inject_strike(INJECT_ALLOC);

		assert_true(code == 0 || (code == ENOMEM && inject_is_code(-code)));
		assert_int_equal(inject_strike(INJECT_MMAP), 0);
		struck[i] = code;
		total += struck[i];
	}
	assert_in_range(total, 60, 140);
	inject_get_counts(&counts);
	assert_int_equal(counts.calls[INJECT_ALLOC], 1000);
	assert_int_equal(counts.struck[INJECT_ALLOC], total);
	inject_disarm();

	inject_arm(&rules, 5);
	for (unsigned int i = 0; i < 1000; i++)
		assert_int_equal(!!inject_strike(INJECT_ALLOC), struck[i]);
	inject_pause();
	for (unsigned int i = 0; i < 1000; i++)
		assert_int_equal(inject_strike(INJECT_ALLOC), 0);
	inject_resume();
	inject_disarm();
	for (unsigned int i = 0; i < 1000; i++)
		assert_int_equal(inject_strike(INJECT_ALLOC), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_seed_same_choices),
		cmocka_unit_test(test_weights),
		cmocka_unit_test(test_patterns),
		cmocka_unit_test(test_own_slots),
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_file),
		cmocka_unit_test(test_inject),
	};

	return cmocka_run_group_tests_name("stress plans", tests, NULL, NULL);
}
