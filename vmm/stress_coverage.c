/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/stress_coverage.h"

/* A listing may miss what is cut or united at that moment. */
#define LISTINGS_MAX 10

/* Which part of a range is plugged. */
struct coverage {
	gpa_t gpa;
	uint64_t size_bytes, plugged_bytes;
};

static int add_region(const struct guest_mm_region *region, void *arg)
{
	struct coverage *coverage = arg;
	gpa_t first = region->gpa > coverage->gpa ? region->gpa : coverage->gpa;
	gpa_t end = region->gpa + region->size_bytes;

	if (end > coverage->gpa + coverage->size_bytes)
		end = coverage->gpa + coverage->size_bytes;
	if (first < end)
		coverage->plugged_bytes += end - first;
	return 0;
}

bool stress_coverage(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes, uint64_t plugged_bytes,
		     uint64_t *found)
{
	struct coverage coverage;

	for (unsigned int i = 0; i < LISTINGS_MAX; i++) {
		coverage = (struct coverage){.gpa = gpa, .size_bytes = size_bytes};
		guest_mm_for_each_region(mm, add_region, &coverage);
		if (coverage.plugged_bytes == plugged_bytes)
			return true;
	}
	*found = coverage.plugged_bytes;
	return false;
}
