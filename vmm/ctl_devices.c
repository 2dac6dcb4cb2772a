/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * samara ctl's verbs that wait for the guest: those for memory devices ask, and then see what it
 * does (ctl_dimm.c, ctl_resize.c); `events` shows all that happens. Here is what shows, and the table.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/ctl_wait.h"

/* ---- devices --------------------------------------------------------------------------------- */

static int add_device_row(struct libscols_table *table, const json_t *device)
{
	const json_t *data = json_object_get(device, "data");
	bool dimm = !strcmp(ctl_text(device, "type"), "dimm");
	uint64_t gpa = ctl_number(data, dimm ? "addr" : "memaddr");
	uint64_t room_bytes = ctl_number(data, dimm ? "size" : "max-size");
	char first[24], last[24], size[32], room[32], node[24], slot[24] = "";
	const char *cells[] = {ctl_text(data, "id"),
			       ctl_text(device, "type"),
			       first,
			       last,
			       size,
			       room,
			       node,
			       slot};

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

static int devices(const char *path, int count, char **list, struct samara_error *err)
{
	struct qmp_client *client = NULL;
	json_t *result = NULL;
	struct ctl_words words;
	int ret = ctl_parse_words(count, list, "--json", &words, err);

	if (ret)
		return ret;
	ret = qmp_client_connect(path, &client, err);
	if (!ret)
		ret = ctl_run(client, "query-memory-devices", NULL, &result, err);
	if (!ret)
		ret = words.json ? ctl_show_json(result, err) : show_devices(result, err);
	json_decref(result);
	qmp_client_close(client);
	return ret;
}

/* ---- events ---------------------------------------------------------------------------------- */

static int events(const char *path, int count, char **list, struct samara_error *err)
{
	struct qmp_client *client = NULL;
	struct ctl_words words;
	int ret = ctl_parse_words(count, list, "", &words, err);

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
	{"plug", "SIZE [--id ID] [--node N]", 1, ctl_plug,
	 "give the guest a DIMM, wait until it has it"},
	{"unplug", "ID", 1, ctl_unplug, "ask the guest for a DIMM back, wait until it is"},
	{"resize", "SIZE", 1, ctl_resize, "give the guest that much memory in all (virtio-mem)"},
	{"balloon", "SIZE", 1, ctl_balloon, "have the guest give the host what it has beyond SIZE"},
	{"free", "[--timeout S] [--json]", 0, ctl_free,
	 "ask the guest how much memory is free (its balloon's driver)"},
	{"devices", "[--json]", 0, devices, "list memory devices"},
	{"events", "", 0, events, "print what happens, a line of JSON each, until the VM ends"},
	{NULL, NULL, 0, NULL, NULL},
};
