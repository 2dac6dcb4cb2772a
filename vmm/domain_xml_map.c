/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which element of a domain means what for samara: tables of rules, one per parent element, and a
 * function for each element that takes more than a verdict. An element without a rule is refused.
 * docs/domain-xml.md is the same for people; keep both in step.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libxml/xpath.h>

#include "devices/virtio_mem.h"
#include "vmm/domain_xml_map.h"

/* State of one mapping; one thread's own. */
struct reader {
	xmlXPathContext *xpath;
	struct vm_config *config;
	void (*warn)(const char *text, void *arg);
	void *arg;
	struct samara_error *err;
	unsigned int serials;
};

enum verdict {
	PASS,   /* says nothing that the guest or the user would miss */
	WARN,   /* passed over; the guest runs without it */
	REFUSE, /* the guest would miss it */
	READ,   /* a function decides */
};

/**
 * struct rule - what is done with an element; immutable
 * @why: for WARN and REFUSE, after "passed over: " or "not possible yet: "
 * @read: for READ; returns 0 or -errno with the error set
 */
struct rule {
	const char *name;
	enum verdict verdict;
	const char *why;
	int (*read)(struct reader *reader, xmlNode *node);
};

/* ---- Looking things up ----------------------------------------------------------------------- */

static bool is_element(const xmlNode *node)
{
	return node->type == XML_ELEMENT_NODE;
}

static const char *node_name(const xmlNode *node)
{
	return (const char *)node->name;
}

/* The string value of an XPath expression from @node; to be freed, NULL when out of memory. */
static char *get(struct reader *reader, xmlNode *node, const char *expression)
{
	xmlXPathObject *object;
	xmlChar *text = NULL;

	reader->xpath->node = node;
	object = xmlXPathEvalExpression((const xmlChar *)expression, reader->xpath);
	if (object)
		text = xmlXPathCastToString(object);
	xmlXPathFreeObject(object);
	return (char *)text;
}

static bool equals(struct reader *reader, xmlNode *node, const char *expression, const char *value)
{
	char *text = get(reader, node, expression);
	bool equal = text && !strcmp(text, value);

	free(text);
	return equal;
}

/* Whether the expression finds nothing, or an empty text. */
static bool is_empty(struct reader *reader, xmlNode *node, const char *expression)
{
	return equals(reader, node, expression, "");
}

static int no_memory(struct reader *reader)
{
	return samara_error_set(reader->err, -ENOMEM, "out of memory");
}

/* The text of an element, or NULL in *out where it is absent or empty. */
static int read_string(struct reader *reader, xmlNode *node, const char *expression, char **out)
{
	char *text = get(reader, node, expression);

	if (!text)
		return no_memory(reader);
	if (!*text) {
		free(text);
		text = NULL;
	}
	free(*out);
	*out = text;
	return 0;
}

/* A whole number, @missing where the expression finds nothing. */
static int read_number(struct reader *reader, xmlNode *node, const char *expression,
		       uint64_t missing, uint64_t *out)
{
	char *text = get(reader, node, expression), *end;
	int ret = 0;

	if (!text)
		return no_memory(reader);
	if (!*text) {
		*out = missing;
	} else {
		errno = 0;
		*out = strtoull(text, &end, 10);
		if (errno || *end || *text == '-')
			ret = samara_error_set(reader->err, -EINVAL, "%s: '%.32s' is no number",
					       expression, text);
	}
	free(text);
	return ret;
}

/* A size in bytes; libvirt writes them in KiB. */
static int read_size(struct reader *reader, xmlNode *node, const char *expression, uint64_t missing,
		     uint64_t *out)
{
	char unit[64];
	uint64_t size_kib;
	int ret;

	ret = read_number(reader, node, expression, UINT64_MAX, &size_kib);
	if (ret)
		return ret;
	if (size_kib == UINT64_MAX) {
		*out = missing;
		return 0;
	}
	snprintf(unit, sizeof(unit), "%s/@unit", expression);
	if (!equals(reader, node, unit, "KiB"))
		return samara_error_set(reader->err, -EINVAL, "%s: not in KiB", expression);
	if (size_kib > UINT64_MAX / 1024)
		return samara_error_set(reader->err, -EINVAL, "%s: over 64 bits", expression);
	*out = size_kib * 1024;
	return 0;
}

/* ---- Verdicts -------------------------------------------------------------------------------- */

