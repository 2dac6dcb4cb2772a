/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is seen of a run with a Linux guest while it goes on, and at its end. */
#include <stdio.h>
#include <string.h>

#include "vmm/inject.h"
#include "vmm/stress_clock.h"
#include "vmm/stress_linux_state.h"

#define TICK_NS UINT64_C(100000000)

static double tsc_hz(const struct stress_lookout *lookout)
{
	if (lookout->last.tsc <= lookout->first.tsc || lookout->last.ns <= lookout->first.ns)
		return 0;
	return (double)(lookout->last.tsc - lookout->first.tsc) * STRESS_NS_PER_S /
	       (double)(lookout->last.ns - lookout->first.ns);
}

static void tell_wrong_words(struct stress_linux *l)
{
	for (;;) {
		struct stress_agent_wrong wrong;
		char who[32];
		bool more;

		pthread_mutex_lock(&l->guest.lock);
		more = l->told < l->guest.agent.wrong_count;
		if (more)
			wrong = l->guest.agent.wrong[l->told++];
		pthread_mutex_unlock(&l->guest.lock);
		if (!more)
			return;
		snprintf(who, sizeof(who), "vCPU %u, va %#llx", wrong.cpu,
			 (unsigned long long)wrong.va);
		stress_tell_error(&l->base, who, wrong.what, wrong.gpa, wrong.generation,
				  wrong.expected, wrong.found);
	}
}

static void merge_operations(struct stress_linux *l, struct stress_hist *hist)
{
	memset(hist, 0, sizeof(*hist));
	for (unsigned int op = 0; op < STRESS_OPS; op++) {
		for (unsigned int i = 0; i < l->base.worker_count; i++)
			stress_hist_merge(hist, &l->base.workers[i].operation_ns[op]);
		stress_hist_merge(hist, &l->base.devices.operation_ns[op]);
	}
}

/* Context: guest's lock. */
static void merge_touches(const struct stress_linux *l, struct stress_hist *hist)
{
	memset(hist, 0, sizeof(*hist));
	stress_hist_merge_guest(hist, l->guest.agent.touches, l->guest.agent.touch_max);
}

/* Context: guest's lock. */
static void sample_agent(struct stress_linux *l, struct stress_lookout *lookout,
			 struct stress_progress *progress)
{
	const struct stress_agent_counts *counts = &l->guest.agent.counts;

	progress->errors += counts->errors;
	progress->checked_bytes = counts->checked_bytes;
	progress->guest_bytes = counts->total_bytes;
	progress->guest_faults = counts->faults;
	if (!counts->total_bytes)
		return;
	if (!lookout->first.tsc) {
		lookout->first.tsc = counts->tsc;
		lookout->first.ns = l->guest.heard_ns;
	}
	if (counts->tsc > lookout->last.tsc) {
		lookout->last.tsc = counts->tsc;
		lookout->last.ns = l->guest.heard_ns;
	}
	if (!l->least_bytes || counts->total_bytes < l->least_bytes)
		l->least_bytes = counts->total_bytes;
	if (counts->total_bytes > l->most_bytes)
		l->most_bytes = counts->total_bytes;
}

static void sample(struct stress_linux *l, struct stress_lookout *lookout,
		   struct stress_progress *progress)
{
	const struct stress_watcher *watcher = l->base.watcher;
	struct stress *s = &l->base;
	struct guest_mm_stats stats;
	bool latencies = watcher->interval_s > 0 && progress->seconds >= lookout->next_s;

	guest_mm_get_stats(s->mm, &stats);
	progress->operations = __atomic_load_n(&s->operations, __ATOMIC_RELAXED);
	progress->faults = stats.faults;
	progress->errors = __atomic_load_n(&s->integrity_errors, __ATOMIC_RELAXED) +
			   __atomic_load_n(&s->operation_errors, __ATOMIC_RELAXED);
	progress->regions = stats.regions;
	progress->tree_nodes = stats.tree_nodes;
	progress->plugged_bytes = stats.plugged_bytes;
	progress->populated_bytes = stats.populated_bytes;
	pthread_mutex_lock(&l->guest.lock);
	sample_agent(l, lookout, progress);
	if (latencies)
		merge_touches(l, &lookout->fault_cycles);
	pthread_mutex_unlock(&l->guest.lock);
	progress->tsc_hz = tsc_hz(lookout);
	if (!latencies)
		return;
	merge_operations(l, &lookout->operation_ns);
	progress->operation_ns = &lookout->operation_ns;
	progress->fault_cycles = &lookout->fault_cycles;
	lookout->map.wanted =
		watcher->map_cells < STRESS_MAP_CELLS ? watcher->map_cells : STRESS_MAP_CELLS;
	if (lookout->map.wanted) {
		stress_sample_map(s, &lookout->map);
		progress->map = &lookout->map;
	}
	/* A tick comes a little late. */
	lookout->next_s = progress->seconds + watcher->interval_s - 0.05;
}

static void report_progress(struct stress_linux *l, struct stress_lookout *lookout, double seconds)
{
	struct stress_progress progress = {.seconds = seconds,
					   .rss_bytes = stress_own_rss(&l->base)};
	double part = seconds / l->base.options.seconds;

	tell_wrong_words(l);
	sample(l, lookout, &progress);
	l->base.watcher->progress(&progress, l->base.watcher->arg);
	/* In the second fifth and in the last one: at first, memory is touched that stays. */
	if (progress.rss_bytes && part >= 0.2 && (part < 0.4 || part >= 0.8))
		stress_hist_add(part >= 0.8 ? &lookout->rss_last : &lookout->rss_first,
				progress.rss_bytes);
}

