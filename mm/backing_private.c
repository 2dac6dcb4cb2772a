/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A file whose contents the guest gets a copy of: what it writes stays its own. userfaultfd does
 * not watch file mappings, so the memory is anonymous, and a missing page is read from the file;
 * the file may be anywhere, and nobody waits for it but who wants that page. A page beyond the end
 * of the file is zeros, and so is one that was discarded.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mm/backing.h"
#include "mm/mm.h"

/* Read at once: where reading more pays no more, and what others wait for is not long. */
#define READ_BYTES (64 * SAMARA_PAGE_BYTES)

static int private_open(struct backing *backing, const struct guest_mm_window_config *config,
			struct samara_error *err)
{
	int flags = fcntl(config->fd, F_GETFL);
	char byte;

	if (flags < 0)
		return samara_error_set(err, -errno, "file %d: %s", config->fd, strerror(errno));
	if ((flags & O_ACCMODE) == O_WRONLY)
		return samara_error_set(err, -EACCES, "file %d cannot be read", config->fd);
	if (config->offset_bytes & (SAMARA_PAGE_BYTES - 1) ||
	    config->offset_bytes > INT64_MAX - config->size_bytes)
		return samara_error_set(err, -EINVAL,
					"offset %#llx of the file: not page aligned, "
					"or too large",
					(unsigned long long)config->offset_bytes);
	if (pread(config->fd, &byte, 1, (off_t)config->offset_bytes) < 0)
		return samara_error_set(err, -errno, "file %d: %s", config->fd, strerror(errno));
	backing->fd = fcntl(config->fd, F_DUPFD_CLOEXEC, 3);
	if (backing->fd < 0)
		return samara_error_set(err, -errno, "file %d: %s", config->fd, strerror(errno));
	backing->offset_bytes = config->offset_bytes;
	return 0;
}

/* Read, with zeros behind the end of the file. */
static int read_file(const struct backing *backing, gpa_t gpa, char *to, uint64_t size_bytes)
{
	uint64_t done = 0;

	while (done < size_bytes) {
		ssize_t got = pread(backing->fd, to + done, size_bytes - done,
				    (off_t)(backing_offset(backing, gpa) + done));

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (!got)
			break;
		done += (uint64_t)got;
	}
	memset(to + done, 0, size_bytes - done);
	return 0;
}

static int private_fill(const struct backing *backing, const struct fill *fill, uint64_t *done)
{
	const struct uffd *uffd = window_uffd(fill->window, fill->gpa);
	char *hva = backing_hva(backing, fill->gpa), *bytes;
	uint64_t run, size_bytes = fill->size_bytes < READ_BYTES ? fill->size_bytes : READ_BYTES;
	gpa_t first;
	int ret;

	*done = 0;
	first = page_bitmap_next_run(&fill->window->discarded, fill->gpa, fill->gpa + size_bytes,
				     true, &run);
	if (run && first == fill->gpa)
		return uffd_copy(uffd, hva, fill->mm->zeros, run, fill->protect, done);
	if (run)
		size_bytes = first - fill->gpa;
	bytes = malloc(size_bytes);
	if (!bytes)
		return -ENOMEM;
	ret = read_file(backing, fill->gpa, bytes, size_bytes);
	if (!ret)
		ret = uffd_copy(uffd, hva, bytes, size_bytes, fill->protect, done);
	free(bytes);
	return ret;
}

const struct backing_ops backing_private_ops = {
	.open = private_open,
	/* Mapped and given back as anonymous memory is. */
	.map = anon_map,
	.fill = private_fill,
	.discard = anon_discard,
};
