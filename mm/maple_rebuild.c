/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "mm/maple_internal.h"

/*
 * The general write, from the leaves towards the root. At each level the nodes from the "left" to
 * the "right" path are replaced by new ones, made from a row: what is kept of the leftmost node,
 * the new content, and what is kept of the rightmost one. A row too short for a node takes in a
 * neighbour; a row too long for one shares with a neighbour that has room (as in a B*-tree: nodes
 * are fuller than by splitting alone), or is split.
 *
 * It ends at the level where one node is made in place of one: its bounds are the same, and a
 * single store to the slot of its parent publishes everything below. Nothing that a reader can
 * reach changes until then.
 */

/*
 * The longest row: 15 slots that are kept on each side, and 3 between (a leaf: what is stored and a
 * rest of the slot on either side; above: the nodes that the longest row becomes).
 */
#define ROW_SLOTS (2 * (MAPLE_RANGE64_SLOTS - 1) + 3)

/**
 * struct row - the content of consecutive nodes of one level
 * @kind: of the nodes, as encoded
 * @min: first index
 * @count: slots used
 * @last: last index of each slot
 * @slot: entries or encoded nodes
 * @gap: for nodes that track them
 */
struct row {
	unsigned int kind;
	unsigned int count;
	unsigned long min;
	unsigned long last[ROW_SLOTS];
	void *slot[ROW_SLOTS];
	unsigned long gap[ROW_SLOTS];
};

static void row_add(struct row *row, void *slot, unsigned long last, unsigned long gap)
{
	row->slot[row->count] = slot;
	row->gap[row->count] = gap;
	row->last[row->count++] = last;
}

/* Add slots @from to @to - 1 of a node whose maximum is @max. */
static void row_add_slots(struct row *row, uintptr_t encoded, unsigned int from, unsigned int to,
			  unsigned long max)
{
	unsigned int end = mt_last_slot(encoded);

	for (unsigned int i = from; i < to; i++)
		row_add(row, mt_slot(encoded, i), i < end ? mt_pivot(encoded, i) : max,
			mt_is_arange(encoded) ? mt_node(encoded)->arange.gap[i] : 0);
}

static void row_append_node(struct row *row, const struct maple_path *path, unsigned int depth)
{
	uintptr_t encoded = path->node[depth];

	row_add_slots(row, encoded, 0, mt_last_slot(encoded) + 1, maple_path_max(path, depth));
}

static void row_prepend_node(struct row *row, const struct maple_path *path, unsigned int depth)
{
	uintptr_t encoded = path->node[depth];
	unsigned int more = mt_last_slot(encoded) + 1;
	unsigned int count = row->count;

	memmove(&row->last[more], row->last, count * sizeof(row->last[0]));
	memmove(&row->slot[more], row->slot, count * sizeof(row->slot[0]));
	memmove(&row->gap[more], row->gap, count * sizeof(row->gap[0]));
	row->count = 0;
	row->min = maple_path_min(path, depth);
	row_append_node(row, path, depth);
	row->count = more + count;
}

/* Make a node of slots @from to @from + @count - 1. */
static uintptr_t row_to_node(struct maple_write *w, const struct row *row, unsigned int from,
			     unsigned int count)
{
	struct maple_node *node = maple_node_take(w->mt, w->pool);
	uintptr_t encoded = mt_encode(node, count, row->kind);
	void **slots = mt_slots(encoded);
	unsigned int max = maple_slots_max(row->kind);

	for (unsigned int i = 0; i < max; i++)
		slots[i] = i < count ? row->slot[from + i] : NULL;
	for (unsigned int i = 0; i < max - 1; i++)
		node->pivot[i] = i + 1 < count ? row->last[from + i] : ULONG_MAX;
	if (mt_is_arange(encoded))
		for (unsigned int i = 0; i < max; i++)
			node->arange.gap[i] = i < count ? row->gap[from + i] : 0;
	return encoded;
}

/* The nodes at that depth from the left to the right path are not part of the new tree. */
static unsigned int retire_level(struct maple_write *w, unsigned int depth)
{
	struct maple_path path = w->left;
	unsigned int count = 0;

	for (;;) {
		bool last = path.node[depth] == w->right.node[depth];
		uintptr_t encoded = path.node[depth];

		/* The way on leads through the levels above, which are retired later. */
		if (!last)
			maple_path_next(&path, depth);
		maple_node_retire(w->mt, mt_node(encoded));
		count++;
		if (last)
			return count;
	}
}

