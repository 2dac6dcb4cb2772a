/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A domain's memory: how much, what is behind it, and the devices that bring and take it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/virtio_mem.h"
#include "vmm/domain_xml_reader.h"

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
			ret = reader_size(reader, device, "target/size", 0, &size_bytes);
			if (!ret && size_bytes >= config->memory_bytes)
				ret = reader_refuse(reader, device, "it leaves no memory at start");
			if (ret)
				break;
			config->memory_bytes -= size_bytes;
			/* These have a place beside what DIMMs share. */
			if (reader_equals(reader, device, "@model", "virtio-mem"))
				config->max_memory_bytes -= size_bytes;
		}
	}
	return ret;
}

static bool has_balloon(struct reader *reader, xmlNode *domain)
{
	return !reader_is_empty(reader, domain, "string(devices/memballoon/@model)") &&
	       !reader_equals(reader, domain, "devices/memballoon/@model", "none");
}

int domain_xml_read_memory(struct reader *reader, xmlNode *node)
{
	struct vm_config *config = reader->config;
	uint64_t current_bytes, slots;
	int ret;

	ret = reader_size(reader, node->parent, "memory", 0, &config->memory_bytes);
	if (!ret)
		ret = reader_size(reader, node->parent, "maxMemory", config->memory_bytes,
				  &config->max_memory_bytes);
	if (!ret)
		ret = reader_number(reader, node->parent, "string(maxMemory/@slots)", 0, &slots);
	if (!ret)
		config->memory_slots = slots > VM_MAX_DIMMS ? VM_MAX_DIMMS : (unsigned int)slots;
	if (!ret && slots > VM_MAX_DIMMS)
		reader_pass_over(reader, node, "maxMemory has more slots than the 32 there can be");
	if (!ret)
		ret = reader_size(reader, node->parent, "currentMemory", config->memory_bytes,
				  &current_bytes);
	/* With memory devices it says how much of them is plugged, which they say themselves. */
	if (!ret && current_bytes < config->memory_bytes &&
	    reader_is_empty(reader, node->parent, "devices/memory/@model")) {
		if (!has_balloon(reader, node->parent))
			return reader_pass_over(
				reader, node,
				"currentMemory is less, and there is no balloon: the "
				"guest gets all of it");
		config->balloon.left_bytes = current_bytes;
	}
	return ret ? ret : subtract_devices(reader, node->parent);
}

/* A memfd or a file; what it is of and who may map it, hugepages and access say. */
static int read_source(struct reader *reader, xmlNode *node)
{
	if (reader->config->backing == GUEST_MM_HUGETLB)
		return 0; /* a memfd of huge pages, whatever it is to be */
	if (reader_equals(reader, node, "@type", "memfd"))
		reader->config->backing = GUEST_MM_MEMFD;
	else if (reader_equals(reader, node, "@type", "file"))
		return reader_pass_over(reader, node,
					"libvirt names no file, so memory is a memfd where access "
					"is shared, else anonymous; --memory ...,backing=file,"
					"path=FILE names one");
	return 0;
}

/* A <page> is the size for some nodes, or for all that have none of their own. */
static int read_page(struct reader *reader, xmlNode *node)
{
	if (!reader_equals(reader, node, "string(@size)", "2048"))
		return reader_refuse(reader, node, "huge pages are of 2 MiB");
	if (!reader_is_empty(reader, node, "string(@nodeset)"))
		return reader_refuse(reader, node, "either all memory is of huge pages or none");
	return 0;
}

static int read_huge_pages(struct reader *reader, xmlNode *node)
{
	static const struct rule rules[] = {
		{"page", READ, NULL, read_page},
		OTHERWISE,
	};
	int ret = reader_walk(reader, node, rules);

	if (!ret)
		reader->config->backing = GUEST_MM_HUGETLB;
	return ret;
}

