/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The host's threads: operators take the mix of operations, strangers do long ones on memory that
 * nobody else uses, and a device does DMA to memory that operators move.
 */
#include <errno.h>
#include <string.h>

#include "vmm/stress_clock.h"
#include "vmm/stress_state.h"

#define DEVICE_PAGES  (STRESS_DEVICE_BYTES / SAMARA_PAGE_BYTES)

/* A worker that keeps a rate looks so often whether it is to end. */
#define RATE_SLEEP_NS UINT64_C(100000000)

/* Holds and rests below that are spent running: a sleep takes longer. */
#define SPIN_NS       UINT64_C(100000)

/* All slots are the guest's: it takes some milliseconds for a visit where it is emulated. */
#define SLOTS_BUSY_NS UINT64_C(200000)

/* Markers in a stranger's memory, at so many places. */
#define MARKERS       16

/* Sleep until the next step is due, where there is a rate. */
static void keep_rate(struct stress_worker *w, uint64_t *due_ns)
{
	const struct stress_options *options = &w->stress->options;
	uint64_t interval_ns, now;

	if (!options->rate)
		return;
	interval_ns = options->operators * STRESS_NS_PER_S / options->rate;
	now = stress_now_ns();
	while (now < *due_ns && !stress_stopping(w->stress)) {
		uint64_t left = *due_ns - now;

		stress_sleep_ns(left < RATE_SLEEP_NS ? left : RATE_SLEEP_NS);
		now = stress_now_ns();
	}
	*due_ns += interval_ns;
	/* Who is late by more than that has lost those steps: no burst follows a stall. */
	if (*due_ns + RATE_SLEEP_NS < now)
		*due_ns = now;
}

static enum stress_step do_planned(struct stress_worker *w, const struct stress_plan *plan)
{
	struct stress *s = w->stress;

	if (s->step)
		return s->step(w, plan);
	switch (plan->what) {
	case STRESS_MIX_REMAP_LIVE:
		stress_move(w, &s->live);
		return STRESS_STEP_DONE;
	case STRESS_MIX_REMAP_DEVICE:
		stress_move(w, &s->device);
		return STRESS_STEP_DONE;
	case STRESS_MIX_PROTECT_LIVE:
		stress_protect_step(w);
		return STRESS_STEP_DONE;
	case STRESS_MIX_BALLOON:
	case STRESS_MIX_VIRTIO_MEM:
	case STRESS_MIX_DIMM:
		stress_units_check_one(w);
		stress_devices_step(w, plan->what);
		return STRESS_STEP_DONE;
	default:
		return stress_slot_step(w, plan);
	}
}

void *stress_operator_main(void *arg)
{
	struct stress_worker *w = arg;
	struct stress *s = w->stress;
	uint64_t due_ns = stress_now_ns();
	struct stress_plan plan;
	enum stress_step step;
	unsigned int in_vain = 0;

	pthread_setname_np(pthread_self(), "operator");
	while (!stress_stopping(s)) {
		keep_rate(w, &due_ns);
		stress_plan_next(&w->planner, &plan);
		w->rng = plan.details;
		step = do_planned(w, &plan);
		in_vain = step == STRESS_STEP_UNSUITED ? in_vain + 1 : 0;
		if (step == STRESS_STEP_BUSY || in_vain > STRESS_MIXES) {
			stress_sleep_ns(SLOTS_BUSY_NS);
			in_vain = 0;
		}
	}
	return NULL;
}

/* ---- Strangers ------------------------------------------------------------------------------- */

static gpa_t marker_offset(const struct stress_worker *w, unsigned int n)
{
	uint64_t stride = w->stress->layout.stranger_bytes / MARKERS;

	return n * (stride & ~(SAMARA_PAGE_BYTES - 1));
}

static void write_markers(struct stress_worker *w, gpa_t gpa, uint32_t generation)
{
	for (unsigned int i = 0; i < MARKERS; i++) {
		gpa_t at = gpa + marker_offset(w, i);
		uint64_t word = stress_pattern(at, generation);

		if (stress_write(w->stress, at, &word, sizeof(word)))
			stress_operation_error(w->stress, NULL, "writing what is plugged failed");
	}
}

/* @written: where they were written; @generation 0: they must be gone. */
static void check_markers(struct stress_worker *w, gpa_t gpa, gpa_t written, uint32_t generation)
{
	for (unsigned int i = 0; i < MARKERS; i++) {
		gpa_t offset = marker_offset(w, i);
		uint64_t word = 0;
		uint64_t expected = generation ? stress_pattern(written + offset, generation) : 0;

		/* Small memory has its markers in fewer places: the last one written counts. */
		if (i && offset == marker_offset(w, i - 1))
			continue;
		if (stress_read(w->stress, gpa + offset, &word, sizeof(word)))
			stress_operation_error(w->stress, NULL, "reading what is plugged failed");
		else if (word != expected)
			stress_integrity_error(w->stress, "a marker in memory nobody uses",
					       gpa + offset, generation, expected, word);
		w->checked_bytes += sizeof(word);
	}
}

