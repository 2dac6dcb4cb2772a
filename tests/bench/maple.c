/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * make bench BENCH=maple: samara's maple tree beside the kernel's, a red-black tree and an array.
 * README.md says what is measured, and how.
 */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/bench/maple.h"
#include "tests/bench/maple_companion.h"
#include "tests/bench/maple_input.h"
#include "tests/bench/maple_report.h"

#define LOOKUPS  32768ul
#define WARM_UP  8192ul
#define CHUNK    1024ul
#define ITER_MIN 50000ul
#define ROUNDS   21u
/* How often a slice in which a thread was put off its CPU is done again. */
#define TRIES    8
#define SEED     0x9e3779b97f4a7c15ul

/* The kernel's tree is there only if the bench was linked with it. */
extern const struct contestant bench_kernel __attribute__((weak));

static const struct contestant *const contestants[WHOS] = {&bench_samara, &bench_kernel,
							   &bench_rbtree, &bench_array};

/**
 * struct bench - what the options chose, and what is measured at the moment
 * @who, @op, @shape, @size: chosen
 * @rounds: at most
 * @two_cpus: a second thread can run beside the first
 * @input: of the shape and size at hand
 * @map: each contestant's, filled in random order
 * @gap_map: the same, searchable for gaps
 * @empty_maps: input.copies of them, to be filled and emptied again
 */
struct bench {
	bool who[WHOS];
	bool op[OPS];
	bool shape[SHAPES];
	bool size[SIZES];
	unsigned int rounds;
	bool two_cpus;
	struct input input;
	void *map[WHOS];
	void *gap_map[WHOS];
	void **empty_maps[WHOS];
};

