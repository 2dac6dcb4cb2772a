/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Kernels and initrds as they come: good ones are placed and loaded where the protocols say, bad
 * ones give an error that names the file and the reason.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <archive.h>
#include <archive_entry.h>
#include <asm/bootparam.h>
#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/layout.h"
#include "vmm/loader.h"

#define MIB UINT64_C(0x100000)

static struct memory_map ram(uint64_t bytes)
{
	struct memory_map map = {
		.entries = {{0, LAYOUT_RESERVED_GPA, MEMORY_RAM},
			    {LAYOUT_RESERVED_GPA, LAYOUT_KERNEL_MIN_GPA - LAYOUT_RESERVED_GPA,
			     MEMORY_RESERVED},
			    {LAYOUT_KERNEL_MIN_GPA, bytes - LAYOUT_KERNEL_MIN_GPA, MEMORY_RAM}},
		.count = 3,
	};

	return map;
}

static int parse(const void *bytes, size_t count, uint64_t ram_bytes, struct kernel *kernel,
		 struct samara_error *err)
{
	struct memory_map map = ram(ram_bytes);
	struct image image;
	int ret;

	memset(err, 0, sizeof(*err));
	assert_int_equal(image_from_memory(&image, "kernel K", bytes, count, NULL), 0);
	ret = kernel_parse(&image, &map, kernel, err);
	image_close(&image);
	if (ret) {
		assert_int_equal(err->code, ret);
		assert_non_null(strstr(err->text, "kernel K"));
		assert_null(strchr(err->text, '\n'));
	}
	return ret;
}

static void refuses(const void *bytes, size_t count, uint64_t ram_bytes, int code,
		    const char *reason)
{
	struct samara_error err;
	struct kernel kernel;

	assert_int_equal(parse(bytes, count, ram_bytes, &kernel, &err), code);
	if (!strstr(err.text, reason))
		fail_msg("\"%s\" does not say \"%s\"", err.text, reason);
}

/* ---- bzImage --------------------------------------------------------------------------------- */

#define BZ_SETUP_SECTS 3
#define BZ_SETUP_BYTES ((BZ_SETUP_SECTS + 1) * 512)
#define BZ_CODE_BYTES  8192
#define BZ_BYTES       (BZ_SETUP_BYTES + BZ_CODE_BYTES)

static uint8_t bz[BZ_BYTES];

static struct setup_header *bz_header(void)
{
	return (struct setup_header *)(bz + 0x1f1);
}

static void make_bz(void)
{
	struct setup_header *header = bz_header();

	memset(bz, 0, sizeof(bz));
	for (unsigned int i = 0; i < BZ_CODE_BYTES; i++)
		bz[BZ_SETUP_BYTES + i] = i * 7 + i / 256;
	header->setup_sects = BZ_SETUP_SECTS;
	header->syssize = BZ_CODE_BYTES / 16;
	header->boot_flag = 0xaa55;
	header->jump = 0x6aeb; /* the header ends at 0x26c */
	header->header = 0x53726448;
	header->version = 0x020f;
	header->loadflags = LOADED_HIGH;
	header->initrd_addr_max = 0x7fffffff;
	header->kernel_alignment = 2 * MIB;
	header->relocatable_kernel = 1;
	header->xloadflags = XLF_KERNEL_64;
	header->cmdline_size = 2047;
	header->pref_address = 16 * MIB;
	header->init_size = 4 * MIB;
}

static void test_bzimage_at_preferred_address(void **state)
{
	struct samara_error err;
	struct kernel kernel;

	(void)state;
	make_bz();
	assert_int_equal(parse(bz, sizeof(bz), 64 * MIB, &kernel, &err), 0);
	assert_int_equal(kernel.protocol, BOOT_LINUX_64);
	assert_int_equal(kernel.first, 16 * MIB);
	assert_int_equal(kernel.end, 20 * MIB);
	assert_int_equal(kernel.entry, 16 * MIB + 0x200);
	assert_int_equal(kernel.initrd_max, 0x7fffffff);
	assert_int_equal(kernel.cmdline_max_bytes, 2047);
	assert_int_equal(kernel.segment_count, 1);
	assert_int_equal(kernel.segments[0].offset, BZ_SETUP_BYTES);
	assert_int_equal(kernel.segments[0].file_bytes, BZ_CODE_BYTES);
	assert_int_equal(kernel.setup_header_bytes, 0x26c - 0x1f1);
}

static void test_bzimage_moves_down_in_little_memory(void **state)
{
	struct samara_error err;
	struct kernel kernel;

	(void)state;
	make_bz();
	assert_int_equal(parse(bz, sizeof(bz), 8 * MIB, &kernel, &err), 0);
	assert_int_equal(kernel.first, 2 * MIB);

	bz_header()->relocatable_kernel = 0;
	refuses(bz, sizeof(bz), 8 * MIB, -ENOMEM, "too little");
	make_bz();
	refuses(bz, sizeof(bz), 5 * MIB, -ENOMEM, "4096 KiB");
}