/* "devices/disk 'vda'": an element as its author would look for it. */
static void describe(struct reader *reader, xmlNode *node, char *text, size_t text_bytes)
{
	const char *parent = node_name(node->parent);
	char *which = get(reader, node,
			  "string((self::disk/target/@dev | @type | @model | @name)[last()])");
	bool top = !strcmp(parent, "domain");

	snprintf(text, text_bytes, "%s%s%s%s%.48s%s", top ? "" : parent, top ? "" : "/",
		 node_name(node), which && *which ? " '" : "", which ? which : "",
		 which && *which ? "'" : "");
	free(which);
}

static int refuse(struct reader *reader, xmlNode *node, const char *why)
{
	char text[128];

	describe(reader, node, text, sizeof(text));
	return samara_error_set(reader->err, -EOPNOTSUPP, "%s: not possible yet: %s", text, why);
}

static int pass_over(struct reader *reader, xmlNode *node, const char *why)
{
	char text[128], line[320];

	if (!reader->warn)
		return 0;
	describe(reader, node, text, sizeof(text));
	snprintf(line, sizeof(line), "%s: passed over: %s", text, why);
	reader->warn(line, reader->arg);
	return 0;
}

static int apply(struct reader *reader, xmlNode *node, const struct rule *rules)
{
	const struct rule *rule;

	for (rule = rules; rule->name; rule++)
		if (!strcmp(rule->name, node_name(node)))
			break;
	switch (rule->verdict) {
	case PASS:
		return 0;
	case WARN:
		return pass_over(reader, node, rule->why);
	case REFUSE:
		return refuse(reader, node, rule->why);
	case READ:
		return rule->read(reader, node);
	}
	return -EINVAL;
}

/* Hold every child element of @parent against @rules. */
static int walk(struct reader *reader, xmlNode *parent, const struct rule *rules)
{
	xmlNode *node;
	int ret;

	for (node = parent->children; node; node = node->next) {
		if (!is_element(node))
			continue;
		ret = apply(reader, node, rules);
		if (ret)
			return ret;
	}
	return 0;
}

#define OTHERWISE                                             \
	{                                                     \
		NULL, REFUSE, "samara does not know it", NULL \
	}

/* ---- Memory ---------------------------------------------------------------------------------- */

/* What libvirt counts as the domain's memory includes its memory devices; RAM at start does not. */
static int subtract_devices(struct reader *reader, xmlNode *domain)
{
	struct vm_config *config = reader->config;
	xmlNode *devices, *device;
	uint64_t size_bytes;
	int ret = 0;

	for (devices = domain->children; devices; devices = devices->next) {
		if (!is_element(devices) || strcmp(node_name(devices), "devices"))
			continue;
		for (device = devices->children; !ret && device; device = device->next) {
			if (!is_element(device) || strcmp(node_name(device), "memory"))
				continue;
			ret = read_size(reader, device, "target/size", 0, &size_bytes);
			if (!ret && size_bytes >= config->memory_bytes)
				ret = refuse(reader, device, "it leaves no memory at start");
			if (ret)
				break;
			config->memory_bytes -= size_bytes;
			/* These have a place beside what DIMMs share. */
			if (equals(reader, device, "@model", "virtio-mem"))
				config->max_memory_bytes -= size_bytes;
		}
	}
	return ret;
}

static bool has_balloon(struct reader *reader, xmlNode *domain)
{
	return !is_empty(reader, domain, "string(devices/memballoon/@model)") &&
	       !equals(reader, domain, "devices/memballoon/@model", "none");
}

static int read_memory(struct reader *reader, xmlNode *node)
{
	struct vm_config *config = reader->config;
	uint64_t current_bytes, slots;
	int ret;

	ret = read_size(reader, node->parent, "memory", 0, &config->memory_bytes);
	if (!ret)
		ret = read_size(reader, node->parent, "maxMemory", config->memory_bytes,
				&config->max_memory_bytes);
	if (!ret)
		ret = read_number(reader, node->parent, "string(maxMemory/@slots)", 0, &slots);
	if (!ret)
		config->memory_slots = slots > VM_MAX_DIMMS ? VM_MAX_DIMMS : (unsigned int)slots;
	if (!ret && slots > VM_MAX_DIMMS)
		pass_over(reader, node, "maxMemory has more slots than the 32 there can be");
	if (!ret)
		ret = read_size(reader, node->parent, "currentMemory", config->memory_bytes,
				&current_bytes);
	/* With memory devices it says how much of them is plugged, which they say themselves. */
	if (!ret && current_bytes < config->memory_bytes &&
	    is_empty(reader, node->parent, "devices/memory/@model")) {
		if (!has_balloon(reader, node->parent))
			return pass_over(reader, node,
					 "currentMemory is less, and there is no balloon: the "
					 "guest gets all of it");
		config->balloon.left_bytes = current_bytes;
	}
	return ret ? ret : subtract_devices(reader, node->parent);
}

