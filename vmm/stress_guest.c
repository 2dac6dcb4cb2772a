/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/stress_guest.h"

#include <elf.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

#include <linux/kvm.h>

#include "vmm/stress_clock.h"

/* vmm/stress_image.S */
extern const unsigned char stress_image[], stress_image_end[];

/*
 * The boot window is populated at start and never changed, so the host reads and writes it where it
 * is mapped: a pin held for ever would keep this thread from other operations.
 */
static void *boot_address(const struct stress_guest *guest, gpa_t gpa)
{
	struct guest_mm_window window;

	if (guest_mm_get_window(guest->mm, 0, &window))
		return NULL;
	return (char *)window.hva + (gpa - window.gpa);
}

static int load_image(struct stress_guest *guest, uint64_t *entry, struct samara_error *err)
{
	size_t length = stress_image_end - stress_image;
	Elf64_Ehdr header;
	Elf64_Phdr segment;

	memcpy(&header, stress_image, sizeof(header));
	for (unsigned int i = 0; i < header.e_phnum; i++) {
		memcpy(&segment, stress_image + header.e_phoff + i * sizeof(segment),
		       sizeof(segment));
		if (segment.p_type != PT_LOAD)
			continue;
		if (segment.p_paddr < STRESS_IMAGE_GPA ||
		    segment.p_paddr + segment.p_memsz > STRESS_CONTROL_GPA ||
		    segment.p_offset + segment.p_filesz > length)
			return samara_error_set(err, -ENOEXEC,
						"stress guest: its image does not fit its place");
		memcpy(boot_address(guest, segment.p_paddr), stress_image + segment.p_offset,
		       segment.p_filesz);
	}
	*entry = header.e_entry;
	return 0;
}

static void write_gdt(struct stress_guest *guest)
{
	/* Intel SDM volume 3, 3.4.5: null, unused, 64-bit code at 0x10, flat data at 0x18. */
	static const uint64_t gdt[] = {0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff};

	memcpy(boot_address(guest, STRESS_GDT_GPA), gdt, sizeof(gdt));
}

/* Tell of a vCPU that can't go on; the first is kept. */
static void fail(struct stress_guest *guest, struct vcpu *vcpu, const struct kvm_run *run)
{
	struct kvm_regs regs = {0};

	if (__atomic_fetch_add(&guest->failures, 1, __ATOMIC_ACQ_REL))
		return;
	vcpu_get_regs(vcpu, &regs);
	if (vcpu_run_error(vcpu))
		samara_error_set(&guest->failure, vcpu_run_error(vcpu),
				 "vCPU %u at rip %#llx: KVM_RUN: %s", vcpu_id(vcpu),
				 (unsigned long long)regs.rip, strerror(-vcpu_run_error(vcpu)));
	else if (run->exit_reason == KVM_EXIT_MMIO)
		samara_error_set(&guest->failure, -EIO,
				 "vCPU %u at rip %#llx: access to %#llx, where no window is",
				 vcpu_id(vcpu), (unsigned long long)regs.rip,
				 (unsigned long long)run->mmio.phys_addr);
	else if (run->exit_reason == KVM_EXIT_INTERNAL_ERROR)
		samara_error_set(&guest->failure, -EIO,
				 "vCPU %u at rip %#llx: KVM internal error, suberror %u",
				 vcpu_id(vcpu), (unsigned long long)regs.rip,
				 run->internal.suberror);
	else
		samara_error_set(&guest->failure, -EIO, "vCPU %u at rip %#llx: KVM exit %u%s",
				 vcpu_id(vcpu), (unsigned long long)regs.rip, run->exit_reason,
				 run->exit_reason == KVM_EXIT_SHUTDOWN ? " (triple fault)" : "");
	__atomic_store_n(&guest->failed, true, __ATOMIC_RELEASE);
}

static enum vcpu_next leave_guest(struct vcpu *vcpu, struct kvm_run *run, void *arg)
{
	struct stress_guest *guest = arg;

