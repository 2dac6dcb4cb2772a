/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mm/maple_internal.h"

/*
 * Reading by states. A state that is active has its leaf in @node, its slot there in @offset, and
 * the way to the leaf in @path. After a store through the state @node is NULL: its next step looks
 * the place up again. How the statuses follow one another is Linux' (lib/maple_tree.c,
 * mas_next_setup() and its neighbours), as users depend on it.
 */

/* Have index, last and the entry of the slot that the state is at; its first index is known. */
static void *at_slot(struct ma_state *mas, unsigned long first)
{
	uintptr_t leaf = (uintptr_t)mas->node;

	mas->index = first;
	mas->last = mas->offset < mas->end ? mt_pivot(leaf, mas->offset) : mas->max;
	return samara_rcu_dereference(mt_node(leaf)->slot[mas->offset]);
}

/* The path leads to another leaf. */
static void enter_leaf(struct ma_state *mas)
{
	unsigned int depth = mas->path.leaf_depth;

	mas->node = (struct maple_enode *)mas->path.node[depth];
	mas->end = (uint8_t)mt_last_slot(mas->path.node[depth]);
	mas->offset = mas->path.slot[depth];
}

void *mas_walk(struct ma_state *mas)
{
	uintptr_t root = (uintptr_t)samara_rcu_dereference(mas->tree->ma_root);

	if (!root) {
		mas->index = 0;
		mas->last = ULONG_MAX;
		mas->node = NULL;
		mas->status = ma_none;
		return NULL;
	}
	maple_path_walk(&mas->path, root, mas->index);
	enter_leaf(mas);
	mas->max = maple_path_max(&mas->path, mas->path.leaf_depth);
	mas->status = ma_active;
	return at_slot(mas, maple_path_slot_min(&mas->path));
}

/* Be at the leaf of mas->index, if an active state is not. */
static void find_place(struct ma_state *mas)
{
	if (!mas->node)
		mas_walk(mas);
}

/*
 * Leaves come one after the other, but lie anywhere: ask for the one after the next while this one
 * is read.
 */
static void prefetch_next_leaf(const struct maple_path *path)
{
	unsigned int up = path->leaf_depth;
	const char *leaf;

	if (up == 0 || path->slot[up - 1] >= mt_last_slot(path->node[up - 1]))
		return;
	leaf = (const char *)mt_node(mt_child(path->node[up - 1], path->slot[up - 1] + 1u));
	for (unsigned int i = 0; i < MAPLE_NODE_BYTES; i += 64)
		__builtin_prefetch(leaf + i);
}

static void next_leaf(struct ma_state *mas)
{
	maple_path_next(&mas->path, mas->path.leaf_depth);
	mas->max = maple_path_max(&mas->path, mas->path.leaf_depth);
	enter_leaf(mas);
	prefetch_next_leaf(&mas->path);
}

/* One slot down; the state is at a leaf and index is above 0. */
static void *slot_down(struct ma_state *mas)
{
	unsigned int depth = mas->path.leaf_depth;

	if (mas->offset > 0) {
		mas->offset--;
	} else {
		mas->max = mas->index - 1;
		maple_path_prev(&mas->path, depth);
		enter_leaf(mas);
	}
	return at_slot(mas, mas->offset > 0 ? mt_pivot((uintptr_t)mas->node, mas->offset - 1u) + 1
					    : maple_path_min(&mas->path, depth));
}

/* The next entry that begins at @max or before; with @gaps the next slot. */
static inline void *step_up(struct ma_state *mas, unsigned long max, bool gaps)
{
	void *entry = NULL;

	while (mas->last < max) {
		const struct maple_node *leaf;

		mas->index = mas->last + 1;
		if (mas->offset < mas->end)
			mas->offset++;
		else
			next_leaf(mas);
		leaf = mt_node((uintptr_t)mas->node);
		entry = samara_rcu_dereference(leaf->slot[mas->offset]);
		mas->last = mas->offset < mas->end ? leaf->pivot[mas->offset] : mas->max;
		if (entry || gaps)
			return entry;
	}
	mas->status = ma_overflow;
	return NULL;
}

/* The previous entry that ends at @min or after; with @gaps the previous slot. */
static inline void *step_down(struct ma_state *mas, unsigned long min, bool gaps)
{
	void *entry;

	do {
		if (mas->index <= min) {
			mas->status = ma_underflow;
			return NULL;
		}
		entry = slot_down(mas);
	} while (!entry && !gaps);
	return entry;
}

/*
 * Before a step: true if there is none to make, and @entry is the answer.
 *
 * A state that ran into a limit stays at the last slot it saw. Turning round there, the user
 * expects that slot's entry first: to them the state is beyond it.
 */
