/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <samara/types.h>

#include "vmm/config.h"

void vm_config_init(struct vm_config *config)
{
	memset(config, 0, sizeof(*config));
	config->cpus = 1;
	config->memory_bytes = UINT64_C(512) << 20;
	config->max_memory_bytes = config->memory_bytes;
	config->backing = GUEST_MM_ANON;
	config->serial.kind = CHARDEV_STDIO;
}

void vm_config_free(struct vm_config *config)
{
	unsigned int i;

	free(config->name);
	free(config->kernel);
	free(config->initrd);
	free(config->cmdline);
	free(config->serial.path);
	free(config->qmp_path);
	free(config->metrics);
	for (i = 0; i < config->dimm_count; i++)
		free(config->dimms[i].id);
	for (i = 0; i < config->virtio_mem_count; i++)
		free(config->virtio_mems[i].id);
	free(config->virtio_mems);
	memset(config, 0, sizeof(*config));
}

static int check_memory(uint64_t bytes, const char *what, struct samara_error *err)
{
	if (bytes < VM_MIN_MEMORY_BYTES)
		return samara_error_set(
			err, -EINVAL, "%s: %" PRIu64 " bytes are too little; it takes at least 2M",
			what, bytes);
	if (bytes % SAMARA_PAGE_BYTES)
		return samara_error_set(
			err, -EINVAL, "%s: %" PRIu64 " bytes are not a multiple of the 4 KiB page",
			what, bytes);
	return 0;
}

static int check_nodes(const struct vm_config *config, struct samara_error *err)
{
	uint64_t total = 0;
	unsigned int i;

	for (i = 0; i < config->node_count; i++) {
		if (config->node_bytes[i] % SAMARA_PAGE_BYTES)
			return samara_error_set(err, -EINVAL,
						"--numa: node %u: %" PRIu64
						" bytes are not a multiple of the 4 KiB page",
						i, config->node_bytes[i]);
		if (__builtin_add_overflow(total, config->node_bytes[i], &total))
			total = UINT64_MAX;
	}
	if (config->node_count && total != config->memory_bytes)
		return samara_error_set(err, -EINVAL,
					"--numa: the nodes have %" PRIu64
					" bytes in all, --memory at start is %" PRIu64,
					total, config->memory_bytes);
	return 0;
}

static int check_memory_devices(const struct vm_config *config, struct samara_error *err)
{
	uint64_t room = config->max_memory_bytes - config->memory_bytes;
	unsigned int i, nodes = config->node_count ? config->node_count : 1;
	int ret = check_nodes(config, err);

	if (!ret && config->dimm_count > config->memory_slots)
		ret = samara_error_set(err, -EINVAL,
				       "--dimm: %u DIMMs, and --memory slots= says %u",
				       config->dimm_count, config->memory_slots);
	for (i = 0; !ret && i < config->dimm_count; i++) {
		const struct dimm_config *dimm = &config->dimms[i];

		if (dimm->size_bytes > room)
			ret = samara_error_set(err, -EINVAL,
					       "--dimm: %" PRIu64
					       " bytes do not fit below --memory max=",
					       dimm->size_bytes);
		else if (dimm->node >= nodes)
			ret = samara_error_set(err, -EINVAL,
					       "--dimm: node %u; there are %u, from 0 on",
					       dimm->node, nodes);
		else
			room -= dimm->size_bytes;
	}
	return ret;
}

int vm_config_check(const struct vm_config *config, struct samara_error *err)
{
	int ret;

	if (!config->kernel || !*config->kernel)
		return samara_error_set(err, -EINVAL, "--kernel: no kernel is given");
	if (config->cpus < 1 || config->cpus > VM_MAX_CPUS)
		return samara_error_set(err, -EINVAL, "--cpus: %u; it is 1 to %d", config->cpus,
					VM_MAX_CPUS);
	ret = check_memory(config->memory_bytes, "--memory", err);
	if (!ret)
		ret = check_memory(config->max_memory_bytes, "--memory max=", err);
	if (ret)
		return ret;
	if (config->max_memory_bytes < config->memory_bytes)
		return samara_error_set(err, -EINVAL,
					"--memory: max=%" PRIu64 " is less than the %" PRIu64
					" bytes at start",
					config->max_memory_bytes, config->memory_bytes);
	ret = check_memory_devices(config, err);
	if (ret)
		return ret;
	if (config->serial.kind == CHARDEV_FILE && (!config->serial.path || !*config->serial.path))
		return samara_error_set(err, -EINVAL, "--serial: file: without a path");
	return 0;
}

