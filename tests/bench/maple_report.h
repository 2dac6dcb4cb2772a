/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SAMARA_BENCH_MAPLE_REPORT_H
#define SAMARA_BENCH_MAPLE_REPORT_H

#include <stdbool.h>

/* What was measured, round by round, and how it is said. One thread. */

#define ROUNDS_MAX 101
#define SIZES      6

enum who {
	SAMARA,
	KERNEL,
	RBTREE,
	ARRAY,
	WHOS
};
enum op {
	LOAD,
	LOAD_DEP,
	LOAD_2T,
	LOAD_WRITER,
	WRITER,
	ITER,
	STORE,
	ERASE,
	GAP,
	BYTES,
	OPS
};
enum shape {
	ADJ,
	GAPS,
	SHAPES
};

extern const char *const who_names[WHOS];
extern const char *const op_names[OPS];
extern const char *const shape_names[SHAPES];
extern const unsigned long sizes[SIZES];

/* One value of one round. */
void report_add(enum who who, enum op op, enum shape shape, unsigned int size, double value);
/* The medians of all that was added for a shape and size, as lines. */
void report_print(enum shape shape, unsigned int size);
/* The ratios of all that was added, with their targets. */
void report_print_ratios(void);

#endif
