/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <numa.h>
#include <numaif.h>
#include <string.h>

#include "mm/numa.h"

/* Pages per call of move_pages(): their arrays fit on a stack. */
#define MOVE_PAGES 256

static int check_node(unsigned int node, struct samara_error *err)
{
	if (numa_available() < 0)
		return samara_error_set(err, -ENODEV, "NUMA node %u: this kernel has no NUMA",
					node);
	if (node > (unsigned int)numa_max_node() ||
	    !numa_bitmask_isbitset(numa_all_nodes_ptr, node))
		return samara_error_set(err, -ENODEV,
					"NUMA node %u: the host has none of that number that this "
					"process may use (the last is %d)",
					node, numa_max_node());
	return 0;
}

int numa_place(void *address, uint64_t length, const struct guest_mm_window_config *config,
	       struct samara_error *err)
{
	int mode = config->numa == GUEST_MM_NUMA_BIND ? MPOL_BIND : MPOL_PREFERRED;
	struct bitmask *nodes;
	int ret;

	if (config->numa == GUEST_MM_NUMA_ANY)
		return 0;
	if (config->numa != GUEST_MM_NUMA_PREFER && config->numa != GUEST_MM_NUMA_BIND)
		return samara_error_set(err, -EINVAL, "%d is no NUMA placement", (int)config->numa);
	ret = check_node(config->node, err);
	if (ret)
		return ret;
	nodes = numa_allocate_nodemask();
	numa_bitmask_setbit(nodes, config->node);
	/* The kernel takes the number of bits plus one: mbind(2), BUGS of the man page. */
	if (mbind(address, length, mode, nodes->maskp, nodes->size + 1, 0))
		ret = samara_error_set(err, -errno, "NUMA node %u: %s", config->node,
				       strerror(errno));
	numa_bitmask_free(nodes);
	return ret;
}

int numa_migrate(char *address, uint64_t length, unsigned int node, struct samara_error *err)
{
	int ret = check_node(node, err);
	bool busy = false;

	while (length && !ret) {
		unsigned long count = length >> SAMARA_PAGE_SHIFT;
		void *page[MOVE_PAGES];
		int to[MOVE_PAGES], status[MOVE_PAGES];

		if (count > MOVE_PAGES)
			count = MOVE_PAGES;
		for (unsigned long i = 0; i < count; i++) {
			page[i] = address + i * SAMARA_PAGE_BYTES;
			to[i] = (int)node;
		}
		if (move_pages(0, count, page, to, status, MPOL_MF_MOVE) < 0)
			ret = samara_error_set(err, -errno, "NUMA node %u: %s", node,
					       strerror(errno));
		/* ENOENT: no page there. */
		for (unsigned long i = 0; i < count && !ret; i++) {
			if (status[i] == -ENOMEM)
				ret = samara_error_set(err, -ENOMEM, "NUMA node %u: out of memory",
						       node);
			busy |= status[i] < 0 && status[i] != -ENOENT && status[i] != -EFAULT;
		}
		address += count * SAMARA_PAGE_BYTES;
		length -= count * SAMARA_PAGE_BYTES;
	}
	if (!ret && busy)
		ret = samara_error_set(err, -EBUSY,
				       "NUMA node %u: some pages are in use by the kernel; try "
				       "again",
				       node);
	return ret;
}

int numa_node_of(const void *address)
{
	void *page = (void *)((uintptr_t)address & ~(SAMARA_PAGE_BYTES - 1));
	int status = -EFAULT;

	return move_pages(0, 1, &page, NULL, &status, 0) < 0 ? -errno : status;
}
