/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <linux/virtio_balloon.h>

#include "vmm/balloon.h"
#include "vmm/free_pages.h"
#include "vmm/virtio_counters.h"

/* Immutable after balloon_create(). */
struct balloon {
	struct balloon_config config;
	struct virtio_balloon *device;
	struct vm_balloon control;
};

/* ---- How much the guest has ------------------------------------------------------------------ */

static uint64_t given_bytes(const struct balloon *balloon)
{
	return balloon->config.memory_bytes + memory_devices_plugged_bytes(balloon->config.devices);
}

/* The guest says what is in the balloon, and may say anything. */
static uint64_t left_bytes(const struct balloon *balloon, uint64_t actual_bytes)
{
	uint64_t given = given_bytes(balloon);

	return actual_bytes < given ? given - actual_bytes : 0;
}

static int set(void *arg, uint64_t bytes, struct samara_error *err)
{
	struct balloon *balloon = arg;
	uint64_t given = given_bytes(balloon);

	return virtio_balloon_set_target(balloon->device, bytes < given ? given - bytes : 0, err);
}

static uint64_t get(void *arg)
{
	struct balloon *balloon = arg;
	struct virtio_balloon_state state;

	virtio_balloon_get(balloon->device, &state);
	return left_bytes(balloon, state.actual_bytes);
}

static int ask_free(void *arg, const struct free_pages_request *request, struct free_pages *out,
		    struct samara_error *err)
{
	const struct balloon *balloon = arg;

	return free_pages_ask(balloon->device, memory_devices_config(balloon->config.devices)->mm,
			      request, out, err);
}

static void changed(void *arg, uint64_t actual_bytes)
{
	const struct balloon *balloon = arg;
	const struct vm_notice notice = {
		.event = VM_EVENT_BALLOON_CHANGED,
		.size_bytes = left_bytes(balloon, actual_bytes),
	};

	memory_devices_notify(balloon->config.devices, &notice);
}

/* ---- Statistics ------------------------------------------------------------------------------ */

/*
 * QEMU's names for the tags (virtio 1.2, 5.5.6.3; Linux include/uapi/linux/virtio_balloon.h, whose
 * later ones the headers of Debian 12 do not have).
 */
static const char *const stat_names[VIRTIO_BALLOON_STATS] = {
	"stat-swap-in",      "stat-swap-out",     "stat-major-faults",     "stat-minor-faults",
	"stat-free-memory",  "stat-total-memory", "stat-available-memory", "stat-disk-caches",
	"stat-htlb-pgalloc", "stat-htlb-pgfail",  "stat-oom-kills",        "stat-alloc-stalls",
	"stat-async-scans",  "stat-direct-scans", "stat-async-reclaims",   "stat-direct-reclaims",
};

/* -1: the guest did not say (QEMU, docs/interop/virtio-balloon-stats.rst). */
static json_t *describe_stats(const struct virtio_balloon_stats *stats)
{
	json_t *values = json_object();

	for (unsigned int i = 0; i < VIRTIO_BALLOON_STATS; i++) {
		json_int_t value = stats->values[i] > INT64_MAX ? -1 : (json_int_t)stats->values[i];

		if (json_object_set_new(values, stat_names[i], json_integer(value))) {
			json_decref(values);
			return NULL;
		}
	}
	return values;
}

static int get_stats(void *object, union qom_value *value, struct samara_error *err)
{
	const struct balloon *balloon = object;
	struct virtio_balloon_stats stats;

	virtio_balloon_get_stats(balloon->device, &stats);
	value->object = json_pack("{s:o, s:I}", "stats", describe_stats(&stats), "last-update",
				  (json_int_t)stats.updated_s);
	return value->object ? 0 : samara_error_set(err, -ENOMEM, "guest-stats: out of memory");
}

static int get_interval(void *object, union qom_value *value, struct samara_error *err)
{
	const struct balloon *balloon = object;

	(void)err;
	value->integer = virtio_balloon_poll_interval(balloon->device);
	return 0;
}