static void test_bzimage_above_4g_flag_lifts_initrd_limit(void **state)
{
	struct samara_error err;
	struct kernel kernel;

	(void)state;
	make_bz();
	bz_header()->xloadflags |= XLF_CAN_BE_LOADED_ABOVE_4G;
	assert_int_equal(parse(bz, sizeof(bz), 64 * MIB, &kernel, &err), 0);
	assert_int_equal(kernel.initrd_max, UINT32_MAX);
}

static void test_bzimage_default_setup_sects(void **state)
{
	struct samara_error err;
	struct kernel kernel;

	(void)state;
	make_bz();
	bz_header()->setup_sects = 0;
	bz_header()->syssize -= 512 / 16;
	assert_int_equal(parse(bz, sizeof(bz), 64 * MIB, &kernel, &err), 0);
	assert_int_equal(kernel.segments[0].offset, 5 * 512);
}

static void test_bzimage_refused(void **state)
{
	(void)state;
	make_bz();
	for (size_t bytes = 0x300; bytes < sizeof(bz) - 15; bytes += 97)
		refuses(bz, bytes, 64 * MIB, -EINVAL, "truncated");
	bz_header()->version = 0x020b;
	refuses(bz, sizeof(bz), 64 * MIB, -EINVAL, "boot protocol 2.11");
	make_bz();
	bz_header()->xloadflags = 0;
	refuses(bz, sizeof(bz), 64 * MIB, -EINVAL, "32-bit");
	make_bz();
	bz_header()->loadflags = 0;
	refuses(bz, sizeof(bz), 64 * MIB, -EINVAL, "zImage");
	make_bz();
	bz_header()->syssize = 0;
	refuses(bz, sizeof(bz), 64 * MIB, -EINVAL, "syssize");
	make_bz();
	bz_header()->syssize = UINT32_MAX;
	refuses(bz, sizeof(bz), 64 * MIB, -EINVAL, "truncated");
	make_bz();
	bz_header()->init_size = 0;
	refuses(bz, sizeof(bz), 64 * MIB, -EINVAL, "init_size");
	make_bz();
	bz_header()->pref_address = UINT64_MAX - 4096;
	bz_header()->kernel_alignment = 3;
	refuses(bz, sizeof(bz), 64 * MIB, -EINVAL, "kernel_alignment");
	make_bz();
	bz_header()->init_size = UINT32_MAX;
	refuses(bz, sizeof(bz), 64 * MIB, -ENOMEM, "too little");
	make_bz();
	bz_header()->boot_flag = 0;
	refuses(bz, sizeof(bz), 64 * MIB, -ENOEXEC,
		"kernel K is no kernel: neither a bzImage nor an ELF with a PVH entry");
}

/* ---- ELF ------------------------------------------------------------------------------------- */

struct elf_file {
	Elf64_Ehdr header;
	Elf64_Phdr segments[3];
	struct {
		Elf64_Nhdr header;
		char name[4];
		uint32_t entry;
	} note;
	uint8_t code[64];
};

static struct elf_file elf;

static void make_elf(void)
{
	memset(&elf, 0, sizeof(elf));
	memcpy(elf.header.e_ident, ELFMAG, SELFMAG);
	elf.header.e_ident[EI_CLASS] = ELFCLASS64;
	elf.header.e_ident[EI_DATA] = ELFDATA2LSB;
	elf.header.e_machine = EM_X86_64;
	elf.header.e_phoff = offsetof(struct elf_file, segments);
	elf.header.e_phentsize = sizeof(Elf64_Phdr);
	elf.header.e_phnum = 3;
	elf.segments[0] = (Elf64_Phdr){.p_type = PT_LOAD,
				       .p_offset = offsetof(struct elf_file, code),
				       .p_paddr = 2 * MIB,
				       .p_vaddr = 0xffffffff80200000,
				       .p_filesz = sizeof(elf.code),
				       .p_memsz = 8192};
	elf.segments[1] = (Elf64_Phdr){.p_type = PT_LOAD,
				       .p_offset = offsetof(struct elf_file, code),
				       .p_paddr = MIB,
				       .p_filesz = 16,
				       .p_memsz = 16};
	elf.segments[2] = (Elf64_Phdr){.p_type = PT_NOTE,
				       .p_offset = offsetof(struct elf_file, note),
				       .p_filesz = sizeof(elf.note)};
	elf.note.header = (Elf64_Nhdr){.n_namesz = 4, .n_descsz = 4, .n_type = 18};
	memcpy(elf.note.name, "Xen", 4);
	elf.note.entry = 2 * MIB + 8;
	for (unsigned int i = 0; i < sizeof(elf.code); i++)
		elf.code[i] = 0xa0 + i;
}

