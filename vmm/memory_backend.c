/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "vmm/memory_backend.h"

#define HUGE_BYTES (UINT64_C(2) << 20)
#define COPY_BYTES (UINT64_C(256) << 10)

const char *memory_backend_type(const struct memory_backend *backend)
{
	static const char *const types[] = {
		[MEMORY_BACKEND_RAM] = "memory-backend-ram",
		[MEMORY_BACKEND_MEMFD] = "memory-backend-memfd",
		[MEMORY_BACKEND_FILE] = "memory-backend-file",
	};

	return types[backend->config.kind];
}

/* Whether parts of a window of that kind can be other memory. */
static bool can_reback(enum guest_mm_backing windows)
{
	return windows != GUEST_MM_HUGETLB && windows != GUEST_MM_FILE_PRIVATE;
}

/* Whether it takes other memory than the window's. */
static bool takes_own_memory(const struct memory_backend_config *config,
			     enum guest_mm_backing windows)
{
	if (config->placement.numa != GUEST_MM_NUMA_ANY)
		return true;
	if (config->kind == MEMORY_BACKEND_FILE)
		return config->share;
	/* A memfd is behind these windows: that is shared. */
	return config->share && windows != GUEST_MM_MEMFD && windows != GUEST_MM_HUGETLB;
}

static int check_size(const struct memory_backend_config *config, enum guest_mm_backing windows,
		      struct samara_error *err)
{
	uint64_t page_bytes = windows == GUEST_MM_HUGETLB ? HUGE_BYTES : SAMARA_PAGE_BYTES;

	if (config->size_bytes && !(config->size_bytes % page_bytes))
		return 0;
	return samara_error_set(err, -EINVAL,
				"%s: size: %" PRIu64 " bytes are no multiple of the %s page, or "
				"none",
				config->id, config->size_bytes,
				windows == GUEST_MM_HUGETLB ? "2 MiB" : "4 KiB");
}

static int check(const struct memory_backend_config *config, enum guest_mm_backing windows,
		 struct samara_error *err)
{
	int ret = check_size(config, windows, err);

	if (ret)
		return ret;
	if (config->huge && windows != GUEST_MM_HUGETLB)
		return samara_error_set(
			err, -EOPNOTSUPP,
			"%s: hugetlb: this VM's memory is of 4 KiB pages; it was to "
			"be started with --memory ...,backing=hugetlb",
			config->id);
	if (config->kind == MEMORY_BACKEND_FILE && windows == GUEST_MM_FILE_PRIVATE)
		return samara_error_set(err, -EOPNOTSUPP,
					"%s: this VM's memory is a copy of a file, parts of which "
					"can't be another's",
					config->id);
	if (takes_own_memory(config, windows) && !can_reback(windows))
		return samara_error_set(err, -EOPNOTSUPP,
					"%s: %s: this VM's memory is %s, of which parts can't be "
					"other memory",
					config->id,
					config->placement.numa != GUEST_MM_NUMA_ANY ? "policy"
										    : "share",
					windows == GUEST_MM_HUGETLB ? "of huge pages (hugetlb)"
								    : "a copy of a file");
	return 0;
}

/* It is the memory, so it is to be as large, and where userfaultfd can watch it. */
static int size_shared_file(const struct memory_backend *backend, uint64_t file_bytes,
			    struct samara_error *err)
{
	const struct memory_backend_config *config = &backend->config;
	struct statfs fs;

	if (fstatfs(backend->fd, &fs))
		return samara_error_set(err, -errno, "%s: mem-path %.128s: %s", config->id,
					config->path, strerror(errno));
	if (fs.f_type != TMPFS_MAGIC)
		return samara_error_set(err, -ENODEV,
					"%s: mem-path %.128s: with share on it must be on tmpfs "
					"(userfaultfd watches no other file that is memory in "
					"part); with share off the guest gets a copy",
					config->id, config->path);
	if (file_bytes < config->size_bytes && ftruncate(backend->fd, (off_t)config->size_bytes))
		return samara_error_set(err, -errno, "%s: mem-path %.128s: %s", config->id,
					config->path, strerror(errno));
	return 0;
}

