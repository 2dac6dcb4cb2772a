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

static inline uint64_t load(const uint64_t *value)
{
	return __atomic_load_n(value, __ATOMIC_RELAXED);
}

/* One thread adds: what others may see is whole, and not of one moment. */
static inline void add(uint64_t *value, uint64_t more)
{
	__atomic_store_n(value, *value + more, __ATOMIC_RELAXED);
}

void stress_hist_add(struct stress_hist *hist, uint64_t value)
{
	add(&hist->buckets[stress_bucket(value)], 1);
	add(&hist->sum, value);
	if (!hist->count || value < hist->min)
		__atomic_store_n(&hist->min, value, __ATOMIC_RELAXED);
	if (value > hist->max)
		__atomic_store_n(&hist->max, value, __ATOMIC_RELAXED);
	add(&hist->count, 1);
}

void stress_hist_merge(struct stress_hist *into, const struct stress_hist *from)
{
	uint64_t count = 0, max = load(&from->max), min = load(&from->min);

	if (!load(&from->count))
		return;
	for (uint32_t i = 0; i < STRESS_BUCKETS; i++) {
		uint64_t n = load(&from->buckets[i]);

		into->buckets[i] += n;
		count += n;
	}
	if (count && (!into->count || min < into->min))
		into->min = min;
	if (max > into->max)
		into->max = max;
	into->count += count;
	into->sum += load(&from->sum);
}

void stress_hist_merge_guest(struct stress_hist *into, const uint32_t *buckets, uint64_t max)
{
	for (uint32_t i = 0; i < STRESS_BUCKETS; i++) {
		uint64_t n = __atomic_load_n(&buckets[i], __ATOMIC_RELAXED);
		uint64_t value = stress_bucket_last(i);

		if (!n)
			continue;
		if (!into->count || value < into->min)
			into->min = value;
		into->buckets[i] += n;
		into->count += n;
		into->sum += n * value;
	}
	if (max > into->max)
		into->max = max;
}

void stress_hist_since(struct stress_hist *span, const struct stress_hist *now,
		       const struct stress_hist *before)
{
	*span = (struct stress_hist){.sum = now->sum - before->sum};
	for (uint32_t i = 0; i < STRESS_BUCKETS; i++) {
		uint64_t n = now->buckets[i] - before->buckets[i], last = stress_bucket_last(i);

		if (!n)
			continue;
		if (!span->count)
			span->min = last;
		span->buckets[i] = n;
		span->count += n;
		span->max = last < now->max ? last : now->max;
	}
}

double stress_hist_mean(const struct stress_hist *hist)
{
	return hist->count ? (double)hist->sum / (double)hist->count : 0;
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
