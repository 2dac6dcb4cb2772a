/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_ACPI_H
#define VMM_ACPI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <samara/error.h>
#include <samara/types.h>

#include "vmm/layout.h"

/**
 * struct acpi_tables - the tables of a machine with reduced hardware, ready to be written
 * @bytes: malloc()ed
 * @gpa: where they go; they name each other by address
 * @rsdp: gpa of the root pointer
 */
struct acpi_tables {
	uint8_t *bytes;
	size_t size_bytes;
	gpa_t gpa;
	gpa_t rsdp;
};

/**
 * struct acpi_machine - what the tables describe
 * @cpus: how many vCPUs, VM_MAX_CPUS at most; their APIC ids count from 0
 * @memory_hotplug: there are the registers of struct memory_hotplug: an SSDT describes them
 * @second_serial: there is a second serial port: an SSDT describes it
 * @layout: where memory is and may come; read if there are NUMA nodes
 * @node_count: NUMA nodes, 0: no SRAT
 * @node_bytes: of the memory at start, in order, for each node
 * @cpu_nodes: of each vCPU
 */
struct acpi_machine {
	unsigned int cpus;
	bool memory_hotplug, second_serial;
	const struct layout *layout;
	unsigned int node_count;
	const uint64_t *node_bytes;
	const uint8_t *cpu_nodes;
};

/**
 * acpi_build() - RSDP, XSDT, FADT, MADT and DSDT, and what else the machine takes
 * @gpa: 16-byte aligned
 * @max_bytes: room there
 *
 * Context: Does not sleep but for memory.
 * Return: 0, -ENOMEM, -E2BIG (more than VM_MAX_CPUS, or too many for @max_bytes).
 */
int acpi_build(const struct acpi_machine *machine, gpa_t gpa, size_t max_bytes,
	       struct acpi_tables *out, struct samara_error *err);

/* Free the tables that acpi_build() made; all zero afterwards. */
void acpi_free(struct acpi_tables *tables);

#endif
