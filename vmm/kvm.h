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
 * kvm_permission_advice() - what helps a user who may not open the device node
 * @text: the advice, from the node's mode and group; 160 bytes are enough
 */
void kvm_permission_advice(const char *path, char *text, size_t text_bytes);

/**
 * kvm_create_vm() - make the VM
 * @irqchip: with in-kernel PIC, IOAPIC, LAPIC (and PIT2)
 *
 * Context: May sleep; before any vCPU is made.
 * Return: 0, -EOPNOTSUPP (a capability is missing, by name), or what KVM said.
 */
int kvm_create_vm(struct kvm *kvm, bool irqchip, struct samara_error *err);

/**
 * kvm_map_windows() - give every window of @mm to the VM as a memslot
 *
 * The only place where memslots are set.
 *
 * Context: May sleep; before any vCPU runs.
 * Return: 0, -ERANGE (a window past phys_bits), -ENOSPC (more windows than memslots), or what KVM
 * said.
 */
int kvm_map_windows(struct kvm *kvm, const struct guest_mm *mm, struct samara_error *err);

/**
 * kvm_connect_irq() - join an eventfd to a GSI by KVM_IRQFD
 * @eventfd: each write to it is one edge on the GSI; stays the caller's
 *
 * The connection ends with the VM, or when @eventfd is closed everywhere.
 *
 * Context: May sleep; any thread. The VM has an irqchip.
 * Return: 0, -EINVAL (no such GSI, or no irqchip), -EBUSY (@eventfd has a GSI already), or what KVM
 * said.
 */
int kvm_connect_irq(struct kvm *kvm, int eventfd, unsigned int gsi, struct samara_error *err);

enum kvm_doorbell_bus {
	KVM_DOORBELL_MMIO,
	KVM_DOORBELL_PIO,
};

/**
 * struct kvm_doorbell - a guest's write that is a notification
 * @address: gpa, or port
 * @length_bytes: of the write: 1, 2, 4, or 8 for MMIO; 0: any, but without @match
 * @match: only writes of @value, as many bytes of it as are written
 */
struct kvm_doorbell {
	enum kvm_doorbell_bus bus;
	uint64_t address;
	unsigned int length_bytes;
	bool match;
	uint64_t value;
};

/**
 * kvm_connect_ioeventfd() - have a guest's write signal an eventfd, without an exit (KVM_IOEVENTFD)
 * @eventfd: its counter grows by one for each write; stays the caller's
 *
 * Writes that differ in length or value, and all reads, exit as ever. The connection ends with the
 * VM, or when @eventfd is closed everywhere.
 *
 * Context: May sleep; any thread, also while vCPUs run.
 * Return: 0, -EINVAL (length, or past the end of the address space), -EEXIST (something answers to
 * the same writes), or what KVM said.
 */
int kvm_connect_ioeventfd(struct kvm *kvm, int eventfd, const struct kvm_doorbell *doorbell,
			  struct samara_error *err);

/**
 * kvm_disconnect_irq(), kvm_disconnect_ioeventfd() - undo what connected them, while the VM lives on
 *
 * With the arguments that connected them. Context: May sleep; any thread, also while vCPUs run.
 */
void kvm_disconnect_irq(struct kvm *kvm, int eventfd, unsigned int gsi);
void kvm_disconnect_ioeventfd(struct kvm *kvm, int eventfd, const struct kvm_doorbell *doorbell);

/**
 * kvm_destroy_vm(), kvm_close() - close the VM; the system as well
 *
 * Does nothing where there is none.
 *
 * Context: May sleep; all its vCPUs are destroyed before.
 */
void kvm_destroy_vm(struct kvm *kvm);
void kvm_close(struct kvm *kvm);

#endif
