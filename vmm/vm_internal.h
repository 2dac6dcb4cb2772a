/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_VM_INTERNAL_H
#define VMM_VM_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "devices/bus.h"
#include "devices/irq.h"
#include "vmm/acpi.h"
#include "vmm/chardev.h"
#include "vmm/dimm.h"
#include "vmm/image.h"
#include "vmm/kvm.h"
#include "vmm/layout.h"
#include "vmm/memory_devices.h"
#include "vmm/qom.h"
#include "vmm/vcpu.h"
#include "vmm/virtio_slots.h"
#include "vmm/vm.h"

/*
 * Shared by vm.c (life and control), vm_memory.c, vm_machine.c (KVM and vCPUs, made anew by a reset),
 * vm_devices.c and vm_exit.c.
 */

/* Asked of vm_run(). */
#define VM_REQUEST_ERROR       1u
#define VM_REQUEST_QUIT        2u
#define VM_REQUEST_POWEROFF    4u
#define VM_REQUEST_RESET_GUEST 8u
#define VM_REQUEST_RESET_HOST  16u
#define VM_REQUEST_RESET       (VM_REQUEST_RESET_GUEST | VM_REQUEST_RESET_HOST)

/**
 * struct vm_devices - the devices and how they are joined; pointers are immutable
 */
struct vm_devices {
	struct bus *mmio, *pio;
	struct chardev *chardev;
	struct serial *serial;
	struct serial *second_serial; /* NULL: none */
	struct rtc *rtc;
	struct i8042 *i8042;
	struct power *power;
	struct pvpanic *pvpanic;
	struct dimms *dimms; /* NULL: no slots */
	struct vm_virtio *virtio;
	struct irq serial_irq, second_serial_irq, rtc_irq, memory_irq, button_irq;
};

struct vm_listener {
	vm_event_fn *fn;
	void *arg;
};

/**
 * struct vm - a virtual machine
 *
 * Locks: I: immutable after vm_create(). A: atomic. C: under @control. E: under @error_lock, which
 * may be taken with @control held. R: vm_add_listener() before vm_run() alone, then immutable.
 *
 * vCPU threads never take @control: whoever holds it may be waiting for them.
 */
struct vm {
	const struct vm_config *config;        /* I */
	struct guest_mm *mm;                   /* I */
	struct layout layout;                  /* I */
	gpa_t virtio_mem_gpas[VIRTIO_SLOTS];   /* I: of each of the config's virtio_mems */
	struct image kernel, initrd;           /* I */
	struct acpi_tables acpi;               /* I */
	struct qom *qom;                       /* I */
	struct memory_devices *memory_devices; /* I */
	const struct vm_balloon *balloon;      /* R */
	struct vm_devices devices;             /* I */
	int wake_fd;                           /* I: an eventfd; @requests has changed */
	atomic_uint requests;                  /* A: VM_REQUEST_* */
	atomic_int quit_cause;                 /* A: enum vm_cause of the first vm_quit() */
	atomic_int state;                      /* A: enum vm_state; written under @control */
	atomic_int *tids;                      /* A: of the vCPU threads, one per vCPU */
	pthread_mutex_t control;
	struct kvm kvm;                /* C; system_fd and limits I */
	struct vcpu **vcpus;           /* C: config->cpus, NULL: none */
	bool threads;                  /* C: vCPU threads have been started */
	bool paused;                   /* C: vCPUs sleep, or will when they are started */
	bool let_go;                   /* C: held writes were let go, to end vCPUs */
	struct vm_listener *listeners; /* R */
	unsigned int listener_count;   /* R */
	pthread_mutex_t error_lock;
	struct samara_error error; /* E: the first one */
};

/* Ask vm_run(). Context: any thread. */
void vm_request(struct vm *vm, unsigned int request);

/* End the VM with an error; the first one counts. Context: any thread. */
void vm_fail(struct vm *vm, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The same with an error that is there already. */
void vm_fail_with(struct vm *vm, const struct samara_error *error);

/* Return: 0, -EINVAL: the VM has ended. Context: @control held, for it to stay so. */
int vm_check_alive(struct vm *vm, struct samara_error *err);

/* A line about a guest that misbehaves, to stderr. @arg: not used. Context: any thread. */
void vm_warn(void *arg, const char *line);

/* vm_devices.c. Context: creation and destruction, or a reset: no vCPU runs. */
int vm_devices_create(struct vm *vm, struct samara_error *err);
void vm_devices_destroy(struct vm *vm);
void vm_devices_reset(struct vm *vm);
int vm_devices_connect(struct vm *vm, struct samara_error *err);
int vm_devices_plug(struct vm *vm, struct samara_error *err);
int vm_devices_start(struct vm *vm, struct samara_error *err);
void vm_devices_stop(struct vm *vm);

/*
 * vm_virtio.c: the virtio devices, and their places in the address map. Place: before memory is
 * created. Create, destroy, reset, connect: as those of vm_devices.c. Stop: the VM has ended, nothing
 * is told any more; takes @control. Pause, resume: @control held.
 */
int vm_virtio_place(struct vm *vm, struct samara_error *err);
int vm_virtio_create(struct vm *vm, struct samara_error *err);
void vm_virtio_destroy(struct vm *vm);
void vm_virtio_reset(struct vm *vm);
int vm_virtio_connect(struct vm *vm, struct samara_error *err);
void vm_virtio_pause(struct vm *vm);
void vm_virtio_resume(struct vm *vm);
void vm_virtio_stop(struct vm *vm);

/*
 * vm_machine.c. Context: @control held.
 *
 * vm_machine_create() makes the KVM VM and its vCPUs and loads the kernel; vm_machine_start()
 * starts the threads; vm_machine_destroy() ends the threads and undoes all.
 */
int vm_machine_create(struct vm *vm, struct samara_error *err);
int vm_machine_start(struct vm *vm, struct samara_error *err);
void vm_machine_stop(struct vm *vm);
void vm_machine_destroy(struct vm *vm);
int vm_machine_pause(struct vm *vm, struct samara_error *err);
void vm_machine_resume(struct vm *vm);

/*
 * vm_memory.c: guest memory as the configuration says: its windows, what is plugged at start, where
 * on the host it is. Context: creation; the layout is complete.
 */
int vm_memory_create(struct vm *vm, struct samara_error *err);

/* vm_exit.c: handle an exit; @arg is the struct vm. */
vcpu_exit_fn vm_exit;

#endif
