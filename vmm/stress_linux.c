/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A run with a Linux guest: it boots, works while operators change its memory, checks all, ends. */
#include "vmm/stress_linux.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/inject.h"
#include "vmm/layout.h"
#include "vmm/stress_clock.h"
#include "vmm/stress_linux_state.h"

#define TICK_NS         UINT64_C(100000000)
#define STOP_TICK_NS    UINT64_C(10000000)

/*
 * How long a guest may be silent until its agent works, and later, when it speaks once a second; and
 * how long one of its threads may get nowhere. On a machine that is emulated, and shared, a boot takes
 * minutes, and so does a DIMM that leaves.
 */
#define PATIENCE_NS     (600 * STRESS_NS_PER_S)

#define PLACE_MIN_BYTES (UINT64_C(64) << 10)

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
static int look_at_agent(struct stress_linux *l, struct samara_error *err)
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
	if (now <= l->guest.heard_ns + PATIENCE_NS && now <= l->guest.moved_ns + PATIENCE_NS)
		return 0;
	stress_linux_guest_last_words(&l->guest, words, sizeof(words));
	return samara_error_set(
		err, -ETIMEDOUT, "the guest hangs: %s for %llu s; its console says: %s",
		now > l->guest.heard_ns + PATIENCE_NS ? "its agent said nothing"
						      : "a thread of its agent got nowhere",
		(unsigned long long)(PATIENCE_NS / STRESS_NS_PER_S), words);
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
		ret = look_at_agent(l, err);
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

bool stress_linux_is_well(struct stress_linux *l, struct samara_error *err)
{
	bool well;

	pthread_mutex_lock(&l->guest.lock);
	well = !look_at_agent(l, err) && l->guest.agent.state == STRESS_AGENT_READY;
	if (!well && !err->code)
		samara_error_set(err, -EPROTO, "the guest's agent ended before it was told to");
	pthread_mutex_unlock(&l->guest.lock);
	return well;
}

/* ---- The end --------------------------------------------------------------------------------- */

/* Nobody answers any more. */
static bool guest_failed(struct stress *s)
{
	struct samara_error err = {0};

	return !stress_linux_is_well((struct stress_linux *)s, &err);
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
			ret = look_at_agent(l, err);
		else if (l->guest.end != VM_END_POWEROFF)
			ret = stress_linux_guest_why_ended(&l->guest, err);
		pthread_mutex_unlock(&l->guest.lock);
		if (!ret && !(done && life == STRESS_LINUX_ENDED))
			stress_sleep_ns(STOP_TICK_NS);
	} while (!ret && !(done && life == STRESS_LINUX_ENDED));
	return ret;
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
	/* The guest has booted: what it meets from now on it has to live with. */
	inject_arm(&s->options.inject, s->options.seed);
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
		stress_linux_watch(l, lookout, interrupt, result);
	stress_workers_join(&l->base, workers);
	if (!ret && !l->base.hung.code && !result->failure.code)
		/* A kernel that powers off in the middle of a request warns of its own devices. */
		stress_devices_finish(&l->base.devices, guest_failed);
	inject_disarm();
	if (l->base.hung.code) {
		/* Threads are in the middle of it all, for ever: nothing can be taken away. */
		result->failure = l->base.hung;
		stress_linux_collect(l, workers, lookout, result);
		return false;
	}
	result->interrupted = *interrupt;
	if (!ret && !result->failure.code)
		finish_guest(l, &result->failure);
	stress_linux_collect(l, workers, lookout, result);
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
	inject_arm_setup(&options->inject, options->seed);
	ret = stress_linux_guest_start(&l->guest, &l->base.options, err);
	inject_disarm();
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
