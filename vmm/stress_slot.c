/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Slots: ranges that the host plugs, moves, protects and unplugs, and hands to the guest in
 * between. Each visit of a vCPU first checks what must be there and then writes a new pattern, so
 * an error of the memory manager shows at the next visit at the latest.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/stress_clock.h"
#include "vmm/stress_state.h"

/* The gpa that is past the end of the address space with any length above a page. */
#define LAST_PAGE_GPA (UINT64_MAX - SAMARA_PAGE_BYTES + 1)

#define COUNT_POLL_NS UINT64_C(100000)

static gpa_t slot_gpa(const struct stress *s, const struct stress_host_slot *slot)
{
	return stress_place_gpa(&s->layout, slot->place);
}

/* A free place at random; there are always as many as slots. */
static unsigned int take_place(struct stress_worker *w)
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

static void release_place(struct stress *s, unsigned int place)
{
	pthread_mutex_lock(&s->places_lock);
	s->place_taken[place] = false;
	pthread_mutex_unlock(&s->places_lock);
}

/* Words for the next write: spread over the slot, with offsets that reach each word in time. */
static struct stress_area make_area(struct stress_worker *w, struct stress_host_slot *slot)
{
	const struct stress *s = w->stress;
	uint32_t total = (uint32_t)(slot->bytes / SAMARA_PAGE_BYTES);
	uint32_t pages = s->words * 8 < total ? s->words * 8 : total;
	struct stress_area area = {
		.gpa = slot_gpa(s, slot),
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

/* The same words as far as the slot has them, to be found as 0. */
static struct stress_area zeros_of(const struct stress_host_slot *slot)
{
	struct stress_area zeros = slot->content;
	uint32_t total = (uint32_t)(slot->bytes / SAMARA_PAGE_BYTES);

