/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/stress_hist.h"

uint64_t stress_bucket_last(uint32_t bucket)
{
	const uint32_t sub = 1u << STRESS_SUB_BITS;
	uint32_t shift;

	if (bucket < sub)
		return bucket;
	shift = (bucket >> STRESS_SUB_BITS) - 1;
	return (((uint64_t)(bucket & (sub - 1)) + sub + 1) << shift) - 1;
}

void stress_hist_add(struct stress_hist *hist, uint64_t value)
{
	hist->buckets[stress_bucket(value)]++;
	hist->count++;
	if (value > hist->max)
		hist->max = value;
}

void stress_hist_merge(struct stress_hist *into, const struct stress_hist *from)
{
	for (uint32_t i = 0; i < STRESS_BUCKETS; i++)
		into->buckets[i] += from->buckets[i];
	into->count += from->count;
	if (from->max > into->max)
		into->max = from->max;
}

void stress_hist_merge_guest(struct stress_hist *into, const uint32_t *buckets, uint64_t max)
{
	for (uint32_t i = 0; i < STRESS_BUCKETS; i++) {
		into->buckets[i] += buckets[i];
		into->count += buckets[i];
	}
	if (max > into->max)
		into->max = max;
}

uint64_t stress_hist_quantile(const struct stress_hist *hist, double fraction)
{
	uint64_t seen = 0, last;
	double wanted = fraction * (double)hist->count;

	if (!hist->count)
		return 0;
	for (uint32_t i = 0; i < STRESS_BUCKETS; i++) {
		seen += hist->buckets[i];
		if (hist->buckets[i] && (double)seen >= wanted) {
			last = stress_bucket_last(i);
			return last < hist->max ? last : hist->max;
		}
	}
	return hist->max;
}
