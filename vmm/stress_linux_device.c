/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What operators ask of a Linux guest's drivers, by vmm/stress_devices.c: another size of the balloon
 * or of the virtio-mem device, a DIMM more or less.
 */
#include "vmm/layout.h"
#include "vmm/stress_linux_state.h"

/* The balloon takes so much of the memory at start, at most. */
#define BALLOON_PART 8u

void stress_linux_devices_init(struct stress_linux *l)
{
	const struct stress_options *options = &l->base.options;
	struct vm *vm = l->guest.vm;
	struct stress_devices_config config = {
		.memory = vm_memory_devices(vm),
		.qom = vm_qom(vm),
		.mem = vm_virtio_mem(vm),
		.mem_path = "/machine/peripheral/" STRESS_VIRTIO_MEM_ID,
		.mem_gpa = vm_layout(vm)->device_gpa,
		.mem_bytes = options->linux_guest.device_bytes,
		.balloon = vm_virtio_balloon(vm),
		.balloon_gpa = 0,
		.balloon_pages =
			(uint32_t)(vm_layout(vm)->low_bytes / BALLOON_PART / SAMARA_PAGE_BYTES),
		.dimms = vm_dimms(vm),
		.dimm_slots = stress_linux_dimms(options),
		.dimm_units = 1,
		.dimm_gpa = vm_layout(vm)->hotplug_gpa,
		.dimm_unit_bytes = stress_linux_dimm_bytes(options),
		.may_decline = true,
	};
	struct virtio_mem_state state;

	if (config.mem) {
		virtio_mem_get(config.mem, &state);
		config.block_bytes = state.block_bytes;
	}
	stress_devices_init(&l->base.devices, &l->base, &config);
}
