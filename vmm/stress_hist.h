/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_STRESS_HIST_H
#define VMM_STRESS_HIST_H

#include <stdint.h>

#include "guest/stress_abi.h"

/**
 * struct stress_hist - a histogram in the buckets of stress_bucket(), at most 6.25 % wide
 *
 * Locks: none; one thread at a time.
 */
struct stress_hist {
	uint64_t count, max;
	uint64_t buckets[STRESS_BUCKETS];
};

/* Count one value; all the values of another histogram. */
void stress_hist_add(struct stress_hist *hist, uint64_t value);
void stress_hist_merge(struct stress_hist *into, const struct stress_hist *from);

/* The same for the buckets that a vCPU filled. */
void stress_hist_merge_guest(struct stress_hist *into, const uint32_t *buckets, uint64_t max);

/**
 * stress_hist_quantile() - the smallest value that at least @fraction of the values do not exceed
 *
 * Return: the upper end of its bucket, at most the maximum; 0 for an empty histogram.
 */
uint64_t stress_hist_quantile(const struct stress_hist *hist, double fraction);

/* The largest value of a bucket. */
uint64_t stress_bucket_last(uint32_t bucket);

#endif
