/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/maple_report.h"

const char *const who_names[WHOS] = {"samara", "kernel", "rbtree", "array"};
const char *const op_names[OPS] = {"load", "load_dep", "load_2t", "load_writer", "writer",
				   "iter", "store",    "erase",   "gap",         "bytes"};
const char *const shape_names[SHAPES] = {"adj", "gap"};
const unsigned long sizes[SIZES] = {10, 100, 1000, 10000, 100000, 1000000};

/* The values of one figure, in the order of the rounds. */
struct figure {
	unsigned int count;
	double values[ROUNDS_MAX];
};

static struct figure figures[WHOS][OPS][SHAPES][SIZES];

void report_add(enum who who, enum op op, enum shape shape, unsigned int size, double value)
{
	struct figure *figure = &figures[who][op][shape][size];

	if (figure->count < ROUNDS_MAX)
		figure->values[figure->count++] = value;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double median(const double *values, unsigned int count)
{
	double sorted[ROUNDS_MAX];

	memcpy(sorted, values, count * sizeof(*values));
	qsort(sorted, count, sizeof(*sorted), compare);
	if (count % 2)
		return sorted[count / 2];
	return (sorted[count / 2 - 1] + sorted[count / 2]) / 2;
}

void report_print(enum shape shape, unsigned int size)
{
	for (unsigned int op = 0; op < OPS; op++) {
		for (unsigned int who = 0; who < WHOS; who++) {
			const struct figure *figure = &figures[who][op][shape][size];

			if (figure->count)
				printf("%s.%s.%s.%lu.%s %.1f\n", who_names[who], op_names[op],
				       shape_names[shape], sizes[size], op == BYTES ? "B" : "ns",
				       median(figure->values, figure->count));
		}
	}
	fflush(stdout);
}

/* The median of the quotients of each round, so that what slows a whole round down cancels out. */
static void print_ratio(const char *name, const struct figure *over, const struct figure *under,
			enum shape shape, unsigned int size, double target)
{
	unsigned int count = over->count < under->count ? over->count : under->count;
	double ratios[ROUNDS_MAX], ratio;

	if (!count)
		return;
	for (unsigned int i = 0; i < count; i++)
		ratios[i] = over->values[i] / under->values[i];
	ratio = median(ratios, count);
	printf("%s.%s.%lu %.3f", name, shape_names[shape], sizes[size], ratio);
	/* To the two decimals that the target has. */
	if (target > 0)
		printf(" <=%.2f %s", target, ratio < target + 0.005 ? "met" : "missed");
	printf("\n");
}

/* The targets against the kernel's tree; 0: it names none. */
static double target(enum op op, unsigned long n)
{
	switch (op) {
	case LOAD:
		return n <= 100000 ? 0.6 : 0.8;
	case LOAD_DEP:
		return 0.85;
	case ITER:
	case STORE:
	case ERASE:
	case GAP:
		return 0.9;
	case BYTES:
		return 1.0;
	default:
		return 0;
	}
}

static void print_ratios_of(enum shape shape, unsigned int size)
{
	char name[64];

	for (unsigned int op = 0; op < OPS; op++) {
		snprintf(name, sizeof(name), "samara/kernel.%s", op_names[op]);
		print_ratio(name, &figures[SAMARA][op][shape][size],
			    &figures[KERNEL][op][shape][size], shape, size,
			    target(op, sizes[size]));
	}
	for (unsigned int who = 0; who < WHOS; who++) {
		const struct figure *load = &figures[who][LOAD][shape][size];

		snprintf(name, sizeof(name), "%s.load_2t/load", who_names[who]);
		print_ratio(name, &figures[who][LOAD_2T][shape][size], load, shape, size,
			    who == SAMARA ? 1.0 : 0);
		snprintf(name, sizeof(name), "%s.load_writer/load", who_names[who]);
		print_ratio(name, &figures[who][LOAD_WRITER][shape][size], load, shape, size,
			    who == SAMARA ? 1.1 : 0);
	}
}

void report_print_ratios(void)
{
	for (unsigned int shape = 0; shape < SHAPES; shape++) {
		for (unsigned int size = 0; size < SIZES; size++)
			print_ratios_of(shape, size);
	}
}
