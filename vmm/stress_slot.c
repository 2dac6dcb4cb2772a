/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The hand-over of slots between host and guest, and what has to be in them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/stress_clock.h"
#include "vmm/stress_slot.h"

#define COUNT_POLL_NS UINT64_C(100000)

gpa_t stress_slot_gpa(const struct stress *s, const struct stress_host_slot *slot)
{
	return stress_place_gpa(&s->layout, slot->place);
}

unsigned int stress_take_place(struct stress_worker *w)
{
	struct stress *s = w->stress;
	unsigned int place = (unsigned int)stress_below(&w->rng, s->layout.places);

	pthread_mutex_lock(&s->places_lock);
	while (s->place_taken[place])
		place = (place + 1) % s->layout.places;
	s->place_taken[place] = true;
	pthread_mutex_unlock(&s->places_lock);
	return place;
}

void stress_release_place(struct stress *s, unsigned int place)
{
	pthread_mutex_lock(&s->places_lock);
	s->place_taken[place] = false;
	pthread_mutex_unlock(&s->places_lock);
}

struct stress_area stress_slot_write_area(struct stress_worker *w, struct stress_host_slot *slot)
{
	const struct stress *s = w->stress;
	uint32_t total = (uint32_t)(slot->bytes / SAMARA_PAGE_BYTES);
	uint32_t pages = s->words * 8 < total ? s->words * 8 : total;
	struct stress_area area = {
		.gpa = stress_slot_gpa(s, slot),
		.pages = pages,
		.page_step = total / pages,
		.words = s->words,
		.word_step = STRESS_PAGE_WORDS / s->words,
	};

	slot->generation = (slot->generation + 1) & ((1u << STRESS_GENERATION_BITS) - 1);
	if (!slot->generation)
		slot->generation = 1;
	area.generation = slot->generation;
	area.first_page = (uint32_t)stress_below(&w->rng, area.page_step);
	area.first_word = (uint32_t)stress_below(&w->rng, area.word_step);
	return area;
}

struct stress_area stress_slot_zeros(const struct stress_host_slot *slot)
{
	struct stress_area zeros = slot->content;
	uint32_t total = (uint32_t)(slot->bytes / SAMARA_PAGE_BYTES);

	while (zeros.pages && zeros.first_page + (zeros.pages - 1) * zeros.page_step >= total)
		zeros.pages--;
	zeros.generation = 0;
	return zeros;
}

void stress_slot_offer(struct stress_worker *w, struct stress_host_slot *slot, uint32_t flags,
		       const struct stress_area *expect, const struct stress_area *write)
{
	struct stress *s = w->stress;
	struct stress_slot *shared = &s->control->slot[slot - s->slots];
	struct guest_mm_stats stats;

	slot->offered = true;
	slot->offered_flags = flags;
	slot->offered_write = write ? *write : (struct stress_area){0};
	if (flags & STRESS_VISIT_NOTHING) {
		guest_mm_get_stats(s->mm, &stats);
		slot->nothing_before = stats.faults_nothing;
	}
	shared->flags = flags;
	shared->gpa = stress_slot_gpa(s, slot);
	shared->expect = *expect;
	shared->write = slot->offered_write;
	__atomic_store_n(&shared->state, STRESS_SLOT_OFFERED, __ATOMIC_RELEASE);
}

/*
 * Whether accesses to nothing show in the statistics. The thread that answered a fault may have
 * been scheduled out just before it counts, so this has patience.
 */
static bool nothing_was_counted(struct stress *s, uint64_t before)
{
	uint64_t start = stress_now_ns();
	struct guest_mm_stats stats;

	do {
		guest_mm_get_stats(s->mm, &stats);
		if (stats.faults_nothing != before)
			return true;
		stress_sleep_ns(COUNT_POLL_NS);
	} while (stress_now_ns() - start < STRESS_STUCK_S * STRESS_NS_PER_S);
	return false;
}

/* Note what a visit that is over has done to the slot. */
static void settle(struct stress_worker *w, struct stress_host_slot *slot)
{
	slot->offered = false;
	if (slot->offered_flags & STRESS_VISIT_NOTHING) {
		if (!nothing_was_counted(w->stress, slot->nothing_before))
			stress_operation_error(w->stress, NULL,
					       "accesses to what is not plugged were not counted");
	} else if (slot->offered_write.pages) {
		slot->content = slot->offered_write;
		slot->lone = slot->offered_flags & STRESS_VISIT_FRESH;
	}
}

/* Whether what is planned can be done to it. */
static bool suits(const struct stress_host_slot *slot, enum stress_mix what)
{
	return slot->plugged != (what == STRESS_MIX_PLUG);
}

