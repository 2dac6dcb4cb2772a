/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <numa.h>
#include <numaif.h>
#include <string.h>

#include "mm/numa.h"

/* Pages per call of move_pages(): their arrays fit on a stack. */
#define MOVE_PAGES 256

/* Linux include/uapi/linux/mempolicy.h, 5.15 */
#ifndef MPOL_PREFERRED_MANY
#define MPOL_PREFERRED_MANY 5
#endif

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

/* As the kernel names it. Return: a mode, -EINVAL. */
static int mode_of(const struct guest_mm_placement *placement)
{
	switch (placement->numa) {
	case GUEST_MM_NUMA_PREFER:
		return placement->nodes & (placement->nodes - 1) ? MPOL_PREFERRED_MANY
								 : MPOL_PREFERRED;
	case GUEST_MM_NUMA_BIND:
		return MPOL_BIND;
	case GUEST_MM_NUMA_INTERLEAVE:
		return MPOL_INTERLEAVE;
	default:
		return -EINVAL;
	}
}

int numa_check(const struct guest_mm_placement *placement, struct samara_error *err)
{
	uint64_t left = placement->nodes;
	int ret = 0;

	if (placement->numa == GUEST_MM_NUMA_ANY)
		return left ? samara_error_set(err, -EINVAL,
					       "NUMA nodes are named, and no policy for them")
			    : 0;
	if (mode_of(placement) < 0)
		return samara_error_set(err, -EINVAL, "%d is no NUMA placement",
					(int)placement->numa);
	if (!left)
		return samara_error_set(err, -EINVAL, "NUMA policy: no node is named");
	for (; left && !ret; left &= left - 1)
		ret = check_node((unsigned int)__builtin_ctzll(left), err);
	return ret;
}

static int place_error(const struct guest_mm_placement *placement, int code,
		       struct samara_error *err)
{
	return samara_error_set(err, code, "NUMA nodes, mask %#llx: %s",
				(unsigned long long)placement->nodes, strerror(-code));
}

int numa_place(void *address, uint64_t length, const struct guest_mm_placement *placement,
	       struct samara_error *err)
{
	unsigned long nodes = placement->nodes;
	int ret = numa_check(placement, err);

	if (ret || placement->numa == GUEST_MM_NUMA_ANY)
		return ret;
	/* The kernel takes the number of bits plus one: mbind(2), BUGS of the man page. */
	if (mbind(address, length, mode_of(placement), &nodes, 8 * sizeof(nodes) + 1, 0))
		ret = place_error(placement, -errno, err);
	return ret;
}

int numa_enter(const struct guest_mm_placement *placement, struct numa_scope *scope)
{
	unsigned long nodes = placement->nodes;

	scope->entered = false;
	if (placement->numa == GUEST_MM_NUMA_ANY)
		return 0;
	if (get_mempolicy(&scope->mode, scope->nodes, 8 * sizeof(scope->nodes), NULL, 0) ||
	    set_mempolicy(mode_of(placement), &nodes, 8 * sizeof(nodes) + 1))
		return -errno;
	scope->entered = true;
	return 0;
}

void numa_leave(const struct numa_scope *scope)
{
	if (scope->entered)
		set_mempolicy(scope->mode, scope->nodes,
			      scope->mode == MPOL_DEFAULT ? 0 : 8 * sizeof(scope->nodes));
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
