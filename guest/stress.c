/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The stress guest. Each vCPU goes round and round: a page of its own region, some shared counters,
 * some counters that the host moves meanwhile, a page that the host write-protects at times, a slot
 * that the host has just plugged, moved, protected or unplugged, and memory that devices give and
 * take, whose drivers one vCPU each sees to.
 *
 * Plain integer code without calls to anything: an emulating KVM takes about a microsecond for each
 * instruction, so a round is a few thousand instructions there, and on hardware some microseconds.
 */
#include "guest/devices.h"

#define SHARED_PER_ROUND 32
#define LIVE_PER_ROUND   32

/* Chunks of a slot that were touched in this visit: one bit for each fault_around_pages. */
#define CHUNK_WORDS      64

void stress_main(uint32_t index, struct stress_control *control);

static inline uint64_t fetch_increment(uint64_t gpa)
{
	return __atomic_fetch_add((uint64_t *)gpa, 1, __ATOMIC_SEQ_CST);
}

static void count_fault(struct stress_vcpu *me, uint64_t cycles)
{
	me->fault_buckets[stress_bucket(cycles)]++;
	if (cycles > me->fault_max)
		me->fault_max = cycles;
}

/* Touch a page's chunk for the first time in this visit: a read, or a write of what is there. */
static void first_touch(struct cpu *cpu, uint32_t page, uint64_t gpa)
{
	uint32_t chunk = page >> cpu->chunk_shift;
	uint64_t bit = UINT64_C(1) << (chunk & 63);
	uint64_t *touched = &cpu->touched[chunk / 64 % CHUNK_WORDS];
	uint64_t start;

	if (*touched & bit)
		return;
	*touched |= bit;
	start = rdtsc();
	if (chunk & 1)
		asm volatile("lock addq $0, %0" : "+m"(*word_at(gpa)) : : "memory");
	else
		*word_at(gpa);
	count_fault(cpu->me, rdtsc() - start);
}

/* Touch all of an area before it is checked or written. */
static void touch_area(struct cpu *cpu, const struct stress_slot *slot,
		       const struct stress_area *area)
{
	uint32_t i;

	for (i = 0; i < area->pages; i++) {
		uint64_t page = page_of(area, i);

		first_touch(cpu, (uint32_t)page,
			    slot->gpa + page * STRESS_PAGE_BYTES + area->first_word * 8);
	}
}

/* Write what was zero up to now: an exchange sees what it overwrites. */
static void exchange_area(struct cpu *cpu, const struct stress_slot *slot)
{
	const struct stress_area *area = &slot->write;
	uint32_t i, k;

	for (i = 0; i < area->pages; i++) {
		uint64_t offset = page_of(area, i) * STRESS_PAGE_BYTES + area->first_word * 8;
		uint64_t gpa = slot->gpa + offset;
		uint64_t pattern = stress_pattern(area->gpa + offset, area->generation);

		for (k = 0; k < area->words; k++) {
			uint64_t found =
				__atomic_exchange_n((uint64_t *)gpa, pattern, __ATOMIC_SEQ_CST);

			if (found)
				report(cpu, STRESS_ERROR_FRESH, gpa, 0, 0, found);
			gpa += (uint64_t)area->word_step * 8;
			pattern += area->word_step;
		}
	}
	cpu->me->checked_words += (uint64_t)area->pages * area->words;
}

static void visit_fresh(struct cpu *cpu, const struct stress_slot *slot)
{
	uint32_t i;

	/* The barrier keeps compilers from making a call to memset() of it. */
	for (i = 0; i < CHUNK_WORDS; i++) {
		cpu->touched[i] = 0;
		asm volatile("" : : : "memory");
	}
	touch_area(cpu, slot, &slot->expect);
	check_area(cpu, slot->gpa, &slot->expect, STRESS_ERROR_FRESH);
	touch_area(cpu, slot, &slot->write);
	exchange_area(cpu, slot);
	check_area(cpu, slot->gpa, &slot->write, STRESS_ERROR_READBACK);
}

