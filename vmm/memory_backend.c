/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/memory_backend.h"

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

static int check(const struct memory_backend_config *config, enum guest_mm_backing windows,
		 struct samara_error *err)
{
	if (!config->size_bytes || config->size_bytes % SAMARA_PAGE_BYTES)
		return samara_error_set(err, -EINVAL,
					"%s: size: %" PRIu64 " bytes are no multiple of the 4 KiB "
					"page, or none",
					config->id, config->size_bytes);
	if (!config->share)
		return 0;
	if (config->kind == MEMORY_BACKEND_FILE)
		return samara_error_set(err, -EOPNOTSUPP,
					"%s: share: what the guest writes can't go to a file; with "
					"share off it starts with the file's contents",
					config->id);
	if (windows != GUEST_MM_MEMFD)
		return samara_error_set(err, -EOPNOTSUPP,
					"%s: share: this VM's memory is anonymous; it was to be "
					"started with --memory ...,backing=memfd",
					config->id);
	return 0;
}

static int open_file(struct memory_backend *backend, struct samara_error *err)
{
	const char *path = backend->config.path;
	struct stat stat;

	/* Not blocking: who opens a FIFO waits for its other end. */
	backend->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (backend->fd < 0 || fstat(backend->fd, &stat))
		return samara_error_set(err, -errno, "%s: mem-path %.128s: %s", backend->config.id,
					path, strerror(errno));
	if (!S_ISREG(stat.st_mode))
		return samara_error_set(err, -EOPNOTSUPP,
					"%s: mem-path %.128s: not a regular file, whose contents "
					"could be the memory's",
					backend->config.id, path);
	return 0;
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
	backend->config.id = strdup(config->id);
	backend->config.path = config->path ? strdup(config->path) : NULL;
	if (!backend->config.id || (config->path && !backend->config.path))
		ret = samara_error_set(err, -ENOMEM, "%s: out of memory", config->id);
	else if (config->kind == MEMORY_BACKEND_FILE)
		ret = open_file(backend, err);
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

int memory_backend_plug(const struct memory_backend *backend, struct guest_mm *mm, gpa_t gpa,
			struct samara_error *err)
{
	const struct memory_backend_config *config = &backend->config;
	int ret = guest_mm_plug(mm, gpa, config->size_bytes, GUEST_MM_RDWR, err);

	if (ret)
		return ret;
	if (config->kind == MEMORY_BACKEND_FILE) {
		ret = copy_file(backend, mm, gpa);
		if (ret)
			samara_error_set(err, ret, "%s: mem-path %.128s: %s", config->id,
					 config->path, strerror(-ret));
	}
	if (!ret && config->prealloc)
		ret = guest_mm_populate(mm, gpa, config->size_bytes, err);
	if (ret)
		guest_mm_unplug(mm, gpa, config->size_bytes, NULL);
	return ret;
}
