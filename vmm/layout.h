/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_LAYOUT_H
#define VMM_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

#include <samara/error.h>
#include <samara/types.h>

/*
 * The machine's address map: every guest-physical address and every port that samara chooses.
 *
 *	0 .. 3 GiB		RAM (low window)
 *	  0x1000 .. 0x30000	what the loader writes for the first instructions of the kernel
 *	  0xa0000 .. 1 MiB	reserved; ACPI tables in its last 128 KiB, where a BIOS keeps them,
 *				and the reset vector in its last 16 bytes
 *	  1 MiB ..		kernel; initrd at the end
 *	3 .. 4 GiB		hole: IOAPIC, local APICs, devices
 *	4 GiB ..		RAM beyond 3 GiB, then room for hotplug (high window)
 *	behind that		ranges of virtio-mem devices (device window)
 */
#define LAYOUT_LOW_MAX_BYTES     UINT64_C(0xc0000000)
#define LAYOUT_HIGH_GPA          UINT64_C(0x100000000)
#define LAYOUT_HIGH_ALIGN        UINT64_C(0x40000000)

/*
 * Linux adds and removes memory in blocks, of 128 MiB unless the guest has 64 GiB and more
 * (arch/x86/mm/init_64.c, probe_memory_block_size()).
 */
#define LAYOUT_HOTPLUG_ALIGN     UINT64_C(0x8000000)

/* Written by the loader, free again as soon as the kernel has its own. */
#define LAYOUT_GDT_GPA           0x1000u
#define LAYOUT_PAGE_TABLES_GPA   0x2000u /* six pages */
#define LAYOUT_BOOT_PARAMS_GPA   0x8000u
#define LAYOUT_START_INFO_GPA    0x9000u
#define LAYOUT_STACK_TOP_GPA     0x10000u
#define LAYOUT_CMDLINE_GPA       0x20000u
#define LAYOUT_CMDLINE_MAX_BYTES 0x10000u

#define LAYOUT_RESERVED_GPA      0xa0000u
#define LAYOUT_ACPI_GPA          0xe0000u
#define LAYOUT_ACPI_MAX_BYTES    0x1fff0u
#define LAYOUT_RESET_VECTOR_GPA  0xffff0u
#define LAYOUT_KERNEL_MIN_GPA    0x100000u

/* The PC's own addresses (82093AA IOAPIC; Intel SDM volume 3, 11.4.1). */
#define LAYOUT_IOAPIC_GPA        0xfec00000u
#define LAYOUT_LAPIC_GPA         0xfee00000u

/* virtio-mmio devices have theirs in vmm/virtio_slots.h. */

/* Four pages that KVM on VT-x keeps for itself (Documentation/virt/kvm/api.rst, 4.35 and 4.119). */
#define LAYOUT_IDENTITY_MAP_GPA  0xfffbc000u
#define LAYOUT_TSS_GPA           0xfffbd000u
#define LAYOUT_TSS_END_GPA       0xfffc0000u

/*
 * Ports and interrupt lines; vmm/dsdt.asl names the same. Memory hotplug has its own in
 * devices/memory_hotplug_registers.h.
 */
#define LAYOUT_SERIAL_PORT       0x3f8u
#define LAYOUT_SERIAL_GSI        4u
#define LAYOUT_SERIAL2_PORT      0x2f8u /* vmm/second_serial.asl names the same */
#define LAYOUT_SERIAL2_GSI       3u
#define LAYOUT_RTC_PORT          0x70u
#define LAYOUT_RTC_GSI           8u
#define LAYOUT_I8042_PORT        0x60u
#define LAYOUT_PVPANIC_PORT      0x505u /* as QEMU has it */
#define LAYOUT_POWER_PORT        0x600u
#define LAYOUT_POWER_BUTTON_GSI  10u

/**
 * struct layout - how much RAM there is in which window
 * @low_bytes: the low window, all of it RAM at start
 * @high_boot_bytes: RAM at start from LAYOUT_HIGH_GPA on
 * @high_bytes: the high window, room for hotplug included; 0: there is none
 * @device_gpa, @device_bytes: the device window, in which nothing is RAM at start; 0: there is none
 * @hotplug_gpa, @hotplug_bytes: the end of the high window, where memory devices have their place;
 * none if no more than the RAM at start may ever be
 */
struct layout {
	uint64_t low_bytes;
	uint64_t high_boot_bytes;
	uint64_t high_bytes;
	gpa_t device_gpa;
	uint64_t device_bytes;
	gpa_t hotplug_gpa;
	uint64_t hotplug_bytes;
};

/**
 * layout_init() - place memory
 * @memory_bytes: RAM at start
 * @max_memory_bytes: RAM there may ever be, at least @memory_bytes
 * @phys_bits: width of a guest-physical address
 *
 * Return: 0, -EINVAL (no multiple of the page size, less than LAYOUT_KERNEL_MIN_GPA, max below
 * memory), -ERANGE (past @phys_bits; the text names both).
 */
int layout_init(struct layout *layout, uint64_t memory_bytes, uint64_t max_memory_bytes,
		unsigned int phys_bits, struct samara_error *err);

/**
 * layout_add_device() - place a device's range of memory behind what there is
 * @size_bytes: page aligned
 * @align_bytes: a power of two; no less than LAYOUT_HIGH_ALIGN is taken
 * @gpa: where it is
 *
 * Return: 0, -ERANGE (past @phys_bits).
 */
int layout_add_device(struct layout *layout, uint64_t size_bytes, uint64_t align_bytes,
		      unsigned int phys_bits, gpa_t *gpa, struct samara_error *err);

/**
 * layout_is_window() - whether an address lies in one of the windows, where memory is or may come
 *
 * Context: Does not sleep.
 */
bool layout_is_window(const struct layout *layout, gpa_t gpa);

#endif
