/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What vCPUs leave the guest for (Documentation/virt/kvm/api.rst, 5). */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "vmm/vm_internal.h"

/* include/uapi/linux/kvm.h of Linux 6.8 */
#ifndef KVM_EXIT_MEMORY_FAULT
#define KVM_EXIT_MEMORY_FAULT 39
#endif

/* Its part of struct kvm_run's union; its own type, for older headers lack it. */
struct memory_fault {
	uint64_t flags;
	uint64_t gpa;
	uint64_t size_bytes;
};

/* One access in pieces that buses take: KVM's emulator splits at pages and at 8 bytes. */
static void access_bus(struct bus *bus, uint64_t address, uint8_t *data, unsigned int length,
		       bool write)
{
	while (length) {
		unsigned int piece = 8;

		while (piece > length)
			piece /= 2;
		if (write)
			bus_write(bus, address, data, piece);
		else
			bus_read(bus, address, data, piece);
		address += piece;
		data += piece;
		length -= piece;
	}
}

static void port_io(struct vm *vm, struct kvm_run *run)
{
	uint8_t *data = (uint8_t *)run + run->io.data_offset;

	/* String instructions come as several accesses to the same port. */
	for (uint32_t i = 0; i < run->io.count; i++) {
		access_bus(vm->devices.pio, run->io.port, data, run->io.size,
			   run->io.direction == KVM_EXIT_IO_OUT);
		data += run->io.size;
	}
}

/*
 * KVM emulates an access to RAM whose page it could not get. Where userfaultfd blocks that does not
 * happen; should it all the same, the access is done here. An access to nothing reads zeros, and
 * what can't be written is not.
 */
static void ram_access(struct vm *vm, struct kvm_run *run)
{
	bool write = run->mmio.is_write;

	guest_mm_fault(vm->mm, run->mmio.phys_addr, write ? GUEST_MM_FAULT_WRITE : 0);
	if (write)
		guest_mm_write(vm->mm, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
	else if (guest_mm_read(vm->mm, run->mmio.phys_addr, run->mmio.data, run->mmio.len))
		memset(run->mmio.data, 0, run->mmio.len);
}

static void mmio(struct vm *vm, struct kvm_run *run)
{
	if (layout_is_window(&vm->layout, run->mmio.phys_addr))
		ram_access(vm, run);
	else
		access_bus(vm->devices.mmio, run->mmio.phys_addr, run->mmio.data, run->mmio.len,
			   run->mmio.is_write);
}

static uint64_t rip_of(const struct vcpu *vcpu)
{
	uint64_t rip = 0;

	vcpu_get_rip(vcpu, &rip);
	return rip;
}

static void memory_fault(struct vm *vm, struct vcpu *vcpu, const struct memory_fault *fault)
{
	uint64_t end = fault->gpa + fault->size_bytes;

	/* KVM does not say whether it was a write; the next exit comes if this was not enough. */
	for (gpa_t gpa = fault->gpa; gpa < end; gpa += SAMARA_PAGE_BYTES) {
		int ret = guest_mm_fault(vm->mm, gpa, 0);

		if (ret < 0) {
			vm_fail(vm, ret,
				"vCPU %u at rip %#" PRIx64 ": memory fault at %#" PRIx64 ": %s",
				vcpu_id(vcpu), rip_of(vcpu), gpa, strerror(-ret));
			return;
		}
	}
}

static void system_event(struct vm *vm, const struct vcpu *vcpu, const struct kvm_run *run)
{
	switch (run->system_event.type) {
	case KVM_SYSTEM_EVENT_SHUTDOWN:
		vm_request_poweroff(vm);
		break;
	case KVM_SYSTEM_EVENT_RESET:
	case KVM_SYSTEM_EVENT_CRASH:
		vm_request_reset(vm, true);
		break;
	default:
		vm_fail(vm, -EOPNOTSUPP, "vCPU %u: unknown system event %u", vcpu_id(vcpu),
			run->system_event.type);
	}
}

static void internal_error(struct vm *vm, const struct vcpu *vcpu, const struct kvm_run *run)
{
	uint64_t first = run->internal.ndata ? run->internal.data[0] : 0;

	switch (run->internal.suberror) {
	case KVM_INTERNAL_ERROR_EMULATION:
		vm_fail(vm, -EIO,
			"vCPU %u at rip %#" PRIx64 ": KVM cannot emulate the instruction there; "
			"samara doctor tells whether this host can run stock kernels",
			vcpu_id(vcpu), rip_of(vcpu));
		break;
	default:
		vm_fail(vm, -EIO,
			"vCPU %u at rip %#" PRIx64 ": internal error of KVM, suberror %u, first "
			"data %#" PRIx64,
			vcpu_id(vcpu), rip_of(vcpu), run->internal.suberror, first);
	}
}

static void unknown_exit(struct vm *vm, const struct vcpu *vcpu, const struct kvm_run *run)
{
	int code = vcpu_run_error(vcpu);

	if (code == -EFAULT)
		vm_fail(vm, code,
			"vCPU %u at rip %#" PRIx64 ": KVM could not reach guest memory, and does "
			"not say where",
			vcpu_id(vcpu), rip_of(vcpu));
	else if (code)
		vm_fail(vm, code, "vCPU %u at rip %#" PRIx64 ": KVM_RUN: %s", vcpu_id(vcpu),
			rip_of(vcpu), strerror(-code));
	else
		vm_fail(vm, -EIO,
			"vCPU %u at rip %#" PRIx64 ": unknown exit %u, hardware reason %#" PRIx64,
			vcpu_id(vcpu), rip_of(vcpu), run->exit_reason,
			(uint64_t)run->hw.hardware_exit_reason);
}

enum vcpu_next vm_exit(struct vcpu *vcpu, struct kvm_run *run, void *arg)
{
	struct vm *vm = arg;

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		port_io(vm, run);
		break;
	case KVM_EXIT_MMIO:
		mmio(vm, run);
		break;
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		break;
	case KVM_EXIT_MEMORY_FAULT:
		memory_fault(vm, vcpu, (const struct memory_fault *)&run->hw);
		break;
	case KVM_EXIT_SHUTDOWN: /* a triple fault, which resets a PC */
		vm_request_reset(vm, true);
		break;
	case KVM_EXIT_SYSTEM_EVENT:
		system_event(vm, vcpu, run);
		break;
	case KVM_EXIT_HLT:
		vm_fail(vm, -EIO,
			"vCPU %u at rip %#" PRIx64 ": halted, and there is no irqchip to wake it",
			vcpu_id(vcpu), rip_of(vcpu));
		break;
	case KVM_EXIT_FAIL_ENTRY:
		vm_fail(vm, -EIO,
			"vCPU %u at rip %#" PRIx64 ": the CPU refuses the guest's state, hardware "
			"reason %#" PRIx64,
			vcpu_id(vcpu), rip_of(vcpu),
			(uint64_t)run->fail_entry.hardware_entry_failure_reason);
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		internal_error(vm, vcpu, run);
		break;
	default:
		unknown_exit(vm, vcpu, run);
	}

	/*
	 * All but a pause end this vCPU's life. Ending it here keeps a guest that has asked for a
	 * reset or power-off from running on, and from asking again.
	 */
	return atomic_load(&vm->requests) ? VCPU_STOP : VCPU_CONTINUE;
}