static __attribute__((noreturn, format(printf, 1, 2))) void fail(const char *format, ...)
{
	va_list args;

	fflush(stdout);
	fputs("bench maple: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

static void check_sum(const struct bench *bench, enum who who, enum op op, unsigned long sum,
		      unsigned long expect)
{
	if (sum != expect)
		fail("%s.%s: wrong results with %lu %s ranges", who_names[who], op_names[op],
		     bench->input.n, bench->input.gaps ? "separate" : "adjacent");
}

static double clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec * 1e9 + now.tv_nsec;
}

/* Time that this thread was running: others on the same CPU do not count. */
static double cpu_ns(void)
{
	return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

static void *new_map(enum who who, bool gaps)
{
	void *map = contestants[who]->create(gaps);

	if (!map)
		fail("%s: out of memory", who_names[who]);
	return map;
}

static void fill(const struct bench *bench, enum who who, void *map, unsigned long copy)
{
	const struct input *input = &bench->input;
	bool failed = false;

	contestants[who]->fill(map, input->ranges, input->order + copy * input->n, input->n,
			       &failed);
	if (failed)
		fail("%s: a store failed with %lu ranges", who_names[who], input->n);
}

/* ---- One operation, one round --------------------------------------------------------------- */

/* The keys of a round: other ones each time, with some before them to warm up. */
static unsigned long window(unsigned int round)
{
	return WARM_UP + round * (LOOKUPS + WARM_UP) % (INPUT_KEYS - LOOKUPS - WARM_UP);
}

/*
 * Others went over the caches since this map's last turn. Going through all of a big one brings back
 * what fits, so that no operation finds less of it than the next; the look-ups bring the rest.
 */
static void warm_up(const struct bench *bench, enum who who, unsigned long from)
{
	const struct input *input = &bench->input;

	if (input->n >= WARM_UP)
		contestants[who]->iter(bench->map[who]);
	contestants[who]->load(bench->map[who], input->keys + from - WARM_UP, WARM_UP);
}

static void measure_load(struct bench *bench, enum who who, enum op op, enum shape shape,
			 unsigned int size, unsigned int round)
{
	const struct contestant *contestant = contestants[who];
	const struct input *input = &bench->input;
	unsigned long from = window(round), sum;
	/* Not a constant for the compiler. */
	static volatile unsigned long zero;
	double start, end;

	warm_up(bench, who, from);
	start = cpu_ns();
	if (op == LOAD)
		sum = contestant->load(bench->map[who], input->keys + from, LOOKUPS);
	else
		sum = contestant->load_dep(bench->map[who], input->keys + from, LOOKUPS, zero);
	end = cpu_ns();
	check_sum(bench, who, op, sum, input_sum_keys(input, from, LOOKUPS));
	report_add(who, op, shape, size, (end - start) / LOOKUPS);
}

/* What the second thread does, and what came of it. */
struct second {
	const struct bench *bench;
	enum who who;
	double ns;
	unsigned long stores;
	bool failed;
};

static void second_reads(void *arg, bool *running, const bool *stop)
{
	struct second *second = arg;
	const struct input *input = &second->bench->input;
	const struct contestant *contestant = contestants[second->who];
	void *map = second->bench->map[second->who];
	unsigned long sum = 0, expect = 0;

	for (unsigned long at = INPUT_KEYS / 2; !__atomic_load_n(stop, __ATOMIC_RELAXED);
	     at = (at + CHUNK) % INPUT_KEYS) {
		sum += contestant->load(map, input->keys + at, CHUNK);
		second->stores++;
		__atomic_store_n(running, true, __ATOMIC_RELEASE);
	}
	for (unsigned long i = 0; i < second->stores; i++)
		expect += input_sum_keys(input, (INPUT_KEYS / 2 + i * CHUNK) % INPUT_KEYS, CHUNK);
	second->failed = sum != expect;
}

static void second_writes(void *arg, bool *running, const bool *stop)
{
	struct second *second = arg;
	const struct input *input = &second->bench->input;
	double start = clock_ns(CLOCK_MONOTONIC);

	__atomic_store_n(running, true, __ATOMIC_RELEASE);
	contestants[second->who]->replace(second->bench->map[second->who], input->ranges,
					  input->order, input->n * input->copies, stop,
					  &second->stores, &second->failed);
	second->ns = clock_ns(CLOCK_MONOTONIC) - start;
}

/*
 * With a second thread, a slice counts by the clock on the wall, since waiting for a lock is part
 * of it; one in which the kernel put either thread off its CPU is done again.
 */
static void measure_two(struct bench *bench, enum who who, enum op op, enum shape shape,
			unsigned int size, unsigned int round)
{
	const struct contestant *contestant = contestants[who];
	const struct input *input = &bench->input;
	unsigned long lookups = op == LOAD_WRITER && contestant->blocks ? CHUNK : LOOKUPS;
	unsigned long from = window(round), expect = input_sum_keys(input, from, lookups), sum;
	struct second second;
	bool undisturbed = false;
	double start, end;
	long before;

	for (int try = 0; !undisturbed && try < TRIES; try++) {
		second = (struct second){.bench = bench, .who = who};
		if (!try)
			warm_up(bench, who, from);
		companion_begin(op == LOAD_2T ? second_reads : second_writes, &second);
		before = companion_preemptions();
		start = clock_ns(CLOCK_MONOTONIC);
		sum = contestant->load(bench->map[who], input->keys + from, lookups);
		end = clock_ns(CLOCK_MONOTONIC);
		undisturbed = companion_preemptions() == before || lookups < LOOKUPS;
		undisturbed &= companion_end() || lookups < LOOKUPS;
		if (second.failed)
			fail("%s.%s: the second thread failed", who_names[who], op_names[op]);
		check_sum(bench, who, op, sum, expect);
		if (op == LOAD_WRITER)
			contestant->settle();
	}
	report_add(who, op, shape, size, (end - start) / lookups);
	if (op == LOAD_WRITER && second.stores)
		report_add(who, WRITER, shape, size, second.ns / second.stores);
}

static void measure_iter(struct bench *bench, enum who who, enum shape shape, unsigned int size)
{
	const struct input *input = &bench->input;
	unsigned long visits = input->n < ITER_MIN ? ITER_MIN / input->n : 1, sum = 0;
	double start, end;

	start = cpu_ns();
	for (unsigned long i = 0; i < visits; i++)
		sum += contestants[who]->iter(bench->map[who]);
	end = cpu_ns();
	check_sum(bench, who, ITER, sum, visits * input_sum_all(input));
	report_add(who, ITER, shape, size, (end - start) / (visits * input->n));
}

static void measure_gap(struct bench *bench, enum who who, enum shape shape, unsigned int size)
{
	const struct input *input = &bench->input;
	unsigned long expect = 0, sum;
	double start, end;
	bool failed = false;

	for (unsigned long i = 0; i < INPUT_QUERIES; i++)
		expect += input->queries[i].expect;
	start = cpu_ns();
	sum = contestants[who]->gap(bench->gap_map[who], input->queries, INPUT_QUERIES, input->max,
				    &failed);
	end = cpu_ns();
	if (failed)
		fail("%s.gap: a gap was not found", who_names[who]);
	check_sum(bench, who, GAP, sum, expect);
	report_add(who, GAP, shape, size, (end - start) / INPUT_QUERIES);
}

/* Fill the empty maps, then erase everything from them again. */
static void measure_writes(struct bench *bench, enum who who, enum shape shape, unsigned int size)
{
	const struct contestant *contestant = contestants[who];
	const struct input *input = &bench->input;
	unsigned long all = input->copies * input->n, sum = 0;
	void **maps = bench->empty_maps[who];
	double start, end;

	start = cpu_ns();
	for (unsigned long i = 0; i < input->copies; i++)
		fill(bench, who, maps[i], i);
	end = cpu_ns();
	for (unsigned long i = 0; i < input->copies; i++)
		sum += contestant->iter(maps[i]);
	check_sum(bench, who, STORE, sum, input->copies * input_sum_all(input));
	if (bench->op[STORE])
		report_add(who, STORE, shape, size, (end - start) / all);
	contestant->settle();

	sum = 0;
	start = cpu_ns();
	for (unsigned long i = 0; i < input->copies; i++)
		sum += contestant->erase(maps[i], input->ranges, input->erase_order + i * input->n,
					 input->n);
	end = cpu_ns();
	check_sum(bench, who, ERASE, sum, input->copies * input_sum_all(input));
	for (unsigned long i = 0; i < input->copies; i++)
		check_sum(bench, who, ERASE, contestant->iter(maps[i]), 0);
	if (bench->op[ERASE])
		report_add(who, ERASE, shape, size, (end - start) / all);
	contestant->settle();
}

static void measure_bytes(struct bench *bench, enum who who, enum shape shape, unsigned int size)
{
	report_add(who, BYTES, shape, size,
		   (double)contestants[who]->bytes(bench->map[who]) / bench->input.n);
}

/* ---- All of them ---------------------------------------------------------------------------- */

/* Operations that take long with many ranges are done less often. */
static unsigned int rounds_of(const struct bench *bench, enum op op)
{
	unsigned long n = bench->input.n;
	unsigned int rounds = ROUNDS;

	if (op == BYTES)
		return 1;
	if (op == STORE || op == ERASE)
		rounds = n >= 1000000 ? 3 : n >= 100000 ? 7 : 11;
	else if (op == ITER && n >= 1000000)
		rounds = 11;
	return rounds < bench->rounds ? rounds : bench->rounds;
}

static void measure(struct bench *bench, enum who who, enum op op, enum shape shape,
		    unsigned int size, unsigned int round)
{
	const struct contestant *contestant = contestants[who];

	switch (op) {
	case LOAD:
	case LOAD_DEP:
		measure_load(bench, who, op, shape, size, round);
		break;
	case LOAD_WRITER:
		if (contestant->stores && bench->two_cpus)
			measure_two(bench, who, op, shape, size, round);
		break;
	case LOAD_2T:
		if (bench->two_cpus)
			measure_two(bench, who, op, shape, size, round);
		break;
	case ITER:
		measure_iter(bench, who, shape, size);
		break;
	case STORE:
		if (bench->empty_maps[who])
			measure_writes(bench, who, shape, size);
		break;
	case GAP:
		if (bench->gap_map[who])
			measure_gap(bench, who, shape, size);
		break;
	case BYTES:
		measure_bytes(bench, who, shape, size);
		break;
	default:
		break;
	}
}

static void make_empty_maps(struct bench *bench, enum who who)
{
	unsigned long copies = bench->input.copies;

	bench->empty_maps[who] = calloc(copies, sizeof(void *));
	if (!bench->empty_maps[who])
		fail("out of memory");
	for (unsigned long i = 0; i < copies; i++)
		bench->empty_maps[who][i] = new_map(who, false);
}

static void make_maps(struct bench *bench, enum shape shape)
{
	for (unsigned int who = 0; who < WHOS; who++) {
		const struct contestant *contestant = contestants[who];

		bench->map[who] = bench->gap_map[who] = NULL;
		bench->empty_maps[who] = NULL;
		if (!bench->who[who])
			continue;
		if (bench->op[GAP] && shape == GAPS && contestant->gap) {
			bench->gap_map[who] = new_map(who, true);
			fill(bench, who, bench->gap_map[who], 0);
			contestant->settle();
		}
		if ((bench->op[STORE] || bench->op[ERASE]) && contestant->stores)
			make_empty_maps(bench, who);
		bench->map[who] = new_map(who, false);
		fill(bench, who, bench->map[who], 0);
		contestant->settle();
	}
}

static void destroy_maps(struct bench *bench)
{
	for (unsigned int who = 0; who < WHOS; who++) {
		if (bench->map[who])
			contestants[who]->destroy(bench->map[who]);
		if (bench->gap_map[who])
			contestants[who]->destroy(bench->gap_map[who]);
		for (unsigned long i = 0; bench->empty_maps[who] && i < bench->input.copies; i++)
			contestants[who]->destroy(bench->empty_maps[who][i]);
		free(bench->empty_maps[who]);
	}
}

static void run(struct bench *bench, enum shape shape, unsigned int size)
{
	static const enum op order[] = {BYTES,    LOAD, LOAD_WRITER, LOAD_2T,
					LOAD_DEP, ITER, GAP,         STORE};

	if (input_make(&bench->input, sizes[size], shape == GAPS, SEED + size))
		fail("out of memory");
	make_maps(bench, shape);
	for (unsigned int round = 0; round < ROUNDS_MAX; round++) {
		for (unsigned int i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
			enum op op = order[i];

			if (!bench->op[op] && !(op == STORE && bench->op[ERASE]))
				continue;
			if (round >= rounds_of(bench, op))
				continue;
			/* Somebody else is first each time. */
			for (unsigned int j = 0; j < WHOS; j++) {
				enum who who = (round + j) % WHOS;

				if (bench->who[who])
					measure(bench, who, op, shape, size, round);
			}
		}
	}
	destroy_maps(bench);
	input_free(&bench->input);
	report_print(shape, size);
}

/* ---- Options -------------------------------------------------------------------------------- */

/* Choose from names by a list with commas. */
static void choose(bool *chosen, const char *const *names, unsigned int count, char *list)
{
	char *rest;

	memset(chosen, 0, count * sizeof(*chosen));
	for (char *name = strtok_r(list, ",", &rest); name; name = strtok_r(NULL, ",", &rest)) {
		unsigned int i = 0;

		while (i < count && strcmp(names[i], name))
			i++;
		if (i == count)
			fail("there is no '%s' to measure", name);
		chosen[i] = true;
	}
}

static void choose_size(bool *chosen, char *list)
{
	char *rest;

	memset(chosen, 0, SIZES * sizeof(*chosen));
	for (char *word = strtok_r(list, ",", &rest); word; word = strtok_r(NULL, ",", &rest)) {
		unsigned long n = strtoul(word, NULL, 10);
		unsigned int i = 0;

		while (i < SIZES && sizes[i] != n)
			i++;
		if (i == SIZES)
			fail("--n %s: choose from 10,100,1000,10000,100000,1000000", word);
		chosen[i] = true;
	}
}

static void parse(struct bench *bench, int argc, char **argv)
{
	static const struct option options[] = {
		{"who", required_argument, NULL, 'w'},
		{"op", required_argument, NULL, 'o'},
		{"shape", required_argument, NULL, 's'},
		{"n", required_argument, NULL, 'n'},
		{"rounds", required_argument, NULL, 'r'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int option;

	memset(bench->who, 1, sizeof(bench->who));
	memset(bench->op, 1, sizeof(bench->op));
	memset(bench->shape, 1, sizeof(bench->shape));
	memset(bench->size, 1, sizeof(bench->size));
	bench->rounds = ROUNDS;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'w':
			choose(bench->who, who_names, WHOS, optarg);
			break;
		case 'o':
			choose(bench->op, op_names, OPS, optarg);
			break;
		case 's':
			choose(bench->shape, shape_names, SHAPES, optarg);
			break;
		case 'n':
			choose_size(bench->size, optarg);
			break;
		case 'r':
			bench->rounds = strtoul(optarg, NULL, 10);
			if (bench->rounds < 1 || bench->rounds > ROUNDS_MAX)
				fail("--rounds: from 1 to %d", ROUNDS_MAX);
			break;
		default:
			printf("usage: maple [--who WHO,...] [--op OP,...] [--shape SHAPE,...] "
			       "[--n N,...] [--rounds ROUNDS]\n");
			exit(option == 'h' ? 0 : 2);
		}
	}
	if (!&bench_kernel)
		bench->who[KERNEL] = false;
}

int main(int argc, char **argv)
{
	static struct bench bench;
	int err;

	parse(&bench, argc, argv);
	err = companion_start();
	bench.two_cpus = !err;
	if (err == -ENODEV)
		fprintf(stderr, "bench maple: one CPU only: no load_2t, no load_writer\n");
	else if (err)
		fail("no second thread: %s", strerror(-err));
	for (unsigned int size = 0; size < SIZES; size++) {
		for (unsigned int shape = 0; shape < SHAPES; shape++) {
			if (bench.size[size] && bench.shape[shape])
				run(&bench, shape, size);
		}
	}
	report_print_ratios();
	return 0;
}
