/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bzImage, by the 64-bit boot protocol (Documentation/arch/x86/boot.rst): the header's fields, and
 * where the kernel goes. It unpacks itself, so its compression is no concern of ours.
 */
#include <asm/bootparam.h>
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "vmm/layout.h"
#include "vmm/loader.h"

#define SECTOR_BYTES        512
#define SETUP_SECTS_DEFAULT 4
#define PROTOCOL_MIN        0x020c     /* the first with xloadflags */
#define HEADER_MAGIC        0x53726448 /* "HdrS" */
#define ENTRY_64            0x200      /* from the start of the protected-mode kernel */

_Static_assert(sizeof(struct setup_header) <= sizeof(((struct kernel *)0)->setup_header),
	       "struct kernel has room for the setup header");

/* The header's length is in the second byte of its jump instruction (boot.rst, "jump"). */
static unsigned int header_bytes(const struct setup_header *header)
{
	size_t length = 0x202 + (header->jump >> 8) - offsetof(struct boot_params, hdr);

	return length < sizeof(*header) ? length : sizeof(*header);
}

static gpa_t align_up(gpa_t gpa, uint64_t alignment)
{
	return (gpa + alignment - 1) & ~(alignment - 1);
}

static bool fits(const struct memory_map *map, gpa_t first, uint64_t bytes)
{
	gpa_t end = memory_map_ram_end(map, first);

	return first >= LAYOUT_KERNEL_MIN_GPA && end > first && end - first >= bytes;
}

/* Where it wants to be if there is RAM, else as low as it can be moved. */
static int place(const struct image *image, const struct setup_header *header,
		 const struct memory_map *map, uint64_t bytes, gpa_t *gpa, struct samara_error *err)
{
	uint64_t alignment = header->kernel_alignment;

	if (fits(map, header->pref_address, bytes)) {
		*gpa = header->pref_address;
		return 0;
	}
	if (header->relocatable_kernel) {
		if (!alignment || alignment & (alignment - 1))
			return samara_error_set(
				err, -EINVAL, "%s: malformed header: kernel_alignment is %#" PRIx64,
				image->name, alignment);
		*gpa = align_up(LAYOUT_KERNEL_MIN_GPA, alignment);
		if (fits(map, *gpa, bytes))
			return 0;
	}
	return samara_error_set(err, -ENOMEM,
				"%s: it needs %" PRIu64
				" KiB of memory in one piece to unpack itself, and the guest has "
				"too little",
				image->name, bytes >> 10);
}

static int check_header(const struct image *image, const struct setup_header *header,
			struct samara_error *err)
{
	if (header->version < PROTOCOL_MIN)
		return samara_error_set(err, -EINVAL,
					"%s: boot protocol %u.%02u is too old, 2.12 is needed",
					image->name, header->version >> 8, header->version & 0xff);
	if (!(header->xloadflags & XLF_KERNEL_64))
		return samara_error_set(err, -EINVAL,
					"%s: a 32-bit kernel, without a 64-bit entry point",
					image->name);
	if (!(header->loadflags & LOADED_HIGH))
		return samara_error_set(err, -EINVAL, "%s: a zImage, which loads below 1 MiB",
					image->name);
	if (!header->init_size || !header->cmdline_size)
		return samara_error_set(err, -EINVAL,
					"%s: malformed header: init_size or cmdline_size is 0",
					image->name);
	return 0;
}

int bzimage_parse(const struct image *image, const struct memory_map *map, struct kernel *kernel,
		  struct samara_error *err)
{
	struct setup_header header;
	uint64_t setup_bytes, kernel_bytes, needed_bytes;
	gpa_t gpa = 0;
	int ret;

	if (image->size_bytes < offsetof(struct boot_params, hdr) + sizeof(header))
		return -ENOEXEC;
	ret = image_read(image, offsetof(struct boot_params, hdr), &header, sizeof(header), err);
	if (ret)
		return ret;
	if (header.boot_flag != 0xaa55 || header.header != HEADER_MAGIC)
		return -ENOEXEC;
	ret = check_header(image, &header, err);
	if (ret)
		return ret;

	setup_bytes = (header.setup_sects ? header.setup_sects : SETUP_SECTS_DEFAULT) + 1;
	setup_bytes *= SECTOR_BYTES;
	/* In units of 16 bytes, rounded up; a signature may follow it in the file. */
	kernel_bytes = (uint64_t)header.syssize * 16;
	if (kernel_bytes <= ENTRY_64)
		return samara_error_set(err, -EINVAL, "%s: malformed header: syssize is %u",
					image->name, header.syssize);
	if (image->size_bytes < setup_bytes + kernel_bytes - 15)
		return samara_error_set(err, -EINVAL,
					"%s: truncated: it has %" PRIu64
					" bytes, its header says %" PRIu64,
					image->name, image->size_bytes, setup_bytes + kernel_bytes);
	if (kernel_bytes > image->size_bytes - setup_bytes)
		kernel_bytes = image->size_bytes - setup_bytes;

	needed_bytes = header.init_size > kernel_bytes ? header.init_size : kernel_bytes;
	ret = place(image, &header, map, needed_bytes, &gpa, err);
	if (ret)
		return ret;

	*kernel = (struct kernel){
		.protocol = BOOT_LINUX_64,
		.first = gpa,
		.end = gpa + needed_bytes,
		.entry = gpa + ENTRY_64,
		.initrd_max = header.initrd_addr_max,
		.cmdline_max_bytes = header.cmdline_size,
		.segments[0] = {.offset = setup_bytes,
				.gpa = gpa,
				.file_bytes = kernel_bytes,
				.memory_bytes = kernel_bytes},
		.segment_count = 1,
		.setup_header_bytes = header_bytes(&header),
	};
	/* The page tables we start it with reach to 4 GiB. */
	if (header.xloadflags & XLF_CAN_BE_LOADED_ABOVE_4G)
		kernel->initrd_max = LAYOUT_HIGH_GPA - 1;
	memcpy(kernel->setup_header, &header, sizeof(header));
	return 0;
}
