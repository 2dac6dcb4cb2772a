/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_STATS_H
#define VMM_STATS_H

#include <stddef.h>
#include <stdint.h>

#include "devices/bus.h"
#include "vmm/dimm.h"
#include "vmm/vm.h"

/*
 * What a VM counts, in one list: for x-samara-stats, for samara ctl stats and for --metrics.
 */

enum stat_kind {
	STAT_COUNTER, /* only grows: a rate makes sense */
	STAT_GAUGE,   /* comes and goes */
	STAT_ADDRESS, /* a gpa */
};

enum stat_unit {
	STAT_NUMBER,
	STAT_BYTES,
	STAT_NS,
};

/**
 * struct stat_info - one of them; immutable
 * @name: as in x-samara-stats
 * @help: one line, for people
 * @offset: of its value, for stats_value()
 */
struct stat_info {
	const char *name, *help;
	enum stat_kind kind;
	enum stat_unit unit;
	size_t offset;
};

/* The list, ended by one without a name. */
extern const struct stat_info stats_list[];

/* By its name; NULL: there is none. */
const struct stat_info *stats_find(const char *name);

/**
 * struct stats - all values of one moment, or nearly: counters are read one by one
 */
struct stats {
	struct guest_mm_stats mm;
	struct bus_counters mmio, pio;
	struct dimm_counters dimm;
};

/**
 * stats_read() - take a reading
 *
 * Context: Delays no vCPU; walks the list of regions in an RCU read-side section.
 */
void stats_read(struct vm *vm, struct stats *stats);

static inline uint64_t stats_value(const struct stats *stats, const struct stat_info *info)
{
	return *(const uint64_t *)((const char *)stats + info->offset);
}

#endif
