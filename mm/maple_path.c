/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mm/maple_internal.h"

/*
 * Nodes know neither their parent nor their bounds: a path remembers the way down, and the nearest
 * ancestor that does not use its first (last) slot knows the minimum (maximum).
 */

bool maple_path_next(struct maple_path *path, unsigned int depth)
{
	unsigned int up = depth;

	do {
		if (up-- == 0)
			return false;
	} while (path->slot[up] == mt_last_slot(path->node[up]));

	path->slot[up]++;
	for (; up < depth; up++) {
		path->node[up + 1] = mt_child(path->node[up], path->slot[up]);
		path->slot[up + 1] = 0;
	}
	return true;
}

bool maple_path_prev(struct maple_path *path, unsigned int depth)
{
	unsigned int up = depth;

	do {
		if (up-- == 0)
			return false;
	} while (path->slot[up] == 0);

	path->slot[up]--;
	for (; up < depth; up++) {
		path->node[up + 1] = mt_child(path->node[up], path->slot[up]);
		path->slot[up + 1] = (uint8_t)mt_last_slot(path->node[up + 1]);
	}
	return true;
}

unsigned long maple_path_min(const struct maple_path *path, unsigned int depth)
{
	while (depth-- > 0) {
		if (path->slot[depth] > 0)
			return mt_pivot(path->node[depth], path->slot[depth] - 1) + 1;
	}
	return 0;
}

unsigned long maple_path_max(const struct maple_path *path, unsigned int depth)
{
	while (depth-- > 0) {
		if (path->slot[depth] < mt_last_slot(path->node[depth]))
			return mt_pivot(path->node[depth], path->slot[depth]);
	}
	return ULONG_MAX;
}

unsigned long maple_path_slot_min(const struct maple_path *path)
{
	unsigned int depth = path->leaf_depth;
	unsigned int slot = path->slot[depth];

	return slot > 0 ? mt_pivot(path->node[depth], slot - 1) + 1 : maple_path_min(path, depth);
}

unsigned long maple_path_slot_max(const struct maple_path *path)
{
	unsigned int depth = path->leaf_depth;
	unsigned int slot = path->slot[depth];

	return slot < mt_last_slot(path->node[depth]) ? mt_pivot(path->node[depth], slot)
						      : maple_path_max(path, depth);
}

void *maple_path_entry(const struct maple_path *path)
{
	return mt_slot(path->node[path->leaf_depth], path->slot[path->leaf_depth]);
}