static void test_elf(void **state)
{
	struct samara_error err;
	struct kernel kernel;

	(void)state;
	make_elf();
	assert_int_equal(parse(&elf, sizeof(elf), 64 * MIB, &kernel, &err), 0);
	assert_int_equal(kernel.protocol, BOOT_PVH);
	assert_int_equal(kernel.entry, 2 * MIB + 8);
	assert_int_equal(kernel.first, MIB);
	assert_int_equal(kernel.end, 2 * MIB + 8192);
	assert_int_equal(kernel.segment_count, 2);
}

static void test_elf_refused(void **state)
{
	(void)state;
	make_elf();
	for (size_t bytes = 4; bytes < offsetof(struct elf_file, note); bytes += 3)
		refuses(&elf, bytes, 64 * MIB, -EINVAL, "truncated");
	for (size_t bytes = offsetof(struct elf_file, note);
	     bytes < offsetof(struct elf_file, code) + sizeof(elf.code); bytes++)
		refuses(&elf, bytes, 64 * MIB, -EINVAL, "truncated");
	elf.note.header.n_type = 17;
	refuses(&elf, sizeof(elf), 64 * MIB, -ENOEXEC, "without a PVH entry");
	make_elf();
	elf.header.e_machine = EM_AARCH64;
	refuses(&elf, sizeof(elf), 64 * MIB, -ENOEXEC, "not for x86-64");
	make_elf();
	elf.segments[0].p_filesz = 9000;
	refuses(&elf, sizeof(elf), 64 * MIB, -EINVAL, "longer in the file");
	make_elf();
	elf.segments[0].p_offset = UINT64_MAX - 8;
	refuses(&elf, sizeof(elf), 64 * MIB, -EINVAL, "truncated");
	make_elf();
	elf.segments[0].p_paddr = UINT64_MAX - 100;
	refuses(&elf, sizeof(elf), 64 * MIB, -EINVAL, "past the end");
	make_elf();
	elf.segments[0].p_paddr = 0x8000;
	refuses(&elf, sizeof(elf), 64 * MIB, -EINVAL, "below 1 MiB");
	make_elf();
	elf.segments[0].p_memsz = 63 * MIB;
	refuses(&elf, sizeof(elf), 64 * MIB, -ENOMEM, "not all memory");
	make_elf();
	elf.note.entry = 5 * MIB;
	refuses(&elf, sizeof(elf), 64 * MIB, -EINVAL, "outside its segments");
	make_elf();
	elf.note.header.n_namesz = UINT32_MAX;
	refuses(&elf, sizeof(elf), 64 * MIB, -ENOEXEC, "without a PVH entry");
	make_elf();
	elf.note.header.n_descsz = UINT32_MAX;
	refuses(&elf, sizeof(elf), 64 * MIB, -ENOEXEC, "without a PVH entry");
	make_elf();
	elf.segments[2].p_filesz = UINT64_MAX;
	refuses(&elf, sizeof(elf), 64 * MIB, -EINVAL, "notes");
	make_elf();
	elf.header.e_phnum = 0;
	refuses(&elf, sizeof(elf), 64 * MIB, -EINVAL, "program headers");
	make_elf();
	elf.header.e_phoff = UINT64_MAX - 10;
	refuses(&elf, sizeof(elf), 64 * MIB, -EINVAL, "truncated");
	make_elf();
	elf.header.e_phentsize = 1;
	refuses(&elf, sizeof(elf), 64 * MIB, -EINVAL, "unknown size");
}

/* Whatever bytes there are: an error or a kernel that lies in memory, never a crash. */
static void test_random_changes(void **state)
{
	unsigned int seed = 1;

	(void)state;
	for (unsigned int round = 0; round < 20000; round++) {
		struct samara_error err;
		struct kernel kernel;
		uint8_t *bytes = round & 1 ? bz : (uint8_t *)&elf;
		size_t count = round & 1 ? sizeof(bz) : sizeof(elf);
		size_t from = round & 1 ? 0x1f1 : 0, span = round & 1 ? 0x80 : 320;

		make_bz();
		make_elf();
		for (unsigned int i = 0; i < 4; i++)
			bytes[from + rand_r(&seed) % span] = rand_r(&seed);
		if (parse(bytes, count, 64 * MIB, &kernel, &err))
			continue;
		assert_true(kernel.first >= LAYOUT_KERNEL_MIN_GPA);
		assert_true(kernel.end <= 64 * MIB);
		for (unsigned int i = 0; i < kernel.segment_count; i++) {
			const struct kernel_segment *segment = &kernel.segments[i];

			assert_true(segment->file_bytes <= segment->memory_bytes);
			assert_true(segment->offset + segment->file_bytes <= count);
			assert_true(segment->gpa + segment->memory_bytes <= kernel.end);
		}
	}
}

