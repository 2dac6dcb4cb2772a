/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DEVICES_MEMORY_HOTPLUG_H
#define DEVICES_MEMORY_HOTPLUG_H

#include <stdbool.h>
#include <stdint.h>

#include <samara/types.h>

#include "devices/bus.h"
#include "devices/irq.h"
#include "devices/memory_hotplug_registers.h"

/*
 * What stands behind the ACPI memory devices (PNP0C80; ACPI 6.4, 9.11): a row of slots, each empty
 * or with a range of memory in it, and an interrupt that says that one has something to tell. The
 * AML of vmm/memory_hotplug.asl is its driver.
 *
 * Plugging and unplugging the memory itself is the owner's business, who hears by callback when
 * the guest has let a range go.
 */
struct memory_hotplug;

/**
 * struct memory_hotplug_config - what the slots are joined to
 * @slots: how many, at most MEMORY_HOTPLUG_SLOTS_MAX
 * @irq: pulsed when a slot has something to tell
 * @ejected: the guest has let the slot's range go; it is disabled already, and can be used again
 * after memory_hotplug_remove()
 * @reported: the guest evaluated _OST (ACPI 6.4, 6.3.5)
 * @arg: for both
 *
 * Context of the callbacks: a vCPU's thread; must not sleep for long nor call back into the device.
 */
struct memory_hotplug_config {
	unsigned int slots;
	struct irq irq;
	void (*ejected)(void *arg, unsigned int slot);
	void (*reported)(void *arg, unsigned int slot, uint32_t event, uint32_t status);
	void *arg;
};

/**
 * memory_hotplug_create() - make the slots, all empty
 *
 * Return: 0, -EINVAL (too many slots), -ENOMEM.
 */
int memory_hotplug_create(const struct memory_hotplug_config *config, struct memory_hotplug **out);

/* Context: It is on no bus. */
void memory_hotplug_destroy(struct memory_hotplug *hotplug);

/**
 * memory_hotplug_insert() - put a range into an empty slot
 * @node: proximity domain
 * @announce: tell the guest; else it finds the range when it boots
 *
 * Context: Does not sleep; any thread.
 * Return: 0, -EBUSY (not empty, or ejected and not removed), -EINVAL (no such slot).
 */
int memory_hotplug_insert(struct memory_hotplug *hotplug, unsigned int slot, gpa_t gpa,
			  uint64_t size_bytes, uint32_t node, bool announce);

/**
 * memory_hotplug_request_removal() - ask the guest to let a range go
 *
 * Asks again, if it was asked before.
 *
 * Context: Does not sleep; any thread.
 * Return: 0, -ENOENT (the slot is empty or there is none).
 */
int memory_hotplug_request_removal(struct memory_hotplug *hotplug, unsigned int slot);

/* Empty a slot. Context: Does not sleep; the guest has let it go, or no vCPU runs. */
void memory_hotplug_remove(struct memory_hotplug *hotplug, unsigned int slot);

/**
 * memory_hotplug_remind() - pulse the interrupt again if the guest has not asked what is to be told
 *
 * An edge that comes before the guest's driver is there is lost.
 *
 * Context: Does not sleep; any thread.
 * Return: whether there is something to be told.
 */
bool memory_hotplug_remind(struct memory_hotplug *hotplug);

/* The machine was reset: ranges stay, what was to be told is forgotten (the guest looks anew). */
void memory_hotplug_reset(struct memory_hotplug *hotplug);

/* The device is a struct memory_hotplug at MEMORY_HOTPLUG_BYTES addresses. */
extern const struct bus_ops memory_hotplug_bus_ops;

#endif
