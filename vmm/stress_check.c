/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whether options make a run. */
#include <errno.h>

#include "vmm/stress_linux.h"
#include "vmm/stress_state.h"

static int check_mix(const struct stress_options *options, struct samara_error *err)
{
	unsigned int most = 0;

	for (unsigned int i = 0; i < STRESS_MIXES; i++) {
		if (options->weight[i] > most)
			most = options->weight[i];
	}
	if (!most)
		return samara_error_set(err, -EINVAL, "--mix: nothing to do");
	if (most > STRESS_NUMBER_MAX / STRESS_MIXES)
		return samara_error_set(err, -EINVAL, "--mix: weights up to %u",
					STRESS_NUMBER_MAX / STRESS_MIXES);
	return 0;
}

int stress_check_options(const struct stress_options *options, struct samara_error *err)
{
	struct stress_layout layout;

	if (!options->seconds)
		return samara_error_set(err, -EINVAL, "--seconds: at least 1");
	if (!options->operators)
		return samara_error_set(err, -EINVAL, "--operators: at least 1");
	if (options->operators > STRESS_MAX_WORKERS || options->strangers > STRESS_MAX_WORKERS ||
	    options->operators + options->strangers + options->devices > STRESS_MAX_WORKERS)
		return samara_error_set(err, -EINVAL,
					"--operators, --strangers, --devices: at most %u in all",
					STRESS_MAX_WORKERS);
	if (options->devices > STRESS_MAX_DEVICES)
		return samara_error_set(err, -EINVAL, "--devices: at most %u", STRESS_MAX_DEVICES);
	if (!options->device_pages)
		return samara_error_set(err, -EINVAL, "--device-pages: at least 1");
	if (options->device_hold_us > 1000000 || options->device_rest_us > 1000000)
		return samara_error_set(err, -EINVAL,
					"--device-hold, --device-rest: at most 1000000 us");
	if (!options->fault_around_pages || options->fault_around_pages > 512 ||
	    options->fault_around_pages & (options->fault_around_pages - 1))
		return samara_error_set(err, -EINVAL,
					"--fault-around: a power of two from 1 to 512 pages");
	if (!options->slot_min_bytes || options->slot_min_bytes % SAMARA_PAGE_BYTES ||
	    options->slot_min_bytes > options->slot_bytes)
		return samara_error_set(
			err, -EINVAL,
			"--slot-size: from at least a page, in whole pages, up to the "
			"larger one");
	if (check_mix(options, err))
		return -EINVAL;
	if (options->guest == STRESS_GUEST_LINUX)
		return stress_linux_check(options, err);
	return stress_layout_make(&layout, options, err);
}

int stress_layout_make(struct stress_layout *layout, const struct stress_options *options,
		       struct samara_error *err)
{
	int ret = stress_layout_init(layout, options->cpus, options->slots, options->slot_bytes,
				     options->stranger_bytes, options->strangers, err);

	if (ret)
		return ret;
	if (options->pattern == STRESS_PATTERN_ONE)
		return stress_layout_group(layout, layout->places, err);
	if (options->pattern == STRESS_PATTERN_OWN)
		return stress_layout_group(layout, 1, err);
	return 0;
}
