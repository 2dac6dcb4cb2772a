/* SPDX-License-Identifier: GPL-2.0-or-later */
/* samara ctl resize SIZE: how much memory the guest has, by its virtio-mem devices. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "vmm/ctl_wait.h"

/* Where devices are that were given no id (as in QEMU). */
#define ANONYMOUS "/machine/peripheral-anon"

/**
 * struct device - the device that shall do it
 * @name: its id, or where it is
 * @path: its QOM path
 * @other_bytes: how much memory there is without it
 */
struct device {
	char name[80], path[160];
	uint64_t size_bytes, max_bytes, requested_bytes, other_bytes;
};

int ctl_ask_plugged(const struct ctl_wait *wait, struct samara_error *err)
{
	uint64_t requested_bytes = 0;
	char wanted[32];
	int ret = ctl_get_size(wait->client, wait->path, "requested-size", &requested_bytes, err);

	if (!ret)
		ret = ctl_get_size(wait->client, wait->path, "size", wait->now_bytes, err);
	if (ret)
		return ret;
	if (requested_bytes == wait->goal_bytes)
		return *wait->now_bytes == wait->goal_bytes;
	ctl_format_size(wanted, sizeof(wanted), requested_bytes);
	return samara_error_set(err, -ECANCELED,
				"%s: somebody else has asked it for %s of its memory meanwhile",
				wait->what, wanted);
}

/* ---- Which device ---------------------------------------------------------------------------- */

static void name_device(const json_t *data, char *name, size_t name_bytes)
{
	if (*ctl_text(data, "id"))
		snprintf(name, name_bytes, "%.72s", ctl_text(data, "id"));
	else
		snprintf(name, name_bytes, "the one at 0x%" PRIx64 " without an id",
			 ctl_number(data, "memaddr"));
}

static bool is_virtio_mem(const json_t *device)
{
	return !strcmp(ctl_text(device, "type"), "virtio-mem");
}

static int refuse_several(const json_t *list, struct samara_error *err)
{
	char names[160] = "", name[80];
	const json_t *device;
	size_t i;

	json_array_foreach(list, i, device)
	{
		size_t length = strlen(names);

		if (!is_virtio_mem(device))
			continue;
		name_device(json_object_get(device, "data"), name, sizeof(name));
		snprintf(names + length, sizeof(names) - length, "%s%s", length ? ", " : "", name);
	}
	return samara_error_set(
		err, -ENOTUNIQ,
		"resize: there are several virtio-mem devices (%s): --id says which", names);
}

/* The one called @id; NULL: the only one there is. */
static int find_virtio_mem(const json_t *list, const char *id, const json_t **out,
			   struct samara_error *err)
{
	const json_t *device;
	size_t i;

	*out = NULL;
	json_array_foreach(list, i, device)
	{
		const json_t *data = json_object_get(device, "data");

		if (!is_virtio_mem(device) || (id && strcmp(ctl_text(data, "id"), id)))
			continue;
		if (*out)
			return refuse_several(list, err);
		*out = data;
	}
	if (*out)
		return 0;
	if (id)
		return samara_error_set(err, -ENODEV,
					"resize: there is no virtio-mem device called %s (samara "
					"ctl SOCKET devices lists them)",
					id);
	return samara_error_set(err, -ENODEV,
				"resize: this VM has no virtio-mem device; plug SIZE and unplug ID "
				"change its memory by DIMMs");
}

/* That of a device without an id: the one whose memory is there. */
static int find_path(struct qmp_client *client, uint64_t gpa, char *path, size_t path_bytes,
		     struct samara_error *err)
{
	struct samara_error no_such = {0};
	json_t *list = NULL;
	const json_t *item;
	uint64_t found_gpa;
	size_t i;
	int ret = ctl_run(client, "qom-list", json_pack("{s:s}", "path", ANONYMOUS), &list, err);

	if (ret)
		return ret;
	ret = -ENODEV;
	json_array_foreach(list, i, item)
	{
		snprintf(path, path_bytes, ANONYMOUS "/%.64s", ctl_text(item, "name"));
		/* Others than virtio-mem have no such property. */
		if (ctl_get_size(client, path, "memaddr", &found_gpa, &no_such) || found_gpa != gpa)
			continue;
		ret = 0;
		break;
	}
	json_decref(list);
	return ret ? samara_error_set(err, ret,
				      "resize: the virtio-mem device at 0x%" PRIx64 " has gone",
				      gpa)
		   : 0;
}