/* ---- initrd ---------------------------------------------------------------------------------- */

static uint8_t initrd[1 << 20];
static size_t initrd_bytes;

static void put(const void *bytes, size_t count)
{
	assert_true(initrd_bytes + count <= sizeof(initrd));
	memcpy(initrd + initrd_bytes, bytes, count);
	initrd_bytes += count;
}

static void put_zeros(size_t count)
{
	assert_true(initrd_bytes + count <= sizeof(initrd));
	memset(initrd + initrd_bytes, 0, count);
	initrd_bytes += count;
}

static void put_entry(size_t start, const char *name, const char *contents)
{
	unsigned int file_bytes = strlen(contents), name_bytes = strlen(name) + 1;
	char header[111];

	snprintf(header, sizeof(header),
		 "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", 1, 0100644, 0, 0, 1,
		 0, file_bytes, 0, 0, 0, 0, name_bytes, 0);
	put(header, 110);
	put(name, strlen(name) + 1);
	put_zeros(-(initrd_bytes - start) & 3);
	put(contents, strlen(contents));
	put_zeros(-(initrd_bytes - start) & 3);
}

static void put_cpio(void)
{
	size_t start = initrd_bytes;

	put_entry(start, "init", "#!/bin/sh\necho hello\n");
	put_entry(start, "a/longer/name", "");
	put_entry(start, "TRAILER!!!", "");
}

static la_ssize_t collect(struct archive *archive, void *arg, const void *bytes, size_t count)
{
	(void)archive;
	(void)arg;
	put(bytes, count);
	return count;
}

static void put_compressed(int (*add_filter)(struct archive *archive))
{
	size_t start = initrd_bytes, plain_bytes;
	struct archive *archive = archive_write_new();
	struct archive_entry *entry = archive_entry_new();
	uint8_t plain[4096];

	put_cpio();
	plain_bytes = initrd_bytes - start;
	assert_true(plain_bytes <= sizeof(plain));
	memcpy(plain, initrd + start, plain_bytes);
	initrd_bytes = start;

	assert_int_equal(archive_write_set_format_raw(archive), ARCHIVE_OK);
	assert_int_equal(add_filter(archive), ARCHIVE_OK);
	archive_write_set_bytes_per_block(archive, 0);
	assert_int_equal(archive_write_open(archive, NULL, NULL, collect, NULL), ARCHIVE_OK);
	archive_entry_set_filetype(entry, AE_IFREG);
	assert_int_equal(archive_write_header(archive, entry), ARCHIVE_OK);
	assert_int_equal(archive_write_data(archive, plain, plain_bytes), plain_bytes);
	assert_int_equal(archive_write_close(archive), ARCHIVE_OK);
	archive_entry_free(entry);
	archive_write_free(archive);
}

static int check_initrd(size_t bytes, struct samara_error *err)
{
	struct image image;
	int ret;

	memset(err, 0, sizeof(*err));
	assert_int_equal(image_from_memory(&image, "initrd I", initrd, bytes, NULL), 0);
	ret = initrd_check(&image, err);
	image_close(&image);
	if (ret)
		assert_non_null(strstr(err->text, "initrd I"));
	return ret;
}

static void takes_initrd(void)
{
	struct samara_error err;

	if (check_initrd(initrd_bytes, &err))
		fail_msg("%s", err.text);
}

static int (*const filters[])(struct archive *archive) = {
	archive_write_add_filter_gzip, archive_write_add_filter_bzip2, archive_write_add_filter_xz,
	archive_write_add_filter_lzma, archive_write_add_filter_zstd,
};

#define FILTERS (sizeof(filters) / sizeof(*filters))

static void test_initrd_plain(void **state)
{
	(void)state;
	initrd_bytes = 0;
	put_cpio();
	takes_initrd();
	put_zeros(300);
	takes_initrd();
	put_zeros(-initrd_bytes & 3);
	put_cpio();
	takes_initrd();
	initrd_bytes = 0;
	put_zeros(512);
	put_cpio();
	takes_initrd();
}

static void test_initrd_compressed(void **state)
{
	(void)state;
	for (size_t i = 0; i < FILTERS; i++) {
		initrd_bytes = 0;
		put_compressed(filters[i]);
		takes_initrd();
	}
}

/* Microcode first, then the real one, then what somebody added: plain and compressed mixed. */
static void test_initrd_concatenated(void **state)
{
	(void)state;
	for (size_t i = 0; i < FILTERS; i++) {
		initrd_bytes = 0;
		put_cpio();
		put_zeros(-initrd_bytes & 511);
		put_compressed(filters[i]);
		put_zeros(-initrd_bytes & 3);
		put_cpio();
		put_compressed(filters[0]);
		takes_initrd();
	}
}

