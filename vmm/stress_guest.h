/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_STRESS_GUEST_H
#define VMM_STRESS_GUEST_H

#include <stdbool.h>

#include <samara/error.h>
#include <samara/guest_mm.h>

#include "vmm/kvm.h"
#include "vmm/stress_board.h"
#include "vmm/stress_layout.h"
#include "vmm/vcpu.h"

/**
 * struct stress_guest - the VM that runs guest/stress.c
 *
 * Locks: I: immutable after stress_guest_create(). A: atomic.
 */
struct stress_guest {
	struct guest_mm *mm;                 /* I */
	const struct stress_layout *layout;  /* I */
	struct kvm kvm;                      /* I */
	struct stress_board *board;          /* I: from before it starts */
	bool has_vm;                         /* I */
	unsigned int cpus;                   /* I */
	struct vcpu *vcpus[STRESS_MAX_CPUS]; /* I */
	struct stress_control *control;      /* I; contents are shared with the guest */
	struct samara_error failure;         /* written once, before @failed is set */
	unsigned int failures;               /* A: vCPUs that could not go on */
	bool failed;                         /* A */
};

/**
 * stress_guest_create() - make the VM, with the image, page tables and an empty control block
 * @guest: all zero
 * @mm: has the boot window at 0 and the window at STRESS_WINDOW_GPA; nothing is plugged
 *
 * The caller fills the control block before stress_guest_start().
 * Return: 0, -errno; then stress_guest_destroy() is called as well.
 */
int stress_guest_create(struct stress_guest *guest, struct guest_mm *mm,
			const struct stress_layout *layout, unsigned int cpus,
			struct samara_error *err);

/**
 * stress_guest_start() - start the vCPUs
 *
 * Context: May sleep, starts threads.
 * Return: 0, -EAGAIN (no thread to be had), or what KVM said.
 */
int stress_guest_start(struct stress_guest *guest, struct samara_error *err);

/**
 * stress_guest_stop() - have the vCPUs finish their round, then end them
 *
 * Each is waited for as long as it gets on; one that does not for STRESS_STUCK_S seconds is ended
 * where it is.
 * Context: nothing holds the vCPUs' writes.
 * Return: how many had to be ended.
 */
unsigned int stress_guest_stop(struct stress_guest *guest);

#define STRESS_STUCK_S 30

/* End the vCPUs if they run, and free what stress_guest_create() made; @mm stays. */
void stress_guest_destroy(struct stress_guest *guest);

#endif
