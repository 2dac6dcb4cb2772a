/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * samara ctl's verbs that wait for the guest: those for memory devices ask, and then see what it
 * does; `events` shows all that happens.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "vmm/config.h"
#include "vmm/ctl.h"
#include "vmm/layout.h"
#include "vmm/qmp_client.h"

/* How long the guest is waited for, unless --timeout says otherwise. */
#define TIMEOUT_S       60

/* How often the progress line is renewed. */
#define TICK_MS         200

/* Of _OST: ACPI 6.4, 6.3.5. */
#define OST_INSERT      0x1
#define OST_IN_PROGRESS 0x80

/**
 * struct words - what was given on the command line
 * @node, @timeout_s: -1: not given
 */
struct words {
	const char *operand, *id;
	long node, timeout_s;
	bool json;
};

static int parse_number(const char *name, const char *text, long *out, struct samara_error *err)
{
	char *end;

	errno = 0;
	*out = strtol(text, &end, 10);
	if (errno || !*text || *end || *out < 0 || *out > 1000000)
		return samara_error_set(err, -EINVAL, "%s: '%s' is not a number", name, text);
	return 0;
}

/* @options: those that the verb knows, as "--id --node". */
static int parse_words(int count, char **words, const char *options, struct words *out,
		       struct samara_error *err)
{
	int i, ret = 0;

	*out = (struct words){.node = -1, .timeout_s = TIMEOUT_S};
	for (i = 0; !ret && i < count; i++) {
		const char *word = words[i], *value = i + 1 < count ? words[i + 1] : NULL;

		if (strncmp(word, "--", 2)) {
			out->operand = word;
		} else if (!strstr(options, word)) {
			ret = samara_error_set(err, -EINVAL, "there is no option %s here", word);
		} else if (!strcmp(word, "--json")) {
			out->json = true;
		} else if (!value) {
			ret = samara_error_set(err, -EINVAL, "%s: its value is missing", word);
		} else if (!strcmp(word, "--id")) {
			out->id = words[++i];
		} else if (!strcmp(word, "--node")) {
			ret = parse_number(word, words[++i], &out->node, err);
		} else {
			ret = parse_number(word, words[++i], &out->timeout_s, err);
		}
	}
	return ret;
}

/* ---- Commands -------------------------------------------------------------------------------- */

/* Run a command; takes @arguments over (NULL: none; out of memory shows as an error). */
static int run(struct qmp_client *client, const char *execute, json_t *arguments, json_t **result,
	       struct samara_error *err)
{
	json_t *command = json_pack("{s:s, s:o*}", "execute", execute, "arguments", arguments);
	int ret;

	if (!command)
		return samara_error_set(err, -ENOMEM, "out of memory");
	ret = qmp_client_run(client, command, result, err);
	json_decref(command);
	return ret;
}

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

/* The entry of query-memory-devices whose id that is; borrowed, NULL: there is none. */
static const json_t *find_device(const json_t *devices, const char *id)
{
	const json_t *device;
	size_t i;

	json_array_foreach(devices, i,
			   device) if (!strcmp(text_of(json_object_get(device, "data"), "id"),
					       id)) return device;
	return NULL;
}

static bool is_named(const json_t *list, const char *name)
{
	const json_t *item;
	size_t i;

	json_array_foreach(list, i, item) if (!strcmp(text_of(item, "name"), name)) return true;
	return false;
}

