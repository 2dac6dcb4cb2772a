/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The ACPI tables as a guest reads them: from the RSDP on, by address (ACPI 6.4, 5.2). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "devices/power.h"
#include "vmm/acpi.h"
#include "vmm/config.h"
#include "vmm/layout.h"

static uint64_t get(const uint8_t *at, unsigned int bytes)
{
	uint64_t value = 0;

	memcpy(&value, at, bytes);
	return value;
}

static uint8_t sum(const uint8_t *at, size_t bytes)
{
	uint8_t total = 0;

	while (bytes--)
		total += *at++;
	return total;
}

static const uint8_t *at_gpa(const struct acpi_tables *tables, gpa_t gpa, size_t bytes)
{
	assert_true(gpa >= tables->gpa);
	assert_true(gpa - tables->gpa + bytes <= tables->size_bytes);
	return tables->bytes + (gpa - tables->gpa);
}

static const uint8_t *table_at(const struct acpi_tables *tables, gpa_t gpa, const char *signature)
{
	const uint8_t *table = at_gpa(tables, gpa, 36);
	uint32_t length = get(table + 4, 4);

	assert_memory_equal(table, signature, 4);
	at_gpa(tables, gpa, length);
	assert_int_equal(sum(table, length), 0);
	return table;
}

static const uint8_t *table_of(const struct acpi_tables *tables, const char *signature)
{
	const uint8_t *rsdp = at_gpa(tables, tables->rsdp, 36);
	const uint8_t *xsdt = table_at(tables, get(rsdp + 24, 8), "XSDT");
	uint32_t length = get(xsdt + 4, 4);

	for (uint32_t at = 36; at + 8 <= length; at += 8) {
		gpa_t gpa = get(xsdt + at, 8);

		if (!memcmp(at_gpa(tables, gpa, 36), signature, 4))
			return table_at(tables, gpa, signature);
	}
	fail_msg("no %s in the XSDT", signature);
	return NULL;
}

static void build(unsigned int cpus, struct acpi_tables *tables)
{
	const struct acpi_machine machine = {.cpus = cpus};
	struct samara_error err = {0};

	assert_int_equal(acpi_build(&machine, LAYOUT_ACPI_GPA, LAYOUT_ACPI_MAX_BYTES, tables, &err),
			 0);
}

static void test_rsdp(void **state)
{
	struct acpi_tables tables;
	const uint8_t *rsdp;

	(void)state;
	build(1, &tables);
	assert_int_equal(tables.rsdp % 16, 0);
	rsdp = at_gpa(&tables, tables.rsdp, 36);
	assert_memory_equal(rsdp, "RSD PTR ", 8);
	assert_int_equal(sum(rsdp, 20), 0);
	assert_int_equal(sum(rsdp, 36), 0);
	assert_int_equal(rsdp[15], 2);
	assert_int_equal(get(rsdp + 20, 4), 36);
	acpi_free(&tables);
}

static void check_register(const uint8_t *gas, unsigned int offset)
{
	assert_int_equal(gas[0], 1); /* system I/O */
	assert_int_equal(gas[1], 8);
	assert_int_equal(gas[3], 1);
	assert_int_equal(get(gas + 4, 8), LAYOUT_POWER_PORT + offset);
}

static void test_fadt(void **state)
{
	struct acpi_tables tables;
	const uint8_t *fadt, *dsdt;
	uint32_t flags;

	(void)state;
	build(2, &tables);
	fadt = table_of(&tables, "FACP");
	assert_int_equal(get(fadt + 4, 4), 276);
	assert_int_equal(fadt[8], 6);
	flags = get(fadt + 112, 4);
	assert_true(flags & 1u << 20);
	assert_true(flags & 1u << 10);
	check_register(fadt + 116, POWER_RESET);
	assert_int_equal(fadt[128], POWER_RESET_VALUE);
	check_register(fadt + 244, POWER_SLEEP_CONTROL);
	check_register(fadt + 256, POWER_SLEEP_STATUS);

	/* No fixed hardware: PM1a, PM timer and the rest are all zero, also in their wide form. */
	assert_int_equal(sum(fadt + 46, 62), 0);
	assert_int_equal(sum(fadt + 148, 96), 0);

	assert_int_equal(get(fadt + 40, 4), get(fadt + 140, 8));
	dsdt = table_at(&tables, get(fadt + 140, 8), "DSDT");
	assert_true(get(dsdt + 4, 4) > 36);
	acpi_free(&tables);
}

