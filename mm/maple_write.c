/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "mm/maple_internal.h"

/*
 * A write, from the leaves to the root. At each level the nodes from the "left" to the "right" path
 * are replaced by new ones, made from a row: what is kept of the leftmost node, the new content,
 * and what is kept of the rightmost one. Nothing that a reader can reach changes until the new root
 * is published.
 *
 * Rules of the structure, kept here and checked by maple_check():
 *
 *  - all leaves are at the same depth; a node that is not the root has MAPLE_SLOTS_MIN slots or
 *    more, and an inner root has two or more;
 *  - an empty range is one slot: no two empty slots are neighbours, not even across leaves;
 *  - the tree that holds nothing has no node.
 */

/*
 * The longest row: 15 slots that are kept on each side, and 3 between (a leaf: what is stored and a
 * rest of the slot on either side; above: the nodes that the longest row becomes).
 */
#define ROW_SLOTS (2 * (MAPLE_SLOTS - 1) + 3)

/**
 * struct row - the content of consecutive nodes of one level
 * @count: slots used
 * @last: last index of each slot
 * @slot: entries or encoded nodes
 */
struct row {
	unsigned int count;
	unsigned long last[ROW_SLOTS];
	void *slot[ROW_SLOTS];
};

static void row_add(struct row *row, void *slot, unsigned long last)
{
	row->slot[row->count] = slot;
	row->last[row->count++] = last;
}

/* Add slots @from to @to - 1 of a node whose maximum is @max. */
static void row_add_slots(struct row *row, uintptr_t encoded, unsigned int from, unsigned int to,
			  unsigned long max)
{
	const struct maple_node *node = mt_node(encoded);
	unsigned int end = mt_last_slot(encoded);

	for (unsigned int i = from; i < to; i++)
		row_add(row, node->slot[i], i < end ? node->pivot[i] : max);
}

static void row_prepend_node(struct row *row, uintptr_t encoded, unsigned long max)
{
	unsigned int more = mt_last_slot(encoded) + 1;
	unsigned int count = row->count;

	memmove(&row->last[more], row->last, count * sizeof(row->last[0]));
	memmove(&row->slot[more], row->slot, count * sizeof(row->slot[0]));
	row->count = 0;
	row_add_slots(row, encoded, 0, more, max);
	row->count = more + count;
}

/* Make a node of slots @from to @from + @count - 1. */
static uintptr_t row_to_node(const struct row *row, unsigned int from, unsigned int count,
			     bool leaf, struct maple_node *node)
{
	unsigned int i;

	for (i = 0; i < count; i++)
		node->slot[i] = row->slot[from + i];
	for (; i < MAPLE_SLOTS; i++)
		node->slot[i] = NULL;
	for (i = 0; i + 1 < count; i++)
		node->pivot[i] = row->last[from + i];
	for (; i < MAPLE_SLOTS - 1; i++)
		node->pivot[i] = ULONG_MAX;
	return mt_encode(node, count, leaf);
}

/**
 * struct write - one write in progress
 * @first, @last: the range, with the empty ranges around it if it becomes empty
 * @left, @right: paths to the ends of what is replaced, at all levels not done yet
 * @pool: where nodes are taken from; holds enough
 * @replaced: nodes of the old tree to be freed
 * @added: nodes made
 *
 * Lock: the writers' lock.
 */
struct write {
	unsigned long first;
	unsigned long last;
	struct maple_path left;
	struct maple_path right;
	struct maple_pool *pool;
	struct maple_chain replaced;
	unsigned long added;
};

static uintptr_t new_node(struct write *w, const struct row *row, unsigned int from,
			  unsigned int count, bool leaf)
{
	w->added++;
	return row_to_node(row, from, count, leaf, maple_pool_take(w->pool));
}

/* The nodes at that depth from the left to the right path are not part of the new tree. */
static void replace_level(struct write *w, unsigned int depth)
{
	struct maple_path path = w->left;

	do {
		maple_chain_add(&w->replaced, mt_node(path.node[depth]));
	} while (path.node[depth] != w->right.node[depth] && maple_path_next(&path, depth));
}

