/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A run with a Linux guest: it boots, works while operators change its memory, checks all, ends. */
#include "vmm/stress_linux.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/layout.h"
#include "vmm/stress_clock.h"
#include "vmm/stress_linux_state.h"
#include "vmm/stress_watch.h"
#include "vmm/stress_workers.h"

#define TICK_NS          UINT64_C(100000000)
#define STOP_TICK_NS     UINT64_C(10000000)

/*
 * How long a guest may take until its agent is at work, and be silent later (it speaks once a second).
 * On a machine that is emulated, with others on the same CPUs, a boot takes minutes.
 */
#define BOOT_NS          (600 * STRESS_NS_PER_S)
#define SILENCE_NS       (180 * STRESS_NS_PER_S)

#define MEMORY_MIN_BYTES (UINT64_C(128) << 20)
#define PLACE_MIN_BYTES  (UINT64_C(64) << 10)

void stress_linux_default_mix(unsigned int weight[STRESS_MIXES])
{
	memset(weight, 0, STRESS_MIXES * sizeof(*weight));
	weight[STRESS_MIX_REBACK] = 30;
	weight[STRESS_MIX_PROTECT_LIVE] = 30;
	weight[STRESS_MIX_POPULATE] = 10;
	weight[STRESS_MIX_REFUSED] = 5;
	weight[STRESS_MIX_BALLOON] = 5;
	weight[STRESS_MIX_VIRTIO_MEM] = 10;
	weight[STRESS_MIX_DIMM] = 10;
}

/* ---- Whether it can be ----------------------------------------------------------------------- */

static int check_mix(const struct stress_options *options, struct samara_error *err)
{
	unsigned int possible[STRESS_MIXES];

	stress_linux_default_mix(possible);
	for (unsigned int i = 0; options->mix_given && i < STRESS_MIXES; i++)
		if (options->weight[i] && !possible[i])
			return samara_error_set(
				err, -EINVAL,
				"--mix %s: a Linux guest would not survive it; it has "
				"reback, populate, refused, protect-live, balloon, "
				"virtio-mem, dimm",
				stress_mix_names[i]);
	if (options->mix_given && !options->linux_guest.device_bytes &&
	    (options->weight[STRESS_MIX_VIRTIO_MEM] || options->weight[STRESS_MIX_DIMM]))
		return samara_error_set(
			err, -EINVAL,
			"--mix virtio-mem, dimm: --device-memory 0 leaves nothing to "
			"plug");
	return 0;
}

int stress_linux_check(const struct stress_options *options, struct samara_error *err)
{
	const struct stress_linux_options *linux_guest = &options->linux_guest;

	if (!linux_guest->kernel[0])
		return samara_error_set(err, -EINVAL, "--guest linux: --kernel names its kernel");
	if (!options->cpus || options->cpus > VM_MAX_CPUS)
		return samara_error_set(err, -EINVAL, "--cpus: 1 to %d with a Linux guest",
					VM_MAX_CPUS);
	if (inject_any(&options->inject))
		return samara_error_set(
			err, -EINVAL,
			"--inject: with samara's own guest only, which notices nothing "
			"of it");
	if (linux_guest->memory_bytes < MEMORY_MIN_BYTES ||
	    linux_guest->memory_bytes % SAMARA_PAGE_BYTES)
		return samara_error_set(err, -EINVAL,
					"--guest-memory: at least 128M, in whole pages");
	if (linux_guest->device_bytes % STRESS_DIMM_MIN_BYTES)
		return samara_error_set(
			err, -EINVAL,
			"--device-memory: a multiple of 128M, the size of a block of "
			"Linux");
	if (!options->slots || options->slot_bytes % SAMARA_PAGE_BYTES ||
	    options->slot_bytes > linux_guest->memory_bytes / 2 / options->slots)
		return samara_error_set(
			err, -EINVAL,
			"--slots, --slot-size: at least one, in whole pages, and half of "
			"--guest-memory at most in all");
	return check_mix(options, err);
}

/* ---- Places ---------------------------------------------------------------------------------- */

static const char *place_name(const struct stress *s, gpa_t gpa)
{
	const struct stress_linux *l = (const struct stress_linux *)s;

	if (!gpa)
		return "not to be told where";
	if (l->mem_gpa && gpa >= l->mem_gpa)
		return "virtio-mem";
	if (l->dimm_gpa && gpa >= l->dimm_gpa)
		return "a DIMM";
	return "memory at start";
}

