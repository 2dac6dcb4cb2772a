/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The part of a VM that a reset makes anew: the KVM VM with its irqchip, and the vCPUs. Guest
 * memory stays, and its windows become memslots of the new KVM VM.
 */
#include <errno.h>
#include <stdlib.h>

#include "vmm/loader.h"
#include "vmm/reset_vector.h"
#include "vmm/vm_internal.h"

/* How long a vCPU may take to leave the guest. A stalled console takes half of it. */
#define PATIENCE_MS 1000

static int create_vcpus(struct vm *vm, struct samara_error *err)
{
	unsigned int count = vm->config->cpus;

	vm->vcpus = calloc(count, sizeof(*vm->vcpus));
	if (!vm->vcpus)
		return samara_error_set(err, -ENOMEM, "vCPUs: out of memory");
	for (unsigned int i = 0; i < count; i++) {
		int ret = vcpu_create(&vm->kvm, i, count, vm_exit, vm, &vm->vcpus[i], err);

		if (ret)
			return ret;
	}
	return 0;
}

static int load(struct vm *vm, struct samara_error *err)
{
	struct memory_map_hole holes[MEMORY_MAP_HOLES];
	struct boot_request request = {
		.kernel = &vm->kernel,
		.initrd = &vm->initrd,
		.cmdline = vm->config->cmdline,
		.rsdp = vm->acpi.rsdp,
		.holes = holes,
		.hole_count = memory_devices_ranges(vm->memory_devices, holes),
	};
	struct boot_entry entry;
	int ret = boot_load(vm->mm, &request, &entry, err);

	if (ret)
		return ret;
	ret = guest_mm_write(vm->mm, vm->acpi.gpa, vm->acpi.bytes, vm->acpi.size_bytes);
	if (ret)
		return samara_error_set(err, ret, "ACPI tables: guest memory at %#llx is no RAM",
					(unsigned long long)vm->acpi.gpa);
	ret = reset_vector_write(vm->mm, err);
	if (ret)
		return ret;
	return boot_set_vcpu(vm->vcpus[0], &entry, err);
}

int vm_machine_create(struct vm *vm, struct samara_error *err)
{
	int ret = kvm_create_vm(&vm->kvm, true, err);

	if (!ret)
		ret = kvm_map_windows(&vm->kvm, vm->mm, err);
	if (!ret)
		ret = create_vcpus(vm, err);
	if (!ret)
		ret = vm_devices_connect(vm, err);
	if (!ret)
		ret = load(vm, err);
	if (ret)
		vm_machine_destroy(vm);
	return ret;
}

int vm_machine_start(struct vm *vm, struct samara_error *err)
{
	vm->threads = true;
	for (unsigned int i = 0; i < vm->config->cpus; i++) {
		int ret = vcpu_start(vm->vcpus[i], vm->paused, err);

		if (ret)
			return ret;
		atomic_store(&vm->tids[i], vcpu_tid(vm->vcpus[i]));
	}
	return 0;
}

void vm_machine_stop(struct vm *vm)
{
	if (!vm->threads)
		return;
	for (unsigned int i = 0; i < vm->config->cpus; i++)
		vcpu_request_stop(vm->vcpus[i]);
	for (unsigned int i = 0; i < vm->config->cpus; i++) {
		if (vcpu_wait_ended_for(vm->vcpus[i], PATIENCE_MS)) {
			guest_mm_let_go(vm->mm);
			vm->let_go = true;
		}
		vcpu_join(vm->vcpus[i]);
		atomic_store(&vm->tids[i], 0);
	}
	vm->threads = false;
}

void vm_machine_destroy(struct vm *vm)
{
	vm_machine_stop(vm);
	for (unsigned int i = 0; vm->vcpus && i < vm->config->cpus; i++)
		vcpu_destroy(vm->vcpus[i]);
	free(vm->vcpus);
	vm->vcpus = NULL;
	kvm_destroy_vm(&vm->kvm);
}

int vm_machine_pause(struct vm *vm, struct samara_error *err)
{
	for (unsigned int i = 0; i < vm->config->cpus; i++)
		vcpu_request_pause(vm->vcpus[i]);
	for (unsigned int i = 0; i < vm->config->cpus; i++) {
		if (!vcpu_wait_paused_for(vm->vcpus[i], PATIENCE_MS))
			continue;
		vm_machine_resume(vm);
		return samara_error_set(
			err, -EBUSY,
			"vCPU %u does not leave the guest: it writes to memory that is read-only "
			"(make that writable, or unplug it), or waits for a device that it resets "
			"(try again)",
			i);
	}
	return 0;
}

void vm_machine_resume(struct vm *vm)
{
	for (unsigned int i = 0; i < vm->config->cpus; i++)
		vcpu_resume(vm->vcpus[i]);
}
