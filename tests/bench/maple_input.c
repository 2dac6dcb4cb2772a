/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdlib.h>

#include "tests/bench/maple_input.h"

#define PAGE        4096ul
#define PAGES_MAX   16ul
#define LARGE_GAP   (64 * PAGE)
#define LARGE_EVERY 64ul
/* Fewer stores than this in one go would be timed badly. */
#define STORES_MIN  2000ul

/* xorshift64* (Vigna 2016): good enough, and the same everywhere. */
static uint64_t random_next(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dul;
}

static unsigned long random_below(uint64_t *state, unsigned long limit)
{
	return (random_next(state) >> 32) * limit >> 32;
}

static void make_ranges(struct input *input, uint64_t *random)
{
	unsigned long at = 16 * PAGE;

	for (unsigned long i = 0; i < input->n; i++) {
		input->ranges[i].first = at;
		at += (1 + random_below(random, PAGES_MAX)) * PAGE;
		input->ranges[i].last = at - 1;
		input->ranges[i].number = i;
		if (!input->gaps)
			continue;
		if (random_below(random, LARGE_EVERY) == 0)
			at += LARGE_GAP;
		else
			at += (1 + random_below(random, PAGES_MAX)) * PAGE;
	}
	input->max = at + 2 * LARGE_GAP;
}

static void shuffle(uint32_t *order, unsigned long n, uint64_t *random)
{
	for (unsigned long i = 0; i < n; i++) {
		unsigned long j = random_below(random, i + 1);

		order[i] = order[j];
		order[j] = i;
	}
}

static void make_keys(struct input *input, uint64_t *random)
{
	for (unsigned long i = 0; i < INPUT_KEYS; i++) {
		unsigned long number = random_below(random, input->n);
		const struct bench_range *range = &input->ranges[number];

		input->numbers[i] = number;
		input->keys[i] =
			range->first + random_below(random, range->last - range->first + 1);
	}
}

/* The answer by the plainest way there is: range after range. */
static unsigned long first_gap(const struct input *input, unsigned long number, unsigned long size)
{
	while (number + 1 < input->n &&
	       input->ranges[number + 1].first - input->ranges[number].last - 1 < size)
		number++;
	return input->ranges[number].last + 1;
}

static void make_queries(struct input *input, uint64_t *random)
{
	for (unsigned long i = 0; i < INPUT_QUERIES; i++) {
		unsigned long number = random_below(random, input->n);
		struct bench_query *query = &input->queries[i];

		query->min = input->ranges[number].first;
		query->size = LARGE_GAP;
		if (random_next(random) >> 63)
			query->size = (1 + random_below(random, PAGES_MAX)) * PAGE;
		query->expect = first_gap(input, number, query->size);
	}
}

int input_make(struct input *input, unsigned long n, bool gaps, uint64_t seed)
{
	uint64_t random = seed;

	*input = (struct input){.n = n, .gaps = gaps};
	input->copies = n < STORES_MIN ? STORES_MIN / n : 1;
	input->ranges = calloc(n, sizeof(*input->ranges));
	input->order = calloc(input->copies * n, sizeof(*input->order));
	input->erase_order = calloc(input->copies * n, sizeof(*input->erase_order));
	input->keys = calloc(INPUT_KEYS, sizeof(*input->keys));
	input->numbers = calloc(INPUT_KEYS, sizeof(*input->numbers));
	input->queries = calloc(INPUT_QUERIES, sizeof(*input->queries));
	if (!input->ranges || !input->order || !input->erase_order || !input->keys ||
	    !input->numbers || !input->queries) {
		input_free(input);
		return -ENOMEM;
	}
	make_ranges(input, &random);
	for (unsigned long i = 0; i < input->copies; i++) {
		shuffle(input->order + i * n, n, &random);
		shuffle(input->erase_order + i * n, n, &random);
	}
	make_keys(input, &random);
	if (gaps)
		make_queries(input, &random);
	return 0;
}

void input_free(struct input *input)
{
	free(input->ranges);
	free(input->order);
	free(input->erase_order);
	free(input->keys);
	free(input->numbers);
	free(input->queries);
}

unsigned long input_sum_keys(const struct input *input, unsigned long from, unsigned long count)
{
	unsigned long sum = 0;

	for (unsigned long i = from; i < from + count; i++)
		sum += bench_entry(input->numbers[i]);
	return sum;
}

unsigned long input_sum_all(const struct input *input)
{
	unsigned long sum = 0;

	for (unsigned long i = 0; i < input->n; i++)
		sum += bench_entry(i);
	return sum;
}