/* The tree gets lower: no level above that depth is needed any more. */
static void retire_above(struct maple_write *w, unsigned int depth)
{
	while (depth-- > 0)
		retire_level(w, depth);
}

static bool is_leftmost(const struct maple_path *path, unsigned int depth)
{
	while (depth-- > 0) {
		if (path->slot[depth] > 0)
			return false;
	}
	return true;
}

static bool is_rightmost(const struct maple_path *path, unsigned int depth)
{
	while (depth-- > 0) {
		if (path->slot[depth] < mt_last_slot(path->node[depth]))
			return false;
	}
	return true;
}

/* What becomes empty joins the empty slots that it touches. */
static void join_gaps(struct maple_write *w)
{
	struct maple_path path;

	if (!maple_path_entry(&w->left)) {
		w->first = maple_path_slot_min(&w->left);
	} else if (w->first > 0 && w->first == maple_path_slot_min(&w->left)) {
		maple_path_walk(&path, (uintptr_t)w->mt->ma_root, w->first - 1);
		if (!maple_path_entry(&path)) {
			w->left = path;
			w->first = maple_path_slot_min(&path);
		}
	}
	if (!maple_path_entry(&w->right)) {
		w->last = maple_path_slot_max(&w->right);
	} else if (w->last < ULONG_MAX && w->last == maple_path_slot_max(&w->right)) {
		maple_path_walk(&path, (uintptr_t)w->mt->ma_root, w->last + 1);
		if (!maple_path_entry(&path)) {
			w->right = path;
			w->last = maple_path_slot_max(&path);
		}
	}
}

/* The row of the leaves. Return: whether what is stored comes last in it. */
static bool make_leaf_row(const struct maple_write *w, struct row *row)
{
	unsigned int depth = w->left.leaf_depth;
	uintptr_t left = w->left.node[depth], right = w->right.node[depth];
	unsigned int slot = w->right.slot[depth];
	unsigned long last = maple_path_slot_max(&w->right);

	row->kind = MAPLE_ENCODED_LEAF;
	row->count = 0;
	row->min = maple_path_min(&w->left, depth);
	row_add_slots(row, left, 0, w->left.slot[depth], 0);
	if (w->first > maple_path_slot_min(&w->left))
		row_add(row, maple_path_entry(&w->left), w->first - 1, 0);
	row_add(row, w->entry, w->last, 0);
	if (w->last < last)
		row_add(row, maple_path_entry(&w->right), last, 0);
	row_add_slots(row, right, slot + 1, mt_last_slot(right) + 1,
		      maple_path_max(&w->right, depth));
	return slot == mt_last_slot(right);
}

/* Have enough slots for a node by taking in neighbours, if there are any. True: it is all. */
static bool fill_row(struct maple_write *w, struct row *row, unsigned int depth)
{
	bool leftmost = is_leftmost(&w->left, depth);
	bool rightmost = is_rightmost(&w->right, depth);

	while (row->count < maple_slots_min(row->kind) && !(leftmost && rightmost)) {
		/* Better a neighbour with the same parent: no other parent is touched then. */
		bool left = rightmost || (!leftmost && w->left.slot[depth - 1] > 0);

		if (left) {
			maple_path_prev(&w->left, depth);
			row_prepend_node(row, &w->left, depth);
			leftmost = is_leftmost(&w->left, depth);
		} else {
			maple_path_next(&w->right, depth);
			row_append_node(row, &w->right, depth);
			rightmost = is_rightmost(&w->right, depth);
		}
	}
	return leftmost && rightmost;
}

/* A row for two nodes may share with a neighbour of the same parent, if two are still enough. */
static void share_row(struct maple_write *w, struct row *row, unsigned int depth)
{
	unsigned int max = maple_slots_max(row->kind);
	unsigned int room, left = max + 1, right = max + 1;
	const struct maple_path *path;

	if (depth == 0 || row->count <= max || row->count >= 2 * max)
		return;
	room = 2 * max - row->count;
	path = &w->left;
	if (path->slot[depth - 1] > 0)
		left = mt_last_slot(mt_child(path->node[depth - 1], path->slot[depth - 1] - 1)) + 1;
	path = &w->right;
	if (path->slot[depth - 1] < mt_last_slot(path->node[depth - 1]))
		right = mt_last_slot(mt_child(path->node[depth - 1], path->slot[depth - 1] + 1)) +
			1;
	if (left <= right && left <= room) {
		maple_path_prev(&w->left, depth);
		row_prepend_node(row, &w->left, depth);
	} else if (right <= room) {
		maple_path_next(&w->right, depth);
		row_append_node(row, &w->right, depth);
	}
}

