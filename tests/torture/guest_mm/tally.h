/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_TORTURE_GUEST_MM_TALLY_H
#define TESTS_TORTURE_GUEST_MM_TALLY_H

#include <stdbool.h>
#include <stdint.h>

#include <samara/error.h>

#include "tests/lib/tap.h"

/**
 * struct tally - what happened in a round: how much, and how much of it was wrong
 * @failing: calls fail at random, so operations and pins may; immutable while threads run
 * @strays: writes that hit no memory
 * @wrong_bytes: a word is not what was written last
 * @wrong_gone: what was there before an unplug or a discard is still seen
 * @wrong_change: what is read-only changed
 * @wrong_answer: a call should not have returned that
 * @wrong_listing: regions out of order, or with impossible counts
 *
 * All others are atomic.
 */
struct tally {
	bool failing;
	uint64_t accesses, pins, operations, operations_failed, listings, strays;
	uint64_t wrong_bytes, wrong_gone, wrong_change, wrong_answer, wrong_listing;
};

/* Count something wrong, one of @wrong_*, and tell of the first few. */
void tally_wrong(uint64_t *kind, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/**
 * tally_operation() - count an operation, which may fail only if calls fail
 * @what: its name
 * @ret: what it returned
 * @err: what it said of it
 *
 * Return: whether it was done.
 */
bool tally_operation(struct tally *tally, const char *what, int ret,
		     const struct samara_error *err);

/* Whether an error is one that a pin may have because calls fail. */
bool tally_excuses(const struct tally *tally, int ret);

/* Whether everybody did a little of everything. */
bool tally_everybody_got_on(const struct tally *tally);

/**
 * tally_report() - judge it
 * @name: of the round
 * @sound: nothing was left behind
 */
void tally_report(const struct tally *tally, struct tap *tap, const char *name, bool sound);

#endif
