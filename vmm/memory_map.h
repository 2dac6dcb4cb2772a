/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_MEMORY_MAP_H
#define VMM_MEMORY_MAP_H

#include <stdint.h>

#include <samara/error.h>
#include <samara/guest_mm.h>

/* As many as fit into struct boot_params (E820_MAX_ENTRIES_ZEROPAGE). */
#define MEMORY_MAP_ENTRIES 128

/* Address range types, ACPI 6.4, 15. */
enum memory_type {
	MEMORY_RAM = 1,
	MEMORY_RESERVED = 2,
};

/* Both protocols' entry (boot.rst: struct boot_e820_entry; Xen: hvm_memmap_table_entry). */
struct memory_map_entry {
	gpa_t gpa;
	uint64_t size_bytes;
	enum memory_type type;
};

/**
 * struct memory_map - what the kernel is told of memory; ascending, without overlaps
 * @ram_count: how many of the entries are RAM
 */
struct memory_map {
	struct memory_map_entry entries[MEMORY_MAP_ENTRIES];
	unsigned int count, ram_count;
};

/* How many ranges can be left out: as many as there may be memory devices, and more. */
#define MEMORY_MAP_HOLES 64

/* A range that is memory and that the kernel is not told of: it finds a device that has it. */
struct memory_map_hole {
	gpa_t gpa;
	uint64_t size_bytes;
};

/**
 * memory_map_build() - describe what is memory now
 * @holes: what to leave out, in ascending order without overlaps; NULL when there are none
 *
 * RAM is what is plugged and writable, so after a reset the kernel sees the memory that there is
 * then.
 *
 * Context: Does not sleep. The regions must not change meanwhile: no vCPU runs yet.
 * Return: 0, -EINVAL (no RAM below 640 KiB or none at 1 MiB: nothing to boot in), -ENOSPC (more
 * separate ranges than the map has room for).
 */
int memory_map_build(struct memory_map *map, struct guest_mm *mm,
		     const struct memory_map_hole *holes, unsigned int hole_count,
		     struct samara_error *err);

/**
 * memory_map_ram_end() - how far RAM reaches from @gpa without a gap
 *
 * Return: the first address that is no RAM; @gpa if it is none itself.
 */
gpa_t memory_map_ram_end(const struct memory_map *map, gpa_t gpa);

#endif