static int read_source(struct reader *reader, xmlNode *node)
{
	if (equals(reader, node, "@type", "memfd"))
		reader->config->backing = GUEST_MM_MEMFD;
	else if (!equals(reader, node, "@type", "anonymous"))
		return refuse(reader, node, "guest memory is anonymous or a memfd");
	return 0;
}

static int read_access(struct reader *reader, xmlNode *node)
{
	if (!equals(reader, node, "@mode", "shared"))
		return 0;
	if (equals(reader, node, "../source/@type", "anonymous"))
		return refuse(reader, node,
			      "anonymous memory can't be shared; source is to be memfd");
	reader->config->backing = GUEST_MM_MEMFD;
	return 0;
}

static int read_allocation(struct reader *reader, xmlNode *node)
{
	if (equals(reader, node, "@mode", "immediate"))
		return pass_over(reader, node,
				 "memory is allocated as the guest touches it (samara ctl populate "
				 "does it at once)");
	return 0;
}

static int read_memory_backing(struct reader *reader, xmlNode *node)
{
	static const struct rule rules[] = {
		{"hugepages", REFUSE, "guest memory is on pages of 4 KiB", NULL},
		{"locked", REFUSE, "guest memory is not locked", NULL},
		{"nosharepages", PASS, NULL, NULL}, /* samara never asks for KSM */
		{"source", READ, NULL, read_source},
		{"access", READ, NULL, read_access},
		{"allocation", READ, NULL, read_allocation},
		{"discard", PASS, NULL, NULL}, /* gone with the process anyway */
		OTHERWISE,
	};

	return walk(reader, node, rules);
}

/* ---- CPUs ------------------------------------------------------------------------------------ */

static int read_vcpu(struct reader *reader, xmlNode *node)
{
	uint64_t count, current;
	int ret;

	ret = read_number(reader, node, "string(.)", 1, &count);
	if (!ret)
		ret = read_number(reader, node, "string(@current)", count, &current);
	if (ret)
		return ret;
	if (current > UINT32_MAX)
		return refuse(reader, node, "too many");
	reader->config->cpus = (unsigned int)current;
	if (current < count)
		pass_over(reader, node, "vCPUs beyond 'current' can't be plugged later");
	if (!is_empty(reader, node, "string(@cpuset)"))
		pass_over(reader, node, "vCPU threads are not bound to CPUs");
	return 0;
}

/* "0-3,^2,5": libvirt's own form. */
static int read_cell_cpus(struct reader *reader, xmlNode *cell, unsigned int node)
{
	char *list = get(reader, cell, "string(@cpus)"), *rest = list, *range;
	uint8_t *cpu_nodes = reader->config->cpu_nodes;
	int ret = list ? 0 : no_memory(reader);

	while (!ret && (range = strsep(&rest, ","))) {
		bool except = *range == '^';
		char *end;
		unsigned long first, last;

		if (!*range)
			continue;
		first = last = strtoul(range + except, &end, 10);
		if (*end == '-')
			last = strtoul(end + 1, &end, 10);
		if (*end || last >= VM_MAX_CPUS)
			ret = refuse(reader, cell, "its CPUs are no list of vCPUs");
		for (; !ret && first <= last; first++)
			cpu_nodes[first] = except ? 0 : (uint8_t)node;
	}
	free(list);
	return ret;
}

