/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/stress_watch.h"

#include "vmm/stress_clock.h"
#include "vmm/stress_workers.h"

#define TICK_NS UINT64_C(100000000)

static void sample_tsc(const struct stress *s, struct stress_tsc_sample *sample)
{
	sample->tsc = __atomic_load_n(&s->control->vcpu[0].tsc, __ATOMIC_RELAXED);
	sample->ns = stress_now_ns();
}

static double tsc_hz(const struct stress_lookout *lookout)
{
	const struct stress_tsc_sample *first = &lookout->first, *last = &lookout->last;

	if (last->tsc <= first->tsc || last->ns <= first->ns)
		return 0;
	return (double)(last->tsc - first->tsc) * STRESS_NS_PER_S / (double)(last->ns - first->ns);
}

static void report_progress(struct stress *s, struct stress_lookout *lookout, double seconds,
			    uint64_t rss_bytes)
{
	const struct stress_watcher *watcher = s->watcher;
	struct stress_progress progress = {.seconds = seconds, .rss_bytes = rss_bytes};

	stress_sample_progress(s, &progress);
	progress.tsc_hz = tsc_hz(lookout);
	if (watcher->interval_s > 0 && seconds >= lookout->next_s) {
		stress_sample_latencies(s, &lookout->operation_ns, &lookout->fault_cycles);
		progress.operation_ns = &lookout->operation_ns;
		progress.fault_cycles = &lookout->fault_cycles;
		lookout->map.wanted = watcher->map_cells < STRESS_MAP_CELLS ? watcher->map_cells
									    : STRESS_MAP_CELLS;
		if (lookout->map.wanted) {
			stress_sample_map(s, &lookout->map);
			progress.map = &lookout->map;
		}
		/* A tick comes a little late. */
		lookout->next_s = seconds + watcher->interval_s - 0.05;
	}
	watcher->progress(&progress, watcher->arg);
}

/* In the second fifth and in the last one: at first, memory is touched that stays. */
static void note_rss(struct stress_lookout *lookout, uint64_t rss_bytes, double part)
{
	if (!rss_bytes || part < 0.2 || (part >= 0.4 && part < 0.8))
		return;
	stress_hist_add(part >= 0.8 ? &lookout->rss_last : &lookout->rss_first, rss_bytes);
}

/* How much longer it may run until the guest's clock is known: a busy host may not let it work. */
#define CLOCK_PATIENCE_NS (10 * STRESS_NS_PER_S)

void stress_watch(struct stress *s, struct stress_lookout *lookout, const volatile int *interrupt,
		  struct stress_result *result)
{
	uint64_t start = stress_now_ns(), elapsed = 0;
	uint64_t wanted = s->options.seconds * STRESS_NS_PER_S;

	while (!*interrupt && !stress_guest_failed(s) && !stress_look_for_hung(s) &&
	       (elapsed < wanted ||
		(tsc_hz(lookout) <= 0 && elapsed < wanted + CLOCK_PATIENCE_NS))) {
		uint64_t left = elapsed < wanted ? wanted - elapsed : TICK_NS, rss;

		stress_sleep_ns(left < TICK_NS ? left : TICK_NS);
		elapsed = stress_now_ns() - start;
		sample_tsc(s, lookout->first.tsc ? &lookout->last : &lookout->first);
		stress_tell_guest_errors(s);
		stress_devices_look(&s->devices);
		rss = stress_own_rss(s);
		note_rss(lookout, rss, (double)elapsed / (double)wanted);
		report_progress(s, lookout, (double)elapsed / STRESS_NS_PER_S, rss);
	}
	result->tsc_hz = tsc_hz(lookout);
	result->rss_first_bytes = stress_hist_quantile(&lookout->rss_first, 0.5);
	result->rss_last_bytes = stress_hist_quantile(&lookout->rss_last, 0.5);
	result->seconds = (double)elapsed / STRESS_NS_PER_S;
	result->interrupted = *interrupt;
}
