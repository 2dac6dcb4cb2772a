/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The VM of a Linux guest, as `samara run` would make it, in a thread; and what it says. */
#include "vmm/stress_linux_guest.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/doctor.h"
#include "vmm/stress_clock.h"

#define BLOCK_BYTES (UINT64_C(2) << 20)

/* ---- What it is made of ---------------------------------------------------------------------- */

uint64_t stress_linux_dimm_bytes(const struct stress_options *options)
{
	uint64_t each = options->linux_guest.device_bytes / VM_MAX_DIMMS;

	return (each / STRESS_DIMM_MIN_BYTES + (each % STRESS_DIMM_MIN_BYTES != 0) + !each) *
	       STRESS_DIMM_MIN_BYTES;
}

unsigned int stress_linux_dimms(const struct stress_options *options)
{
	return (unsigned int)(options->linux_guest.device_bytes / stress_linux_dimm_bytes(options));
}

/*
 * Of what the kernel prints, warnings and worse; hotplugged memory is movable, so that the guest can
 * give it back; a panic ends the VM, and whatever the kernel finds wrong with itself is one. Behind "--" are the agent's own options.
 */
static int make_cmdline(struct vm_config *config, const struct stress_options *options)
{
	return asprintf(&config->cmdline,
			"console=ttyS0 loglevel=5 oops=panic panic=-1 "
			"memhp_default_state=online_movable %s -- "
			"seed=%" PRIu64 " areas=%u area=%" PRIu64 " pattern=%s zipf=%f",
			options->linux_guest.append, options->seed, options->slots,
			options->slot_bytes, stress_pattern_name(options->pattern),
			options->zipf) < 0
		       ? -ENOMEM
		       : 0;
}

static int add_devices(struct vm_config *config, const struct stress_options *options,
		       struct samara_error *err)
{
	struct virtio_mem_options mem = {
		.size_bytes = options->linux_guest.device_bytes,
		.block_bytes = BLOCK_BYTES,
		.node = -1,
		.packed = true,
	};
	int ret = parse_balloon(NULL, config, err);

	if (ret || !mem.size_bytes)
		return ret;
	config->max_memory_bytes = config->memory_bytes +
				   stress_linux_dimms(options) * stress_linux_dimm_bytes(options);
	config->memory_slots = stress_linux_dimms(options);
	mem.id = strdup(STRESS_VIRTIO_MEM_ID);
	if (!mem.id)
		return samara_error_set(err, -ENOMEM, "Linux guest: out of memory");
	ret = add_virtio_mem(config, &mem, err);
	if (ret)
		free(mem.id);
	return ret;
}

static int make_config(struct stress_linux_guest *guest, const struct stress_options *options,
		       struct samara_error *err)
{
	const struct stress_linux_options *wanted = &options->linux_guest;
	struct vm_config *config = &guest->config;
	int ret;

	vm_config_init(config);
	config->cpus = options->cpus;
	config->memory_bytes = config->max_memory_bytes = wanted->memory_bytes;
	config->backing = options->backing;
	config->no_reboot = true;
	config->serial.kind = wanted->console[0] ? CHARDEV_FILE : CHARDEV_NULL;
	config->serial.path = wanted->console[0] ? strdup(wanted->console) : NULL;
	config->kernel = strdup(wanted->kernel);
	if (!config->kernel || (wanted->console[0] && !config->serial.path) ||
	    make_cmdline(config, options) ||
	    asprintf(&config->initrd, "/proc/self/fd/%d", guest->initrd_fd) < 0)
		return samara_error_set(err, -ENOMEM, "Linux guest: out of memory");
	ret = add_devices(config, options, err);
	return ret ? ret : vm_config_check(config, err);
}

/* A kernel on an emulating KVM would stand still somewhere: say so before. */
static int check_host(struct samara_error *err)
{
	struct doctor_report report = {.instructions_run = true};
	const char *why = NULL;

	doctor_examine_kvm(&report);
	if (!report.kvm_usable)
		why = "has no /dev/kvm that samara can use";
	if (!why) {
		doctor_examine_guest(&report);
		if (report.virtualization != DOCTOR_HARDWARE)
			why = "has a /dev/kvm that emulates each instruction";
		else if (!report.instructions_run)
			why = "has a /dev/kvm that lacks instructions which kernels use";
	}
	doctor_free(&report);
	if (!why)
		return 0;
	return samara_error_set(
		err, -EOPNOTSUPP,
		"--guest linux: this host %s; 'samara doctor' says more, and 'make lab "
		"CASES=stress-linux' runs it in an emulated machine that can",
		why);
}

/* ---- What it says; from vCPU threads --------------------------------------------------------- */

static void hear_agent(void *arg, const uint8_t *bytes, size_t count)
{
	struct stress_linux_guest *guest = arg;
	uint64_t lines, least;

	pthread_mutex_lock(&guest->lock);
	lines = guest->agent.lines;
	least = guest->agent.counts.least_visits;
	stress_agent_feed(&guest->agent, bytes, count);
	if (guest->agent.lines != lines)
		guest->heard_ns = stress_now_ns();
	if (guest->agent.counts.least_visits != least || guest->agent.state != STRESS_AGENT_READY)
		guest->moved_ns = guest->heard_ns;
	pthread_mutex_unlock(&guest->lock);
}

static void hear_console(void *arg, const uint8_t *bytes, size_t count)
{
	struct stress_linux_guest *guest = arg;

	pthread_mutex_lock(&guest->lock);
	for (size_t i = 0; i < count; i++)
		guest->console[guest->console_bytes++ % STRESS_CONSOLE_BYTES] = (char)bytes[i];
	pthread_mutex_unlock(&guest->lock);
}

