/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Linux's own tree, from MAPLE_KERNEL_SRC. */
#include <linux/maple_tree.h>

#define map_read_lock()   rcu_read_lock()
#define map_read_unlock() rcu_read_unlock()
#define map_settle()      urcu_bp_barrier()
#define map_live()        kmem_live_objects()
#define map_bytes(map)    map_kernel_bytes(map)

/*
 * mtree_destroy() in RCU mode takes the metadata in the last slot of an inner node with 15 children
 * for a child (mt_free_walk()), which only shows in trees without MT_FLAGS_ALLOC_RANGE. Nobody
 * reads any more: leave that mode before.
 */
#define map_end(map)      mt_clear_in_rcu(&(map)->tree)

struct map;
static unsigned long map_kernel_bytes(const struct map *map);

#include "tests/bench/maple_interface.h"

/* Other trees stay as they are between create() and this. */
static unsigned long map_kernel_bytes(const struct map *map)
{
	return (kmem_live_objects() - map->live_before) * sizeof(struct maple_node);
}

/* The tree's cache of nodes must be there before the first store. */
static __attribute__((constructor)) void start(void)
{
	maple_tree_init();
}

MAPLE_CONTESTANT(kernel);