static int read_access(struct reader *reader, xmlNode *node)
{
	if (!reader_equals(reader, node, "@mode", "shared") ||
	    reader->config->backing == GUEST_MM_HUGETLB)
		return 0;
	if (reader_equals(reader, node, "../source/@type", "anonymous"))
		return reader_refuse(reader, node,
				     "anonymous memory can't be shared; source is to be memfd");
	reader->config->backing = GUEST_MM_MEMFD;
	return 0;
}

static int read_allocation(struct reader *reader, xmlNode *node)
{
	reader->config->memory_prealloc = reader_equals(reader, node, "@mode", "immediate");
	return 0;
}

int domain_xml_read_backing(struct reader *reader, xmlNode *node)
{
	static const struct rule rules[] = {
		{"hugepages", READ, NULL, read_huge_pages},
		{"locked", REFUSE, "guest memory is not locked", NULL},
		{"nosharepages", PASS, NULL, NULL}, /* samara never asks for KSM */
		{"source", READ, NULL, read_source},
		{"access", READ, NULL, read_access},
		{"allocation", READ, NULL, read_allocation},
		{"discard", PASS, NULL, NULL}, /* gone with the process anyway */
		OTHERWISE,
	};

	return reader_walk(reader, node, rules);
}

/* ---- numatune --------------------------------------------------------------------------------- */

/* "0-3,^2,5": libvirt's own form. */
static int read_nodeset(struct reader *reader, xmlNode *node, uint64_t *nodes)
{
	char *list = reader_get(reader, node, "string(@nodeset)"), *rest = list, *range;
	int ret = list ? 0 : reader_no_memory(reader);

	*nodes = 0;
	while (!ret && (range = strsep(&rest, ","))) {
		bool except = *range == '^';
		unsigned long first, last;
		char *end;

		if (!*range)
			continue;
		first = last = strtoul(range + except, &end, 10);
		if (*end == '-')
			last = strtoul(end + 1, &end, 10);
		if (*end || last > 63)
			ret = reader_refuse(reader, node, "the host's nodes are numbers up to 63");
		for (; !ret && first <= last; first++)
			*nodes = except ? *nodes & ~(UINT64_C(1) << first)
					: *nodes | UINT64_C(1) << first;
	}
	free(list);
	return ret;
}

static int read_placement(struct reader *reader, xmlNode *node,
			  struct guest_mm_placement *placement)
{
	static const struct {
		const char *mode;
		enum guest_mm_numa numa;
	} modes[] = {
		{"strict", GUEST_MM_NUMA_BIND},
		{"preferred", GUEST_MM_NUMA_PREFER},
		{"interleave", GUEST_MM_NUMA_INTERLEAVE},
	};

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		if (!reader_equals(reader, node, "string(@mode)", modes[i].mode))
			continue;
		placement->numa = modes[i].numa;
		return read_nodeset(reader, node, &placement->nodes);
	}
	return reader_refuse(reader, node, "a mode is strict, preferred or interleave");
}

static int read_tuned_memory(struct reader *reader, xmlNode *node)
{
	if (reader_equals(reader, node, "string(@placement)", "auto") ||
	    reader_is_empty(reader, node, "string(@nodeset)"))
		return reader_pass_over(reader, node,
					"nobody tells samara which nodes are best; name a nodeset");
	return read_placement(reader, node, &reader->config->placement);
}

static int read_tuned_node(struct reader *reader, xmlNode *node)
{
	uint64_t cell;
	int ret = reader_number(reader, node, "string(@cellid)", UINT64_MAX, &cell);

	if (ret)
		return ret;
	if (cell >= VM_MAX_NODES)
		return reader_refuse(reader, node, "there are at most 8 NUMA nodes");
	return read_placement(reader, node, &reader->config->node_placements[cell]);
}

int domain_xml_read_numatune(struct reader *reader, xmlNode *node)
{
	static const struct rule rules[] = {
		{"memory", READ, NULL, read_tuned_memory},
		{"memnode", READ, NULL, read_tuned_node},
		OTHERWISE,
	};

	return reader_walk(reader, node, rules);
}