/* How often one was done up to now. */
static uint64_t count_done(const struct stress_linux *l, enum stress_op op)
{
	uint64_t count = __atomic_load_n(&l->base.devices.operation_ns[op].count, __ATOMIC_RELAXED);

	for (unsigned int i = 0; i < l->base.worker_count; i++)
		count += __atomic_load_n(&l->base.workers[i].operation_ns[op].count,
					 __ATOMIC_RELAXED);
	return count;
}

/* Whether each operation of the mix was done as often as is wanted. */
static bool is_enough(const struct stress_linux *l)
{
	static const struct {
		enum stress_mix mix;
		enum stress_op op;
	} operations[] = {
		{STRESS_MIX_REBACK, STRESS_OP_REBACK},
		{STRESS_MIX_POPULATE, STRESS_OP_POPULATE},
		{STRESS_MIX_PROTECT_LIVE, STRESS_OP_PROTECT},
		{STRESS_MIX_REFUSED, STRESS_OP_REFUSED},
		{STRESS_MIX_BALLOON, STRESS_OP_BALLOON},
		{STRESS_MIX_VIRTIO_MEM, STRESS_OP_VIRTIO_MEM},
		{STRESS_MIX_DIMM, STRESS_OP_DIMM},
	};
	const struct stress_options *options = &l->base.options;

	for (size_t i = 0; i < sizeof(operations) / sizeof(*operations); i++)
		if (options->weight[operations[i].mix] &&
		    count_done(l, operations[i].op) < options->linux_guest.each)
			return false;
	return true;
}

void stress_linux_watch(struct stress_linux *l, struct stress_lookout *lookout,
			const volatile int *interrupt, struct stress_result *result)
{
	uint64_t start = stress_now_ns(), elapsed = 0;
	uint64_t wanted = l->base.options.seconds * STRESS_NS_PER_S;

	while (!*interrupt && (elapsed < wanted || !is_enough(l)) &&
	       stress_linux_is_well(l, &result->failure) && !stress_look_for_hung(&l->base)) {
		uint64_t left = elapsed < wanted ? wanted - elapsed : TICK_NS;

		stress_sleep_ns(left < TICK_NS ? left : TICK_NS);
		elapsed = stress_now_ns() - start;
		stress_devices_look(&l->base.devices);
		report_progress(l, lookout, (double)elapsed / STRESS_NS_PER_S);
	}
	result->seconds = (double)elapsed / STRESS_NS_PER_S;
	result->interrupted = *interrupt;
}

void stress_linux_collect(struct stress_linux *l, const struct stress_workers *workers,
			  struct stress_lookout *lookout, struct stress_result *result)
{
	const struct stress_agent *agent = &l->guest.agent;
	struct stress *s = &l->base;

	tell_wrong_words(l);
	for (unsigned int i = 0; i < workers->total; i++) {
		const struct stress_worker *w = &workers->worker[i];

		for (unsigned int op = 0; op < STRESS_OPS; op++) {
			result->operations[op] += w->operations[op];
			stress_hist_merge(&result->operation_ns[op], &w->operation_ns[op]);
		}
		result->checked_by_host_bytes += w->checked_bytes;
	}
	for (unsigned int op = 0; op < STRESS_OPS; op++) {
		result->operations[op] += s->devices.operations[op];
		stress_hist_merge(&result->operation_ns[op], &s->devices.operation_ns[op]);
	}
	result->linux_guest.declined = s->devices.declined;
	pthread_mutex_lock(&l->guest.lock);
	sample_agent(l, lookout, &(struct stress_progress){0});
	merge_touches(l, &result->fault_cycles);
	result->checked_by_guest_bytes = agent->counts.checked_bytes;
	result->visits = agent->counts.visits;
	result->integrity_errors = s->integrity_errors + agent->counts.errors;
	/* It tells of some before it counts them. */
	if (agent->wrong_count && !agent->counts.errors)
		result->integrity_errors += agent->wrong_count;
	result->linux_guest.written_bytes = agent->counts.written_bytes;
	result->linux_guest.released_bytes = agent->counts.released_bytes;
	result->linux_guest.faults = agent->counts.faults;
	memcpy(result->linux_guest.release, agent->release, sizeof(agent->release));
	pthread_mutex_unlock(&l->guest.lock);
	result->linux_guest.least_bytes = l->least_bytes;
	result->linux_guest.most_bytes = l->most_bytes;
	memcpy(result->linux_guest.missing, l->missing, sizeof(l->missing));
	result->operation_errors = s->operation_errors;
	result->found_count = s->found_count;
	memcpy(result->found, s->found, sizeof(result->found));
	result->tsc_hz = tsc_hz(lookout);
	result->rss_first_bytes = stress_hist_quantile(&lookout->rss_first, 0.5);
	result->rss_last_bytes = stress_hist_quantile(&lookout->rss_last, 0.5);
	memcpy(result->options.weight, s->options.weight, sizeof(s->options.weight));
	inject_get_counts(&result->injected);
	guest_mm_get_stats(s->mm, &result->mm);
}
