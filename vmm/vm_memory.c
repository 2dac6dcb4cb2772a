/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "vmm/vm_internal.h"

/* ---- The file behind it ----------------------------------------------------------------------- */

/**
 * struct memory_file - the file that --memory path= names
 * @fd: -1: there is none
 * @made: by us, so it goes again if it is of no use
 */
struct memory_file {
	const char *path;
	int fd;
	bool made;
};

static int path_error(const struct memory_file *file, struct samara_error *err)
{
	return samara_error_set(err, -errno, "--memory path=%.128s: %s", file->path,
				strerror(errno));
}

/* A shared file holds all there may ever be; what it lacks are holes. */
static int size_file(const struct memory_file *file, const struct layout *layout,
		     struct samara_error *err)
{
	uint64_t bytes = layout->low_bytes + layout->high_bytes + layout->device_bytes;
	struct statfs fs;
	struct stat stat;

	if (fstat(file->fd, &stat) || fstatfs(file->fd, &fs))
		return path_error(file, err);
	/* Before the file is touched: elsewhere it could not be used. */
	if (fs.f_type != TMPFS_MAGIC && fs.f_type != HUGETLBFS_MAGIC)
		return samara_error_set(err, -ENODEV,
					"--memory path=%.128s: a shared file must be on tmpfs or "
					"hugetlbfs (userfaultfd watches no other); with share=off "
					"the guest gets a copy",
					file->path);
	if ((uint64_t)stat.st_size < bytes && ftruncate(file->fd, (off_t)bytes))
		return path_error(file, err);
	return 0;
}

static int open_file(struct memory_file *file, const struct vm_config *config,
		     const struct layout *layout, struct samara_error *err)
{
	bool shared = config->backing == GUEST_MM_FILE_SHARED;
	int flags = O_CLOEXEC | O_NONBLOCK | (shared ? O_RDWR : O_RDONLY);
	struct stat stat;

	file->path = config->memory_path;
	if (!file->path)
		return 0;
	file->fd = open(file->path, flags);
	if (file->fd < 0 && errno == ENOENT && shared) {
		file->fd = open(file->path, flags | O_CREAT | O_EXCL, 0600);
		file->made = file->fd >= 0;
	}
	if (file->fd < 0 || fstat(file->fd, &stat))
		return path_error(file, err);
	if (!S_ISREG(stat.st_mode))
		return samara_error_set(err, -EINVAL, "--memory path=%.128s: not a regular file",
					file->path);
	return shared ? size_file(file, layout, err) : 0;
}

static void close_file(struct memory_file *file, bool failed)
{
	if (file->fd < 0)
		return;
	close(file->fd);
	if (failed && file->made)
		unlink(file->path);
}

/* ---- Windows ---------------------------------------------------------------------------------- */

static int add_windows(struct vm *vm, const struct memory_file *file, struct samara_error *err)
{
	const struct vm_config *config = vm->config;
	const struct layout *layout = &vm->layout;
	const struct {
		gpa_t gpa;
		uint64_t size_bytes;
		enum guest_mm_backing backing;
	} windows[] = {
		{0, layout->low_bytes, config->backing},
		{LAYOUT_HIGH_GPA, layout->high_bytes, config->backing},
		/* Whose blocks come and go: a file's contents have no meaning there. */
		{layout->device_gpa, layout->device_bytes,
		 config->backing == GUEST_MM_FILE_PRIVATE ? GUEST_MM_ANON : config->backing},
	};
	struct guest_mm_window_config window = {.fd = file->fd, .placement = config->placement};
	int ret = 0;

	for (size_t i = 0; !ret && i < sizeof(windows) / sizeof(windows[0]); i++) {
		if (!windows[i].size_bytes)
			continue;
		window.gpa = windows[i].gpa;
		window.size_bytes = windows[i].size_bytes;
		window.backing = windows[i].backing;
		ret = guest_mm_add_window_config(vm->mm, &window, err);
		window.offset_bytes += window.size_bytes;
	}
	return ret;
}

/* ---- What is there at start ------------------------------------------------------------------- */

static int for_boot_memory(struct vm *vm,
			   int (*each)(struct vm *vm, gpa_t gpa, uint64_t size_bytes,
				       struct samara_error *err),
			   struct samara_error *err)
{
	int ret = each(vm, 0, vm->layout.low_bytes, err);

	if (!ret && vm->layout.high_boot_bytes)
		ret = each(vm, LAYOUT_HIGH_GPA, vm->layout.high_boot_bytes, err);
	return ret;
}

static int plug(struct vm *vm, gpa_t gpa, uint64_t size_bytes, struct samara_error *err)
{
	return guest_mm_plug(vm->mm, gpa, size_bytes, GUEST_MM_RDWR, err);
}

static int populate(struct vm *vm, gpa_t gpa, uint64_t size_bytes, struct samara_error *err)
{
	return guest_mm_populate(vm->mm, gpa, size_bytes, err);
}

static int place(struct vm *vm, gpa_t gpa, uint64_t size_bytes,
		 const struct guest_mm_placement *placement, struct samara_error *err)
{
	const struct guest_mm_memory memory = {
		.kind = GUEST_MM_MEMORY_OWN, .placement = *placement, .bare = true};

	return size_bytes ? guest_mm_reback(vm->mm, gpa, size_bytes, &memory, err) : 0;
}

/* Nodes lie one behind the other, as the SRAT says (vmm/acpi_srat.c). Nothing is written yet. */
static int place_nodes(struct vm *vm, struct samara_error *err)
{
	const struct vm_config *config = vm->config;
	gpa_t low = 0, high = LAYOUT_HIGH_GPA;
	int ret = 0;

	for (unsigned int node = 0; !ret && node < config->node_count; node++) {
		uint64_t bytes = config->node_bytes[node], part = vm->layout.low_bytes - low;
		const struct guest_mm_placement *placement = &config->node_placements[node];

		if (part > bytes)
			part = bytes;
		if (placement->numa != GUEST_MM_NUMA_ANY) {
			ret = place(vm, low, part, placement, err);
			if (!ret)
				ret = place(vm, high, bytes - part, placement, err);
			if (ret)
				samara_error_prefix(err, "--numa: node %u", node);
		}
		low += part;
		high += bytes - part;
	}
	return ret;
}

static void warn_of_nothing(gpa_t gpa, void *arg)
{
	char line[128];

	snprintf(line, sizeof(line),
		 "the guest accesses %#" PRIx64
		 ", where no memory is plugged (told once, counted as faults-nothing)",
		 gpa);
	vm_warn(arg, line);
}

int vm_memory_create(struct vm *vm, struct samara_error *err)
{
	const struct vm_config *config = vm->config;
	const struct guest_mm_config mm = {
		.no_huge_pages = config->memory_small_pages,
		.first_nothing = warn_of_nothing,
		.nothing_arg = vm,
	};
	struct memory_file file = {.fd = -1};
	int ret;

	ret = guest_mm_create(&mm, &vm->mm, err);
	if (ret)
		return ret;
	ret = open_file(&file, config, &vm->layout, err);
	if (!ret)
		ret = add_windows(vm, &file, err);
	close_file(&file, ret);
	if (!ret)
		ret = for_boot_memory(vm, plug, err);
	if (!ret)
		ret = place_nodes(vm, err);
	if (!ret && config->memory_prealloc)
		ret = for_boot_memory(vm, populate, err);
	return ret;
}
