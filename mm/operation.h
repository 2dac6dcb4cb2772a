/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MM_OPERATION_H
#define MM_OPERATION_H

#include "mm/mm.h"

/*
 * What plug, unplug, remap and protect have in common. All of it runs with the tree locked for
 * writing, but range_check().
 */

/**
 * struct range - what an operation was asked to work on
 * @window: that covers it
 */
struct range {
	const char *operation; /* its name, for messages */
	gpa_t gpa;
	uint64_t size_bytes;
	struct window *window;
};

/* The last byte: ranges are not empty. */
static inline gpa_t range_last(const struct range *range)
{
	return range->gpa + range->size_bytes - 1;
}

/**
 * range_error() - record that an operation on a range failed
 *
 * Return: @code. The text is "OPERATION GPA+SIZE: " and @fmt.
 */
int range_error(struct samara_error *err, const struct range *range, int code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/**
 * range_check() - whether a range is one, and which window it is in
 *
 * Return: 0; -EINVAL; -ERANGE (in no window).
 */
int range_check(struct guest_mm *mm, struct range *range, struct samara_error *err);

/* Whether a range is wholly free, or plugged from end to end. Return: 0; -EEXIST or -ENOENT. */
int range_check_free(struct guest_mm *mm, const struct range *range, struct samara_error *err);
int range_check_plugged(struct guest_mm *mm, const struct range *range, struct samara_error *err);

/* Unlock the tree, have the faults tried again that waited, and count. Return: @ret. */
int operation_end(struct guest_mm *mm, int ret, uint64_t *counter);

/* Count an operation that was refused before it began. Return: @ret. */
int operation_refuse(struct guest_mm *mm, int ret);

/* A new region, not in the tree. Return: NULL when there is no memory. */
struct mem_region *region_make(struct guest_mm *mm, struct window *window, gpa_t first, gpa_t last,
			       unsigned int prot);

/* The first region that starts at or after @gpa and not behind @last. */
struct mem_region *region_next(struct guest_mm *mm, gpa_t gpa, gpa_t last);

/* Visit the regions that start in a range. */
#define for_each_region_in(mm, range, entry)                                        \
	for ((entry) = region_next((mm), (range)->gpa, range_last(range)); (entry); \
	     (entry) = (entry)->region.last == range_last(range)                    \
			       ? NULL                                               \
			       : region_next((mm), (entry)->region.last + 1, range_last(range)))

/**
 * range_isolate() - have regions begin and end where a range does, lock them and drain them
 *
 * The range is plugged from end to end. What of its first and last region lies outside is free for
 * readers all the while; what they hold there is not waited for (but by some lock designs).
 *
 * Context: May sleep; waits for the readers of the range.
 * Return: 0; -ENOMEM: nothing was cut, nothing is marked.
 */
int range_isolate(struct guest_mm *mm, const struct range *range);

/**
 * range_merge() - unite neighbours that are alike, in a range and at its ends
 *
 * Nobody waits for a change that changes nothing. A neighbour for which there is no memory stays as
 * it is, and in some lock designs so does one that somebody is using. What is united is unlocked.
 *
 * Context: The operation is over, and only the bulk unlock is left to do.
 */
void range_merge(struct guest_mm *mm, const struct range *range);

#endif
