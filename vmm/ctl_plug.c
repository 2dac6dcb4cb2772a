/* SPDX-License-Identifier: GPL-2.0-or-later */
/* samara ctl plug SIZE: a DIMM, or a virtio-mem device, and what the guest says of it. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/ctl_backing.h"
#include "vmm/ctl_wait.h"
#include "vmm/layout.h"

/* Of _OST: ACPI 6.4, 6.3.5. */
#define OST_INSERT      0x1
#define OST_IN_PROGRESS 0x80

/* Proximity domains of virtio-mem are 16 bits wide (virtio 1.2, 5.15.4). */
#define NODE_MAX        0xffff

/**
 * struct plug - what shall be plugged
 * @id, @memdev: of the device and of its backend, once chosen
 * @backing: what object-add is to be given, but for id and size
 * @node: -1: not given
 * @requested_bytes, @block_bytes: of virtio-mem; 0: not given
 */
struct plug {
	bool virtio_mem;
	char id[72], memdev[80];
	uint64_t size_bytes, requested_bytes, block_bytes;
	json_t *backing;
	long node, timeout_s;
};

/* ---- What it is called ----------------------------------------------------------------------- */

static bool is_named(const json_t *list, const char *name)
{
	const json_t *item;
	size_t i;

	json_array_foreach(list, i, item) if (!strcmp(ctl_text(item, "name"), name)) return true;
	return false;
}

/* The first "dimmN" or "vmemN" that neither a device nor a backend of ours is named after. */
static int choose_id(struct qmp_client *client, struct plug *plug, struct samara_error *err)
{
	json_t *devices = NULL, *objects = NULL;
	unsigned int number = 0;
	int ret;

	ret = ctl_run(client, "query-memory-devices", NULL, &devices, err);
	if (!ret)
		ret = ctl_run(client, "qom-list", json_pack("{s:s}", "path", "/objects"), &objects,
			      err);
	while (!ret) {
		snprintf(plug->id, sizeof(plug->id), "%s%u", plug->virtio_mem ? "vmem" : "dimm",
			 number++);
		snprintf(plug->memdev, sizeof(plug->memdev), "mem%s", plug->id);
		if (!ctl_find_device(devices, plug->id) && !is_named(objects, plug->memdev))
			break;
	}
	json_decref(devices);
	json_decref(objects);
	return ret;
}

static int take_id(struct qmp_client *client, const char *wanted, struct plug *plug,
		   struct samara_error *err)
{
	json_t *devices = NULL;
	int ret;

	if (strlen(wanted) >= sizeof(plug->id))
		return samara_error_set(err, -ENAMETOOLONG, "--id %.64s...: longer than 64 letters",
					wanted);
	snprintf(plug->id, sizeof(plug->id), "%s", wanted);
	snprintf(plug->memdev, sizeof(plug->memdev), "mem%s", plug->id);
	ret = ctl_run(client, "query-memory-devices", NULL, &devices, err);
	if (!ret && ctl_find_device(devices, wanted))
		ret = samara_error_set(err, -EEXIST, "%s: there is a device of that name already",
				       wanted);
	json_decref(devices);
	return ret;
}

/* ---- A DIMM ---------------------------------------------------------------------------------- */

static const char *insertion_failure(uint64_t status)
{
	switch (status) {
	case 0x81:
		return "its driver cannot be loaded";
	case 0x82:
		return "it does not support insertion";
	default:
		return "it gives no reason";
	}
}

static int look_at_insertion(const struct ctl_wait *wait, const char *event, const json_t *data,
			     struct samara_error *err)
{
	const json_t *info = json_object_get(data, "info");
	uint64_t status = ctl_number(info, "status");

	if (strcmp(event, "ACPI_DEVICE_OST") || strcmp(ctl_text(info, "device"), wait->id) ||
	    ctl_number(info, "source") != OST_INSERT || status == OST_IN_PROGRESS)
		return 0;
	if (!status)
		return 1;
	return samara_error_set(err, -EIO,
				"%s: plugged, but the guest does not use it: %s (_OST status "
				"0x%" PRIx64 ")",
				wait->id, insertion_failure(status), status);
}

static json_t *describe_dimm(const struct plug *plug)
{
	return json_pack("{s:s, s:s, s:s, s:i}", "driver", "pc-dimm", "id", plug->id, "memdev",
			 plug->memdev, "node", plug->node < 0 ? 0 : (int)plug->node);
}

/* Linux reports success all the same: acpi_memory_device_add() fails on its own. */
static void warn_of_odd_size(uint64_t size_bytes)
{
	if (size_bytes % LAYOUT_HOTPLUG_ALIGN)
		fprintf(stderr,
			"samara ctl: warning: that is no multiple of 128 MiB: Linux says that "
			"it takes it, and most likely does not use it\n");
}

static void tell_of_dimm(const struct plug *plug, bool running, uint64_t started_ms)
{
	char size[32];

	ctl_format_size(size, sizeof(size), plug->size_bytes);
	if (running)
		printf("%s: %s more, and the guest has it (%.1f s)\n", plug->id, size,
		       ctl_seconds_since(started_ms));
	else
		printf("%s: %s more; the guest will find it when it runs\n", plug->id, size);
	warn_of_odd_size(plug->size_bytes);
}

/* ---- A virtio-mem device --------------------------------------------------------------------- */

