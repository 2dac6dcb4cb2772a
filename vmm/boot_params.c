/* SPDX-License-Identifier: GPL-2.0-or-later */
/* struct boot_params, the "zero page" (Documentation/arch/x86/boot.rst, zero-page.rst). */
#include <asm/bootparam.h>
#include <string.h>

#include "vmm/layout.h"
#include "vmm/loader.h"

#define LOADER_UNDEFINED 0xff
#define VIDEO_NORMAL     0xffff

int boot_params_write(struct guest_mm *mm, const struct boot_data *data, struct samara_error *err)
{
	struct boot_params params;
	int ret;

	memset(&params, 0, sizeof(params));
	memcpy(&params.hdr, data->kernel->setup_header, data->kernel->setup_header_bytes);
	params.hdr.type_of_loader = LOADER_UNDEFINED;
	params.hdr.vid_mode = VIDEO_NORMAL;
	params.hdr.code32_start = data->kernel->segments[0].gpa;
	params.hdr.cmd_line_ptr = LAYOUT_CMDLINE_GPA;
	if (data->initrd_bytes) {
		params.hdr.ramdisk_image = data->initrd;
		params.hdr.ramdisk_size = data->initrd_bytes;
		params.ext_ramdisk_image = data->initrd >> 32;
		params.ext_ramdisk_size = data->initrd_bytes >> 32;
	}
	params.acpi_rsdp_addr = data->rsdp;

	_Static_assert(MEMORY_MAP_ENTRIES <= E820_MAX_ENTRIES_ZEROPAGE, "the map fits");
	params.e820_entries = data->map->count;
	for (unsigned int i = 0; i < data->map->count; i++)
		params.e820_table[i] = (struct boot_e820_entry){
			.addr = data->map->entries[i].gpa,
			.size = data->map->entries[i].size_bytes,
			.type = data->map->entries[i].type,
		};

	ret = guest_mm_write(mm, LAYOUT_BOOT_PARAMS_GPA, &params, sizeof(params));
	return ret ? samara_error_set(err, ret, "boot parameters: guest memory at %#x is no RAM",
				      LAYOUT_BOOT_PARAMS_GPA)
		   : 0;
}