	while (zeros.pages && zeros.first_page + (zeros.pages - 1) * zeros.page_step >= total)
		zeros.pages--;
	zeros.generation = 0;
	return zeros;
}

static void offer(struct stress_worker *w, struct stress_host_slot *slot, uint32_t flags,
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
	shared->gpa = slot_gpa(s, slot);
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

/*
 * Take a slot that the guest does not have, the planned one or one after it.
 * Return: NULL when there is none; @step says whether there are some that the plan does not suit.
 */
static struct stress_host_slot *take_slot(struct stress_worker *w, const struct stress_plan *plan,
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
	gpa_t now = slot_gpa(w->stress, slot) + (uint64_t)page * SAMARA_PAGE_BYTES;
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

/* Read what a slot holds, as a device would. */
static void check_slot(struct stress_worker *w, const struct stress_host_slot *slot)
{
	const struct stress_area *area = &slot->content;
	gpa_t gpa = slot_gpa(w->stress, slot);

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

static int plug_slot(struct stress_worker *w, struct stress_host_slot *slot)
{
	const struct stress_options *options = &w->stress->options;
	uint64_t more = (options->slot_bytes - options->slot_min_bytes) / SAMARA_PAGE_BYTES;
	struct stress_area expect, write;
	int ret;

	slot->bytes = options->slot_min_bytes + stress_below(&w->rng, more + 1) * SAMARA_PAGE_BYTES;
	/* In the same place as before every other time: what was there must be gone. */
	if (stress_random(&w->rng) & 1) {
		unsigned int place = take_place(w);

		release_place(w->stress, slot->place);
		slot->place = place;
	}
	ret = stress_op_pieces(w, STRESS_OP_PLUG, slot_gpa(w->stress, slot), slot->bytes,
			       GUEST_MM_RDWR);
	if (ret)
		return ret;
	expect = zeros_of(slot);
	write = make_area(w, slot);
	slot->plugged = true;
	slot->content.generation = 0;
	offer(w, slot, STRESS_VISIT_FRESH, &expect, &write);
	return 0;
}

static int unplug_slot(struct stress_worker *w, struct stress_host_slot *slot)
{
	struct stress_area expect, write;
	int ret = stress_op_pieces(w, STRESS_OP_UNPLUG, slot_gpa(w->stress, slot), slot->bytes, 0);

	if (ret)
		return ret;
	slot->plugged = false;
	slot->content.generation = 0;

	/* A few accesses to nothing; what is written must not be there after the next plug. */
	expect = zeros_of(slot);
	expect.pages = expect.pages < 2 ? expect.pages : 2;
	if (stress_random(&w->rng) & 1) {
		write = slot->content;
		write.generation = (1u << STRESS_GENERATION_BITS) - 1;
		write.pages = expect.pages;
		offer(w, slot, STRESS_VISIT_NOTHING, &expect, &write);
	} else {
		offer(w, slot, STRESS_VISIT_NOTHING, &expect, NULL);
	}
	return 0;
}

static int move_slot(struct stress_worker *w, struct stress_host_slot *slot)
{
	unsigned int from = slot->place, to = take_place(w);
	struct stress_area write;
	int ret = stress_op_pieces(w, STRESS_OP_REMAP, slot_gpa(w->stress, slot), slot->bytes,
				   stress_place_gpa(&w->stress->layout, to));

	/* After a failure it may be in both: then it keeps both. */
	if (ret)
		return ret;
	slot->place = to;
	release_place(w->stress, from);
	if (stress_random(&w->rng) & 1) {
		write = make_area(w, slot);
		offer(w, slot, 0, &slot->content, &write);
	} else {
		offer(w, slot, 0, &slot->content, NULL);
	}
	return 0;
}

/* Make all or some of it read-only, and have a vCPU read it. */
static int protect_slot(struct stress_worker *w, struct stress_host_slot *slot)
{
	uint64_t pages = slot->bytes / SAMARA_PAGE_BYTES;
	uint64_t first = stress_random(&w->rng) & 1 ? 0 : stress_below(&w->rng, pages);
	uint64_t count = 1 + stress_below(&w->rng, pages - first);
	gpa_t gpa = slot_gpa(w->stress, slot) + first * SAMARA_PAGE_BYTES;
	struct guest_mm_pin pin;
	int ret = stress_op(w, STRESS_OP_PROTECT, gpa, count * SAMARA_PAGE_BYTES, GUEST_MM_READ);

	if (ret)
		return ret;
	slot->read_only = true;
	inject_pause();
	ret = guest_mm_pin(w->stress->mm, gpa, 8, true, &pin);
	inject_resume();
	if (ret != -EFAULT)
		stress_operation_error(w->stress, NULL,
				       "a device's write to a read-only range was not refused");
	if (!ret)
		guest_mm_unpin(&pin);
	offer(w, slot, 0, &slot->content, NULL);
	return 0;
}

static int unprotect_slot(struct stress_worker *w, struct stress_host_slot *slot)
{
	int ret = stress_op_pieces(w, STRESS_OP_PROTECT, slot_gpa(w->stress, slot), slot->bytes,
				   GUEST_MM_RDWR);

	if (!ret)
		slot->read_only = false;
	return ret;
}

/* What must be refused, and leave everything as it was. */
static void refuse(struct stress_worker *w, const struct stress_host_slot *slot)
{
	const struct stress_layout *layout = &w->stress->layout;
	gpa_t gpa = slot_gpa(w->stress, slot);
	uint64_t bytes = slot->bytes;

	switch (stress_below(&w->rng, 9)) {
	case 0:
		stress_op_refused(w, STRESS_OP_PLUG, gpa, bytes, GUEST_MM_RDWR, -EEXIST);
		break;
	case 1:
		stress_op_refused(w, STRESS_OP_PLUG, gpa + 1, bytes, GUEST_MM_RDWR, -EINVAL);
		break;
	case 2:
		stress_op_refused(w, STRESS_OP_REMAP, gpa, bytes, layout->shared_gpa, -EEXIST);
		break;
	case 3:
		stress_op_refused(w, STRESS_OP_UNPLUG, gpa, 0, 0, -EINVAL);
		break;
	case 4:
		stress_op_refused(w, STRESS_OP_UNPLUG, layout->void_gpa, SAMARA_PAGE_BYTES, 0,
				  -ENOENT);
		break;
	case 5:
		stress_op_refused(w, STRESS_OP_PROTECT, layout->void_gpa, STRESS_LARGE_BYTES,
				  GUEST_MM_READ, -ENOENT);
		break;
	case 6:
		stress_op_refused(w, STRESS_OP_PLUG, LAST_PAGE_GPA, 2 * SAMARA_PAGE_BYTES,
				  GUEST_MM_RDWR, -EINVAL);
		break;
	case 7:
		stress_op_refused(w, STRESS_OP_PLUG, STRESS_WINDOW_GPA + layout->window_bytes,
				  SAMARA_PAGE_BYTES, GUEST_MM_RDWR, -ERANGE);
		break;
	default:
		stress_op_refused(w, STRESS_OP_REMAP, gpa, bytes,
				  STRESS_WINDOW_GPA + layout->window_bytes, -ERANGE);
	}
}

/* Hand a plugged slot back as it is: it is checked, and perhaps written. */
static void offer_again(struct stress_worker *w, struct stress_host_slot *slot)
{
	struct stress_area write = make_area(w, slot);

	offer(w, slot, 0, &slot->content, &write);
}

/* Give its pages back: it is as if just plugged. */
static int discard_slot(struct stress_worker *w, struct stress_host_slot *slot)
{
	struct stress_area expect, write;
	int ret = stress_op_pieces(w, STRESS_OP_DISCARD, slot_gpa(w->stress, slot), slot->bytes, 0);

	if (ret)
		return ret;
	expect = zeros_of(slot);
	write = make_area(w, slot);
	slot->content.generation = 0;
	offer(w, slot, STRESS_VISIT_FRESH, &expect, &write);
	return 0;
}

/* Other memory behind it, the same contents. */
static int reback_slot(struct stress_worker *w, struct stress_host_slot *slot)
{
	bool to_file = !slot->in_file && stress_random(&w->rng) & 1;
	uint64_t memory = to_file ? STRESS_MEMORY_FILE : STRESS_MEMORY_OWN;
	int ret;

	if (!slot->in_file && !to_file)
		memory = STRESS_MEMORY_HUGE;
	ret = stress_op(w, STRESS_OP_REBACK, slot_gpa(w->stress, slot), slot->bytes, memory);
	if (ret)
		return ret;
	slot->in_file = to_file;
	offer_again(w, slot);
	return 0;
}

/* A file stays with its addresses, so what changes these has the window's own memory first. */
static int leave_file(struct stress_worker *w, struct stress_host_slot *slot)
{
	int ret = stress_op(w, STRESS_OP_REBACK, slot_gpa(w->stress, slot), slot->bytes,
			    STRESS_MEMORY_OWN);

	if (!ret)
		slot->in_file = false;
	return ret;
}

static int change_plugged(struct stress_worker *w, struct stress_host_slot *slot,
			  enum stress_mix what)
{
	int ret = 0;

	if (stress_below(&w->rng, 4) == 0)
		check_slot(w, slot);
	if (slot->read_only)
		ret = unprotect_slot(w, slot);
	if (!ret && slot->in_file && (what == STRESS_MIX_UNPLUG || what == STRESS_MIX_REMAP))
		ret = leave_file(w, slot);
	if (ret)
		return ret;

	switch (what) {
	case STRESS_MIX_UNPLUG:
		return unplug_slot(w, slot);
	case STRESS_MIX_REMAP:
		return move_slot(w, slot);
	case STRESS_MIX_PROTECT:
		return protect_slot(w, slot);
	case STRESS_MIX_DISCARD:
		return discard_slot(w, slot);
	case STRESS_MIX_REBACK:
		return reback_slot(w, slot);
	case STRESS_MIX_REFUSED:
		refuse(w, slot);
		break;
	default:
		ret = stress_op(w, STRESS_OP_POPULATE, slot_gpa(w->stress, slot), slot->bytes, 0);
	}
	if (!ret)
		offer_again(w, slot);
	return ret;
}

enum stress_step stress_slot_step(struct stress_worker *w, const struct stress_plan *plan)
{
	enum stress_step step;
	struct stress_host_slot *slot = take_slot(w, plan, &step);

	if (!slot)
		return step;
	if (slot->plugged ? change_plugged(w, slot, plan->what) : plug_slot(w, slot))
		slot->broken = true;
	pthread_mutex_unlock(&slot->lock);
	return step;
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
			check_slot(w, slot);
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
