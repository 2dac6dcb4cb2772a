/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SAMARA_BENCH_MAPLE_H
#define SAMARA_BENCH_MAPLE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * What the contestants of the maple-tree bench have in common. Each contestant is an object of its
 * own, all its symbols local but the struct contestant, because the kernel's tree and ours define
 * the same names; the loops in it come from one template, maple_loops.h.
 */

/**
 * struct bench_range - one range of the map
 * @first: first index
 * @last: last index, inclusive
 * @number: position among the ranges in order; the entry stored is bench_entry(number)
 */
struct bench_range {
	unsigned long first;
	unsigned long last;
	unsigned long number;
};

/* Look for @size free indices at or after @min; the right answer is @expect. */
struct bench_query {
	unsigned long min;
	unsigned long size;
	unsigned long expect;
};

/*
 * Entries are odd, so that every contestant takes them. What a writer stores instead for a while
 * differs in the top bit alone, so a reader can tell that it found the right range either way.
 */
#define BENCH_OTHER 0x8000000000000000ul

static inline unsigned long bench_entry(unsigned long number)
{
	return number << 1 | 1;
}

/**
 * struct contestant - a map of ranges, and the loops that are timed
 *
 * A function that is NULL is an operation which this contestant does not have. Loops return the
 * sum of what they found, for the caller to check, and say in *failed if an operation failed.
 *
 * @stores: it can be changed
 * @blocks: readers wait for a writer, so long that fewer look-ups must do
 * @create: an empty map; @gaps: one that can be searched for gaps. NULL: no memory
 * @destroy: wait for readers and pending frees, free all
 * @settle: wait until everything that waits for a grace period is freed
 * @fill: store @count ranges in the order given.
 * @erase: look @count keys up and erase what is there; sum of the entries
 * @load: look up each key; sum of the entries
 * @load_dep: the same, but the address of each look-up depends on the last one's result; @zero is 0
 * @iter: visit all entries once, sum of the entries
 * @replace: until *stop: replace each range in turn by another entry, by two halves, and by what it
 *           was; *stores counts
 * @gap: answer queries below @max; sum of the answers
 * @bytes: memory for nodes
 */
struct contestant {
	const char *name;
	bool stores;
	bool blocks;
	void *(*create)(bool gaps);
	void (*destroy)(void *map);
	void (*settle)(void);
	void (*fill)(void *map, const struct bench_range *ranges, const uint32_t *order,
		     unsigned long count, bool *failed);
	unsigned long (*erase)(void *map, const struct bench_range *ranges, const uint32_t *order,
			       unsigned long count);
	unsigned long (*load)(void *map, const unsigned long *keys, unsigned long count);
	unsigned long (*load_dep)(void *map, const unsigned long *keys, unsigned long count,
				  unsigned long zero);
	unsigned long (*iter)(void *map);
	void (*replace)(void *map, const struct bench_range *ranges, const uint32_t *order,
			unsigned long count, const bool *stop, unsigned long *stores, bool *failed);
	unsigned long (*gap)(void *map, const struct bench_query *queries, unsigned long count,
			     unsigned long max, bool *failed);
	unsigned long (*bytes)(void *map);
};

extern const struct contestant bench_samara;
extern const struct contestant bench_kernel;
extern const struct contestant bench_rbtree;
extern const struct contestant bench_array;

#endif
