/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SAMARA_BENCH_MAPLE_INPUT_H
#define SAMARA_BENCH_MAPLE_INPUT_H

#include "tests/bench/maple.h"

#define INPUT_KEYS    (1ul << 18)
#define INPUT_QUERIES (1ul << 14)

/**
 * struct input - everything the loops need, made before they are timed
 * @n: number of ranges
 * @ranges: the ranges in order: 1 to 16 pages each, with gaps 1 to 16 pages between them, each 64th
 *          64 pages
 * @copies: maps that are filled in one go, so that small ones can be timed
 * @order: random orders of the ranges, @copies of them one after the other
 * @erase_order: the same, other orders
 * @keys: random indices, each within a range; the same for everybody
 * @numbers: for each key the range that it is in
 * @queries: for gaps from a random range on, half of them for a large one; only with gaps
 * @max: end of the space in which gaps are looked for
 *
 * Lock: immutable once made.
 */
struct input {
	unsigned long n;
	bool gaps;
	struct bench_range *ranges;
	unsigned long copies;
	uint32_t *order;
	uint32_t *erase_order;
	unsigned long *keys;
	uint32_t *numbers;
	struct bench_query *queries;
	unsigned long max;
};

/* 0 or -ENOMEM. The same @seed makes the same input. */
int input_make(struct input *input, unsigned long n, bool gaps, uint64_t seed);
void input_free(struct input *input);
/* The sum of the entries that keys @from to @from + @count - 1 lead to. */
unsigned long input_sum_keys(const struct input *input, unsigned long from, unsigned long count);
/* The sum of all entries. */
unsigned long input_sum_all(const struct input *input);

#endif
