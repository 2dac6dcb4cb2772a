/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a run shall be, by options of the command line or a workload file: both set the same things
 * by the same names, from text.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "guest/stress_abi.h"
#include "vmm/config.h"
#include "vmm/stress.h"

#define MIB (UINT64_C(1) << 20)

const char *const stress_mix_names[STRESS_MIXES] = {
	[STRESS_MIX_PLUG] = "plug",
	[STRESS_MIX_UNPLUG] = "unplug",
	[STRESS_MIX_REMAP] = "remap",
	[STRESS_MIX_PROTECT] = "protect",
	[STRESS_MIX_POPULATE] = "populate",
	[STRESS_MIX_DISCARD] = "discard",
	[STRESS_MIX_REBACK] = "reback",
	[STRESS_MIX_REFUSED] = "refused",
	[STRESS_MIX_REMAP_LIVE] = "remap-live",
	[STRESS_MIX_REMAP_DEVICE] = "remap-device",
	[STRESS_MIX_PROTECT_LIVE] = "protect-live",
	[STRESS_MIX_BALLOON] = "balloon",
	[STRESS_MIX_VIRTIO_MEM] = "virtio-mem",
	[STRESS_MIX_DIMM] = "dimm",
};

static const char *const pattern_names[STRESS_PATTERNS] = {
	[STRESS_PATTERN_SEQUENTIAL] = "sequential",
	[STRESS_PATTERN_RANDOM] = "random",
	[STRESS_PATTERN_ZIPF] = "zipf",
	[STRESS_PATTERN_ONE] = "one",
	[STRESS_PATTERN_OWN] = "own",
};

const char *stress_pattern_name(enum stress_pattern_kind pattern)
{
	return pattern < STRESS_PATTERNS ? pattern_names[pattern] : NULL;
}

void stress_options_init(struct stress_options *options)
{
	*options = (struct stress_options){
		.seconds = 10,
		.cpus = 2,
		.slots = 16,
		.slot_min_bytes = 4 * MIB,
		.slot_bytes = 4 * MIB,
		.stranger_bytes = 256 * MIB,
		.operators = 1,
		.strangers = 1,
		.devices = 1,
		.fault_around_pages = 16,
		.device_pages = 16,
		.device_hold_us = 500,
		.device_rest_us = 1000,
		.weight =
			{
				[STRESS_MIX_PLUG] = 28,
				[STRESS_MIX_UNPLUG] = 22,
				[STRESS_MIX_REMAP] = 16,
				[STRESS_MIX_PROTECT] = 8,
				[STRESS_MIX_POPULATE] = 4,
				[STRESS_MIX_DISCARD] = 4,
				[STRESS_MIX_REBACK] = 4,
				[STRESS_MIX_REFUSED] = 8,
				[STRESS_MIX_REMAP_LIVE] = 6,
				[STRESS_MIX_REMAP_DEVICE] = 4,
				[STRESS_MIX_PROTECT_LIVE] = 4,
				[STRESS_MIX_BALLOON] = 4,
				[STRESS_MIX_VIRTIO_MEM] = 4,
				[STRESS_MIX_DIMM] = 4,
			},
		.pattern = STRESS_PATTERN_RANDOM,
		.zipf = 0.99,
		.backing = GUEST_MM_ANON,
		.linux_guest = {.memory_bytes = 512 * MIB, .device_bytes = 256 * MIB},
	};
}

/* ---- Values ---------------------------------------------------------------------------------- */

static int bad(struct samara_error *err, const char *name, const char *text, const char *why)
{
	return samara_error_set(err, -EINVAL, "--%s %s: %s", name, text, why);
}

static int parse_number(const char *name, const char *text, unsigned int *number,
			struct samara_error *err)
{
	char *end;
	unsigned long value;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || end == text || *end || value > STRESS_NUMBER_MAX || *text == '-')
		return bad(err, name, text, "not a number that makes sense");
	*number = (unsigned int)value;
	return 0;
}

