/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What operators do to the memory of a Linux guest without its help, and without it noticing:
 * other memory behind it, pages populated ahead, pages write-protected for a moment.
 */
#include <errno.h>
#include <string.h>

#include "vmm/stress_clock.h"
#include "vmm/stress_linux_state.h"

/* How long pages stay protected at most. */
#define READ_ONLY_MAX_NS UINT64_C(2000000)

static gpa_t boot_place(const struct stress_linux *l, unsigned int place)
{
	unsigned int range = place < l->boot[0].places ? 0 : 1;

	return l->boot[range].gpa + (place - (range ? l->boot[0].places : 0)) * l->place_bytes;
}

/* Places of devices come in pairs of halves: virtio-mem's first, then the DIMMs'. */
static gpa_t device_place(const struct stress_linux *l, unsigned int place)
{
	unsigned int half = l->device_places / 2;

	return place < half ? l->mem_gpa + place * l->place_bytes
			    : l->dimm_gpa + (place - half) * l->place_bytes;
}

static int find_region(const struct guest_mm_region *region, void *arg)
{
	struct guest_mm_region *wanted = arg;

	if (wanted->gpa < region->gpa ||
	    wanted->gpa + wanted->size_bytes > region->gpa + region->size_bytes)
		return 0;
	return 1;
}

/* Where a place is; where the guest has no memory there, one of those that it always has. */
static gpa_t place_gpa(const struct stress_linux *l, unsigned int *place)
{
	struct guest_mm_region wanted = {.size_bytes = l->place_bytes};

	if (*place >= l->boot_places) {
		wanted.gpa = device_place(l, *place - l->boot_places);
		if (guest_mm_for_each_region(l->base.mm, find_region, &wanted))
			return wanted.gpa;
		*place %= l->boot_places;
	}
	return boot_place(l, *place);
}

/* ---- Other memory ---------------------------------------------------------------------------- */

/* A place gets a file only while there are few of them. */
static enum stress_memory choose_memory(struct stress_worker *w, struct stress_linux *l,
					unsigned int place)
{
	enum stress_memory memory = (enum stress_memory)stress_below(&w->rng, 3);

	if (memory == STRESS_MEMORY_FILE &&
	    !__atomic_exchange_n(&l->in_file[place], 1, __ATOMIC_RELAXED) &&
	    __atomic_fetch_add(&l->in_files, 1, __ATOMIC_RELAXED) >= STRESS_LINUX_FILES) {
		__atomic_fetch_sub(&l->in_files, 1, __ATOMIC_RELAXED);
		__atomic_store_n(&l->in_file[place], 0, __ATOMIC_RELAXED);
		return STRESS_MEMORY_OWN;
	}
	return memory;
}

static void reback(struct stress_worker *w, struct stress_linux *l, unsigned int place)
{
	gpa_t gpa = place_gpa(l, &place);
	enum stress_memory memory = choose_memory(w, l, place);

	if (!stress_op(w, STRESS_OP_REBACK, gpa, l->place_bytes, memory) &&
	    memory == STRESS_MEMORY_OWN &&
	    __atomic_exchange_n(&l->in_file[place], 0, __ATOMIC_RELAXED))
		__atomic_fetch_sub(&l->in_files, 1, __ATOMIC_RELAXED);
}

/* ---- Protection ------------------------------------------------------------------------------ */

/* What is read-only does not change, however much the guest wants to write. */
static void compare(struct stress_worker *w, gpa_t gpa, const uint64_t *before,
		    const uint64_t *after, uint64_t bytes)
{
	for (uint64_t i = 0; i < bytes / 8; i++)
		if (before[i] != after[i])
			stress_integrity_error(w->stress, "a read-only word changed", gpa + i * 8,
					       0, before[i], after[i]);
	w->checked_bytes += bytes;
}

static enum stress_step protect(struct stress_worker *w, struct stress_linux *l)
{
	struct stress *s = w->stress;
	unsigned char *after = w->buffer + STRESS_WORKER_BYTES / 2;
	const struct stress_agent_range *range;
	uint64_t first, pages, bytes;
	gpa_t gpa;

	if (!l->own_count || pthread_mutex_trylock(&s->protect_lock))
		return STRESS_STEP_UNSUITED;
	range = &l->own[stress_below(&w->rng, l->own_count)];
	pages = range->size_bytes / SAMARA_PAGE_BYTES;
	first = stress_below(&w->rng, pages);
	bytes = (1 + stress_below(&w->rng, pages - first)) * SAMARA_PAGE_BYTES;
	if (bytes > STRESS_WORKER_BYTES / 2)
		bytes = STRESS_WORKER_BYTES / 2;
	gpa = range->gpa + first * SAMARA_PAGE_BYTES;
	if (stress_op(w, STRESS_OP_PROTECT, gpa, bytes, GUEST_MM_READ))
		goto out;
	if (!stress_read(s, gpa, w->buffer, bytes)) {
		stress_sleep_ns(stress_below(&w->rng, READ_ONLY_MAX_NS));
		if (!stress_read(s, gpa, after, bytes))
			compare(w, gpa, (uint64_t *)w->buffer, (uint64_t *)after, bytes);
	}
	stress_op(w, STRESS_OP_PROTECT, gpa, bytes, GUEST_MM_RDWR);
out:
	pthread_mutex_unlock(&s->protect_lock);
	return STRESS_STEP_DONE;
}

/* ---- Steps ----------------------------------------------------------------------------------- */

static enum stress_step transparent_step(struct stress_worker *w, const struct stress_plan *plan)
{
	struct stress_linux *l = (struct stress_linux *)w->stress;
	unsigned int place = plan->slot;

	switch (plan->what) {
	case STRESS_MIX_REBACK:
		reback(w, l, place);
		return STRESS_STEP_DONE;
	case STRESS_MIX_POPULATE:
		stress_op(w, STRESS_OP_POPULATE, place_gpa(l, &place), l->place_bytes, 0);
		return STRESS_STEP_DONE;
	case STRESS_MIX_REFUSED:
		/* It is plugged. */
		place %= l->boot_places;
		stress_op_refused(w, STRESS_OP_PLUG, boot_place(l, place), l->place_bytes,
				  GUEST_MM_RDWR, -EEXIST);
		return STRESS_STEP_DONE;
	default:
		return protect(w, l);
	}
}

enum stress_step stress_linux_step(struct stress_worker *w, const struct stress_plan *plan)
{
	switch (plan->what) {
	case STRESS_MIX_BALLOON:
	case STRESS_MIX_VIRTIO_MEM:
	case STRESS_MIX_DIMM:
		stress_devices_step(w, plan->what);
		return STRESS_STEP_DONE;
	default:
		return transparent_step(w, plan);
	}
}