static void test_initrd_truncated(void **state)
{
	struct samara_error err;

	(void)state;
	initrd_bytes = 0;
	put_cpio();
	for (size_t bytes = 6; bytes < initrd_bytes - 3; bytes++) {
		assert_int_equal(check_initrd(bytes, &err), -EINVAL);
		assert_non_null(strstr(err.text, "truncated"));
	}
	for (size_t i = 0; i < FILTERS; i++) {
		initrd_bytes = 0;
		put_compressed(filters[i]);
		for (size_t bytes = 6; bytes < initrd_bytes; bytes++)
			if (check_initrd(bytes, &err) != -EINVAL)
				fail_msg("filter %zu: %zu of %zu bytes taken", i, bytes,
					 initrd_bytes);
	}
}

static void test_initrd_refused(void **state)
{
	struct samara_error err;

	(void)state;
	memset(initrd, 'x', 1000);
	assert_int_equal(check_initrd(1000, &err), -EINVAL);
	assert_non_null(strstr(err.text, "is no initrd"));
	memset(initrd, 0, 1000);
	assert_int_equal(check_initrd(1000, &err), -EINVAL);
	assert_non_null(strstr(err.text, "is no initrd"));
	initrd_bytes = 0;
	put_cpio();
	put("surprise", 8);
	assert_int_equal(check_initrd(initrd_bytes, &err), -EINVAL);
	initrd_bytes = 0;
	put_cpio();
	initrd[94] = 'g'; /* in the length of the first name */
	assert_int_equal(check_initrd(initrd_bytes, &err), -EINVAL);
	assert_non_null(strstr(err.text, "malformed"));
}

static void test_initrd_place(void **state)
{
	struct kernel kernel = {.first = 16 * MIB, .end = 20 * MIB, .initrd_max = 0x7fffffff};
	struct image image = {.name = (char *)"initrd I", .fd = -1, .size_bytes = 3 * MIB + 1};
	struct memory_map map = ram(64 * MIB);
	struct samara_error err;
	gpa_t gpa;

	(void)state;
	assert_int_equal(initrd_place(&image, &map, &kernel, &gpa, &err), 0);
	assert_int_equal(gpa, 61 * MIB - 4096);
	kernel.initrd_max = 40 * MIB - 1;
	assert_int_equal(initrd_place(&image, &map, &kernel, &gpa, &err), 0);
	assert_int_equal(gpa, 37 * MIB - 4096);
	image.size_bytes = 20 * MIB;
	assert_int_equal(initrd_place(&image, &map, &kernel, &gpa, &err), 0);
	assert_int_equal(gpa, 20 * MIB);
	image.size_bytes++;
	assert_int_equal(initrd_place(&image, &map, &kernel, &gpa, &err), -ENOMEM);
	assert_non_null(strstr(err.text, "initrd I: 20480 KiB"));
	image.size_bytes = UINT64_MAX;
	assert_int_equal(initrd_place(&image, &map, &kernel, &gpa, &err), -ENOMEM);
	map = ram(3072 * MIB);
	kernel.initrd_max = UINT32_MAX;
	image.size_bytes = 4096;
	assert_int_equal(initrd_place(&image, &map, &kernel, &gpa, &err), 0);
	assert_int_equal(gpa, 3072 * MIB - 4096);
}

/* ---- Files ----------------------------------------------------------------------------------- */

