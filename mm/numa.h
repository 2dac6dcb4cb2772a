/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MM_NUMA_H
#define MM_NUMA_H

#include <stdbool.h>
#include <stdint.h>

#include <samara/guest_mm.h>

/* NUMA placement, by libnuma. No locks; any thread. */

/**
 * numa_check() - whether a placement is one, and the host has its nodes
 *
 * Return: 0, -EINVAL, -ENODEV.
 */
int numa_check(const struct guest_mm_placement *placement, struct samara_error *err);

/**
 * numa_place() - have the pages that a mapping will get come from where a placement says
 *
 * Return: 0 (also when it says nothing), as numa_check(), or what mbind() said.
 */
int numa_place(void *address, uint64_t length, const struct guest_mm_placement *placement,
	       struct samara_error *err);

/* Nodes that the kernel can be built for: CONFIG_NODES_SHIFT is 10 at most (mm/Kconfig). */
#define NUMA_MASK_WORDS 16

/* What the calling thread's own policy was. */
struct numa_scope {
	bool entered;
	int mode;
	unsigned long nodes[NUMA_MASK_WORDS];
};

/**
 * numa_enter() - have what this thread allocates come from where a placement says; numa_leave()
 * puts its own policy back
 *
 * For pages that no mapping's policy decides about: fallocate() on hugetlbfs looks at the thread's
 * (fs/hugetlbfs/inode.c).
 *
 * Return: 0, or what set_mempolicy() said: nothing is changed then.
 */
int numa_enter(const struct guest_mm_placement *placement, struct numa_scope *scope);
void numa_leave(const struct numa_scope *scope);

/**
 * numa_migrate() - move the pages that are there to a node, while others use them
 *
 * Return: 0, -ENODEV, -ENOMEM, -EBUSY (some could not be moved now), or what move_pages() said.
 */
int numa_migrate(char *address, uint64_t length, unsigned int node, struct samara_error *err);

/* The node that holds the page at @address. Return: the node, or what move_pages() said. */
int numa_node_of(const void *address);

#endif
