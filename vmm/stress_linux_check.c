/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whether options make a run with a Linux guest. */
#include <errno.h>
#include <string.h>

#include "vmm/stress_linux.h"
#include "vmm/stress_linux_guest.h"

#define MEMORY_MIN_BYTES (UINT64_C(128) << 20)

void stress_linux_default_mix(unsigned int weight[STRESS_MIXES])
{
	memset(weight, 0, STRESS_MIXES * sizeof(*weight));
	weight[STRESS_MIX_REBACK] = 30;
	weight[STRESS_MIX_PROTECT_LIVE] = 30;
	weight[STRESS_MIX_POPULATE] = 10;
	weight[STRESS_MIX_REFUSED] = 5;
	weight[STRESS_MIX_BALLOON] = 5;
	weight[STRESS_MIX_VIRTIO_MEM] = 10;
	weight[STRESS_MIX_DIMM] = 10;
}

static int check_mix(const struct stress_options *options, struct samara_error *err)
{
	unsigned int possible[STRESS_MIXES];

	stress_linux_default_mix(possible);
	for (unsigned int i = 0; options->mix_given && i < STRESS_MIXES; i++)
		if (options->weight[i] && !possible[i])
			return samara_error_set(
				err, -EINVAL,
				"--mix %s: a Linux guest would not survive it; it has "
				"reback, populate, refused, protect-live, balloon, "
				"virtio-mem, dimm",
				stress_mix_names[i]);
	if (options->mix_given && !options->linux_guest.device_bytes &&
	    (options->weight[STRESS_MIX_VIRTIO_MEM] || options->weight[STRESS_MIX_DIMM]))
		return samara_error_set(
			err, -EINVAL,
			"--mix virtio-mem, dimm: --device-memory 0 leaves nothing to "
			"plug");
	return 0;
}

int stress_linux_check(const struct stress_options *options, struct samara_error *err)
{
	const struct stress_linux_options *linux_guest = &options->linux_guest;

	if (!linux_guest->kernel[0])
		return samara_error_set(err, -EINVAL, "--guest linux: --kernel names its kernel");
	if (!options->cpus || options->cpus > VM_MAX_CPUS)
		return samara_error_set(err, -EINVAL, "--cpus: 1 to %d with a Linux guest",
					VM_MAX_CPUS);
	if (linux_guest->memory_bytes < MEMORY_MIN_BYTES ||
	    linux_guest->memory_bytes % SAMARA_PAGE_BYTES)
		return samara_error_set(err, -EINVAL,
					"--guest-memory: at least 128M, in whole pages");
	if (linux_guest->device_bytes % STRESS_DIMM_MIN_BYTES)
		return samara_error_set(
			err, -EINVAL,
			"--device-memory: a multiple of 128M, the size of a block of "
			"Linux");
	if (!options->slots || options->slot_bytes % SAMARA_PAGE_BYTES ||
	    options->slot_bytes > linux_guest->memory_bytes / 2 / options->slots)
		return samara_error_set(
			err, -EINVAL,
			"--slots, --slot-size: at least one, in whole pages, and half of "
			"--guest-memory at most in all");
	return check_mix(options, err);
}
