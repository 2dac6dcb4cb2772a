/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest/devices.h"

/* Knuth's constants for a linear congruential generator modulo 2^64; its high bits are the good ones. */
static uint64_t next_random(struct cpu *cpu)
{
	cpu->random = cpu->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return cpu->random >> 33;
}

/*
 * A unit that is there is checked and written; one that is not is reached for all the same. What is
 * written to a page in the balloon stays, and a DIMM is plugged before its driver hears of it, so
 * these are only read.
 */
static void visit_unit(struct cpu *cpu, enum stress_pool_kind kind, uint32_t index, bool write)
{
	const struct stress_pool *pool = pool_of(cpu, kind);

	if (unit_take(cpu, pool, index, STRESS_UNIT_THERE)) {
		unit_check(cpu, pool, index, STRESS_ERROR_PATTERN);
		unit_fill(cpu, pool, index);
		unit_put(cpu, pool, index, STRESS_UNIT_THERE);
		cpu->me->device_visits++;
	} else if (unit_take(cpu, pool, index, STRESS_UNIT_ABSENT)) {
		if (kind != STRESS_POOL_BALLOON)
			unit_reach(cpu, pool, index, STRESS_ERROR_NOTHING,
				   write && kind == STRESS_POOL_MEM);
		else if (!cpu->control->devices.balloon_keeps)
			unit_reach(cpu, pool, index, STRESS_ERROR_BALLOON, false);
		unit_put(cpu, pool, index, STRESS_UNIT_ABSENT);
	}
}

void devices_poll(struct cpu *cpu)
{
	static void (*const polls[STRESS_POOLS])(struct cpu * cpu) = {
		[STRESS_POOL_MEM] = virtio_mem_poll,
		[STRESS_POOL_BALLOON] = balloon_poll,
		[STRESS_POOL_DIMM] = dimm_poll,
	};
	enum stress_pool_kind kind;

	for (kind = 0; kind < STRESS_POOLS; kind++)
		if (pool_of(cpu, kind)->count && pool_of(cpu, kind)->cpu == cpu->index)
			polls[kind](cpu);
}

void unit_round(struct cpu *cpu)
{
	uint64_t random = next_random(cpu);
	enum stress_pool_kind kind = random % STRESS_POOLS;
	uint32_t count = pool_of(cpu, kind)->count;

	if (count)
		visit_unit(cpu, kind, (uint32_t)(random >> 8) % count, random & 0x80);
}
