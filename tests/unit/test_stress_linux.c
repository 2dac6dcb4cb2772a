/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A run with a Linux guest, as far as it goes without one: options, its DIMMs, its initramfs. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <archive.h>
#include <archive_entry.h>
#include <cmocka.h>

#include "vmm/loader.h"
#include "vmm/stress_linux.h"
#include "vmm/stress_linux_guest.h"

#define MIB (UINT64_C(1) << 20)

/* ---- Options --------------------------------------------------------------------------------- */

static void set(struct stress_options *options, const char *name, const char *text)
{
	struct samara_error err = {0};

	if (stress_option_set(options, name, text, &err))
		fail_msg("--%s %s: %s", name, text, err.text);
}

static struct stress_options linux_options(void)
{
	struct stress_options options;

	stress_options_init(&options);
	set(&options, "guest", "linux");
	set(&options, "kernel", "/boot/vmlinuz");
	return options;
}

static void test_a_kernel_makes_a_run(void **state)
{
	struct stress_options options = linux_options();
	struct samara_error err = {0};

	(void)state;
	assert_int_equal(stress_check_options(&options, &err), 0);
	assert_string_equal(options.linux_guest.kernel, "/boot/vmlinuz");
	set(&options, "mix", "reback=1,dimm=2,protect-live=1");
	set(&options, "guest-memory", "1G");
	set(&options, "device-memory", "0");
	set(&options, "mix", "reback=1");
	assert_int_equal(stress_check_options(&options, &err), 0);
}

static void test_what_makes_no_run_is_named(void **state)
{
	static const struct {
		const char *name, *text, *named;
	} wrong[] = {
		{"kernel", "", "--kernel"},
		{"cpus", "255", "--cpus"},
		{"guest-memory", "64M", "--guest-memory"},
		{"guest-memory", "134217729", "--guest-memory"},
		{"device-memory", "100M", "--device-memory"},
		{"slots", "65", "--slots"},
		{"mix", "remap=1", "--mix remap"},
		{"mix", "discard=1,reback=1", "--mix discard"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		struct stress_options options = linux_options();
		struct samara_error err = {0};

		set(&options, wrong[i].name, wrong[i].text);
		assert_int_equal(stress_check_options(&options, &err), -EINVAL);
		if (!strstr(err.text, wrong[i].named))
			fail_msg("--%s %s: %s", wrong[i].name, wrong[i].text, err.text);
	}
}

static void test_a_text_has_an_end(void **state)
{
	struct stress_options options = linux_options();
	char text[STRESS_TEXT_BYTES + 1];
	struct samara_error err = {0};

	(void)state;
	memset(text, 'a', sizeof(text));
	text[sizeof(text) - 1] = 0;
	assert_int_equal(stress_option_set(&options, "append", text, &err), -EINVAL);
	assert_int_equal(stress_option_set(&options, "guest", "freebsd", &err), -EINVAL);
	text[sizeof(text) - 2] = 0;
	set(&options, "append", text);
	assert_int_equal(strlen(options.linux_guest.append), STRESS_TEXT_BYTES - 1);
}

/* As many DIMMs as there are slots, each whole blocks of Linux, and not more than asked for. */
static void test_dimms_are_whole_blocks(void **state)
{
	static const struct {
		uint64_t device_mib, dimm_mib;
		unsigned int dimms;
	} cases[] = {
		{128, 128, 1}, {256, 128, 2}, {4096, 128, 32}, {4224, 256, 16}, {65536, 2048, 32}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct stress_options options = linux_options();

		options.linux_guest.device_bytes = cases[i].device_mib * MIB;
		assert_int_equal(stress_linux_dimm_bytes(&options), cases[i].dimm_mib * MIB);
		assert_int_equal(stress_linux_dimms(&options), cases[i].dimms);
	}
}

/* ---- The initramfs ---------------------------------------------------------------------------- */

/* Whether the archive holds a file of that name and contents; NULL: of any. */
static bool holds(int fd, const char *name, const char *contents)
{
	struct archive *archive = archive_read_new();
	struct archive_entry *entry;
	bool found = false;

	lseek(fd, 0, SEEK_SET);
	archive_read_support_format_cpio(archive);
	assert_int_equal(archive_read_open_fd(archive, fd, 65536), ARCHIVE_OK);
	while (!found && archive_read_next_header(archive, &entry) == ARCHIVE_OK) {
		char text[64] = {0};

		if (strcmp(archive_entry_pathname(entry), name))
			continue;
		found = !contents || (archive_read_data(archive, text, sizeof(text) - 1) >= 0 &&
				      !strcmp(text, contents));
	}
	archive_read_free(archive);
	return found;
}

/* As the kernel will read it. */
static void check_initrd(int fd)
{
	struct samara_error err = {0};
	struct image image;
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	assert_int_equal(image_open(&image, "initrd", path, &err), 0);
	if (initrd_check(&image, &err))
		fail_msg("%s", err.text);
	image_close(&image);
}

static void write_file(const char *folder, const char *name, const char *text)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "we");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void test_initramfs_has_the_agent(void **state)
{
	struct samara_error err = {0};
	int fd;

	(void)state;
	assert_int_equal(stress_linux_initrd_create("", &fd, &err), 0);
	check_initrd(fd);
	assert_true(holds(fd, "init", NULL));
	assert_false(holds(fd, "modules", NULL));
	close(fd);
}

static void test_initramfs_has_modules(void **state)
{
	char folder[] = "/tmp/samara-test-XXXXXX", path[256], command[300];
	struct samara_error err = {0};
	int fd;

	(void)state;
	assert_non_null(mkdtemp(folder));
	assert_int_equal(stress_linux_initrd_create(folder, &fd, &err), -ENOENT);
	assert_int_equal(fd, -1);
	assert_non_null(strstr(err.text, folder));

	/* Flat, and as a kernel's package has it, compressed. */
	write_file(folder, "virtio_mmio.ko", "mmio");
	snprintf(path, sizeof(path), "%s/kernel/drivers/virtio", folder);
	snprintf(command, sizeof(command), "mkdir -p %s", path);
	assert_int_equal(system(command), 0);
	write_file(path, "virtio_mem.ko", "mem");
	snprintf(command, sizeof(command), "gzip %s/virtio_mem.ko", path);
	assert_int_equal(system(command), 0);
	assert_int_equal(stress_linux_initrd_create(folder, &fd, &err), 0);
	check_initrd(fd);
	assert_true(holds(fd, "modules/virtio_mmio.ko", "mmio"));
	assert_true(holds(fd, "modules/virtio_mem.ko", "mem"));
	assert_false(holds(fd, "modules/virtio_balloon.ko", NULL));
	close(fd);
	snprintf(command, sizeof(command), "rm -r %s", folder);
	assert_int_equal(system(command), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_kernel_makes_a_run),
		cmocka_unit_test(test_what_makes_no_run_is_named),
		cmocka_unit_test(test_a_text_has_an_end),
		cmocka_unit_test(test_dimms_are_whole_blocks),
		cmocka_unit_test(test_initramfs_has_the_agent),
		cmocka_unit_test(test_initramfs_has_modules),
	};

	return cmocka_run_group_tests_name("stress_linux", tests, NULL, NULL);
}