/* The first "dimmN" that neither a device nor a backend of ours is named after. */
static int choose_id(struct qmp_client *client, char *id, size_t id_bytes, struct samara_error *err)
{
	json_t *devices = NULL, *objects = NULL;
	unsigned int number = 0;
	char memdev[32];
	int ret;

	ret = run(client, "query-memory-devices", NULL, &devices, err);
	if (!ret)
		ret = run(client, "qom-list", json_pack("{s:s}", "path", "/objects"), &objects,
			  err);
	while (!ret) {
		snprintf(id, id_bytes, "dimm%u", number++);
		snprintf(memdev, sizeof(memdev), "memdimm%u", number - 1);
		if (!find_device(devices, id) && !is_named(objects, memdev))
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
	ret = run(client, "query-memory-devices", NULL, &devices, err);
	if (!ret && find_device(devices, wanted))
		ret = samara_error_set(err, -EEXIST, "%s: there is a device of that name already",
				       wanted);
	json_decref(devices);
	return ret;
}

/* Whether the guest runs, and so can answer. */
static int is_running(struct qmp_client *client, bool *running, struct samara_error *err)
{
	json_t *status = NULL;
	int ret = run(client, "query-status", NULL, &status, err);

	*running = json_is_true(json_object_get(status, "running"));
	json_decref(status);
	return ret;
}

/* ---- Waiting --------------------------------------------------------------------------------- */

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/**
 * struct wait - waiting for the guest
 * @what: for the progress line
 * @look: sees each event: 0: go on, 1: done, or -errno with the error set
 */
struct wait {
	struct qmp_client *client;
	const char *what;
	uint64_t started_ms;
	long timeout_s;
	int (*look)(const struct wait *wait, const char *event, const json_t *data,
		    struct samara_error *err);
	const char *id;
	uint64_t goal_bytes;
	uint64_t *now_bytes; /* shown with the goal; NULL: neither */
};

static void show_progress(const struct wait *wait)
{
	char now[32], goal[32];

	if (!isatty(STDERR_FILENO))
		return;
	fprintf(stderr, "\r\033[K%s: ", wait->what);
	if (wait->now_bytes) {
		ctl_format_size(now, sizeof(now), *wait->now_bytes);
		ctl_format_size(goal, sizeof(goal), wait->goal_bytes);
		fprintf(stderr, "%s, on the way to %s; ", now, goal);
	}
	fprintf(stderr, "the guest works, %" PRIu64 " s", (now_ms() - wait->started_ms) / 1000);
}

static void end_progress(void)
{
	if (isatty(STDERR_FILENO))
		fputs("\r\033[K", stderr);
}

/* Whatever ends the VM or its guest's life ends the wait. */
static int look_at_end(const char *event, struct samara_error *err)
{
	if (!strcmp(event, "SHUTDOWN"))
		return samara_error_set(err, -ESHUTDOWN, "the VM has ended meanwhile");
	return 0;
}

static int wait_for_guest(const struct wait *wait, struct samara_error *err)
{
	uint64_t limit_ms = (uint64_t)wait->timeout_s * 1000;
	int ret = 0;

	while (!ret) {
		struct samara_error reason = {0};
		json_t *event = NULL;

		show_progress(wait);
		if (now_ms() - wait->started_ms >= limit_ms) {
			ret = samara_error_set(err, -ETIMEDOUT,
					       "%s: the guest has not answered within %ld s; the "
					       "request stands",
					       wait->what, wait->timeout_s);
			break;
		}
		ret = qmp_client_next_event(wait->client, TICK_MS, &event, &reason);
		if (ret == -ETIMEDOUT) {
			ret = 0;
			continue;
		}
		if (ret) {
			*err = reason;
			break;
		}
		ret = wait->look(wait, text_of(event, "event"), json_object_get(event, "data"),
				 err);
		if (!ret)
			ret = look_at_end(text_of(event, "event"), err);
		json_decref(event);
	}
	end_progress();
	return ret < 0 ? ret : 0;
}

static double seconds_since(uint64_t started_ms)
{
	return (double)(now_ms() - started_ms) / 1000;
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

static int look_at_insertion(const struct wait *wait, const char *event, const json_t *data,
			     struct samara_error *err)
{
	const json_t *info = json_object_get(data, "info");
	uint64_t status = ctl_number(info, "status");

	if (strcmp(event, "ACPI_DEVICE_OST") || strcmp(text_of(info, "device"), wait->id) ||
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
	ret = run(client, "object-add",
		  json_pack("{s:s, s:s, s:s}", "qom-type", "memory-backend-ram", "id", memdev,
			    "size", size),
		  NULL, err);
	if (ret)
		return ret;
	ret = run(client, "device_add",
		  json_pack("{s:s, s:s, s:s, s:i}", "driver", "pc-dimm", "id", id, "memdev", memdev,
			    "node", node < 0 ? 0 : (int)node),
		  NULL, err);
	if (ret)
		run(client, "object-del", json_pack("{s:s}", "id", memdev), NULL, &ignored);
	return ret;
}

static int plug_dimm(struct qmp_client *client, const struct words *words, uint64_t size_bytes,
		     struct samara_error *err)
{
	char id[72], memdev[80], size[32];
	struct wait wait = {
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
		ret = is_running(client, &running, err);
	wait.started_ms = now_ms();
	if (!ret)
		ret = add_dimm(client, id, memdev, size_bytes, words->node, err);
	if (!ret && running)
		ret = wait_for_guest(&wait, err);
	if (ret)
		return ret;
	ctl_format_size(size, sizeof(size), size_bytes);
	if (running)
		printf("%s: %s more, and the guest has it (%.1f s)\n", id, size,
		       seconds_since(wait.started_ms));
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

static int plug(const char *path, int count, char **list, struct samara_error *err)
{
	struct qmp_client *client = NULL;
	struct words words;
	uint64_t size_bytes = 0;
	int ret = parse_words(count, list, "--id --node --timeout", &words, err);

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

static int look_at_removal(const struct wait *wait, const char *event, const json_t *data,
			   struct samara_error *err)
{
	const char *reason;

	if (strcmp(text_of(data, "device"), wait->id))
		return 0;
	if (!strcmp(event, "DEVICE_DELETED"))
		return 1;
	if (strcmp(event, "DEVICE_UNPLUG_GUEST_ERROR"))
		return 0;
	reason = text_of(data, "x-samara-reason");
	return samara_error_set(err, -EBUSY, "%s",
				*reason ? reason : "the guest does not let it go");
}

static int unplug_device(struct qmp_client *client, const struct words *words, const json_t *device,
			 struct samara_error *err)
{
	const char *memdev = text_of(json_object_get(device, "data"), "memdev");
	struct wait wait = {
		.client = client,
		.what = words->operand,
		.id = words->operand,
		.timeout_s = words->timeout_s,
		.look = look_at_removal,
		.started_ms = now_ms(),
	};
	struct samara_error ignored = {0};
	char size[32], ours[160];
	int ret;

	ret = run(client, "device_del", json_pack("{s:s}", "id", words->operand), NULL, err);
	if (!ret)
		ret = wait_for_guest(&wait, err);
	if (ret)
		return ret;
	/* The backend that plug made goes with it; one by another name is somebody else's. */
	snprintf(ours, sizeof(ours), "/objects/mem%s", words->operand);
	if (!strcmp(memdev, ours))
		run(client, "object-del", json_pack("{s:s}", "id", ours + strlen("/objects/")),
		    NULL, &ignored);
	ctl_format_size(size, sizeof(size), ctl_number(json_object_get(device, "data"), "size"));
	printf("%s: %s back on the host (%.1f s)\n", words->operand, size,
	       seconds_since(wait.started_ms));
	return 0;
}

static int unplug(const char *path, int count, char **list, struct samara_error *err)
{
	struct qmp_client *client = NULL;
	json_t *devices = NULL;
	const json_t *device;
	struct words words;
	int ret = parse_words(count, list, "--timeout", &words, err);

	if (ret)
		return ret;
	ret = qmp_client_connect(path, &client, err);
	if (!ret)
		ret = run(client, "query-memory-devices", NULL, &devices, err);
	device = find_device(devices, words.operand);
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

/* ---- devices --------------------------------------------------------------------------------- */

static int add_device_row(struct libscols_table *table, const json_t *device)
{
	const json_t *data = json_object_get(device, "data");
	bool dimm = !strcmp(text_of(device, "type"), "dimm");
	uint64_t gpa = ctl_number(data, dimm ? "addr" : "memaddr");
	uint64_t room_bytes = ctl_number(data, dimm ? "size" : "max-size");
	char first[24], last[24], size[32], room[32], node[24], slot[24] = "";
	const char *cells[] = {
		text_of(data, "id"), text_of(device, "type"), first, last, size, room, node, slot};

	snprintf(first, sizeof(first), "0x%" PRIx64, gpa);
	snprintf(last, sizeof(last), "0x%" PRIx64, gpa + room_bytes - 1);
	ctl_format_size(size, sizeof(size), ctl_number(data, "size"));
	ctl_format_size(room, sizeof(room), room_bytes);
	snprintf(node, sizeof(node), "%" PRIu64, ctl_number(data, "node"));
	if (dimm)
		snprintf(slot, sizeof(slot), "%" PRIu64, ctl_number(data, "slot"));
	return ctl_add_row(table, cells, 8);
}

static int show_devices(const json_t *devices, struct samara_error *err)
{
	static const struct ctl_column columns[] = {
		{"ID", false},  {"TYPE", false}, {"FIRST", true}, {"LAST", true},
		{"SIZE", true}, {"ROOM", true},  {"NODE", true},  {"SLOT", true}};
	struct libscols_table *table = ctl_new_table(columns, 8);
	const json_t *device;
	int ret = table ? 0 : -ENOMEM;
	size_t i;

	json_array_foreach(devices, i, device) if (!ret) ret = add_device_row(table, device);
	if (!ret && scols_print_table(table))
		ret = -ENOMEM;
	scols_unref_table(table);
	return ret ? samara_error_set(err, ret, "out of memory") : 0;
}

static int show_json(const json_t *value, struct samara_error *err)
{
	if (json_dumpf(value, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY))
		return samara_error_set(err, -ENOMEM, "out of memory");
	putchar('\n');
	return 0;
}

static int devices(const char *path, int count, char **list, struct samara_error *err)
{
	struct qmp_client *client = NULL;
	json_t *result = NULL;
	struct words words;
	int ret = parse_words(count, list, "--json", &words, err);

	if (ret)
		return ret;
	ret = qmp_client_connect(path, &client, err);
	if (!ret)
		ret = run(client, "query-memory-devices", NULL, &result, err);
	if (!ret)
		ret = words.json ? show_json(result, err) : show_devices(result, err);
	json_decref(result);
	qmp_client_close(client);
	return ret;
}

/* ---- resize ---------------------------------------------------------------------------------- */

static int look_at_size(const struct wait *wait, const char *event, const json_t *data,
			struct samara_error *err)
{
	(void)err;
	if (strcmp(event, "MEMORY_DEVICE_SIZE_CHANGE") || strcmp(text_of(data, "id"), wait->id))
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
		if (!found && !strcmp(text_of(device, "type"), "virtio-mem"))
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

	snprintf(path, sizeof(path), "/machine/peripheral/%s", text_of(device, "id"));
	snprintf(size, sizeof(size), "0x%" PRIx64, bytes);
	return run(client, "qom-set",
		   json_pack("{s:s, s:s, s:s}", "path", path, "property", "requested-size", "value",
			     size),
		   NULL, err);
}

static int resize_device(struct qmp_client *client, const struct words *words, uint64_t total_bytes,
			 uint64_t other_bytes, const json_t *device, struct samara_error *err)
{
	uint64_t now_bytes = ctl_number(device, "size"), max_bytes = ctl_number(device, "max-size");
	struct wait wait = {
		.client = client,
		.what = text_of(device, "id"),
		.id = text_of(device, "id"),
		.timeout_s = words->timeout_s,
		.look = look_at_size,
		.started_ms = now_ms(),
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
	ret = is_running(client, &running, err);
	if (!ret)
		ret = set_requested(client, device, wait.goal_bytes, err);
	if (!ret && running && now_bytes != wait.goal_bytes)
		ret = wait_for_guest(&wait, err);
	if (ret)
		return ret;
	if (running)
		printf("%s in all (%.1f s)\n", total, seconds_since(wait.started_ms));
	else
		printf("%s in all, when the guest runs\n", total);
	return 0;
}

static int resize_by_devices(struct qmp_client *client, const struct words *words,
			     uint64_t total_bytes, struct samara_error *err)
{
	json_t *summary = NULL, *list = NULL;
	const json_t *device = NULL;
	uint64_t other_bytes = 0;
	int ret;

	ret = run(client, "query-memory-size-summary", NULL, &summary, err);
	if (!ret)
		ret = run(client, "query-memory-devices", NULL, &list, err);
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

static int resize(const char *path, int count, char **list, struct samara_error *err)
{
	struct qmp_client *client = NULL;
	struct words words;
	uint64_t total_bytes = 0;
	int ret = parse_words(count, list, "--timeout", &words, err);

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

static int look_at_balloon(const struct wait *wait, const char *event, const json_t *data,
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

	ret = run(client, "query-balloon", NULL, &balloon, err);
	if (!ret)
		ret = run(client, "query-memory-size-summary", NULL, &summary, err);
	given_bytes = ctl_number(summary, "base-memory") + ctl_number(summary, "plugged-memory");
	*now_bytes = ctl_number(balloon, "actual");
	*goal_bytes = given_bytes;
	if (wanted_bytes < given_bytes)
		*goal_bytes -= (given_bytes - wanted_bytes) & ~(SAMARA_PAGE_BYTES - 1);
	json_decref(balloon);
	json_decref(summary);
	return ret;
}

static int fill_balloon(struct qmp_client *client, const struct words *words, uint64_t wanted_bytes,
			struct samara_error *err)
{
	uint64_t now_bytes = 0;
	struct wait wait = {
		.client = client,
		.what = "balloon",
		.timeout_s = words->timeout_s,
		.look = look_at_balloon,
		.started_ms = now_ms(),
		.now_bytes = &now_bytes,
	};
	char left[32], wanted[24];
	bool running = false;
	int ret = find_balloon_goal(client, wanted_bytes, &now_bytes, &wait.goal_bytes, err);

	if (!ret)
		ret = is_running(client, &running, err);
	snprintf(wanted, sizeof(wanted), "0x%" PRIx64, wanted_bytes);
	if (!ret)
		ret = run(client, "balloon", json_pack("{s:s}", "value", wanted), NULL, err);
	if (!ret && running && now_bytes != wait.goal_bytes)
		ret = wait_for_guest(&wait, err);
	if (ret)
		return ret;
	ctl_format_size(left, sizeof(left), wait.goal_bytes);
	if (running)
		printf("the guest has %s left (%.1f s)\n", left, seconds_since(wait.started_ms));
	else
		printf("the guest will have %s left, when it runs\n", left);
	return 0;
}

static int balloon(const char *path, int count, char **list, struct samara_error *err)
{
	struct qmp_client *client = NULL;
	struct words words;
	uint64_t bytes = 0;
	int ret = parse_words(count, list, "--timeout", &words, err);

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

/* ---- events ---------------------------------------------------------------------------------- */

static int events(const char *path, int count, char **list, struct samara_error *err)
{
	struct qmp_client *client = NULL;
	struct words words;
	int ret = parse_words(count, list, "", &words, err);

	if (!ret)
		ret = qmp_client_connect(path, &client, err);
	if (ret)
		return ret;
	while (!ret) {
		json_t *event = NULL;

		ret = qmp_client_next_event(client, -1, &event, err);
		if (!ret && (json_dumpf(event, stdout, JSON_COMPACT) || putchar('\n') == EOF ||
			     fflush(stdout)))
			ret = samara_error_set(err, -EIO, "standard output can't be written");
		json_decref(event);
	}
	qmp_client_close(client);
	/* The VM's end is the end of the events. */
	return ret == -ECONNRESET ? 0 : ret;
}

const struct ctl_verb ctl_long_verbs[] = {
	{"plug", "SIZE [--id ID] [--node N]", 1, plug,
	 "give the guest a DIMM, wait until it has it"},
	{"unplug", "ID", 1, unplug, "ask the guest for a DIMM back, wait until it is"},
	{"resize", "SIZE", 1, resize, "give the guest that much memory in all (virtio-mem)"},
	{"balloon", "SIZE", 1, balloon, "have the guest give the host what it has beyond SIZE"},
	{"devices", "[--json]", 0, devices, "list memory devices"},
	{"events", "", 0, events, "print what happens, a line of JSON each, until the VM ends"},
	{NULL, NULL, 0, NULL, NULL},
};