static unsigned int count_places(const struct stress_linux *l, uint64_t bytes)
{
	return (unsigned int)(bytes / l->place_bytes);
}

/* Cut the guest's memory into as many places as can be named, of the size of slots if possible. */
static void cut_places(struct stress_linux *l)
{
	const struct layout *layout = vm_layout(l->guest.vm);
	uint64_t device_bytes = l->base.options.linux_guest.device_bytes;
	uint64_t all = layout->low_bytes + layout->high_boot_bytes + 2 * device_bytes;

	l->place_bytes = PLACE_MIN_BYTES;
	while (l->place_bytes < l->base.options.slot_bytes ||
	       all / l->place_bytes >= STRESS_MAX_SLOTS)
		l->place_bytes *= 2;
	l->boot[0] = (struct stress_linux_range){0, count_places(l, layout->low_bytes)};
	l->boot[1] = (struct stress_linux_range){LAYOUT_HIGH_GPA,
						 count_places(l, layout->high_boot_bytes)};
	l->boot_places = l->boot[0].places + l->boot[1].places;
	l->device_places = 2 * count_places(l, device_bytes);
	l->base.changing_gpa = LAYOUT_HIGH_GPA + layout->high_boot_bytes;
	l->dimm_gpa = layout->hotplug_gpa;
	l->mem_gpa = layout->device_gpa;
	l->base.map_places[STRESS_MAP_USED] = (struct stress_map_place){
		"at start", 0,
		layout->high_boot_bytes ? LAYOUT_HIGH_GPA + layout->high_boot_bytes
					: layout->low_bytes};
	l->base.map_places[STRESS_MAP_DEVICES] = (struct stress_map_place){
		device_bytes ? "virtio-mem" : "", layout->device_gpa, layout->device_bytes};
	l->base.map_places[STRESS_MAP_SLOTS] = (struct stress_map_place){
		device_bytes ? "DIMMs" : "", layout->hotplug_gpa, layout->hotplug_bytes};
	l->base.map_places[STRESS_MAP_STRANGERS].name = "";
}

/* The agent's word for what is its own is taken only for memory that is there. */
static void take_own(struct stress_linux *l)
{
	const struct stress_agent *agent = &l->guest.agent;

	for (unsigned int i = 0; i < agent->own_count; i++) {
		const struct stress_agent_range *range = &agent->own[i];

		for (unsigned int k = 0; k < STRESS_LINUX_RANGES; k++) {
			gpa_t first = l->boot[k].gpa;
			gpa_t end = first + l->boot[k].places * l->place_bytes;

			if (range->gpa >= first && range->gpa < end &&
			    range->size_bytes <= end - range->gpa)
				l->own[l->own_count++] = *range;
		}
	}
}

/* ---- Booting --------------------------------------------------------------------------------- */

/* Leave out what the guest has no driver for; who has asked for it is told. Context: guest's lock. */
static int match_drivers(struct stress_linux *l, struct samara_error *err)
{
	struct stress_options *options = &l->base.options;
	const struct stress_agent *agent = &l->guest.agent;
	const struct {
		enum stress_mix mix;
		bool there;
	} drivers[] = {
		{STRESS_MIX_BALLOON, agent->mmio && agent->balloon},
		{STRESS_MIX_VIRTIO_MEM, agent->mmio && agent->mem},
	};

	for (size_t i = 0; i < sizeof(drivers) / sizeof(*drivers); i++) {
		const char *name = stress_mix_names[drivers[i].mix];
		size_t length = strlen(l->missing);

		if (drivers[i].there || !options->weight[drivers[i].mix])
			continue;
		if (options->mix_given)
			return samara_error_set(
				err, -ENODEV,
				"--mix %s: kernel %s has no driver for it; --modules "
				"names a folder with its modules",
				name, agent->release);
		options->weight[drivers[i].mix] = 0;
		snprintf(l->missing + length, sizeof(l->missing) - length, "%s%s",
			 length ? ", " : "", name);
	}
	return 0;
}

