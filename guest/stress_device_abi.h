/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef GUEST_STRESS_DEVICE_ABI_H
#define GUEST_STRESS_DEVICE_ABI_H

/*
 * The part of the control block about memory that devices give and take: blocks of virtio-mem, pages
 * of the balloon, parts of DIMMs. All of these are units, which a vCPU takes to work with them, so
 * that it is always known what has to be in them. Included by guest/stress_abi.h.
 */

/* Kinds of units; each has a driver in the guest, which runs on one vCPU. */
enum stress_pool_kind {
	STRESS_POOL_MEM,
	STRESS_POOL_BALLOON,
	STRESS_POOL_DIMM,
	STRESS_POOLS
};

#define STRESS_UNITS        640u
#define STRESS_DRIVER_BYTES 4096u

/* Pages of a unit that a visit checks and writes, at most. */
#define STRESS_UNIT_PAGES   4u

enum stress_unit_state {
	STRESS_UNIT_ABSENT,  /* not plugged; of the balloon: in it */
	STRESS_UNIT_THERE,   /* for anybody to take, who puts it back */
	STRESS_UNIT_TAKEN,   /* somebody is at it */
	STRESS_UNIT_LEAVING, /* ejected; the host makes it ABSENT when it is gone */
};

/**
 * struct stress_unit - one of them
 * @state: atomic, enum stress_unit_state; who has taken it owns the other fields
 * @generation: of the last write, also of one that is gone: stress_unit_area() says where it was
 * @written: its words are there; else they are 0
 */
struct stress_unit {
	uint32_t state, generation, written, pad;
};

/**
 * struct stress_pool - the units of one device
 * @count: 0: there is no such device
 * @first: index of the first in struct stress_devices_block.unit
 * @cpu: the vCPU that runs its driver
 * @registers: gpa of the virtio-mmio registers, or the port of the DIMMs'
 */
struct stress_pool {
	uint64_t gpa, unit_bytes, registers;
	uint32_t count, first, cpu, pad;
};

/**
 * struct stress_devices_block - filled by the host before the vCPUs start
 * @balloon_keeps: pages in the balloon may keep their contents: the host makes discards fail
 * @driver: the drivers' own, by enum stress_pool_kind: rings, requests
 */
struct stress_devices_block {
	struct stress_pool pool[STRESS_POOLS];
	uint32_t balloon_keeps, pad;
	struct stress_unit unit[STRESS_UNITS];
	unsigned char driver[STRESS_POOLS][STRESS_DRIVER_BYTES] __attribute__((aligned(4096)));
};

/* The generation that marks what is written where nothing is; no unit has it. */
#define STRESS_NOTHING_GENERATION ((1u << STRESS_GENERATION_BITS) - 1)

/**
 * stress_unit_area() - which words of a unit one generation writes
 * @words: per page, struct stress_control.words
 *
 * They move from one to the next, so that each word has its turn.
 */
static inline struct stress_area stress_unit_area(const struct stress_pool *pool, uint32_t index,
						  uint32_t generation, uint32_t words)
{
	uint32_t total = (uint32_t)(pool->unit_bytes >> STRESS_PAGE_SHIFT);
	struct stress_area area = {
		.gpa = pool->gpa + index * pool->unit_bytes,
		.generation = generation,
		.pages = total < STRESS_UNIT_PAGES ? total : STRESS_UNIT_PAGES,
		.words = words,
		.word_step = STRESS_PAGE_WORDS / words,
	};

	area.page_step = total / area.pages;
	area.first_page = generation % area.page_step;
	area.first_word = generation % area.word_step;
	return area;
}

#endif
