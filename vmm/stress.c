/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/stress.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/stress_clock.h"
#include "vmm/stress_state.h"

#define TICK_NS     UINT64_C(100000000)
/* A worker that waits for so long is worth a line. */
#define JOIN_NOTE_S 30

/* A vCPU's time-stamp counter at a moment of the host's clock. */
struct tsc_sample {
	uint64_t tsc, ns;
};

static int create_mm(struct stress *s, struct samara_error *err)
{
	struct guest_mm_config config = {
		.fault_around_pages = s->options.fault_around_pages,
		.copy_only = s->options.copy_only,
	};
	int ret = guest_mm_create(&config, &s->mm, err);

	if (!ret)
		ret = guest_mm_add_window(s->mm, 0, s->layout.boot_bytes, GUEST_MM_ANON, err);
	if (!ret)
		ret = guest_mm_add_window(s->mm, STRESS_WINDOW_GPA, s->layout.window_bytes,
					  s->options.backing, err);
	return ret;
}

static void fill_control(struct stress *s)
{
	struct stress_control *control = s->control;

	control->cpus = s->options.cpus;
	control->slots = s->options.slots;
	control->fault_around_pages = s->options.fault_around_pages;
	control->own_pages = STRESS_OWN_BYTES / SAMARA_PAGE_BYTES;
	control->own_gpa = s->layout.own_gpa;
	control->own_stride_bytes = STRESS_LARGE_BYTES;
	control->shared_gpa = s->layout.shared_gpa;
	control->protect_gpa = s->layout.protect_gpa;
	control->live_gpa = s->live.gpa;
	control->order_length = s->order.length;
	stress_order_steps(&s->order, &s->options, &control->order_first, &control->order_step);
	memcpy(control->order, s->order.slot, sizeof(control->order));
}

static bool guest_failed(struct stress *s)
{
	return __atomic_load_n(&s->guest.failed, __ATOMIC_ACQUIRE);
}

/* vCPU 0 finds out how fast it is, and so how much is done in a visit. */
static void wait_for_words(struct stress *s, const volatile int *interrupt)
{
	while (!(s->words = __atomic_load_n(&s->control->words, __ATOMIC_ACQUIRE))) {
		if (guest_failed(s) || *interrupt)
			return;
		stress_sleep_ns(TICK_NS / 100);
	}
}

/* ---- Workers --------------------------------------------------------------------------------- */

struct workers {
	struct stress_worker *worker;
	unsigned int total, started;
};

static int workers_alloc(struct stress *s, struct workers *workers, struct samara_error *err)
{
	const struct stress_options *options = &s->options;
	struct stress_rng seeds = {options->seed};

	workers->total = options->operators + options->strangers + options->devices;
	workers->worker = calloc(workers->total, sizeof(*workers->worker));
	if (!workers->worker)
		goto out_of_memory;
	for (unsigned int i = 0; i < workers->total; i++) {
		struct stress_worker *w = &workers->worker[i];

		w->stress = s;
		w->rng.state = stress_random(&seeds);
		w->index = i;
		if (i < options->operators)
			stress_planner_init(&w->planner, &s->options, &s->order, i, w->rng.state);
		else if (i < options->operators + options->strangers)
			w->index -= options->operators;
		else
			w->index -= options->operators + options->strangers;
		w->buffer = malloc(STRESS_WORKER_BYTES);
		if (!w->buffer)
			goto out_of_memory;
	}
	return 0;

out_of_memory:
	return samara_error_set(err, -ENOMEM, "out of memory for %u workers", workers->total);
}

static int workers_start(struct stress *s, struct workers *workers, struct samara_error *err)
{
	const struct stress_options *options = &s->options;

	for (unsigned int i = 0; i < workers->total; i++) {
		struct stress_worker *w = &workers->worker[i];
		void *(*main)(void *) = stress_device_main;
		int ret;

		if (i < options->operators)
			main = stress_operator_main;
		else if (i < options->operators + options->strangers)
			main = stress_stranger_main;
		ret = pthread_create(&w->thread, NULL, main, w);
		if (ret)
			return samara_error_set(err, -ret, "no thread to be had: %s",
						strerror(ret));
		workers->started++;
	}
	return 0;
}

