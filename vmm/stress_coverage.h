/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_STRESS_COVERAGE_H
#define VMM_STRESS_COVERAGE_H

#include <stdbool.h>

#include <samara/guest_mm.h>

/**
 * stress_coverage() - whether so much of a range is plugged
 * @plugged_bytes: that have to be; nobody changes the range meanwhile
 * @found: set to what is
 *
 * Context: waits for nobody.
 */
bool stress_coverage(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes, uint64_t plugged_bytes,
		     uint64_t *found);

#endif