static void check_madt(unsigned int cpus)
{
	struct acpi_tables tables;
	const uint8_t *madt;
	bool *seen = calloc(cpus, sizeof(*seen));
	unsigned int ioapics = 0, nmis = 0;
	uint32_t length, at = 44;

	assert_non_null(seen);
	build(cpus, &tables);
	madt = table_of(&tables, "APIC");
	length = get(madt + 4, 4);
	assert_int_equal(get(madt + 36, 4), LAYOUT_LAPIC_GPA);
	while (at < length) {
		const uint8_t *entry = madt + at;
		uint32_t id = UINT32_MAX, flags = 0, uid = 0;

		assert_true(entry[1] >= 2);
		assert_true(at + entry[1] <= length);
		switch (entry[0]) {
		case 0:
			assert_int_equal(entry[1], 8);
			uid = entry[2];
			id = entry[3];
			flags = get(entry + 4, 4);
			assert_true(id < 255);
			break;
		case 1:
			assert_int_equal(entry[1], 12);
			assert_int_equal(get(entry + 4, 4), LAYOUT_IOAPIC_GPA);
			assert_int_equal(get(entry + 8, 4), 0);
			ioapics++;
			break;
		case 4:
			assert_int_equal(entry[1], 6);
			assert_int_equal(entry[2], 255); /* of all CPUs */
			nmis++;
			break;
		default:
			fail_msg("unknown MADT entry %u", entry[0]);
		}
		if (id != UINT32_MAX) {
			assert_true(id < cpus);
			assert_false(seen[id]);
			assert_int_equal(uid, id);
			assert_int_equal(flags & 1, 1);
			seen[id] = true;
		}
		at += entry[1];
	}
	assert_int_equal(at, length);
	assert_int_equal(ioapics, 1);
	assert_int_equal(nmis, 1);
	for (unsigned int id = 0; id < cpus; id++)
		assert_true(seen[id]);
	acpi_free(&tables);
	free(seen);
}

static void test_madt(void **state)
{
	static const unsigned int cpus[] = {1, 2, 4, 127, VM_MAX_CPUS};

	(void)state;
	for (size_t i = 0; i < sizeof(cpus) / sizeof(*cpus); i++)
		check_madt(cpus[i]);
}

static void test_no_room(void **state)
{
	const struct acpi_machine machine = {.cpus = 200}, too_many = {.cpus = VM_MAX_CPUS + 1};
	struct acpi_tables tables;
	struct samara_error err = {0};

	(void)state;
	assert_int_equal(acpi_build(&machine, LAYOUT_ACPI_GPA, 2048, &tables, &err), -E2BIG);
	assert_non_null(strstr(err.text, "200 vCPUs need"));
	/* The APIC id 255 means all: a byte names no more. */
	assert_int_equal(
		acpi_build(&too_many, LAYOUT_ACPI_GPA, LAYOUT_ACPI_MAX_BYTES, &tables, &err),
		-E2BIG);
	assert_non_null(strstr(err.text, "255 vCPUs"));
}

static void test_tables_do_not_overlap(void **state)
{
	struct acpi_tables tables;
	const uint8_t *fadt, *madt, *dsdt;

	(void)state;
	build(2, &tables);
	fadt = table_of(&tables, "FACP");
	madt = table_of(&tables, "APIC");
	dsdt = table_at(&tables, get(fadt + 140, 8), "DSDT");
	assert_true(fadt + get(fadt + 4, 4) <= dsdt || dsdt + get(dsdt + 4, 4) <= fadt);
	assert_true(madt + get(madt + 4, 4) <= dsdt || dsdt + get(dsdt + 4, 4) <= madt);
	assert_true(madt + get(madt + 4, 4) <= fadt || fadt + get(fadt + 4, 4) <= madt);
	assert_true(tables.size_bytes <= LAYOUT_ACPI_MAX_BYTES);
	acpi_free(&tables);
}

/* One SSDT, where there are slots; none else. */
static void test_ssdt(void **state)
{
	const struct acpi_machine machine = {.cpus = 1, .memory_hotplug = true};
	struct samara_error err = {0};
	struct acpi_tables tables;
	const uint8_t *rsdp, *ssdt;

	(void)state;
	build(1, &tables);
	rsdp = at_gpa(&tables, tables.rsdp, 36);
	assert_int_equal(get(table_at(&tables, get(rsdp + 24, 8), "XSDT") + 4, 4), 36 + 2 * 8);
	acpi_free(&tables);

	assert_int_equal(
		acpi_build(&machine, LAYOUT_ACPI_GPA, LAYOUT_ACPI_MAX_BYTES, &tables, &err), 0);
	ssdt = table_of(&tables, "SSDT");
	assert_true(get(ssdt + 4, 4) > 1000);
	acpi_free(&tables);
}

