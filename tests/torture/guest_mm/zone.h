/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_TORTURE_GUEST_MM_ZONE_H
#define TESTS_TORTURE_GUEST_MM_ZONE_H

#include "tests/torture/guest_mm/tally.h"
#include "tests/torture/guest_mm/windows.h"

/**
 * struct zone - a range of guest memory that one operator works on while others use it
 * @windows: where it lies; immutable
 * @home: the two places it may be at; immutable
 * @pages: immutable
 * @at: which of @home; atomic
 * @seq: odd while it moves; atomic
 * @epoch: grows when its contents are gone; atomic
 *
 * Only the operator, and who comes when all threads have ended, changes anything here.
 */
struct zone {
	const struct windows *windows;
	gpa_t home[2];
	uint64_t pages;
	uint32_t at;
	uint32_t seq;
	uint64_t epoch;
};

/**
 * zone_make() - plug a zone
 * @number: different for each; those side by side lie side by side, so that they merge and split
 */
void zone_make(struct zone *zone, const struct windows *windows, unsigned int number);

/* Unplug it. */
void zone_end(struct zone *zone, struct tally *tally);

/* Where it is just now. */
gpa_t zone_home(const struct zone *zone);

/* Its @seq. */
uint32_t zone_seq(const struct zone *zone);

/*
 * A word of it, at where it is just now: when it moves, that may be nothing's. One word after another
 * lies in the next page.
 */
uint64_t *zone_word(const struct zone *zone, unsigned int word);

/* To its other home, contents and all. Context: its operator. */
void zone_move(struct zone *zone, struct tally *tally);

/**
 * zone_read_quietly() - read a word while the zone does not move
 * @stop: do not wait for that any longer; atomic
 *
 * Return: whether it was read.
 */
bool zone_read_quietly(const struct zone *zone, unsigned int word, uint64_t *value,
		       const uint32_t *stop);

#endif
