/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory in a page cache that other processes can map: a memfd, one of huge pages, or a file of
 * tmpfs or hugetlbfs that the owner brought. The file is the memory: what it held before is dropped.
 *
 * Only pages that the page cache lacks are reported as missing. What it has (what another process
 * wrote) the kernel maps when it is first accessed. To have that reported as well (UFFDIO_REGISTER_MODE_MINOR) would break the rule that an access through a pin never waits
 * for a handler: when the host reclaims memory, pages lose their mappings at any time. And
 * fallocate() with UFFDIO_CONTINUE takes as long as UFFDIO_COPY (1.5 and 1.5 us a page).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "mm/backing.h"
#include "mm/mm.h"
#include "mm/numa.h"
#include "mm/stage.h"

static int make_memfd(struct backing *backing, struct samara_error *err)
{
	bool huge = backing->kind == GUEST_MM_HUGETLB;

	backing->fd =
		memfd_create("samara-guest", MFD_CLOEXEC | (huge ? MFD_HUGETLB | MFD_HUGE_2MB : 0));
	if (backing->fd < 0 && huge)
		return samara_error_set(err, -errno,
					"memfd of 2 MiB pages: %s; does this kernel have them "
					"(/sys/kernel/mm/hugepages)?",
					strerror(errno));
	if (backing->fd < 0 || ftruncate(backing->fd, (off_t)backing->size_bytes))
		return samara_error_set(err, -errno, "memfd: %s", strerror(errno));
	return 0;
}

/* What the owner brought must be something that userfaultfd can watch, and large enough. */
static int take_file(struct backing *backing, const struct guest_mm_window_config *config,
		     struct samara_error *err)
{
	struct statfs fs;
	struct stat file;
	char path[40];

	if (fstat(config->fd, &file) || fstatfs(config->fd, &fs))
		return samara_error_set(err, -errno, "file %d: %s", config->fd, strerror(errno));
	if (fs.f_type != TMPFS_MAGIC && fs.f_type != HUGETLBFS_MAGIC)
		return samara_error_set(err, -ENODEV,
					"a shared file must be on tmpfs or hugetlbfs (userfaultfd "
					"watches no other)");
	if ((uint64_t)file.st_size < config->offset_bytes ||
	    (uint64_t)file.st_size - config->offset_bytes < config->size_bytes)
		return samara_error_set(
			err, -EINVAL, "the file has %llu bytes, %llu from %llu on are wanted",
			(unsigned long long)file.st_size, (unsigned long long)config->size_bytes,
			(unsigned long long)config->offset_bytes);
	/* A description of its own, and the right to write. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", config->fd);
	backing->fd = open(path, O_RDWR | O_CLOEXEC);
	if (backing->fd < 0)
		return samara_error_set(err, -errno, "file %d: cannot be opened for writing: %s",
					config->fd, strerror(errno));
	backing->offset_bytes = config->offset_bytes;
	if (fs.f_type == HUGETLBFS_MAGIC)
		backing->page_bytes = (uint64_t)fs.f_bsize;
	return 0;
}

/* The count of huge pages that nobody has reserved yet; 0 also when it cannot be read. */
static uint64_t free_huge_pages(void)
{
	int fd = open("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages",
		      O_RDONLY | O_CLOEXEC);
	char text[24] = "";
	uint64_t pages = 0;

	if (fd < 0)
		return 0;
	if (read(fd, text, sizeof(text) - 1) > 0)
		for (const char *c = text; *c >= '0' && *c <= '9'; c++)
			pages = 10 * pages + (uint64_t)(*c - '0');
	close(fd);
	return pages;
}

static int shared_open(struct backing *backing, const struct guest_mm_window_config *config,
		       struct samara_error *err)
{
	struct stat file;
	int ret;

	if (backing->kind == GUEST_MM_HUGETLB)
		backing->page_bytes = HUGE_BYTES;
	if ((config->gpa | config->size_bytes) & (backing->page_bytes - 1))
		return samara_error_set(err, -EINVAL, "not aligned to huge pages of %llu bytes",
					(unsigned long long)backing->page_bytes);
	if (backing->kind == GUEST_MM_HUGETLB && !free_huge_pages())
		return samara_error_set(err, -ENOMEM,
					"the host has no free huge pages of 2 MiB; reserve some in "
					"/proc/sys/vm/nr_hugepages");
	ret = backing->kind == GUEST_MM_FILE_SHARED ? take_file(backing, config, err)
						    : make_memfd(backing, err);
	if (!ret &&
	    (config->gpa | config->size_bytes | backing->offset_bytes) & (backing->page_bytes - 1))
		ret = samara_error_set(err, -EINVAL,
				       "not aligned to the file's pages of %llu bytes",
				       (unsigned long long)backing->page_bytes);
	if (!ret && fstat(backing->fd, &file))
		ret = samara_error_set(err, -errno, "%s", strerror(errno));
	if (!ret) {
		backing->device = file.st_dev;
		backing->inode = file.st_ino;
	}
	return ret;
}

static int shared_map(const struct backing *backing, void *hva, uint64_t size_bytes,
		      uint64_t offset)
{
	return mmap(hva, size_bytes, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_NORESERVE | MAP_SHARED,
		    backing->fd, (off_t)(backing->offset_bytes + offset)) == MAP_FAILED
		       ? -errno
		       : 0;
}

static int shared_fill(const struct backing *backing, const struct fill *fill, uint64_t *done)
{
	int ret = uffd_copy(window_uffd(fill->window, fill->gpa), backing_hva(backing, fill->gpa),
			    fill->mm->zeros, fill->size_bytes, fill->protect, done);

	if (ret == -EEXIST)
		*done = backing->page_bytes;
	return ret;
}

static int shared_discard(const struct backing *backing, gpa_t gpa, uint64_t size_bytes)
{
	int ret;

	do {
		ret = fallocate(backing->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				(off_t)backing_offset(backing, gpa), (off_t)size_bytes);
	} while (ret && errno == EINTR);
	return ret ? -errno : 0;
}

/*
 * Huge pages are few, and a fault that gets none waits for ever: take them when they are plugged, on
 * the nodes where they shall be.
 */
static int hugetlb_reserve(const struct backing *backing, gpa_t gpa, uint64_t size_bytes)
{
	struct numa_scope scope;
	int ret = numa_enter(&backing->placement, &scope);

	if (ret)
		return ret;
	do {
		ret = fallocate(backing->fd, 0, (off_t)backing_offset(backing, gpa),
				(off_t)size_bytes)
			      ? -errno
			      : 0;
	} while (ret == -EINTR);
	numa_leave(&scope);
	return ret;
}

const struct backing_ops backing_shared_ops = {
	.open = shared_open,
	.map = shared_map,
	.fill = shared_fill,
	.discard = shared_discard,
};

const struct backing_ops backing_hugetlb_ops = {
	.open = shared_open,
	.map = shared_map,
	.fill = shared_fill,
	.reserve = hugetlb_reserve,
	.discard = shared_discard,
};
