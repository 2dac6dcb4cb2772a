/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "mm/maple_internal.h"

/*
 * The search for a gap. A gap is one slot, so none lies across nodes: whether a subtree holds one of
 * some size is a single comparison with its parent's gap[]. The way down can be wrong only where
 * the subtree reaches beyond the range that was asked for, so there is at most one way back up from
 * each end of it.
 */

/**
 * struct search - what is looked for
 * @min, @max: the range
 * @size: how many indices
 * @first, @last: what was found
 */
struct search {
	unsigned long min;
	unsigned long max;
	unsigned long size;
	unsigned long first;
	unsigned long last;
};

/* Whether a subtree, or a gap, is too small. Without gap tracking a subtree might hold anything. */
static bool too_small(uintptr_t encoded, unsigned int slot, const struct search *s)
{
	if (mt_is_leaf(encoded))
		return mt_node(encoded)->slot[slot] != NULL;
	return mt_is_arange(encoded) && mt_node(encoded)->arange.gap[slot] < s->size;
}

/* What of [first, last] is in the range. Return: whether it is large enough. */
static bool fits(struct search *s, unsigned long first, unsigned long last)
{
	s->first = first > s->min ? first : s->min;
	s->last = last < s->max ? last : s->max;
	return s->first <= s->last && s->last - s->first >= s->size - 1;
}

static bool search_up(uintptr_t encoded, unsigned long min, unsigned long max, struct search *s)
{
	unsigned int end = mt_last_slot(encoded);
	unsigned int slot = s->min > min ? maple_walker->slot(encoded, s->min) : 0;
	unsigned long first = slot > 0 ? mt_pivot(encoded, slot - 1) + 1 : min;

	for (; slot <= end; slot++) {
		unsigned long last = slot < end ? mt_pivot(encoded, slot) : max;

		if (!too_small(encoded, slot, s) &&
		    (mt_is_leaf(encoded) ? fits(s, first, last)
					 : search_up(mt_child(encoded, slot), first, last, s)))
			return true;
		if (last >= s->max)
			return false;
		first = last + 1;
	}
	return false;
}

static bool search_down(uintptr_t encoded, unsigned long min, unsigned long max, struct search *s)
{
	unsigned int end = mt_last_slot(encoded);
	unsigned int slot = s->max < max ? maple_walker->slot(encoded, s->max) : end;
	unsigned long last = slot < end ? mt_pivot(encoded, slot) : max;

	for (;; slot--) {
		unsigned long first = slot > 0 ? mt_pivot(encoded, slot - 1) + 1 : min;

		if (!too_small(encoded, slot, s) &&
		    (mt_is_leaf(encoded) ? fits(s, first, last)
					 : search_down(mt_child(encoded, slot), first, last, s)))
			return true;
		if (slot == 0 || first <= s->min)
			return false;
		last = first - 1;
	}
}

static int empty_area(struct ma_state *mas, struct search *s,
		      bool (*search)(uintptr_t, unsigned long, unsigned long, struct search *))
{
	uintptr_t root = (uintptr_t)samara_rcu_dereference(mas->tree->ma_root);

	if (s->min > s->max || s->size == 0 || s->max - s->min < s->size - 1)
		return -EINVAL;
	mas_reset(mas);
	if (!root)
		fits(s, 0, ULONG_MAX);
	else if (!search(root, 0, ULONG_MAX, s))
		return -EBUSY;
	return 0;
}

int mas_empty_area(struct ma_state *mas, unsigned long min, unsigned long max, unsigned long size)
{
	struct search s = {.min = min, .max = max, .size = size};
	int ret = empty_area(mas, &s, search_up);

	if (!ret)
		mas_set_range(mas, s.first, s.first + size - 1);
	return ret;
}

int mas_empty_area_rev(struct ma_state *mas, unsigned long min, unsigned long max,
		       unsigned long size)
{
	struct search s = {.min = min, .max = max, .size = size};
	int ret = empty_area(mas, &s, search_down);

	if (!ret)
		mas_set_range(mas, s.last - size + 1, s.last);
	return ret;
}
