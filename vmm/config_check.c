/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whether the parts of a configuration fit together, whoever filled it in. */
#include <errno.h>
#include <inttypes.h>

#include <samara/types.h>

#include "vmm/config.h"

#define HUGE_BYTES (UINT64_C(2) << 20)

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

/* Huge pages come whole. */
static int check_huge(uint64_t bytes, const char *what, struct samara_error *err)
{
	if (bytes % HUGE_BYTES)
		return samara_error_set(err, -EINVAL,
					"%s: %" PRIu64 " bytes are not a multiple of the 2 MiB "
					"pages of backing=hugetlb",
					what, bytes);
	return 0;
}

static int check_hugetlb(const struct vm_config *config, struct samara_error *err)
{
	int ret = check_huge(config->memory_bytes, "--memory", err);

	if (!ret)
		ret = check_huge(config->max_memory_bytes, "--memory max=", err);
	for (unsigned int i = 0; !ret && i < config->dimm_count; i++)
		ret = check_huge(config->dimms[i].size_bytes, "--dimm", err);
	if (!ret && config->balloon.present)
		ret = samara_error_set(err, -EINVAL,
				       "--balloon: it gives back pages of 4 KiB, of which "
				       "backing=hugetlb has none");
	return ret;
}

/* Parts of the memory get policies by other mappings, which these cannot have. */
static int check_node_placements(const struct vm_config *config, struct samara_error *err)
{
	if (config->backing != GUEST_MM_HUGETLB && config->backing != GUEST_MM_FILE_PRIVATE)
		return 0;
	for (unsigned int i = 0; i < config->node_count; i++)
		if (config->node_placements[i].numa != GUEST_MM_NUMA_ANY)
			return samara_error_set(
				err, -EINVAL,
				"--numa policy=: huge pages (backing=hugetlb) and private files "
				"have one policy for all memory: --memory policy=");
	return 0;
}

static int check_all_memory(const struct vm_config *config, struct samara_error *err)
{
	int ret = check_memory(config->memory_bytes, "--memory", err);

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
	if (!ret && config->backing == GUEST_MM_HUGETLB)
		ret = check_hugetlb(config, err);
	return ret ? ret : check_node_placements(config, err);
}

int vm_config_check(const struct vm_config *config, struct samara_error *err)
{
	int ret;

	if (!config->kernel || !*config->kernel)
		return samara_error_set(err, -EINVAL, "--kernel: no kernel is given");
	if (config->cpus < 1 || config->cpus > VM_MAX_CPUS)
		return samara_error_set(err, -EINVAL, "--cpus: %u; it is 1 to %d", config->cpus,
					VM_MAX_CPUS);
	ret = check_all_memory(config, err);
	if (ret)
		return ret;
	if (config->serial.kind == CHARDEV_FILE && (!config->serial.path || !*config->serial.path))
		return samara_error_set(err, -EINVAL, "--serial: file: without a path");
	return 0;
}
