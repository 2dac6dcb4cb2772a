/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_STRESS_WATCH_H
#define VMM_STRESS_WATCH_H

#include "vmm/stress_state.h"

/* A vCPU's time-stamp counter at a moment of the host's clock. */
struct stress_tsc_sample {
	uint64_t tsc, ns;
};

/**
 * struct stress_lookout - what the watching thread keeps; all zero at first
 * @next_s: when latencies and the map are due
 * @rss_first, @rss_last: bytes
 *
 * Locks: the watching thread's.
 */
struct stress_lookout {
	struct stress_tsc_sample first, last;
	double next_s;
	struct stress_hist operation_ns, fault_cycles;
	struct stress_hist rss_first, rss_last;
	struct stress_map map;
};

/**
 * stress_watch() - let a run have its time, and tell the watcher of it
 *
 * Ends early by @interrupt, when the guest fails, or when something hangs.
 */
void stress_watch(struct stress *s, struct stress_lookout *lookout, const volatile int *interrupt,
		  struct stress_result *result);

#endif
