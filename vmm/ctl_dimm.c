/* SPDX-License-Identifier: GPL-2.0-or-later */
/* samara ctl plug SIZE, unplug ID: DIMMs, and what the guest says of them. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/config.h"
#include "vmm/ctl_wait.h"
#include "vmm/layout.h"

/* Of _OST: ACPI 6.4, 6.3.5. */
#define OST_INSERT      0x1
#define OST_IN_PROGRESS 0x80

static bool is_named(const json_t *list, const char *name)
{
	const json_t *item;
	size_t i;

	json_array_foreach(list, i, item) if (!strcmp(ctl_text(item, "name"), name)) return true;
	return false;
}

/* The first "dimmN" that neither a device nor a backend of ours is named after. */
static int choose_id(struct qmp_client *client, char *id, size_t id_bytes, struct samara_error *err)
{
	json_t *devices = NULL, *objects = NULL;
	unsigned int number = 0;
	char memdev[32];
	int ret;

	ret = ctl_run(client, "query-memory-devices", NULL, &devices, err);
	if (!ret)
		ret = ctl_run(client, "qom-list", json_pack("{s:s}", "path", "/objects"), &objects,
			      err);
	while (!ret) {
		snprintf(id, id_bytes, "dimm%u", number++);
		snprintf(memdev, sizeof(memdev), "memdimm%u", number - 1);
		if (!ctl_find_device(devices, id) && !is_named(objects, memdev))
			break;
	}
	json_decref(devices);
	json_decref(objects);
	return ret;
}

static int take_id(struct qmp_client *client, const char *wanted, char *id, size_t id_bytes,
		   struct samara_error *err)
{
	json_t *devices = NULL;
	int ret;

	snprintf(id, id_bytes, "%s", wanted);
	ret = ctl_run(client, "query-memory-devices", NULL, &devices, err);
	if (!ret && ctl_find_device(devices, wanted))
		ret = samara_error_set(err, -EEXIST, "%s: there is a device of that name already",
				       wanted);
	json_decref(devices);
	return ret;
}

/* ---- plug ------------------------------------------------------------------------------------ */

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

static int add_dimm(struct qmp_client *client, const char *id, const char *memdev,
		    uint64_t size_bytes, long node, struct samara_error *err)
{
	struct samara_error ignored = {0};
	char size[24];
	int ret;

	snprintf(size, sizeof(size), "0x%" PRIx64, size_bytes);
	ret = ctl_run(client, "object-add",
		      json_pack("{s:s, s:s, s:s}", "qom-type", "memory-backend-ram", "id", memdev,
				"size", size),
		      NULL, err);
	if (ret)
		return ret;
	ret = ctl_run(client, "device_add",
		      json_pack("{s:s, s:s, s:s, s:i}", "driver", "pc-dimm", "id", id, "memdev",
				memdev, "node", node < 0 ? 0 : (int)node),
		      NULL, err);
	if (ret)
		ctl_run(client, "object-del", json_pack("{s:s}", "id", memdev), NULL, &ignored);
	return ret;
}

static int plug_dimm(struct qmp_client *client, const struct ctl_words *words, uint64_t size_bytes,
		     struct samara_error *err)
{
	char id[72], memdev[80], size[32];
	struct ctl_wait wait = {
		.client = client,
		.what = id,
		.id = id,
		.timeout_s = words->timeout_s,
		.look = look_at_insertion,
	};
	bool running = false;
	int ret;

	ret = words->id ? take_id(client, words->id, id, sizeof(id), err)
			: choose_id(client, id, sizeof(id), err);
	snprintf(memdev, sizeof(memdev), "mem%s", id);
	if (!ret)
		ret = ctl_is_running(client, &running, err);
	wait.started_ms = ctl_now_ms();
	if (!ret)
		ret = add_dimm(client, id, memdev, size_bytes, words->node, err);
	if (!ret && running)
		ret = ctl_wait_for_guest(&wait, err);
	if (ret)
		return ret;
	ctl_format_size(size, sizeof(size), size_bytes);
	if (running)
		printf("%s: %s more, and the guest has it (%.1f s)\n", id, size,
		       ctl_seconds_since(wait.started_ms));
	else
		printf("%s: %s more; the guest will find it when it runs\n", id, size);
	return 0;
}

