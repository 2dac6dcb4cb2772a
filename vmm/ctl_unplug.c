/* SPDX-License-Identifier: GPL-2.0-or-later */
/* samara ctl unplug ID: ask the guest for a device, and see what it says. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vmm/ctl_wait.h"

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

static int unplug_device(struct qmp_client *client, const char *id, long timeout_s,
			 const json_t *device, struct samara_error *err)
{
	const char *memdev = ctl_text(json_object_get(device, "data"), "memdev");
	struct ctl_wait wait = {
		.client = client,
		.what = id,
		.id = id,
		.timeout_s = timeout_s,
		.look = look_at_removal,
		.started_ms = ctl_now_ms(),
	};
	struct samara_error ignored = {0};
	char size[32], ours[160];
	int ret;

	ret = ctl_run(client, "device_del", json_pack("{s:s}", "id", id), NULL, err);
	if (!ret)
		ret = ctl_wait_for_guest(&wait, err);
	if (ret)
		return ret;
	/* The backend that plug made goes with it; one by another name is somebody else's. */
	snprintf(ours, sizeof(ours), "/objects/mem%s", id);
	if (!strcmp(memdev, ours))
		ctl_run(client, "object-del", json_pack("{s:s}", "id", ours + strlen("/objects/")),
			NULL, &ignored);
	ctl_format_size(size, sizeof(size), ctl_number(json_object_get(device, "data"), "size"));
	printf("%s: %s back on the host (%.1f s)\n", id, size, ctl_seconds_since(wait.started_ms));
	return 0;
}

/* A device that the guest let go after we had given up left the backend that plug made. */
static int remove_rest(struct qmp_client *client, const char *id, struct samara_error *err)
{
	struct samara_error ignored = {0};
	json_t *memdev = json_sprintf("mem%s", id);

	if (memdev &&
	    !ctl_run(client, "object-del", json_pack("{s:o}", "id", memdev), NULL, &ignored)) {
		printf("%s: had gone; what was behind it is back on the host\n", id);
		return 0;
	}
	return samara_error_set(err, -ENODEV,
				"%s: there is no such memory device (samara ctl SOCKET devices "
				"lists them)",
				id);
}

int ctl_unplug(const char *path, const struct ctl_words *words, struct samara_error *err)
{
	struct qmp_client *client = NULL;
	const char *id = words->operands[0];
	long timeout_s = CTL_TIMEOUT_S;
	json_t *devices = NULL;
	const json_t *device;
	int ret = ctl_number_option(words, "--timeout", CTL_TIMEOUT_MAX_S, &timeout_s, err);

	if (ret)
		return ret;
	ret = qmp_client_connect(path, &client, err);
	if (!ret)
		ret = ctl_run(client, "query-memory-devices", NULL, &devices, err);
	device = ctl_find_device(devices, id);
	if (!ret)
		ret = device ? unplug_device(client, id, timeout_s, device, err)
			     : remove_rest(client, id, err);
	json_decref(devices);
	qmp_client_close(client);
	return ret;
}