/* The power of two that a unit stands for; -1: there is no such unit. */
static int unit_shift(const char *unit)
{
	static const char letters[] = "KMGTPE";
	const char *letter;

	if (!*unit || !strcmp(unit, "B"))
		return 0;
	letter = strchr(letters, toupper((unsigned char)*unit));
	if (!letter || !*letter || (unit[1] && strcmp(unit + 1, "iB")))
		return -1;
	return 10 * (int)(letter - letters + 1);
}

int parse_size(const char *text, const char *what, uint64_t *bytes, struct samara_error *err)
{
	int base = 10, shift;
	char *end;
	uint64_t value;

	if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X') &&
	    isxdigit((unsigned char)text[2]))
		base = 16;
	/* strtoull() itself would take blanks and a sign. */
	if (!isdigit((unsigned char)*text))
		return samara_error_set(err, -EINVAL, "%s: '%s' is not a size (512M, 4G, 0x1000)",
					what, text);
	errno = 0;
	value = strtoull(text, &end, base);
	shift = unit_shift(end);
	if (shift < 0)
		return samara_error_set(err, -EINVAL,
					"%s: '%s': there is no unit '%s'; K, M, G, T, P and E are "
					"powers of 1024",
					what, text, end);
	if (errno || value > UINT64_MAX >> shift)
		return samara_error_set(err, -ERANGE, "%s: '%s' does not fit into 64 bits", what,
					text);
	*bytes = value << shift;
	return 0;
}

/* A decimal number from @min to @max. */
static int parse_count(const char *text, const char *what, unsigned int min, unsigned int max,
		       unsigned int *out, struct samara_error *err)
{
	unsigned long value;
	char *end;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || !isdigit((unsigned char)*text) || *end || value < min || value > max)
		return samara_error_set(err, -EINVAL, "%s: '%s' is not a number from %u to %u",
					what, text, min, max);
	*out = (unsigned int)value;
	return 0;
}

static int parse_memory_key(const char *key, struct vm_config *config, struct samara_error *err)
{
	if (!strncmp(key, "slots=", 6))
		return parse_count(key + 6, "--memory slots=", 0, VM_MAX_DIMMS,
				   &config->memory_slots, err);
	if (!strncmp(key, "max=", 4))
		return parse_size(key + 4, "--memory max=", &config->max_memory_bytes, err);
	if (!strcmp(key, "backing=anon"))
		config->backing = GUEST_MM_ANON;
	else if (!strcmp(key, "backing=memfd"))
		config->backing = GUEST_MM_MEMFD;
	else if (!strncmp(key, "backing=", 8))
		return samara_error_set(err, -EINVAL,
					"--memory backing=: '%s' is none; choose anon or memfd",
					key + 8);
	else
		return samara_error_set(err, -EINVAL,
					"--memory: '%s' is no setting; there are max=SIZE, "
					"slots=N and backing=anon|memfd",
					key);
	return 0;
}

int parse_memory(const char *text, struct vm_config *config, struct samara_error *err)
{
	struct vm_config parsed = *config;
	char *copy = strdup(text), *rest = copy, *key;
	int ret;

	if (!copy)
		return samara_error_set(err, -ENOMEM, "--memory: out of memory");
	ret = parse_size(strsep(&rest, ","), "--memory", &parsed.memory_bytes, err);
	parsed.max_memory_bytes = parsed.memory_bytes;
	parsed.memory_slots = UINT_MAX;
	while (!ret && (key = strsep(&rest, ",")))
		ret = parse_memory_key(key, &parsed, err);
	if (!ret) {
		/* Who names a maximum wants to get there. */
		if (parsed.memory_slots == UINT_MAX)
			parsed.memory_slots =
				parsed.max_memory_bytes > parsed.memory_bytes ? VM_MAX_DIMMS : 0;
		config->memory_slots = parsed.memory_slots;
		config->memory_bytes = parsed.memory_bytes;
		config->max_memory_bytes = parsed.max_memory_bytes;
		config->backing = parsed.backing;
	}
	free(copy);
	return ret;
}

