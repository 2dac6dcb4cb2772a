/* SPDX-License-Identifier: GPL-2.0-or-later */
/* samara ctl devices, memory, slots: what memory there is, and the devices that it comes by. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "vmm/ctl.h"

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

int ctl_show_devices(const json_t *result, struct samara_error *err)
{
	static const struct ctl_column columns[] = {
		{"ID", false},  {"TYPE", false}, {"FIRST", true}, {"LAST", true},
		{"SIZE", true}, {"ROOM", true},  {"NODE", true},  {"SLOT", true}};
	struct libscols_table *table = ctl_new_table(columns, 8);
	const json_t *device;
	int ret = table ? 0 : -ENOMEM;
	size_t i;

	json_array_foreach(result, i, device) if (!ret) ret = add_device_row(table, device);
	return ctl_print_table(table, ret, err);
}

static int add_size_row(struct libscols_table *table, const char *name, uint64_t bytes)
{
	char size[32];
	const char *cells[] = {name, size};

	ctl_format_size(size, sizeof(size), bytes);
	return ctl_add_row(table, cells, 2);
}

int ctl_show_memory(const json_t *result, struct samara_error *err)
{
	static const struct ctl_column columns[] = {{"MEMORY", false}, {"SIZE", true}};
	struct libscols_table *table = ctl_new_table(columns, 2);
	uint64_t base_bytes = ctl_number(result, "base-memory");
	uint64_t plugged_bytes = ctl_number(result, "plugged-memory");
	int ret = table ? 0 : -ENOMEM;

	if (!ret)
		ret = add_size_row(table, "base", base_bytes);
	if (!ret)
		ret = add_size_row(table, "plugged", plugged_bytes);
	if (!ret)
		ret = add_size_row(table, "total", base_bytes + plugged_bytes);
	return ctl_print_table(table, ret, err);
}

int ctl_show_slots(const json_t *result, struct samara_error *err)
{
	static const struct ctl_column columns[] = {
		{"SLOT", true}, {"DEVICE", false}, {"SOURCE", true}, {"STATUS", true}};
	struct libscols_table *table = ctl_new_table(columns, 4);
	const json_t *slot;
	int ret = table ? 0 : -ENOMEM;
	size_t i;

	json_array_foreach(result, i, slot)
	{
		char source[24], status[24];
		const char *cells[] = {ctl_text(slot, "slot"), ctl_text(slot, "device"), source,
				       status};

		if (ret)
			break;
		snprintf(source, sizeof(source), "0x%" PRIx64, ctl_number(slot, "source"));
		snprintf(status, sizeof(status), "0x%" PRIx64, ctl_number(slot, "status"));
		ret = ctl_add_row(table, cells, 4);
	}
	return ctl_print_table(table, ret, err);
}