static int read_cell(struct reader *reader, xmlNode *cell)
{
	struct vm_config *config = reader->config;
	unsigned int node = config->node_count;
	char id[16];
	int ret;

	if (node == VM_MAX_NODES)
		return refuse(reader, cell, "there are at most 8 NUMA nodes");
	snprintf(id, sizeof(id), "%u", node);
	if (!equals(reader, cell, "@id", id))
		return refuse(reader, cell, "nodes are numbered from 0 on, without gaps");
	/* libvirt writes the size as attributes here. */
	if (!equals(reader, cell, "@unit", "KiB"))
		return refuse(reader, cell, "its memory is not in KiB");
	ret = read_number(reader, cell, "string(@memory)", 0, &config->node_bytes[node]);
	if (ret)
		return ret;
	if (config->node_bytes[node] > UINT64_MAX / 1024)
		return refuse(reader, cell, "its memory is over 64 bits");
	config->node_bytes[node] *= 1024;
	if (equals(reader, cell, "string(@memAccess)", "shared"))
		config->backing = GUEST_MM_MEMFD;
	if (!is_empty(reader, cell, "string(distances/sibling/@id)"))
		pass_over(reader, cell, "the guest hears of no distances between nodes");
	config->node_count++;
	return read_cell_cpus(reader, cell, node);
}

static int read_numa(struct reader *reader, xmlNode *node)
{
	static const struct rule rules[] = {
		{"cell", READ, NULL, read_cell},
		{"interconnects", WARN, "the guest hears of no latencies between nodes", NULL},
		OTHERWISE,
	};
	struct vm_config *config = reader->config;
	int ret = walk(reader, node, rules);

	/* One node is as none, but for the guest's boot: it need not look for others. */
	if (!ret && config->node_count == 1)
		config->node_count = 0;
	return ret;
}

static int read_model(struct reader *reader, xmlNode *node)
{
	if (!equals(reader, node, "../@mode", "custom"))
		return 0;
	return pass_over(reader, node, "the guest sees the host's CPU");
}

static int read_topology(struct reader *reader, xmlNode *node)
{
	if (equals(reader, node, "@sockets", "1") && equals(reader, node, "@threads", "1"))
		return 0;
	return pass_over(reader, node, "vCPUs are cores of one socket");
}

static int read_cpu(struct reader *reader, xmlNode *node)
{
	static const struct rule rules[] = {
		{"model", READ, NULL, read_model},
		{"vendor", WARN, "the guest sees the host's CPU", NULL},
		{"topology", READ, NULL, read_topology},
		{"cache", WARN, "the guest sees the host's caches", NULL},
		{"feature", WARN, "the guest sees the features that KVM offers on this host", NULL},
		{"maxphysaddr", WARN, "the guest sees the host's address width", NULL},
		{"numa", READ, NULL, read_numa},
		OTHERWISE,
	};

	return walk(reader, node, rules);
}

/* ---- Booting --------------------------------------------------------------------------------- */

static int read_os_type(struct reader *reader, xmlNode *node)
{
	if (!equals(reader, node, "string(.)", "hvm"))
		return refuse(reader, node, "only 'hvm' is");
	if (!equals(reader, node, "@arch", "x86_64")) {
		char why[96], *arch = get(reader, node, "string(@arch)");

		snprintf(why, sizeof(why), "the guest is to be x86_64, not %.32s",
			 arch ? arch : "?");
		free(arch);
		return refuse(reader, node, why);
	}
	return 0;
}

static int read_os(struct reader *reader, xmlNode *node)
{
	static const struct rule rules[] = {
		{"type", READ, NULL, read_os_type},
		{"kernel", PASS, NULL, NULL}, /* these three are read below */
		{"initrd", PASS, NULL, NULL},
		{"cmdline", PASS, NULL, NULL},
		{"boot", PASS, NULL,
		 NULL}, /* libvirt adds it; a kernel that is named comes first */
		{"bootmenu", PASS, NULL, NULL},
		{"bios", PASS, NULL, NULL}, /* there is none */
		{"smbios", WARN, "the guest finds no SMBIOS tables", NULL},
		{"loader", REFUSE, "there is no firmware", NULL},
		{"nvram", REFUSE, "there is no firmware", NULL},
		{"firmware", REFUSE, "there is no firmware", NULL},
		{"acpi", REFUSE, "samara makes the ACPI tables itself", NULL},
		{"dtb", REFUSE, "an x86 guest takes no device tree", NULL},
		OTHERWISE,
	};
	struct vm_config *config = reader->config;
	int ret;

	if (!is_empty(reader, node, "string(@firmware)"))
		return refuse(reader, node, "there is no firmware");
	ret = walk(reader, node, rules);
	if (!ret)
		ret = read_string(reader, node, "string(kernel)", &config->kernel);
	if (!ret)
		ret = read_string(reader, node, "string(initrd)", &config->initrd);
	if (!ret)
		ret = read_string(reader, node, "string(cmdline)", &config->cmdline);
	if (!ret && !config->kernel)
		ret = samara_error_set(
			reader->err, -EOPNOTSUPP,
			"os: not possible yet: booting from a disk; name a <kernel>");
	return ret;
}

