/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef GUEST_DEVICES_H
#define GUEST_DEVICES_H

#include <stdbool.h>

#include "guest/guest.h"

/*
 * Memory that devices give and take. A driver runs on one vCPU, which looks at its device between
 * its other work: there are no interrupts, and nobody waits. Drivers keep what is theirs in struct
 * stress_devices_block.driver.
 */

/* devices.c: the drivers that this vCPU sees to; a visit to a unit. */
void devices_poll(struct cpu *cpu);
void unit_round(struct cpu *cpu);

/* The drivers: one look at the device. */
void virtio_mem_poll(struct cpu *cpu);
void balloon_poll(struct cpu *cpu);
void dimm_poll(struct cpu *cpu);

/*
 * Cycles between two looks at a device's registers, some milliseconds: each is an exit, and what
 * comes of it takes long where every instruction is emulated. The vCPU has other work, too.
 */
#define DEVICE_POLL_CYCLES (UINT64_C(1) << 23)

/* Whether it is time for the next look. */
static inline bool device_is_due(uint64_t *next)
{
	uint64_t now = rdtsc();

	if (now < *next)
		return false;
	*next = now + DEVICE_POLL_CYCLES;
	return true;
}

static inline const struct stress_pool *pool_of(const struct cpu *cpu, enum stress_pool_kind kind)
{
	return &cpu->control->devices.pool[kind];
}

static inline void *driver_of(struct cpu *cpu, enum stress_pool_kind kind)
{
	return cpu->control->devices.driver[kind];
}

static inline struct stress_unit *unit_of(struct cpu *cpu, const struct stress_pool *pool,
					  uint32_t index)
{
	return &cpu->control->devices.unit[pool->first + index];
}

/* units.c: take a unit that is in a state, and give it one again. */
bool unit_take(struct cpu *cpu, const struct stress_pool *pool, uint32_t index,
	       enum stress_unit_state state);
void unit_put(struct cpu *cpu, const struct stress_pool *pool, uint32_t index,
	      enum stress_unit_state state);

/* To units that are taken: what is in it has to be there; that it was given has to be all zero. */
void unit_check(struct cpu *cpu, const struct stress_pool *pool, uint32_t index, uint32_t kind);
void unit_given(struct cpu *cpu, const struct stress_pool *pool, uint32_t index, uint32_t kind);

/* Write it anew. */
void unit_fill(struct cpu *cpu, const struct stress_pool *pool, uint32_t index);

/* It is gone: whatever was in it. */
void unit_gone(struct cpu *cpu, const struct stress_pool *pool, uint32_t index);

/* Reach for what is not there: it reads as zeros, or as what was written there a moment ago. */
void unit_reach(struct cpu *cpu, const struct stress_pool *pool, uint32_t index, uint32_t kind,
		bool write);

/* The same while it is unplugged: what was there, or zeros; and a write, which is to be lost. */
void unit_race(struct cpu *cpu, const struct stress_pool *pool, uint32_t index);

#endif
