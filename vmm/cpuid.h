/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_CPUID_H
#define VMM_CPUID_H

#include <stdbool.h>
#include <linux/kvm.h>

#include <samara/error.h>

/**
 * cpuid_get_supported() - what KVM can offer a guest on this host
 * @out: malloc()ed, with room for CPUID_SPARE_ENTRIES more than it holds
 *
 * Return: 0, -ENOMEM, or what KVM_GET_SUPPORTED_CPUID said.
 */
int cpuid_get_supported(int system_fd, struct kvm_cpuid2 **out, struct samara_error *err);

#define CPUID_SPARE_ENTRIES 8

/* The width of a guest-physical address, in bits. */
unsigned int cpuid_phys_bits(const struct kvm_cpuid2 *cpuid);

/**
 * struct cpuid_topology - one vCPU's place: all are cores of one package, one thread each
 * @id: its APIC id
 * @count: how many vCPUs there are
 * @tsc_deadline: the local APIC's timer has the TSC-deadline mode
 */
struct cpuid_topology {
	unsigned int id;
	unsigned int count;
	bool tsc_deadline;
};

/**
 * cpuid_set_topology() - turn what KVM offers into what one vCPU shows
 * @cpuid: from cpuid_get_supported(), changed in place
 *
 * Leaves that describe the host's own topology are replaced; all others, KVM's own included, stay.
 */
void cpuid_set_topology(struct kvm_cpuid2 *cpuid, const struct cpuid_topology *topology);

#endif
