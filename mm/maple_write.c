/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "mm/maple_internal.h"

/*
 * A write to one leaf, which is nearly all of them; what takes more is rebuilt (maple_rebuild.c).
 *
 *  - The range is that of one slot: the slot is stored to, and nothing else changes.
 *  - It fits into the leaf, and the leaf does not overflow or run short: a new leaf is made, and the
 *    slot of its parent is stored to.
 *
 * Rules of the structure, kept here and there, and checked by maple_check():
 *
 *  - all leaves are at the same depth; a node that is not the root has maple_slots_min() slots or
 *    more, and an inner root has two or more;
 *  - an empty range is one slot: no two empty slots are neighbours, not even across leaves;
 *  - a gap of an inner node is the largest one below its slot;
 *  - the tree that holds nothing has no node.
 */

void (*maple_delay_hook)(void);

unsigned long maple_node_gap(uintptr_t encoded, unsigned long min, unsigned long max)
{
	unsigned int end = mt_last_slot(encoded);
	unsigned long largest = 0;

	if (mt_is_arange(encoded)) {
		const unsigned long *gap = mt_node(encoded)->arange.gap;

		for (unsigned int i = 0; i <= end; i++)
			largest = gap[i] > largest ? gap[i] : largest;
		return largest;
	}
	for (unsigned int i = 0; i <= end; i++) {
		unsigned long first = i > 0 ? mt_pivot(encoded, i - 1) + 1 : min;
		unsigned long last = i < end ? mt_pivot(encoded, i) : max;

		if (!mt_node(encoded)->slot[i] && last - first >= largest)
			largest = last - first + 1;
	}
	return largest;
}

/* The same parent with another child: for trees that show a walk one version. */
static uintptr_t copy_parent(struct maple_write *w, uintptr_t parent, unsigned int slot,
			     uintptr_t child)
{
	struct maple_node *node = maple_node_take(w->mt, w->pool);
	uintptr_t copy = mt_encode(node, mt_last_slot(parent) + 1,
				   (unsigned int)(parent & MAPLE_ENCODED_ARANGE));

	memcpy((char *)node + sizeof(node->state),
	       (const char *)mt_node(parent) + sizeof(node->state),
	       sizeof(*node) - sizeof(node->state));
	mt_slots(copy)[slot] = (void *)child;
	maple_node_retire(w->mt, mt_node(parent));
	return copy;
}

void maple_publish(struct maple_write *w, const struct maple_path *path, unsigned int depth,
		   uintptr_t encoded)
{
	void **to = &w->mt->ma_root;

	if (w->mt->ma_flags & MT_FLAGS_SNAPSHOT) {
		for (; depth > 0; depth--)
			encoded = copy_parent(w, path->node[depth - 1], path->slot[depth - 1],
					      encoded);
	} else if (depth > 0) {
		to = &mt_slots(path->node[depth - 1])[path->slot[depth - 1]];
	}
	maple_delay();
	samara_rcu_assign_pointer(*to, (void *)encoded);
	maple_delay();
}

void maple_gap_changed(struct maple_write *w, const struct maple_path *path, unsigned int depth,
		       unsigned long gap)
{
	uintptr_t encoded = (uintptr_t)w->mt->ma_root;
	uintptr_t nodes[MAPLE_HEIGHT_MAX];

	/* The path may lead over nodes that a snapshot has replaced; its slots are right. */
	for (unsigned int i = 0; i < depth; i++) {
		nodes[i] = encoded;
		encoded = mt_child(encoded, path->slot[i]);
	}
	while (depth-- > 0) {
		unsigned long *gaps = mt_node(nodes[depth])->arange.gap;

		if (gaps[path->slot[depth]] == gap)
			return;
		gaps[path->slot[depth]] = gap;
		gap = maple_node_gap(nodes[depth], 0, 0);
	}
}

/**
 * struct splice - what a write does to its leaf
 * @leaf: encoded
 * @min, @max: what the leaf covers
 * @from, @to: first and last slot that the range touches
 * @from_min, @to_max: first and last index of these
 */
struct splice {
	uintptr_t leaf;
	unsigned long min;
	unsigned long max;
	unsigned int from;
	unsigned int to;
	unsigned long from_min;
	unsigned long to_max;
};