/* The second serial port has one of its own, which names the ports and the line of vmm/layout.h. */
static void test_second_serial(void **state)
{
	const struct acpi_machine machine = {.cpus = 1, .second_serial = true};
	/* ACPI 6.4, 6.4.2.5: a fixed-length I/O port descriptor of 16-bit addresses. */
	const uint8_t ports[] = {0x47, 0x01, LAYOUT_SERIAL2_PORT & 0xff, LAYOUT_SERIAL2_PORT >> 8};
	struct samara_error err = {0};
	struct acpi_tables tables;
	const uint8_t *ssdt;

	(void)state;
	assert_int_equal(
		acpi_build(&machine, LAYOUT_ACPI_GPA, LAYOUT_ACPI_MAX_BYTES, &tables, &err), 0);
	ssdt = table_of(&tables, "SSDT");
	assert_non_null(memmem(ssdt, get(ssdt + 4, 4), "COM2", 4));
	assert_non_null(memmem(ssdt, get(ssdt + 4, 4), ports, sizeof(ports)));
	acpi_free(&tables);
}

struct affinity {
	unsigned int node;
	uint64_t gpa, size_bytes;
	uint32_t flags;
};

static void check_srat(const uint8_t *srat, const uint8_t *cpu_nodes, unsigned int cpus,
		       const struct affinity *ranges, unsigned int range_count)
{
	uint32_t length = get(srat + 4, 4), at = 48;
	unsigned int cpu = 0, range = 0;

	assert_int_equal(get(srat + 36, 4), 1);
	for (; at < length; at += srat[at + 1]) {
		const uint8_t *entry = srat + at;

		if (entry[0] == 0) {
			assert_int_equal(entry[1], 16);
			assert_true(cpu < cpus);
			assert_int_equal(entry[2], cpu_nodes[cpu]);
			assert_int_equal(entry[3], cpu);
			assert_int_equal(get(entry + 4, 4), 1);
			cpu++;
		} else {
			assert_int_equal(entry[0], 1);
			assert_int_equal(entry[1], 40);
			assert_true(range < range_count);
			assert_int_equal(get(entry + 2, 4), ranges[range].node);
			assert_true(get(entry + 8, 8) == ranges[range].gpa);
			assert_true(get(entry + 16, 8) == ranges[range].size_bytes);
			assert_int_equal(get(entry + 28, 4), ranges[range].flags);
			range++;
		}
	}
	assert_int_equal(at, length);
	assert_int_equal(cpu, cpus);
	assert_int_equal(range, range_count);
}

/* Three nodes over the hole below 4 GiB, and what is hotpluggable. */
static void test_srat(void **state)
{
	const uint64_t gib = UINT64_C(1) << 30, node_bytes[] = {2 * gib, 2 * gib, gib};
	const uint8_t cpu_nodes[] = {0, 1, 1, 2};
	const struct affinity with_room[] = {
		{0, 0, 2 * gib, 1},   {1, 2 * gib, gib, 1},     {1, 4 * gib, gib, 1},
		{2, 5 * gib, gib, 1}, {2, 6 * gib, 3 * gib, 3},
	};
	struct layout layout;
	const struct acpi_machine machine = {
		.cpus = 4,
		.layout = &layout,
		.node_count = 3,
		.node_bytes = node_bytes,
		.cpu_nodes = cpu_nodes,
	};
	struct samara_error err = {0};
	struct acpi_tables tables;

	(void)state;
	assert_int_equal(layout_init(&layout, 5 * gib, 8 * gib, 40, &err), 0);
	assert_int_equal(
		acpi_build(&machine, LAYOUT_ACPI_GPA, LAYOUT_ACPI_MAX_BYTES, &tables, &err), 0);
	check_srat(table_of(&tables, "SRAT"), cpu_nodes, 4, with_room, 5);
	acpi_free(&tables);
	assert_int_equal(layout_init(&layout, 5 * gib, 5 * gib, 40, &err), 0);
	assert_int_equal(
		acpi_build(&machine, LAYOUT_ACPI_GPA, LAYOUT_ACPI_MAX_BYTES, &tables, &err), 0);
	check_srat(table_of(&tables, "SRAT"), cpu_nodes, 4, with_room, 4);
	acpi_free(&tables);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ssdt),    cmocka_unit_test(test_second_serial),
		cmocka_unit_test(test_srat),    cmocka_unit_test(test_rsdp),
		cmocka_unit_test(test_fadt),    cmocka_unit_test(test_madt),
		cmocka_unit_test(test_no_room), cmocka_unit_test(test_tables_do_not_overlap),
	};

	return cmocka_run_group_tests_name("acpi", tests, NULL, NULL);
}