static int parse_seed(const char *text, uint64_t *seed, struct samara_error *err)
{
	char *end;

	errno = 0;
	*seed = strtoull(text, &end, 0);
	if (errno || end == text || *end || *text == '-')
		return bad(err, "seed", text, "not a 64-bit number");
	return 0;
}

/* "4M", or "64K..4M" */
static int parse_slot_size(struct stress_options *options, const char *text,
			   struct samara_error *err)
{
	const char *dots = strstr(text, "..");
	char least[32];
	int ret;

	if (!dots) {
		ret = parse_size(text, "--slot-size", &options->slot_bytes, err);
		options->slot_min_bytes = options->slot_bytes;
		return ret;
	}
	if ((size_t)(dots - text) >= sizeof(least))
		return bad(err, "slot-size", text, "SIZE or LEAST..MOST");
	memcpy(least, text, (size_t)(dots - text));
	least[dots - text] = 0;
	ret = parse_size(least, "--slot-size", &options->slot_min_bytes, err);
	return ret ? ret : parse_size(dots + 2, "--slot-size", &options->slot_bytes, err);
}

static int parse_pattern(struct stress_options *options, const char *text, struct samara_error *err)
{
	size_t length = strcspn(text, ":");
	char *end;

	for (unsigned int i = 0; i < STRESS_PATTERNS; i++) {
		if (strlen(pattern_names[i]) != length || strncmp(text, pattern_names[i], length))
			continue;
		if (text[length]) {
			double value = strtod(text + length + 1, &end);

			if (i != STRESS_PATTERN_ZIPF || end == text + length + 1 || *end ||
			    !(value >= 0 && value <= 10))
				return bad(err, "pattern", text,
					   "zipf alone takes an exponent, from 0 to 10");
			options->zipf = value;
		}
		options->pattern = i;
		return 0;
	}
	return bad(err, "pattern", text,
		   "choose sequential, random, zipf, zipf:EXPONENT, one or own");
}

static int set_weight(struct stress_options *options, const char *name, size_t length,
		      const char *value, struct samara_error *err)
{
	char option[64];

	for (unsigned int i = 0; i < STRESS_MIXES; i++) {
		if (strlen(stress_mix_names[i]) != length ||
		    strncmp(name, stress_mix_names[i], length))
			continue;
		snprintf(option, sizeof(option), "mix %s=", stress_mix_names[i]);
		return parse_number(option, value, &options->weight[i], err);
	}
	return samara_error_set(err, -EINVAL,
				"--mix %.*s: no such operation; there are plug, unplug, remap, "
				"protect, populate, discard, reback, refused, remap-live, "
				"remap-device, protect-live, balloon, virtio-mem, dimm",
				(int)length, name);
}

static int parse_guest(struct stress_options *options, const char *text, struct samara_error *err)
{
	if (!strcmp(text, "own"))
		options->guest = STRESS_GUEST_OWN;
	else if (!strcmp(text, "linux"))
		options->guest = STRESS_GUEST_LINUX;
	else
		return bad(err, "guest", text, "choose own or linux");
	return 0;
}

static int parse_text(const char *name, const char *text, char *into, struct samara_error *err)
{
	if (strlen(text) >= STRESS_TEXT_BYTES)
		return samara_error_set(err, -EINVAL, "--%s: longer than %u bytes", name,
					STRESS_TEXT_BYTES - 1);
	strcpy(into, text);
	return 0;
}

/* "plug=30,unplug=30": what it does not name is not done. */
static int parse_mix(struct stress_options *options, const char *text, struct samara_error *err)
{
	char *copy = strdup(text), *next = copy, *item;
	int ret = 0;

	if (!copy)
		return samara_error_set(err, -ENOMEM, "out of memory");
	memset(options->weight, 0, sizeof(options->weight));
	options->mix_given = true;
	while (!ret && (item = strsep(&next, ","))) {
		size_t length = strcspn(item, "=");

		ret = item[length] ? set_weight(options, item, length, item + length + 1, err)
				   : bad(err, "mix", item, "OPERATION=WEIGHT,...");
	}
	free(copy);
	return ret;
}