static void visit(struct cpu *cpu, const struct stress_slot *slot)
{
	if (slot->flags & STRESS_VISIT_NOTHING) {
		check_area(cpu, slot->gpa, &slot->expect, STRESS_ERROR_NOTHING);
		write_area(slot->gpa, &slot->write);
		cpu->me->nothing_accesses += (uint64_t)slot->expect.pages * slot->expect.words +
					     (uint64_t)slot->write.pages * slot->write.words;
	} else if (slot->flags & STRESS_VISIT_FRESH) {
		visit_fresh(cpu, slot);
	} else {
		check_area(cpu, slot->gpa, &slot->expect, STRESS_ERROR_PATTERN);
		write_area(slot->gpa, &slot->write);
		check_area(cpu, slot->gpa, &slot->write, STRESS_ERROR_READBACK);
	}
}

/* Look at a few slots; work on the first that is on offer. */
static void slot_round(struct cpu *cpu)
{
	struct stress_control *control = cpu->control;
	uint32_t i, tries = control->slots < 16 ? control->slots : 16;

	for (i = 0; i < tries; i++) {
		struct stress_slot *slot = &control->slot[control->order[cpu->next_order]];
		uint32_t state = STRESS_SLOT_OFFERED;

		cpu->next_order += control->order_step;
		if (cpu->next_order >= control->order_length)
			cpu->next_order -= control->order_length;
		if (__atomic_load_n(&slot->state, __ATOMIC_RELAXED) != STRESS_SLOT_OFFERED)
			continue;
		if (!__atomic_compare_exchange_n(&slot->state, &state, STRESS_SLOT_CLAIMED, 0,
						 __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			continue;
		visit(cpu, slot);
		cpu->me->visits++;
		__atomic_store_n(&slot->state, STRESS_SLOT_DONE, __ATOMIC_RELEASE);
		return;
	}
}

/*
 * One page of the own region: what the last pass wrote, then other words for the next one. The
 * words rotate from pass to pass until each of the page has been written and checked.
 */
static void own_round(struct cpu *cpu)
{
	const struct stress_control *control = cpu->control;
	uint32_t words = cpu->words, step = STRESS_PAGE_WORDS / words;
	uint64_t page = control->own_gpa + cpu->index * control->own_stride_bytes +
			(uint64_t)cpu->own_page * STRESS_PAGE_BYTES;
	uint32_t pass = cpu->own_pass, next = pass + 1, k;
	uint64_t gpa = page + (pass & (step - 1)) * 8;
	uint64_t expected = pass ? stress_pattern(gpa, pass) : 0;
	uint64_t increment = pass ? step : 0, pattern;

	for (k = 0; k < words; k++) {
		uint64_t found = *word_at(gpa);

		if (found != expected)
			report(cpu, STRESS_ERROR_OWN, gpa, pass, expected, found);
		gpa += step * 8;
		expected += increment;
	}
	cpu->me->checked_words += words;

	gpa = page + (next & (step - 1)) * 8;
	pattern = stress_pattern(gpa, next);
	for (k = 0; k < words; k++) {
		*word_at(gpa) = pattern;
		gpa += step * 8;
		pattern += step;
	}
	if (++cpu->own_page == control->own_pages) {
		cpu->own_page = 0;
		cpu->own_pass = next & ((1u << STRESS_GENERATION_BITS) - 1);
	}
}

static void shared_round(struct cpu *cpu)
{
	uint32_t i;

	for (i = 0; i < SHARED_PER_ROUND; i++) {
		uint32_t n = cpu->next_shared;
		uint64_t gpa = cpu->control->shared_gpa + stress_shared_offset(n);
		uint64_t old = fetch_increment(gpa);

		if (old < cpu->me->shared[n])
			report(cpu, STRESS_ERROR_SHARED, gpa, 0, cpu->me->shared[n], old);
		cpu->me->shared[n]++;
		cpu->next_shared = (n + 1) % STRESS_SHARED_COUNTERS;
	}
}

static void live_round(struct cpu *cpu)
{
	uint32_t i;

	for (i = 0; i < LIVE_PER_ROUND; i++) {
		uint64_t base = __atomic_load_n(&cpu->control->live_gpa, __ATOMIC_RELAXED);
		uint32_t n = cpu->next_live;
		uint64_t gpa = base + stress_live_offset(n);
		uint64_t old = fetch_increment(gpa);

		if (old >> STRESS_LIVE_SHIFT == STRESS_LIVE_SIGNATURE) {
			uint64_t count = old & STRESS_LIVE_COUNT;

			if (count < cpu->me->live[n])
				report(cpu, STRESS_ERROR_LIVE, gpa, 0, cpu->me->live[n], count);
			cpu->me->live[n]++;
		} else {
			cpu->me->live_missed++;
		}
		cpu->next_live = (n + 1) % STRESS_LIVE_COUNTERS;
	}
}

static void protect_round(struct cpu *cpu)
{
	uint32_t n = cpu->next_protect;
	uint64_t page = cpu->control->protect_gpa + (uint64_t)n * STRESS_PAGE_BYTES;
	uint64_t own = page + stress_protect_word(cpu->index);
	uint64_t found = *word_at(own), expected = cpu->me->protect_last[n];

	if (found != expected)
		report(cpu, STRESS_ERROR_PROTECT, own, 0, expected, found);
	cpu->me->checked_words++;
	*word_at(own) = expected + 1;
	cpu->me->protect_last[n] = expected + 1;
	fetch_increment(page);
	cpu->me->protect[n]++;
	cpu->next_protect = (n + 1) % STRESS_PROTECT_PAGES;
}

/* Cycles of a short loop of a few instructions: the best of some tries. */
static uint64_t loop_cycles(void)
{
	uint64_t best = UINT64_MAX, start, cycles;
	uint32_t i, k;

	for (i = 0; i < 8; i++) {
		start = rdtsc();
		for (k = 0; k < 128; k++)
			asm volatile("");
		cycles = rdtsc() - start;
		if (cycles < best)
			best = cycles;
	}
	return best;
}

void stress_main(uint32_t index, struct stress_control *control)
{
	uint64_t touched[CHUNK_WORDS];
	struct cpu cpu = {
		.control = control,
		.me = &control->vcpu[index],
		.index = index,
		.touched = touched,
		.own_pass = 0,
		.next_shared = index % STRESS_SHARED_COUNTERS,
		.next_live = index % STRESS_LIVE_COUNTERS,
		.next_protect = index * 5 % STRESS_PROTECT_PAGES,
		.next_order = index * control->order_first % control->order_length,
		.random = index + 1,
	};

	while ((1u << cpu.chunk_shift) < control->fault_around_pages)
		cpu.chunk_shift++;
	/* 128 rounds of a loop are some hundred cycles, or ten thousands where it is emulated. */
	if (index == 0)
		__atomic_store_n(&control->words, loop_cycles() > 128 * 64 ? 4 : 64,
				 __ATOMIC_RELEASE);
	while (!(cpu.words = __atomic_load_n(&control->words, __ATOMIC_ACQUIRE)))
		asm volatile("pause");

	while (!__atomic_load_n(&control->stop, __ATOMIC_ACQUIRE)) {
		own_round(&cpu);
		devices_poll(&cpu);
		shared_round(&cpu);
		devices_poll(&cpu);
		live_round(&cpu);
		protect_round(&cpu);
		devices_poll(&cpu);
		slot_round(&cpu);
		devices_poll(&cpu);
		unit_round(&cpu);
		if (control->leave)
			asm volatile("outb %%al, %w0" : : "Nd"(STRESS_LEAVE_PORT) : "memory");
		cpu.me->tsc = rdtsc();
		cpu.me->heartbeat++;
	}
	__atomic_store_n(&cpu.me->finished, 1, __ATOMIC_RELEASE);
}