/* What the agent says, or no longer says, that ends the run. Context: guest's lock. */
static int look_at_agent(struct stress_linux *l, uint64_t patience_ns, struct samara_error *err)
{
	const struct stress_agent *agent = &l->guest.agent;
	uint64_t now = stress_now_ns();
	char words[128];

	if (agent->state == STRESS_AGENT_FAILED)
		return samara_error_set(err, -EIO, "the guest's agent gave up: %s", agent->text);
	if (agent->state == STRESS_AGENT_GARBLED)
		return samara_error_set(err, -EPROTO,
					"the guest's agent said what makes no sense: %s",
					agent->text);
	if (l->guest.life == STRESS_LINUX_ENDED)
		return stress_linux_guest_why_ended(&l->guest, err);
	if (now > l->guest.heard_ns + patience_ns) {
		stress_linux_guest_last_words(&l->guest, words, sizeof(words));
		return samara_error_set(err, -ETIMEDOUT,
					"the guest hangs: its agent said nothing for %llu s; its "
					"console says: %s",
					(unsigned long long)(patience_ns / STRESS_NS_PER_S), words);
	}
	if (now > l->guest.moved_ns + patience_ns)
		return samara_error_set(
			err, -ETIMEDOUT,
			"the guest hangs: a thread of its agent got nowhere for %llu s",
			(unsigned long long)(patience_ns / STRESS_NS_PER_S));
	return 0;
}

static int greet(struct stress_linux *l, struct samara_error *err)
{
	const struct stress_agent *agent = &l->guest.agent;

	if (agent->cpus != l->base.options.cpus)
		return samara_error_set(err, -EIO, "the guest's kernel started %u of %u vCPUs",
					agent->cpus, l->base.options.cpus);
	take_own(l);
	return match_drivers(l, err);
}

/* Wait until the agent works. Return: 0, or why it never will; -EINTR without an error. */
static int wait_for_agent(struct stress_linux *l, const volatile int *interrupt,
			  struct samara_error *err)
{
	int ret = 0;

	while (!ret) {
		bool ready;

		if (*interrupt)
			return -EINTR;
		pthread_mutex_lock(&l->guest.lock);
		ret = look_at_agent(l, BOOT_NS, err);
		ready = !ret && l->guest.agent.state >= STRESS_AGENT_READY;
		if (ready)
			ret = greet(l, err);
		pthread_mutex_unlock(&l->guest.lock);
		if (ready)
			return ret;
		if (!ret)
			stress_sleep_ns(TICK_NS);
	}
	return ret;
}

/* ---- Watching -------------------------------------------------------------------------------- */

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

