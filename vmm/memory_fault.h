/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_MEMORY_FAULT_H
#define VMM_MEMORY_FAULT_H

#include <stdbool.h>
#include <stdint.h>

#include <samara/error.h>
#include <samara/guest_mm.h>

/*
 * Stage-2 faults that KVM reports to the vCPU's own thread: KVM_RUN fails with EFAULT or EHWPOISON
 * and leaves KVM_EXIT_MEMORY_FAULT behind (Documentation/virt/kvm/api.rst; Linux 6.8).
 */

/* include/uapi/linux/kvm.h of Linux 6.8 */
#ifndef KVM_EXIT_MEMORY_FAULT
#define KVM_EXIT_MEMORY_FAULT 39
#endif
#ifndef KVM_MEMORY_EXIT_FLAG_PRIVATE
#define KVM_MEMORY_EXIT_FLAG_PRIVATE (UINT64_C(1) << 3)
#endif

/**
 * struct memory_fault - its part of struct kvm_run's union; its own type, for older headers lack it
 */
struct memory_fault {
	uint64_t flags;
	uint64_t gpa;
	uint64_t size_bytes;
};

/**
 * struct memory_fault_row - reports of one page that follow each other
 *
 * Begins with all zeros. Belongs to a vCPU's thread.
 */
struct memory_fault_row {
	gpa_t page;
	unsigned int count;
	uint64_t operations; /* on the manager's map, when the row was half as long as it may be */
};

/* How many times in a row KVM may report a page that is there. */
#define MEMORY_FAULT_ROW_MAX 128u

/**
 * memory_fault_resolve() - put behind a reported address what belongs there
 *
 * Memory is populated. Where none is plugged, the access gets what it gets everywhere: a page that
 * forgets. KVM does not say whether the access was a write, and reports again what was not enough.
 *
 * Context: May sleep; the vCPU's thread, which holds no pin.
 * Return: 0: run the guest again; -EAGAIN: the same, after a while, for the host lacks something;
 * -ERANGE (in no window), -EFAULT (private memory, of which there is none), -EIO (KVM goes on
 * reporting a page that is there, while nothing changes the map).
 */
int memory_fault_resolve(struct guest_mm *mm, const struct memory_fault *fault,
			 struct memory_fault_row *row, struct samara_error *err);

#endif