/* Wait for a worker, and say so when its operation takes long: it may wait for ever. */
static void worker_join(struct stress *s, struct stress_worker *w)
{
	uint64_t waited_s = 0;
	struct timespec until;

	for (;;) {
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += JOIN_NOTE_S;
		if (!pthread_timedjoin_np(w->thread, NULL, &until))
			return;
		waited_s += JOIN_NOTE_S;
		stress_note(s, "an operation has not ended %llu s after it was to be the last",
			    (unsigned long long)waited_s);
	}
}

static void workers_join(struct stress *s, struct workers *workers)
{
	__atomic_store_n(&s->stopping, true, __ATOMIC_RELEASE);
	for (unsigned int i = 0; i < workers->started; i++)
		worker_join(s, &workers->worker[i]);
	workers->started = 0;
}

static void workers_free(struct workers *workers)
{
	for (unsigned int i = 0; workers->worker && i < workers->total; i++)
		free(workers->worker[i].buffer);
	free(workers->worker);
}

/* ---- The run --------------------------------------------------------------------------------- */

static void sample_tsc(const struct stress *s, struct tsc_sample *sample)
{
	sample->tsc = __atomic_load_n(&s->control->vcpu[0].tsc, __ATOMIC_RELAXED);
	sample->ns = stress_now_ns();
}

static void report_progress(struct stress *s, double seconds)
{
	struct guest_mm_stats stats;
	struct stress_progress progress;

	guest_mm_get_stats(s->mm, &stats);
	progress = (struct stress_progress){
		.seconds = seconds,
		.operations = __atomic_load_n(&s->operations, __ATOMIC_RELAXED),
		.faults = stats.faults,
		.errors = __atomic_load_n(&s->integrity_errors, __ATOMIC_RELAXED) +
			  __atomic_load_n(&s->operation_errors, __ATOMIC_RELAXED) +
			  __atomic_load_n(&s->control->error_count, __ATOMIC_RELAXED),
	};
	s->watcher->progress(&progress, s->watcher->arg);
}

/* How much longer it may run until the guest's clock is known: a busy host may not let it work. */
#define CLOCK_PATIENCE_NS (10 * STRESS_NS_PER_S)

/* Let it run its time. */
static void watch(struct stress *s, const volatile int *interrupt, struct stress_result *result)
{
	uint64_t start = stress_now_ns(), elapsed = 0;
	uint64_t wanted = s->options.seconds * STRESS_NS_PER_S;
	struct tsc_sample first = {0}, last = {0};

	while (!*interrupt && !guest_failed(s) &&
	       (elapsed < wanted ||
		(last.tsc <= first.tsc && elapsed < wanted + CLOCK_PATIENCE_NS))) {
		uint64_t left = elapsed < wanted ? wanted - elapsed : TICK_NS;

		stress_sleep_ns(left < TICK_NS ? left : TICK_NS);
		elapsed = stress_now_ns() - start;
		sample_tsc(s, first.tsc ? &last : &first);
		stress_tell_guest_errors(s);
		report_progress(s, (double)elapsed / STRESS_NS_PER_S);
	}
	if (last.tsc > first.tsc && last.ns > first.ns)
		result->tsc_hz = (double)(last.tsc - first.tsc) * STRESS_NS_PER_S /
				 (double)(last.ns - first.ns);
	result->seconds = (double)elapsed / STRESS_NS_PER_S;
	result->interrupted = *interrupt;
}

