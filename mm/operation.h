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

/* Whether a protection is one, and can be had in a range. Return: 0; -EINVAL, -EOPNOTSUPP. */
int range_check_prot(const struct range *range, unsigned int prot, struct samara_error *err);

/* Whether a range is wholly free, or plugged from end to end. Return: 0; -EEXIST or -ENOENT. */
int range_check_free(struct guest_mm *mm, const struct range *range, struct samara_error *err);
int range_check_plugged(struct guest_mm *mm, const struct range *range, struct samara_error *err);

struct operation;

/**
 * struct operation_kind - how one kind of operation is done, in steps (mm/operation_run.c)
 *
 * @check: look at the arguments; no lock is held
 * @look: see whether the map allows it; the tree is locked, nothing is changed. NULL: it does
 * @prepare: lock the regions, do what can fail and be undone. On an error all is as before, but
 *           for regions that were cut
 * @undo: after a @prepare that succeeded: all is as before. Cannot fail
 * @drop: what cannot be undone but can fail, without effect then (pages go). NULL: nothing
 * @commit: the rest. Cannot fail
 * @counter: of those that succeeded: an offset in struct mm_counters
 */
struct operation_kind {
	int (*check)(struct guest_mm *mm, struct operation *op, struct samara_error *err);
	int (*look)(struct guest_mm *mm, struct operation *op, struct samara_error *err);
	int (*prepare)(struct guest_mm *mm, struct operation *op, struct samara_error *err);
	void (*undo)(struct guest_mm *mm, struct operation *op);
	int (*drop)(struct guest_mm *mm, struct operation *op);
	void (*commit)(struct guest_mm *mm, struct operation *op);
	size_t counter;
};

extern const struct operation_kind plug_operation, unplug_operation; /* plug.c */
extern const struct operation_kind protect_operation;                /* protect.c */
extern const struct operation_kind remap_operation;                  /* remap.c */
extern const struct operation_kind discard_operation;                /* discard.c */
extern const struct operation_kind reback_operation;                 /* reback.c */
extern const struct operation_kind place_operation;                  /* place.c */

/**
 * struct operation - one on its way; all of it belongs to the thread that runs it
 * @range: what it works on
 * @to: remap: the target
 * @lend: discard: the guest will not use the pages for now
 * @bare: remap: there is nothing to move
 * @undo, @erase: stores that are prepared; protect stores its region by @erase
 */
struct operation {
	const struct operation_kind *kind;
	struct range range, to;
	bool bare;
	unsigned int prot;
	bool lend;
	const struct guest_mm_memory *memory; /* reback: what is wanted */
	struct reback *reback;                /* reback: what is prepared */
	struct mem_region *region;            /* protect: what will be there */
	struct ma_state undo, erase;
};

/**
 * operations_run() - do them all, or none
 * @ops: they do not touch each other's ranges
 *
 * Return: 0, or the error of the first that failed; then the map is as it was.
 */
int operations_run(struct guest_mm *mm, struct operation *ops, size_t count,
		   struct samara_error *err);

/**
 * place_range() - have other pages behind a range: huge ones, or a NUMA node's
 *
 * By itself, and not as a place_operation: holds a piece at a time and locks nothing for writing.
 */
int place_range(struct guest_mm *mm, struct range *range, const struct guest_mm_memory *memory,
		struct samara_error *err);

/* Prepare an operation's stores: @undo over @undo_range, @erase over @erase_range. */
void operation_set_undo(struct guest_mm *mm, struct operation *op, const struct range *range);
void operation_set_erase(struct guest_mm *mm, struct operation *op, const struct range *range);

/* Store NULL where memory is taken already but for a moment's lack. */
void erase_surely(struct ma_state *mas);

/* Wait before something is tried again that must succeed. */
void pause_before_retry(void);

/* Give pages back that must not stay, where it is known that this can be done. */
void discard_surely(struct window *window, gpa_t gpa, uint64_t size_bytes);

/* Retire every region of a range. Context: marked and drained. */
void range_retire(struct guest_mm *mm, const struct range *range);

/* Lift write protection where a range's regions may be written. */
void range_unprotect_writable(struct guest_mm *mm, const struct range *range);

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