/* ---- What happens at the end ----------------------------------------------------------------- */

static int read_on_poweroff(struct reader *reader, xmlNode *node)
{
	if (equals(reader, node, "string(.)", "destroy"))
		return 0;
	return refuse(reader, node, "samara ends when the guest powers off; only 'destroy' is");
}

static int read_on_reboot(struct reader *reader, xmlNode *node)
{
	if (equals(reader, node, "string(.)", "destroy"))
		reader->config->no_reboot = true;
	else if (!equals(reader, node, "string(.)", "restart"))
		return refuse(reader, node, "only 'restart' and 'destroy' are");
	return 0;
}

static int read_on_crash(struct reader *reader, xmlNode *node)
{
	if (equals(reader, node, "string(.)", "destroy"))
		return 0;
	return pass_over(reader, node, "a guest that can't go on ends samara");
}

/* ---- Features and time ----------------------------------------------------------------------- */

static int read_feature(struct reader *reader, xmlNode *node)
{
	if (equals(reader, node, "@state", "off"))
		return 0;
	return pass_over(reader, node, "samara has no switch for it");
}

static int read_features(struct reader *reader, xmlNode *parent)
{
	/* These are there anyway. */
	static const struct rule rules[] = {
		{"acpi", PASS, NULL, NULL},
		{"apic", PASS, NULL, NULL},
		{"pae", PASS, NULL, NULL},
		{NULL, READ, NULL, read_feature},
	};

	return walk(reader, parent, rules);
}

static int read_timer(struct reader *reader, xmlNode *node)
{
	/* virt-manager writes rtc, pit and hpet='no' into every domain. */
	if (equals(reader, node, "@present", "no") || equals(reader, node, "@name", "rtc") ||
	    equals(reader, node, "@name", "pit") || equals(reader, node, "@name", "kvmclock"))
		return 0;
	return pass_over(reader, node, "the guest has the timers that KVM offers");
}

static int read_clock(struct reader *reader, xmlNode *node)
{
	static const struct rule rules[] = {
		{"timer", READ, NULL, read_timer},
		OTHERWISE,
	};

	if (!equals(reader, node, "@offset", "utc"))
		pass_over(reader, node, "the guest's clock starts with UTC");
	return walk(reader, node, rules);
}

static int read_pm(struct reader *reader, xmlNode *node)
{
	if (equals(reader, node, "string(count(*[@enabled='yes']))", "0"))
		return 0;
	return pass_over(reader, node, "the guest can't be suspended to memory or disk");
}

/* ---- Devices --------------------------------------------------------------------------------- */

static int read_chardev(struct reader *reader, xmlNode *node)
{
	struct chardev_config *serial = &reader->config->serial;

	if (equals(reader, node, "@type", "pty")) {
		serial->kind = CHARDEV_PTY;
	} else if (equals(reader, node, "@type", "stdio")) {
		serial->kind = CHARDEV_STDIO;
	} else if (equals(reader, node, "@type", "null")) {
		serial->kind = CHARDEV_NULL;
	} else if (equals(reader, node, "@type", "file")) {
		serial->kind = CHARDEV_FILE;
		if (equals(reader, node, "source/@append", "on"))
			return refuse(reader, node, "the file is written anew, not appended to");
		return read_string(reader, node, "string(source/@path)", &serial->path);
	} else {
		return refuse(reader, node, "a serial port goes to pty, stdio, file or null");
	}
	return 0;
}

static int read_serial(struct reader *reader, xmlNode *node)
{
	static const char *const isa = "isa-serial";

	if (reader->serials++)
		return refuse(reader, node, "there is one serial port");
	if (!is_empty(reader, node, "string(target/@type)") &&
	    !equals(reader, node, "target/@type", isa) &&
	    !equals(reader, node, "target/@type", "serial"))
		return refuse(reader, node, "the serial port is an ISA one");
	if (!is_empty(reader, node, "string(target/@port)") &&
	    !equals(reader, node, "target/@port", "0"))
		return refuse(reader, node, "the serial port is number 0");
	if (!is_empty(reader, node, "string(log/@file)"))
		pass_over(reader, node, "its output is not logged besides");
	return read_chardev(reader, node);
}