/* ---- Devices --------------------------------------------------------------------------------- */

static int read_dimm(struct reader *reader, xmlNode *node)
{
	struct vm_config *config = reader->config;
	struct dimm_config dimm = {0};
	char *alias = NULL;
	uint64_t number;
	int ret;

	if (config->dimm_count == VM_MAX_DIMMS)
		return reader_refuse(reader, node, "there are at most 32 DIMMs");
	ret = reader_size(reader, node, "target/size", 0, &dimm.size_bytes);
	if (!ret)
		ret = reader_number(reader, node, "string(target/node)", 0, &number);
	if (!ret && number >= VM_MAX_NODES)
		return reader_refuse(reader, node, "there is no such NUMA node");
	if (!ret)
		ret = reader_string(reader, node, "string(alias/@name)", &alias);
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
	int ret = reader_string(reader, node, "string(alias/@name)", &mem->id);

	if (ret || mem->id)
		return ret;
	if (asprintf(&mem->id, "virtiomem%u", reader->config->virtio_mem_count) >= 0)
		return 0;
	mem->id = NULL;
	return reader_no_memory(reader);
}

static int read_virtio_mem(struct reader *reader, xmlNode *node)
{
	struct vm_config *config = reader->config;
	struct virtio_mem_options mem = {.node = VIRTIO_MEM_NO_NODE, .packed = true};
	uint64_t number;
	int ret;

	ret = reader_size(reader, node, "target/size", 0, &mem.size_bytes);
	if (!ret)
		ret = reader_size(reader, node, "target/block", VIRTIO_MEM_MIN_BLOCK_BYTES,
				  &mem.block_bytes);
	if (!ret)
		ret = reader_size(reader, node, "target/requested", 0, &mem.requested_bytes);
	if (!ret)
		ret = reader_number(reader, node, "string(target/node)", 0, &number);
	if (!ret && number >= VM_MAX_NODES)
		return reader_refuse(reader, node, "there is no such NUMA node");
	if (!ret && !reader_is_empty(reader, node, "string(target/address/@base)"))
		reader_pass_over(reader, node, "samara chooses its address");
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

int domain_xml_read_memory_device(struct reader *reader, xmlNode *node)
{
	bool huge = reader->config->backing == GUEST_MM_HUGETLB;

	if (!reader_is_empty(reader, node, "string(source/pagesize)") &&
	    !reader_equals(reader, node, "string(source/pagesize)", huge ? "2048" : "4"))
		return reader_refuse(reader, node, "its pages are those of all memory");
	if (!reader_is_empty(reader, node, "string(source/nodemask)"))
		reader_pass_over(reader, node,
				 "it comes from the NUMA nodes that all memory comes from");
	if (reader_equals(reader, node, "@model", "dimm"))
		return read_dimm(reader, node);
	if (reader_equals(reader, node, "@model", "virtio-mem"))
		return read_virtio_mem(reader, node);
	return reader_refuse(reader, node, "a memory device is a dimm or a virtio-mem");
}

int domain_xml_read_balloon(struct reader *reader, xmlNode *node)
{
	struct balloon_options *balloon = &reader->config->balloon;
	uint64_t period_s;
	int ret;

	if (reader_equals(reader, node, "@model", "none"))
		return 0;
	if (!reader_equals(reader, node, "@model", "virtio"))
		return reader_refuse(reader, node, "a balloon is virtio");
	ret = reader_number(reader, node, "string(stats/@period)", 0, &period_s);
	if (ret)
		return ret;
	if (period_s > UINT32_MAX)
		return reader_refuse(reader, node, "its period is too long");
	/* What is not named is as --balloon has it. */
	balloon->present = true;
	balloon->deflate_on_oom = !reader_equals(reader, node, "@autodeflate", "off");
	balloon->reporting = !reader_equals(reader, node, "@freePageReporting", "off");
	balloon->packed = !reader_equals(reader, node, "driver/@packed", "off");
	balloon->stats_period_s = (unsigned int)period_s;
	return 0;
}
