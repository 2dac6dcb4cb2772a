/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Everything that samara ctl can do, in the order in which --help shows it. Commands of the control
 * socket that have no verb are those about the protocol itself (qmp_capabilities, query-commands,
 * query-qmp-schema), and object-add and object-del of a backend that no device uses: plug and unplug
 * make and remove it with the device. `raw` sends them.
 */
#include "vmm/ctl.h"

#define GPA_SIZE                         \
	{                                \
		{"gpa", CTL_SIZE},       \
		{                        \
			"size", CTL_SIZE \
		}                        \
	}

#define END_OF_OPTIONS           \
	{                        \
		NULL, NULL, NULL \
	}

#define TIMEOUT_OPTION                                                        \
	{                                                                     \
		"--timeout", "SECONDS", "how long to wait for the guest (60)" \
	}

static const struct ctl_option json_options[] = {
	{"--json", NULL, "print the reply as it came"},
	END_OF_OPTIONS,
};

static const struct ctl_option ro_options[] = {
	{"--ro", NULL, "for reading only"},
	END_OF_OPTIONS,
};

static const struct ctl_option stats_options[] = {
	{"--json", NULL, "print the reply as it came; with --watch a line for each reading"},
	{"--watch", "[SECONDS]", "again and again, with rates, until interrupted (each second)"},
	END_OF_OPTIONS,
};

static const struct ctl_option plug_options[] = {
	{"--id", "ID", "what it is called (dimm0, dimm1, ...; vmem0, ... with --virtio-mem)"},
	{"--node", "N", "the guest's NUMA node that it is in (0)"},
	{"--backing", "KIND[,SETTING...]",
	 "what is behind it: ram (as the VM's memory), memfd, hugetlb or file,path=FILE;\n"
	 "settings as of run --memory: share=, prealloc=, host-nodes=A-B:C, policy=;\n"
	 "and discard=on: the file is emptied when the DIMM is unplugged"},
	{"--virtio-mem", NULL, "not a DIMM: a device that gives the guest blocks of SIZE at most"},
	{"--requested", "SIZE", "with --virtio-mem: how much of it the guest shall have now (0)"},
	{"--block", "SIZE", "with --virtio-mem: how large a block is (2M)"},
	TIMEOUT_OPTION,
	END_OF_OPTIONS,
};

static const struct ctl_option wait_options[] = {
	TIMEOUT_OPTION,
	END_OF_OPTIONS,
};

static const struct ctl_option free_options[] = {
	TIMEOUT_OPTION,
	{"--json", NULL, "print the reply as it came"},
	END_OF_OPTIONS,
};

static const struct ctl_option resize_options[] = {
	{"--id", "ID", "the device that does it; needed where there are several"},
	TIMEOUT_OPTION,
	END_OF_OPTIONS,
};

static const struct ctl_option balloon_options[] = {
	{"--interval", "SECONDS",
	 "have the guest tell its statistics so often from now on; 0: never"},
	{"--json", NULL, "print it as JSON"},
	END_OF_OPTIONS,
};

