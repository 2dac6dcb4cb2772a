/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ACPI tables (ACPI 6.4, 5.2) for a machine with reduced hardware (4.1): no PM timer, no SCI, no
 * fixed events; sleep and reset registers instead.
 */
#include "vmm/acpi_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/power.h"
#include "devices/rtc.h"
#include "vmm/config.h"
#include "vmm/layout.h"

/* unsigned char dsdt_aml_code[], memory_hotplug_aml_code[]: made from vmm/NAME.asl by iasl. */
#include "vmm/dsdt.hex"
#include "vmm/memory_hotplug.hex"
#include "vmm/second_serial.hex"

/* 5.2.3.2 */
struct generic_address {
	uint8_t space;
	uint8_t bits;
	uint8_t bit_offset;
	uint8_t access_size;
	uint64_t address;
} ACPI_PACKED;

#define SPACE_IO    1
#define ACCESS_BYTE 1

/* 5.2.5.3 */
struct rsdp {
	char signature[8];
	uint8_t checksum; /* of the first 20 bytes */
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length;
	uint64_t xsdt;
	uint8_t extended_checksum;
	uint8_t reserved[3];
} ACPI_PACKED;

#define RSDP_V1_BYTES 20

/* 5.2.8 */
struct xsdt {
	struct acpi_table_header header;
	uint64_t tables[];
} ACPI_PACKED;

/* 5.2.9; registers of the fixed hardware, which there is none of, are one field here. */
struct fadt {
	struct acpi_table_header header;
	uint32_t firmware_ctrl;
	uint32_t dsdt;
	uint8_t reserved0;
	uint8_t preferred_pm_profile;
	uint8_t fixed_hardware[62];
	uint8_t century;
	uint16_t iapc_boot_arch;
	uint8_t reserved1;
	uint32_t flags;
	struct generic_address reset_reg;
	uint8_t reset_value;
	uint16_t arm_boot_arch;
	uint8_t minor_version;
	uint64_t x_firmware_ctrl;
	uint64_t x_dsdt;
	struct generic_address x_fixed_hardware[8];
	struct generic_address sleep_control;
	struct generic_address sleep_status;
	uint64_t hypervisor_vendor;
} ACPI_PACKED;

_Static_assert(sizeof(struct fadt) == 276, "ACPI 6.4, table 5.9");

#define FADT_WBINVD          (1u << 0)
#define FADT_PWR_BUTTON      (1u << 4) /* none in fixed hardware */
#define FADT_SLP_BUTTON      (1u << 5)
#define FADT_FIX_RTC         (1u << 6)
#define FADT_RESET_REG_SUP   (1u << 10)
#define FADT_HW_REDUCED_ACPI (1u << 20)
#define BOOT_ARCH_NO_VGA     (1u << 2)

/* 5.2.12 */
struct madt {
	struct acpi_table_header header;
	uint32_t lapic_gpa;
	uint32_t flags;
} ACPI_PACKED;

#define MADT_PCAT_COMPAT (1u << 0) /* KVM's irqchip has the two 8259s */

struct madt_lapic {
	uint8_t type, length;
	uint8_t uid;
	uint8_t apic_id;
	uint32_t flags;
} ACPI_PACKED;

struct madt_ioapic {
	uint8_t type, length;
	uint8_t id;
	uint8_t reserved;
	uint32_t gpa;
	uint32_t gsi_base;
} ACPI_PACKED;

struct madt_lapic_nmi {
	uint8_t type, length;
	uint8_t uid;
	uint16_t flags;
	uint8_t lint;
} ACPI_PACKED;

#define MADT_LAPIC     0u
#define MADT_IOAPIC    1u
#define MADT_LAPIC_NMI 4u

#define LAPIC_ENABLED  1u
#define ALL_CPUS       0xffu

static uint8_t checksum(const void *bytes, size_t count)
{
	const uint8_t *at = bytes;
	uint8_t sum = 0;

	while (count--)
		sum += *at++;
	return -sum;
}

