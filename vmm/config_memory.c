/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The options of samara run that are about memory: how much, on what, in which NUMA nodes, DIMMs. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/config_internal.h"

/* ---- Where on the host ------------------------------------------------------------------------ */

static const char *const policies[] = {
	[GUEST_MM_NUMA_ANY] = "default",
	[GUEST_MM_NUMA_PREFER] = "preferred",
	[GUEST_MM_NUMA_BIND] = "bind",
	[GUEST_MM_NUMA_INTERLEAVE] = "interleave",
};

int parse_policy(const char *text, const char *what, enum guest_mm_numa *policy,
		 struct samara_error *err)
{
	for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++) {
		if (strcmp(text, policies[i]))
			continue;
		*policy = (enum guest_mm_numa)i;
		return 0;
	}
	return samara_error_set(err, -EINVAL,
				"%s: '%s' is none; choose default, preferred, bind or interleave",
				what, text);
}

/* "0-1:4", each number below @limit. Colons, since commas end the setting. */
static int parse_list(const char *text, const char *what, unsigned int limit,
		      void (*add)(unsigned int number, void *arg), void *arg,
		      struct samara_error *err)
{
	char *copy = strdup(text), *rest = copy, *range;
	unsigned int first, last;
	int ret = 0;

	if (!copy)
		return samara_error_set(err, -ENOMEM, "%s: out of memory", what);
	while (!ret && (range = strsep(&rest, ":"))) {
		char *dash = strchr(range, '-');

		if (dash)
			*dash++ = '\0';
		ret = config_parse_count(range, what, 0, limit - 1, &first, err);
		last = first;
		if (!ret && dash)
			ret = config_parse_count(dash, what, first, limit - 1, &last, err);
		for (; !ret && first <= last; first++)
			add(first, arg);
	}
	free(copy);
	return ret;
}

static void add_host_node(unsigned int node, void *nodes)
{
	*(uint64_t *)nodes |= UINT64_C(1) << node;
}

int parse_host_nodes(const char *text, const char *what, uint64_t *nodes, struct samara_error *err)
{
	uint64_t parsed = 0;
	int ret = parse_list(text, what, 64, add_host_node, &parsed, err);

	if (!ret)
		*nodes = parsed;
	return ret;
}

int check_placement(const struct guest_mm_placement *placement, const char *what,
		    struct samara_error *err)
{
	if (placement->numa == GUEST_MM_NUMA_ANY && placement->nodes)
		return samara_error_set(err, -EINVAL,
					"%s: host-nodes are named without a policy: preferred, "
					"bind or interleave",
					what);
	if (placement->numa != GUEST_MM_NUMA_ANY && !placement->nodes)
		return samara_error_set(err, -EINVAL, "%s: policy=%s takes host-nodes=", what,
					policies[placement->numa]);
	return 0;
}

/* If @key is one of the two, take it. Return: 1, 0 (another key), -EINVAL. */
static int parse_placement_key(const char *key, const char *option,
			       struct guest_mm_placement *placement, struct samara_error *err)
{
	int ret;

	if (!strncmp(key, "host-nodes=", 11))
		ret = parse_host_nodes(key + 11, option, &placement->nodes, err);
	else if (!strncmp(key, "policy=", 7))
		ret = parse_policy(key + 7, option, &placement->numa, err);
	else
		return 0;
	return ret ? ret : 1;
}

/* ---- --memory --------------------------------------------------------------------------------- */

/* What is said of the backing, before it is known to fit together; strings are the caller's. */
struct backing_keys {
	enum {
		BACKING_ANON,
		BACKING_MEMFD,
		BACKING_HUGETLB,
		BACKING_FILE,
		BACKINGS
	} kind;
	const char *path;
	bool share, has_share, huge_pages, has_huge_pages;
};

static const char *const backings[BACKINGS] = {"anon", "memfd", "hugetlb", "file"};

static int parse_backing(const char *text, struct backing_keys *keys, struct samara_error *err)
{
	for (unsigned int i = 0; i < BACKINGS; i++) {
		if (strcmp(text, backings[i]))
			continue;
		keys->kind = i;
		return 0;
	}
	return samara_error_set(
		err, -EINVAL,
		"--memory backing=: '%s' is none; choose anon, memfd, hugetlb or file", text);
}

