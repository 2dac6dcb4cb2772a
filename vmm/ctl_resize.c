/* SPDX-License-Identifier: GPL-2.0-or-later */
/* samara ctl resize SIZE, balloon SIZE: how much memory the guest has. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/config.h"
#include "vmm/ctl_wait.h"

/* ---- resize ---------------------------------------------------------------------------------- */

static int look_at_size(const struct ctl_wait *wait, const char *event, const json_t *data,
			struct samara_error *err)
{
	(void)err;
	if (strcmp(event, "MEMORY_DEVICE_SIZE_CHANGE") || strcmp(ctl_text(data, "id"), wait->id))
		return 0;
	*wait->now_bytes = ctl_number(data, "size");
	return *wait->now_bytes == wait->goal_bytes;
}

/* The first virtio-mem device, and how much memory there is without it. */
static const json_t *find_virtio_mem(const json_t *devices, uint64_t *other_bytes)
{
	const json_t *device, *found = NULL;
	size_t i;

	json_array_foreach(devices, i, device)
	{
		if (!found && !strcmp(ctl_text(device, "type"), "virtio-mem"))
			found = json_object_get(device, "data");
		else
			*other_bytes += ctl_number(json_object_get(device, "data"), "size");
	}
	return found;
}

static int set_requested(struct qmp_client *client, const json_t *device, uint64_t bytes,
			 struct samara_error *err)
{
	char path[128], size[24];

	snprintf(path, sizeof(path), "/machine/peripheral/%s", ctl_text(device, "id"));
	snprintf(size, sizeof(size), "0x%" PRIx64, bytes);
	return ctl_run(client, "qom-set",
		       json_pack("{s:s, s:s, s:s}", "path", path, "property", "requested-size",
				 "value", size),
		       NULL, err);
}

static int resize_device(struct qmp_client *client, const struct ctl_words *words,
			 uint64_t total_bytes, uint64_t other_bytes, const json_t *device,
			 struct samara_error *err)
{
	uint64_t now_bytes = ctl_number(device, "size"), max_bytes = ctl_number(device, "max-size");
	struct ctl_wait wait = {
		.client = client,
		.what = ctl_text(device, "id"),
		.id = ctl_text(device, "id"),
		.timeout_s = words->timeout_s,
		.look = look_at_size,
		.started_ms = ctl_now_ms(),
		.goal_bytes = total_bytes - other_bytes,
		.now_bytes = &now_bytes,
	};
	char least[32], most[32], total[32];
	bool running = false;
	int ret;

	ctl_format_size(least, sizeof(least), other_bytes);
	ctl_format_size(most, sizeof(most), other_bytes + max_bytes);
	ctl_format_size(total, sizeof(total), total_bytes);
	if (total_bytes < other_bytes || total_bytes - other_bytes > max_bytes)
		return samara_error_set(err, -ERANGE,
					"resize: with this VM's %s it is %s to %s, not %s", wait.id,
					least, most, total);
	ret = ctl_is_running(client, &running, err);
	if (!ret)
		ret = set_requested(client, device, wait.goal_bytes, err);
	if (!ret && running && now_bytes != wait.goal_bytes)
		ret = ctl_wait_for_guest(&wait, err);
	if (ret)
		return ret;
	if (running)
		printf("%s in all (%.1f s)\n", total, ctl_seconds_since(wait.started_ms));
	else
		printf("%s in all, when the guest runs\n", total);
	return 0;
}

static int resize_by_devices(struct qmp_client *client, const struct ctl_words *words,
			     uint64_t total_bytes, struct samara_error *err)
{
	json_t *summary = NULL, *list = NULL;
	const json_t *device = NULL;
	uint64_t other_bytes = 0;
	int ret;

	ret = ctl_run(client, "query-memory-size-summary", NULL, &summary, err);
	if (!ret)
		ret = ctl_run(client, "query-memory-devices", NULL, &list, err);
	if (!ret) {
		other_bytes = ctl_number(summary, "base-memory");
		device = find_virtio_mem(list, &other_bytes);
		if (device)
			ret = resize_device(client, words, total_bytes, other_bytes, device, err);
		else
			ret = samara_error_set(
				err, -ENODEV,
				"resize: this VM has no virtio-mem device; plug SIZE "
				"and unplug ID change its memory by DIMMs");
	}
	json_decref(summary);
	json_decref(list);
	return ret;
}

