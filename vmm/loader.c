/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/loader.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "vmm/layout.h"

int kernel_parse(const struct image *image, const struct memory_map *map, struct kernel *kernel,
		 struct samara_error *err)
{
	struct samara_error reason = {0};
	int ret = bzimage_parse(image, map, kernel, &reason);

	if (ret == -ENOEXEC && !reason.code)
		ret = elf_parse(image, map, kernel, &reason);
	if (ret == -ENOEXEC && !reason.code)
		return samara_error_set(
			err, ret, "%s is no kernel: neither a bzImage nor an ELF with a PVH entry",
			image->name);
	if (ret && err)
		*err = reason;
	return ret;
}

int initrd_place(const struct image *image, const struct memory_map *map,
		 const struct kernel *kernel, gpa_t *gpa, struct samara_error *err)
{
	gpa_t end = memory_map_ram_end(map, kernel->first);

	if (end > LAYOUT_HIGH_GPA)
		end = LAYOUT_HIGH_GPA;
	if (kernel->initrd_max < end)
		end = kernel->initrd_max + 1;
	end &= ~(SAMARA_PAGE_BYTES - 1);
	*gpa = end > image->size_bytes ? (end - image->size_bytes) & ~(SAMARA_PAGE_BYTES - 1) : 0;
	if (*gpa < kernel->end)
		return samara_error_set(err, -ENOMEM,
					"%s: %" PRIu64 " KiB do not fit into the %" PRIu64
					" KiB of memory after the kernel",
					image->name, image->size_bytes >> 10,
					(end > kernel->end ? end - kernel->end : 0) >> 10);
	return 0;
}

/* Zeros, for a reset finds the former life's bytes there. */
static int zero(const struct image *image, struct guest_mm *mm, gpa_t gpa, uint64_t bytes,
		struct samara_error *err)
{
	static const uint8_t zeros[64 << 10];

	while (bytes) {
		uint64_t chunk = bytes < sizeof(zeros) ? bytes : sizeof(zeros);
		int ret = guest_mm_write(mm, gpa, zeros, chunk);

		if (ret)
			return samara_error_set(err, ret,
						"%s: guest memory at %#" PRIx64
						" cannot be written: no RAM, or read-only",
						image->name, gpa);
		gpa += chunk;
		bytes -= chunk;
	}
	return 0;
}

static int load_kernel(struct guest_mm *mm, const struct image *image, const struct kernel *kernel,
		       struct samara_error *err)
{
	int ret = 0;

	for (unsigned int i = 0; !ret && i < kernel->segment_count; i++) {
		const struct kernel_segment *segment = &kernel->segments[i];

		ret = image_load(image, segment->offset, mm, segment->gpa, segment->file_bytes,
				 err);
		if (!ret)
			ret = zero(image, mm, segment->gpa + segment->file_bytes,
				   segment->memory_bytes - segment->file_bytes, err);
	}
	return ret;
}

static int load_cmdline(struct guest_mm *mm, const char *cmdline, const struct kernel *kernel,
			uint64_t *bytes, struct samara_error *err)
{
	uint64_t limit = kernel->cmdline_max_bytes;
	int ret;

	if (limit > LAYOUT_CMDLINE_MAX_BYTES - 1)
		limit = LAYOUT_CMDLINE_MAX_BYTES - 1;
	*bytes = strlen(cmdline);
	if (*bytes > limit)
		return samara_error_set(err, -E2BIG,
					"kernel command line: %" PRIu64
					" bytes, the kernel takes %" PRIu64,
					*bytes, limit);
	ret = guest_mm_write(mm, LAYOUT_CMDLINE_GPA, cmdline, *bytes + 1);
	return ret ? samara_error_set(err, ret,
				      "kernel command line: guest memory at %#x is no RAM",
				      LAYOUT_CMDLINE_GPA)
		   : 0;
}

int boot_load(struct guest_mm *mm, const struct boot_request *request, struct boot_entry *entry,
	      struct samara_error *err)
{
	struct memory_map map;
	struct kernel kernel;
	struct boot_data data = {.kernel = &kernel, .map = &map, .rsdp = request->rsdp};
	int ret;

	ret = memory_map_build(&map, mm, request->holes, request->hole_count, err);
	if (ret)
		return ret;
	ret = kernel_parse(request->kernel, &map, &kernel, err);
	if (ret)
		return ret;
	if (request->initrd->name) {
		data.initrd_bytes = request->initrd->size_bytes;
		ret = initrd_place(request->initrd, &map, &kernel, &data.initrd, err);
		if (ret)
			return ret;
	}
	ret = load_cmdline(mm, request->cmdline ? request->cmdline : "", &kernel,
			   &data.cmdline_bytes, err);
	if (!ret)
		ret = load_kernel(mm, request->kernel, &kernel, err);
	if (!ret && data.initrd_bytes)
		ret = image_load(request->initrd, 0, mm, data.initrd, data.initrd_bytes, err);
	if (ret)
		return ret;

	*entry = (struct boot_entry){.protocol = kernel.protocol, .entry = kernel.entry};
	if (kernel.protocol == BOOT_PVH) {
		entry->argument = LAYOUT_START_INFO_GPA;
		return start_info_write(mm, &data, err);
	}
	entry->argument = LAYOUT_BOOT_PARAMS_GPA;
	ret = boot_params_write(mm, &data, err);
	return ret ? ret : long_mode_write_tables(mm, err);
}

int boot_set_vcpu(struct vcpu *vcpu, const struct boot_entry *entry, struct samara_error *err)
{
	if (entry->protocol == BOOT_PVH)
		return vcpu_set_pvh(vcpu, entry->entry, entry->argument, err);
	return vcpu_set_long_mode(vcpu, entry->entry, LAYOUT_STACK_TOP_GPA, LAYOUT_PAGE_TABLES_GPA,
				  LAYOUT_GDT_GPA, 0, entry->argument, err);
}
