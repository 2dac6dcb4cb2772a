/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <samara/types.h>

#include "mm/uffd.h"
#include "mm/uffd_abi.h"

/* How often an EEXIST is doubted where no page can be seen. */
#define COPY_DOUBTS 8

/* The system call needs CAP_SYS_PTRACE or vm.unprivileged_userfaultfd=1; the device node needs
 * permission for the file alone (Documentation/admin-guide/mm/userfaultfd.rst). */
static int open_fd(void)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	int device, saved;

	if (fd >= 0)
		return fd;
	saved = errno;
	device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	if (device < 0)
		return -saved;
	fd = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
	saved = errno;
	close(device);
	return fd >= 0 ? fd : -saved;
}

static int say_why(int code, struct samara_error *err)
{
	switch (code) {
	case -EPERM:
	case -EACCES:
		return samara_error_set(
			err, code,
			"userfaultfd: no permission to catch the kernel's faults; run as "
			"root, get access to /dev/userfaultfd, or set "
			"vm.unprivileged_userfaultfd=1");
	case -ENOSYS:
		return samara_error_set(err, code,
					"userfaultfd: this kernel has none (CONFIG_USERFAULTFD)");
	default:
		return samara_error_set(err, code, "userfaultfd: %s", strerror(-code));
	}
}

/* Features are asked for once per userfaultfd; an unknown one is refused. So look first. */
static int supported_features(uint64_t *features)
{
	struct uffdio_api api = {.api = UFFD_API};
	int fd = open_fd();
	int ret = 0;

	if (fd < 0)
		return fd;
	if (ioctl(fd, UFFDIO_API, &api))
		ret = -errno;
	*features = api.features;
	close(fd);
	return ret;
}

int uffd_open(struct uffd *uffd, struct samara_error *err)
{
	const uint64_t needed = UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_MISSING_SHMEM;
	const uint64_t useful = UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_MOVE |
				UFFD_FEATURE_MISSING_HUGETLBFS | UFFD_FEATURE_EVENT_REMAP;
	struct uffdio_api api = {.api = UFFD_API};
	uint64_t features = 0;
	int ret = supported_features(&features);

	if (ret)
		return say_why(ret, err);
	if ((features & needed) != needed)
		return samara_error_set(err, -EOPNOTSUPP,
					"userfaultfd: this kernel lacks write protection or shared "
					"memory; Linux 5.7 or later has them");
	uffd->fd = open_fd();
	if (uffd->fd < 0)
		return say_why(uffd->fd, err);
	api.features = needed | (features & useful);
	if (ioctl(uffd->fd, UFFDIO_API, &api)) {
		ret = -errno;
		close(uffd->fd);
		return say_why(ret, err);
	}
	uffd->can_move = api.features & UFFD_FEATURE_MOVE;
	uffd->can_remap = api.features & UFFD_FEATURE_EVENT_REMAP;
	uffd->can_protect_shared = api.features & UFFD_FEATURE_WP_HUGETLBFS_SHMEM;
	return 0;
}

void uffd_close(struct uffd *uffd)
{
	close(uffd->fd);
	uffd->fd = -1;
}

int uffd_register(const struct uffd *uffd, void *address, uint64_t length, bool protect)
{
	struct uffdio_register registration = {
		.range = {.start = (uintptr_t)address, .len = length},
		.mode = UFFDIO_REGISTER_MODE_MISSING | (protect ? UFFDIO_REGISTER_MODE_WP : 0),
	};

	return ioctl(uffd->fd, UFFDIO_REGISTER, &registration) ? -errno : 0;
}

/* Whether the host has a page there; one that is swapped out does not count. */
static bool has_page(void *page)
{
	unsigned char state;

	return !mincore(page, SAMARA_PAGE_BYTES, &state) && state & 1;
}

int uffd_copy(const struct uffd *uffd, void *to, const void *from, uint64_t length, bool protect,
	      uint64_t *done)
{
	struct uffdio_copy copy = {
		.dst = (uintptr_t)to,
		.src = (uintptr_t)from,
		.len = length,
		.mode = UFFDIO_COPY_MODE_DONTWAKE | (protect ? UFFDIO_COPY_MODE_WP : 0),
	};
	unsigned int doubts = 0;
	int code;

	*done = 0;
	for (;;) {
		copy.copy = 0;
		if (!ioctl(uffd->fd, UFFDIO_COPY, &copy)) {
			*done = length;
			return 0;
		}
		if (copy.copy > 0) {
			*done = (uint64_t)copy.copy;
			return 0;
		}
		code = errno;
		/*
		 * Linux since 6.14 frees page tables that become empty (PT_RECLAIM). mfill_atomic()
		 * says EEXIST when that happens to the one it has just allocated; trying again
		 * tells. A page that is swapped out looks the same for as long as it is.
		 */
		if (code == EEXIST && !has_page(to) && doubts++ < COPY_DOUBTS)
			continue;
		if (code == EEXIST) {
			*done = SAMARA_PAGE_BYTES;
			return -EEXIST;
		}
		if (code != EAGAIN)
			return -code;
		sched_yield();
	}
}

int uffd_zero(const struct uffd *uffd, void *page)
{
	struct uffdio_zeropage zero = {
		.range = {.start = (uintptr_t)page, .len = SAMARA_PAGE_BYTES},
	};

	while (ioctl(uffd->fd, UFFDIO_ZEROPAGE, &zero)) {
		if (errno != EAGAIN)
			return -errno;
		sched_yield();
	}
	return 0;
}

int uffd_move(const struct uffd *uffd, void *to, void *from, uint64_t length, uint64_t *done)
{
	*done = 0;
	while (*done < length) {
		struct uffdio_move move = {
			.dst = (uintptr_t)to + *done,
			.src = (uintptr_t)from + *done,
			.len = length - *done,
			.mode = UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES | UFFDIO_MOVE_MODE_DONTWAKE,
		};
		int code;

		if (!ioctl(uffd->fd, UFFDIO_MOVE, &move)) {
			*done = length;
			break;
		}
		if (move.move > 0) {
			*done += (uint64_t)move.move;
			continue;
		}
		code = errno;
		/*
		 * Linux 6.18's move_pages() can keep the -EAGAIN of one try for the next: the pages
		 * which that one moves are not counted, and the call after it finds the target
		 * taken. By whomever: what is gone from here is there.
		 */
		if (code == EEXIST && !has_page((char *)from + *done)) {
			*done += SAMARA_PAGE_BYTES;
			continue;
		}
		if (code != EAGAIN)
			return -code;
		sched_yield();
	}
	return 0;
}

int uffd_protect(const struct uffd *uffd, void *address, uint64_t length, bool protect)
{
	struct uffdio_writeprotect change = {
		.range = {.start = (uintptr_t)address, .len = length},
		.mode = protect ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	while (ioctl(uffd->fd, UFFDIO_WRITEPROTECT, &change)) {
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
		sched_yield();
	}
	return 0;
}

void uffd_unprotect(const struct uffd *uffd, void *address, uint64_t length)
{
	struct timespec pause = {.tv_nsec = 1000000};

	while (uffd_protect(uffd, address, length, false))
		clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
}

void uffd_wake(const struct uffd *uffd, void *address, uint64_t length)
{
	struct uffdio_range range = {.start = (uintptr_t)address, .len = length};

	/* It fails only for a range that was never registered. */
	ioctl(uffd->fd, UFFDIO_WAKE, &range);
}
