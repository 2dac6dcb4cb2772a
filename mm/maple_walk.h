/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The walk from a root to a leaf, once for each instruction set: a file defines WALK_TARGET (a
 * function attribute) and find_slot(), and includes this. No include guard, as it is a template.
 *
 * A node is four cache lines, and its slots lie in the last two. Asking for them while the pivots
 * in the first two are on their way makes one miss of two, when the tree is larger than the caches.
 */

static inline WALK_TARGET uintptr_t walk_child(uintptr_t encoded, unsigned long index,
					       unsigned int *slot)
{
	const struct maple_node *node = mt_node(encoded);

	*slot = find_slot(encoded, index);
	return (uintptr_t)(mt_is_arange(encoded) ? samara_rcu_dereference(node->arange.slot[*slot])
						 : samara_rcu_dereference(node->slot[*slot]));
}

static inline void walk_prefetch(uintptr_t encoded)
{
	const char *node = (const char *)mt_node(encoded);

	__builtin_prefetch(node + 128);
	__builtin_prefetch(node + 192);
}

static WALK_TARGET void *walk_load(uintptr_t encoded, unsigned long index)
{
	unsigned int slot;

	while (!mt_is_leaf(encoded)) {
		encoded = walk_child(encoded, index, &slot);
		walk_prefetch(encoded);
	}
	return samara_rcu_dereference(mt_node(encoded)->slot[find_slot(encoded, index)]);
}

static WALK_TARGET void walk_path(struct maple_path *path, uintptr_t encoded, unsigned long index)
{
	unsigned int depth = 0, slot;

	while (!mt_is_leaf(encoded)) {
		path->node[depth] = encoded;
		encoded = walk_child(encoded, index, &slot);
		walk_prefetch(encoded);
		path->slot[depth++] = (uint8_t)slot;
	}
	path->node[depth] = encoded;
	path->slot[depth] = (uint8_t)find_slot(encoded, index);
	path->leaf_depth = (uint8_t)depth;
}

static WALK_TARGET unsigned int walk_slot(uintptr_t encoded, unsigned long index)
{
	return find_slot(encoded, index);
}
