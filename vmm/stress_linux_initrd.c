/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The initramfs of a Linux guest: the agent, and kernel modules as the kernel's package has them,
 * decompressed, since not every kernel can do that itself. A cpio archive in a memfd.
 */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest/agent_abi.h"
#include "vmm/stress_linux_guest.h"

/* The largest module that is taken; those of virtio have some ten KiB. */
#define MODULE_MAX_BYTES (16u << 20)

extern const uint8_t agent_image[], agent_image_end[];

static int archive_failed(struct archive *archive, const char *what, struct samara_error *err)
{
	const char *why = archive_error_string(archive);

	return samara_error_set(err, -EIO, "initramfs: %s: %s", what, why ? why : "out of memory");
}

static int add_entry(struct archive *archive, const char *name, unsigned int type,
		     unsigned int mode, const void *bytes, size_t count, struct samara_error *err)
{
	struct archive_entry *entry = archive_entry_new();
	int ret = 0;

	if (!entry)
		return samara_error_set(err, -ENOMEM, "initramfs: out of memory");
	archive_entry_set_pathname(entry, name);
	archive_entry_set_filetype(entry, type);
	archive_entry_set_perm(entry, mode);
	archive_entry_set_size(entry, (la_int64_t)count);
	if (archive_write_header(archive, entry) != ARCHIVE_OK ||
	    (count && archive_write_data(archive, bytes, count) != (la_ssize_t)count))
		ret = archive_failed(archive, name, err);
	archive_entry_free(entry);
	return ret;
}

/* ---- Modules --------------------------------------------------------------------------------- */

/* Read one, whatever it is compressed with. */
static int read_module(const char *path, uint8_t **bytes, size_t *count, struct samara_error *err)
{
	struct archive *archive = archive_read_new();
	uint8_t *module = malloc(MODULE_MAX_BYTES);
	struct archive_entry *entry;
	la_ssize_t length = -1;
	int ret = 0;

	if (!archive || !module) {
		ret = samara_error_set(err, -ENOMEM, "%s: out of memory", path);
		goto out;
	}
	archive_read_support_filter_all(archive);
	archive_read_support_format_raw(archive);
	if (archive_read_open_filename(archive, path, 65536) == ARCHIVE_OK &&
	    archive_read_next_header(archive, &entry) == ARCHIVE_OK)
		length = archive_read_data(archive, module, MODULE_MAX_BYTES);
	if (length <= 0 || length == MODULE_MAX_BYTES) {
		ret = archive_failed(archive, path, err);
		goto out;
	}
	*bytes = module;
	*count = (size_t)length;
	module = NULL;
out:
	archive_read_free(archive);
	free(module);
	return ret;
}

/* Where a module is below a folder. Return: false: nowhere. */
static bool find_module(const char *folder, const char *name, char *path, size_t length)
{
	static const char *const places[] = {"", "/kernel/drivers/virtio"};
	static const char *const suffixes[] = {".ko", ".ko.xz", ".ko.zst", ".ko.gz"};

	for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
		for (size_t k = 0; k < sizeof(suffixes) / sizeof(*suffixes); k++) {
			int n = snprintf(path, length, "%s%s/%s%s", folder, places[i], name,
					 suffixes[k]);

			if (n > 0 && (size_t)n < length && !access(path, R_OK))
				return true;
		}
	}
	return false;
}

static int add_modules(struct archive *archive, const char *folder, struct samara_error *err)
{
	static const char *const modules[] = AGENT_MODULES;
	unsigned int found = 0;
	int ret = 0;

	/* Names in an archive have no first slash. */
	ret = add_entry(archive, &AGENT_MODULE_FOLDER[1], AE_IFDIR, 0755, NULL, 0, err);
	for (size_t i = 0; !ret && i < sizeof(modules) / sizeof(*modules); i++) {
		char path[STRESS_TEXT_BYTES + 64], name[64];
		uint8_t *bytes = NULL;
		size_t count = 0;

		if (!find_module(folder, modules[i], path, sizeof(path)))
			continue;
		found++;
		snprintf(name, sizeof(name), AGENT_MODULE_FOLDER "/%s.ko", modules[i]);
		ret = read_module(path, &bytes, &count, err);
		if (!ret)
			ret = add_entry(archive, name + 1, AE_IFREG, 0644, bytes, count, err);
		free(bytes);
	}
	if (!ret && !found)
		ret = samara_error_set(err, -ENOENT,
				       "--modules %s: no module of virtio is there, or in "
				       "kernel/drivers/virtio below it",
				       folder);
	return ret;
}

/* ---- The archive ----------------------------------------------------------------------------- */

int stress_linux_initrd_create(const char *modules, int *fd, struct samara_error *err)
{
	struct archive *archive = archive_write_new();
	int file = memfd_create("samara-initramfs", MFD_CLOEXEC), ret = 0;

	if (!archive || file < 0) {
		ret = samara_error_set(err, archive ? -errno : -ENOMEM, "initramfs: %s",
				       archive ? strerror(errno) : "out of memory");
		goto out;
	}
	/* Documentation/driver-api/early-userspace/buffer-format.rst */
	if (archive_write_set_format_cpio_newc(archive) != ARCHIVE_OK ||
	    archive_write_open_fd(archive, file) != ARCHIVE_OK)
		ret = archive_failed(archive, "opening it", err);
	if (!ret)
		ret = add_entry(archive, "init", AE_IFREG, 0755, agent_image,
				(size_t)(agent_image_end - agent_image), err);
	if (!ret && modules[0])
		ret = add_modules(archive, modules, err);
	if (!ret && archive_write_close(archive) != ARCHIVE_OK)
		ret = archive_failed(archive, "writing it", err);
out:
	archive_write_free(archive);
	if (ret && file >= 0)
		close(file);
	*fd = ret ? -1 : file;
	return ret;
}