/* Linux reports success all the same: acpi_memory_device_add() fails on its own. */
static void warn_of_odd_size(uint64_t size_bytes)
{
	if (size_bytes % LAYOUT_HOTPLUG_ALIGN)
		fprintf(stderr,
			"samara ctl: warning: that is no multiple of 128 MiB: Linux says that "
			"it takes it, and most likely does not use it\n");
}

int ctl_plug(const char *path, int count, char **list, struct samara_error *err)
{
	struct qmp_client *client = NULL;
	struct ctl_words words;
	uint64_t size_bytes = 0;
	int ret = ctl_parse_words(count, list, "--id --node --timeout", &words, err);

	if (!ret && parse_size(words.operand, "SIZE", &size_bytes, err))
		ret = err->code = -EINVAL;
	if (ret)
		return ret;
	ret = qmp_client_connect(path, &client, err);
	if (!ret)
		ret = plug_dimm(client, &words, size_bytes, err);
	if (!ret)
		warn_of_odd_size(size_bytes);
	qmp_client_close(client);
	return ret;
}

/* ---- unplug ---------------------------------------------------------------------------------- */

static int look_at_removal(const struct ctl_wait *wait, const char *event, const json_t *data,
			   struct samara_error *err)
{
	const char *reason;

	if (strcmp(ctl_text(data, "device"), wait->id))
		return 0;
	if (!strcmp(event, "DEVICE_DELETED"))
		return 1;
	if (strcmp(event, "DEVICE_UNPLUG_GUEST_ERROR"))
		return 0;
	reason = ctl_text(data, "x-samara-reason");
	return samara_error_set(err, -EBUSY, "%s",
				*reason ? reason : "the guest does not let it go");
}

static int unplug_device(struct qmp_client *client, const struct ctl_words *words,
			 const json_t *device, struct samara_error *err)
{
	const char *memdev = ctl_text(json_object_get(device, "data"), "memdev");
	struct ctl_wait wait = {
		.client = client,
		.what = words->operand,
		.id = words->operand,
		.timeout_s = words->timeout_s,
		.look = look_at_removal,
		.started_ms = ctl_now_ms(),
	};
	struct samara_error ignored = {0};
	char size[32], ours[160];
	int ret;

	ret = ctl_run(client, "device_del", json_pack("{s:s}", "id", words->operand), NULL, err);
	if (!ret)
		ret = ctl_wait_for_guest(&wait, err);
	if (ret)
		return ret;
	/* The backend that plug made goes with it; one by another name is somebody else's. */
	snprintf(ours, sizeof(ours), "/objects/mem%s", words->operand);
	if (!strcmp(memdev, ours))
		ctl_run(client, "object-del", json_pack("{s:s}", "id", ours + strlen("/objects/")),
			NULL, &ignored);
	ctl_format_size(size, sizeof(size), ctl_number(json_object_get(device, "data"), "size"));
	printf("%s: %s back on the host (%.1f s)\n", words->operand, size,
	       ctl_seconds_since(wait.started_ms));
	return 0;
}

int ctl_unplug(const char *path, int count, char **list, struct samara_error *err)
{
	struct qmp_client *client = NULL;
	json_t *devices = NULL;
	const json_t *device;
	struct ctl_words words;
	int ret = ctl_parse_words(count, list, "--timeout", &words, err);

	if (ret)
		return ret;
	ret = qmp_client_connect(path, &client, err);
	if (!ret)
		ret = ctl_run(client, "query-memory-devices", NULL, &devices, err);
	device = ctl_find_device(devices, words.operand);
	if (!ret && !device)
		ret = samara_error_set(err, -ENODEV,
				       "%s: there is no such memory device (samara ctl SOCKET "
				       "devices lists them)",
				       words.operand);
	if (!ret)
		ret = unplug_device(client, &words, device, err);
	json_decref(devices);
	qmp_client_close(client);
	return ret;
}
