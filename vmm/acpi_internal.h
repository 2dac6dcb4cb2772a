/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_ACPI_INTERNAL_H
#define VMM_ACPI_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

#include "vmm/acpi.h"

/*
 * Shared by the files that make tables.
 */
#define ACPI_PACKED __attribute__((packed))

/* ACPI 6.4, 5.2.6 */
struct acpi_table_header {
	char signature[4];
	uint32_t length;
	uint8_t revision;
	uint8_t checksum;
	char oem_id[6];
	char oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
} ACPI_PACKED;

/* Fill in a table's header; its other bytes are in place. */
void acpi_finish(struct acpi_table_header *header, const char *signature, uint8_t revision,
		 size_t length);

/* Put a structure at *at, and go on behind it. */
void acpi_append(uint8_t **at, const void *bytes, size_t count);

/* The SRAT of a machine with NUMA nodes: how long it is, and itself (acpi_srat.c). */
size_t acpi_srat_bytes(const struct acpi_machine *machine);
void acpi_srat_build(uint8_t *bytes, const struct acpi_machine *machine);

#endif
