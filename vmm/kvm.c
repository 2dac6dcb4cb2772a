/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <linux/kvm.h>

#include "vmm/cpuid.h"
#include "vmm/layout.h"

struct capability {
	int number;
	const char *name;
};

#define CAPABILITY(name)    \
	{                   \
		name, #name \
	}

static const struct capability needed_always[] = {
	CAPABILITY(KVM_CAP_USER_MEMORY),    CAPABILITY(KVM_CAP_SYNC_MMU),
	CAPABILITY(KVM_CAP_IMMEDIATE_EXIT), CAPABILITY(KVM_CAP_EXT_CPUID),
	CAPABILITY(KVM_CAP_MP_STATE),       CAPABILITY(KVM_CAP_SET_TSS_ADDR),
};

static const struct capability needed_irqchip[] = {
	CAPABILITY(KVM_CAP_IRQCHIP),
	CAPABILITY(KVM_CAP_IRQFD),
	CAPABILITY(KVM_CAP_PIT2),
};

static int check(int fd, const struct capability *needed, size_t count, struct samara_error *err)
{
	for (size_t i = 0; i < count; i++)
		if (ioctl(fd, KVM_CHECK_EXTENSION, needed[i].number) <= 0)
			return samara_error_set(err, -EOPNOTSUPP,
						"KVM of this kernel lacks %s, which samara needs: "
						"use a newer kernel",
						needed[i].name);
	return 0;
}

static int check_number(int fd, int capability, int fallback)
{
	int value = ioctl(fd, KVM_CHECK_EXTENSION, capability);

	return value > 0 ? value : fallback;
}

void kvm_permission_advice(const char *path, char *text, size_t text_bytes)
{
	struct group entry, *group = NULL;
	char names[4096], number[16];
	struct stat node;

	/* To join root's group is no lesser thing than to be root; a member has it already. */
	if (stat(path, &node) || (node.st_mode & 0060) != 0060 || !node.st_gid ||
	    group_member(node.st_gid)) {
		snprintf(text, text_bytes,
			 "run as root, or have the administrator grant access to it");
		return;
	}
	getgrgid_r(node.st_gid, &entry, names, sizeof(names), &group);
	snprintf(number, sizeof(number), "%u", (unsigned int)node.st_gid);
	snprintf(text, text_bytes, "join its group (usermod -aG %s NAME, then log in again)",
		 group ? group->gr_name : number);
}

static int open_error(const char *path, int code, struct samara_error *err)
{
	char advice[160];

	switch (code) {
	case -ENOENT:
		return samara_error_set(err, code,
					"%s: there is none: load the module kvm_intel or kvm_amd, "
					"and see that virtualization is on in the firmware",
					path);
	case -EACCES:
	case -EPERM:
		kvm_permission_advice(path, advice, sizeof(advice));
		return samara_error_set(err, code, "%s: no permission: %s", path, advice);
	case -ENODEV:
	case -ENXIO:
		return samara_error_set(err, code,
					"%s: no hardware virtualization behind it: load the module "
					"kvm_intel or kvm_amd",
					path);
	}
	return samara_error_set(err, code, "%s: %s", path, strerror(-code));
}