struct stress_host_slot *stress_slot_take(struct stress_worker *w, const struct stress_plan *plan,
					  enum stress_step *step)
{
	struct stress *s = w->stress;
	unsigned int count = s->options.slots, i;

	*step = STRESS_STEP_BUSY;
	for (i = 0; i < count; i++) {
		unsigned int n = (plan->slot + i) % count;
		struct stress_host_slot *slot = &s->slots[n];
		uint32_t state;

		if (pthread_mutex_trylock(&slot->lock))
			continue;
		state = __atomic_load_n(&s->control->slot[n].state, __ATOMIC_ACQUIRE);
		if (!slot->broken && (state == STRESS_SLOT_DONE || state == STRESS_SLOT_HOST)) {
			if (suits(slot, plan->what)) {
				if (slot->offered)
					settle(w, slot);
				*step = STRESS_STEP_DONE;
				return slot;
			}
			*step = STRESS_STEP_UNSUITED;
		}
		pthread_mutex_unlock(&slot->lock);
	}
	return NULL;
}

static void check_page(struct stress_worker *w, const struct stress_host_slot *slot, uint32_t page,
		       const uint64_t *words)
{
	const struct stress_area *area = &slot->content;
	gpa_t now = stress_slot_gpa(w->stress, slot) + (uint64_t)page * SAMARA_PAGE_BYTES;
	gpa_t then = area->gpa + (uint64_t)page * SAMARA_PAGE_BYTES;
	uint32_t k, checked = 0;

	for (k = 0; k < STRESS_PAGE_WORDS; k++) {
		bool ours = k % area->word_step == area->first_word;
		uint64_t expected = ours ? stress_pattern(then + k * 8, area->generation) : 0;

		if (!ours && !slot->lone)
			continue;
		checked++;
		if (words[k] != expected)
			stress_integrity_error(w->stress, "contents as a device reads them",
					       now + k * 8, area->generation, expected, words[k]);
	}
	w->checked_bytes += checked * 8;
}

void stress_slot_check(struct stress_worker *w, const struct stress_host_slot *slot)
{
	const struct stress_area *area = &slot->content;
	gpa_t gpa = stress_slot_gpa(w->stress, slot);

	if (!area->generation)
		return;
	for (uint32_t i = 0; i < area->pages; i++) {
		uint32_t page = area->first_page + i * area->page_step;
		struct samara_error err = {0};
		int ret = stress_read(w->stress, gpa + (uint64_t)page * SAMARA_PAGE_BYTES,
				      w->buffer, SAMARA_PAGE_BYTES);

		if (ret) {
			samara_error_set(&err, ret, "gpa %#llx: %s",
					 (unsigned long long)gpa +
						 (uint64_t)page * SAMARA_PAGE_BYTES,
					 strerror(-ret));
			stress_operation_error(w->stress, &err, "reading a plugged slot");
			return;
		}
		check_page(w, slot, page, (const uint64_t *)w->buffer);
	}
}

void stress_slots_check(struct stress_worker *w)
{
	struct stress *s = w->stress;

	for (unsigned int i = 0; i < s->options.slots; i++) {
		struct stress_host_slot *slot = &s->slots[i];
		uint32_t state = __atomic_load_n(&s->control->slot[i].state, __ATOMIC_ACQUIRE);

		if (slot->broken || state == STRESS_SLOT_CLAIMED)
			continue;
		if (state == STRESS_SLOT_DONE && slot->offered)
			settle(w, slot);
		if (slot->plugged)
			stress_slot_check(w, slot);
	}
}

int stress_slots_init(struct stress *s, struct samara_error *err)
{
	s->slots = calloc(s->options.slots, sizeof(*s->slots));
	s->place_taken = calloc(s->layout.places, sizeof(*s->place_taken));
	if (!s->slots || !s->place_taken) {
		stress_slots_free(s);
		return samara_error_set(err, -ENOMEM, "out of memory for %u slots",
					s->options.slots);
	}
	pthread_mutex_init(&s->places_lock, NULL);
	for (unsigned int i = 0; i < s->options.slots; i++) {
		struct stress_host_slot *slot = &s->slots[i];

		pthread_mutex_init(&slot->lock, NULL);
		slot->place = 2 * i;
		slot->bytes = s->options.slot_bytes;
		s->place_taken[2 * i] = true;
	}
	return 0;
}

void stress_slots_free(struct stress *s)
{
	free(s->slots);
	free(s->place_taken);
	s->slots = NULL;
	s->place_taken = NULL;
}
