/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>

#include "devices/bus.h"
#include "tests/lib/straw_vm.h"

struct vm straw;

/* ---- What it is told to do ------------------------------------------------------------------- */

void straw_tell(const struct vm_notice *notice, void *arg)
{
	const struct vm *vm = arg;

	if (vm->listener)
		vm->listener(notice, vm->listener_arg);
}

static void tell(struct vm *vm, enum vm_event event)
{
	straw_tell(&(struct vm_notice){.event = event}, vm);
}

int vm_pause(struct vm *vm, struct samara_error *err)
{
	(void)err;
	vm->state = VM_PAUSED;
	tell(vm, VM_EVENT_STOP);
	return 0;
}

int vm_resume(struct vm *vm, struct samara_error *err)
{
	if (vm->state == VM_SHUTDOWN)
		return samara_error_set(err, -EINVAL, "the VM has ended");
	vm->state = VM_RUNNING;
	tell(vm, VM_EVENT_RESUME);
	return 0;
}

void vm_request_reset(struct vm *vm, bool by_guest)
{
	(void)by_guest;
	vm->resets++;
	if (vm->reset)
		vm->reset(vm);
	else
		tell(vm, VM_EVENT_RESET);
}

void vm_quit(struct vm *vm, enum vm_cause cause)
{
	straw_tell(&(struct vm_notice){.event = VM_EVENT_SHUTDOWN, .cause = cause}, vm);
	vm->quits++;
}

void vm_powerdown(struct vm *vm)
{
	tell(vm, VM_EVENT_POWERDOWN);
}

int vm_add_listener(struct vm *vm, vm_event_fn *listener, void *arg)
{
	vm->listener = listener;
	vm->listener_arg = arg;
	return 0;
}

/* It has no slots for virtio devices. */
int vm_add_virtio_mem(struct vm *vm, const struct virtio_mem_options *options, const char *memdev,
		      gpa_t gpa, struct samara_error *err)
{
	(void)vm, (void)gpa;
	return samara_error_set(err, -EPERM, "%s of straw, block %u", memdev,
				(unsigned int)options->block_bytes);
}

int vm_remove_virtio_mem(struct vm *vm, const char *id, struct samara_error *err)
{
	(void)vm, (void)id, (void)err;
	return -ENOENT;
}

/* ---- What it is asked ------------------------------------------------------------------------ */

enum vm_state vm_get_state(struct vm *vm)
{
	return vm->state;
}

const struct vm_config *vm_get_config(struct vm *vm)
{
	return &vm->config;
}

struct guest_mm *vm_mm(struct vm *vm)
{
	return vm->mm;
}

struct qom *vm_qom(struct vm *vm)
{
	return vm->qom;
}

struct memory_devices *vm_memory_devices(struct vm *vm)
{
	return vm->devices;
}

struct dimms *vm_dimms(struct vm *vm)
{
	return vm->dimms;
}

const struct vm_balloon *vm_get_balloon(struct vm *vm)
{
	return vm->balloon;
}

int vm_vcpu_tid(struct vm *vm, unsigned int index)
{
	(void)vm;
	return 1000 + (int)index;
}

void vm_get_bus_counters(struct vm *vm, struct bus_counters *mmio, struct bus_counters *pio)
{
	(void)vm;
	mmio->reads = 11;
	pio->nowhere = 22;
}
