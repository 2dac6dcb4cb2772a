/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_STRESS_LINUX_GUEST_H
#define VMM_STRESS_LINUX_GUEST_H

#include <pthread.h>

#include "vmm/config.h"
#include "vmm/stress.h"
#include "vmm/stress_linux_agent.h"
#include "vmm/vm.h"

/* The last of what the guest printed on its console, for messages. */
#define STRESS_CONSOLE_BYTES  8192u

/* Its memory devices. */
#define STRESS_VIRTIO_MEM_ID  "mem0"
#define STRESS_DIMM_MIN_BYTES (UINT64_C(128) << 20)

enum stress_linux_life {
	STRESS_LINUX_CREATING,
	STRESS_LINUX_RUNNING,
	STRESS_LINUX_ENDED,
};

/**
 * struct stress_linux_guest - the VM with the Linux guest, and what is heard of it
 * @listener, @listener_arg: hears of the VM's events
 * @heard_ns: when the agent said something last; @moved_ns: when its slowest thread got on
 * @ret, @error, @end: how making it went, and how it ended; valid once @life says so
 *
 * Locks: I: immutable after stress_linux_guest_start(). L: under @lock, a leaf: vCPU threads take it
 * when the guest prints.
 */
struct stress_linux_guest {
	struct vm_config config; /* I */
	vm_event_fn *listener;   /* I */
	void *listener_arg;      /* I */
	int initrd_fd;           /* I; -1: none */
	pthread_t thread;        /* I */
	bool started;            /* I */
	struct vm *vm;           /* I; NULL: it could not be made */
	pthread_mutex_t lock;
	pthread_cond_t changed;             /* @life has changed */
	enum stress_linux_life life;        /* L */
	int ret;                            /* L */
	enum vm_end end;                    /* L */
	struct samara_error error;          /* L */
	struct stress_agent agent;          /* L */
	uint64_t heard_ns, moved_ns;        /* L */
	char console[STRESS_CONSOLE_BYTES]; /* L: a ring */
	uint64_t console_bytes;             /* L: ever */
};

/* The size of a DIMM, and how many there can be. */
uint64_t stress_linux_dimm_bytes(const struct stress_options *options);
unsigned int stress_linux_dimms(const struct stress_options *options);

/**
 * stress_linux_guest_start() - make the VM, and have it boot
 * @guest: all zero but for the listener
 *
 * Context: May sleep, starts a thread.
 * Return: 0, or why it could not be made; then stress_linux_guest_end() is called as well.
 */
int stress_linux_guest_start(struct stress_linux_guest *guest, const struct stress_options *options,
			     struct samara_error *err);

/* Have the agent stop. Return: whether the guest took all of it; else call it again. */
bool stress_linux_guest_tell_stop(struct stress_linux_guest *guest, size_t *sent);

/**
 * stress_linux_guest_why_ended() - why it is over before its time, for a person to read
 *
 * Context: @lock held; it has ended.
 * Return: @err's code.
 */
int stress_linux_guest_why_ended(struct stress_linux_guest *guest, struct samara_error *err);

/* The most telling line of the console's last ones: of a bug, a panic, or the last. Context: @lock held. */
void stress_linux_guest_last_words(const struct stress_linux_guest *guest, char *text,
				   size_t length);

/* End it if it runs, and free everything. */
void stress_linux_guest_end(struct stress_linux_guest *guest);

/* An initramfs with the agent and the modules that @modules has (vmm/stress_linux_initrd.c). */
int stress_linux_initrd_create(const char *modules, int *fd, struct samara_error *err);

#endif
