/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_LIB_DIMM_GUEST_H
#define TESTS_LIB_DIMM_GUEST_H

#include <pthread.h>
#include <stdatomic.h>

#include "devices/memory_hotplug.h"

/*
 * The guest's side of the DIMM slots of a VM of straw: it does with their registers what a kernel would
 * do, or what none would.
 */

#define SLOTS 8u /* there are */

uint32_t slots_read(unsigned int offset);
void slots_write(unsigned int offset, uint32_t value);

/* Evaluate _OST (ACPI 6.4, 6.3.5), _EJ0, and where its memory is. */
void slot_report(unsigned int slot, uint32_t event, uint32_t status);
void slot_eject(unsigned int slot);
gpa_t slot_gpa(unsigned int slot);

/* The next slot with news, which are acknowledged; the test fails if they are others. */
unsigned int slot_hear_of(uint32_t news);

/**
 * struct dimm_guest - a kernel's part: takes what is plugged, and lets go what it is asked for
 * @refuses: or does not
 */
struct dimm_guest {
	pthread_t thread;
	atomic_bool stop, refuses;
};

void dimm_guest_start(struct dimm_guest *guest);
void dimm_guest_stop(struct dimm_guest *guest);

#endif
