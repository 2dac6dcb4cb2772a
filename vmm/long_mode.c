/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a CPU in 64-bit mode needs until the kernel has its own (Intel SDM volume 3, 4.5). */
#include "vmm/layout.h"
#include "vmm/loader.h"

#define ENTRIES            512
#define PRESENT_RW         0x3
#define LARGE              0x80
#define DIRECTORIES        4 /* 1 GiB each */

#define PDPT_GPA           (LAYOUT_PAGE_TABLES_GPA + SAMARA_PAGE_BYTES)
#define DIRECTORY_GPA(gib) (LAYOUT_PAGE_TABLES_GPA + (2 + (gib)) * SAMARA_PAGE_BYTES)

/* Flat code (64-bit) at 0x10 and data at 0x18 (boot.rst, "64-bit Boot Protocol"). */
static const uint64_t gdt[4] = {0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff};

int long_mode_write_tables(struct guest_mm *mm, struct samara_error *err)
{
	uint64_t table[ENTRIES] = {PDPT_GPA | PRESENT_RW};
	int ret = guest_mm_write(mm, LAYOUT_GDT_GPA, gdt, sizeof(gdt));

	if (!ret)
		ret = guest_mm_write(mm, LAYOUT_PAGE_TABLES_GPA, table, sizeof(table));
	for (uint64_t gib = 0; gib < DIRECTORIES; gib++)
		table[gib] = DIRECTORY_GPA(gib) | PRESENT_RW;
	if (!ret)
		ret = guest_mm_write(mm, PDPT_GPA, table, sizeof(table));
	for (uint64_t gib = 0; !ret && gib < DIRECTORIES; gib++) {
		for (uint64_t i = 0; i < ENTRIES; i++)
			table[i] = (gib << 30) | (i << 21) | LARGE | PRESENT_RW;
		ret = guest_mm_write(mm, DIRECTORY_GPA(gib), table, sizeof(table));
	}
	return ret ? samara_error_set(err, ret, "page tables: guest memory at %#x is no RAM",
				      LAYOUT_PAGE_TABLES_GPA)
		   : 0;
}