static int parse_memory_key(const char *key, struct vm_config *config, struct backing_keys *keys,
			    struct samara_error *err)
{
	int ret;

	if (!strncmp(key, "slots=", 6))
		return config_parse_count(key + 6, "--memory slots=", 0, VM_MAX_DIMMS,
					  &config->memory_slots, err);
	if (!strncmp(key, "max=", 4))
		return parse_size(key + 4, "--memory max=", &config->max_memory_bytes, err);
	if (!strncmp(key, "backing=", 8))
		return parse_backing(key + 8, keys, err);
	if (!strncmp(key, "path=", 5)) {
		keys->path = key + 5;
		return 0;
	}
	ret = config_parse_switch(key, "share", "--memory", &keys->share, err);
	keys->has_share |= ret > 0;
	if (!ret) {
		ret = config_parse_switch(key, "thp", "--memory", &keys->huge_pages, err);
		keys->has_huge_pages |= ret > 0;
	}
	if (!ret)
		ret = config_parse_switch(key, "prealloc", "--memory", &config->memory_prealloc,
					  err);
	if (!ret)
		ret = parse_placement_key(key, "--memory", &config->placement, err);
	if (!ret)
		return samara_error_set(
			err, -EINVAL,
			"--memory: '%s' is no setting; there are max=SIZE, slots=N, "
			"backing=anon|memfd|hugetlb|file, path=FILE, share=, thp=, prealloc=, "
			"host-nodes=LIST and policy=NAME",
			key);
	return ret < 0 ? ret : 0;
}

static int apply_backing(const struct backing_keys *keys, struct vm_config *config,
			 struct samara_error *err)
{
	static const enum guest_mm_backing kinds[BACKINGS] = {
		GUEST_MM_ANON, GUEST_MM_MEMFD, GUEST_MM_HUGETLB, GUEST_MM_FILE_PRIVATE};

	if ((keys->kind == BACKING_FILE) != (keys->path && *keys->path))
		return samara_error_set(err, -EINVAL,
					"--memory: backing=file and path=FILE go together");
	if (keys->has_share && keys->kind == BACKING_ANON && keys->share)
		return samara_error_set(err, -EINVAL,
					"--memory: anonymous memory can't be shared; choose "
					"backing=memfd");
	if (keys->has_share && !keys->share &&
	    (keys->kind == BACKING_MEMFD || keys->kind == BACKING_HUGETLB))
		return samara_error_set(err, -EINVAL,
					"--memory: backing=%s is a memfd, which others can map; "
					"share=off is backing=anon",
					backings[keys->kind]);
	if (keys->has_huge_pages && keys->huge_pages && keys->kind != BACKING_ANON)
		return samara_error_set(err, -EINVAL,
					"--memory: thp=on is for anonymous memory, this is "
					"backing=%s",
					backings[keys->kind]);
	config->backing = kinds[keys->kind];
	if (keys->kind == BACKING_FILE && keys->share)
		config->backing = GUEST_MM_FILE_SHARED;
	config->memory_small_pages = keys->has_huge_pages && !keys->huge_pages;
	return 0;
}

/* From a copy of the text that may be cut up. */
static int parse_memory_text(char *text, struct vm_config *config, struct samara_error *err)
{
	struct backing_keys keys = {0};
	char *rest = text, *key, *path = NULL;
	int ret = parse_size(strsep(&rest, ","), "--memory", &config->memory_bytes, err);

	config->max_memory_bytes = config->memory_bytes;
	config->memory_slots = UINT_MAX;
	config->memory_prealloc = false;
	config->placement = (struct guest_mm_placement){0};
	while (!ret && (key = strsep(&rest, ",")))
		ret = parse_memory_key(key, config, &keys, err);
	if (!ret)
		ret = apply_backing(&keys, config, err);
	if (!ret)
		ret = check_placement(&config->placement, "--memory", err);
	if (!ret && keys.path) {
		path = strdup(keys.path);
		if (!path)
			ret = samara_error_set(err, -ENOMEM, "--memory: out of memory");
	}
	if (ret)
		return ret;
	/* Who names a maximum wants to get there. */
	if (config->memory_slots == UINT_MAX)
		config->memory_slots =
			config->max_memory_bytes > config->memory_bytes ? VM_MAX_DIMMS : 0;
	free(config->memory_path);
	config->memory_path = path;
	return 0;
}