int parse_serial(const char *text, struct chardev_config *serial, struct samara_error *err)
{
	static const char *const kinds[] = {
		[CHARDEV_NULL] = "null",
		[CHARDEV_STDIO] = "stdio",
		[CHARDEV_PTY] = "pty",
	};
	struct chardev_config parsed = {0};
	size_t i;

	if (!strncmp(text, "file:", 5)) {
		if (!text[5])
			return samara_error_set(err, -EINVAL, "--serial: file: without a path");
		parsed.kind = CHARDEV_FILE;
		parsed.path = strdup(text + 5);
		if (!parsed.path)
			return samara_error_set(err, -ENOMEM, "--serial: out of memory");
		goto done;
	}
	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strcmp(text, kinds[i]))
			continue;
		parsed.kind = (enum chardev_kind)i;
		goto done;
	}
	return samara_error_set(
		err, -EINVAL, "--serial: '%s' is none; choose stdio, pty, file:PATH or null", text);
done:
	free(serial->path);
	*serial = parsed;
	return 0;
}

int parse_qmp(const char *text, char **path, struct samara_error *err)
{
	char *copy;

	if (strncmp(text, "unix:", 5) || !text[5])
		return samara_error_set(err, -EINVAL, "--qmp: '%s' is not of the form unix:PATH",
					text);
	copy = strdup(text + 5);
	if (!copy)
		return samara_error_set(err, -ENOMEM, "--qmp: out of memory");
	free(*path);
	*path = copy;
	return 0;
}

/* "0-1:4": colons, since commas end the setting. */
static int parse_cpu_list(const char *text, unsigned int node, struct vm_config *config,
			  struct samara_error *err)
{
	char *copy = strdup(text), *rest = copy, *range;
	unsigned int first, last, cpu;
	int ret = 0;

	if (!copy)
		return samara_error_set(err, -ENOMEM, "--numa: out of memory");
	while (!ret && (range = strsep(&rest, ":"))) {
		char *dash = strchr(range, '-');

		if (dash)
			*dash++ = '\0';
		ret = parse_count(range, "--numa cpus=", 0, VM_MAX_CPUS - 1, &first, err);
		last = first;
		if (!ret && dash)
			ret = parse_count(dash, "--numa cpus=", first, VM_MAX_CPUS - 1, &last, err);
		for (cpu = first; !ret && cpu <= last; cpu++)
			config->cpu_nodes[cpu] = (uint8_t)node;
	}
	free(copy);
	return ret;
}

int parse_numa(const char *text, struct vm_config *config, struct samara_error *err)
{
	unsigned int node = config->node_count;
	struct vm_config parsed = *config;
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
	while (!ret && (key = strsep(&rest, ","))) {
		if (!strncmp(key, "memory=", 7)) {
			ret = parse_size(key + 7, "--numa memory=", &parsed.node_bytes[node], err);
			has_memory = true;
		} else if (!strncmp(key, "cpus=", 5)) {
			ret = parse_cpu_list(key + 5, node, &parsed, err);
		} else {
			ret = samara_error_set(err, -EINVAL,
					       "--numa: '%s' is no setting; there are memory=SIZE "
					       "and cpus=FIRST-LAST:...",
					       key);
		}
	}
	if (!ret && !has_memory)
		ret = samara_error_set(err, -EINVAL, "--numa: node %u: memory=SIZE is missing",
				       node);
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
			ret = parse_count(key + 5, "--dimm node=", 0, VM_MAX_NODES - 1, &dimm.node,
					  err);
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
