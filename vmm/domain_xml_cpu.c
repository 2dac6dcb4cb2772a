/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A domain's vCPUs and NUMA nodes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/domain_xml_reader.h"

int domain_xml_read_vcpu(struct reader *reader, xmlNode *node)
{
	uint64_t count, current;
	int ret;

	ret = reader_number(reader, node, "string(.)", 1, &count);
	if (!ret)
		ret = reader_number(reader, node, "string(@current)", count, &current);
	if (ret)
		return ret;
	if (current > UINT32_MAX)
		return reader_refuse(reader, node, "too many");
	reader->config->cpus = (unsigned int)current;
	if (current < count)
		reader_pass_over(reader, node, "vCPUs beyond 'current' can't be plugged later");
	if (!reader_is_empty(reader, node, "string(@cpuset)"))
		reader_pass_over(reader, node, "vCPU threads are not bound to CPUs");
	return 0;
}

/* "0-3,^2,5": libvirt's own form. */
static int read_cell_cpus(struct reader *reader, xmlNode *cell, unsigned int node)
{
	char *list = reader_get(reader, cell, "string(@cpus)"), *rest = list, *range;
	uint8_t *cpu_nodes = reader->config->cpu_nodes;
	int ret = list ? 0 : reader_no_memory(reader);

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
			ret = reader_refuse(reader, cell, "its CPUs are no list of vCPUs");
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
		return reader_refuse(reader, cell, "there are at most 8 NUMA nodes");
	snprintf(id, sizeof(id), "%u", node);
	if (!reader_equals(reader, cell, "@id", id))
		return reader_refuse(reader, cell, "nodes are numbered from 0 on, without gaps");
	/* libvirt writes the size as attributes here. */
	if (!reader_equals(reader, cell, "@unit", "KiB"))
		return reader_refuse(reader, cell, "its memory is not in KiB");
	ret = reader_number(reader, cell, "string(@memory)", 0, &config->node_bytes[node]);
	if (ret)
		return ret;
	if (config->node_bytes[node] > UINT64_MAX / 1024)
		return reader_refuse(reader, cell, "its memory is over 64 bits");
	config->node_bytes[node] *= 1024;
	if (reader_equals(reader, cell, "string(@memAccess)", "shared") &&
	    config->backing == GUEST_MM_ANON)
		config->backing = GUEST_MM_MEMFD;
	if (!reader_is_empty(reader, cell, "string(distances/sibling/@id)"))
		reader_pass_over(reader, cell, "the guest hears of no distances between nodes");
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
	int ret = reader_walk(reader, node, rules);

	/* One node is as none, but for the guest's boot: it need not look for others. */
	if (!ret && config->node_count == 1) {
		config->node_count = 0;
		if (config->node_placements[0].numa != GUEST_MM_NUMA_ANY)
			config->placement = config->node_placements[0];
	}
	return ret;
}

static int read_model(struct reader *reader, xmlNode *node)
{
	if (!reader_equals(reader, node, "../@mode", "custom"))
		return 0;
	return reader_pass_over(reader, node, "the guest sees the host's CPU");
}

static int read_topology(struct reader *reader, xmlNode *node)
{
	if (reader_equals(reader, node, "@sockets", "1") &&
	    reader_equals(reader, node, "@threads", "1"))
		return 0;
	return reader_pass_over(reader, node, "vCPUs are cores of one socket");
}

int domain_xml_read_cpu(struct reader *reader, xmlNode *node)
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

	return reader_walk(reader, node, rules);
}