static int set_interval(void *object, const union qom_value *value, struct samara_error *err)
{
	const struct balloon *balloon = object;

	if (value->integer < 0 || value->integer > UINT32_MAX)
		return samara_error_set(err, -EINVAL,
					"guest-stats-polling-interval: %" PRId64
					" is no number of seconds from 0 (never) to %" PRIu32,
					value->integer, UINT32_MAX);
	virtio_balloon_poll_stats(balloon->device, (unsigned int)value->integer);
	return 0;
}

static int get_counters(void *object, union qom_value *value, struct samara_error *err)
{
	const struct balloon *balloon = object;
	struct virtio_balloon_state state;

	virtio_balloon_get(balloon->device, &state);
	const struct virtio_counter counters[] = {
		{"target-bytes", state.target_bytes},
		{"actual-bytes", state.actual_bytes},
		{"inflated-pages", state.inflated_pages},
		{"deflated-pages", state.deflated_pages},
		{"reported-pages", state.reported_pages},
		{"hinted-pages", state.hinted_pages},
		{"wild-pages", state.wild_pages},
		{"kept-pages", state.kept_pages},
		{NULL, 0},
	};

	return virtio_counters_get(virtio_balloon_device(balloon->device), counters, value, err);
}

static int get_deflate_on_oom(void *object, union qom_value *value, struct samara_error *err)
{
	(void)err;
	value->boolean = ((const struct balloon *)object)->config.options->deflate_on_oom;
	return 0;
}

static int get_reporting(void *object, union qom_value *value, struct samara_error *err)
{
	(void)err;
	value->boolean = ((const struct balloon *)object)->config.options->reporting;
	return 0;
}

static const struct qom_property properties[] = {
	{"guest-stats", QOM_OBJECT, get_stats, NULL},
	{"guest-stats-polling-interval", QOM_INT, get_interval, set_interval},
	{"deflate-on-oom", QOM_BOOL, get_deflate_on_oom, NULL},
	{"free-page-reporting", QOM_BOOL, get_reporting, NULL},
	{"x-samara-counters", QOM_OBJECT, get_counters, NULL},
	{NULL, 0, NULL, NULL},
};

/* ---- Life ------------------------------------------------------------------------------------ */

int balloon_create(const struct balloon_config *config, struct balloon **out,
		   struct samara_error *err)
{
	const struct memory_devices_config *machine = memory_devices_config(config->devices);
	struct balloon *balloon = calloc(1, sizeof(*balloon));
	struct virtio_balloon_setup setup = {
		.name = "balloon",
		.mm = machine->mm,
		.irq = config->irq,
		.packed = config->options->packed,
		.deflate_on_oom = config->options->deflate_on_oom,
		.reporting = config->options->reporting,
		.report = config->report,
		.changed = changed,
		.arg = balloon,
	};
	int ret;

	if (!balloon)
		return samara_error_set(err, -ENOMEM, "balloon: out of memory");
	balloon->config = *config;
	balloon->control = (struct vm_balloon){
		.set = set, .get = get, .ask_free = ask_free, .device = balloon};
	ret = virtio_balloon_create(&setup, &balloon->device, err);
	if (!ret)
		ret = qom_add(machine->qom, BALLOON_PATH, "virtio-balloon-device", properties,
			      balloon, err);
	if (!ret && config->options->left_bytes) {
		ret = set(balloon, config->options->left_bytes, err);
		if (ret)
			qom_remove(machine->qom, BALLOON_PATH);
	}
	if (ret) {
		virtio_balloon_destroy(balloon->device);
		free(balloon);
		return ret;
	}
	virtio_balloon_poll_stats(balloon->device, config->options->stats_period_s);
	*out = balloon;
	return 0;
}

void balloon_destroy(struct balloon *balloon)
{
	if (!balloon)
		return;
	qom_remove(memory_devices_config(balloon->config.devices)->qom, BALLOON_PATH);
	virtio_balloon_destroy(balloon->device);
	free(balloon);
}

struct virtio_balloon *balloon_device(struct balloon *balloon)
{
	return balloon->device;
}

const struct vm_balloon *balloon_control(const struct balloon *balloon)
{
	return &balloon->control;
}