static void *leaf_entry(const struct splice *s, unsigned int slot)
{
	return mt_node(s->leaf)->slot[slot];
}

static unsigned long slot_min(const struct splice *s, unsigned int slot)
{
	return slot > 0 ? mt_pivot(s->leaf, slot - 1) + 1 : s->min;
}

static unsigned long slot_max(const struct splice *s, unsigned int slot)
{
	return slot < mt_last_slot(s->leaf) ? mt_pivot(s->leaf, slot) : s->max;
}

/* Find what the range touches in the leaf of its first index. False: it reaches beyond the leaf. */
static bool locate(const struct maple_write *w, struct splice *s)
{
	unsigned int depth = w->left.leaf_depth;
	unsigned int end;

	s->leaf = w->left.node[depth];
	end = mt_last_slot(s->leaf);
	s->from = w->left.slot[depth];
	s->to = s->from;
	/* Bounds of the leaf are looked for only where a slot at its end does not say. */
	s->min = s->from > 0 ? 0 : maple_path_min(&w->left, depth);
	s->max = ULONG_MAX;
	while (s->to < end && mt_pivot(s->leaf, s->to) < w->last)
		s->to++;
	if (s->to == end)
		s->max = maple_path_max(&w->left, depth);
	s->from_min = slot_min(s, s->from);
	s->to_max = slot_max(s, s->to);
	return w->last <= s->to_max;
}

/* What becomes empty joins the empty slots that it touches. False: one is in another leaf. */
static bool join_gaps(struct maple_write *w, struct splice *s)
{
	unsigned int end = mt_last_slot(s->leaf);

	if (!leaf_entry(s, s->from)) {
		w->first = s->from_min;
	} else if (w->first == s->from_min) {
		if (s->from == 0 && w->first > 0)
			return false;
		if (s->from > 0 && !leaf_entry(s, s->from - 1)) {
			s->from--;
			if (s->from == 0)
				s->min = maple_path_min(&w->left, w->left.leaf_depth);
			s->from_min = slot_min(s, s->from);
			w->first = s->from_min;
		}
	}
	if (!leaf_entry(s, s->to)) {
		w->last = s->to_max;
	} else if (w->last == s->to_max) {
		if (s->to == end && w->last < ULONG_MAX)
			return false;
		if (s->to < end && !leaf_entry(s, s->to + 1)) {
			s->to++;
			if (s->to == end)
				s->max = maple_path_max(&w->left, w->left.leaf_depth);
			s->to_max = slot_max(s, s->to);
			w->last = s->to_max;
		}
	}
	return true;
}

/* How many slots the leaf would have. */
static unsigned int slots_after(const struct maple_write *w, const struct splice *s)
{
	return mt_last_slot(s->leaf) + 1 - (s->to - s->from) + (w->first > s->from_min) +
	       (w->last < s->to_max);
}

/* A leaf with the new content, not published: what is kept on both sides, and up to 3 between. */
static uintptr_t new_leaf(struct maple_write *w, const struct splice *s, unsigned int count)
{
	const struct maple_node *old = mt_node(s->leaf);
	struct maple_node *leaf = maple_node_take(w->mt, w->pool);
	void *middle[3];
	unsigned long middle_last[3];
	unsigned int pieces = 0, after, i;

	if (w->first > s->from_min) {
		middle[pieces] = old->slot[s->from];
		middle_last[pieces++] = w->first - 1;
	}
	middle[pieces] = w->entry;
	middle_last[pieces++] = w->last;
	if (w->last < s->to_max) {
		middle[pieces] = old->slot[s->to];
		middle_last[pieces++] = s->to_max;
	}

	for (i = 0; i < s->from; i++)
		leaf->slot[i] = old->slot[i];
	for (i = 0; i < pieces; i++)
		leaf->slot[s->from + i] = middle[i];
	after = s->from + pieces;
	for (i = after; i < count; i++)
		leaf->slot[i] = old->slot[s->to + 1 + i - after];
	for (i = count; i < MAPLE_RANGE64_SLOTS; i++)
		leaf->slot[i] = NULL;

	/* The last slot has no pivot. */
	for (i = 0; i < s->from; i++)
		leaf->pivot[i] = old->pivot[i];
	for (i = 0; i < pieces && s->from + i < count - 1; i++)
		leaf->pivot[s->from + i] = middle_last[i];
	for (i = after; i + 1 < count; i++)
		leaf->pivot[i] = old->pivot[s->to + 1 + i - after];
	for (i = count - 1; i < MAPLE_RANGE64_SLOTS - 1; i++)
		leaf->pivot[i] = ULONG_MAX;
	return mt_encode(leaf, count, MAPLE_ENCODED_LEAF);
}

