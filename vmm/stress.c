/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/stress.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/stress_clock.h"
#include "vmm/stress_linux.h"
#include "vmm/stress_watch.h"
#include "vmm/stress_workers.h"

#define POLL_NS UINT64_C(1000000)

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
	control->leave = s->options.inject.place[INJECT_KVM_RUN].odds != 0;
	control->order_length = s->order.length;
	stress_order_steps(&s->order, &s->options, &control->order_first, &control->order_step);
	memcpy(control->order, s->order.slot, sizeof(control->order));
}

/* vCPU 0 finds out how fast it is, and so how much is done in a visit. */
static void wait_for_words(struct stress *s, const volatile int *interrupt)
{
	while (!(s->words = __atomic_load_n(&s->control->words, __ATOMIC_ACQUIRE))) {
		if (stress_guest_failed(s) || *interrupt)
			return;
		stress_sleep_ns(POLL_NS);
	}
}

static void collect(struct stress *s, const struct stress_workers *workers,
		    struct stress_result *result)
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
	for (unsigned int op = 0; op < STRESS_OPS; op++) {
		result->operations[op] += s->devices.operations[op];
		stress_hist_merge(&result->operation_ns[op], &s->devices.operation_ns[op]);
	}
	for (unsigned int i = 0; i < s->options.cpus; i++) {
		const struct stress_vcpu *vcpu = &control->vcpu[i];

		stress_hist_merge_guest(&result->fault_cycles, vcpu->fault_buckets,
					vcpu->fault_max);
		result->checked_by_guest_bytes += vcpu->checked_words * 8;
		result->visits += vcpu->visits;
		result->device_visits += vcpu->device_visits;
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
	result->found_count = s->found_count;
	memcpy(result->found, s->found, sizeof(result->found));
	inject_get_counts(&result->injected);
	guest_mm_get_stats(s->mm, &result->mm);
}

/* The first region that is not the boot window's. */
static int find_region(const struct guest_mm_region *region, void *arg)
{
	if (region->gpa < STRESS_WINDOW_GPA)
		return 0;
	*(struct guest_mm_region *)arg = *region;
	return 1;
}

/* Each region can be unplugged, and nothing is left: no region, no page. */
static void unplug_all(struct stress *s)
{
	struct samara_error err = {0};
	struct guest_mm_region region;
	struct guest_mm_stats stats;

	while (guest_mm_for_each_region(s->mm, find_region, &region)) {
		if (guest_mm_unplug(s->mm, region.gpa, region.size_bytes, &err)) {
			stress_operation_error(s, &err, "unplugging what is left");
			return;
		}
	}
	guest_mm_get_stats(s->mm, &stats);
	if (stats.regions == 1 && stats.plugged_bytes == s->layout.boot_bytes &&
	    stats.populated_bytes == s->layout.boot_bytes)
		return;
	samara_error_set(&err, -EIO,
			 "%llu regions, %llu bytes plugged and %llu populated, not %llu",
			 (unsigned long long)stats.regions, (unsigned long long)stats.plugged_bytes,
			 (unsigned long long)stats.populated_bytes,
			 (unsigned long long)s->layout.boot_bytes);
	stress_operation_error(s, &err, "what is left when all is unplugged");
}

/* After the vCPUs and workers: what is left in memory must be what was counted and written. */
static void final_checks(struct stress *s, struct stress_workers *workers,
			 struct stress_result *result)
{
	stress_tell_guest_errors(s);
	result->lost_increments = stress_count_lost(s, result->stuck_cpus);
	stress_slots_check(&workers->worker[0]);
	stress_units_check(&workers->worker[0]);
	collect(s, workers, result);
	unplug_all(s);
	result->operation_errors = s->operation_errors;
	if (stress_guest_failed(s))
		result->failure = s->guest.failure;
}

static int create_guest(struct stress *s, struct samara_error *err)
{
	int ret;

	inject_arm_setup(&s->options.inject, s->options.seed);
	ret = stress_guest_create(&s->guest, s->mm, &s->layout, s->options.cpus, err);
	inject_disarm();
	return ret;
}

