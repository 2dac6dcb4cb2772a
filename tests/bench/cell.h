/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SAMARA_BENCH_CELL_H
#define SAMARA_BENCH_CELL_H

#include <stdint.h>

/*
 * A contestant of tests/bench/versus: a program that measures one cell at a time, when told to. Each
 * lock design is a build of its own, so each contestant is a process of its own, and versus has them
 * take turns.
 */

/**
 * struct cell - something to measure
 * @name: as in the bench's output, without the contestant: "2.same.quiet"
 * @run: measures once and calls cell_value()
 */
struct cell {
	const char *name;
	void (*run)(const struct cell *cell);
	unsigned int threads;
	int what, writer;
};

/* A value of the cell that runs: "CELL.@unit". */
void cell_value(const struct cell *cell, const char *unit, double value);

/* Serve versus: measure what comes in, until there is nothing more. */
int cell_serve(const struct cell *cells, unsigned int count);

/*
 * The time, and how long the calling thread so far was ready to run but kept off its CPU by somebody
 * else: on a machine that others use too, that is not the contestant's.
 */
uint64_t cell_now_ns(void);
uint64_t cell_kept_off_ns(void);

/* Keep the calling thread on a CPU: the @which-th of those it may use, round and round. */
void cell_on_cpu(unsigned int which);

/* How many CPUs there are for us. */
unsigned int cell_cpus(void);

#endif
