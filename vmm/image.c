/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/image.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NO_IMAGE         \
	{                \
		.fd = -1 \
	}

int image_open(struct image *image, const char *what, const char *path, struct samara_error *err)
{
	struct stat status;
	int ret;

	*image = (struct image)NO_IMAGE;
	if (asprintf(&image->name, "%s %s", what, path) < 0) {
		image->name = NULL;
		return samara_error_set(err, -ENOMEM, "%s %s: out of memory", what, path);
	}
	/* O_NONBLOCK: a FIFO without a writer must not hang us; regular files ignore it. */
	image->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (image->fd < 0 || fstat(image->fd, &status)) {
		ret = samara_error_set(err, -errno, "%s: %s", image->name, strerror(errno));
		goto out_close;
	}
	if (!S_ISREG(status.st_mode)) {
		ret = samara_error_set(err, -EINVAL, "%s: not a regular file", image->name);
		goto out_close;
	}
	if (!status.st_size) {
		ret = samara_error_set(err, -EINVAL, "%s: the file is empty", image->name);
		goto out_close;
	}
	image->size_bytes = status.st_size;
	return 0;

out_close:
	image_close(image);
	return ret;
}

int image_from_memory(struct image *image, const char *name, const void *memory, size_t size_bytes,
		      struct samara_error *err)
{
	*image = (struct image)NO_IMAGE;
	image->name = strdup(name);
	if (!image->name)
		return samara_error_set(err, -ENOMEM, "%s: out of memory", name);
	image->memory = memory;
	image->size_bytes = size_bytes;
	return 0;
}

void image_close(struct image *image)
{
	if (image->fd >= 0)
		close(image->fd);
	free(image->name);
	*image = (struct image)NO_IMAGE;
}

static int check_range(const struct image *image, uint64_t offset, uint64_t length,
		       struct samara_error *err)
{
	if (offset > image->size_bytes || length > image->size_bytes - offset)
		return samara_error_set(err, -EINVAL,
					"%s: truncated: it has %" PRIu64
					" bytes, and bytes %#" PRIx64 " to %#" PRIx64 " are needed",
					image->name, image->size_bytes, offset, offset + length);
	return 0;
}

/* Fill @to; @offset and @length lie inside the image as it was opened. */
static int read_all(const struct image *image, uint64_t offset, uint8_t *to, size_t length,
		    struct samara_error *err)
{
	if (image->fd < 0) {
		memcpy(to, image->memory + offset, length);
		return 0;
	}
	while (length) {
		ssize_t count = pread(image->fd, to, length, offset);

		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0)
			return samara_error_set(err, -errno, "%s: %s", image->name,
						strerror(errno));
		if (!count)
			return samara_error_set(err, -EINVAL,
						"%s: truncated: it had %" PRIu64
						" bytes and now ends at %" PRIu64,
						image->name, image->size_bytes, offset);
		to += count;
		offset += count;
		length -= count;
	}
	return 0;
}

int image_read(const struct image *image, uint64_t offset, void *to, size_t length_bytes,
	       struct samara_error *err)
{
	int ret = check_range(image, offset, length_bytes, err);

	return ret ? ret : read_all(image, offset, to, length_bytes, err);
}

/* Held at once: enough for one batch of population, little enough to keep nobody waiting. */
#define LOAD_CHUNK_BYTES (UINT64_C(2) << 20)

static int load_chunk(const struct image *image, uint64_t offset, struct guest_mm *mm, gpa_t gpa,
		      uint64_t length, struct samara_error *err)
{
	struct guest_mm_pin pin;
	int ret = guest_mm_pin(mm, gpa, length, true, &pin);

	if (ret)
		return samara_error_set(err, ret,
					"%s: guest memory at %#" PRIx64
					" cannot be written: no RAM, or read-only",
					image->name, gpa);
	for (unsigned int i = 0; !ret && i < pin.iov_count; i++) {
		ret = read_all(image, offset, pin.iov[i].iov_base, pin.iov[i].iov_len, err);
		offset += pin.iov[i].iov_len;
	}
	guest_mm_unpin(&pin);
	return ret;
}

int image_load(const struct image *image, uint64_t offset, struct guest_mm *mm, gpa_t gpa,
	       uint64_t length_bytes, struct samara_error *err)
{
	int ret = check_range(image, offset, length_bytes, err);

	while (!ret && length_bytes) {
		uint64_t chunk = LOAD_CHUNK_BYTES - gpa % LOAD_CHUNK_BYTES;

		if (chunk > length_bytes)
			chunk = length_bytes;
		ret = load_chunk(image, offset, mm, gpa, chunk, err);
		offset += chunk;
		gpa += chunk;
		length_bytes -= chunk;
	}
	return ret;
}