int parse_memory(const char *text, struct vm_config *config, struct samara_error *err)
{
	struct vm_config parsed = *config;
	char *copy = strdup(text);
	int ret;

	if (!copy)
		return samara_error_set(err, -ENOMEM, "--memory: out of memory");
	ret = parse_memory_text(copy, &parsed, err);
	if (!ret)
		*config = parsed;
	free(copy);
	return ret;
}

/* ---- --numa, --dimm --------------------------------------------------------------------------- */

/* The node that a list of vCPUs belongs to. */
struct cpu_list {
	struct vm_config *config;
	unsigned int node;
};

static void add_cpu(unsigned int cpu, void *arg)
{
	const struct cpu_list *list = arg;

	list->config->cpu_nodes[cpu] = (uint8_t)list->node;
}

int parse_numa(const char *text, struct vm_config *config, struct samara_error *err)
{
	unsigned int node = config->node_count;
	struct vm_config parsed = *config;
	struct cpu_list cpus = {&parsed, node};
	char *copy, *rest, *key;
	bool has_memory = false;
	int ret = 0;

	if (node == VM_MAX_NODES)
		return samara_error_set(err, -E2BIG, "--numa: more than %d nodes", VM_MAX_NODES);
	copy = strdup(text);
	rest = copy;
	if (!copy)
		return samara_error_set(err, -ENOMEM, "--numa: out of memory");
	parsed.node_bytes[node] = 0;
	parsed.node_placements[node] = (struct guest_mm_placement){0};
	while (!ret && (key = strsep(&rest, ","))) {
		if (!strncmp(key, "memory=", 7)) {
			ret = parse_size(key + 7, "--numa memory=", &parsed.node_bytes[node], err);
			has_memory = true;
		} else if (!strncmp(key, "cpus=", 5)) {
			ret = parse_list(key + 5, "--numa cpus=", VM_MAX_CPUS, add_cpu, &cpus, err);
		} else {
			ret = parse_placement_key(key, "--numa", &parsed.node_placements[node],
						  err);
			if (!ret)
				ret = samara_error_set(
					err, -EINVAL,
					"--numa: '%s' is no setting; there are memory=SIZE, "
					"cpus=FIRST-LAST:..., host-nodes=LIST and policy=NAME",
					key);
			ret = ret < 0 ? ret : 0;
		}
	}
	if (!ret && !has_memory)
		ret = samara_error_set(err, -EINVAL, "--numa: node %u: memory=SIZE is missing",
				       node);
	if (!ret)
		ret = check_placement(&parsed.node_placements[node], "--numa", err);
	if (!ret) {
		*config = parsed;
		config->node_count++;
	}
	free(copy);
	return ret;
}

int parse_dimm(const char *text, struct vm_config *config, struct samara_error *err)
{
	char *copy, *rest, *key;
	struct dimm_config dimm = {0};
	int ret;

	if (config->dimm_count == VM_MAX_DIMMS)
		return samara_error_set(err, -E2BIG, "--dimm: more than %d DIMMs", VM_MAX_DIMMS);
	copy = strdup(text);
	rest = copy;
	if (!copy)
		return samara_error_set(err, -ENOMEM, "--dimm: out of memory");
	ret = parse_size(strsep(&rest, ","), "--dimm", &dimm.size_bytes, err);
	while (!ret && (key = strsep(&rest, ","))) {
		if (!strncmp(key, "node=", 5)) {
			ret = config_parse_count(key + 5, "--dimm node=", 0, VM_MAX_NODES - 1,
						 &dimm.node, err);
		} else if (!strncmp(key, "id=", 3)) {
			free(dimm.id);
			dimm.id = strdup(key + 3);
			if (!dimm.id)
				ret = samara_error_set(err, -ENOMEM, "--dimm: out of memory");
		} else {
			ret = samara_error_set(
				err, -EINVAL,
				"--dimm: '%s' is no setting; there are node=N and id=NAME", key);
		}
	}
	if (ret)
		free(dimm.id);
	else
		config->dimms[config->dimm_count++] = dimm;
	free(copy);
	return ret;
}
