/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_STRESS_DEVICES_H
#define VMM_STRESS_DEVICES_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <samara/error.h>
#include <samara/guest_mm.h>

#include "devices/memory_hotplug_registers.h"
#include "devices/virtio_balloon.h"
#include "devices/virtio_mem.h"
#include "vmm/dimm.h"
#include "vmm/memory_devices.h"
#include "vmm/qom.h"
#include "vmm/stress.h"
#include "vmm/vm_event.h"

/*
 * Operations of a run that a guest's driver has a part in: another size of virtio-mem or of the
 * balloon, a DIMM that comes or goes. An operator asks and goes on; the operation is over, and is
 * counted and timed, when the device hears that the guest has done it. Who made the devices, and
 * which guest drives them, is all the same here.
 */
struct stress;
struct stress_worker;

/*
 * A guest that has not answered after so long, and so many rounds of its vCPUs or as long without
 * one, never will: that is an error of the run. A busy host may give it few rounds in that time.
 */
#define STRESS_ANSWER_S      60
#define STRESS_ANSWER_ROUNDS 2000u

/**
 * struct stress_devices_config - which devices there are; NULL: there is none of the kind
 * @mem, @mem_path: the device, and the QOM path by which it is asked
 * @mem_gpa, @mem_bytes, @block_bytes: its range
 * @balloon: asked for up to @balloon_pages
 * @dimms: slots 0 to @dimm_slots - 1 of it are used; slot n has its place at @dimm_gpa + n *
 *         @dimm_units * @dimm_unit_bytes, and DIMMs of up to @dimm_units units
 * @dimm_gone: a DIMM's memory is gone; may be NULL
 * @rounds: how many the slowest vCPU with a driver has made; NULL: time alone counts
 * @may_decline: the guest has a use for memory of its own: what it has not done in time is counted,
 *               and something else asked; else that is an error
 *
 * Context of @dimm_gone: memory_devices_lock() held; of @rounds: any. They must not sleep.
 */
struct stress_devices_config {
	struct memory_devices *memory;
	struct qom *qom;
	struct virtio_mem *mem;
	const char *mem_path;
	gpa_t mem_gpa;
	uint64_t mem_bytes, block_bytes;
	struct virtio_balloon *balloon;
	gpa_t balloon_gpa;
	uint32_t balloon_pages;
	struct dimms *dimms;
	unsigned int dimm_slots, dimm_units;
	gpa_t dimm_gpa;
	uint64_t dimm_unit_bytes;
	void (*dimm_gone)(void *arg, gpa_t gpa, uint64_t size_bytes);
	uint64_t (*rounds)(void *arg);
	bool may_decline;
	void *arg;
};

/**
 * struct stress_request - what was asked of the guest at one device, or one DIMM slot
 *
 * Lock: that of struct stress_devices; but while it is @taken and not @asked, its taker's.
 * @taken: by an operator, who is about to ask, or by what was asked
 * @asked: the guest's answer is to come
 * @broken: something went wrong: it is left alone
 * @there: of a DIMM: it is plugged
 * @gpa, @size_bytes: the range that changes
 * @wanted: bytes that are to be there, or in the balloon
 * @number: in the log
 * @rounds: of the guest when it was asked; @rounds_seen at @seen_ns
 */
struct stress_request {
	bool taken, asked, broken, there;
	enum stress_op op;
	gpa_t gpa;
	uint64_t size_bytes, wanted;
	uint64_t began_ns, number;
	uint64_t rounds, rounds_seen, seen_ns;
};

/**
 * struct stress_devices - a run's devices
 *
 * Locks: I: immutable while workers run. l: under @lock, which is taken before those of the log and
 * of errors, and after those of the devices. Counters are read without it by who shows how the run
 * goes.
 */
struct stress_devices {
	struct stress *stress;               /* I */
	struct stress_devices_config config; /* I */
	pthread_mutex_t lock;
	struct stress_request mem, balloon;                   /* l */
	struct stress_request dimm[MEMORY_HOTPLUG_SLOTS_MAX]; /* l */
	uint64_t operations[STRESS_OPS];                      /* l */
	uint64_t declined;                                    /* l */
	struct stress_hist operation_ns[STRESS_OPS];          /* l */
};

void stress_devices_init(struct stress_devices *devices, struct stress *s,
			 const struct stress_devices_config *config);

/* A vm_event_fn; @arg is the struct stress_devices. The devices' owner passes all events on. */
void stress_devices_notice(const struct vm_notice *notice, void *arg);

/**
 * stress_devices_step() - ask for something at the device that @what names
 *
 * Does nothing while an earlier request there has no answer, or where there is no such device.
 *
 * Context: an operator; may sleep, holds nothing.
 */
void stress_devices_step(struct stress_worker *w, enum stress_mix what);

/* End requests that are overdue, as errors. Context: any thread, one at a time. */
void stress_devices_look(struct stress_devices *devices);

/**
 * stress_devices_finish() - wait for all answers, as long as stress_devices_look() has patience
 *
 * What the devices count as the driver's faults, or the host's, becomes errors of the run.
 *
 * Context: operators have ended, the guest runs.
 * @guest_failed: whether it does not any more, so that there is nothing to wait for
 */
void stress_devices_finish(struct stress_devices *devices, bool (*guest_failed)(struct stress *s));

#endif