/* The gap of a leaf that has changed goes up. */
static void leaf_gap_changed(struct maple_write *w, uintptr_t leaf)
{
	unsigned int depth = w->left.leaf_depth;

	if (mt_is_alloc(w->mt) && depth > 0)
		maple_gap_changed(w, &w->left, depth,
				  maple_node_gap(leaf, maple_path_min(&w->left, depth),
						 maple_path_max(&w->left, depth)));
}

/* Return: whether it could be done in one leaf; the error is in @ret then. */
static bool write_leaf(struct maple_write *w, struct splice *s, int *ret)
{
	unsigned int depth = w->left.leaf_depth;
	bool snapshot = w->mt->ma_flags & MT_FLAGS_SNAPSHOT;
	uintptr_t leaf;
	unsigned int count;

	if (!w->entry && !join_gaps(w, s))
		return false;
	count = slots_after(w, s);
	*ret = 0;
	if (w->first == s->from_min && w->last == s->to_max && s->from == s->to) {
		if (leaf_entry(s, s->from) == w->entry)
			return true;
		if (!snapshot && count > 1) {
			maple_delay();
			samara_rcu_assign_pointer(mt_node(s->leaf)->slot[s->from], w->entry);
			maple_delay();
			leaf_gap_changed(w, s->leaf);
			return true;
		}
	}
	if (count > MAPLE_RANGE64_SLOTS || count < (depth ? maple_slots_min(0) : 2))
		return false;
	*ret = maple_reserve(w->mt, w->pool, snapshot ? depth + 1 : 1, w->gfp);
	if (*ret)
		return true;
	leaf = new_leaf(w, s, count);
	maple_publish(w, &w->left, depth, leaf);
	leaf_gap_changed(w, leaf);
	maple_node_retire(w->mt, mt_node(s->leaf));
	maple_slab_commit(w->mt, w->pool);
	return true;
}

/* The first store into an empty tree. */
static int write_first(struct maple_write *w)
{
	struct maple_node *leaf;
	unsigned int at = 0;

	if (!w->entry) {
		w->first = 0;
		w->last = ULONG_MAX;
		return 0;
	}
	if (maple_reserve(w->mt, w->pool, 1, w->gfp))
		return -ENOMEM;
	leaf = maple_node_take(w->mt, w->pool);
	memset(leaf->pivot, 0xff, sizeof(leaf->pivot));
	memset(leaf->slot, 0, sizeof(leaf->slot));
	if (w->first > 0)
		leaf->pivot[at++] = w->first - 1;
	leaf->slot[at] = w->entry;
	if (w->last < ULONG_MAX)
		leaf->pivot[at++] = w->last;
	maple_publish(w, &w->left, 0, mt_encode(leaf, at + 1, MAPLE_ENCODED_LEAF));
	return 0;
}

static int write_any(struct maple_write *w)
{
	/* Plain: the writers' lock is held, nobody else changes it. */
	uintptr_t root = (uintptr_t)w->mt->ma_root;
	struct splice s;
	bool in_leaf;
	int ret;

	w->old = NULL;
	if (w->first > w->last)
		return -EINVAL;
	if (!root)
		return write_first(w);
	maple_path_walk(&w->left, root, w->first);
	w->old = maple_path_entry(&w->left);
	in_leaf = locate(w, &s);
	/* An empty range is a single slot, so one look tells. */
	if (w->insert && (w->old || s.from != s.to || !in_leaf))
		return -EEXIST;
	if (in_leaf && write_leaf(w, &s, &ret))
		return ret;

	ret = maple_reserve(w->mt, w->pool, maple_nodes_needed(w->left.leaf_depth + 1u), w->gfp);
	if (ret)
		return ret;
	maple_rebuild(w);
	maple_slab_commit(w->mt, w->pool);
	return 0;
}

int maple_write(struct maple_write *w)
{
	int ret = write_any(w);

	maple_check_write(w->mt);
	return ret;
}