/*
 * Make nodes of a row, as few as can be; their row is the content one level up. They are equally
 * full, but where stores come in ascending order: there the left one will not be stored to again.
 */
static void row_to_nodes(struct maple_write *w, const struct row *row, bool ascending,
			 struct row *nodes)
{
	unsigned int max = maple_slots_max(row->kind), min = maple_slots_min(row->kind);
	unsigned int parts = (row->count + max - 1) / max;
	unsigned long first = row->min;
	unsigned int from = 0;

	nodes->kind = maple_inner_kind(w->mt);
	nodes->count = 0;
	nodes->min = row->min;
	for (unsigned int i = 0; i < parts; i++) {
		unsigned int rest = row->count - from;
		unsigned int count = rest / (parts - i);
		uintptr_t encoded;
		unsigned long last;

		if (ascending && parts - i == 2)
			count = rest - min < max ? rest - min : max;
		encoded = row_to_node(w, row, from, count);
		last = row->last[from + count - 1];
		row_add(nodes, (void *)encoded, last,
			nodes->kind ? maple_node_gap(encoded, first, last) : 0);
		first = last + 1;
		from += count;
	}
}

/* The row one level up: @nodes between what stays of the parents on both sides. */
static void make_parent_row(const struct maple_write *w, struct row *row, const struct row *nodes,
			    unsigned int depth)
{
	uintptr_t left = w->left.node[depth], right = w->right.node[depth];

	row->kind = nodes->kind;
	row->count = 0;
	row->min = maple_path_min(&w->left, depth);
	row_add_slots(row, left, 0, w->left.slot[depth], 0);
	for (unsigned int i = 0; i < nodes->count; i++)
		row_add(row, nodes->slot[i], nodes->last[i], nodes->gap[i]);
	row_add_slots(row, right, w->right.slot[depth] + 1u, mt_last_slot(right) + 1,
		      maple_path_max(&w->right, depth));
}

/* One node in place of one: the rest of the tree stays. */
static void finish(struct maple_write *w, const struct row *nodes, unsigned int depth)
{
	struct maple_path path = w->left;

	maple_publish(w, &path, depth, (uintptr_t)nodes->slot[0]);
	if (nodes->kind && depth > 0)
		maple_gap_changed(w, &path, depth, nodes->gap[0]);
}

void maple_rebuild(struct maple_write *w)
{
	uintptr_t root = (uintptr_t)w->mt->ma_root;
	struct row row, nodes;
	unsigned int depth;
	bool ascending;

	maple_path_walk(&w->left, root, w->first);
	maple_path_walk(&w->right, root, w->last);
	if (!w->entry)
		join_gaps(w);
	depth = w->left.leaf_depth;
	ascending = make_leaf_row(w, &row);
	for (;; depth--) {
		bool whole = fill_row(w, &row, depth);
		unsigned int retired;

		share_row(w, &row, depth);
		retired = retire_level(w, depth);
		if (whole && row.kind == MAPLE_ENCODED_LEAF && row.count == 1 && !row.slot[0]) {
			retire_above(w, depth);
			nodes.slot[0] = NULL;
			maple_publish(w, &w->left, 0, 0);
			return;
		}
		row_to_nodes(w, &row, ascending, &nodes);
		if (whole && nodes.count == 1) {
			retire_above(w, depth);
			maple_publish(w, &w->left, 0, (uintptr_t)nodes.slot[0]);
			return;
		}
		if (retired == 1 && nodes.count == 1) {
			finish(w, &nodes, depth);
			return;
		}
		if (depth == 0) {
			maple_publish(w, &w->left, 0, row_to_node(w, &nodes, 0, nodes.count));
			return;
		}
		make_parent_row(w, &row, &nodes, depth - 1);
		ascending = ascending &&
			    w->right.slot[depth - 1] == mt_last_slot(w->right.node[depth - 1]);
	}
}
