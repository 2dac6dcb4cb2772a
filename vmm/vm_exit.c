/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What vCPUs leave the guest for (Documentation/virt/kvm/api.rst, 5). */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "vmm/memory_fault.h"
#include "vmm/vm_internal.h"

/* What this vCPU's thread was told of faults; the VM's vCPUs each have theirs. */
static _Thread_local struct memory_fault_row fault_row;

/* A host that is short of memory is asked again after this time. */
#define FAULT_RETRY_NS 10000000

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

static void memory_fault(struct vm *vm, const struct vcpu *vcpu, const struct memory_fault *fault)
{
	const struct timespec pause = {.tv_nsec = FAULT_RETRY_NS};
	struct samara_error err = {0};
	int ret = memory_fault_resolve(vm->mm, fault, &fault_row, &err);

	/* A request to stop interrupts it, like all that waits in a vCPU's thread. */
	if (ret == -EAGAIN)
		clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
	else if (ret)
		vm_fail(vm, ret, "vCPU %u at rip %#" PRIx64 ": %s", vcpu_id(vcpu), rip_of(vcpu),
			err.text);
}

/*
 * KVM_RUN failed with @code. With any error but EFAULT and EHWPOISON the exit reason means nothing
 * (api.rst, KVM_EXIT_MEMORY_FAULT).
 */
static void failed_run(struct vm *vm, const struct vcpu *vcpu, const struct kvm_run *run, int code)
{
	const struct memory_fault *fault = (const struct memory_fault *)&run->hw;
	bool has_address = run->exit_reason == KVM_EXIT_MEMORY_FAULT;

	if (code == -EFAULT && has_address)
		memory_fault(vm, vcpu, fault);
	else if (code == -EHWPOISON && has_address)
		vm_fail(vm, code,
			"vCPU %u at rip %#" PRIx64 ": the host's memory behind %#" PRIx64
			" is broken",
			vcpu_id(vcpu), rip_of(vcpu), fault->gpa);
	else if (code == -EFAULT)
		vm_fail(vm, code,
			"vCPU %u at rip %#" PRIx64 ": KVM could not reach guest memory, and does "
			"not say where",
			vcpu_id(vcpu), rip_of(vcpu));
	else
		vm_fail(vm, code, "vCPU %u at rip %#" PRIx64 ": KVM_RUN: %s", vcpu_id(vcpu),
			rip_of(vcpu), strerror(-code));
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

static void handle_exit(struct vm *vm, const struct vcpu *vcpu, struct kvm_run *run)
{
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
		vm_fail(vm, -EIO,
			"vCPU %u at rip %#" PRIx64 ": unknown exit %u, hardware reason %#" PRIx64,
			vcpu_id(vcpu), rip_of(vcpu), run->exit_reason,
			(uint64_t)run->hw.hardware_exit_reason);
	}
}

enum vcpu_next vm_exit(struct vcpu *vcpu, struct kvm_run *run, void *arg)
{
	int code = vcpu_run_error(vcpu);
	struct vm *vm = arg;

	if (code)
		failed_run(vm, vcpu, run, code);
	else
		handle_exit(vm, vcpu, run);
	/*
	 * All but a pause end this vCPU's life. Ending it here keeps a guest that has asked for a
	 * reset or power-off from running on, and from asking again.
	 */
	return atomic_load(&vm->requests) ? VCPU_STOP : VCPU_CONTINUE;
}
