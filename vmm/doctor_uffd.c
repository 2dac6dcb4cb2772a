/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The doctor on userfaultfd: who may have one, and what it can do. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/userfaultfd.h>

#include <samara/guest_mm.h>

#include "vmm/doctor.h"
#include "vmm/doctor_uffd.h"

/* include/uapi/linux/userfaultfd.h of Linux 5.11 to 6.8, which Debian 12's headers lack in part */
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif
#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED (1 << 13)
#endif
#ifndef UFFD_FEATURE_POISON
#define UFFD_FEATURE_POISON (1 << 14)
#endif
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif
#ifndef UFFD_FEATURE_MOVE
#define UFFD_FEATURE_MOVE (1 << 16)
#endif

#define PERMISSION_FIX                                                                           \
	"run as root, or get access to /dev/userfaultfd (chgrp, chmod 660), or as root: sysctl " \
	"vm.unprivileged_userfaultfd=1"

/* A feature, what samara does with it, and what its absence means; immutable. */
struct feature {
	const char *name;
	uint64_t bit;
	enum doctor_status absent;
	const char *meaning, *fix;
};

static const struct feature features[] = {
	{"uffd-wp", UFFD_FEATURE_PAGEFAULT_FLAG_WP, DOCTOR_MISSING,
	 "write protection: read-only regions, remap by copy", "Linux 5.7 or later"},
	{"uffd-missing-shmem", UFFD_FEATURE_MISSING_SHMEM, DOCTOR_MISSING,
	 "missing pages of memfd memory", "Linux 4.11 or later"},
	{"uffd-wp-shmem", UFFD_FEATURE_WP_HUGETLBFS_SHMEM, DOCTOR_LIMITED,
	 "write protection of memfd memory", "Linux 5.19 or later"},
	{"uffd-move", UFFD_FEATURE_MOVE, DOCTOR_LIMITED,
	 "remap moves pages instead of copying them", "Linux 6.8 or later"},
	{"uffd-minor-shmem", UFFD_FEATURE_MINOR_SHMEM, DOCTOR_LIMITED,
	 "pages of a memfd mapped in batches, the fastest way; not used yet",
	 "Linux 5.14 or later"},
	{"uffd-poison", UFFD_FEATURE_POISON, DOCTOR_LIMITED,
	 "an access to a page can be made an error; not used yet", "Linux 6.6 or later"},
	{"uffd-wp-unpopulated", UFFD_FEATURE_WP_UNPOPULATED, DOCTOR_LIMITED,
	 "write protection where no page is yet; not used yet", "Linux 6.4 or later"},
	{"uffd-wp-async", UFFD_FEATURE_WP_ASYNC, DOCTOR_LIMITED,
	 "written pages are noted without a message; not used yet", "Linux 6.7 or later"},
	{"uffd-missing-hugetlbfs", UFFD_FEATURE_MISSING_HUGETLBFS, DOCTOR_LIMITED,
	 "missing pages of hugetlb memory; not used yet", "Linux 4.11 or later"},
	{"uffd-minor-hugetlbfs", UFFD_FEATURE_MINOR_HUGETLBFS, DOCTOR_LIMITED,
	 "hugetlb pages mapped in batches; not used yet", "Linux 5.13 or later"},
	{"uffd-sigbus", UFFD_FEATURE_SIGBUS, DOCTOR_LIMITED,
	 "an access to a missing page fails instead of waiting", "Linux 4.14 or later"},
	{"uffd-exact-address", UFFD_FEATURE_EXACT_ADDRESS, DOCTOR_LIMITED,
	 "messages name the byte and not the page; not used", "Linux 5.18 or later"},
	{"uffd-thread-id", UFFD_FEATURE_THREAD_ID, DOCTOR_LIMITED,
	 "messages name the thread that waits; not used", "Linux 4.14 or later"},
};

static int open_by_call(int flags)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | flags);

	return fd < 0 ? -errno : fd;
}

static int open_by_device(void)
{
	int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	int fd;

	if (device < 0)
		return -errno;
	fd = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
	fd = fd < 0 ? -errno : fd;
	close(device);
	return fd;
}

int doctor_uffd_open(uint64_t wanted)
{
	struct uffdio_api api = {.api = UFFD_API, .features = wanted};
	int fd = open_by_call(0), by_device;

	if (fd < 0) {
		by_device = open_by_device();
		fd = by_device >= 0 ? by_device : fd;
	}
	if (fd >= 0 && ioctl(fd, UFFDIO_API, &api)) {
		int error = errno;

		close(fd);
		return -error;
	}
	return fd;
}

/* What opening one gave, as a word; closes it. */
static const char *outcome(int fd)
{
	if (fd < 0)
		return strerror(-fd);
	close(fd);
	return "ok";
}

static void read_sysctl(char *text, size_t text_bytes)
{
	FILE *file = fopen("/proc/sys/vm/unprivileged_userfaultfd", "re");

	if (!file || !fgets(text, (int)text_bytes, file))
		snprintf(text, text_bytes, "?");
	text[strcspn(text, "\n")] = '\0';
	if (file)
		fclose(file);
}

static bool examine_permission(struct doctor_report *report)
{
	int any = doctor_uffd_open(0);
	char setting[16];
	char call[64], device[64], user[64];

	read_sysctl(setting, sizeof(setting));
	snprintf(call, sizeof(call), "%s", outcome(open_by_call(0)));
	snprintf(device, sizeof(device), "%s", outcome(open_by_device()));
	snprintf(user, sizeof(user), "%s", outcome(open_by_call(UFFD_USER_MODE_ONLY)));
	doctor_add(report, "uffd-permission", any >= 0 ? DOCTOR_OK : DOCTOR_MISSING,
		   "it has to catch faults that the kernel (KVM) takes: one of the first two is "
		   "needed",
		   any == -ENOSYS ? "a kernel with CONFIG_USERFAULTFD" : PERMISSION_FIX,
		   "system call: %s; /dev/userfaultfd: %s; user mode only: %s; "
		   "vm.unprivileged_userfaultfd=%s",
		   call, device, user, setting);
	if (any >= 0)
		close(any);
	return any >= 0;
}

static void examine_features(struct doctor_report *report)
{
	struct uffdio_api api = {.api = UFFD_API};
	int fd = open_by_call(UFFD_USER_MODE_ONLY);
	unsigned int i;

	/* Asking for nothing tells what there is (Linux Documentation, mm/userfaultfd.rst). */
	if (fd < 0)
		fd = open_by_call(0);
	if (fd < 0)
		fd = open_by_device();
	if (fd < 0)
		return;
	if (!ioctl(fd, UFFDIO_API, &api)) {
		for (i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
			bool has = api.features & features[i].bit;

			doctor_add(report, features[i].name, has ? DOCTOR_OK : features[i].absent,
				   features[i].meaning, features[i].fix, "%s", has ? "yes" : "no");
		}
	}
	close(fd);
}

/* The manager itself, as samara run makes it. */
static void examine_manager(struct doctor_report *report)
{
	const char *meaning = "the memory manager of samara run, made and ended";
	struct samara_error err = {0};
	struct guest_mm *mm;

	if (guest_mm_create(NULL, &mm, &err)) {
		doctor_add(report, "memory-manager", DOCTOR_MISSING, meaning, "see uffd-permission",
			   "%s", err.text);
		return;
	}
	guest_mm_destroy(mm);
	report->uffd_usable = true;
	doctor_add(report, "memory-manager", DOCTOR_OK, meaning, NULL, "works");
}

void doctor_examine_userfaultfd(struct doctor_report *report)
{
	examine_permission(report);
	examine_manager(report);
	examine_features(report);
}
