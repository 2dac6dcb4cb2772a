/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MM_PARKED_H
#define MM_PARKED_H

#include <stddef.h>
#include <stdint.h>

#include <samara/types.h>

/**
 * struct parked - the faults that wait for an operation to end: a set of pages and fault flags
 *
 * A hash table, so that a fault of many vCPUs on many pages is found as quickly as one of few. Its
 * user locks.
 */
struct parked {
	uint64_t *slot; /* page, flags and PARKED_USED; 0: free */
	size_t slots;   /* 0 or a power of two */
	size_t count;
};

/**
 * parked_add() - add a fault
 * @flags: below 0x800
 *
 * Return: 0, -EALREADY (it is there), -ENOMEM.
 */
int parked_add(struct parked *parked, gpa_t page, unsigned int flags);

/* Take everything out; the caller has what it returns, and frees it by parked_free(). */
struct parked parked_take(struct parked *parked);
void parked_free(struct parked *parked);

/**
 * parked_next() - the next fault from position *@at on, in no particular order
 * @at: where to look, from 0; moved behind what was found
 *
 * Return: whether there was one.
 */
int parked_next(const struct parked *parked, size_t *at, gpa_t *page, unsigned int *flags);

#endif
