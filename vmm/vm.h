/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_VM_H
#define VMM_VM_H

#include <stdbool.h>

#include <samara/error.h>
#include <samara/guest_mm.h>

#include "vmm/config.h"
#include "vmm/vm_event.h"

/*
 * A virtual machine: KVM, vCPUs, guest memory and devices put together.
 */
struct vm;

enum vm_state {
	VM_PRELAUNCH, /* made, never ran */
	VM_RUNNING,
	VM_PAUSED,
	VM_SHUTDOWN, /* ended: powered off, quit or failed */
};

/* Why a VM ended. */
enum vm_end {
	VM_END_POWEROFF, /* by the guest */
	VM_END_RESET,    /* by guest or host, with no_reboot */
	VM_END_QUIT,     /* vm_quit() */
	VM_END_ERROR,    /* KVM or the guest did what can't go on; the error says what */
};

/**
 * vm_create() - make a VM: open KVM, reserve memory, load the kernel, attach devices
 * @config: lives as long as the VM
 *
 * Context: May sleep.
 * Return: 0; any error with one line that names the thing.
 */
int vm_create(const struct vm_config *config, struct vm **out, struct samara_error *err);

/**
 * vm_destroy() - free it, and close all it has opened
 *
 * Context: May sleep. vm_run() has returned, or was never called; nobody uses it any more.
 */
void vm_destroy(struct vm *vm);

/**
 * vm_run() - run it until it ends
 * @end: why it ended
 *
 * Carries out resets. Context: the thread that created it.
 * Return: 0, or the error of VM_END_ERROR.
 */
int vm_run(struct vm *vm, enum vm_end *end, struct samara_error *err);

/*
 * Control, from any thread; none may be called from a vCPU's exit handler but vm_request_*().
 */

/**
 * vm_pause(), vm_resume() - pause all vCPUs; run them again
 *
 * Listeners hear of it. Does nothing to a VM that is paused, or runs, already.
 *
 * Context: May sleep until each vCPU has left the guest, with no exit unfinished.
 * Return: 0, -EINVAL (it has ended), or what held a vCPU up.
 */
int vm_pause(struct vm *vm, struct samara_error *err);
int vm_resume(struct vm *vm, struct samara_error *err);

/**
 * vm_request_reset(), vm_request_poweroff(), vm_quit() - ask vm_run() to reset or end the VM
 * @by_guest: the guest asked, and not the host
 * @cause: a VM_CAUSE_HOST_*, for those who hear of the end; the first one counts
 *
 * Carried out after the call has returned.
 *
 * Context: Does not sleep; any thread, vCPUs' included; not signal handlers.
 */
void vm_request_reset(struct vm *vm, bool by_guest);
void vm_request_poweroff(struct vm *vm);          /* the guest asked */
void vm_quit(struct vm *vm, enum vm_cause cause); /* the host asked */

/**
 * vm_powerdown() - press the power button: what comes of it is the guest's to decide
 *
 * Context: Does not sleep for long; any thread.
 */
void vm_powerdown(struct vm *vm);

/* The state as of now; another thread may change it at once. Context: Does not sleep. */
enum vm_state vm_get_state(struct vm *vm);

/* What it was made of; both live as long as the VM. Context: Does not sleep. */
struct guest_mm *vm_mm(struct vm *vm);
const struct vm_config *vm_get_config(struct vm *vm);

struct layout;
struct virtio_balloon;
struct virtio_mem;
struct qom;
struct memory_devices;
struct dimms;
struct free_pages;
struct free_pages_request;

/* Where its memory is, and may come. Lives as long. Context: Does not sleep. */
const struct layout *vm_layout(const struct vm *vm);

/*
 * Its parts by path; its memory devices; its DIMM slots, NULL if it has none. Each lives as long as
 * the VM. Context: Does not sleep.
 */
struct qom *vm_qom(struct vm *vm);
struct memory_devices *vm_memory_devices(struct vm *vm);
struct dimms *vm_dimms(struct vm *vm);

