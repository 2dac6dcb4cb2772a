/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The doctor on /dev/kvm: whether it is there, may be opened, and what it says it can do. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <linux/kvm.h>

#include "vmm/doctor.h"
#include "vmm/kvm.h"

/* include/uapi/linux/kvm.h of Linux 6.8, 6.8 and 6.11 */
#ifndef KVM_CAP_MEMORY_FAULT_INFO
#define KVM_CAP_MEMORY_FAULT_INFO 232
#endif
#ifndef KVM_CAP_GUEST_MEMFD
#define KVM_CAP_GUEST_MEMFD 234
#endif
#ifndef KVM_CAP_PRE_FAULT_MEMORY
#define KVM_CAP_PRE_FAULT_MEMORY 236
#endif

#define KVM_FIX                                                                                    \
	"load kvm_intel or kvm_amd (modprobe); on a physical machine switch virtualization on in " \
	"the firmware, in a virtual one nested virtualization on its host"

/**
 * struct capability - what KVM can be asked for; immutable
 * @absent: the status when it is missing
 */
struct capability {
	const char *name;
	int number;
	enum doctor_status absent;
	const char *meaning, *fix;
};

static const struct capability capabilities[] = {
	{"irqchip", KVM_CAP_IRQCHIP, DOCTOR_MISSING, "interrupt controllers in the kernel", NULL},
	{"pit", KVM_CAP_PIT2, DOCTOR_MISSING, "the old timer that guests calibrate clocks with",
	 NULL},
	{"irqfd", KVM_CAP_IRQFD, DOCTOR_MISSING, "devices interrupt the guest through an eventfd",
	 NULL},
	{"ioeventfd", KVM_CAP_IOEVENTFD, DOCTOR_LIMITED,
	 "the guest notifies a device without an exit to user space; not used yet", NULL},
	{"immediate-exit", KVM_CAP_IMMEDIATE_EXIT, DOCTOR_MISSING,
	 "a vCPU is stopped without a lost wake-up", "Linux 4.12 or later"},
	{"dirty-ring", KVM_CAP_DIRTY_LOG_RING_ACQ_REL, DOCTOR_LIMITED,
	 "written pages are listed without a scan; not used yet", "Linux 6.0 or later"},
	{"memory-fault-info", KVM_CAP_MEMORY_FAULT_INFO, DOCTOR_LIMITED,
	 "a failed access comes with its address, for some kinds of memory", "Linux 6.8 or later"},
	{"pre-fault-memory", KVM_CAP_PRE_FAULT_MEMORY, DOCTOR_LIMITED,
	 "stage-2 entries can be made before the guest touches a page; not used yet",
	 "Linux 6.11 or later, with two-dimensional paging"},
	{"guest-memfd", KVM_CAP_GUEST_MEMFD, DOCTOR_LIMITED,
	 "memory that belongs to the guest alone; not used yet", "Linux 6.8 or later"},
};

static void examine_capabilities(struct doctor_report *report, int fd)
{
	int value = ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_NR_MEMSLOTS);
	unsigned int i;

	/* The default when it is not told: Documentation/virt/kvm/api.rst, 4.35. */
	doctor_add(report, "memslots", DOCTOR_OK,
		   "samara uses a few large ones, however many regions there are", NULL, "%d",
		   value > 0 ? value : 32);
	for (i = 0; i < sizeof(capabilities) / sizeof(capabilities[0]); i++) {
		const struct capability *capability = &capabilities[i];

		value = ioctl(fd, KVM_CHECK_EXTENSION, capability->number);
		doctor_add(report, capability->name, value > 0 ? DOCTOR_OK : capability->absent,
			   capability->meaning, capability->fix, "%s", value > 0 ? "yes" : "no");
	}
}

static void examine_device(struct doctor_report *report, int error)
{
	const char *meaning = "guests run on it; without it only in the lab";
	char advice[160];

	kvm_permission_advice("/dev/kvm", advice, sizeof(advice));
	if (!error)
		doctor_add(report, "kvm-device", DOCTOR_OK, meaning, NULL,
			   "/dev/kvm can be opened");
	else if (error == EACCES || error == EPERM)
		doctor_add(report, "kvm-device", DOCTOR_MISSING, meaning, advice,
			   "/dev/kvm is there, but without permission for this user");
	else if (error == ENOENT)
		doctor_add(report, "kvm-device", DOCTOR_MISSING, meaning, KVM_FIX,
			   "there is no /dev/kvm");
	else
		doctor_add(report, "kvm-device", DOCTOR_MISSING, meaning, KVM_FIX, "/dev/kvm: %s",
			   strerror(error));
}

static bool examine_version(struct doctor_report *report, int fd)
{
	int version = ioctl(fd, KVM_GET_API_VERSION, 0);

	doctor_add(report, "kvm-api", version == KVM_API_VERSION ? DOCTOR_OK : DOCTOR_MISSING,
		   "the interface that samara speaks is version 12",
		   "that /dev/kvm is not KVM's: see what made it", "version %d", version);
	return version == KVM_API_VERSION;
}

/* The same check that samara run makes, so that the doctor can't say otherwise. */
static void examine_needs(struct doctor_report *report)
{
	struct samara_error err = {0};
	struct kvm kvm;

	if (!kvm_open(&kvm, NULL, &err)) {
		report->kvm_usable = true;
		doctor_add(report, "kvm-needs", DOCTOR_OK, "what samara run checks at its start",
			   NULL, "all there, up to %u vCPUs, %u address bits", kvm.max_vcpus,
			   kvm.phys_bits);
		kvm_close(&kvm);
	} else {
		doctor_add(report, "kvm-needs", DOCTOR_MISSING,
			   "what samara run checks at its start", KVM_FIX, "%s", err.text);
	}
}

void doctor_examine_kvm(struct doctor_report *report)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	examine_device(report, fd < 0 ? errno : 0);
	if (fd < 0)
		return;
	if (examine_version(report, fd)) {
		examine_needs(report);
		examine_capabilities(report, fd);
	}
	close(fd);
}