void acpi_finish(struct acpi_table_header *header, const char *signature, uint8_t revision,
		 size_t length)
{
	memcpy(header->signature, signature, sizeof(header->signature));
	header->length = length;
	header->revision = revision;
	memcpy(header->oem_id, "SAMARA", sizeof(header->oem_id));
	memcpy(header->oem_table_id, "SAMARA  ", sizeof(header->oem_table_id));
	header->oem_revision = 1;
	memcpy(header->creator_id, "SMRA", sizeof(header->creator_id));
	header->creator_revision = 1;
	header->checksum = 0;
	header->checksum = checksum(header, length);
}

static struct generic_address power_register(unsigned int offset)
{
	return (struct generic_address){.space = SPACE_IO,
					.bits = 8,
					.access_size = ACCESS_BYTE,
					.address = LAYOUT_POWER_PORT + offset};
}

static void build_fadt(struct fadt *fadt, gpa_t dsdt)
{
	fadt->dsdt = dsdt;
	fadt->x_dsdt = dsdt;
	fadt->century = RTC_CENTURY;
	/* No 8042 as far as keyboards go: a kernel that looks for one waits long. */
	fadt->iapc_boot_arch = BOOT_ARCH_NO_VGA;
	fadt->flags = FADT_WBINVD | FADT_PWR_BUTTON | FADT_SLP_BUTTON | FADT_FIX_RTC |
		      FADT_RESET_REG_SUP | FADT_HW_REDUCED_ACPI;
	fadt->reset_reg = power_register(POWER_RESET);
	fadt->reset_value = POWER_RESET_VALUE;
	fadt->sleep_control = power_register(POWER_SLEEP_CONTROL);
	fadt->sleep_status = power_register(POWER_SLEEP_STATUS);
	fadt->minor_version = 4;
	memcpy(&fadt->hypervisor_vendor, "samara\0\0", sizeof(fadt->hypervisor_vendor));
	acpi_finish(&fadt->header, "FACP", 6, sizeof(*fadt));
}

static size_t madt_bytes(unsigned int cpus)
{
	return sizeof(struct madt) + sizeof(struct madt_ioapic) + sizeof(struct madt_lapic_nmi) +
	       cpus * sizeof(struct madt_lapic);
}

void acpi_append(uint8_t **at, const void *bytes, size_t count)
{
	memcpy(*at, bytes, count);
	*at += count;
}

/*
 * No interrupt source overrides: KVM wires GSI n to pin n of the IOAPIC, GSI 0 (the PIT) included,
 * and all lines are as on ISA, edge-triggered and active high.
 */
static void build_madt(uint8_t *bytes, unsigned int cpus)
{
	struct madt *madt = (struct madt *)bytes;
	struct madt_ioapic ioapic = {MADT_IOAPIC, sizeof(ioapic), 0, 0, LAYOUT_IOAPIC_GPA, 0};
	struct madt_lapic_nmi nmi = {MADT_LAPIC_NMI, sizeof(nmi), ALL_CPUS, 0, 1};
	uint8_t *at = bytes + sizeof(*madt);

	madt->lapic_gpa = LAYOUT_LAPIC_GPA;
	madt->flags = MADT_PCAT_COMPAT;
	for (unsigned int id = 0; id < cpus; id++) {
		struct madt_lapic lapic = {MADT_LAPIC, sizeof(lapic), id, id, LAPIC_ENABLED};

		acpi_append(&at, &lapic, sizeof(lapic));
	}
	acpi_append(&at, &ioapic, sizeof(ioapic));
	acpi_append(&at, &nmi, sizeof(nmi));
	acpi_finish(&madt->header, "APIC", 5, at - bytes);
}

static void build_rsdp(struct rsdp *rsdp, gpa_t xsdt)
{
	memcpy(rsdp->signature, "RSD PTR ", sizeof(rsdp->signature));
	memcpy(rsdp->oem_id, "SAMARA", sizeof(rsdp->oem_id));
	rsdp->revision = 2;
	rsdp->length = sizeof(*rsdp);
	rsdp->xsdt = xsdt;
	rsdp->checksum = checksum(rsdp, RSDP_V1_BYTES);
	rsdp->extended_checksum = checksum(rsdp, sizeof(*rsdp));
}

/* A place for the next table. */
static size_t reserve(size_t *end, size_t bytes)
{
	size_t at = (*end + 15) & ~(size_t)15;

	*end = at + bytes;
	return at;
}

