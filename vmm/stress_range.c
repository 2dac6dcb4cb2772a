/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ranges that are changed while vCPUs and a device are using them: no hand-over, so these show what
 * is lost or torn in the middle of an operation.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/stress_clock.h"
#include "vmm/stress_state.h"

/* A range that counts stays long enough for the vCPUs to find it. */
#define READ_ONLY_MAX_NS UINT64_C(2000000)

void stress_move(struct stress_worker *w, struct stress_mover *mover)
{
	unsigned int to;

	if (pthread_mutex_trylock(&mover->lock))
		return;
	to = (mover->at + 1 + (unsigned int)stress_below(&w->rng, STRESS_LIVE_PLACES - 1)) %
	     STRESS_LIVE_PLACES;
	__atomic_fetch_add(&mover->turn, 1, __ATOMIC_SEQ_CST);
	if (stress_op_pieces(w, STRESS_OP_REMAP, mover->places[mover->at], mover->bytes,
			     mover->places[to])) {
		/* Where it is now is not known: it keeps its lock, so nobody moves it again. */
		return;
	}
	mover->at = to;
	__atomic_store_n(&mover->gpa, mover->places[to], __ATOMIC_RELEASE);
	if (mover == &w->stress->live)
		__atomic_store_n(&w->stress->control->live_gpa, mover->gpa, __ATOMIC_RELEASE);
	__atomic_fetch_add(&mover->turn, 1, __ATOMIC_SEQ_CST);
	pthread_mutex_unlock(&mover->lock);
}

static int read_range(struct stress_worker *w, gpa_t gpa, void *to, uint64_t bytes)
{
	int ret = stress_read(w->stress, gpa, to, bytes);
	struct samara_error err = {0};

	if (!ret)
		return 0;
	samara_error_set(&err, ret, "gpa %#llx: %s", (unsigned long long)gpa, strerror(-ret));
	stress_operation_error(w->stress, &err, "reading a plugged range");
	return ret;
}

static void compare_words(struct stress_worker *w, gpa_t gpa, const uint64_t *before,
			  const uint64_t *after, uint64_t bytes)
{
	for (uint64_t i = 0; i < bytes / 8; i++)
		if (before[i] != after[i])
			stress_integrity_error(w->stress, "a read-only word changed", gpa + i * 8,
					       0, before[i], after[i]);
	w->checked_bytes += bytes;
}

void stress_protect_step(struct stress_worker *w)
{
	struct stress *s = w->stress;
	uint64_t first, bytes;
	unsigned char *after;
	gpa_t gpa;

	if (pthread_mutex_trylock(&s->protect_lock))
		return;
	first = stress_below(&w->rng, STRESS_PROTECT_PAGES);
	bytes = (1 + stress_below(&w->rng, STRESS_PROTECT_PAGES - first)) * SAMARA_PAGE_BYTES;
	gpa = s->layout.protect_gpa + first * SAMARA_PAGE_BYTES;
	after = w->buffer + bytes;

	if (stress_op_pieces(w, STRESS_OP_PROTECT, gpa, bytes, GUEST_MM_READ))
		goto out;
	if (!read_range(w, gpa, w->buffer, bytes)) {
		stress_sleep_ns(stress_below(&w->rng, READ_ONLY_MAX_NS));
		if (!read_range(w, gpa, after, bytes))
			compare_words(w, gpa, (uint64_t *)w->buffer, (uint64_t *)after, bytes);
	}
out:
	/* Whatever happened: a vCPU may be held. */
	stress_op_pieces(w, STRESS_OP_PROTECT, gpa, bytes, GUEST_MM_RDWR);
	pthread_mutex_unlock(&s->protect_lock);
}

static void mover_init(struct stress_mover *mover, const gpa_t *places, uint64_t bytes)
{
	pthread_mutex_init(&mover->lock, NULL);
	mover->places = places;
	mover->bytes = bytes;
	mover->gpa = places[0];
}