	if (run->exit_reason == KVM_EXIT_IO && run->io.port == STRESS_DONE_PORT)
		return VCPU_STOP;
	if (run->exit_reason == KVM_EXIT_IO && run->io.port == STRESS_LEAVE_PORT)
		return VCPU_CONTINUE;
	if (!vcpu_run_error(vcpu) && guest->board && stress_board_exit(guest->board, run))
		return VCPU_CONTINUE;
	fail(guest, vcpu, run);
	return VCPU_STOP;
}

int stress_guest_create(struct stress_guest *guest, struct guest_mm *mm,
			const struct stress_layout *layout, unsigned int cpus,
			struct samara_error *err)
{
	uint64_t entry = 0;
	int ret;

	guest->mm = mm;
	guest->layout = layout;
	guest->cpus = cpus;
	guest->kvm.system_fd = guest->kvm.vm_fd = -1;

	ret = kvm_open(&guest->kvm, NULL, err);
	if (ret)
		return ret;
	guest->has_vm = true;
	ret = kvm_create_vm(&guest->kvm, false, err);
	if (ret)
		return ret;
	if (cpus > guest->kvm.max_vcpus)
		return samara_error_set(err, -EINVAL, "--cpus %u: KVM has at most %u here", cpus,
					guest->kvm.max_vcpus);
	ret = guest_mm_plug(mm, 0, layout->boot_bytes, GUEST_MM_RDWR, err);
	if (!ret)
		ret = guest_mm_populate(mm, 0, layout->boot_bytes, err);
	if (!ret)
		ret = kvm_map_windows(&guest->kvm, mm, err);
	if (ret)
		return ret;

	guest->control = boot_address(guest, STRESS_CONTROL_GPA);
	write_gdt(guest);
	stress_tables_write(layout, boot_address(guest, layout->tables_gpa));
	ret = load_image(guest, &entry, err);
	if (ret)
		return ret;

	for (unsigned int i = 0; i < cpus; i++) {
		gpa_t stack_end = layout->stacks_gpa + (i + 1) * STRESS_STACK_BYTES;

		ret = vcpu_create(&guest->kvm, i, cpus, leave_guest, guest, &guest->vcpus[i], err);
		if (ret)
			return ret;
		ret = vcpu_set_long_mode(guest->vcpus[i], entry, stack_end, layout->tables_gpa,
					 STRESS_GDT_GPA, i, STRESS_CONTROL_GPA, err);
		if (ret)
			return ret;
	}
	return 0;
}

int stress_guest_start(struct stress_guest *guest, struct samara_error *err)
{
	int ret = 0;

	for (unsigned int i = 0; !ret && i < guest->cpus; i++)
		ret = vcpu_start(guest->vcpus[i], false, err);
	return ret;
}

unsigned int stress_guest_stop(struct stress_guest *guest)
{
	struct stress_control *control = guest->control;
	unsigned int stuck = 0;

	__atomic_store_n(&control->stop, 1, __ATOMIC_RELEASE);
	for (unsigned int i = 0; i < guest->cpus; i++) {
		struct stress_vcpu *vcpu = &control->vcpu[i];
		uint64_t beat = 0, since = stress_now_ns();

		while (!__atomic_load_n(&vcpu->finished, __ATOMIC_ACQUIRE) &&
		       !__atomic_load_n(&guest->failed, __ATOMIC_ACQUIRE)) {
			uint64_t now = stress_now_ns();
			uint64_t heartbeat = __atomic_load_n(&vcpu->heartbeat, __ATOMIC_RELAXED);

			if (heartbeat != beat) {
				beat = heartbeat;
				since = now;
			}
			if (now - since > STRESS_STUCK_S * STRESS_NS_PER_S) {
				stuck++;
				break;
			}
			stress_sleep_ns(1000000);
		}
	}
	for (unsigned int i = 0; i < guest->cpus; i++)
		vcpu_request_stop(guest->vcpus[i]);
	for (unsigned int i = 0; i < guest->cpus; i++)
		vcpu_join(guest->vcpus[i]);
	return stuck;
}

void stress_guest_destroy(struct stress_guest *guest)
{
	for (unsigned int i = 0; i < guest->cpus; i++)
		vcpu_destroy(guest->vcpus[i]);
	if (!guest->has_vm)
		return;
	kvm_destroy_vm(&guest->kvm);
	kvm_close(&guest->kvm);
}
