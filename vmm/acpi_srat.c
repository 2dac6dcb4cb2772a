/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The System Resource Affinity Table (ACPI 6.4, 5.2.16): which vCPU and which memory is in which
 * NUMA node.
 */
#include <string.h>

#include "vmm/acpi_internal.h"

struct srat {
	struct acpi_table_header header;
	uint32_t one; /* "must be 1 for backward compatibility" */
	uint64_t reserved;
} ACPI_PACKED;

/* 5.2.16.1 */
struct cpu_affinity {
	uint8_t type, length;
	uint8_t node_low;
	uint8_t apic_id;
	uint32_t flags;
	uint8_t sapic_eid;
	uint8_t node_high[3];
	uint32_t clock_domain;
} ACPI_PACKED;

/* 5.2.16.2 */
struct memory_affinity {
	uint8_t type, length;
	uint32_t node;
	uint16_t reserved0;
	uint64_t gpa;
	uint64_t size_bytes;
	uint32_t reserved1;
	uint32_t flags;
	uint64_t reserved2;
} ACPI_PACKED;

_Static_assert(sizeof(struct cpu_affinity) == 16, "ACPI 6.4, table 5.65");
_Static_assert(sizeof(struct memory_affinity) == 40, "ACPI 6.4, table 5.66");

#define CPU_AFFINITY     0
#define MEMORY_AFFINITY  1
#define AFFINITY_ENABLED 1u
#define AFFINITY_HOTPLUG 2u

/* A node's memory may lie on both sides of the hole below 4 GiB; one range is for hotplug. */
size_t acpi_srat_bytes(const struct acpi_machine *machine)
{
	return sizeof(struct srat) + machine->cpus * sizeof(struct cpu_affinity) +
	       (machine->node_count + 2) * sizeof(struct memory_affinity);
}

static void add_memory(uint8_t **at, unsigned int node, gpa_t gpa, uint64_t size_bytes,
		       uint32_t flags)
{
	const struct memory_affinity affinity = {
		.type = MEMORY_AFFINITY,
		.length = sizeof(affinity),
		.node = node,
		.gpa = gpa,
		.size_bytes = size_bytes,
		.flags = flags | AFFINITY_ENABLED,
	};

	if (size_bytes)
		acpi_append(at, &affinity, sizeof(affinity));
}

/* The nodes' memory in order: low memory first, then what is above 4 GiB. */
static void add_boot_memory(uint8_t **at, const struct acpi_machine *machine)
{
	uint64_t low_bytes = machine->layout->low_bytes;
	gpa_t low = 0, high = LAYOUT_HIGH_GPA;

	for (unsigned int node = 0; node < machine->node_count; node++) {
		uint64_t bytes = machine->node_bytes[node], part = low_bytes - low;

		if (part > bytes)
			part = bytes;
		add_memory(at, node, low, part, 0);
		add_memory(at, node, high, bytes - part, 0);
		low += part;
		high += bytes - part;
	}
}

void acpi_srat_build(uint8_t *bytes, const struct acpi_machine *machine)
{
	const struct layout *layout = machine->layout;
	struct srat *srat = (struct srat *)bytes;
	uint8_t *at = bytes + sizeof(*srat);

	srat->one = 1;
	for (unsigned int cpu = 0; cpu < machine->cpus; cpu++) {
		const struct cpu_affinity affinity = {
			.type = CPU_AFFINITY,
			.length = sizeof(affinity),
			.node_low = machine->cpu_nodes[cpu],
			.apic_id = (uint8_t)cpu,
			.flags = AFFINITY_ENABLED,
		};

		acpi_append(&at, &affinity, sizeof(affinity));
	}
	add_boot_memory(&at, machine);
	/* Each device says by _PXM in which node it is; until then the range is in the last. */
	add_memory(&at, machine->node_count - 1, layout->hotplug_gpa, layout->hotplug_bytes,
		   AFFINITY_HOTPLUG);
	acpi_finish(&srat->header, "SRAT", 3, (size_t)(at - bytes));
}
