/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/layout.h"

#include <errno.h>
#include <inttypes.h>

int layout_init(struct layout *layout, uint64_t memory_bytes, uint64_t max_memory_bytes,
		unsigned int phys_bits, struct samara_error *err)
{
	uint64_t limit = phys_bits >= 64 ? UINT64_MAX : UINT64_C(1) << phys_bits;
	uint64_t high, end, hotplug = max_memory_bytes - memory_bytes, before_hotplug;

	if (memory_bytes % SAMARA_PAGE_BYTES || max_memory_bytes % SAMARA_PAGE_BYTES)
		return samara_error_set(err, -EINVAL,
					"memory: %" PRIu64 " and max %" PRIu64
					" bytes: not both multiples of 4096",
					memory_bytes, max_memory_bytes);
	if (memory_bytes <= LAYOUT_KERNEL_MIN_GPA)
		return samara_error_set(err, -EINVAL,
					"memory: %" PRIu64 " bytes is too little for any kernel",
					memory_bytes);
	if (max_memory_bytes < memory_bytes)
		return samara_error_set(err, -EINVAL,
					"memory: max %" PRIu64 " bytes is below the %" PRIu64
					" bytes at start",
					max_memory_bytes, memory_bytes);

	layout->low_bytes = memory_bytes;
	if (layout->low_bytes > LAYOUT_LOW_MAX_BYTES)
		layout->low_bytes = LAYOUT_LOW_MAX_BYTES;
	layout->high_boot_bytes = memory_bytes - layout->low_bytes;

	before_hotplug = layout->high_boot_bytes;
	if (hotplug && before_hotplug % LAYOUT_HOTPLUG_ALIGN)
		before_hotplug += LAYOUT_HOTPLUG_ALIGN - before_hotplug % LAYOUT_HOTPLUG_ALIGN;
	high = before_hotplug + hotplug;
	if (high && (__builtin_add_overflow(LAYOUT_HIGH_GPA, high, &end) || end > limit))
		return samara_error_set(err, -ERANGE,
					"memory: %" PRIu64 " MiB does not fit into the %u-bit "
					"guest-physical addresses of this host",
					max_memory_bytes >> 20, phys_bits);

	/* A whole number of the largest pages, as far as addresses reach. */
	if (high && high <= limit - LAYOUT_HIGH_GPA - (LAYOUT_HIGH_ALIGN - 1))
		high = (high + LAYOUT_HIGH_ALIGN - 1) & ~(LAYOUT_HIGH_ALIGN - 1);
	layout->high_bytes = high;
	layout->hotplug_gpa = hotplug ? LAYOUT_HIGH_GPA + before_hotplug : 0;
	layout->hotplug_bytes = hotplug ? high - before_hotplug : 0;
	return 0;
}

bool layout_is_window(const struct layout *layout, gpa_t gpa)
{
	return gpa < layout->low_bytes ||
	       (gpa >= LAYOUT_HIGH_GPA && gpa - LAYOUT_HIGH_GPA < layout->high_bytes);
}
