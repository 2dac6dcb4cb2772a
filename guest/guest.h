/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef GUEST_GUEST_H
#define GUEST_GUEST_H

#include "guest/stress_abi.h"

/*
 * Within the stress guest. All memory is mapped at its gpa, so a gpa is a pointer.
 */

/* struct cpu - a vCPU; its own, on its stack */
struct cpu {
	struct stress_control *control;
	struct stress_vcpu *me;
	uint32_t index;
	uint32_t chunk_shift;
	uint32_t words; /* in a page of the own region: a power of two */
	/* The own region: the next page, and how often all of it was written. */
	uint32_t own_page, own_pass;
	uint32_t next_shared, next_live, next_protect, next_order;
	uint64_t random; /* units.c */
	uint64_t *touched;
};

/*
 * Not serialised: an access that faults leaves the guest, and what was executed ahead of its
 * retirement is executed again. Without a fault the error is some nanoseconds.
 */
static inline uint64_t rdtsc(void)
{
	uint32_t low, high;

	asm volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

static inline volatile uint64_t *word_at(uint64_t gpa)
{
	return (volatile uint64_t *)gpa;
}

static inline uint64_t page_of(const struct stress_area *area, uint32_t i)
{
	return area->first_page + (uint64_t)i * area->page_step;
}

/* check.c: tell the host of a wrong word; check, and write, an area of memory that is at @gpa. */
void report(struct cpu *cpu, uint32_t kind, uint64_t gpa, uint32_t generation, uint64_t expected,
	    uint64_t found);
void check_area(struct cpu *cpu, uint64_t gpa, const struct stress_area *area, uint32_t kind);
void write_area(uint64_t gpa, const struct stress_area *area);

#endif