/* A console on the serial port is libvirt's second name for that port. */
static int read_console(struct reader *reader, xmlNode *node)
{
	if (!is_empty(reader, node, "string(target/@type)") &&
	    !equals(reader, node, "target/@type", "serial"))
		return refuse(reader, node, "a console is on the serial port");
	if (!is_empty(reader, node, "string(../serial/@type)"))
		return 0;
	return read_serial(reader, node);
}

static int read_disk(struct reader *reader, xmlNode *node)
{
	bool has_medium = !equals(reader, node, "string(count(source))", "0");

	if (!has_medium &&
	    (equals(reader, node, "@device", "cdrom") || equals(reader, node, "@device", "floppy")))
		return pass_over(reader, node, "a drive without a medium");
	return refuse(reader, node, "there are no disks");
}

static int read_controller(struct reader *reader, xmlNode *node)
{
	/* libvirt adds these by itself; without a device on one nothing is missed. */
	static const char *const implied[] = {"pci", "usb",  "ide",           "sata",
					      "fdc", "scsi", "virtio-serial", NULL};
	unsigned int i;

	for (i = 0; implied[i]; i++)
		if (equals(reader, node, "@type", implied[i]))
			return 0;
	return pass_over(reader, node, "there is nothing to connect to it");
}

static int read_input(struct reader *reader, xmlNode *node)
{
	/* libvirt adds a PS/2 mouse and keyboard to every domain with graphics. */
	if (equals(reader, node, "@bus", "ps2") || equals(reader, node, "@bus", "usb") ||
	    equals(reader, node, "@bus", "virtio"))
		return 0;
	return refuse(reader, node, "input devices of the host are not handed on");
}

static int read_video(struct reader *reader, xmlNode *node)
{
	if (equals(reader, node, "model/@type", "none"))
		return 0;
	return pass_over(reader, node, "there is no display; the console is on the serial port");
}

static int read_audio(struct reader *reader, xmlNode *node)
{
	if (equals(reader, node, "@type", "none"))
		return 0;
	return pass_over(reader, node, "there is no sound");
}

static int read_dimm(struct reader *reader, xmlNode *node)
{
	struct vm_config *config = reader->config;
	struct dimm_config dimm = {0};
	char *alias = NULL;
	uint64_t number;
	int ret;

	if (config->dimm_count == VM_MAX_DIMMS)
		return refuse(reader, node, "there are at most 32 DIMMs");
	ret = read_size(reader, node, "target/size", 0, &dimm.size_bytes);
	if (!ret)
		ret = read_number(reader, node, "string(target/node)", 0, &number);
	if (!ret && number >= VM_MAX_NODES)
		return refuse(reader, node, "there is no such NUMA node");
	if (!ret)
		ret = read_string(reader, node, "string(alias/@name)", &alias);
	if (ret)
		return ret;
	dimm.node = (uint32_t)number;
	dimm.id = alias;
	config->dimms[config->dimm_count++] = dimm;
	return 0;
}

/* As libvirt names them, when they have no alias. */
static int name_virtio_mem(struct reader *reader, xmlNode *node, struct virtio_mem_options *mem)
{
	int ret = read_string(reader, node, "string(alias/@name)", &mem->id);

	if (ret || mem->id)
		return ret;
	if (asprintf(&mem->id, "virtiomem%u", reader->config->virtio_mem_count) >= 0)
		return 0;
	mem->id = NULL;
	return no_memory(reader);
}

static int read_virtio_mem(struct reader *reader, xmlNode *node)
{
	struct vm_config *config = reader->config;
	struct virtio_mem_options mem = {.node = VIRTIO_MEM_NO_NODE, .packed = true};
	uint64_t number;
	int ret;

	ret = read_size(reader, node, "target/size", 0, &mem.size_bytes);
	if (!ret)
		ret = read_size(reader, node, "target/block", VIRTIO_MEM_MIN_BLOCK_BYTES,
				&mem.block_bytes);
	if (!ret)
		ret = read_size(reader, node, "target/requested", 0, &mem.requested_bytes);
	if (!ret)
		ret = read_number(reader, node, "string(target/node)", 0, &number);
	if (!ret && number >= VM_MAX_NODES)
		return refuse(reader, node, "there is no such NUMA node");
	if (!ret && !is_empty(reader, node, "string(target/address/@base)"))
		pass_over(reader, node, "samara chooses its address");
	if (!ret)
		ret = name_virtio_mem(reader, node, &mem);
	if (ret)
		return ret;
	/* One node is as none. */
	if (config->node_count)
		mem.node = (int)number;
	ret = add_virtio_mem(config, &mem, reader->err);
	if (ret)
		free(mem.id);
	return ret;
}

