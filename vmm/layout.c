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

	layout->device_gpa = 0;
	layout->device_bytes = 0;
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

int layout_add_device(struct layout *layout, uint64_t size_bytes, uint64_t align_bytes,
		      unsigned int phys_bits, gpa_t *gpa, struct samara_error *err)
{
	uint64_t limit = phys_bits >= 64 ? UINT64_MAX : UINT64_C(1) << phys_bits;
	gpa_t first = layout->device_bytes ? layout->device_gpa + layout->device_bytes
					   : LAYOUT_HIGH_GPA + layout->high_bytes;

	if (align_bytes < LAYOUT_HIGH_ALIGN)
		align_bytes = LAYOUT_HIGH_ALIGN;
	if (limit - first < align_bytes ||
	    size_bytes > limit - ((first + align_bytes - 1) & ~(align_bytes - 1)))
		return samara_error_set(err, -ERANGE,
					"a memory device of %" PRIu64 " MiB does not fit into the "
					"%u-bit guest-physical addresses of this host",
					size_bytes >> 20, phys_bits);
	*gpa = (first + align_bytes - 1) & ~(align_bytes - 1);
	if (!layout->device_bytes)
		layout->device_gpa = *gpa;
	layout->device_bytes = *gpa + size_bytes - layout->device_gpa;
	return 0;
}

bool layout_is_window(const struct layout *layout, gpa_t gpa)
{
	return gpa < layout->low_bytes ||
	       (gpa >= LAYOUT_HIGH_GPA && gpa - LAYOUT_HIGH_GPA < layout->high_bytes) ||
	       (gpa >= layout->device_gpa && gpa - layout->device_gpa < layout->device_bytes);
}
