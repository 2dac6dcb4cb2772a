/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "mm/maple_internal.h"

/* The rules at the head of maple_write.c, in the order in which a walk meets them. */

static const char *check_node(uintptr_t encoded, unsigned long min, unsigned long max, bool root)
{
	const struct maple_node *node = mt_node(encoded);
	unsigned int end = mt_last_slot(encoded);
	bool leaf = mt_is_leaf(encoded);
	unsigned long first = min;

	if ((encoded & MAPLE_ENCODED_TYPE) != MAPLE_TYPE_RANGE64)
		return "a node is of no known type";
	if (!root && end + 1 < MAPLE_SLOTS_MIN)
		return "a node has too few slots";
	if (root && !leaf && end == 0)
		return "the root has a single child";
	for (unsigned int i = 0; i < end; i++) {
		if (node->pivot[i] < first || node->pivot[i] >= max)
			return "a pivot is not between its neighbours";
		first = node->pivot[i] + 1;
	}
	for (unsigned int i = end; i < MAPLE_SLOTS - 1; i++) {
		if (node->pivot[i] != ULONG_MAX)
			return "an unused pivot is not ULONG_MAX";
	}
	for (unsigned int i = end + 1; i < MAPLE_SLOTS; i++) {
		if (node->slot[i])
			return "an unused slot is not empty";
	}
	for (unsigned int i = 0; i <= end && !leaf; i++) {
		if (!node->slot[i])
			return "a child is missing";
	}
	for (unsigned int i = 0; i <= end && leaf; i++) {
		if (mt_is_reserved(node->slot[i]))
			return "an entry is a reserved one";
	}
	return NULL;
}

static const char *check_leaf(uintptr_t encoded, bool *gap, unsigned long *entries)
{
	for (unsigned int i = 0; i <= mt_last_slot(encoded); i++) {
		bool empty = !mt_node(encoded)->slot[i];

		if (empty && *gap)
			return "two empty slots are neighbours";
		*gap = empty;
		*entries += !empty;
	}
	return NULL;
}

const char *maple_check(struct maple_tree *mt)
{
	uintptr_t root = (uintptr_t)mt->ma_root;
	unsigned long nodes = 0, entries = 0;
	struct maple_stats stats;
	struct maple_path path;
	unsigned int height;
	const char *why;
	bool gap = false;

	mt_stats(mt, &stats);
	height = stats.height;
	if (!root)
		return stats.nodes ? "an empty tree has nodes" : NULL;
	if (height > MAPLE_HEIGHT_MAX)
		return "the tree is too high";

	for (unsigned int depth = 0; depth < height; depth++) {
		path.node[0] = root;
		for (unsigned int i = 0; i <= depth; i++) {
			path.slot[i] = 0;
			if (i > 0)
				path.node[i] = mt_child(path.node[i - 1], 0);
		}
		do {
			uintptr_t encoded = path.node[depth];

			if (mt_is_leaf(encoded) != (depth + 1 == height))
				return "a leaf is not at the depth of the others";
			why = check_node(encoded, maple_path_min(&path, depth),
					 maple_path_max(&path, depth), depth == 0);
			if (!why && mt_is_leaf(encoded))
				why = check_leaf(encoded, &gap, &entries);
			if (why)
				return why;
			nodes++;
		} while (maple_path_next(&path, depth));
	}
	if (!entries)
		return "a tree without an entry has nodes";
	if (nodes != stats.nodes)
		return "the number of nodes is not what was counted";
	return NULL;
}

int mt_validate(struct maple_tree *mt)
{
	return maple_check(mt) ? -EUCLEAN : 0;
}