static bool next_setup(struct ma_state *mas, unsigned long max, void **entry)
{
	if (mas->last >= max) {
		mas->status = ma_overflow;
		return true;
	}
	switch (mas->status) {
	case ma_active:
	case ma_overflow:
		mas->status = ma_active;
		find_place(mas);
		break;
	case ma_underflow:
		*entry = mas_walk(mas);
		if (*entry)
			return true;
		break;
	case ma_error:
		return true;
	default:
		mas_walk(mas);
	}
	return mas->status == ma_none;
}

static bool prev_setup(struct ma_state *mas, unsigned long min, void **entry)
{
	if (mas->index <= min) {
		mas->status = ma_underflow;
		return true;
	}
	switch (mas->status) {
	case ma_active:
	case ma_underflow:
		mas->status = ma_active;
		find_place(mas);
		break;
	case ma_overflow:
		*entry = mas_walk(mas);
		if (*entry)
			return true;
		break;
	case ma_error:
		return true;
	default:
		mas_walk(mas);
	}
	return mas->status == ma_none;
}

void *mas_next(struct ma_state *mas, unsigned long max)
{
	void *entry = NULL;

	return next_setup(mas, max, &entry) ? entry : step_up(mas, max, false);
}

void *mas_next_range(struct ma_state *mas, unsigned long max)
{
	void *entry = NULL;

	return next_setup(mas, max, &entry) ? entry : step_up(mas, max, true);
}

void *mas_prev(struct ma_state *mas, unsigned long min)
{
	void *entry = NULL;

	return prev_setup(mas, min, &entry) ? entry : step_down(mas, min, false);
}

void *mas_prev_range(struct ma_state *mas, unsigned long min)
{
	void *entry = NULL;

	return prev_setup(mas, min, &entry) ? entry : step_down(mas, min, true);
}

/* The first call looks at mas->index itself. Return: as next_setup(). */
static bool find_setup(struct ma_state *mas, unsigned long max, void **entry)
{
	switch (mas->status) {
	case ma_active:
		if (mas->last >= max)
			return true;
		find_place(mas);
		return mas->status == ma_none;
	case ma_pause:
		if (mas->last >= max)
			return true;
		mas->index = ++mas->last;
		break;
	case ma_none:
		if (mas->last >= max)
			return true;
		mas->index = mas->last;
		break;
	case ma_underflow:
		if (mas->index >= max) {
			mas->status = ma_overflow;
			return true;
		}
		break;
	case ma_overflow:
		if (mas->last >= max)
			return true;
		break;
	case ma_error:
		return true;
	default:
		if (mas->index > max)
			return true;
	}
	*entry = mas_walk(mas);
	return *entry || mas->status == ma_none || mas->index == max;
}

static bool find_rev_setup(struct ma_state *mas, unsigned long min, void **entry)
{
	switch (mas->status) {
	case ma_active:
		find_place(mas);
		return mas->status == ma_none || mas->index < min;
	case ma_overflow:
	case ma_underflow:
		if (mas->index <= min) {
			mas->status = ma_underflow;
			return true;
		}
		mas->status = ma_active;
		find_place(mas);
		return mas->status == ma_none;
	case ma_pause:
		if (mas->index <= min) {
			mas->status = ma_underflow;
			return true;
		}
		mas->last = --mas->index;
		break;
	case ma_none:
		if (mas->index <= min)
			return true;
		mas->last = mas->index;
		break;
	case ma_error:
		return true;
	default:
		if (mas->index < min)
			return true;
	}
	*entry = mas_walk(mas);
	return *entry || mas->status == ma_none || mas->index < min;
}

void *mas_find(struct ma_state *mas, unsigned long max)
{
	void *entry = NULL;

	if (__builtin_expect(mas->status != ma_active || !mas->node || mas->last >= max, 0) &&
	    find_setup(mas, max, &entry))
		return entry;
	entry = step_up(mas, max, false);
	/* Linux has it so: mas_find() may be called again with a higher limit. */
	mas->status = ma_active;
	return entry;
}

void *mas_find_range(struct ma_state *mas, unsigned long max)
{
	void *entry = NULL;

	return find_setup(mas, max, &entry) ? entry : step_up(mas, max, true);
}

void *mas_find_rev(struct ma_state *mas, unsigned long min)
{
	void *entry = NULL;

	return find_rev_setup(mas, min, &entry) ? entry : step_down(mas, min, false);
}

void *mas_find_range_rev(struct ma_state *mas, unsigned long min)
{
	void *entry = NULL;

	return find_rev_setup(mas, min, &entry) ? entry : step_down(mas, min, true);
}