static void test_image_open(void **state)
{
	char path[] = "/tmp/samara-test-XXXXXX";
	struct samara_error err;
	struct image image;
	char bytes[8];
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(image_open(&image, "initrd", path, &err), -EINVAL);
	assert_non_null(strstr(err.text, "empty"));
	assert_int_equal(image_open(&image, "initrd", "/tmp", &err), -EINVAL);
	assert_non_null(strstr(err.text, "regular"));
	assert_int_equal(image_open(&image, "initrd", "/nonexistent", &err), -ENOENT);
	assert_non_null(strstr(err.text, "initrd /nonexistent: "));

	/* It can be read when its path is gone, and shrinking is noticed. */
	assert_int_equal(write(fd, "12345678", 8), 8);
	assert_int_equal(image_open(&image, "initrd", path, &err), 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(image_read(&image, 0, bytes, 8, &err), 0);
	assert_memory_equal(bytes, "12345678", 8);
	assert_int_equal(image_read(&image, 4, bytes, 5, &err), -EINVAL);
	assert_non_null(strstr(err.text, "truncated"));
	assert_int_equal(image_read(&image, UINT64_MAX, bytes, 2, &err), -EINVAL);
	assert_int_equal(ftruncate(fd, 3), 0);
	assert_int_equal(image_read(&image, 0, bytes, 8, &err), -EINVAL);
	assert_non_null(strstr(err.text, "ends at 3"));
	image_close(&image);
	close(fd);
}

/* ---- Guest memory ---------------------------------------------------------------------------- */

static struct guest_mm *create_mm(uint64_t bytes)
{
	struct samara_error err = {0};
	struct guest_mm *mm;
	int ret = guest_mm_create(NULL, &mm, &err);

	if (ret == -EPERM || ret == -EACCES || ret == -ENOSYS) {
		print_message("# SKIP %s\n", err.text);
		skip();
	}
	assert_int_equal(ret, 0);
	assert_int_equal(guest_mm_add_window(mm, 0, bytes, GUEST_MM_ANON, &err), 0);
	assert_int_equal(guest_mm_add_window(mm, LAYOUT_HIGH_GPA, 1024 * MIB, GUEST_MM_ANON, &err),
			 0);
	assert_int_equal(guest_mm_plug(mm, 0, bytes, GUEST_MM_RDWR, &err), 0);
	return mm;
}

/* Every range of RAM is in the map, or there is an error: none is kept from the kernel. */
static void test_memory_map_is_whole(void **state)
{
	/* Below 640 KiB, from 1 MiB on, and two reserved ranges. */
	const unsigned int room = MEMORY_MAP_ENTRIES - 4;
	struct guest_mm *mm = create_mm(8 * MIB);
	struct samara_error err = {0};
	struct memory_map map;
	gpa_t gpa = LAYOUT_HIGH_GPA;

	(void)state;
	for (unsigned int i = 0; i < room; i++, gpa += 2 * SAMARA_PAGE_BYTES)
		assert_int_equal(guest_mm_plug(mm, gpa, SAMARA_PAGE_BYTES, GUEST_MM_RDWR, &err), 0);
	assert_int_equal(memory_map_build(&map, mm, NULL, 0, &err), 0);
	assert_int_equal(map.count, MEMORY_MAP_ENTRIES);
	assert_int_equal(map.entries[map.count - 1].gpa, gpa - 2 * SAMARA_PAGE_BYTES);
	assert_int_equal(map.entries[map.count - 1].type, MEMORY_RAM);

	assert_int_equal(guest_mm_plug(mm, gpa, SAMARA_PAGE_BYTES, GUEST_MM_RDWR, &err), 0);
	assert_int_equal(memory_map_build(&map, mm, NULL, 0, &err), -ENOSPC);
	assert_non_null(strstr(err.text, "more than 126 separate ranges"));

	/* A page between two of them makes one range of three. */
	assert_int_equal(
		guest_mm_plug(mm, gpa - SAMARA_PAGE_BYTES, SAMARA_PAGE_BYTES, GUEST_MM_RDWR, &err),
		0);
	assert_int_equal(memory_map_build(&map, mm, NULL, 0, &err), 0);
	assert_int_equal(map.count, MEMORY_MAP_ENTRIES);
	guest_mm_destroy(mm);
}

static int load(struct guest_mm *mm, const void *bytes, size_t count, const char *cmdline,
		struct boot_entry *entry, struct samara_error *err)
{
	struct image kernel, ramdisk;
	struct boot_request request = {
		.kernel = &kernel, .initrd = &ramdisk, .cmdline = cmdline, .rsdp = LAYOUT_ACPI_GPA};
	int ret;

	initrd_bytes = 0;
	put_cpio();
	assert_int_equal(image_from_memory(&kernel, "kernel K", bytes, count, NULL), 0);
	assert_int_equal(image_from_memory(&ramdisk, "initrd I", initrd, initrd_bytes, NULL), 0);
	ret = boot_load(mm, &request, entry, err);
	image_close(&kernel);
	image_close(&ramdisk);
	return ret;
}

static void test_load_bzimage(void **state)
{
	struct guest_mm *mm = create_mm(64 * MIB);
	struct samara_error err = {0};
	struct boot_entry entry;
	struct boot_params params;
	uint8_t bytes[BZ_CODE_BYTES];
	uint64_t value;

	(void)state;
	make_bz();
	assert_int_equal(guest_mm_plug(mm, LAYOUT_HIGH_GPA, 2 * MIB, GUEST_MM_RDWR, &err), 0);
	assert_int_equal(load(mm, bz, sizeof(bz), "console=ttyS0", &entry, &err), 0);
	assert_int_equal(entry.protocol, BOOT_LINUX_64);
	assert_int_equal(entry.entry, 16 * MIB + 0x200);
	assert_int_equal(guest_mm_read(mm, 16 * MIB, bytes, sizeof(bytes)), 0);
	assert_memory_equal(bytes, bz + BZ_SETUP_BYTES, BZ_CODE_BYTES);

	assert_int_equal(guest_mm_read(mm, entry.argument, &params, sizeof(params)), 0);
	assert_int_equal(params.hdr.header, 0x53726448);
	assert_int_equal(params.hdr.type_of_loader, 0xff);
	assert_int_equal(params.sentinel, 0);
	assert_int_equal(params.acpi_rsdp_addr, LAYOUT_ACPI_GPA);
	assert_int_equal(params.hdr.ramdisk_size, initrd_bytes);
	assert_int_equal(guest_mm_read(mm, params.hdr.ramdisk_image, bytes, initrd_bytes), 0);
	assert_memory_equal(bytes, initrd, initrd_bytes);
	assert_int_equal(guest_mm_read(mm, params.hdr.cmd_line_ptr, bytes, 14), 0);
	assert_string_equal(bytes, "console=ttyS0");

	assert_int_equal(params.e820_entries, 5);
	assert_int_equal(params.e820_table[0].addr, 0);
	assert_int_equal(params.e820_table[0].size, LAYOUT_RESERVED_GPA);
	assert_int_equal(params.e820_table[1].type, MEMORY_RESERVED);
	assert_int_equal(params.e820_table[2].addr, MIB);
	assert_int_equal(params.e820_table[2].size, 63 * MIB);
	assert_int_equal(params.e820_table[3].type, MEMORY_RESERVED);
	assert_int_equal(params.e820_table[4].addr, LAYOUT_HIGH_GPA);
	assert_int_equal(params.e820_table[4].size, 2 * MIB);

	/* The page tables: 5 GiB down the last directory entry is 4 GiB - 2 MiB, large. */
	assert_int_equal(guest_mm_read(mm, LAYOUT_PAGE_TABLES_GPA, &value, 8), 0);
	assert_int_equal(guest_mm_read(mm, (value & ~0xfffull) + 3 * 8, &value, 8), 0);
	assert_int_equal(guest_mm_read(mm, (value & ~0xfffull) + 511 * 8, &value, 8), 0);
	assert_int_equal(value, (LAYOUT_HIGH_GPA - 2 * MIB) | 0x83);
	guest_mm_destroy(mm);
}

static void test_load_elf(void **state)
{
	struct guest_mm *mm = create_mm(64 * MIB);
	struct samara_error err = {0};
	struct boot_entry entry;
	uint8_t bytes[sizeof(elf.code)];
	uint64_t info[7], module[2];
	uint8_t stale = 0x55;

	(void)state;
	make_elf();
	/* As if an earlier life had used what is .bss. */
	assert_int_equal(guest_mm_write(mm, 2 * MIB + 8191, &stale, 1), 0);
	assert_int_equal(load(mm, &elf, sizeof(elf), NULL, &entry, &err), 0);
	assert_int_equal(entry.protocol, BOOT_PVH);
	assert_int_equal(guest_mm_read(mm, 2 * MIB, bytes, sizeof(bytes)), 0);
	assert_memory_equal(bytes, elf.code, sizeof(bytes));
	assert_int_equal(guest_mm_read(mm, 2 * MIB + 8191, &stale, 1), 0);
	assert_int_equal(stale, 0);

	assert_int_equal(guest_mm_read(mm, entry.argument, info, sizeof(info)), 0);
	assert_int_equal(info[0], 0x1336ec578);
	assert_int_equal(info[1] >> 32, 1);
	assert_int_equal(info[4], LAYOUT_ACPI_GPA);
	assert_int_equal(info[6] & UINT32_MAX, 4);
	assert_int_equal(guest_mm_read(mm, info[2], module, sizeof(module)), 0);
	assert_int_equal(module[1], initrd_bytes);
	assert_int_equal(guest_mm_read(mm, module[0], bytes, 6), 0);
	assert_memory_equal(bytes, "070701", 6);
	guest_mm_destroy(mm);
}

static void test_load_refused(void **state)
{
	struct guest_mm *mm = create_mm(64 * MIB);
	struct samara_error err = {0};
	struct boot_entry entry;
	char *cmdline = calloc(1, 3000);

	(void)state;
	memset(cmdline, 'x', 2048);
	make_bz();
	assert_int_equal(load(mm, bz, sizeof(bz), cmdline, &entry, &err), -E2BIG);
	assert_non_null(strstr(err.text, "2048 bytes, the kernel takes 2047"));
	cmdline[2047] = '\0';
	assert_int_equal(load(mm, bz, sizeof(bz), cmdline, &entry, &err), 0);
	free(cmdline);

	/* Memory that went away: the map says so, and the kernel moves or is refused. */
	assert_int_equal(guest_mm_unplug(mm, 16 * MIB, 4096, &err), 0);
	assert_int_equal(load(mm, bz, sizeof(bz), "", &entry, &err), 0);
	assert_int_equal(entry.entry, 2 * MIB + 0x200);
	assert_int_equal(guest_mm_unplug(mm, 0x9000, 4096, &err), 0);
	assert_int_equal(load(mm, bz, sizeof(bz), "", &entry, &err), -EINVAL);
	assert_non_null(strstr(err.text, "640 KiB"));
	guest_mm_destroy(mm);
}

/* ---- Layout ---------------------------------------------------------------------------------- */

#define GIB (1024 * MIB)

static void test_layout(void **state)
{
	struct samara_error err = {0};
	struct layout layout;

	(void)state;
	assert_int_equal(layout_init(&layout, 512 * MIB, 512 * MIB, 40, &err), 0);
	assert_int_equal(layout.low_bytes, 512 * MIB);
	assert_int_equal(layout.high_bytes, 0);
	assert_true(layout_is_window(&layout, 512 * MIB - 1));
	assert_false(layout_is_window(&layout, 512 * MIB));
	assert_false(layout_is_window(&layout, 4 * GIB));

	assert_int_equal(layout_init(&layout, 4 * GIB, 6 * GIB + 4096, 40, &err), 0);
	assert_int_equal(layout.low_bytes, 3 * GIB);
	assert_int_equal(layout.high_boot_bytes, GIB);
	assert_int_equal(layout.high_bytes, 4 * GIB);
	assert_true(layout_is_window(&layout, 8 * GIB - 1));
	assert_false(layout_is_window(&layout, 8 * GIB));
	assert_false(layout_is_window(&layout, LAYOUT_IOAPIC_GPA));

	/* Memory devices come after the RAM at start, in whole blocks of Linux. */
	assert_int_equal(layout_init(&layout, 512 * MIB, 2 * GIB, 40, &err), 0);
	assert_true(layout.hotplug_gpa == 4 * GIB);
	assert_true(layout.hotplug_bytes >= 2 * GIB - 512 * MIB);
	assert_int_equal(layout_init(&layout, 3 * GIB + 100 * MIB, 4 * GIB, 40, &err), 0);
	assert_true(layout.hotplug_gpa == 4 * GIB + 128 * MIB);
	assert_true(layout.hotplug_bytes >= GIB - 100 * MIB);
	assert_true(layout.hotplug_gpa + layout.hotplug_bytes == 4 * GIB + layout.high_bytes);
	assert_int_equal(layout_init(&layout, 4 * GIB, 4 * GIB, 40, &err), 0);
	assert_int_equal(layout.hotplug_bytes, 0);

	assert_int_equal(layout_init(&layout, GIB, (1024 - 3) * GIB, 40, &err), 0);
	assert_int_equal(layout_init(&layout, GIB, (1024 - 2) * GIB, 40, &err), -ERANGE);
	assert_non_null(strstr(err.text, "1046528 MiB"));
	assert_non_null(strstr(err.text, "40-bit"));
	assert_int_equal(layout_init(&layout, GIB, UINT64_MAX & ~4095ull, 64, &err), -ERANGE);
	assert_int_equal(layout_init(&layout, GIB, UINT64_MAX & ~4095ull, 52, &err), -ERANGE);
	assert_int_equal(layout_init(&layout, GIB + 1, 2 * GIB, 40, &err), -EINVAL);
	assert_int_equal(layout_init(&layout, 2 * GIB, GIB, 40, &err), -EINVAL);
	assert_int_equal(layout_init(&layout, 4096, GIB, 40, &err), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bzimage_at_preferred_address),
		cmocka_unit_test(test_bzimage_moves_down_in_little_memory),
		cmocka_unit_test(test_bzimage_above_4g_flag_lifts_initrd_limit),
		cmocka_unit_test(test_bzimage_default_setup_sects),
		cmocka_unit_test(test_bzimage_refused),
		cmocka_unit_test(test_elf),
		cmocka_unit_test(test_elf_refused),
		cmocka_unit_test(test_random_changes),
		cmocka_unit_test(test_initrd_plain),
		cmocka_unit_test(test_initrd_compressed),
		cmocka_unit_test(test_initrd_concatenated),
		cmocka_unit_test(test_initrd_truncated),
		cmocka_unit_test(test_initrd_refused),
		cmocka_unit_test(test_initrd_place),
		cmocka_unit_test(test_image_open),
		cmocka_unit_test(test_memory_map_is_whole),
		cmocka_unit_test(test_load_bzimage),
		cmocka_unit_test(test_load_elf),
		cmocka_unit_test(test_load_refused),
		cmocka_unit_test(test_layout),
	};

	return cmocka_run_group_tests_name("loader", tests, NULL, NULL);
}
