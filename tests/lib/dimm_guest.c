/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <cmocka.h>

#include "tests/lib/dimm_guest.h"
#include "tests/lib/straw_vm.h"
#include "vmm/dimm.h"

uint32_t slots_read(unsigned int offset)
{
	uint32_t value = 0;

	memory_hotplug_bus_ops.read(dimms_registers(straw.dimms), offset, &value, 4);
	return value;
}

void slots_write(unsigned int offset, uint32_t value)
{
	memory_hotplug_bus_ops.write(dimms_registers(straw.dimms), offset, &value, 4);
}

void slot_report(unsigned int slot, uint32_t event, uint32_t status)
{
	slots_write(MEMORY_HOTPLUG_SLOT, slot);
	slots_write(MEMORY_HOTPLUG_OST_EVENT, event);
	slots_write(MEMORY_HOTPLUG_OST_STATUS, status);
}

void slot_eject(unsigned int slot)
{
	slots_write(MEMORY_HOTPLUG_SLOT, slot);
	slots_write(MEMORY_HOTPLUG_STATUS, MEMORY_HOTPLUG_EJECT);
}

gpa_t slot_gpa(unsigned int slot)
{
	slots_write(MEMORY_HOTPLUG_SLOT, slot);
	return slots_read(MEMORY_HOTPLUG_GPA_LOW) | (gpa_t)slots_read(MEMORY_HOTPLUG_GPA_HIGH)
							    << 32;
}

unsigned int slot_hear_of(uint32_t news)
{
	uint32_t slot = slots_read(MEMORY_HOTPLUG_NEXT);

	assert_true(slot < SLOTS);
	assert_true(slots_read(MEMORY_HOTPLUG_STATUS) & news);
	slots_write(MEMORY_HOTPLUG_STATUS, news);
	return slot;
}

/* ---- A guest that works ---------------------------------------------------------------------- */

static void work_off_news(struct dimm_guest *guest)
{
	uint32_t slot;

	while ((slot = slots_read(MEMORY_HOTPLUG_NEXT)) != MEMORY_HOTPLUG_NONE) {
		if (slots_read(MEMORY_HOTPLUG_STATUS) & MEMORY_HOTPLUG_INSERTING) {
			slots_write(MEMORY_HOTPLUG_STATUS, MEMORY_HOTPLUG_INSERTING);
			slot_report(slot, 1, 0);
		} else {
			slots_write(MEMORY_HOTPLUG_STATUS, MEMORY_HOTPLUG_REMOVING);
			slot_report(slot, 3, 0x84);
			if (guest->refuses) {
				slot_report(slot, 3, 0x82);
			} else {
				slot_eject(slot);
				slot_report(slot, 3, 0);
			}
		}
	}
}

static void *run_guest(void *arg)
{
	struct pollfd irq = {.fd = straw.irq, .events = POLLIN};
	struct dimm_guest *guest = arg;
	eventfd_t count;

	while (!guest->stop) {
		if (poll(&irq, 1, 50) == 1)
			eventfd_read(straw.irq, &count);
		work_off_news(guest);
	}
	return NULL;
}

void dimm_guest_start(struct dimm_guest *guest)
{
	guest->stop = false;
	guest->refuses = false;
	assert_int_equal(pthread_create(&guest->thread, NULL, run_guest, guest), 0);
}

void dimm_guest_stop(struct dimm_guest *guest)
{
	guest->stop = true;
	pthread_join(guest->thread, NULL);
}
