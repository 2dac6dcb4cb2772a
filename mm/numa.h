/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MM_NUMA_H
#define MM_NUMA_H

#include <stdint.h>

#include <samara/guest_mm.h>

/* NUMA placement, by libnuma. No locks; any thread. */

/**
 * numa_place() - have the pages that a mapping will get come from the node that a window asks for
 *
 * Return: 0 (also when it asks for none), -EINVAL, -ENODEV (no such node), or what mbind() said.
 */
int numa_place(void *address, uint64_t length, const struct guest_mm_window_config *config,
	       struct samara_error *err);

/**
 * numa_migrate() - move the pages that are there to a node, while others use them
 *
 * Return: 0, -ENODEV, -ENOMEM, -EBUSY (some could not be moved now), or what move_pages() said.
 */
int numa_migrate(char *address, uint64_t length, unsigned int node, struct samara_error *err);

/* The node that holds the page at @address. Return: the node, or what move_pages() said. */
int numa_node_of(const void *address);

#endif