const struct ctl_verb ctl_verbs[] = {
	{
		.name = "plug",
		.usage = "GPA SIZE",
		.operands = 2,
		.options = ro_options,
		.summary = "make a range memory, zeroed",
		.execute = "x-samara-plug",
		.arguments = GPA_SIZE,
	},
	{
		.name = "plug",
		.usage = "SIZE",
		.operands = 1,
		.options = plug_options,
		.summary = "give the guest a DIMM, wait until it has it",
		.run = ctl_plug,
	},
	{
		.name = "unplug",
		.usage = "GPA SIZE",
		.operands = 2,
		.summary = "make a range no memory; its pages go back to the host",
		.execute = "x-samara-unplug",
		.arguments = GPA_SIZE,
	},
	{
		.name = "unplug",
		.usage = "ID",
		.operands = 1,
		.options = wait_options,
		.summary = "ask the guest for a device back, wait until it is",
		.run = ctl_unplug,
	},
	{
		.name = "remap",
		.usage = "GPA SIZE NEW_GPA",
		.operands = 3,
		.summary = "move a range, contents kept",
		.execute = "x-samara-remap",
		.arguments = {{"gpa", CTL_SIZE}, {"size", CTL_SIZE}, {"new-gpa", CTL_SIZE}},
	},
	{
		.name = "protect",
		.usage = "GPA SIZE ro|rw",
		.operands = 3,
		.summary = "forbid or allow writing",
		.execute = "x-samara-protect",
		.arguments = {{"gpa", CTL_SIZE}, {"size", CTL_SIZE}, {"prot", CTL_PROT}},
	},
	{
		.name = "populate",
		.usage = "GPA SIZE",
		.operands = 2,
		.summary = "have every page present now",
		.execute = "x-samara-populate",
		.arguments = GPA_SIZE,
	},
	{
		.name = "regions",
		.usage = "",
		.options = json_options,
		.summary = "list guest memory, region by region",
		.execute = "x-samara-regions",
		.show = ctl_show_regions,
	},
	{
		.name = "memory",
		.usage = "",
		.options = json_options,
		.summary = "how much there is: from the start, plugged, in all",
		.execute = "query-memory-size-summary",
		.show = ctl_show_memory,
	},
	{
		.name = "devices",
		.usage = "",
		.options = json_options,
		.summary = "list memory devices",
		.execute = "query-memory-devices",
		.show = ctl_show_devices,
	},
	{
		.name = "slots",
		.usage = "",
		.options = json_options,
		.summary = "list DIMM slots, and what the guest last said of each (ACPI _OST)",
		.execute = "query-acpi-ospm-status",
		.show = ctl_show_slots,
	},
	{
		.name = "resize",
		.usage = "SIZE",
		.operands = 1,
		.options = resize_options,
		.summary = "give the guest that much memory in all (virtio-mem)",
		.run = ctl_resize,
	},
	{
		.name = "balloon",
		.usage = "SIZE",
		.operands = 1,
		.options = wait_options,
		.summary = "have the guest give the host what it has beyond SIZE",
		.run = ctl_balloon,
	},
	{
		.name = "balloon",
		.usage = "",
		.options = balloon_options,
		.summary = "what the guest has left, shall have, and says of it",
		.run = ctl_balloon_state,
	},
	{
		.name = "free",
		.usage = "",
		.options = free_options,
		.summary = "ask the guest how much memory is free (its balloon's driver)",
		.run = ctl_free,
	},
	{
		.name = "stats",
		.usage = "",
		.options = stats_options,
		.summary = "counters since the start; and how fast they grow",
		.run = ctl_stats,
		.execute = "x-samara-stats",
		.show = ctl_show_stats,
	},
	{
		.name = "events",
		.usage = "",
		.summary = "print what happens, a line of JSON each, until the VM ends",
		.run = ctl_events,
	},
	{
		.name = "status",
		.usage = "",
		.options = json_options,
		.summary = "running, paused, prelaunch or shutdown",
		.execute = "query-status",
		.show = ctl_show_status,
	},
	{
		.name = "cpus",
		.usage = "",
		.options = json_options,
		.summary = "list vCPUs and their threads",
		.execute = "query-cpus-fast",
		.show = ctl_show_cpus,
	},
	{
		.name = "name",
		.usage = "",
		.options = json_options,
		.summary = "the machine's name",
		.execute = "query-name",
		.show = ctl_show_name,
	},
	{
		.name = "version",
		.usage = "",
		.options = json_options,
		.summary = "of the samara that runs it",
		.execute = "query-version",
		.show = ctl_show_version,
	},
	{
		.name = "stop",
		.usage = "",
		.summary = "pause the guest (QMP's word for it)",
		.execute = "stop",
	},
	{
		.name = "cont",
		.usage = "",
		.summary = "let it run on",
		.execute = "cont",
	},
	{
		.name = "powerdown",
		.usage = "",
		.summary = "press the power button; the guest decides",
		.execute = "system_powerdown",
	},
	{
		.name = "reset",
		.usage = "",
		.summary = "reset the guest",
		.execute = "system_reset",
	},
	{
		.name = "quit",
		.usage = "",
		.summary = "end samara",
		.execute = "quit",
	},
	{
		.name = "qom-list",
		.usage = "PATH",
		.operands = 1,
		.summary = "an object's properties and what is below it: /machine/peripheral",
		.execute = "qom-list",
		.arguments = {{"path", CTL_TEXT}},
		.show = ctl_show_json,
	},
	{
		.name = "qom-get",
		.usage = "PATH PROPERTY",
		.operands = 2,
		.summary = "a property's value",
		.execute = "qom-get",
		.arguments = {{"path", CTL_TEXT}, {"property", CTL_TEXT}},
		.show = ctl_show_json,
	},
	{
		.name = "qom-set",
		.usage = "PATH PROPERTY VALUE",
		.operands = 3,
		.summary = "change it; VALUE is JSON, or else a text",
		.execute = "qom-set",
		.arguments = {{"path", CTL_TEXT}, {"property", CTL_TEXT}, {"value", CTL_VALUE}},
	},
	{
		.name = "raw",
		.usage = "'JSON'",
		.operands = 1,
		.summary = "send one QMP command, print what it returns",
		.run = ctl_raw,
	},
	{.name = NULL},
};
