/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest/devices.h"

bool unit_take(struct cpu *cpu, const struct stress_pool *pool, uint32_t index,
	       enum stress_unit_state state)
{
	struct stress_unit *unit = unit_of(cpu, pool, index);
	uint32_t expected = state;

	return __atomic_load_n(&unit->state, __ATOMIC_RELAXED) == state &&
	       __atomic_compare_exchange_n(&unit->state, &expected, STRESS_UNIT_TAKEN, false,
					   __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

void unit_put(struct cpu *cpu, const struct stress_pool *pool, uint32_t index,
	      enum stress_unit_state state)
{
	__atomic_store_n(&unit_of(cpu, pool, index)->state, state, __ATOMIC_RELEASE);
}

static struct stress_area area_of(struct cpu *cpu, const struct stress_pool *pool, uint32_t index)
{
	return stress_unit_area(pool, index, unit_of(cpu, pool, index)->generation,
				cpu->control->words);
}

/* A word that no generation writes soon, in a page that is seldom populated. */
static uint64_t race_gpa(const struct stress_area *area)
{
	return area->gpa + (area->first_page + (uint64_t)area->page_step / 2) * STRESS_PAGE_BYTES +
	       (area->first_word ^ 1) * 8;
}

void unit_check(struct cpu *cpu, const struct stress_pool *pool, uint32_t index, uint32_t kind)
{
	struct stress_area area = area_of(cpu, pool, index);

	if (!unit_of(cpu, pool, index)->written)
		area.generation = 0;
	check_area(cpu, area.gpa, &area, kind);
}

void unit_given(struct cpu *cpu, const struct stress_pool *pool, uint32_t index, uint32_t kind)
{
	struct stress_area area = area_of(cpu, pool, index);
	uint64_t race = race_gpa(&area), found = *word_at(race);

	if (found)
		report(cpu, kind, race, 0, 0, found);
	unit_of(cpu, pool, index)->written = 0;
	area.generation = 0;
	check_area(cpu, area.gpa, &area, kind);
}

void unit_fill(struct cpu *cpu, const struct stress_pool *pool, uint32_t index)
{
	struct stress_unit *unit = unit_of(cpu, pool, index);
	struct stress_area area;

	if (++unit->generation >= STRESS_NOTHING_GENERATION)
		unit->generation = 1;
	area = area_of(cpu, pool, index);
	write_area(area.gpa, &area);
	unit->written = 1;
}

void unit_gone(struct cpu *cpu, const struct stress_pool *pool, uint32_t index)
{
	unit_of(cpu, pool, index)->written = 0;
}

void unit_reach(struct cpu *cpu, const struct stress_pool *pool, uint32_t index, uint32_t kind,
		bool write)
{
	struct stress_area area = area_of(cpu, pool, index);
	uint64_t gpa = area.gpa + page_of(&area, 0) * STRESS_PAGE_BYTES + area.first_word * 8;
	uint64_t mark = stress_pattern(gpa, STRESS_NOTHING_GENERATION);
	uint64_t found = *word_at(gpa);

	if (found && (found != mark || kind == STRESS_ERROR_BALLOON))
		report(cpu, kind, gpa, 0, 0, found);
	if (write)
		*word_at(gpa) = mark;
	cpu->me->nothing_accesses += 1 + write;
}

void unit_race(struct cpu *cpu, const struct stress_pool *pool, uint32_t index)
{
	struct stress_area area = area_of(cpu, pool, index);
	uint64_t gpa = area.gpa + page_of(&area, 0) * STRESS_PAGE_BYTES + area.first_word * 8;
	uint64_t expected = 0, race = race_gpa(&area), found = *word_at(gpa);

	if (unit_of(cpu, pool, index)->written)
		expected = stress_pattern(gpa, area.generation);
	if (found && found != expected)
		report(cpu, STRESS_ERROR_LEAVING, gpa, area.generation, expected, found);
	*word_at(race) = stress_pattern(race, STRESS_NOTHING_GENERATION);
	cpu->me->nothing_accesses += 2;
}