void *stress_stranger_main(void *arg)
{
	struct stress_worker *w = arg;
	struct stress *s = w->stress;
	uint64_t bytes = s->layout.stranger_bytes;
	uint32_t generation = 0;

	pthread_setname_np(pthread_self(), "stranger");
	while (!stress_stopping(s)) {
		unsigned int which = (unsigned int)stress_random(&w->rng) & 1;
		gpa_t gpa = stress_stranger_gpa(&s->layout, w->index, which);
		gpa_t other = stress_stranger_gpa(&s->layout, w->index, !which);

		if (stress_op(w, STRESS_OP_PLUG, gpa, bytes, GUEST_MM_RDWR))
			break;
		check_markers(w, gpa, gpa, 0);
		if (stress_op(w, STRESS_OP_POPULATE, gpa, bytes, 0))
			break;
		generation = generation % 0xffff + 1;
		write_markers(w, gpa, generation);
		if (!stress_stopping(s) && stress_below(&w->rng, 3) == 0) {
			if (stress_op(w, STRESS_OP_REMAP, gpa, bytes, other))
				break;
			check_markers(w, other, gpa, generation);
			gpa = other;
		}
		if (stress_op(w, STRESS_OP_UNPLUG, gpa, bytes, 0))
			break;
	}
	return NULL;
}

/* ---- The device ------------------------------------------------------------------------------ */

/* Names of what the device wrote: where the page is in the device's range, and when. */
static uint64_t device_word(const struct stress *s, unsigned int page, unsigned int k,
			    uint32_t generation)
{
	gpa_t home = s->layout.device_gpa[0] + page * SAMARA_PAGE_BYTES + k * 8;

	return generation ? stress_pattern(home, generation) : 0;
}

/* A page's words through a pin, whose elements are whole pages. */
static uint64_t *pinned_page(const struct guest_mm_pin *pin, unsigned int n)
{
	uint64_t offset = n * SAMARA_PAGE_BYTES;

	for (unsigned int i = 0; i < pin->iov_count; i++) {
		if (offset < pin->iov[i].iov_len)
			return (uint64_t *)((char *)pin->iov[i].iov_base + offset);
		offset -= pin->iov[i].iov_len;
	}
	return NULL;
}

static void device_check(struct stress_worker *w, const struct guest_mm_pin *pin, gpa_t gpa,
			 unsigned int first, unsigned int count, const uint32_t *generations)
{
	for (unsigned int i = 0; i < count; i++) {
		const uint64_t *words = pinned_page(pin, i);

		for (unsigned int k = 0; words && k < STRESS_PAGE_WORDS; k++) {
			uint64_t expected =
				device_word(w->stress, first + i, k, generations[first + i]);

			if (words[k] != expected)
				stress_integrity_error(w->stress, "what a device wrote",
						       gpa + i * SAMARA_PAGE_BYTES + k * 8,
						       generations[first + i], expected, words[k]);
		}
	}
	w->checked_bytes += count * SAMARA_PAGE_BYTES;
}

static void device_fill(struct stress_worker *w, const struct guest_mm_pin *pin, unsigned int first,
			unsigned int count, uint32_t *generations)
{
	for (unsigned int i = 0; i < count; i++) {
		uint64_t *words = pinned_page(pin, i);
		uint32_t generation = generations[first + i] % 0xffff + 1;

		for (unsigned int k = 0; words && k < STRESS_PAGE_WORDS; k++)
			words[k] = device_word(w->stress, first + i, k, generation);
		generations[first + i] = generation;
	}
}

static void pass_time(struct stress_worker *w, uint64_t most_us)
{
	uint64_t ns = most_us ? stress_below(&w->rng, most_us * 1000) : 0, start;

	if (ns >= SPIN_NS) {
		stress_sleep_ns(ns);
		return;
	}
	start = stress_now_ns();
	while (ns && stress_now_ns() - start < ns)
		;
}

static void device_step(struct stress_worker *w, uint32_t *generations)
{
	struct stress *s = w->stress;
	/* Each device has pages of its own. */
	unsigned int pages = DEVICE_PAGES / s->options.devices;
	unsigned int wanted = s->options.device_pages;
	unsigned int most = pages < wanted ? pages : wanted;
	unsigned int count = 1 + (unsigned int)stress_below(&w->rng, most);
	unsigned int first =
		w->index * pages + (unsigned int)stress_below(&w->rng, pages - count + 1);
	bool write = stress_random(&w->rng) & 1;
	unsigned int turn = __atomic_load_n(&s->device.turn, __ATOMIC_SEQ_CST);
	gpa_t gpa = __atomic_load_n(&s->device.gpa, __ATOMIC_ACQUIRE) + first * SAMARA_PAGE_BYTES;
	struct guest_mm_pin pin;
	int ret = guest_mm_pin(s->mm, gpa, count * SAMARA_PAGE_BYTES, write, &pin);

	if (ret && inject_fails() && inject_is_code(ret))
		return;
	if (ret) {
		/* Moved away: a device would be told. Without a move there is no reason. */
		if (!(turn & 1) && turn == __atomic_load_n(&s->device.turn, __ATOMIC_SEQ_CST)) {
			struct samara_error err = {0};

			samara_error_set(&err, ret, "gpa %#llx: %s", (unsigned long long)gpa,
					 strerror(-ret));
			stress_operation_error(s, &err, "pinning what is plugged");
		}
		return;
	}
	device_check(w, &pin, gpa, first, count, generations);
	if (write) {
		device_fill(w, &pin, first, count, generations);
		pass_time(w, s->options.device_hold_us);
		device_check(w, &pin, gpa, first, count, generations);
	}
	guest_mm_unpin(&pin);
	w->dma++;
}

void *stress_device_main(void *arg)
{
	struct stress_worker *w = arg;
	uint32_t generations[DEVICE_PAGES] = {0};

	pthread_setname_np(pthread_self(), "device");
	while (!stress_stopping(w->stress)) {
		device_step(w, generations);
		pass_time(w, w->stress->options.device_rest_us);
	}
	return NULL;
}
