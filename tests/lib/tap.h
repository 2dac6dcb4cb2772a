/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_LIB_TAP_H
#define TESTS_LIB_TAP_H

#include <stdbool.h>

/*
 * Results of a test program without CMocka, as TAP (testanything.org) on standard output: what
 * tests/tap reads.
 */

/**
 * struct tap - what a program has reported; {0} at first
 * @done: tests, those that were skipped among them
 * @failed: those that failed
 *
 * Context: one thread at a time.
 */
struct tap {
	unsigned int done;
	unsigned int failed;
};

/**
 * tap_report() - the result of one test
 * @fmt: its name; without "#", which ends a name
 */
void tap_report(struct tap *tap, bool good, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/**
 * tap_skip() - a test that says nothing here
 * @fmt: why
 */
void tap_skip(struct tap *tap, const char *name, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The program cannot go on: says why, and ends it. */
_Noreturn void tap_bail_out(const char *why);

/**
 * tap_end() - that was all
 *
 * Return: what main() returns.
 */
int tap_end(const struct tap *tap);

#endif