int stress_ranges_init(struct stress *s, struct samara_error *err)
{
	const struct stress_layout *layout = &s->layout;
	uint64_t signature = STRESS_LIVE_SIGNATURE << STRESS_LIVE_SHIFT;
	unsigned int i;
	int ret;

	pthread_mutex_init(&s->protect_lock, NULL);
	mover_init(&s->live, layout->live_gpa, STRESS_LIVE_BYTES);
	mover_init(&s->device, layout->device_gpa, STRESS_DEVICE_BYTES);

	ret = guest_mm_plug(s->mm, layout->shared_gpa, STRESS_SHARED_BYTES, GUEST_MM_RDWR, err);
	if (!ret)
		ret = guest_mm_plug(s->mm, layout->protect_gpa,
				    STRESS_PROTECT_PAGES * STRESS_PAGE_BYTES, GUEST_MM_RDWR, err);
	if (!ret)
		ret = guest_mm_plug(s->mm, s->live.gpa, s->live.bytes, GUEST_MM_RDWR, err);
	if (!ret)
		ret = guest_mm_plug(s->mm, s->device.gpa, s->device.bytes, GUEST_MM_RDWR, err);
	for (i = 0; !ret && i < s->options.cpus; i++)
		ret = guest_mm_plug(s->mm, layout->own_gpa + i * STRESS_LARGE_BYTES,
				    STRESS_OWN_BYTES, GUEST_MM_RDWR, err);
	if (ret)
		return ret;

	for (i = 0; i < STRESS_LIVE_COUNTERS; i++) {
		gpa_t gpa = s->live.gpa + stress_live_offset(i);

		ret = stress_write(s, gpa, &signature, sizeof(signature));
		if (ret)
			return samara_error_set(err, ret, "gpa %#llx: cannot be written: %s",
						(unsigned long long)gpa, strerror(-ret));
	}
	return 0;
}

/* One counter: @counted by vCPUs, @found in memory. */
static uint64_t count_difference(struct stress *s, const char *what, unsigned int n, gpa_t gpa,
				 uint64_t counted, uint64_t found, unsigned int *tolerance)
{
	uint64_t difference = counted > found ? counted - found : found - counted;

	/* A vCPU that was ended between an increment and its own count. */
	if (found > counted && difference <= *tolerance) {
		*tolerance -= (unsigned int)difference;
		return 0;
	}
	if (difference)
		stress_note(s, "%s counter %u at gpa %#llx: %llu increments made, %llu found", what,
			    n, (unsigned long long)gpa, (unsigned long long)counted,
			    (unsigned long long)found);
	return difference;
}

static uint64_t read_word(struct stress *s, gpa_t gpa)
{
	uint64_t word = 0;
	struct samara_error err = {0};
	int ret = stress_read(s, gpa, &word, sizeof(word));

	if (ret) {
		samara_error_set(&err, ret, "gpa %#llx: %s", (unsigned long long)gpa,
				 strerror(-ret));
		stress_operation_error(s, &err, "reading a counter");
	}
	return word;
}

uint64_t stress_count_lost(struct stress *s, unsigned int tolerance)
{
	const struct stress_control *control = s->control;
	uint64_t lost = 0, sum, found;
	unsigned int i, cpu;
	gpa_t gpa;

	for (i = 0; i < STRESS_SHARED_COUNTERS; i++) {
		gpa = s->layout.shared_gpa + stress_shared_offset(i);
		for (sum = 0, cpu = 0; cpu < s->options.cpus; cpu++)
			sum += control->vcpu[cpu].shared[i];
		lost += count_difference(s, "shared", i, gpa, sum, read_word(s, gpa), &tolerance);
	}
	for (i = 0; i < STRESS_PROTECT_PAGES; i++) {
		gpa = s->layout.protect_gpa + i * SAMARA_PAGE_BYTES;
		for (sum = 0, cpu = 0; cpu < s->options.cpus; cpu++)
			sum += control->vcpu[cpu].protect[i];
		lost += count_difference(s, "protect", i, gpa, sum, read_word(s, gpa), &tolerance);
	}
	for (i = 0; i < STRESS_LIVE_COUNTERS; i++) {
		gpa = s->live.gpa + stress_live_offset(i);
		for (sum = 0, cpu = 0; cpu < s->options.cpus; cpu++)
			sum += control->vcpu[cpu].live[i];
		found = read_word(s, gpa);
		if (found >> STRESS_LIVE_SHIFT != STRESS_LIVE_SIGNATURE)
			stress_integrity_error(s, "a moved counter's signature", gpa, 0,
					       STRESS_LIVE_SIGNATURE << STRESS_LIVE_SHIFT, found);
		lost += count_difference(s, "moved", i, gpa, sum, found & STRESS_LIVE_COUNT,
					 &tolerance);
	}
	return lost;
}
