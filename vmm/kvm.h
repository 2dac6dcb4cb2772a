/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_KVM_H
#define VMM_KVM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <samara/error.h>
#include <samara/guest_mm.h>

/**
 * struct kvm - the KVM system and one VM of it
 *
 * All fields are immutable between kvm_create_vm() and kvm_destroy_vm().
 */
struct kvm {
	int system_fd;    /* /dev/kvm */
	int vm_fd;        /* -1: no VM */
	size_t run_bytes; /* length of a vCPU's struct kvm_run mapping */
	unsigned int max_vcpus;
	unsigned int max_memslots;
	unsigned int phys_bits; /* guest-physical address width, from KVM_GET_SUPPORTED_CPUID */
	bool irqchip;           /* the VM has the in-kernel irqchip and PIT */
};

/**
 * kvm_open() - open /dev/kvm and check what samara needs of it
 * @kvm: filled in
 * @path: NULL for /dev/kvm
 *
 * Return: 0; -ENOENT, -EACCES, -EPERM (each with what to do in the text), -EOPNOTSUPP (API version
 * or a capability that is missing, by name).
 */
int kvm_open(struct kvm *kvm, const char *path, struct samara_error *err);

/**
 * kvm_create_vm() - make the VM
 * @irqchip: with in-kernel PIC, IOAPIC, LAPIC (and PIT2)
 */
int kvm_create_vm(struct kvm *kvm, bool irqchip, struct samara_error *err);

/**
 * kvm_map_windows() - give every window of @mm to the VM as a memslot
 *
 * The only place where memslots are set; before any vCPU runs.
 * Return: 0, -ERANGE (a window past phys_bits), or what KVM said.
 */
int kvm_map_windows(struct kvm *kvm, const struct guest_mm *mm, struct samara_error *err);

/**
 * kvm_connect_irq() - join an eventfd to a GSI by KVM_IRQFD
 */
int kvm_connect_irq(struct kvm *kvm, int eventfd, unsigned int gsi, struct samara_error *err);

/* Close the VM; all its vCPUs are destroyed before. */
void kvm_destroy_vm(struct kvm *kvm);
void kvm_close(struct kvm *kvm);

#endif
