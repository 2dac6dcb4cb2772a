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

/* Whether the gaps below a slot of an inner node are all too small; without tracking, who knows. */
static bool too_small(uintptr_t encoded, unsigned int slot, const struct search *s)
{
	return mt_is_arange(encoded) && mt_node(encoded)->arange.gap[slot] < s->size;
}

/* What of [first, last] is in the range. Return: whether it is large enough. */
static bool fits(struct search *s, unsigned long first, unsigned long last)
{
	s->first = first > s->min ? first : s->min;
	s->last = last < s->max ? last : s->max;
	return s->first <= s->last && s->last - s->first >= s->size - 1;
}

/* A child that is looked at next, and at most of its lines. */
static uintptr_t child_of(uintptr_t encoded, unsigned int slot)
{
	uintptr_t child = mt_child(encoded, slot);

	for (unsigned int i = 64; i < MAPLE_NODE_BYTES; i += 64)
		__builtin_prefetch((const char *)mt_node(child) + i);
	return child;
}

static unsigned long slot_min(uintptr_t encoded, unsigned int slot, unsigned long min)
{
	return slot > 0 ? mt_pivot(encoded, slot - 1) + 1 : min;
}

static unsigned long slot_max(uintptr_t encoded, unsigned int slot, unsigned long max)
{
	return slot < mt_last_slot(encoded) ? mt_pivot(encoded, slot) : max;
}

/* Every other slot of a leaf may be a gap, so going along is quicker than looking at all. */
static bool leaf_up(uintptr_t leaf, unsigned long min, unsigned long max, struct search *s)
{
	unsigned int end = mt_last_slot(leaf), slot = 0;

	if (s->min > min)
		slot = mt_pivots_below(mt_node(leaf), s->min, MAPLE_RANGE64_SLOTS - 1);
	for (; slot <= end; slot++) {
		if (mt_node(leaf)->slot[slot])
			continue;
		if (slot_min(leaf, slot, min) > s->max)
			return false;
		if (fits(s, slot_min(leaf, slot, min), slot_max(leaf, slot, max)))
			return true;
	}
	return false;
}

static bool leaf_down(uintptr_t leaf, unsigned long min, unsigned long max, struct search *s)
{
	unsigned int slot = mt_last_slot(leaf) + 1;

	if (s->max < max)
		slot = mt_pivots_below(mt_node(leaf), s->max, MAPLE_RANGE64_SLOTS - 1) + 1;
	while (slot-- > 0) {
		if (mt_node(leaf)->slot[slot])
			continue;
		if (slot_max(leaf, slot, max) < s->min)
			return false;
		if (fits(s, slot_min(leaf, slot, min), slot_max(leaf, slot, max)))
			return true;
	}
	return false;
}

static bool search_up(uintptr_t encoded, unsigned long min, unsigned long max, struct search *s)
{
	unsigned int slot;

	if (mt_is_leaf(encoded))
		return leaf_up(encoded, min, max, s);
	slot = s->min > min ? mt_inner_slot(encoded, s->min) : 0;
	for (; slot <= mt_last_slot(encoded); slot++) {
		unsigned long first = slot_min(encoded, slot, min);

		if (too_small(encoded, slot, s))
			continue;
		if (first > s->max)
			return false;
		if (search_up(child_of(encoded, slot), first, slot_max(encoded, slot, max), s))
			return true;
	}
	return false;
}

static bool search_down(uintptr_t encoded, unsigned long min, unsigned long max, struct search *s)
{
	unsigned int slot;

	if (mt_is_leaf(encoded))
		return leaf_down(encoded, min, max, s);
	slot = 1 + (s->max < max ? mt_inner_slot(encoded, s->max) : mt_last_slot(encoded));
	while (slot-- > 0) {
		unsigned long last = slot_max(encoded, slot, max);

		if (too_small(encoded, slot, s))
			continue;
		if (last < s->min)
			return false;
		if (search_down(child_of(encoded, slot), slot_min(encoded, slot, min), last, s))
			return true;
	}
	return false;
}

/* Whether the question makes sense. Return: 0, -EINVAL. */
static int check(const struct search *s)
{
	return s->min > s->max || s->size == 0 || s->max - s->min < s->size - 1 ? -EINVAL : 0;
}

int mas_empty_area(struct ma_state *mas, unsigned long min, unsigned long max, unsigned long size)
{
	uintptr_t root = (uintptr_t)samara_rcu_dereference(mas->tree->ma_root);
	struct search s = {.min = min, .max = max, .size = size};

	if (check(&s))
		return -EINVAL;
	mas_reset(mas);
	if (!(root ? search_up(root, 0, ULONG_MAX, &s) : fits(&s, 0, ULONG_MAX)))
		return -EBUSY;
	mas->index = s.first;
	mas->last = s.first + size - 1;
	return 0;
}

int mas_empty_area_rev(struct ma_state *mas, unsigned long min, unsigned long max,
		       unsigned long size)
{
	uintptr_t root = (uintptr_t)samara_rcu_dereference(mas->tree->ma_root);
	struct search s = {.min = min, .max = max, .size = size};

	if (check(&s))
		return -EINVAL;
	mas_reset(mas);
	if (!(root ? search_down(root, 0, ULONG_MAX, &s) : fits(&s, 0, ULONG_MAX)))
		return -EBUSY;
	mas->index = s.last - size + 1;
	mas->last = s.last;
	return 0;
}