static int describe(struct qmp_client *client, const json_t *list, uint64_t base_bytes,
		    const json_t *data, struct device *device, struct samara_error *err)
{
	const json_t *other;
	size_t i;

	*device = (struct device){
		.size_bytes = ctl_number(data, "size"),
		.max_bytes = ctl_number(data, "max-size"),
		.requested_bytes = ctl_number(data, "requested-size"),
		.other_bytes = base_bytes,
	};
	json_array_foreach(list, i, other) if (json_object_get(other, "data") != data)
		device->other_bytes += ctl_number(json_object_get(other, "data"), "size");
	name_device(data, device->name, sizeof(device->name));
	snprintf(device->path, sizeof(device->path), "/machine/peripheral/%s",
		 ctl_text(data, "id"));
	if (*ctl_text(data, "id"))
		return 0;
	return find_path(client, ctl_number(data, "memaddr"), device->path, sizeof(device->path),
			 err);
}

static int find_device(struct qmp_client *client, const char *id, struct device *device,
		       struct samara_error *err)
{
	json_t *summary = NULL, *list = NULL;
	const json_t *data = NULL;
	int ret;

	ret = ctl_run(client, "query-memory-size-summary", NULL, &summary, err);
	if (!ret)
		ret = ctl_run(client, "query-memory-devices", NULL, &list, err);
	if (!ret)
		ret = find_virtio_mem(list, id, &data, err);
	if (!ret)
		ret = describe(client, list, ctl_number(summary, "base-memory"), data, device, err);
	json_decref(summary);
	json_decref(list);
	return ret;
}

/* ---- resize ---------------------------------------------------------------------------------- */

static int set_requested(struct qmp_client *client, const char *path, uint64_t bytes,
			 struct samara_error *err)
{
	char size[24];

	snprintf(size, sizeof(size), "0x%" PRIx64, bytes);
	return ctl_run(client, "qom-set",
		       json_pack("{s:s, s:s, s:s}", "path", path, "property", "requested-size",
				 "value", size),
		       NULL, err);
}

static int check_total(const struct device *device, uint64_t total_bytes, struct samara_error *err)
{
	char least[32], most[32], total[32];

	if (total_bytes >= device->other_bytes &&
	    total_bytes - device->other_bytes <= device->max_bytes)
		return 0;
	ctl_format_size(least, sizeof(least), device->other_bytes);
	ctl_format_size(most, sizeof(most), device->other_bytes + device->max_bytes);
	ctl_format_size(total, sizeof(total), total_bytes);
	return samara_error_set(err, -ERANGE, "resize: with this VM's %s it is %s to %s, not %s",
				device->name, least, most, total);
}

static int resize_device(struct qmp_client *client, const struct device *device,
			 uint64_t total_bytes, long timeout_s, struct samara_error *err)
{
	uint64_t now_bytes = device->size_bytes;
	struct ctl_wait wait = {
		.client = client,
		.what = device->name,
		.path = device->path,
		.timeout_s = timeout_s,
		.ask = ctl_ask_plugged,
		.started_ms = ctl_now_ms(),
		.goal_bytes = total_bytes - device->other_bytes,
		.now_bytes = &now_bytes,
		/* A guest that is at work on another size may pass by this one, and come back. */
		.settle_ms = device->requested_bytes == device->size_bytes ? 0 : CTL_SETTLE_MS,
	};
	bool running = false;
	char total[32];
	int ret = check_total(device, total_bytes, err);

	if (!ret)
		ret = ctl_is_running(client, &running, err);
	if (!ret)
		ret = set_requested(client, device->path, wait.goal_bytes, err);
	if (!ret && running)
		ret = ctl_wait_for_guest(&wait, err);
	if (ret)
		return ret;
	ctl_format_size(total, sizeof(total), total_bytes);
	if (running)
		printf("%s in all (%.1f s)\n", total, ctl_seconds_since(wait.started_ms));
	else
		printf("%s in all, when the guest runs\n", total);
	return 0;
}

int ctl_resize(const char *path, const struct ctl_words *words, struct samara_error *err)
{
	struct qmp_client *client = NULL;
	struct device device = {0};
	long timeout_s = CTL_TIMEOUT_S;
	uint64_t total_bytes;
	int ret = ctl_parse_size(words->operands[0], "SIZE", &total_bytes, err);

	if (!ret)
		ret = ctl_number_option(words, "--timeout", CTL_TIMEOUT_MAX_S, &timeout_s, err);
	if (ret)
		return ret;
	ret = qmp_client_connect(path, &client, err);
	if (!ret)
		ret = find_device(client, ctl_value(words, "--id"), &device, err);
	if (!ret)
		ret = resize_device(client, &device, total_bytes, timeout_s, err);
	qmp_client_close(client);
	return ret;
}