static bool agent_is_well(struct stress_linux *l, struct samara_error *err)
{
	bool well;

	pthread_mutex_lock(&l->guest.lock);
	well = !look_at_agent(l, SILENCE_NS, err) && l->guest.agent.state == STRESS_AGENT_READY;
	if (!well && !err->code)
		samara_error_set(err, -EPROTO, "the guest's agent ended before it was told to");
	pthread_mutex_unlock(&l->guest.lock);
	return well;
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

static void watch_run(struct stress_linux *l, struct stress_lookout *lookout,
		      const volatile int *interrupt, struct stress_result *result)
{
	uint64_t start = stress_now_ns(), elapsed = 0;
	uint64_t wanted = l->base.options.seconds * STRESS_NS_PER_S;

	while (!*interrupt && (elapsed < wanted || !is_enough(l)) &&
	       agent_is_well(l, &result->failure) && !stress_look_for_hung(&l->base)) {
		uint64_t left = elapsed < wanted ? wanted - elapsed : TICK_NS;

		stress_sleep_ns(left < TICK_NS ? left : TICK_NS);
		elapsed = stress_now_ns() - start;
		stress_devices_look(&l->base.devices);
		report_progress(l, lookout, (double)elapsed / STRESS_NS_PER_S);
	}
	result->seconds = (double)elapsed / STRESS_NS_PER_S;
	result->interrupted = *interrupt;
}

/* ---- The end --------------------------------------------------------------------------------- */

/* Nobody answers any more. */
static bool guest_failed(struct stress *s)
{
	struct samara_error err = {0};

	return !agent_is_well((struct stress_linux *)s, &err);
}

/* Have the agent check everything, and the guest power off. Return: 0, or what it did instead. */
static int finish_guest(struct stress_linux *l, struct samara_error *err)
{
	enum stress_linux_life life;
	size_t sent = 0;
	bool done, told = false;
	int ret = 0;

	pthread_mutex_lock(&l->guest.lock);
	l->guest.moved_ns = stress_now_ns();
	pthread_mutex_unlock(&l->guest.lock);
	do {
		if (!told)
			told = stress_linux_guest_tell_stop(&l->guest, &sent);
		pthread_mutex_lock(&l->guest.lock);
		/* From here on threads end, and the main one checks. */
		if (told)
			l->guest.moved_ns = l->guest.heard_ns;
		done = l->guest.agent.state == STRESS_AGENT_DONE;
		life = l->guest.life;
		if (!done || life != STRESS_LINUX_ENDED)
			ret = look_at_agent(l, SILENCE_NS, err);
		else if (l->guest.end != VM_END_POWEROFF)
			ret = stress_linux_guest_why_ended(&l->guest, err);
		pthread_mutex_unlock(&l->guest.lock);
		if (!ret && !(done && life == STRESS_LINUX_ENDED))
			stress_sleep_ns(STOP_TICK_NS);
	} while (!ret && !(done && life == STRESS_LINUX_ENDED));
	return ret;
}

static void collect(struct stress_linux *l, const struct stress_workers *workers,
		    struct stress_lookout *lookout, struct stress_result *result)
{
	const struct stress_agent *agent = &l->guest.agent;
	struct stress *s = &l->base;

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
	guest_mm_get_stats(s->mm, &result->mm);
}

/* ---- The run --------------------------------------------------------------------------------- */

/* Operators plan for places as if these were slots. */
static int start_workers(struct stress_linux *l, struct stress_workers *workers,
			 struct samara_error *err)
{
	struct stress *s = &l->base;
	int ret;

	s->options.slots = l->boot_places + l->device_places;
	stress_order_fill(&s->order, &s->options);
	ret = stress_workers_alloc(s, workers, err);
	if (ret)
		return ret;
	s->workers = workers->worker;
	s->worker_count = workers->total;
	return stress_workers_start(s, workers, err);
}

static struct stress_linux *create(const struct stress_options *options,
				   const struct stress_watcher *watcher)
{
	struct stress_linux *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->base.options = *options;
	l->base.options.strangers = l->base.options.devices = 0;
	if (!options->mix_given)
		stress_linux_default_mix(l->base.options.weight);
	if (!options->linux_guest.device_bytes)
		l->base.options.weight[STRESS_MIX_VIRTIO_MEM] =
			l->base.options.weight[STRESS_MIX_DIMM] = 0;
	l->base.watcher = watcher;
	l->base.step = stress_linux_step;
	l->base.place_name = place_name;
	pthread_mutex_init(&l->base.note_lock, NULL);
	pthread_mutex_init(&l->base.protect_lock, NULL);
	stress_log_init(&l->base.log);
	l->guest.listener = stress_devices_notice;
	l->guest.listener_arg = &l->base.devices;
	pthread_mutex_init(&l->base.devices.lock, NULL);
	return l;
}

/* From the boot to the power-off. Return: whether everything can be freed. */
static bool run(struct stress_linux *l, struct stress_workers *workers,
		struct stress_lookout *lookout, const volatile int *interrupt,
		struct stress_result *result)
{
	int ret = wait_for_agent(l, interrupt, &result->failure);

	if (!ret)
		ret = start_workers(l, workers, &result->failure);
	if (!ret)
		watch_run(l, lookout, interrupt, result);
	stress_workers_join(&l->base, workers);
	if (l->base.hung.code) {
		/* Threads are in the middle of it all, for ever: nothing can be taken away. */
		result->failure = l->base.hung;
		collect(l, workers, lookout, result);
		return false;
	}
	result->interrupted = *interrupt;
	if (!ret && !result->failure.code) {
		/* A kernel that powers off in the middle of a request warns of its own devices. */
		stress_devices_finish(&l->base.devices, guest_failed);
		finish_guest(l, &result->failure);
	}
	tell_wrong_words(l);
	collect(l, workers, lookout, result);
	return true;
}

int stress_linux_run(const struct stress_options *options, const struct stress_watcher *watcher,
		     const volatile int *interrupt, struct stress_result *result,
		     struct samara_error *err)
{
	struct stress_linux *l = create(options, watcher);
	struct stress_lookout *lookout = calloc(1, sizeof(*lookout));
	struct stress_workers workers = {0};
	int ret;

	if (!l || !lookout) {
		free(l);
		free(lookout);
		return samara_error_set(err, -ENOMEM, "out of memory");
	}
	memset(result, 0, sizeof(*result));
	result->options = *options;
	ret = stress_linux_guest_start(&l->guest, &l->base.options, err);
	if (!ret) {
		l->base.mm = vm_mm(l->guest.vm);
		cut_places(l);
		stress_linux_devices_init(l);
		if (!run(l, &workers, lookout, interrupt, result))
			return 0;
	}
	stress_linux_guest_end(&l->guest);
	stress_workers_free(&workers);
	free(lookout);
	free(l);
	return ret;
}
