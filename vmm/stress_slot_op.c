/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is done to slots. */
#include <errno.h>

#include "vmm/stress_slot.h"

/* The gpa that is past the end of the address space with any length above a page. */
#define LAST_PAGE_GPA (UINT64_MAX - SAMARA_PAGE_BYTES + 1)

static int plug_slot(struct stress_worker *w, struct stress_host_slot *slot)
{
	const struct stress_options *options = &w->stress->options;
	uint64_t more = (options->slot_bytes - options->slot_min_bytes) / SAMARA_PAGE_BYTES;
	struct stress_area expect, write;
	int ret;

	slot->bytes = options->slot_min_bytes + stress_below(&w->rng, more + 1) * SAMARA_PAGE_BYTES;
	/* In the same place as before every other time: what was there must be gone. */
	if (stress_random(&w->rng) & 1) {
		unsigned int place = stress_take_place(w);

		stress_release_place(w->stress, slot->place);
		slot->place = place;
	}
	ret = stress_op_pieces(w, STRESS_OP_PLUG, stress_slot_gpa(w->stress, slot), slot->bytes,
			       GUEST_MM_RDWR);
	if (ret)
		return ret;
	expect = stress_slot_zeros(slot);
	write = stress_slot_write_area(w, slot);
	slot->plugged = true;
	slot->content.generation = 0;
	stress_slot_offer(w, slot, STRESS_VISIT_FRESH, &expect, &write);
	return 0;
}

static int unplug_slot(struct stress_worker *w, struct stress_host_slot *slot)
{
	struct stress_area expect, write;
	int ret = stress_op_pieces(w, STRESS_OP_UNPLUG, stress_slot_gpa(w->stress, slot),
				   slot->bytes, 0);

	if (ret)
		return ret;
	slot->plugged = false;
	slot->content.generation = 0;

	/* A few accesses to nothing; what is written must not be there after the next plug. */
	expect = stress_slot_zeros(slot);
	expect.pages = expect.pages < 2 ? expect.pages : 2;
	if (stress_random(&w->rng) & 1) {
		write = slot->content;
		write.generation = (1u << STRESS_GENERATION_BITS) - 1;
		write.pages = expect.pages;
		stress_slot_offer(w, slot, STRESS_VISIT_NOTHING, &expect, &write);
	} else {
		stress_slot_offer(w, slot, STRESS_VISIT_NOTHING, &expect, NULL);
	}
	return 0;
}

static int move_slot(struct stress_worker *w, struct stress_host_slot *slot)
{
	unsigned int from = slot->place, to = stress_take_place(w);
	struct stress_area write;
	int ret = stress_op_pieces(w, STRESS_OP_REMAP, stress_slot_gpa(w->stress, slot),
				   slot->bytes, stress_place_gpa(&w->stress->layout, to));

	/* After a failure it may be in both: then it keeps both. */
	if (ret)
		return ret;
	slot->place = to;
	stress_release_place(w->stress, from);
	if (stress_random(&w->rng) & 1) {
		write = stress_slot_write_area(w, slot);
		stress_slot_offer(w, slot, 0, &slot->content, &write);
	} else {
		stress_slot_offer(w, slot, 0, &slot->content, NULL);
	}
	return 0;
}

/* Make all or some of it read-only, and have a vCPU read it. */
static int protect_slot(struct stress_worker *w, struct stress_host_slot *slot)
{
	uint64_t pages = slot->bytes / SAMARA_PAGE_BYTES;
	uint64_t first = stress_random(&w->rng) & 1 ? 0 : stress_below(&w->rng, pages);
	uint64_t count = 1 + stress_below(&w->rng, pages - first);
	gpa_t gpa = stress_slot_gpa(w->stress, slot) + first * SAMARA_PAGE_BYTES;
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
	stress_slot_offer(w, slot, 0, &slot->content, NULL);
	return 0;
}

static int unprotect_slot(struct stress_worker *w, struct stress_host_slot *slot)
{
	int ret = stress_op_pieces(w, STRESS_OP_PROTECT, stress_slot_gpa(w->stress, slot),
				   slot->bytes, GUEST_MM_RDWR);

	if (!ret)
		slot->read_only = false;
	return ret;
}

/* What must be refused, and leave everything as it was. */
static void refuse(struct stress_worker *w, const struct stress_host_slot *slot)
{
	const struct stress_layout *layout = &w->stress->layout;
	gpa_t gpa = stress_slot_gpa(w->stress, slot);
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
	struct stress_area write = stress_slot_write_area(w, slot);

	stress_slot_offer(w, slot, 0, &slot->content, &write);
}

/* Give its pages back: it is as if just plugged. */
static int discard_slot(struct stress_worker *w, struct stress_host_slot *slot)
{
	struct stress_area expect, write;
	int ret = stress_op_pieces(w, STRESS_OP_DISCARD, stress_slot_gpa(w->stress, slot),
				   slot->bytes, 0);

	if (ret)
		return ret;
	expect = stress_slot_zeros(slot);
	write = stress_slot_write_area(w, slot);
	slot->content.generation = 0;
	stress_slot_offer(w, slot, STRESS_VISIT_FRESH, &expect, &write);
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
	ret = stress_op(w, STRESS_OP_REBACK, stress_slot_gpa(w->stress, slot), slot->bytes, memory);
	if (ret)
		return ret;
	slot->in_file = to_file;
	offer_again(w, slot);
	return 0;
}

/* A file stays with its addresses, so what changes these has the window's own memory first. */
static int leave_file(struct stress_worker *w, struct stress_host_slot *slot)
{
	int ret = stress_op(w, STRESS_OP_REBACK, stress_slot_gpa(w->stress, slot), slot->bytes,
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
		stress_slot_check(w, slot);
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
		ret = stress_op(w, STRESS_OP_POPULATE, stress_slot_gpa(w->stress, slot),
				slot->bytes, 0);
	}
	if (!ret)
		offer_again(w, slot);
	return ret;
}

enum stress_step stress_slot_step(struct stress_worker *w, const struct stress_plan *plan)
{
	enum stress_step step;
	struct stress_host_slot *slot = stress_slot_take(w, plan, &step);

	if (!slot)
		return step;
	if (slot->plugged ? change_plugged(w, slot, plan->what) : plug_slot(w, slot))
		slot->broken = true;
	pthread_mutex_unlock(&slot->lock);
	return step;
}