/* FADT, MADT, and at most three more. */
#define TABLES_MAX 5

/* Where each table goes, while they are put together; one thread's own. */
struct builder {
	const struct acpi_machine *machine;
	gpa_t gpa;
	size_t rsdp, xsdt, fadt, dsdt, madt, ssdt, serial, srat; /* offsets; 0: there is none */
	size_t end;
	unsigned int tables;
};

static void lay_out(struct builder *builder)
{
	const struct acpi_machine *machine = builder->machine;
	size_t *end = &builder->end;

	builder->rsdp = reserve(end, sizeof(struct rsdp));
	builder->xsdt = reserve(end, sizeof(struct xsdt) + TABLES_MAX * sizeof(uint64_t));
	builder->fadt = reserve(end, sizeof(struct fadt));
	builder->dsdt = reserve(end, sizeof(dsdt_aml_code));
	builder->madt = reserve(end, madt_bytes(machine->cpus));
	if (machine->memory_hotplug)
		builder->ssdt = reserve(end, sizeof(memory_hotplug_aml_code));
	if (machine->second_serial)
		builder->serial = reserve(end, sizeof(second_serial_aml_code));
	if (machine->node_count)
		builder->srat = reserve(end, acpi_srat_bytes(machine));
}

static void name_table(struct xsdt *xsdt, struct builder *builder, size_t offset)
{
	if (offset)
		xsdt->tables[builder->tables++] = builder->gpa + offset;
}

static void build_tables(struct builder *builder, uint8_t *bytes)
{
	const struct acpi_machine *machine = builder->machine;
	struct xsdt *xsdt = (struct xsdt *)(bytes + builder->xsdt);

	memcpy(bytes + builder->dsdt, dsdt_aml_code, sizeof(dsdt_aml_code));
	build_fadt((struct fadt *)(bytes + builder->fadt), builder->gpa + builder->dsdt);
	build_madt(bytes + builder->madt, machine->cpus);
	if (builder->ssdt)
		memcpy(bytes + builder->ssdt, memory_hotplug_aml_code,
		       sizeof(memory_hotplug_aml_code));
	if (builder->serial)
		memcpy(bytes + builder->serial, second_serial_aml_code,
		       sizeof(second_serial_aml_code));
	if (builder->srat)
		acpi_srat_build(bytes + builder->srat, machine);
	name_table(xsdt, builder, builder->fadt);
	name_table(xsdt, builder, builder->madt);
	name_table(xsdt, builder, builder->ssdt);
	name_table(xsdt, builder, builder->serial);
	name_table(xsdt, builder, builder->srat);
	acpi_finish(&xsdt->header, "XSDT", 1,
		    sizeof(*xsdt) + builder->tables * sizeof(xsdt->tables[0]));
	build_rsdp((struct rsdp *)(bytes + builder->rsdp), builder->gpa + builder->xsdt);
}

int acpi_build(const struct acpi_machine *machine, gpa_t gpa, size_t max_bytes,
	       struct acpi_tables *out, struct samara_error *err)
{
	struct builder builder = {.machine = machine, .gpa = gpa};
	uint8_t *bytes;

	if (machine->cpus > VM_MAX_CPUS)
		return samara_error_set(err, -E2BIG, "ACPI tables for %u vCPUs: %d can be named",
					machine->cpus, VM_MAX_CPUS);
	lay_out(&builder);
	if (builder.end > max_bytes)
		return samara_error_set(err, -E2BIG,
					"ACPI tables for %u vCPUs need %zu bytes, there is room "
					"for %zu",
					machine->cpus, builder.end, max_bytes);
	bytes = calloc(1, builder.end);
	if (!bytes)
		return samara_error_set(err, -ENOMEM, "ACPI tables: out of memory");
	build_tables(&builder, bytes);
	*out = (struct acpi_tables){
		.bytes = bytes,
		.size_bytes = builder.end,
		.gpa = gpa,
		.rsdp = gpa + builder.rsdp,
	};
	return 0;
}

void acpi_free(struct acpi_tables *tables)
{
	free(tables->bytes);
	*tables = (struct acpi_tables){0};
}
