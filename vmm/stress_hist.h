/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_STRESS_HIST_H
#define VMM_STRESS_HIST_H

#include <stdint.h>

#include "guest/stress_abi.h"

/**
 * struct stress_hist - a histogram in the buckets of stress_bucket(): two significant digits of
 * anything up to 2^44, in the same memory however much is counted
 *
 * Locks: none; one thread adds, and others may merge from it meanwhile.
 */
struct stress_hist {
	uint64_t count, sum, min, max;
	uint64_t buckets[STRESS_BUCKETS];
};

/* Count one value; all the values of another histogram. */
void stress_hist_add(struct stress_hist *hist, uint64_t value);
void stress_hist_merge(struct stress_hist *into, const struct stress_hist *from);

/* The same for the buckets that a vCPU filled. */
void stress_hist_merge_guest(struct stress_hist *into, const uint32_t *buckets, uint64_t max);

/* What was counted between two states of the same histogram, and is in the later one alone. */
void stress_hist_since(struct stress_hist *span, const struct stress_hist *now,
		       const struct stress_hist *before);

/* 0 for an empty one. */
double stress_hist_mean(const struct stress_hist *hist);

/**
 * stress_hist_quantile() - the smallest value that at least @fraction of the values do not exceed
 *
 * Return: the upper end of its bucket, at most the maximum; 0 for an empty histogram.
 */
uint64_t stress_hist_quantile(const struct stress_hist *hist, double fraction);

/* The largest value of a bucket. */
uint64_t stress_bucket_last(uint32_t bucket);

#endif
