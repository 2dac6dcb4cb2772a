/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A domain, element by element: how it boots, what happens at its end, features and time. Its memory,
 * vCPUs and devices have files of their own. docs/domain-xml.md is the same for people; keep both in
 * step.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/domain_xml_reader.h"

/* ---- Booting --------------------------------------------------------------------------------- */

static int read_os_type(struct reader *reader, xmlNode *node)
{
	if (!reader_equals(reader, node, "string(.)", "hvm"))
		return reader_refuse(reader, node, "only 'hvm' is");
	if (!reader_equals(reader, node, "@arch", "x86_64")) {
		char why[96], *arch = reader_get(reader, node, "string(@arch)");

		snprintf(why, sizeof(why), "the guest is to be x86_64, not %.32s",
			 arch ? arch : "?");
		free(arch);
		return reader_refuse(reader, node, why);
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

	if (!reader_is_empty(reader, node, "string(@firmware)"))
		return reader_refuse(reader, node, "there is no firmware");
	ret = reader_walk(reader, node, rules);
	if (!ret)
		ret = reader_string(reader, node, "string(kernel)", &config->kernel);
	if (!ret)
		ret = reader_string(reader, node, "string(initrd)", &config->initrd);
	if (!ret)
		ret = reader_string(reader, node, "string(cmdline)", &config->cmdline);
	if (!ret && !config->kernel)
		ret = samara_error_set(
			reader->err, -EOPNOTSUPP,
			"os: not possible yet: booting from a disk; name a <kernel>");
	return ret;
}

/* ---- What happens at the end ----------------------------------------------------------------- */

static int read_on_poweroff(struct reader *reader, xmlNode *node)
{
	if (reader_equals(reader, node, "string(.)", "destroy"))
		return 0;
	return reader_refuse(reader, node,
			     "samara ends when the guest powers off; only 'destroy' is");
}

static int read_on_reboot(struct reader *reader, xmlNode *node)
{
	if (reader_equals(reader, node, "string(.)", "destroy"))
		reader->config->no_reboot = true;
	else if (!reader_equals(reader, node, "string(.)", "restart"))
		return reader_refuse(reader, node, "only 'restart' and 'destroy' are");
	return 0;
}

static int read_on_crash(struct reader *reader, xmlNode *node)
{
	if (reader_equals(reader, node, "string(.)", "destroy"))
		return 0;
	return reader_pass_over(reader, node, "a guest that can't go on ends samara");
}

/* ---- Features and time ----------------------------------------------------------------------- */

static int read_feature(struct reader *reader, xmlNode *node)
{
	if (reader_equals(reader, node, "@state", "off"))
		return 0;
	return reader_pass_over(reader, node, "samara has no switch for it");
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

	return reader_walk(reader, parent, rules);
}

static int read_timer(struct reader *reader, xmlNode *node)
{
	/* virt-manager writes rtc, pit and hpet='no' into every domain. */
	if (reader_equals(reader, node, "@present", "no") ||
	    reader_equals(reader, node, "@name", "rtc") ||
	    reader_equals(reader, node, "@name", "pit") ||
	    reader_equals(reader, node, "@name", "kvmclock"))
		return 0;
	return reader_pass_over(reader, node, "the guest has the timers that KVM offers");
}

static int read_clock(struct reader *reader, xmlNode *node)
{
	static const struct rule rules[] = {
		{"timer", READ, NULL, read_timer},
		OTHERWISE,
	};

	if (!reader_equals(reader, node, "@offset", "utc"))
		reader_pass_over(reader, node, "the guest's clock starts with UTC");
	return reader_walk(reader, node, rules);
}

static int read_pm(struct reader *reader, xmlNode *node)
{
	if (reader_equals(reader, node, "string(count(*[@enabled='yes']))", "0"))
		return 0;
	return reader_pass_over(reader, node, "the guest can't be suspended to memory or disk");
}

/* ---- The domain ------------------------------------------------------------------------------ */

static int read_seclabel(struct reader *reader, xmlNode *node)
{
	if (reader_equals(reader, node, "@type", "none") ||
	    reader_equals(reader, node, "@model", "none"))
		return 0;
	return reader_pass_over(reader, node, "samara runs with the label it was started with");
}

static int read_name(struct reader *reader, xmlNode *node)
{
	return reader_string(reader, node, "string(.)", &reader->config->name);
}

static const struct rule domain_rules[] = {
	{"name", READ, NULL, read_name},
	{"uuid", PASS, NULL, NULL},
	{"title", PASS, NULL, NULL},
	{"description", PASS, NULL, NULL},
	{"metadata", PASS, NULL, NULL},
	{"memory", READ, NULL, domain_xml_read_memory},
	{"maxMemory", PASS, NULL, NULL}, /* read with memory */
	{"currentMemory", PASS, NULL, NULL},
	{"memoryBacking", READ, NULL, domain_xml_read_backing},
	{"vcpu", READ, NULL, domain_xml_read_vcpu},
	{"vcpus", WARN, "vCPUs can't be plugged later", NULL},
	{"cpu", READ, NULL, domain_xml_read_cpu},
	{"os", READ, NULL, read_os},
	{"features", READ, NULL, read_features},
	{"clock", READ, NULL, read_clock},
	{"pm", READ, NULL, read_pm},
	{"on_poweroff", READ, NULL, read_on_poweroff},
	{"on_reboot", READ, NULL, read_on_reboot},
	{"on_crash", READ, NULL, read_on_crash},
	{"on_lockfailure", PASS, NULL, NULL}, /* no locks are taken */
	{"devices", READ, NULL, domain_xml_read_devices},
	{"seclabel", READ, NULL, read_seclabel},
	/* Limits and placement on the host: the guest runs the same without. */
	{"iothreads", WARN, "there are no I/O threads to set", NULL},
	{"iothreadids", WARN, "there are no I/O threads to set", NULL},
	{"defaultiothread", WARN, "there are no I/O threads to set", NULL},
	{"cputune", WARN, "threads are scheduled as the host does", NULL},
	{"numatune", READ, NULL, domain_xml_read_numatune},
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
	if (!reader_equals(reader, root, "@type", "kvm")) {
		type = reader_get(reader, root, "string(@type)");
		samara_error_set(
			reader->err, -EOPNOTSUPP,
			"domain type '%.32s': not possible: samara runs on KVM, type='kvm'",
			type ? type : "?");
		free(type);
		return -EOPNOTSUPP;
	}
	return reader_walk(reader, root, domain_rules);
}

int domain_xml_map(xmlDoc *document, struct vm_config *config,
		   void (*warn)(const char *text, void *arg), void *arg, struct samara_error *err)
{
	struct reader reader = {.config = config, .warn = warn, .arg = arg, .err = err};
	int ret;

	reader.xpath = xmlXPathNewContext(document);
	if (!reader.xpath)
		return reader_no_memory(&reader);
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
