/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "mm/debug.h"
#include "mm/maple_internal.h"

/**
 * struct check - a validation on its way
 * @inner: the kind that inner nodes have
 * @height: of the tree
 * @gap: whether the slot before was an empty one
 * @nodes, @entries: counted so far
 */
struct check {
	unsigned int inner;
	unsigned int height;
	bool gap;
	unsigned long nodes;
	unsigned long entries;
};

/* The rules at the head of maple_write.c that concern one node. */
static const char *check_node(const struct check *c, uintptr_t encoded, unsigned int depth,
			      unsigned long min, unsigned long max)
{
	const struct maple_node *node = mt_node(encoded);
	unsigned int kind = mt_is_leaf(encoded) ? MAPLE_ENCODED_LEAF : c->inner;
	unsigned int slots = maple_slots_max(kind), end = mt_last_slot(encoded);
	unsigned long first = min;

	if ((encoded & (MAPLE_ENCODED_UNUSED | MAPLE_ENCODED_LEAF | MAPLE_ENCODED_ARANGE)) != kind)
		return "a node is of the wrong kind";
	if (node->state != MAPLE_LIVE)
		return "a node that was given up can be reached";
	if (mt_is_leaf(encoded) != (depth + 1 == c->height))
		return "a leaf is not at the depth of the others";
	if (end >= slots)
		return "a node has too many slots";
	if (depth > 0 && end + 1 < maple_slots_min(kind))
		return "a node has too few slots";
	if (depth == 0 && !mt_is_leaf(encoded) && end == 0)
		return "the root has a single child";
	for (unsigned int i = 0; i < end; i++) {
		if (node->pivot[i] < first || node->pivot[i] >= max)
			return "a pivot is not between its neighbours";
		first = node->pivot[i] + 1;
	}
	for (unsigned int i = end; i < slots - 1; i++) {
		if (node->pivot[i] != ULONG_MAX)
			return "an unused pivot is not ULONG_MAX";
	}
	for (unsigned int i = end + 1; i < slots; i++) {
		if (mt_slots(encoded)[i])
			return "an unused slot is not empty";
	}
	return NULL;
}

static const char *check_leaf(struct check *c, uintptr_t encoded)
{
	for (unsigned int i = 0; i <= mt_last_slot(encoded); i++) {
		const void *entry = mt_node(encoded)->slot[i];

		if (!entry && c->gap)
			return "two empty slots are neighbours";
		c->gap = !entry;
		c->entries += entry != NULL;
	}
	return NULL;
}

static const char *check_tree(struct check *c, uintptr_t encoded, unsigned int depth,
			      unsigned long min, unsigned long max)
{
	const char *why = check_node(c, encoded, depth, min, max);
	unsigned long first = min;

	if (why)
		return why;
	c->nodes++;
	if (mt_is_leaf(encoded))
		return check_leaf(c, encoded);
	for (unsigned int i = 0; i <= mt_last_slot(encoded); i++) {
		unsigned long last = i < mt_last_slot(encoded) ? mt_pivot(encoded, i) : max;
		uintptr_t child = mt_child(encoded, i);

		if (!child)
			return "a child is missing";
		why = check_tree(c, child, depth + 1, first, last);
		if (why)
			return why;
		if (c->inner &&
		    mt_node(encoded)->arange.gap[i] != maple_node_gap(child, first, last))
			return "a gap is not the largest below";
		first = last + 1;
	}
	return NULL;
}

const char *maple_check(struct maple_tree *mt)
{
	struct check c = {.inner = maple_inner_kind(mt)};
	uintptr_t root = (uintptr_t)mt->ma_root;
	struct maple_stats stats;
	const char *why;

	mt_stats(mt, &stats);
	c.height = stats.height;
	if (!root)
		return stats.nodes ? "an empty tree has nodes" : NULL;
	if (c.height > MAPLE_HEIGHT_MAX)
		return "the tree is too high";
	why = check_tree(&c, root, 0, 0, ULONG_MAX);
	if (why)
		return why;
	if (!c.entries)
		return "a tree without an entry has nodes";
	if (c.nodes != stats.nodes)
		return "the number of nodes is not what was counted";
	return NULL;
}

#ifdef SAMARA_DEBUG
void maple_check_write(struct maple_tree *mt)
{
	struct maple_stats stats;

	mt_stats(mt, &stats);
	if (mt->ma_slab && maple_slab_writes(mt) % (stats.nodes / 64 + 1) == 0)
		SAMARA_ASSERT(!maple_check(mt));
}
#endif

int mt_validate(struct maple_tree *mt)
{
	return maple_check(mt) ? -EUCLEAN : 0;
}
