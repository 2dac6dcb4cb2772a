/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_LIB_STRAW_VM_H
#define TESTS_LIB_STRAW_VM_H

#include <stdatomic.h>

#include "vmm/layout.h"
#include "vmm/vm.h"

/*
 * A VM of straw, for programs that test what is said to one: vm_*() without KVM or vCPUs. It has the
 * parts that a test gives it, and tells at once of what it is to do. The Makefile names the programs
 * that are linked with it, in the real one's place.
 */
struct vm {
	struct vm_config config;
	struct layout layout;
	struct guest_mm *mm;
	struct qom *qom;
	struct memory_devices *devices;
	struct dimms *dimms;
	int irq; /* of the DIMMs' slots: an eventfd */
	const struct vm_balloon *balloon;
	void (*reset)(struct vm *vm); /* NULL: a reset is just told of */
	vm_event_fn *listener;
	void *listener_arg;
	_Atomic enum vm_state state;
	atomic_int resets, quits;
};

extern struct vm straw;

/* A vm_event_fn: pass it on to the listener of a VM, @arg. */
void straw_tell(const struct vm_notice *notice, void *arg);

#endif
