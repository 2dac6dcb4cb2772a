/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Units of memory that devices give and take, as the host sees them: it tells the guest which there
 * are, and checks what vCPUs wrote there, as a device would read it.
 */
#include <errno.h>
#include <string.h>

#include "vmm/stress_state.h"
#include "vmm/virtio_slots.h"

static void fill_pool(struct stress *s, enum stress_pool_kind kind, const struct stress_pool *pool)
{
	struct stress_devices_block *block = &s->control->devices;

	block->pool[kind] = *pool;
	block->pool[kind].cpu = kind % s->options.cpus;
	if (kind > 0)
		block->pool[kind].first = block->pool[kind - 1].first + block->pool[kind - 1].count;
}

static gpa_t registers(unsigned int slot)
{
	return VIRTIO_SLOT_GPA + (gpa_t)slot * VIRTIO_SLOT_BYTES;
}

void stress_units_init(struct stress *s)
{
	struct stress_devices_block *block = &s->control->devices;
	const struct stress_pool pools[STRESS_POOLS] = {
		[STRESS_POOL_MEM] =
			{
				.gpa = s->layout.mem_gpa,
				.unit_bytes = STRESS_MEM_BLOCK_BYTES,
				.registers = registers(STRESS_BOARD_MEM_SLOT),
				.count = s->board.mem ? STRESS_MEM_BLOCKS : 0,
			},
		[STRESS_POOL_BALLOON] =
			{
				.gpa = s->layout.balloon_gpa,
				.unit_bytes = SAMARA_PAGE_BYTES,
				.registers = registers(STRESS_BOARD_BALLOON_SLOT),
				.count = s->board.balloon ? STRESS_BALLOON_PAGES : 0,
			},
		[STRESS_POOL_DIMM] =
			{
				.gpa = s->layout.dimm_gpa,
				.unit_bytes = STRESS_DIMM_UNIT_BYTES,
				.registers = MEMORY_HOTPLUG_PORT,
				.count = s->board.dimms ? STRESS_DIMM_SLOTS * STRESS_DIMM_UNITS : 0,
			},
	};
	const struct stress_pool *balloon = &block->pool[STRESS_POOL_BALLOON];

	_Static_assert(STRESS_MEM_BLOCKS + STRESS_BALLOON_PAGES +
				       STRESS_DIMM_SLOTS * STRESS_DIMM_UNITS <=
			       STRESS_UNITS,
		       "there are more units than places for them");
	for (unsigned int kind = 0; kind < STRESS_POOLS; kind++)
		fill_pool(s, kind, &pools[kind]);
	block->balloon_keeps = inject_any_fails(&s->options.inject);
	for (uint32_t i = 0; i < balloon->count; i++)
		block->unit[balloon->first + i].state = STRESS_UNIT_THERE;
}

void stress_units_gone(void *arg, gpa_t gpa, uint64_t size_bytes)
{
	struct stress *s = arg;
	struct stress_devices_block *block = &s->control->devices;
	const struct stress_pool *pool = &block->pool[STRESS_POOL_DIMM];
	uint64_t first = (gpa - pool->gpa) / pool->unit_bytes;

	for (uint64_t i = first; i < first + size_bytes / pool->unit_bytes; i++)
		__atomic_store_n(&block->unit[pool->first + i].state, STRESS_UNIT_ABSENT,
				 __ATOMIC_RELEASE);
}

uint64_t stress_units_rounds(void *arg)
{
	const struct stress *s = arg;
	uint64_t least = UINT64_MAX;

	for (unsigned int i = 0; i < STRESS_POOLS && i < s->options.cpus; i++) {
		uint64_t beat = __atomic_load_n(&s->control->vcpu[i].heartbeat, __ATOMIC_RELAXED);

		least = beat < least ? beat : least;
	}
	return least;
}

/* ---- Checks ----------------------------------------------------------------------------------- */

static void check_page(struct stress_worker *w, const struct stress_area *area, bool written,
		       gpa_t gpa, const uint64_t *words)
{
	for (uint32_t i = 0; i < area->words; i++) {
		uint32_t k = area->first_word + i * area->word_step;
		uint64_t expected = written ? stress_pattern(gpa + k * 8, area->generation) : 0;

		if (words[k] != expected)
			stress_integrity_error(w->stress, "contents as a device reads them",
					       gpa + k * 8, area->generation, expected, words[k]);
	}
	w->checked_bytes += area->words * 8;
}

/* Its contents, whoever owns it just then. */
static void check_unit(struct stress_worker *w, const struct stress_pool *pool, uint32_t index,
		       const struct stress_unit *unit)
{
	struct stress_area area = stress_unit_area(pool, index, unit->generation, w->stress->words);

	for (uint32_t i = 0; i < area.pages; i++) {
		gpa_t gpa = area.gpa +
			    (uint64_t)(area.first_page + i * area.page_step) * SAMARA_PAGE_BYTES;
		struct samara_error err = {0};
		int ret = stress_read(w->stress, gpa, w->buffer, SAMARA_PAGE_BYTES);

		if (ret) {
			samara_error_set(&err, ret, "gpa %#llx: %s", (unsigned long long)gpa,
					 strerror(-ret));
			stress_operation_error(w->stress, &err, "reading what a device has given");
			return;
		}
		check_page(w, &area, unit->written, gpa, (const uint64_t *)w->buffer);
	}
}

void stress_units_check_one(struct stress_worker *w)
{
	struct stress_devices_block *block = &w->stress->control->devices;
	const struct stress_pool *pool = &block->pool[stress_below(&w->rng, STRESS_POOLS)];
	uint32_t index = (uint32_t)stress_below(&w->rng, pool->count ? pool->count : 1);
	struct stress_unit *unit = &block->unit[pool->first + index];
	uint32_t state = STRESS_UNIT_THERE;

	if (!pool->count || !__atomic_compare_exchange_n(&unit->state, &state, STRESS_UNIT_TAKEN,
							 false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		return;
	check_unit(w, pool, index, unit);
	__atomic_store_n(&unit->state, STRESS_UNIT_THERE, __ATOMIC_RELEASE);
}

void stress_units_check(struct stress_worker *w)
{
	const struct stress_devices_block *block = &w->stress->control->devices;

	/* It was interrupted before the guest had said how many words there are in a page. */
	if (!w->stress->words)
		return;
	for (unsigned int kind = 0; kind < STRESS_POOLS; kind++) {
		const struct stress_pool *pool = &block->pool[kind];

		for (uint32_t i = 0; i < pool->count; i++)
			if (block->unit[pool->first + i].state == STRESS_UNIT_THERE)
				check_unit(w, pool, i, &block->unit[pool->first + i]);
	}
}