/**
 * struct vm_balloon - how the VM's balloon is asked; immutable
 * @set: how much memory the guest shall have; it may take long, or never come to it
 * @get: how much it has now
 * @ask_free: how much of that is free, as free_pages_ask(), which takes its time
 *
 * Context of @set and @get: any thread; they do not sleep for long.
 */
struct vm_balloon {
	int (*set)(void *device, uint64_t bytes, struct samara_error *err);
	uint64_t (*get)(void *device);
	int (*ask_free)(void *device, const struct free_pages_request *request,
			struct free_pages *out, struct samara_error *err);
	void *device;
};

/**
 * vm_set_balloon(), vm_get_balloon() - the VM's balloon; NULL: it has none
 *
 * Context: set: before vm_run(); get: any thread.
 */
void vm_set_balloon(struct vm *vm, const struct vm_balloon *balloon);
const struct vm_balloon *vm_get_balloon(struct vm *vm);

/**
 * vm_add_virtio_mem() - plug a virtio-mem device, and tell the guest
 * @options: size_bytes is the backend's; not needed afterwards
 * @memdev: id of its backend
 * @gpa: MEMORY_DEVICES_ANYWHERE, or where its range is to be, in the place that DIMMs have
 *
 * Context: Any thread but vCPUs'; may sleep, starts a thread.
 * Return: 0, -ENOSPC (no virtio slot is free, or no room), -EOPNOTSUPP (the backend is of a kind that
 * cannot come and go by blocks), -EINVAL (the VM has ended, too), or as memory_device_init() and
 * virtio_mem_create().
 */
int vm_add_virtio_mem(struct vm *vm, const struct virtio_mem_options *options, const char *memdev,
		      gpa_t gpa, struct samara_error *err);

/**
 * vm_remove_virtio_mem() - take a virtio-mem device away that vm_add_virtio_mem() plugged
 * @id: its id or path
 *
 * Context: Any thread but vCPUs'; may sleep.
 * Return: 0, -ENOENT (no such device, and no error set), -EINVAL (the VM has ended), -EBUSY (it has
 * memory, or a driver).
 */
int vm_remove_virtio_mem(struct vm *vm, const char *id, struct samara_error *err);

/*
 * Its virtio devices: the balloon, and the first virtio-mem; NULL: there is none. Valid until the device
 * is removed, or the VM. Context: may sleep; not from vCPU threads.
 */
struct virtio_balloon *vm_virtio_balloon(struct vm *vm);
struct virtio_mem *vm_virtio_mem(struct vm *vm);

/* Tell the listeners. Context: any thread, vCPUs' included; may sleep a moment. */
void vm_notify(struct vm *vm, const struct vm_notice *notice);

/**
 * vm_vcpu_tid() - the operating system's id of a vCPU's thread
 *
 * Context: Does not sleep.
 * Return: the id; 0 if there is no such vCPU or its thread has not started.
 */
int vm_vcpu_tid(struct vm *vm, unsigned int index);

/**
 * vm_add_listener() - have a function called for each event
 *
 * Context: Before vm_run(), by the thread that created the VM.
 * Return: 0, -ENOMEM.
 */
int vm_add_listener(struct vm *vm, vm_event_fn *listener, void *arg);

struct bus_counters;

/**
 * vm_get_bus_counters() - how many accesses the two buses have seen
 *
 * Context: Does not sleep.
 */
void vm_get_bus_counters(struct vm *vm, struct bus_counters *mmio, struct bus_counters *pio);

/**
 * vm_second_serial_receive() - bytes for the guest's second serial port, which the config has
 *
 * Context: Does not sleep; any thread.
 * Return: how many the guest took; the rest is to be offered again.
 */
size_t vm_second_serial_receive(struct vm *vm, const uint8_t *bytes, size_t count);

/* The name of the serial port's pseudo-terminal, NULL if it has none. */
const char *vm_serial_pty(struct vm *vm);

#endif