int kvm_open(struct kvm *kvm, const char *path, struct samara_error *err)
{
	struct kvm_cpuid2 *cpuid;
	int version, ret;

	*kvm = (struct kvm){.system_fd = -1, .vm_fd = -1};
	if (!path)
		path = "/dev/kvm";

	kvm->system_fd = open(path, O_RDWR | O_CLOEXEC);
	if (kvm->system_fd < 0)
		return open_error(path, -errno, err);

	version = ioctl(kvm->system_fd, KVM_GET_API_VERSION, 0);
	if (version < 0) {
		ret = samara_error_set(err, -EOPNOTSUPP, "%s is no KVM device: %s", path,
				       strerror(errno));
		goto out_close;
	}
	if (version != KVM_API_VERSION) {
		ret = samara_error_set(err, -EOPNOTSUPP, "%s: KVM API version %d, samara needs %d",
				       path, version, KVM_API_VERSION);
		goto out_close;
	}
	ret = check(kvm->system_fd, needed_always, sizeof(needed_always) / sizeof(*needed_always),
		    err);
	if (ret)
		goto out_close;

	ret = ioctl(kvm->system_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (ret < (int)sizeof(struct kvm_run)) {
		ret = samara_error_set(err, -EOPNOTSUPP, "%s: KVM_GET_VCPU_MMAP_SIZE gave %d", path,
				       ret);
		goto out_close;
	}
	kvm->run_bytes = ret;
	/* The defaults are those of Documentation/virt/kvm/api.rst, 4.7, and of old kernels. */
	kvm->max_vcpus = check_number(kvm->system_fd, KVM_CAP_MAX_VCPUS,
				      check_number(kvm->system_fd, KVM_CAP_NR_VCPUS, 4));
	kvm->max_memslots = check_number(kvm->system_fd, KVM_CAP_NR_MEMSLOTS, 32);

	ret = cpuid_get_supported(kvm->system_fd, &cpuid, err);
	if (ret)
		goto out_close;
	kvm->phys_bits = cpuid_phys_bits(cpuid);
	free(cpuid);
	return 0;

out_close:
	kvm_close(kvm);
	return ret;
}

/* KVM_CREATE_VM waits for other VMs' teardown now and then, and a signal interrupts that. */
static int create_vm_fd(int system_fd)
{
	int fd;

	do {
		fd = ioctl(system_fd, KVM_CREATE_VM, 0);
	} while (fd < 0 && errno == EINTR);
	return fd;
}

static int vm_ioctl(struct kvm *kvm, unsigned long request, unsigned long argument,
		    const char *name, struct samara_error *err)
{
	int ret = ioctl(kvm->vm_fd, request, argument);

	if (ret < 0)
		return samara_error_set(err, -errno, "%s: %s", name, strerror(errno));
	return ret;
}

static int add_irqchip(struct kvm *kvm, struct samara_error *err)
{
	/* Port 0x61 belongs to the PIT: its speaker bits are how old code calibrates clocks. */
	struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
	int ret;

	ret = check(kvm->system_fd, needed_irqchip,
		    sizeof(needed_irqchip) / sizeof(*needed_irqchip), err);
	if (!ret)
		ret = vm_ioctl(kvm, KVM_CREATE_IRQCHIP, 0, "KVM_CREATE_IRQCHIP", err);
	if (!ret)
		ret = vm_ioctl(kvm, KVM_CREATE_PIT2, (unsigned long)&pit, "KVM_CREATE_PIT2", err);
	return ret;
}

int kvm_create_vm(struct kvm *kvm, bool irqchip, struct samara_error *err)
{
	uint64_t identity_map = LAYOUT_IDENTITY_MAP_GPA;
	int ret;

	kvm->vm_fd = create_vm_fd(kvm->system_fd);
	if (kvm->vm_fd < 0)
		return samara_error_set(err, -errno, "KVM_CREATE_VM: %s", strerror(errno));

	ret = vm_ioctl(kvm, KVM_SET_TSS_ADDR, LAYOUT_TSS_GPA, "KVM_SET_TSS_ADDR", err);
	if (!ret && check_number(kvm->system_fd, KVM_CAP_SET_IDENTITY_MAP_ADDR, 0))
		ret = vm_ioctl(kvm, KVM_SET_IDENTITY_MAP_ADDR, (unsigned long)&identity_map,
			       "KVM_SET_IDENTITY_MAP_ADDR", err);
	if (!ret && irqchip)
		ret = add_irqchip(kvm, err);
	if (ret) {
		kvm_destroy_vm(kvm);
		return ret;
	}
	kvm->irqchip = irqchip;
	return 0;
}

int kvm_map_windows(struct kvm *kvm, const struct guest_mm *mm, struct samara_error *err)
{
	struct guest_mm_window window;

	for (unsigned int slot = 0; !guest_mm_get_window(mm, slot, &window); slot++) {
		struct kvm_userspace_memory_region region = {
			.slot = slot,
			.guest_phys_addr = window.gpa,
			.memory_size = window.size_bytes,
			.userspace_addr = (uintptr_t)window.hva,
		};
		uint64_t last = window.gpa + window.size_bytes - 1;

		if (kvm->phys_bits < 64 && last >> kvm->phys_bits)
			return samara_error_set(err, -ERANGE,
						"guest memory up to %#" PRIx64
						" is past the %u-bit guest-physical addresses of "
						"this host",
						last, kvm->phys_bits);
		if (slot >= kvm->max_memslots)
			return samara_error_set(err, -ENOSPC,
						"KVM has only %u memslots, and guest memory has "
						"more windows",
						kvm->max_memslots);
		if (ioctl(kvm->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) < 0)
			return samara_error_set(err, -errno,
						"KVM_SET_USER_MEMORY_REGION for %#" PRIx64
						"-%#" PRIx64 ": %s",
						window.gpa, last, strerror(errno));
	}
	return 0;
}

int kvm_connect_irq(struct kvm *kvm, int eventfd, unsigned int gsi, struct samara_error *err)
{
	struct kvm_irqfd irqfd = {.fd = eventfd, .gsi = gsi};

	if (ioctl(kvm->vm_fd, KVM_IRQFD, &irqfd) < 0)
		return samara_error_set(err, -errno, "KVM_IRQFD for GSI %u: %s", gsi,
					strerror(errno));
	return 0;
}

void kvm_disconnect_irq(struct kvm *kvm, int eventfd, unsigned int gsi)
{
	struct kvm_irqfd irqfd = {.fd = eventfd, .gsi = gsi, .flags = KVM_IRQFD_FLAG_DEASSIGN};

	ioctl(kvm->vm_fd, KVM_IRQFD, &irqfd);
}

static int set_ioeventfd(struct kvm *kvm, int eventfd, const struct kvm_doorbell *doorbell,
			 unsigned int flags)
{
	struct kvm_ioeventfd ioeventfd = {
		.addr = doorbell->address,
		.len = doorbell->length_bytes,
		.fd = eventfd,
		.flags = flags,
	};

	if (doorbell->bus == KVM_DOORBELL_PIO)
		ioeventfd.flags |= KVM_IOEVENTFD_FLAG_PIO;
	if (doorbell->match) {
		ioeventfd.flags |= KVM_IOEVENTFD_FLAG_DATAMATCH;
		ioeventfd.datamatch = doorbell->value;
	}
	return ioctl(kvm->vm_fd, KVM_IOEVENTFD, &ioeventfd) < 0 ? -errno : 0;
}

int kvm_connect_ioeventfd(struct kvm *kvm, int eventfd, const struct kvm_doorbell *doorbell,
			  struct samara_error *err)
{
	int ret = set_ioeventfd(kvm, eventfd, doorbell, 0);

	if (ret)
		return samara_error_set(err, ret, "KVM_IOEVENTFD for %s %#" PRIx64 ": %s",
					doorbell->bus == KVM_DOORBELL_PIO ? "port" : "MMIO address",
					doorbell->address, strerror(-ret));
	return 0;
}

void kvm_disconnect_ioeventfd(struct kvm *kvm, int eventfd, const struct kvm_doorbell *doorbell)
{
	set_ioeventfd(kvm, eventfd, doorbell, KVM_IOEVENTFD_FLAG_DEASSIGN);
}

void kvm_destroy_vm(struct kvm *kvm)
{
	if (kvm->vm_fd >= 0)
		close(kvm->vm_fd);
	kvm->vm_fd = -1;
	kvm->irqchip = false;
}

void kvm_close(struct kvm *kvm)
{
	kvm_destroy_vm(kvm);
	if (kvm->system_fd >= 0)
		close(kvm->system_fd);
	kvm->system_fd = -1;
}