static void collect(struct stress *s, const struct workers *workers, struct stress_result *result)
{
	const struct stress_control *control = s->control;

	for (unsigned int i = 0; i < workers->total; i++) {
		const struct stress_worker *w = &workers->worker[i];

		for (unsigned int op = 0; op < STRESS_OPS; op++) {
			result->operations[op] += w->operations[op];
			stress_hist_merge(&result->operation_ns[op], &w->operation_ns[op]);
		}
		result->checked_by_host_bytes += w->checked_bytes;
		result->dma += w->dma;
	}
	for (unsigned int i = 0; i < s->options.cpus; i++) {
		const struct stress_vcpu *vcpu = &control->vcpu[i];

		stress_hist_merge_guest(&result->fault_cycles, vcpu->fault_buckets,
					vcpu->fault_max);
		result->checked_by_guest_bytes += vcpu->checked_words * 8;
		result->visits += vcpu->visits;
		result->nothing_accesses += vcpu->nothing_accesses;
		result->live_missed += vcpu->live_missed;
		for (unsigned int n = 0; n < STRESS_SHARED_COUNTERS; n++)
			result->increments += vcpu->shared[n];
		for (unsigned int n = 0; n < STRESS_LIVE_COUNTERS; n++)
			result->increments += vcpu->live[n];
		for (unsigned int n = 0; n < STRESS_PROTECT_PAGES; n++)
			result->increments += vcpu->protect[n];
	}
	result->integrity_errors = s->integrity_errors + control->error_count;
	result->operation_errors = s->operation_errors;
	guest_mm_get_stats(s->mm, &result->mm);
}

/* After the vCPUs and workers: what is left in memory must be what was counted and written. */
static void final_checks(struct stress *s, struct workers *workers, struct stress_result *result)
{
	stress_tell_guest_errors(s);
	result->lost_increments = stress_count_lost(s, result->stuck_cpus);
	stress_slots_check(&workers->worker[0]);
	collect(s, workers, result);
	if (guest_failed(s))
		result->failure = s->guest.failure;
}

int stress_run(const struct stress_options *options, const struct stress_watcher *watcher,
	       const volatile int *interrupt, struct stress_result *result,
	       struct samara_error *err)
{
	struct workers workers = {0};
	struct stress *s = NULL;
	int ret = stress_check_options(options, err);

	if (ret)
		return ret;
	s = calloc(1, sizeof(*s));
	if (!s)
		return samara_error_set(err, -ENOMEM, "out of memory");
	memset(result, 0, sizeof(*result));
	result->options = *options;
	s->options = *options;
	s->watcher = watcher;
	pthread_mutex_init(&s->note_lock, NULL);

	ret = stress_layout_make(&s->layout, options, err);
	stress_order_fill(&s->order, options);
	if (!ret)
		ret = stress_slots_init(s, err);
	if (!ret)
		ret = workers_alloc(s, &workers, err);
	if (!ret)
		ret = create_mm(s, err);
	if (!ret)
		ret = stress_guest_create(&s->guest, s->mm, &s->layout, options->cpus, err);
	if (!ret)
		ret = stress_ranges_init(s, err);
	if (ret)
		goto out;

	s->control = s->guest.control;
	fill_control(s);
	ret = stress_guest_start(&s->guest, err);
	if (ret)
		goto out;
	wait_for_words(s, interrupt);
	if (s->words)
		ret = workers_start(s, &workers, err);
	if (!ret)
		watch(s, interrupt, result);
	workers_join(s, &workers);
	result->stuck_cpus = stress_guest_stop(&s->guest);
	if (!ret)
		final_checks(s, &workers, result);

out:
	stress_guest_destroy(&s->guest);
	if (s->mm)
		guest_mm_destroy(s->mm);
	workers_free(&workers);
	stress_slots_free(s);
	free(s);
	return ret;
}

bool stress_passed(const struct stress_result *result)
{
	return !result->integrity_errors && !result->lost_increments && !result->operation_errors &&
	       !result->stuck_cpus && !result->failure.code;
}