int ctl_resize(const char *path, int count, char **list, struct samara_error *err)
{
	struct qmp_client *client = NULL;
	struct ctl_words words;
	uint64_t total_bytes = 0;
	int ret = ctl_parse_words(count, list, "--timeout", &words, err);

	if (!ret && parse_size(words.operand, "SIZE", &total_bytes, err))
		ret = err->code = -EINVAL;
	if (ret)
		return ret;
	ret = qmp_client_connect(path, &client, err);
	if (!ret)
		ret = resize_by_devices(client, &words, total_bytes, err);
	qmp_client_close(client);
	return ret;
}

/* ---- balloon --------------------------------------------------------------------------------- */

static int look_at_balloon(const struct ctl_wait *wait, const char *event, const json_t *data,
			   struct samara_error *err)
{
	(void)err;
	if (strcmp(event, "BALLOON_CHANGE"))
		return 0;
	*wait->now_bytes = ctl_number(data, "actual");
	return *wait->now_bytes == wait->goal_bytes;
}

/* What the guest has now, and what it will have when it has done as asked: balloons hold pages. */
static int find_balloon_goal(struct qmp_client *client, uint64_t wanted_bytes, uint64_t *now_bytes,
			     uint64_t *goal_bytes, struct samara_error *err)
{
	json_t *balloon = NULL, *summary = NULL;
	uint64_t given_bytes;
	int ret;

	ret = ctl_run(client, "query-balloon", NULL, &balloon, err);
	if (!ret)
		ret = ctl_run(client, "query-memory-size-summary", NULL, &summary, err);
	given_bytes = ctl_number(summary, "base-memory") + ctl_number(summary, "plugged-memory");
	*now_bytes = ctl_number(balloon, "actual");
	*goal_bytes = given_bytes;
	if (wanted_bytes < given_bytes)
		*goal_bytes -= (given_bytes - wanted_bytes) & ~(SAMARA_PAGE_BYTES - 1);
	json_decref(balloon);
	json_decref(summary);
	return ret;
}

static int fill_balloon(struct qmp_client *client, const struct ctl_words *words,
			uint64_t wanted_bytes, struct samara_error *err)
{
	uint64_t now_bytes = 0;
	struct ctl_wait wait = {
		.client = client,
		.what = "balloon",
		.timeout_s = words->timeout_s,
		.look = look_at_balloon,
		.started_ms = ctl_now_ms(),
		.now_bytes = &now_bytes,
	};
	char left[32], wanted[24];
	bool running = false;
	int ret = find_balloon_goal(client, wanted_bytes, &now_bytes, &wait.goal_bytes, err);

	if (!ret)
		ret = ctl_is_running(client, &running, err);
	snprintf(wanted, sizeof(wanted), "0x%" PRIx64, wanted_bytes);
	if (!ret)
		ret = ctl_run(client, "balloon", json_pack("{s:s}", "value", wanted), NULL, err);
	if (!ret && running && now_bytes != wait.goal_bytes)
		ret = ctl_wait_for_guest(&wait, err);
	if (ret)
		return ret;
	ctl_format_size(left, sizeof(left), wait.goal_bytes);
	if (running)
		printf("the guest has %s left (%.1f s)\n", left,
		       ctl_seconds_since(wait.started_ms));
	else
		printf("the guest will have %s left, when it runs\n", left);
	return 0;
}

int ctl_balloon(const char *path, int count, char **list, struct samara_error *err)
{
	struct qmp_client *client = NULL;
	struct ctl_words words;
	uint64_t bytes = 0;
	int ret = ctl_parse_words(count, list, "--timeout", &words, err);

	if (!ret && parse_size(words.operand, "SIZE", &bytes, err))
		ret = err->code = -EINVAL;
	if (ret)
		return ret;
	ret = qmp_client_connect(path, &client, err);
	if (!ret)
		ret = fill_balloon(client, &words, bytes, err);
	qmp_client_close(client);
	return ret;
}
