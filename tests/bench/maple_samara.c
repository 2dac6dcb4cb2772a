/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <samara/maple_tree.h>

#include "mm/rcu.h"

#define map_read_lock()   samara_rcu_read_lock()
#define map_read_unlock() samara_rcu_read_unlock()
#define map_settle()      samara_rcu_barrier()
#define map_live()        0
#define map_end(map)      ((void)0)
#define map_bytes(map)    map_samara_bytes(map)

struct map;
static unsigned long map_samara_bytes(struct map *map);

#include "tests/bench/maple_interface.h"

static unsigned long map_samara_bytes(struct map *map)
{
	struct maple_stats stats;

	mt_stats(&map->tree, &stats);
	return stats.bytes;
}

MAPLE_CONTESTANT(samara);
