/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The walk from a root to a leaf, once for each instruction set: a file defines WALK_TARGET (a
 * function attribute) and leaf_slot(), and includes this. No include guard, as it is a template.
 *
 * Inner nodes are searched without vectors: what comes next depends on the answer, and the way from
 * a vector to an address is long (a look-up that depends on the one before took 23 ns at 1,000
 * ranges with AVX-512 all the way, 17 without any, 19 with it in the leaf alone). In leaves vectors
 * leave more room for the look-ups behind (9, 12 and 11 ns).
 *
 * A node is four cache lines, and its slots lie in the last two. Asking for them while the pivots
 * in the first two are on their way makes one miss of two, when the tree is larger than the caches.
 */

static inline void walk_prefetch(uintptr_t encoded)
{
	const char *node = (const char *)mt_node(encoded);

	__builtin_prefetch(node + 128);
	__builtin_prefetch(node + 192);
}

static WALK_TARGET void *walk_load(uintptr_t encoded, unsigned long index)
{
	while (!mt_is_leaf(encoded)) {
		encoded = mt_child(encoded, mt_inner_slot(encoded, index));
		walk_prefetch(encoded);
	}
	return samara_rcu_dereference(mt_node(encoded)->slot[leaf_slot(mt_node(encoded), index)]);
}

static WALK_TARGET void walk_path(struct maple_path *path, uintptr_t encoded, unsigned long index)
{
	unsigned int depth = 0;

	while (!mt_is_leaf(encoded)) {
		unsigned int slot = mt_inner_slot(encoded, index);

		path->node[depth] = encoded;
		path->slot[depth++] = (uint8_t)slot;
		encoded = mt_child(encoded, slot);
		walk_prefetch(encoded);
	}
	path->node[depth] = encoded;
	path->slot[depth] = (uint8_t)leaf_slot(mt_node(encoded), index);
	path->leaf_depth = (uint8_t)depth;
}