static int read_memory_device(struct reader *reader, xmlNode *node)
{
	if (!is_empty(reader, node, "string(source/pagesize)"))
		return refuse(reader, node, "guest memory is on pages of 4 KiB");
	if (!is_empty(reader, node, "string(source/nodemask)"))
		pass_over(reader, node, "memory comes from the NUMA nodes that the host chooses");
	if (equals(reader, node, "@model", "dimm"))
		return read_dimm(reader, node);
	if (equals(reader, node, "@model", "virtio-mem"))
		return read_virtio_mem(reader, node);
	return refuse(reader, node, "a memory device is a dimm or a virtio-mem");
}

static int read_balloon(struct reader *reader, xmlNode *node)
{
	struct balloon_options *balloon = &reader->config->balloon;
	uint64_t period_s;
	int ret;

	if (equals(reader, node, "@model", "none"))
		return 0;
	if (!equals(reader, node, "@model", "virtio"))
		return refuse(reader, node, "a balloon is virtio");
	ret = read_number(reader, node, "string(stats/@period)", 0, &period_s);
	if (ret)
		return ret;
	if (period_s > UINT32_MAX)
		return refuse(reader, node, "its period is too long");
	/* What is not named is as --balloon has it. */
	balloon->present = true;
	balloon->deflate_on_oom = !equals(reader, node, "@autodeflate", "off");
	balloon->reporting = !equals(reader, node, "@freePageReporting", "off");
	balloon->packed = !equals(reader, node, "driver/@packed", "off");
	balloon->stats_period_s = (unsigned int)period_s;
	return 0;
}

static int read_devices(struct reader *reader, xmlNode *node)
{
	static const struct rule rules[] = {
		{"emulator", PASS, NULL, NULL}, /* samara is it */
		{"memballoon", READ, NULL, read_balloon},
		{"controller", READ, NULL, read_controller},
		{"serial", READ, NULL, read_serial},
		{"console", READ, NULL, read_console},
		{"disk", READ, NULL, read_disk},
		{"input", READ, NULL, read_input},
		{"video", READ, NULL, read_video},
		{"audio", READ, NULL, read_audio},
		{"sound", WARN, "there is no sound", NULL},
		{"hub", WARN, "there is no USB", NULL},
		{"redirdev", WARN, "there is no USB", NULL},
		{"redirfilter", PASS, NULL, NULL},
		{"channel", WARN, "there is no channel to the host, so no guest agent", NULL},
		{"rng", WARN, "the guest takes its entropy from the CPU", NULL},
		{"watchdog", WARN, "nobody acts when the guest hangs", NULL},
		{"panic", WARN, "a panic of the guest is not reported", NULL},
		{"memory", READ, NULL, read_memory_device},
		{"interface", REFUSE, "there is no network", NULL},
		{"graphics", REFUSE, "there is no display", NULL},
		{"hostdev", REFUSE, "devices of the host are not handed on", NULL},
		{"filesystem", REFUSE, "no folders are shared", NULL},
		{"tpm", REFUSE, "there is no TPM", NULL},
		{"vsock", REFUSE, "there is no vsock", NULL},
		{"shmem", REFUSE, "there is no shared memory device", NULL},
		{"iommu", REFUSE, "there is no IOMMU", NULL},
		{"smartcard", REFUSE, "there is no smartcard", NULL},
		{"crypto", REFUSE, "there is no crypto device", NULL},
		{"parallel", REFUSE, "there is no parallel port", NULL},
		{"nvram", REFUSE, "there is no NVRAM", NULL},
		{"lease", REFUSE, "locks of storage are not taken", NULL},
		OTHERWISE,
	};

	return walk(reader, node, rules);
}

/* ---- The domain ------------------------------------------------------------------------------ */

static int read_seclabel(struct reader *reader, xmlNode *node)
{
	if (equals(reader, node, "@type", "none") || equals(reader, node, "@model", "none"))
		return 0;
	return pass_over(reader, node, "samara runs with the label it was started with");
}

