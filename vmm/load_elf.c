/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ELF by the PVH boot protocol: the entry point is in a Xen note (Xen, xen/include/public/elfnote.h
 * and docs/misc/pvh.pandoc), the segments go to their physical addresses.
 */
#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/layout.h"
#include "vmm/loader.h"

#define XEN_ELFNOTE_PHYS32_ENTRY 18

#define MAX_PROGRAM_HEADERS      128
#define MAX_NOTES_BYTES          (1u << 20)

/* A command line longer than the kernel's is cut by it; PVH has no field for the limit. */
#define PVH_CMDLINE_MAX_BYTES    2047

static int malformed(const struct image *image, const char *what, struct samara_error *err)
{
	return samara_error_set(err, -EINVAL, "%s: malformed ELF: %s", image->name, what);
}

static uint64_t align4(uint64_t value)
{
	return (value + 3) & ~UINT64_C(3);
}

/* Look through one note segment. Return: whether the entry point was there. */
static bool find_entry(const uint8_t *notes, size_t bytes, uint64_t *entry)
{
	size_t at = 0;

	while (bytes - at >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr note;
		uint64_t name, desc, next;

		memcpy(&note, notes + at, sizeof(note));
		name = at + sizeof(note);
		desc = name + align4(note.n_namesz);
		next = desc + align4(note.n_descsz);
		if (desc > bytes || note.n_descsz > bytes - desc)
			return false;
		if (note.n_type == XEN_ELFNOTE_PHYS32_ENTRY && note.n_namesz == 4 &&
		    !memcmp(notes + name, "Xen", 4) && (note.n_descsz == 4 || note.n_descsz == 8)) {
			*entry = 0;
			memcpy(entry, notes + desc, note.n_descsz);
			return true;
		}
		if (next > bytes)
			return false;
		at = next;
	}
	return false;
}

static int read_notes(const struct image *image, const Elf64_Phdr *header, bool *found,
		      uint64_t *entry, struct samara_error *err)
{
	uint8_t *notes;
	int ret;

	if (header->p_filesz > MAX_NOTES_BYTES)
		return malformed(image, "its notes are longer than 1 MiB", err);
	notes = malloc(header->p_filesz + 1);
	if (!notes)
		return samara_error_set(err, -ENOMEM, "%s: out of memory", image->name);
	ret = image_read(image, header->p_offset, notes, header->p_filesz, err);
	if (!ret)
		*found = find_entry(notes, header->p_filesz, entry);
	free(notes);
	return ret;
}

static int add_segment(const struct image *image, const Elf64_Phdr *header,
		       const struct memory_map *map, struct kernel *kernel,
		       struct samara_error *err)
{
	gpa_t end;

	if (!header->p_memsz)
		return 0;
	if (header->p_filesz > header->p_memsz)
		return malformed(image, "a segment is longer in the file than in memory", err);
	if (header->p_offset > image->size_bytes ||
	    header->p_filesz > image->size_bytes - header->p_offset)
		return samara_error_set(
			err, -EINVAL,
			"%s: truncated: it has %" PRIu64 " bytes, and a segment of %" PRIu64
			" bytes starts at %" PRIu64,
			image->name, image->size_bytes, header->p_filesz, header->p_offset);
	if (__builtin_add_overflow(header->p_paddr, header->p_memsz, &end))
		return malformed(image, "a segment reaches past the end of the address space", err);
	if (header->p_paddr < LAYOUT_KERNEL_MIN_GPA)
		return samara_error_set(err, -EINVAL,
					"%s: a segment goes to %#" PRIx64
					", and below 1 MiB the loader needs the memory",
					image->name, (uint64_t)header->p_paddr);
	if (memory_map_ram_end(map, header->p_paddr) < end)
		return samara_error_set(err, -ENOMEM,
					"%s: a segment goes to %#" PRIx64 "-%#" PRIx64
					", which is not all memory of the guest",
					image->name, (uint64_t)header->p_paddr, end - 1);
	if (kernel->segment_count == KERNEL_SEGMENTS)
		return malformed(image, "too many segments", err);

	kernel->segments[kernel->segment_count++] = (struct kernel_segment){
		.offset = header->p_offset,
		.gpa = header->p_paddr,
		.file_bytes = header->p_filesz,
		.memory_bytes = header->p_memsz,
	};
	if (header->p_paddr < kernel->first)
		kernel->first = header->p_paddr;
	if (end > kernel->end)
		kernel->end = end;
	return 0;
}

static int parse_headers(const struct image *image, const Elf64_Phdr *headers, unsigned int count,
			 const struct memory_map *map, struct kernel *kernel,
			 struct samara_error *err)
{
	bool found = false;
	int ret = 0;

	for (unsigned int i = 0; !ret && !found && i < count; i++)
		if (headers[i].p_type == PT_NOTE)
			ret = read_notes(image, &headers[i], &found, &kernel->entry, err);
	if (!ret && !found)
		ret = samara_error_set(err, -ENOEXEC,
				       "%s is no kernel: an ELF without a PVH entry "
				       "(XEN_ELFNOTE_PHYS32_ENTRY)",
				       image->name);
	for (unsigned int i = 0; !ret && i < count; i++)
		if (headers[i].p_type == PT_LOAD)
			ret = add_segment(image, &headers[i], map, kernel, err);
	if (ret)
		return ret;
	if (kernel->entry < kernel->first || kernel->entry >= kernel->end ||
	    kernel->entry > UINT32_MAX)
		return malformed(image, "its PVH entry lies outside its segments", err);
	return 0;
}

int elf_parse(const struct image *image, const struct memory_map *map, struct kernel *kernel,
	      struct samara_error *err)
{
	Elf64_Phdr *headers;
	Elf64_Ehdr elf;
	int ret;

	if (image->size_bytes < SELFMAG)
		return -ENOEXEC;
	ret = image_read(image, 0, elf.e_ident, SELFMAG, err);
	if (ret)
		return ret;
	if (memcmp(elf.e_ident, ELFMAG, SELFMAG))
		return -ENOEXEC;
	ret = image_read(image, 0, &elf, sizeof(elf), err);
	if (ret)
		return ret;
	if (elf.e_ident[EI_CLASS] != ELFCLASS64 || elf.e_ident[EI_DATA] != ELFDATA2LSB ||
	    elf.e_machine != EM_X86_64)
		return samara_error_set(err, -ENOEXEC,
					"%s is no kernel: an ELF, but not for x86-64", image->name);
	if (elf.e_phentsize != sizeof(*headers))
		return malformed(image, "its program headers have an unknown size", err);
	if (!elf.e_phnum || elf.e_phnum > MAX_PROGRAM_HEADERS)
		return malformed(image, "no program headers, or too many", err);

	*kernel = (struct kernel){
		.protocol = BOOT_PVH,
		.first = UINT64_MAX,
		.initrd_max = LAYOUT_HIGH_GPA - 1,
		.cmdline_max_bytes = PVH_CMDLINE_MAX_BYTES,
	};
	headers = calloc(elf.e_phnum, sizeof(*headers));
	if (!headers)
		return samara_error_set(err, -ENOMEM, "%s: out of memory", image->name);
	ret = image_read(image, elf.e_phoff, headers, elf.e_phnum * sizeof(*headers), err);
	if (!ret)
		ret = parse_headers(image, headers, elf.e_phnum, map, kernel, err);
	free(headers);
	return ret;
}
