/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "vmm/stats.h"

#define MM(field)   offsetof(struct stats, mm.field)
#define MMIO(field) offsetof(struct stats, mmio.field)
#define PIO(field)  offsetof(struct stats, pio.field)
#define DIMM(field) offsetof(struct stats, dimm.field)

const struct stat_info stats_list[] = {
	{"regions", "Regions of guest memory.", STAT_GAUGE, STAT_NUMBER, MM(regions)},
	{"tree-nodes", "Nodes of the region tree.", STAT_GAUGE, STAT_NUMBER, MM(tree_nodes)},
	{"tree-bytes", "Memory of the region tree, with what is kept for more nodes.", STAT_GAUGE,
	 STAT_BYTES, MM(tree_bytes)},
	{"windows", "Windows that guest memory can be in.", STAT_GAUGE, STAT_NUMBER, MM(windows)},
	{"plugged-bytes", "Guest memory that is plugged.", STAT_GAUGE, STAT_BYTES,
	 MM(plugged_bytes)},
	{"populated-bytes", "Guest memory with pages behind it.", STAT_GAUGE, STAT_BYTES,
	 MM(populated_bytes)},
	{"plugs", "Ranges that became memory.", STAT_COUNTER, STAT_NUMBER, MM(plugs)},
	{"unplugs", "Ranges that are memory no more.", STAT_COUNTER, STAT_NUMBER, MM(unplugs)},
	{"remaps", "Ranges that moved.", STAT_COUNTER, STAT_NUMBER, MM(remaps)},
	{"protects", "Changes of protection.", STAT_COUNTER, STAT_NUMBER, MM(protects)},
	{"discards", "Ranges whose pages were given back; they stay memory.", STAT_COUNTER,
	 STAT_NUMBER, MM(discards)},
	{"discarded-pages", "Pages given back by that.", STAT_COUNTER, STAT_NUMBER,
	 MM(discarded_pages)},
	{"rebacks", "Ranges that got another backing.", STAT_COUNTER, STAT_NUMBER, MM(rebacks)},
	{"limit-bytes", "How much may be plugged; 2^64 - 1: any amount.", STAT_GAUGE, STAT_BYTES,
	 MM(limit_bytes)},
	{"failed-operations", "Operations that were refused or failed.", STAT_COUNTER, STAT_NUMBER,
	 MM(failed_operations)},
	{"faults", "Stage-2 faults resolved.", STAT_COUNTER, STAT_NUMBER, MM(faults)},
	{"fault-pages", "Pages populated by faults and pins.", STAT_COUNTER, STAT_NUMBER,
	 MM(fault_pages)},
	{"fault-write-protect", "Faults at write-protected pages, resolved.", STAT_COUNTER,
	 STAT_NUMBER, MM(fault_write_protect)},
	{"faults-deferred", "Faults that met an operation and waited aside.", STAT_COUNTER,
	 STAT_NUMBER, MM(faults_deferred)},
	{"faults-nothing", "Accesses where nothing is plugged.", STAT_COUNTER, STAT_NUMBER,
	 MM(faults_nothing)},
	{"faults-held", "Writes held at read-only memory.", STAT_COUNTER, STAT_NUMBER,
	 MM(faults_held)},
	{"last-nothing-gpa", "Where the last access to nothing was.", STAT_ADDRESS, STAT_NUMBER,
	 MM(last_nothing_gpa)},
	{"pins", "Ranges held for the host's own accesses.", STAT_COUNTER, STAT_NUMBER, MM(pins)},
	{"lock-success", "Region locks taken at the first try.", STAT_COUNTER, STAT_NUMBER,
	 MM(lock_success)},
	{"lock-abort", "Tries that met an operation.", STAT_COUNTER, STAT_NUMBER, MM(lock_abort)},
	{"lock-retry", "Times a reader took the tree's lock instead.", STAT_COUNTER, STAT_NUMBER,
	 MM(lock_retry)},
	{"lock-miss", "Tries where no region is.", STAT_COUNTER, STAT_NUMBER, MM(lock_miss)},
	{"lock-wait-ns", "Readers' time behind operations.", STAT_COUNTER, STAT_NS,
	 MM(lock_wait_ns)},
	{"mmio-reads", "MMIO reads.", STAT_COUNTER, STAT_NUMBER, MMIO(reads)},
	{"mmio-writes", "MMIO writes.", STAT_COUNTER, STAT_NUMBER, MMIO(writes)},
	{"mmio-nowhere", "MMIO accesses where no device is.", STAT_COUNTER, STAT_NUMBER,
	 MMIO(nowhere)},
	{"pio-reads", "Port reads.", STAT_COUNTER, STAT_NUMBER, PIO(reads)},
	{"pio-writes", "Port writes.", STAT_COUNTER, STAT_NUMBER, PIO(writes)},
	{"pio-nowhere", "Port accesses where no device is.", STAT_COUNTER, STAT_NUMBER,
	 PIO(nowhere)},
	{"ost-reports", "Reports of the guest about memory devices, passed on.", STAT_COUNTER,
	 STAT_NUMBER, DIMM(passed)},
	{"ost-reports-dropped", "Such reports dropped, as there were too many.", STAT_COUNTER,
	 STAT_NUMBER, DIMM(dropped)},
	{"memory-reminders", "Times the guest was told anew of a memory device, and had not asked.",
	 STAT_COUNTER, STAT_NUMBER, DIMM(reminders)},
	{NULL, NULL, 0, 0, 0},
};

const struct stat_info *stats_find(const char *name)
{
	const struct stat_info *info;

	for (info = stats_list; info->name; info++)
		if (!strcmp(info->name, name))
			return info;
	return NULL;
}

void stats_read(struct vm *vm, struct stats *stats)
{
	memset(stats, 0, sizeof(*stats));
	guest_mm_get_stats(vm_mm(vm), &stats->mm);
	vm_get_bus_counters(vm, &stats->mmio, &stats->pio);
	if (vm_dimms(vm))
		dimms_get_counters(vm_dimms(vm), &stats->dimm);
}
