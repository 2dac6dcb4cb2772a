/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_STRESS_PLAN_H
#define VMM_STRESS_PLAN_H

#include <stdint.h>

#include "vmm/stress.h"
#include "vmm/stress_rng.h"

/*
 * What operators do, and on which slot: a function of the options, their seed among them, and of
 * nothing else. How a plan meets the guest depends on time: where the slot is the guest's just then,
 * or not plugged, the next one that will do is taken.
 */

/**
 * struct stress_order - the order in which slots are chosen: operators and vCPUs each go round in
 * it, or pick from it at random, so that it holds a slot as often as it is to be chosen
 */
struct stress_order {
	unsigned int length; /* at most STRESS_ORDER */
	uint16_t slot[STRESS_ORDER];
};

/* Fill it for options that stress_check_options() has accepted. */
void stress_order_fill(struct stress_order *order, const struct stress_options *options);

/* Where vCPU n begins in it, n times the first number, and the steps in which it goes on. */
void stress_order_steps(const struct stress_order *order, const struct stress_options *options,
			uint32_t *first, uint32_t *step);

/**
 * struct stress_planner - what is left of one operator's stream of plans
 *
 * Locks: its own thread's.
 */
struct stress_planner {
	const struct stress_options *options;
	const struct stress_order *order;
	unsigned int total, next;
	struct stress_rng rng;
};

/* @index: of the operator; @seed: its own */
void stress_planner_init(struct stress_planner *planner, const struct stress_options *options,
			 const struct stress_order *order, unsigned int index, uint64_t seed);

/**
 * struct stress_plan - one step
 * @slot: the first that is tried, for what is done to slots
 * @details: sizes, places and pieces are drawn from it
 */
struct stress_plan {
	enum stress_mix what;
	unsigned int slot;
	struct stress_rng details;
};

void stress_plan_next(struct stress_planner *planner, struct stress_plan *plan);

#endif
