/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_LIB_MAPLE_HISTORY_H
#define TESTS_LIB_MAPLE_HISTORY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * What a tree has been over time, for readers that check what they saw beside writers.
 *
 * Each write has a number, its version, counting from 1; writers take turns. Before a write is
 * made, maple_history_begin() logs what will be: a hash of all ranges, and for each index touched
 * the version of what is there from now on (0: nothing). maple_history_complete() follows it. A
 * reader notes the complete version at its start and the begun one at its end: what it saw must
 * have been so at a version between the two.
 *
 * There are MAPLE_HISTORY_INDICES indices, half at the beginning of the space, half at its end;
 * what lies between the halves counts as one more.
 *
 * Lock: writers exclude each other; readers need none.
 */

#define MAPLE_HISTORY_INDICES 2000ul
#define MAPLE_HISTORY_AGES    24

/* The index with a number below MAPLE_HISTORY_INDICES. */
unsigned long maple_history_index(unsigned long number);

/* Forget all; nobody reads or writes. */
void maple_history_clear(void);

/**
 * maple_history_begin() - a write is about to be made
 * @first, @last: what it stores to, as one of the indices each
 * @value: the version of what will be there: @version, or 0 for nothing
 * @hash: of all ranges afterwards
 */
void maple_history_begin(uint64_t version, unsigned long first, unsigned long last, uint64_t value,
			 uint64_t hash);
void maple_history_complete(uint64_t version);

/* The versions that bound what a reader may see. */
uint64_t maple_history_completed(void);
uint64_t maple_history_begun(void);

/**
 * maple_history_check_value() - an index, or what lies between, held a value at a version between
 *
 * Failures are counted; what the log does not reach back to is counted apart.
 */
void maple_history_check_value(unsigned long index, uint64_t value, uint64_t from, uint64_t to);

/* The same of a hash of all ranges; the age of the view goes into the histogram. */
void maple_history_check_state(uint64_t hash, uint64_t from, uint64_t to);

/* Put a view into the histogram that is up to so many writes old. */
void maple_history_add_age(uint64_t versions);

/**
 * struct maple_history_counts - what the checks have found since maple_history_clear()
 * @ages: views that were 0, 1, less than 4, less than 8 ... writes old at the end of their section
 */
struct maple_history_counts {
	atomic_ulong wrong_values;
	atomic_ulong wrong_states;
	atomic_ulong not_logged;
	atomic_ulong ages[MAPLE_HISTORY_AGES];
};

extern struct maple_history_counts maple_history_counts;

#endif
