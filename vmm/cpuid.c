/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CPUID for a vCPU. Leaves and bits are those of the Intel SDM volume 2, CPUID, and of AMD's APM
 * volume 3, appendix E; leaves from 0x80000000 on are AMD's unless said otherwise.
 */
#include "vmm/cpuid.h"

#include <cpuid.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#define FIRST_TRY_ENTRIES 128
#define MOST_ENTRIES      4096

int cpuid_get_supported(int system_fd, struct kvm_cpuid2 **out, struct samara_error *err)
{
	for (unsigned int entries = FIRST_TRY_ENTRIES; entries <= MOST_ENTRIES; entries *= 2) {
		struct kvm_cpuid2 *cpuid =
			calloc(1, sizeof(*cpuid) + (entries + CPUID_SPARE_ENTRIES) *
							   sizeof(struct kvm_cpuid_entry2));
		int code;

		if (!cpuid)
			return samara_error_set(err, -ENOMEM, "CPUID: out of memory");
		cpuid->nent = entries;
		if (!ioctl(system_fd, KVM_GET_SUPPORTED_CPUID, cpuid)) {
			*out = cpuid;
			return 0;
		}
		code = -errno;
		free(cpuid);
		if (code != -E2BIG)
			return samara_error_set(err, code, "KVM_GET_SUPPORTED_CPUID: %s",
						strerror(-code));
	}
	return samara_error_set(err, -E2BIG, "KVM_GET_SUPPORTED_CPUID: more than %d entries",
				MOST_ENTRIES);
}

static const struct kvm_cpuid_entry2 *find(const struct kvm_cpuid2 *cpuid, uint32_t function)
{
	for (unsigned int i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function == function)
			return &cpuid->entries[i];
	return NULL;
}

unsigned int cpuid_phys_bits(const struct kvm_cpuid2 *cpuid)
{
	const struct kvm_cpuid_entry2 *sizes = find(cpuid, 0x80000008);

	/* 36 bits is what a CPU without the leaf has, by the SDM. */
	return sizes && (sizes->eax & 0xff) ? sizes->eax & 0xff : 36;
}

/* How many bits an id below @count needs. */
static unsigned int id_bits(unsigned int count)
{
	return count > 1 ? 32 - __builtin_clz(count - 1) : 0;
}

static unsigned int at_most(unsigned int value, unsigned int limit)
{
	return value < limit ? value : limit;
}

/* Leaf 4 and 0x8000001d, eax: who shares a cache of that level. */
static uint32_t cache_sharing(uint32_t eax, unsigned int count)
{
	unsigned int level = eax >> 5 & 7;
	unsigned int sharing = level >= 3 ? at_most(count, 4096) : 1;

	return (eax & ~(0xfffu << 14)) | (sharing - 1) << 14;
}

static void set_entry(struct kvm_cpuid_entry2 *entry, const struct cpuid_topology *topology,
		      bool amd)
{
	unsigned int count = topology->count;

	switch (entry->function) {
	case 1:
		entry->ebx &= 0x0000ffff;
		entry->ebx |= (topology->id & 0xff) << 24 | at_most(count, 255) << 16;
		entry->ecx |= 1u << 31; /* runs under a hypervisor */
		if (topology->tsc_deadline)
			entry->ecx |= 1u << 24;
		else
			entry->ecx &= ~(1u << 24);
		if (count > 1)
			entry->edx |= 1u << 28; /* HTT: ebx counts logical processors */
		else
			entry->edx &= ~(1u << 28);
		break;
	case 4:
		if (!(entry->eax & 0x1f))
			break;
		entry->eax = cache_sharing(entry->eax, count) & ~(0x3fu << 26);
		entry->eax |= (at_most(count, 64) - 1) << 26;
		break;
	case 0x80000001:
		if (!amd)
			break;
		if (count > 1)
			entry->ecx |= 1u << 1; /* CmpLegacy: the logical processors are cores */
		else
			entry->ecx &= ~(1u << 1);
		break;
	case 0x80000002:
	case 0x80000003:
	case 0x80000004:
		/* The processor's name: KVM has the leaves, and nothing in them. */
		__get_cpuid(entry->function, &entry->eax, &entry->ebx, &entry->ecx, &entry->edx);
		break;
	case 0x80000008:
		entry->ecx &= ~0xf0ffu;
		if (amd)
			entry->ecx |= at_most(id_bits(count), 15) << 12 | (at_most(count, 256) - 1);
		break;
	case 0x8000001d:
		if (entry->eax & 0x1f)
			entry->eax = cache_sharing(entry->eax, count);
		break;
	case 0x8000001e:
		entry->eax = topology->id;
		entry->ebx = (entry->ebx & ~0xffffu) | (topology->id & 0xff);
		entry->ecx = 0; /* one node in the package, number 0 */
		break;
	}
}

/* Leaves 0xb and 0x1f have one entry per level; the host's are replaced as a whole. */
static bool is_level_leaf(uint32_t function)
{
	return function == 0xb || function == 0x1f;
}

static void add_level(struct kvm_cpuid2 *cpuid, uint32_t function, uint32_t level,
		      const struct kvm_cpuid_entry2 *values)
{
	struct kvm_cpuid_entry2 *entry = &cpuid->entries[cpuid->nent++];

	*entry = *values;
	entry->function = function;
	entry->index = level;
	entry->flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
	entry->ecx |= level;
}

static void add_levels(struct kvm_cpuid2 *cpuid, uint32_t function,
		       const struct cpuid_topology *topology)
{
	struct kvm_cpuid_entry2 thread = {.ebx = 1, .ecx = 1u << 8, .edx = topology->id};
	struct kvm_cpuid_entry2 core = {.eax = id_bits(topology->count),
					.ebx = at_most(topology->count, 0xffff),
					.ecx = 2u << 8,
					.edx = topology->id};
	struct kvm_cpuid_entry2 end = {.edx = topology->id};

	add_level(cpuid, function, 0, &thread);
	add_level(cpuid, function, 1, &core);
	add_level(cpuid, function, 2, &end);
}

static bool is_amd(const struct kvm_cpuid2 *cpuid)
{
	const struct kvm_cpuid_entry2 *vendor = find(cpuid, 0);

	/* "AuthenticAMD", "HygonGenuine": the first letters, in ebx. */
	return vendor && (vendor->ebx == 0x68747541 || vendor->ebx == 0x6f677948);
}

void cpuid_set_topology(struct kvm_cpuid2 *cpuid, const struct cpuid_topology *topology)
{
	const struct kvm_cpuid_entry2 *basic = find(cpuid, 0);
	uint32_t last_basic = basic ? basic->eax : 0;
	bool amd = is_amd(cpuid);
	unsigned int kept = 0;

	for (unsigned int i = 0; i < cpuid->nent; i++) {
		if (is_level_leaf(cpuid->entries[i].function))
			continue;
		cpuid->entries[kept] = cpuid->entries[i];
		set_entry(&cpuid->entries[kept++], topology, amd);
	}
	cpuid->nent = kept;

	if (last_basic >= 0xb)
		add_levels(cpuid, 0xb, topology);
	if (last_basic >= 0x1f)
		add_levels(cpuid, 0x1f, topology);
}