static json_t *describe_virtio_mem(const struct plug *plug)
{
	json_t *device = json_pack("{s:s, s:s, s:s, s:I}", "driver", "virtio-mem-device", "id",
				   plug->id, "memdev", plug->memdev, "requested-size",
				   (json_int_t)plug->requested_bytes);
	int failed = 0;

	/* Without these the VM chooses. */
	if (plug->node >= 0)
		failed = json_object_set_new(device, "node", json_integer(plug->node));
	if (plug->block_bytes)
		failed |= json_object_set_new(device, "block-size",
					      json_integer((json_int_t)plug->block_bytes));
	if (!failed)
		return device;
	json_decref(device);
	return NULL;
}

static void tell_of_virtio_mem(const struct plug *plug, bool running, uint64_t started_ms)
{
	char size[32], requested[32];

	ctl_format_size(size, sizeof(size), plug->size_bytes);
	ctl_format_size(requested, sizeof(requested), plug->requested_bytes);
	if (!plug->requested_bytes)
		printf("%s: room for %s, of which resize gives the guest\n", plug->id, size);
	else if (running)
		printf("%s: %s more of %s, and the guest has it (%.1f s)\n", plug->id, requested,
		       size, ctl_seconds_since(started_ms));
	else
		printf("%s: %s more of %s, when the guest runs\n", plug->id, requested, size);
}

/* ---- plug ------------------------------------------------------------------------------------ */

static int add_device(struct qmp_client *client, const struct plug *plug, struct samara_error *err)
{
	struct samara_error ignored = {0};
	char size[24];
	int ret;

	snprintf(size, sizeof(size), "0x%" PRIx64, plug->size_bytes);
	if (json_object_set_new(plug->backing, "id", json_string(plug->memdev)) ||
	    json_object_set_new(plug->backing, "size", json_string(size)))
		return samara_error_set(err, -EINVAL, "--id %s: no text in UTF-8", plug->id);
	ret = ctl_run(client, "object-add", json_incref(plug->backing), NULL, err);
	if (ret)
		return ret;
	ret = ctl_run(client, "device_add",
		      plug->virtio_mem ? describe_virtio_mem(plug) : describe_dimm(plug), NULL,
		      err);
	if (ret)
		ctl_run(client, "object-del", json_pack("{s:s}", "id", plug->memdev), NULL,
			&ignored);
	return ret;
}

static int wait_for_it(struct qmp_client *client, const struct plug *plug, uint64_t started_ms,
		       struct samara_error *err)
{
	char path[128];
	uint64_t now_bytes = 0;
	struct ctl_wait wait = {
		.client = client,
		.what = plug->id,
		.id = plug->id,
		.timeout_s = plug->timeout_s,
		.started_ms = started_ms,
		.look = look_at_insertion,
	};

	snprintf(path, sizeof(path), "/machine/peripheral/%s", plug->id);
	if (plug->virtio_mem) {
		wait.look = NULL;
		wait.ask = ctl_ask_plugged;
		wait.path = path;
		wait.goal_bytes = plug->requested_bytes;
		wait.now_bytes = &now_bytes;
	}
	return ctl_wait_for_guest(&wait, err);
}

static int plug_device(struct qmp_client *client, const char *wanted_id, struct plug *plug,
		       struct samara_error *err)
{
	uint64_t started_ms;
	bool running = false;
	int ret;

	ret = wanted_id ? take_id(client, wanted_id, plug, err) : choose_id(client, plug, err);
	if (!ret)
		ret = ctl_is_running(client, &running, err);
	started_ms = ctl_now_ms();
	if (!ret)
		ret = add_device(client, plug, err);
	if (!ret && running)
		ret = wait_for_it(client, plug, started_ms, err);
	if (!ret)
		(plug->virtio_mem ? tell_of_virtio_mem : tell_of_dimm)(plug, running, started_ms);
	return ret;
}

static int read_options(const struct ctl_words *words, struct plug *plug, struct samara_error *err)
{
	int ret;

	*plug = (struct plug){
		.virtio_mem = ctl_has(words, "--virtio-mem"),
		.node = -1,
		.timeout_s = CTL_TIMEOUT_S,
	};
	if (!plug->virtio_mem && (ctl_has(words, "--requested") || ctl_has(words, "--block")))
		return samara_error_set(err, -EINVAL,
					"plug: --requested and --block go with --virtio-mem");
	ret = ctl_parse_size(words->operands[0], "SIZE", &plug->size_bytes, err);
	if (!ret)
		ret = ctl_number_option(words, "--node", NODE_MAX, &plug->node, err);
	if (!ret)
		ret = ctl_number_option(words, "--timeout", CTL_TIMEOUT_MAX_S, &plug->timeout_s,
					err);
	if (!ret)
		ret = ctl_size_option(words, "--requested", &plug->requested_bytes, err);
	if (!ret)
		ret = ctl_size_option(words, "--block", &plug->block_bytes, err);
	if (!ret)
		ret = ctl_parse_backing(ctl_value(words, "--backing"), &plug->backing, err);
	return ret;
}

int ctl_plug(const char *path, const struct ctl_words *words, struct samara_error *err)
{
	struct qmp_client *client = NULL;
	struct plug plug;
	int ret = read_options(words, &plug, err);

	if (ret)
		return ret;
	ret = qmp_client_connect(path, &client, err);
	if (!ret)
		ret = plug_device(client, ctl_value(words, "--id"), &plug, err);
	json_decref(plug.backing);
	qmp_client_close(client);
	return ret;
}