static int read_name(struct reader *reader, xmlNode *node)
{
	return read_string(reader, node, "string(.)", &reader->config->name);
}

static const struct rule domain_rules[] = {
	{"name", READ, NULL, read_name},
	{"uuid", PASS, NULL, NULL},
	{"title", PASS, NULL, NULL},
	{"description", PASS, NULL, NULL},
	{"metadata", PASS, NULL, NULL},
	{"memory", READ, NULL, read_memory},
	{"maxMemory", PASS, NULL, NULL}, /* read with memory */
	{"currentMemory", PASS, NULL, NULL},
	{"memoryBacking", READ, NULL, read_memory_backing},
	{"vcpu", READ, NULL, read_vcpu},
	{"vcpus", WARN, "vCPUs can't be plugged later", NULL},
	{"cpu", READ, NULL, read_cpu},
	{"os", READ, NULL, read_os},
	{"features", READ, NULL, read_features},
	{"clock", READ, NULL, read_clock},
	{"pm", READ, NULL, read_pm},
	{"on_poweroff", READ, NULL, read_on_poweroff},
	{"on_reboot", READ, NULL, read_on_reboot},
	{"on_crash", READ, NULL, read_on_crash},
	{"on_lockfailure", PASS, NULL, NULL}, /* no locks are taken */
	{"devices", READ, NULL, read_devices},
	{"seclabel", READ, NULL, read_seclabel},
	/* Limits and placement on the host: the guest runs the same without. */
	{"iothreads", WARN, "there are no I/O threads to set", NULL},
	{"iothreadids", WARN, "there are no I/O threads to set", NULL},
	{"defaultiothread", WARN, "there are no I/O threads to set", NULL},
	{"cputune", WARN, "threads are scheduled as the host does", NULL},
	{"numatune", WARN, "memory comes from the NUMA nodes that the host chooses", NULL},
	{"memtune", WARN, "no limit on memory is set", NULL},
	{"blkiotune", WARN, "no limit on disk access is set", NULL},
	{"resource", WARN, "no cgroup is made", NULL},
	{"perf", WARN, "no performance events are counted", NULL},
	{"sysinfo", WARN, "the guest finds no SMBIOS tables", NULL},
	{"genid", WARN, "the guest finds no generation id", NULL},
	{"launchSecurity", REFUSE, "the guest's memory is not hidden from the host", NULL},
	{"keywrap", REFUSE, "that is for s390", NULL},
	{"idmap", REFUSE, "that is for containers", NULL},
	{"bootloader", REFUSE, "that is for Xen", NULL},
	OTHERWISE,
};

static int map_root(struct reader *reader, xmlNode *root)
{
	char *type;

	if (!root || strcmp(node_name(root), "domain"))
		return samara_error_set(reader->err, -EINVAL, "not a domain");
	if (!equals(reader, root, "@type", "kvm")) {
		type = get(reader, root, "string(@type)");
		samara_error_set(
			reader->err, -EOPNOTSUPP,
			"domain type '%.32s': not possible: samara runs on KVM, type='kvm'",
			type ? type : "?");
		free(type);
		return -EOPNOTSUPP;
	}
	return walk(reader, root, domain_rules);
}

int domain_xml_map(xmlDoc *document, struct vm_config *config,
		   void (*warn)(const char *text, void *arg), void *arg, struct samara_error *err)
{
	struct reader reader = {.config = config, .warn = warn, .arg = arg, .err = err};
	int ret;

	reader.xpath = xmlXPathNewContext(document);
	if (!reader.xpath)
		return no_memory(&reader);
	/* What a domain does not name: no serial port, and anonymous memory. */
	config->serial.kind = CHARDEV_NULL;
	config->backing = GUEST_MM_ANON;
	ret = map_root(&reader, xmlDocGetRootElement(document));
	xmlXPathFreeContext(reader.xpath);
	return ret;
}

int domain_xml_check_foreign(xmlDoc *document, struct samara_error *err)
{
	xmlNode *root = xmlDocGetRootElement(document), *node;

	for (node = root ? root->children : NULL; node; node = node->next)
		if (is_element(node) && node->ns)
			return samara_error_set(err, -EOPNOTSUPP,
						"%s:%s: not possible: it is for another hypervisor",
						node->ns->prefix ? (const char *)node->ns->prefix
								 : "",
						node_name(node));
	return 0;
}
