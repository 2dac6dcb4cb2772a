/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_DIMM_H
#define VMM_DIMM_H

#include <samara/error.h>

#include "devices/memory_hotplug.h"
#include "vmm/memory_devices.h"

/*
 * pc-dimm: memory devices that the guest hears of by ACPI. A DIMM is plugged as a whole before the
 * guest is told; it is unplugged when the guest ejects it, which it may refuse.
 *
 * What the guest does arrives on vCPU threads, inside an access to the register block; a thread of
 * its own carries it out.
 */
struct dimms;

/**
 * dimms_create() - make the slots, all empty
 * @slots: at most MEMORY_HOTPLUG_SLOTS_MAX
 * @irq: of the Generic Event Device
 *
 * Context: may sleep, starts a thread.
 * Return: 0, -EINVAL, -ENOMEM, -EAGAIN (no thread to be had).
 */
int dimms_create(struct memory_devices *devices, unsigned int slots, struct irq irq,
		 struct dimms **out, struct samara_error *err);

/**
 * dimms_stop() - end the thread: what the guest does from now on has no effect, and is not told
 *
 * Context: may sleep; any number of times.
 */
void dimms_stop(struct dimms *dimms);

/* Context: stopped, and @devices is destroyed; the register block is on no bus. */
void dimms_destroy(struct dimms *dimms);

/* The register block, for a bus. */
struct memory_hotplug *dimms_registers(struct dimms *dimms);

#define DIMM_ANY_SLOT (-1)

/**
 * dimms_plug() - plug a DIMM and tell the guest
 * @slot: DIMM_ANY_SLOT, or which
 *
 * Context: may sleep.
 * Return: 0; -EINVAL or -EBUSY (the slot), -ENOSPC (no slot is free), or as memory_device_init()
 * and memory_backend_plug(). The guest's answer comes as VM_EVENT_ACPI_OST.
 */
int dimms_plug(struct dimms *dimms, const struct memory_device_request *request, int slot,
	       struct samara_error *err);

/**
 * struct dimm_ost - what the guest said last of a slot (_OST; ACPI 6.4, 6.3.5)
 * @id: of the DIMM in it, "" if there is none or it has none
 */
struct dimm_ost {
	char id[72];
	uint32_t source, status;
};

/**
 * dimms_get_ost() - the last report for a slot
 *
 * Context: does not sleep for long.
 * Return: 0, -ENOENT (there are not so many slots).
 */
int dimms_get_ost(struct dimms *dimms, unsigned int slot, struct dimm_ost *ost);

/**
 * struct dimm_counters - what happened since the slots were made
 * @passed: reports of the guest that were passed on
 * @dropped: reports that were too many
 * @reminders: how often it was told anew, as it had not asked what there is to tell
 */
struct dimm_counters {
	uint64_t passed, dropped, reminders;
};

/* Context: does not sleep. */
void dimms_get_counters(struct dimms *dimms, struct dimm_counters *counters);

#endif
