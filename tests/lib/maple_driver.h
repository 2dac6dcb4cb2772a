/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_LIB_MAPLE_DRIVER_H
#define TESTS_LIB_MAPLE_DRIVER_H

#include <stdio.h>

#include "tests/lib/maple_model.h"

/*
 * Sequences of all operations of the maple tree, chosen by bytes, each compared with the model. The
 * bytes come from a seed (tests/unit/test_maple_model.c) or from libFuzzer (tests/fuzz/fuzz_maple.c).
 *
 * One thread; locks are taken where the interface asks for them.
 */

/**
 * struct maple_input - where the choices come from
 * @bytes: what is left to be read; NULL: numbers from @random, without end
 * @left: how many
 * @random: state of the generator, not 0
 */
struct maple_input {
	const uint8_t *bytes;
	size_t left;
	uint64_t random;
};

/* One number below 256; 0 when the bytes have run out. */
unsigned int maple_input_byte(struct maple_input *in);

/**
 * struct maple_driver_options - what a sequence is made of
 * @flags: MT_FLAGS_* of the tree
 * @space: about how many different indices there are at each place
 * @shift: how far apart they are: as a power of two
 * @steps: operations, unless the input ends before
 * @compare_every: steps between two comparisons of everything
 * @log: where each call is written, or NULL
 */
struct maple_driver_options {
	unsigned int flags;
	unsigned long space;
	unsigned int shift;
	unsigned int steps;
	unsigned int compare_every;
	FILE *log;
};

/**
 * struct maple_driver_result - how a sequence ended
 * @failure: what was not so, and where; empty when all was well
 * @steps: operations made
 * @writes: those that changed the tree
 * @refused: those that an allocation failed for
 * @height: of the tree, at most
 */
struct maple_driver_result {
	char failure[256];
	unsigned int steps;
	unsigned int writes;
	unsigned int refused;
	unsigned int height;
};

/**
 * maple_driver_run() - make a tree, use it, destroy it
 *
 * Return: whether all was well.
 */
bool maple_driver_run(struct maple_input *in, const struct maple_driver_options *options,
		      struct maple_driver_result *result);

/* Whether a tree holds what the model says, up and down, and is valid; else why not. */
bool maple_driver_equal(struct maple_tree *mt, const struct maple_model *m, char *why, size_t size);

#endif
