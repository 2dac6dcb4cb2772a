/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest/guest.h"

void report(struct cpu *cpu, uint32_t kind, uint64_t gpa, uint32_t generation, uint64_t expected,
	    uint64_t found)
{
	struct stress_control *control = cpu->control;
	uint32_t n = __atomic_fetch_add(&control->error_count, 1, __ATOMIC_RELAXED);
	struct stress_error *error = &control->errors[n];

	if (n >= STRESS_ERRORS)
		return;
	error->kind = kind;
	error->cpu = cpu->index;
	error->generation = generation;
	error->gpa = gpa;
	error->expected = expected;
	error->found = found;
	__atomic_store_n(&error->filled, 1, __ATOMIC_RELEASE);
}

void check_area(struct cpu *cpu, uint64_t gpa, const struct stress_area *area, uint32_t kind)
{
	uint64_t step = (uint64_t)area->word_step * 8;
	uint32_t i, k;

	for (i = 0; i < area->pages; i++) {
		uint64_t offset = page_of(area, i) * STRESS_PAGE_BYTES + area->first_word * 8;
		uint64_t at = gpa + offset, expected = 0, increment = 0;

		if (area->generation) {
			expected = stress_pattern(area->gpa + offset, area->generation);
			increment = step / 8;
		}
		for (k = 0; k < area->words; k++) {
			uint64_t found = *word_at(at);

			if (found != expected)
				report(cpu, kind, at, area->generation, expected, found);
			at += step;
			expected += increment;
		}
	}
	cpu->me->checked_words += (uint64_t)area->pages * area->words;
}

void write_area(uint64_t gpa, const struct stress_area *area)
{
	uint64_t step = (uint64_t)area->word_step * 8;
	uint32_t i, k;

	for (i = 0; i < area->pages; i++) {
		uint64_t offset = page_of(area, i) * STRESS_PAGE_BYTES + area->first_word * 8;
		uint64_t at = gpa + offset;
		uint64_t pattern = stress_pattern(area->gpa + offset, area->generation);

		for (k = 0; k < area->words; k++) {
			*word_at(at) = pattern;
			at += step;
			pattern += area->word_step;
		}
	}
}
