/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/memory_fault.h"

#include <errno.h>
#include <inttypes.h>

/* KVM reports a page at a time; of more than this it reports the rest later. */
#define FAULT_MAX_BYTES (UINT64_C(2) << 20)

static uint64_t operations(struct guest_mm *mm)
{
	struct guest_mm_stats stats;

	guest_mm_get_stats(mm, &stats);
	return stats.plugs + stats.unplugs + stats.remaps + stats.protects + stats.discards +
	       stats.rebacks + stats.failed_operations;
}

/*
 * A populated page stays until an operation takes it away. So a page that is reported over and over
 * without one is not missing: the host cannot use it, and running the guest again would not help.
 */
static bool is_stuck(struct guest_mm *mm, gpa_t page, struct memory_fault_row *row)
{
	if (row->page != page)
		*row = (struct memory_fault_row){.page = page};
	row->count++;
	if (row->count == MEMORY_FAULT_ROW_MAX / 2)
		row->operations = operations(mm);
	if (row->count < MEMORY_FAULT_ROW_MAX)
		return false;
	row->count = 0;
	return operations(mm) == row->operations;
}

int memory_fault_resolve(struct guest_mm *mm, const struct memory_fault *fault,
			 struct memory_fault_row *row, struct samara_error *err)
{
	gpa_t page = fault->gpa & ~(SAMARA_PAGE_BYTES - 1);
	uint64_t bytes = fault->gpa - page, done;
	int ret;

	if (fault->flags & KVM_MEMORY_EXIT_FLAG_PRIVATE)
		return samara_error_set(err, -EFAULT,
					"memory fault at %#" PRIx64
					": KVM wants private memory there, and there is none",
					fault->gpa);
	ret = guest_mm_fault(mm, fault->gpa, 0);
	if (ret == -ERANGE)
		return samara_error_set(err, ret,
					"memory fault at %#" PRIx64
					": not within one of the windows that memory can be in",
					fault->gpa);
	if (ret < 0)
		return -EAGAIN;
	if (ret != GUEST_MM_FAULT_DONE)
		return 0;
	if (is_stuck(mm, page, row))
		return samara_error_set(err, -EIO,
					"memory fault at %#" PRIx64
					": the page is there, and KVM cannot use it",
					fault->gpa);
	bytes += fault->size_bytes < FAULT_MAX_BYTES ? fault->size_bytes : FAULT_MAX_BYTES;
	for (done = SAMARA_PAGE_BYTES; done < bytes && page + done; done += SAMARA_PAGE_BYTES)
		if (guest_mm_fault(mm, page + done, 0) != GUEST_MM_FAULT_DONE)
			break;
	return 0;
}