/* Those that the mix has work for. */
static int create_devices(struct stress *s, struct samara_error *err)
{
	const struct stress_layout *layout = &s->layout;
	const unsigned int *weight = s->options.weight;
	const struct stress_board_config board = {
		.mm = s->mm,
		.layout = layout,
		.backing = s->options.backing,
		.with_mem = weight[STRESS_MIX_VIRTIO_MEM],
		.with_balloon = weight[STRESS_MIX_BALLOON],
		.with_dimms = weight[STRESS_MIX_DIMM],
		.notify = stress_devices_notice,
		.arg = &s->devices,
	};
	struct stress_devices_config devices = {
		.mem_path = STRESS_BOARD_MEM_PATH,
		.mem_gpa = layout->mem_gpa,
		.mem_bytes = STRESS_MEM_BLOCKS * STRESS_MEM_BLOCK_BYTES,
		.block_bytes = STRESS_MEM_BLOCK_BYTES,
		.balloon_gpa = layout->balloon_gpa,
		.balloon_pages = STRESS_BALLOON_PAGES,
		.dimm_slots = STRESS_DIMM_SLOTS,
		.dimm_units = STRESS_DIMM_UNITS,
		.dimm_gpa = layout->dimm_gpa,
		.dimm_unit_bytes = STRESS_DIMM_UNIT_BYTES,
		.dimm_gone = stress_units_gone,
		.rounds = stress_units_rounds,
		.arg = s,
	};
	int ret = stress_board_create(&s->board, &board, &s->guest.kvm, err);

	if (ret)
		return ret;
	s->guest.board = &s->board;
	devices.memory = s->board.memory;
	devices.qom = s->board.qom;
	devices.dimms = s->board.dimms;
	if (s->board.mem)
		devices.mem = virtio_memory_device(s->board.mem);
	if (s->board.balloon)
		devices.balloon = balloon_device(s->board.balloon);
	stress_devices_init(&s->devices, s, &devices);
	return 0;
}

int stress_run(const struct stress_options *options, const struct stress_watcher *watcher,
	       const volatile int *interrupt, struct stress_result *result,
	       struct samara_error *err)
{
	struct stress_workers workers = {0};
	struct stress_lookout *lookout;
	struct stress *s;
	int ret = stress_check_options(options, err);

	if (ret)
		return ret;
	if (options->guest == STRESS_GUEST_LINUX)
		return stress_linux_run(options, watcher, interrupt, result, err);
	s = calloc(1, sizeof(*s));
	lookout = calloc(1, sizeof(*lookout));
	if (!s || !lookout) {
		free(s);
		free(lookout);
		return samara_error_set(err, -ENOMEM, "out of memory");
	}
	memset(result, 0, sizeof(*result));
	result->options = *options;
	s->options = *options;
	s->watcher = watcher;
	pthread_mutex_init(&s->note_lock, NULL);
	stress_log_init(&s->log);

	ret = stress_layout_make(&s->layout, options, err);
	stress_sample_places(s);
	stress_order_fill(&s->order, options);
	if (!ret)
		ret = stress_slots_init(s, err);
	if (!ret)
		ret = stress_workers_alloc(s, &workers, err);
	if (!ret)
		ret = create_mm(s, err);
	if (!ret)
		ret = create_guest(s, err);
	if (!ret)
		ret = stress_ranges_init(s, err);
	if (!ret)
		ret = create_devices(s, err);
	if (ret)
		goto out;

	s->control = s->guest.control;
	s->workers = workers.worker;
	s->worker_count = workers.total;
	fill_control(s);
	stress_units_init(s);
	inject_arm(&options->inject, options->seed);
	ret = stress_guest_start(&s->guest, err);
	if (ret) {
		inject_disarm();
		goto out;
	}
	wait_for_words(s, interrupt);
	if (s->words)
		ret = stress_workers_start(s, &workers, err);
	if (!ret)
		stress_watch(s, lookout, interrupt, result);
	stress_workers_join(s, &workers);
	if (!s->hung.code && s->words)
		stress_devices_finish(&s->devices, stress_guest_failed);
	inject_disarm();
	if (s->hung.code) {
		/* Threads are in the middle of it all, for ever: nothing can be taken away. */
		stress_tell_guest_errors(s);
		collect(s, &workers, result);
		result->failure = s->hung;
		return 0;
	}
	result->stuck_cpus = stress_guest_stop(&s->guest);
	if (!ret)
		final_checks(s, &workers, result);

out:
	stress_guest_destroy(&s->guest);
	stress_board_destroy(&s->board);
	if (s->mm)
		guest_mm_destroy(s->mm);
	stress_workers_free(&workers);
	stress_slots_free(s);
	free(lookout);
	free(s);
	return ret;
}

bool stress_passed(const struct stress_result *result)
{
	return !result->integrity_errors && !result->lost_increments && !result->operation_errors &&
	       !result->stuck_cpus && !result->failure.code;
}
