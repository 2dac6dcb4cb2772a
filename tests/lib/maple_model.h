/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_LIB_MAPLE_MODEL_H
#define TESTS_LIB_MAPLE_MODEL_H

#include <samara/maple_tree.h>

/*
 * What a maple tree means, written down without a tree: a sorted array of ranges, and the rules by
 * which a struct ma_state moves over it. Slow and simple on purpose; tests compare the tree with it.
 *
 * The rules for states are those of Linux 6.12 (lib/maple_tree.c: mas_next_setup(),
 * mas_prev_setup(), mas_find_setup(), mas_find_rev_setup(), and the two functions that step), but
 * that an entry at index 0 alone is a range as any other there is: no ma_root.
 *
 * Lock: none; a model belongs to one thread.
 */

#define MAPLE_MODEL_RANGES 8192u

/**
 * struct maple_range - a range with its entry, or a gap
 * @entry: NULL for a gap
 */
struct maple_range {
	unsigned long first;
	unsigned long last;
	void *entry;
};

/**
 * struct maple_model - what a tree holds
 * @range: the entries, ascending; gaps are what lies between them
 */
struct maple_model {
	unsigned int count;
	struct maple_range range[MAPLE_MODEL_RANGES];
};

/**
 * struct maple_model_state - what is to be seen of a struct ma_state
 * @walked: its position was looked up. ma_overflow and ma_underflow can be reached without; what
 *          comes then is not defined, and Linux loads from a NULL pointer
 */
struct maple_model_state {
	unsigned long index;
	unsigned long last;
	enum maple_status status;
	bool walked;
};

/* Make a model, or an emptied one, of a tree that holds nothing. */
void maple_model_clear(struct maple_model *m);

/* Whether one more store has room. */
bool maple_model_has_room(const struct maple_model *m);

/* What mtree_store_range() does; NULL erases. */
void maple_model_store(struct maple_model *m, unsigned long first, unsigned long last, void *entry);

/* The range that covers an index: an entry's, or the whole gap. */
struct maple_range maple_model_at(const struct maple_model *m, unsigned long index);

/* Whether nothing is in a range. */
bool maple_model_is_free(const struct maple_model *m, unsigned long first, unsigned long last);

/* The first entry that reaches to @index or beyond and begins by @max; false when there is none. */
bool maple_model_find(const struct maple_model *m, unsigned long index, unsigned long max,
		      struct maple_range *found);

/**
 * maple_model_gap() - what mas_empty_area() finds, or with @up false mas_empty_area_rev()
 * @first: the lowest index of what was found
 *
 * Return: 0, -EBUSY, -EINVAL.
 */
int maple_model_gap(const struct maple_model *m, unsigned long min, unsigned long max,
		    unsigned long size, bool up, unsigned long *first);

/* ---- States ---------------------------------------------------------------------------------- */

void maple_model_state_set(struct maple_model_state *s, unsigned long first, unsigned long last);
void maple_model_state_reset(struct maple_model_state *s);
void maple_model_state_pause(struct maple_model_state *s);
/* After a store of @entry through the state. */
void maple_model_state_stored(const struct maple_model *m, struct maple_model_state *s,
			      unsigned long first, unsigned long last, const void *entry);

void *maple_model_walk(const struct maple_model *m, struct maple_model_state *s);
/* mas_next(), mas_next_range() */
void *maple_model_next(const struct maple_model *m, struct maple_model_state *s, unsigned long max,
		       bool gaps);
/* mas_prev(), mas_prev_range() */
void *maple_model_prev(const struct maple_model *m, struct maple_model_state *s, unsigned long min,
		       bool gaps);
/* mas_find(), mas_find_range() */
void *maple_model_state_find(const struct maple_model *m, struct maple_model_state *s,
			     unsigned long max, bool gaps);
/* mas_find_rev(), mas_find_range_rev() */
void *maple_model_state_find_rev(const struct maple_model *m, struct maple_model_state *s,
				 unsigned long min, bool gaps);

#endif