/* The tree gets lower: no level above that depth is needed any more. */
static void replace_above(struct write *w, unsigned int depth)
{
	while (depth-- > 0)
		replace_level(w, depth);
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

/* First and last index of the slot of a leaf that a path leads to. */
static unsigned long slot_first(const struct maple_path *path)
{
	unsigned int depth = path->leaf_depth;
	unsigned int slot = path->slot[depth];

	return slot > 0 ? mt_node(path->node[depth])->pivot[slot - 1] + 1
			: maple_path_min(path, depth);
}

static unsigned long slot_last(const struct maple_path *path)
{
	unsigned int depth = path->leaf_depth;
	unsigned int slot = path->slot[depth];

	return slot < mt_last_slot(path->node[depth]) ? mt_node(path->node[depth])->pivot[slot]
						      : maple_path_max(path, depth);
}

static void *slot_entry(const struct maple_path *path)
{
	return mt_node(path->node[path->leaf_depth])->slot[path->slot[path->leaf_depth]];
}

/* What becomes empty joins the empty slots that it touches. */
static void join_gaps(struct write *w, uintptr_t root)
{
	struct maple_path path;

	if (!slot_entry(&w->left)) {
		w->first = slot_first(&w->left);
	} else if (w->first > 0 && w->first == slot_first(&w->left)) {
		maple_path_walk(&path, root, w->first - 1);
		if (!slot_entry(&path)) {
			w->left = path;
			w->first = slot_first(&path);
		}
	}
	if (!slot_entry(&w->right)) {
		w->last = slot_last(&w->right);
	} else if (w->last < ULONG_MAX && w->last == slot_last(&w->right)) {
		maple_path_walk(&path, root, w->last + 1);
		if (!slot_entry(&path)) {
			w->right = path;
			w->last = slot_last(&path);
		}
	}
}

static void make_leaf_row(const struct write *w, struct row *row, void *entry)
{
	unsigned int depth = w->left.leaf_depth;
	unsigned int left = w->left.slot[depth];
	unsigned int right = w->right.slot[depth];

	row->count = 0;
	row_add_slots(row, w->left.node[depth], 0, left, 0);
	if (w->first > slot_first(&w->left))
		row_add(row, slot_entry(&w->left), w->first - 1);
	row_add(row, entry, w->last);
	if (w->last < slot_last(&w->right))
		row_add(row, slot_entry(&w->right), slot_last(&w->right));
	row_add_slots(row, w->right.node[depth], right + 1, mt_last_slot(w->right.node[depth]) + 1,
		      maple_path_max(&w->right, depth));
}

/* Have enough slots for a node by taking in neighbours, if there are any. */
static bool fill_row(struct write *w, struct row *row, unsigned int depth)
{
	bool leftmost = is_leftmost(&w->left, depth);
	bool rightmost = is_rightmost(&w->right, depth);

	while (row->count < MAPLE_SLOTS_MIN && !(leftmost && rightmost)) {
		if (!leftmost) {
			maple_path_prev(&w->left, depth);
			row_prepend_node(row, w->left.node[depth], maple_path_max(&w->left, depth));
			leftmost = is_leftmost(&w->left, depth);
		} else {
			maple_path_next(&w->right, depth);
			row_add_slots(row, w->right.node[depth], 0,
				      mt_last_slot(w->right.node[depth]) + 1,
				      maple_path_max(&w->right, depth));
			rightmost = is_rightmost(&w->right, depth);
		}
	}
	return leftmost && rightmost;
}

/* Make nodes of a row, as few and as equal as can be; their row is the content one level up. */
static void row_to_nodes(struct write *w, const struct row *row, bool leaf, struct row *nodes)
{
	unsigned int parts = (row->count + MAPLE_SLOTS - 1) / MAPLE_SLOTS;
	unsigned int from = 0;

	nodes->count = 0;
	for (unsigned int i = 0; i < parts; i++) {
		unsigned int count = (row->count - from) / (parts - i);

		row_add(nodes, (void *)new_node(w, row, from, count, leaf),
			row->last[from + count - 1]);
		from += count;
	}
}

/* The row one level up: @nodes between what stays of the parents on both sides. */
static void make_parent_row(const struct write *w, struct row *row, const struct row *nodes,
			    unsigned int depth)
{
	unsigned int left = w->left.slot[depth];
	unsigned int right = w->right.slot[depth];
	uintptr_t parent = w->right.node[depth];

	row->count = 0;
	row_add_slots(row, w->left.node[depth], 0, left, 0);
	for (unsigned int i = 0; i < nodes->count; i++)
		row_add(row, nodes->slot[i], nodes->last[i]);
	row_add_slots(row, parent, right + 1, mt_last_slot(parent) + 1,
		      maple_path_max(&w->right, depth));
}

/* Build the new tree around the row of the leaves. Return: its root, 0 for an empty tree. */
static uintptr_t build(struct write *w, struct row *row)
{
	unsigned int depth = w->left.leaf_depth;
	struct row nodes;
	bool leaf = true;

	for (;; depth--) {
		bool whole = fill_row(w, row, depth);

		replace_level(w, depth);
		if (leaf && whole && row->count == 1 && !row->slot[0]) {
			replace_above(w, depth);
			return 0;
		}
		row_to_nodes(w, row, leaf, &nodes);
		if (whole && nodes.count == 1) {
			replace_above(w, depth);
			return (uintptr_t)nodes.slot[0];
		}
		leaf = false;
		if (depth == 0)
			return new_node(w, &nodes, 0, nodes.count, false);
		make_parent_row(w, row, &nodes, depth - 1);
	}
}

/* The first store into an empty tree. */
static uintptr_t build_first(struct write *w, struct row *row, void *entry)
{
	row->count = 0;
	if (w->first > 0)
		row_add(row, NULL, w->first - 1);
	row_add(row, entry, w->last);
	if (w->last < ULONG_MAX)
		row_add(row, NULL, ULONG_MAX);
	return new_node(w, row, 0, row->count, true);
}

int maple_write(struct maple_tree *mt, struct maple_pool *pool, unsigned long first,
		unsigned long last, void *entry)
{
	/* Plain: the writers' lock is held, nobody else changes it. */
	uintptr_t root = (uintptr_t)mt->ma_root;
	struct write w = {.first = first, .last = last, .pool = pool};
	unsigned int height = 0;
	struct row row;
	int ret = 0;

	if (first > last || mt_is_reserved(entry))
		return -EINVAL;

	if (root) {
		maple_path_walk(&w.left, root, first);
		maple_path_walk(&w.right, root, last);
		if (!entry)
			join_gaps(&w, root);
		/* Nothing would change: the same entry at the very same range. */
		if (slot_entry(&w.left) == entry && slot_first(&w.left) == w.first &&
		    slot_last(&w.left) == w.last)
			goto out;
		height = w.left.leaf_depth + 1;
	} else if (!entry) {
		goto out;
	}

	ret = maple_pool_fill(mt, pool, maple_nodes_needed(height));
	if (ret)
		return ret;
	if (root) {
		make_leaf_row(&w, &row, entry);
		root = build(&w, &row);
	} else {
		root = build_first(&w, &row, entry);
	}
	samara_rcu_assign_pointer(mt->ma_root, (void *)root);
out:
	maple_slab_commit(mt, pool, &w.replaced, w.added);
	return ret;
}
