/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_LOADER_H
#define VMM_LOADER_H

#include <stdbool.h>
#include <stdint.h>

#include <samara/error.h>
#include <samara/guest_mm.h>

#include "vmm/image.h"
#include "vmm/memory_map.h"
#include "vmm/vcpu.h"

enum boot_protocol {
	BOOT_LINUX_64, /* Documentation/arch/x86/boot.rst, "64-bit Boot Protocol" */
	BOOT_PVH,      /* Xen, docs/misc/pvh.pandoc */
};

/* Loadable segments of an ELF: vmlinux has five. */
#define KERNEL_SEGMENTS 16

/**
 * struct kernel_segment - a part of the file and where it goes
 * @memory_bytes: from @file_bytes on, zeros
 */
struct kernel_segment {
	uint64_t offset;
	gpa_t gpa;
	uint64_t file_bytes, memory_bytes;
};

/**
 * struct kernel - what the headers of a kernel say, checked
 * @first, @end: the memory it needs before it looks for more
 * @entry: where the first vCPU starts
 * @initrd_max: highest address for the initrd's last byte
 * @cmdline_max_bytes: longest command line, its terminating zero not counted
 * @setup_header: BOOT_LINUX_64: the file's struct setup_header
 */
struct kernel {
	enum boot_protocol protocol;
	gpa_t first, end;
	gpa_t entry;
	gpa_t initrd_max;
	uint64_t cmdline_max_bytes;
	struct kernel_segment segments[KERNEL_SEGMENTS];
	unsigned int segment_count;
	uint8_t setup_header[128];
	unsigned int setup_header_bytes;
};

/**
 * struct boot_request - what is to be started
 * @initrd: its name is NULL when there is none
 * @cmdline: NULL is ""
 * @rsdp: gpa of the ACPI root pointer, 0: none
 * @holes: memory that the kernel is not told of, see memory_map_build()
 */
struct boot_request {
	const struct image *kernel, *initrd;
	const char *cmdline;
	gpa_t rsdp;
	const struct memory_map_hole *holes;
	unsigned int hole_count;
};

/**
 * struct boot_entry - how the first vCPU starts
 * @argument: gpa of struct boot_params or of struct hvm_start_info
 */
struct boot_entry {
	enum boot_protocol protocol;
	gpa_t entry;
	gpa_t argument;
};

/**
 * kernel_parse() - see what a kernel is, and check its headers
 * @map: where there is RAM for it
 *
 * Return: 0, -ENOEXEC (no kernel), -EINVAL (truncated or malformed), -ENOMEM (does not fit into
 * the guest's memory), or a read error; the text names the file.
 */
int kernel_parse(const struct image *image, const struct memory_map *map, struct kernel *kernel,
		 struct samara_error *err);

/* The two formats. Return: also -ENOEXEC without a text: it is of the other kind. */
int bzimage_parse(const struct image *image, const struct memory_map *map, struct kernel *kernel,
		  struct samara_error *err);
int elf_parse(const struct image *image, const struct memory_map *map, struct kernel *kernel,
	      struct samara_error *err);

/**
 * initrd_check() - whether the kernel could unpack it: cpio archives, compressed or not, complete
 *
 * Return: 0, -EINVAL (names what is wrong), -ENOMEM, or a read error.
 */
int initrd_check(const struct image *image, struct samara_error *err);

/**
 * initrd_place() - the highest place in RAM that the kernel can reach
 *
 * Return: 0, -ENOMEM (does not fit; the text names both sizes).
 */
int initrd_place(const struct image *image, const struct memory_map *map,
		 const struct kernel *kernel, gpa_t *gpa, struct samara_error *err);

/**
 * boot_load() - put kernel, initrd, command line and what describes them into guest memory
 *
 * Context: No vCPU runs.
 * Return: 0; -errno with the file by name.
 */
int boot_load(struct guest_mm *mm, const struct boot_request *request, struct boot_entry *entry,
	      struct samara_error *err);

/* The vCPU's registers for it. */
int boot_set_vcpu(struct vcpu *vcpu, const struct boot_entry *entry, struct samara_error *err);

/**
 * long_mode_write_tables() - a GDT, and page tables that map the first 4 GiB one to one
 */
int long_mode_write_tables(struct guest_mm *mm, struct samara_error *err);

/**
 * struct boot_data - what both protocols tell the kernel
 * @initrd_bytes: 0: there is none
 */
struct boot_data {
	const struct kernel *kernel;
	const struct memory_map *map;
	uint64_t cmdline_bytes;
	gpa_t initrd;
	uint64_t initrd_bytes;
	gpa_t rsdp;
};

/* Write struct boot_params; struct hvm_start_info with its tables. */
int boot_params_write(struct guest_mm *mm, const struct boot_data *data, struct samara_error *err);
int start_info_write(struct guest_mm *mm, const struct boot_data *data, struct samara_error *err);

#endif
