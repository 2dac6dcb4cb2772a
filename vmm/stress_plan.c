/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/stress_plan.h"

#include <math.h>

/* Tells the stream that fills the order from those of the workers. */
#define ORDER_SEED UINT64_C(0x6f72646572)

/* A number in [0, 1) of 53 random bits. */
static double fraction(struct stress_rng *rng)
{
	return (double)(stress_random(rng) >> 11) * 0x1p-53;
}

/* Slot k has weight 1 / (k + 1)^zipf: drawn from the sums of these by bisection. */
static void fill_zipf(struct stress_order *order, const struct stress_options *options,
		      struct stress_rng *rng)
{
	double sums[STRESS_MAX_SLOTS], sum = 0;

	for (unsigned int k = 0; k < options->slots; k++) {
		sum += 1 / pow(k + 1, options->zipf);
		sums[k] = sum;
	}
	for (unsigned int i = 0; i < order->length; i++) {
		double wanted = fraction(rng) * sum;
		unsigned int low = 0, high = options->slots - 1;

		while (low < high) {
			unsigned int middle = (low + high) / 2;

			if (sums[middle] > wanted)
				high = middle;
			else
				low = middle + 1;
		}
		order->slot[i] = (uint16_t)low;
	}
}

void stress_order_fill(struct stress_order *order, const struct stress_options *options)
{
	struct stress_rng rng = {options->seed ^ ORDER_SEED};
	unsigned int i;

	order->length = STRESS_ORDER;
	switch (options->pattern) {
	case STRESS_PATTERN_ZIPF:
		fill_zipf(order, options, &rng);
		return;
	case STRESS_PATTERN_RANDOM:
		for (i = 0; i < order->length; i++)
			order->slot[i] = (uint16_t)stress_below(&rng, options->slots);
		return;
	case STRESS_PATTERN_OWN:
		/* So many that steps of the number of vCPUs end where they began. */
		order->length =
			(options->slots + options->cpus - 1) / options->cpus * options->cpus;
		break;
	default:
		order->length = options->slots;
	}
	for (i = 0; i < order->length; i++)
		order->slot[i] = (uint16_t)(i % options->slots);
}

void stress_order_steps(const struct stress_order *order, const struct stress_options *options,
			uint32_t *first, uint32_t *step)
{
	bool own = options->pattern == STRESS_PATTERN_OWN;

	*step = own ? options->cpus % order->length : 1;
	*first = own ? 1 : order->length / options->cpus;
	if (!*first)
		*first = 1;
}

void stress_planner_init(struct stress_planner *planner, const struct stress_options *options,
			 const struct stress_order *order, unsigned int index, uint64_t seed)
{
	*planner = (struct stress_planner){
		.options = options,
		.order = order,
		.next = index * (order->length / options->operators) % order->length,
		.rng = {seed},
	};
	for (unsigned int i = 0; i < STRESS_MIXES; i++)
		planner->total += options->weight[i];
}

void stress_plan_next(struct stress_planner *planner, struct stress_plan *plan)
{
	unsigned int choice = (unsigned int)stress_below(&planner->rng, planner->total);
	const struct stress_order *order = planner->order;
	unsigned int what = 0;

	while (choice >= planner->options->weight[what])
		choice -= planner->options->weight[what++];
	plan->what = what;
	if (planner->options->pattern == STRESS_PATTERN_RANDOM ||
	    planner->options->pattern == STRESS_PATTERN_ZIPF) {
		plan->slot = order->slot[stress_below(&planner->rng, order->length)];
	} else {
		plan->slot = order->slot[planner->next];
		planner->next = (planner->next + 1) % order->length;
	}
	plan->details.state = stress_random(&planner->rng);
}
