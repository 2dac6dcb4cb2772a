/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_ACPI_H
#define VMM_ACPI_H

#include <stddef.h>
#include <stdint.h>

#include <samara/error.h>
#include <samara/types.h>

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
 * acpi_build() - RSDP, XSDT, FADT, MADT and DSDT
 * @cpus: how many vCPUs, VM_MAX_CPUS at most; their APIC ids count from 0
 * @gpa: 16-byte aligned
 * @max_bytes: room there
 *
 * Context: Does not sleep but for memory.
 * Return: 0, -ENOMEM, -E2BIG (more than VM_MAX_CPUS, or too many for @max_bytes).
 */
int acpi_build(unsigned int cpus, gpa_t gpa, size_t max_bytes, struct acpi_tables *out,
	       struct samara_error *err);

/* Free the tables that acpi_build() made; all zero afterwards. */
void acpi_free(struct acpi_tables *tables);

#endif
