/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a PVH kernel is told (Xen, xen/include/public/arch-x86/hvm/start_info.h). */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "vmm/layout.h"
#include "vmm/loader.h"

#define START_INFO_MAGIC   0x336ec578
#define START_INFO_VERSION 1 /* the first with a memory map */

struct start_info {
	uint32_t magic;
	uint32_t version;
	uint32_t flags;
	uint32_t module_count;
	uint64_t modules_gpa;
	uint64_t cmdline_gpa;
	uint64_t rsdp_gpa;
	uint64_t memory_map_gpa;
	uint32_t memory_map_count;
	uint32_t reserved;
};

struct start_info_module {
	uint64_t gpa;
	uint64_t size_bytes;
	uint64_t cmdline_gpa;
	uint64_t reserved;
};

struct start_info_memory {
	uint64_t gpa;
	uint64_t size_bytes;
	uint32_t type;
	uint32_t reserved;
};

/* All of it lies in one page. */
struct start_info_page {
	struct start_info info;
	struct start_info_module module;
	struct start_info_memory memory[MEMORY_MAP_ENTRIES];
};

_Static_assert(sizeof(struct start_info) == 56, "as Xen has it");
_Static_assert(sizeof(struct start_info_page) <= SAMARA_PAGE_BYTES, "one page");

int start_info_write(struct guest_mm *mm, const struct boot_data *data, struct samara_error *err)
{
	struct start_info_page page;
	int ret;

	memset(&page, 0, sizeof(page));
	page.info.magic = START_INFO_MAGIC;
	page.info.version = START_INFO_VERSION;
	page.info.cmdline_gpa = LAYOUT_CMDLINE_GPA;
	page.info.rsdp_gpa = data->rsdp;
	page.info.memory_map_gpa = LAYOUT_START_INFO_GPA + offsetof(struct start_info_page, memory);
	page.info.memory_map_count = data->map->count;
	if (data->initrd_bytes) {
		page.info.module_count = 1;
		page.info.modules_gpa =
			LAYOUT_START_INFO_GPA + offsetof(struct start_info_page, module);
		page.module.gpa = data->initrd;
		page.module.size_bytes = data->initrd_bytes;
	}
	for (unsigned int i = 0; i < data->map->count; i++)
		page.memory[i] = (struct start_info_memory){
			.gpa = data->map->entries[i].gpa,
			.size_bytes = data->map->entries[i].size_bytes,
			.type = data->map->entries[i].type,
		};

	ret = guest_mm_write(mm, LAYOUT_START_INFO_GPA, &page, sizeof(page));
	return ret ? samara_error_set(err, ret, "PVH start info: guest memory at %#x is no RAM",
				      LAYOUT_START_INFO_GPA)
		   : 0;
}
