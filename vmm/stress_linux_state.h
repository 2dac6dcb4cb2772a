/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_STRESS_LINUX_STATE_H
#define VMM_STRESS_LINUX_STATE_H

#include "vmm/stress_linux_guest.h"
#include "vmm/stress_state.h"
#include "vmm/stress_watch.h"
#include "vmm/stress_workers.h"

/* Within a run with a Linux guest; for vmm/stress_linux*.c alone. */

/**
 * struct stress_linux_range - memory that is there from start to end, cut into places
 */
struct stress_linux_range {
	gpa_t gpa;
	unsigned int places;
};

#define STRESS_LINUX_RANGES 2u /* below 3 GiB, and from 4 GiB on */

/* Files behind places, at most: each takes a file descriptor. */
#define STRESS_LINUX_FILES  128u

/**
 * struct stress_linux - a run with a Linux guest
 *
 * Locks: I: immutable while workers run. Others as noted.
 * @base: what it has in common with runs of samara's own guest; the first member. Its slots are
 *   places of guest memory: those of @boot, then virtio-mem's, then the DIMMs'
 * @own: the agent's memory that may be write-protected
 */
struct stress_linux {
	struct stress base;
	struct stress_linux_guest guest;
	uint64_t place_bytes;                                /* I */
	struct stress_linux_range boot[STRESS_LINUX_RANGES]; /* I */
	unsigned int boot_places, device_places;             /* I */
	gpa_t mem_gpa, dimm_gpa;                             /* I; 0: none */
	struct stress_agent_range own[AGENT_OWN_PAGES];      /* I */
	unsigned int own_count;                              /* I */
	unsigned int in_files;                               /* A: places with a file behind them */
	uint8_t in_file[STRESS_MAX_SLOTS];                   /* A: a byte for each place */
	unsigned int told;                /* the main thread's: wrong words told of */
	uint64_t least_bytes, most_bytes; /* the main thread's: of the guest's memory */
	char missing[64];                 /* I */
};

/* An operator's step (vmm/stress_linux_op.c). */
enum stress_step stress_linux_step(struct stress_worker *w, const struct stress_plan *plan);

/* Which devices operators have to do with (vmm/stress_linux_device.c). Context: the VM is made. */
void stress_linux_devices_init(struct stress_linux *l);

/**
 * stress_linux_is_well() - whether the guest runs, and its agent works and speaks
 *
 * Return: false: @err says why not.
 */
bool stress_linux_is_well(struct stress_linux *l, struct samara_error *err);

/*
 * Let it have its time, and tell the watcher of it (vmm/stress_linux_watch.c); what was done and found.
 * Context: the main thread.
 */
void stress_linux_watch(struct stress_linux *l, struct stress_lookout *lookout,
			const volatile int *interrupt, struct stress_result *result);
void stress_linux_collect(struct stress_linux *l, const struct stress_workers *workers,
			  struct stress_lookout *lookout, struct stress_result *result);

#endif