static int parse_backing(struct stress_options *options, const char *text, struct samara_error *err)
{
	if (!strcmp(text, "anon"))
		options->backing = GUEST_MM_ANON;
	else if (!strcmp(text, "memfd"))
		options->backing = GUEST_MM_MEMFD;
	else
		return bad(err, "backing", text, "choose anon or memfd");
	return 0;
}

static int parse_memory_total(struct stress_options *options, const char *text,
			      struct samara_error *err)
{
	uint64_t bytes = 0;
	int ret = parse_size(text, "--memory", &bytes, err);

	if (ret)
		return ret;
	if (!options->slot_bytes || bytes / options->slot_bytes == 0 ||
	    bytes / options->slot_bytes > STRESS_MAX_SLOTS)
		return samara_error_set(
			err, -EINVAL,
			"--memory %s: with --slot-size (before it) it makes 1 to %u "
			"slots",
			text, STRESS_MAX_SLOTS);
	options->slots = (unsigned int)(bytes / options->slot_bytes);
	return 0;
}

static int parse_flag(const char *name, const char *text, bool *flag, struct samara_error *err)
{
	if (strcmp(text, "true") && strcmp(text, "false"))
		return bad(err, name, text, "true or false");
	*flag = !strcmp(text, "true");
	return 0;
}

int stress_option_set(struct stress_options *options, const char *name, const char *text,
		      struct samara_error *err)
{
	const struct {
		const char *name;
		unsigned int *number;
	} numbers[] = {
		{"seconds", &options->seconds},
		{"cpus", &options->cpus},
		{"slots", &options->slots},
		{"operators", &options->operators},
		{"strangers", &options->strangers},
		{"devices", &options->devices},
		{"fault-around", &options->fault_around_pages},
		{"rate", &options->rate},
		{"device-pages", &options->device_pages},
		{"device-hold", &options->device_hold_us},
		{"device-rest", &options->device_rest_us},
		{"each", &options->linux_guest.each},
	};
	const struct {
		const char *name;
		char *text;
	} texts[] = {
		{"kernel", options->linux_guest.kernel},
		{"modules", options->linux_guest.modules},
		{"console", options->linux_guest.console},
		{"append", options->linux_guest.append},
	};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
		if (!strcmp(name, numbers[i].name))
			return parse_number(name, text, numbers[i].number, err);
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		if (!strcmp(name, texts[i].name))
			return parse_text(name, text, texts[i].text, err);
	if (!strcmp(name, "guest"))
		return parse_guest(options, text, err);
	if (!strcmp(name, "guest-memory"))
		return parse_size(text, "--guest-memory", &options->linux_guest.memory_bytes, err);
	if (!strcmp(name, "device-memory"))
		return parse_size(text, "--device-memory", &options->linux_guest.device_bytes, err);
	if (!strcmp(name, "slot-size"))
		return parse_slot_size(options, text, err);
	if (!strcmp(name, "memory"))
		return parse_memory_total(options, text, err);
	if (!strcmp(name, "stranger-size"))
		return parse_size(text, "--stranger-size", &options->stranger_bytes, err);
	if (!strcmp(name, "backing"))
		return parse_backing(options, text, err);
	if (!strcmp(name, "mix"))
		return parse_mix(options, text, err);
	if (!strcmp(name, "pattern"))
		return parse_pattern(options, text, err);
	if (!strcmp(name, "inject"))
		return inject_parse(&options->inject, text, err);
	if (!strcmp(name, "copy-only"))
		return parse_flag(name, text, &options->copy_only, err);
	if (!strcmp(name, "seed"))
		return parse_seed(text, &options->seed, err);
	return samara_error_set(err, -ENOENT, "%s: a workload has no such setting", name);
}
