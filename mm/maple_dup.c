/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "mm/maple_internal.h"

/* Copy a node and everything below it; nodes are at hand. Recursion ends at MAPLE_HEIGHT_MAX. */
static uintptr_t dup_node(struct maple_tree *new, uintptr_t encoded)
{
	struct maple_node *node = maple_node_take(new, NULL);
	uintptr_t copy = (uintptr_t)node | (encoded & (MAPLE_NODE_BYTES - 1));

	memcpy((char *)node + sizeof(node->state),
	       (const char *)mt_node(encoded) + sizeof(node->state),
	       sizeof(*node) - sizeof(node->state));
	for (unsigned int i = 0; !mt_is_leaf(encoded) && i <= mt_last_slot(encoded); i++)
		mt_slots(copy)[i] = (void *)dup_node(new, mt_child(encoded, i));
	return copy;
}

int __mt_dup(struct maple_tree *mt, struct maple_tree *new, gfp_t gfp)
{
	struct maple_stats stats;

	if (new->ma_root || new->ma_flags != mt->ma_flags)
		return -EINVAL;
	if (!mt->ma_root)
		return 0;
	mt_stats(mt, &stats);
	if (maple_reserve(new, NULL, stats.nodes, gfp))
		return -ENOMEM;
	new->ma_wrapped = mt->ma_wrapped;
	samara_rcu_assign_pointer(new->ma_root, (void *)dup_node(new, (uintptr_t)mt->ma_root));
	return 0;
}

int mtree_dup(struct maple_tree *mt, struct maple_tree *new, gfp_t gfp)
{
	int ret;

	mtree_lock(new);
	mtree_lock(mt);
	ret = __mt_dup(mt, new, gfp);
	mtree_unlock(mt);
	mtree_unlock(new);
	return ret;
}
