/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_VM_EVENT_H
#define VMM_VM_EVENT_H

#include <stdint.h>

/* What listeners of a VM hear of. */
enum vm_event {
	VM_EVENT_STOP, /* paused */
	VM_EVENT_RESUME,
	VM_EVENT_RESET,          /* cause */
	VM_EVENT_SHUTDOWN,       /* cause: it ends */
	VM_EVENT_GUEST_PANICKED, /* the guest says so; it runs on */
	VM_EVENT_POWERDOWN,      /* the power button was pressed */

	VM_EVENT_ACPI_OST,       /* device, slot, source, status: what the guest says of it */
	VM_EVENT_DEVICE_DELETED, /* device, path: the guest has let it go */
	VM_EVENT_UNPLUG_REFUSED, /* device, path, reason */
	VM_EVENT_MEMORY_UNPLUG_REFUSED, /* the same once more, under the name it had before */
	VM_EVENT_MEMORY_SIZE_CHANGED,   /* device, path, size_bytes: a virtio-mem's plugged size */
	VM_EVENT_BALLOON_CHANGED,       /* size_bytes: memory that the guest has left */
};

/*
 * Why a VM ends or is reset: those of QEMU's ShutdownCause (qapi/run-state.json) that there are here,
 * in its order, so the guest's doings come last.
 */
enum vm_cause {
	VM_CAUSE_NONE,
	VM_CAUSE_HOST_ERROR, /* KVM or the guest did what can't go on */
	VM_CAUSE_HOST_QMP_QUIT,
	VM_CAUSE_HOST_QMP_SYSTEM_RESET,
	VM_CAUSE_HOST_SIGNAL,
	VM_CAUSE_HOST_UI, /* a key at the console, or the program that has the VM */
	VM_CAUSE_GUEST_SHUTDOWN,
	VM_CAUSE_GUEST_RESET,
};

/**
 * struct vm_notice - one event; what it does not name in its comment above is zero
 * @cause: for RESET and SHUTDOWN
 * @device: the id it was given; NULL: none, or the slot is empty
 * @path: its QOM path
 * @source, @status: arguments of _OST (ACPI 6.4, 6.3.5)
 * @reason: a text for people
 */
struct vm_notice {
	enum vm_event event;
	enum vm_cause cause;
	const char *device;
	const char *path;
	unsigned int slot;
	uint32_t source, status;
	uint64_t size_bytes;
	const char *reason;
};

/**
 * vm_event_fn - hears of an event
 * @notice: ends with the call
 *
 * Context: any thread; must not sleep for long, nor call vm_pause() or vm_resume().
 */
typedef void vm_event_fn(const struct vm_notice *notice, void *arg);

#endif
