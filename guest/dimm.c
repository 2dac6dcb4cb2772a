/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a guest's ACPI does for DIMMs (vmm/memory_hotplug.asl), straight at the registers: it hears
 * that one has come, takes it into use and says so by what _OST stands for; hears that one is to
 * go, stops using it and ejects it, or says now and then that it is busy.
 */
#include "devices/memory_hotplug_registers.h"
#include "guest/devices.h"

/* Arguments of _OST: ACPI 6.4, 6.3.5, tables 6.61 to 6.63. */
#define OST_INSERT   0x1u
#define OST_EJECT    0x3u
#define OST_SUCCESS  0x0u
#define OST_BUSY     0x82u

/* One of so many requests to let a DIMM go is refused. */
#define REFUSE_EVERY 8u

/**
 * struct dimm_driver - what it knows
 * @phase: what it does with the DIMM in @slot: parts @first to @first + @count, up to @at by now
 */
struct dimm_driver {
	enum {
		IDLE,
		ADDING,
		REMOVING
	} phase;
	uint32_t slot, first, count, at, removals;
	uint64_t next_look;
};

static uint32_t load(const struct stress_pool *pool, uint32_t offset)
{
	uint16_t port = (uint16_t)(pool->registers + offset);
	uint32_t value;

	asm volatile("inl %w1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}

static void store(const struct stress_pool *pool, uint32_t offset, uint32_t value)
{
	uint16_t port = (uint16_t)(pool->registers + offset);

	asm volatile("outl %0, %w1" : : "a"(value), "Nd"(port) : "memory");
}

static void say(const struct stress_pool *pool, const struct dimm_driver *driver, uint32_t event,
		uint32_t status)
{
	store(pool, MEMORY_HOTPLUG_SLOT, driver->slot);
	store(pool, MEMORY_HOTPLUG_OST_EVENT, event);
	store(pool, MEMORY_HOTPLUG_OST_STATUS, status);
}

/* Whether there is news of a slot; which it is, and where the DIMM is. */
static void look(const struct stress_pool *pool, struct dimm_driver *driver)
{
	uint32_t status;
	uint64_t gpa, size_bytes;

	driver->slot = load(pool, MEMORY_HOTPLUG_NEXT);
	if (driver->slot == MEMORY_HOTPLUG_NONE)
		return;
	/* To ask for its address is to have heard that it came. */
	status = load(pool, MEMORY_HOTPLUG_STATUS);
	gpa = load(pool, MEMORY_HOTPLUG_GPA_LOW) | (uint64_t)load(pool, MEMORY_HOTPLUG_GPA_HIGH)
							   << 32;
	size_bytes = load(pool, MEMORY_HOTPLUG_SIZE_LOW) |
		     (uint64_t)load(pool, MEMORY_HOTPLUG_SIZE_HIGH) << 32;
	driver->first = driver->at = (uint32_t)((gpa - pool->gpa) / pool->unit_bytes);
	driver->count = (uint32_t)(size_bytes / pool->unit_bytes);
	if (status & MEMORY_HOTPLUG_INSERTING) {
		driver->phase = ADDING;
		return;
	}
	store(pool, MEMORY_HOTPLUG_STATUS, MEMORY_HOTPLUG_REMOVING);
	if (++driver->removals % REFUSE_EVERY == 0)
		say(pool, driver, OST_EJECT, OST_BUSY);
	else
		driver->phase = REMOVING;
}

/* Both go on at the next look where a part is another vCPU's just then. */
static void add(struct cpu *cpu, const struct stress_pool *pool, struct dimm_driver *driver)
{
	for (; driver->at < driver->first + driver->count; driver->at++) {
		if (!unit_take(cpu, pool, driver->at, STRESS_UNIT_ABSENT))
			return;
		unit_given(cpu, pool, driver->at, STRESS_ERROR_FRESH);
		unit_fill(cpu, pool, driver->at);
		unit_put(cpu, pool, driver->at, STRESS_UNIT_THERE);
	}
	driver->phase = IDLE;
	say(pool, driver, OST_INSERT, OST_SUCCESS);
}

static void remove(struct cpu *cpu, const struct stress_pool *pool, struct dimm_driver *driver)
{
	uint32_t end = driver->first + driver->count, i;

	for (; driver->at < end; driver->at++) {
		if (!unit_take(cpu, pool, driver->at, STRESS_UNIT_THERE))
			return;
		unit_check(cpu, pool, driver->at, STRESS_ERROR_PATTERN);
	}
	for (i = driver->first; i < end; i++) {
		unit_gone(cpu, pool, i);
		unit_put(cpu, pool, i, STRESS_UNIT_LEAVING);
	}
	driver->phase = IDLE;
	store(pool, MEMORY_HOTPLUG_SLOT, driver->slot);
	store(pool, MEMORY_HOTPLUG_STATUS, MEMORY_HOTPLUG_EJECT);
	say(pool, driver, OST_EJECT, OST_SUCCESS);
}

void dimm_poll(struct cpu *cpu)
{
	const struct stress_pool *pool = pool_of(cpu, STRESS_POOL_DIMM);
	struct dimm_driver *driver = driver_of(cpu, STRESS_POOL_DIMM);

	if (driver->phase == IDLE && device_is_due(&driver->next_look))
		look(pool, driver);
	if (driver->phase == ADDING)
		add(cpu, pool, driver);
	else if (driver->phase == REMOVING)
		remove(cpu, pool, driver);
}