static int open_file(struct memory_backend *backend, struct samara_error *err)
{
	const char *path = backend->config.path;
	struct stat stat;

	/* Not blocking: who opens a FIFO waits for its other end. */
	backend->fd =
		open(path, (backend->config.share ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK);
	if (backend->fd < 0 || fstat(backend->fd, &stat))
		return samara_error_set(err, -errno, "%s: mem-path %.128s: %s", backend->config.id,
					path, strerror(errno));
	if (!S_ISREG(stat.st_mode))
		return samara_error_set(err, -EOPNOTSUPP,
					"%s: mem-path %.128s: not a regular file, whose contents "
					"could be the memory's",
					backend->config.id, path);
	return backend->config.share ? size_shared_file(backend, (uint64_t)stat.st_size, err) : 0;
}

/* What is unplugged from it is gone: what others have mapped stays theirs. */
static int make_memfd(struct memory_backend *backend, struct samara_error *err)
{
	backend->fd = memfd_create(backend->config.id, MFD_CLOEXEC);
	if (backend->fd < 0 || ftruncate(backend->fd, (off_t)backend->config.size_bytes))
		return samara_error_set(err, -errno, "%s: memfd: %s", backend->config.id,
					strerror(errno));
	return 0;
}

static int open_memory(struct memory_backend *backend, struct samara_error *err)
{
	if (backend->config.kind == MEMORY_BACKEND_FILE)
		return open_file(backend, err);
	return backend->own_memory && backend->config.share ? make_memfd(backend, err) : 0;
}

int memory_backend_create(const struct memory_backend_config *config, enum guest_mm_backing windows,
			  struct memory_backend **out, struct samara_error *err)
{
	struct memory_backend *backend;
	int ret = check(config, windows, err);

	if (ret)
		return ret;
	backend = calloc(1, sizeof(*backend));
	if (!backend)
		return samara_error_set(err, -ENOMEM, "%s: out of memory", config->id);
	backend->fd = -1;
	backend->config = *config;
	backend->own_memory = takes_own_memory(config, windows);
	backend->config.id = strdup(config->id);
	backend->config.path = config->path ? strdup(config->path) : NULL;
	if (!backend->config.id || (config->path && !backend->config.path))
		ret = samara_error_set(err, -ENOMEM, "%s: out of memory", config->id);
	else
		ret = open_memory(backend, err);
	if (ret) {
		memory_backend_destroy(backend);
		return ret;
	}
	*out = backend;
	return 0;
}

void memory_backend_destroy(struct memory_backend *backend)
{
	if (!backend)
		return;
	if (backend->fd >= 0)
		close(backend->fd);
	free((char *)backend->config.id);
	free((char *)backend->config.path);
	free(backend);
}

/* Copy one stretch of data of the file to its place. */
static int copy(const struct memory_backend *backend, struct guest_mm *mm, gpa_t gpa,
		uint64_t offset, uint64_t end, uint8_t *buffer)
{
	while (offset < end) {
		uint64_t bytes = end - offset < COPY_BYTES ? end - offset : COPY_BYTES;
		ssize_t got = pread(backend->fd, buffer, bytes, (off_t)offset);
		int ret;

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (!got)
			return 0; /* it has become shorter */
		ret = guest_mm_write(mm, gpa + offset, buffer, (uint64_t)got);
		if (ret)
			return ret;
		offset += (uint64_t)got;
	}
	return 0;
}

/* Its holes stay holes: what is plugged reads as zeros without. */
static int copy_file(const struct memory_backend *backend, struct guest_mm *mm, gpa_t gpa)
{
	uint64_t size_bytes = backend->config.size_bytes, at = 0;
	uint8_t *buffer = malloc(COPY_BYTES);
	int ret = buffer ? 0 : -ENOMEM;

	while (!ret && at < size_bytes) {
		off_t data = lseek(backend->fd, (off_t)at, SEEK_DATA), hole;

		if (data < 0 && errno == ENXIO)
			break;
		hole = data < 0 ? -1 : lseek(backend->fd, data, SEEK_HOLE);
		if (hole < 0) {
			ret = -errno;
			break;
		}
		at = (uint64_t)hole < size_bytes ? (uint64_t)hole : size_bytes;
		ret = copy(backend, mm, gpa, (uint64_t)data, at, buffer);
	}
	free(buffer);
	return ret;
}

/* Put other memory behind the range, or the window's again. Nothing of the contents is moved. */
static int exchange(const struct memory_backend *backend, struct guest_mm *mm, gpa_t gpa, bool in,
		    struct samara_error *err)
{
	const struct memory_backend_config *config = &backend->config;
	struct guest_mm_memory memory = {.kind = GUEST_MM_MEMORY_OWN, .bare = true};
	int ret;

	if (!backend->own_memory)
		return 0;
	if (in && config->share && backend->fd >= 0) {
		memory.kind = GUEST_MM_MEMORY_FILE;
		memory.fd = backend->fd;
	}
	if (in)
		memory.placement = config->placement;
	/* Only a file that somebody named outlives its device with what it holds. */
	if (!in && (config->discard || config->kind != MEMORY_BACKEND_FILE))
		guest_mm_discard(mm, gpa, config->size_bytes, NULL);
	ret = guest_mm_reback(mm, gpa, config->size_bytes, &memory, err);
	return ret ? samara_error_prefix(err, "%s", config->id) : 0;
}

int memory_backend_plug(const struct memory_backend *backend, struct guest_mm *mm, gpa_t gpa,
			struct samara_error *err)
{
	const struct memory_backend_config *config = &backend->config;
	int ret = guest_mm_plug(mm, gpa, config->size_bytes, GUEST_MM_RDWR, err);

	if (ret)
		return ret;
	ret = exchange(backend, mm, gpa, true, err);
	if (ret)
		goto unplug;
	if (config->kind == MEMORY_BACKEND_FILE && !config->share) {
		ret = copy_file(backend, mm, gpa);
		if (ret)
			samara_error_set(err, ret, "%s: mem-path %.128s: %s", config->id,
					 config->path, strerror(-ret));
	}
	if (!ret && config->prealloc)
		ret = guest_mm_populate(mm, gpa, config->size_bytes, err);
	if (!ret)
		return 0;
	exchange(backend, mm, gpa, false, NULL);
unplug:
	guest_mm_unplug(mm, gpa, config->size_bytes, NULL);
	return ret;
}

int memory_backend_unplug(const struct memory_backend *backend, struct guest_mm *mm, gpa_t gpa,
			  struct samara_error *err)
{
	int ret = exchange(backend, mm, gpa, false, err);

	return ret ? ret : guest_mm_unplug(mm, gpa, backend->config.size_bytes, err);
}