/* One line of the ring, printable; @at moves to the next. Return: whether there was any text. */
static bool next_line(const struct stress_linux_guest *guest, uint64_t *at, char *text,
		      size_t length)
{
	size_t n = 0;

	while (*at < guest->console_bytes) {
		char c = guest->console[(*at)++ % STRESS_CONSOLE_BYTES];

		if (c == '\n')
			break;
		if (c >= ' ' && c <= '~' && n + 1 < length)
			text[n++] = c;
	}
	text[n] = 0;
	return n > 0;
}

void stress_linux_guest_last_words(const struct stress_linux_guest *guest, char *text,
				   size_t length)
{
	uint64_t at = guest->console_bytes > STRESS_CONSOLE_BYTES
			      ? guest->console_bytes - STRESS_CONSOLE_BYTES
			      : 0;
	char line[160];

	snprintf(text, length, "(nothing)");
	while (at < guest->console_bytes) {
		if (!next_line(guest, &at, line, sizeof(line)))
			continue;
		snprintf(text, length, "%s", line);
		/* The first of these says why; a trace follows, and more of what comes of it. */
		if (strstr(line, "BUG") || strstr(line, "Oops") || strstr(line, "Kernel panic"))
			return;
	}
}

int stress_linux_guest_why_ended(struct stress_linux_guest *guest, struct samara_error *err)
{
	char words[128];

	stress_linux_guest_last_words(guest, words, sizeof(words));
	switch (guest->end) {
	case VM_END_ERROR:
		return samara_error_set(err, guest->error.code, "the VM failed: %s",
					guest->error.text);
	case VM_END_RESET:
		return samara_error_set(err, -ECONNRESET,
					"the guest reset itself, as it does after a panic; its "
					"console says: %s",
					words);
	case VM_END_POWEROFF:
		return samara_error_set(err, -ESHUTDOWN,
					"the guest powered off before it was told to; its console "
					"says: %s",
					words);
	default:
		return samara_error_set(err, -ESHUTDOWN, "the VM was ended");
	}
}

bool stress_linux_guest_tell_stop(struct stress_linux_guest *guest, size_t *sent)
{
	static const char line[] = AGENT_STOP "\n";

	if (*sent < sizeof(line) - 1)
		*sent += vm_second_serial_receive(guest->vm, (const uint8_t *)line + *sent,
						  sizeof(line) - 1 - *sent);
	return *sent == sizeof(line) - 1;
}

/* ---- Its life -------------------------------------------------------------------------------- */

static void set_life(struct stress_linux_guest *guest, enum stress_linux_life life, enum vm_end end,
		     int ret, const struct samara_error *error)
{
	pthread_mutex_lock(&guest->lock);
	guest->life = life;
	guest->end = end;
	guest->ret = ret;
	if (ret)
		guest->error = *error;
	guest->heard_ns = guest->moved_ns = stress_now_ns();
	pthread_cond_signal(&guest->changed);
	pthread_mutex_unlock(&guest->lock);
}

/* vm_create() and vm_run() want to be called by the same thread. */
static void *guest_main(void *arg)
{
	struct stress_linux_guest *guest = arg;
	struct samara_error err = {0};
	enum vm_end end = VM_END_ERROR;
	struct vm *vm = NULL;
	int ret = vm_create(&guest->config, &vm, &err);

	pthread_setname_np(pthread_self(), "vm");
	if (!ret && vm_add_listener(vm, guest->listener, guest->listener_arg)) {
		ret = samara_error_set(&err, -ENOMEM, "VM: out of memory");
		vm_destroy(vm);
		vm = NULL;
	}
	guest->vm = vm;
	set_life(guest, ret ? STRESS_LINUX_ENDED : STRESS_LINUX_RUNNING, end, ret, &err);
	if (ret)
		return NULL;
	ret = vm_run(vm, &end, &err);
	set_life(guest, STRESS_LINUX_ENDED, end, ret, &err);
	return NULL;
}

int stress_linux_guest_start(struct stress_linux_guest *guest, const struct stress_options *options,
			     struct samara_error *err)
{
	int ret;

	pthread_mutex_init(&guest->lock, NULL);
	pthread_cond_init(&guest->changed, NULL);
	guest->initrd_fd = -1;
	ret = check_host(err);
	if (!ret)
		ret = stress_linux_initrd_create(options->linux_guest.modules, &guest->initrd_fd,
						 err);
	if (!ret)
		ret = make_config(guest, options, err);
	if (ret)
		return ret;
	guest->config.console_tap = (struct serial_tap){hear_console, guest};
	guest->config.second_serial = (struct serial_tap){hear_agent, guest};
	ret = pthread_create(&guest->thread, NULL, guest_main, guest);
	if (ret)
		return samara_error_set(err, -ret, "no thread to be had: %s", strerror(ret));
	guest->started = true;
	pthread_mutex_lock(&guest->lock);
	while (guest->life == STRESS_LINUX_CREATING)
		pthread_cond_wait(&guest->changed, &guest->lock);
	ret = guest->vm ? 0 : samara_error_set(err, guest->ret, "%s", guest->error.text);
	pthread_mutex_unlock(&guest->lock);
	return ret;
}

void stress_linux_guest_end(struct stress_linux_guest *guest)
{
	if (guest->started) {
		if (guest->vm)
			vm_quit(guest->vm, VM_CAUSE_HOST_UI);
		pthread_join(guest->thread, NULL);
	}
	vm_destroy(guest->vm);
	vm_config_free(&guest->config);
	if (guest->initrd_fd >= 0)
		close(guest->initrd_fd);
	pthread_cond_destroy(&guest->changed);
	pthread_mutex_destroy(&guest->lock);
}
