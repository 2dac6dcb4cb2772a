/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MM_PAGEMAP_H
#define MM_PAGEMAP_H

#include <stdint.h>

/*
 * What the kernel has mapped, of its own account (Documentation/admin-guide/mm/pagemap.rst).
 */

/* /proc/self/pagemap, to be closed; -1: there is none. */
int pagemap_open(void);

/**
 * pagemap_huge_pages() - how many pages of a range are parts of huge ones
 * @pagemap: from pagemap_open(); -1 will do, and knows of none
 *
 * Context: Any thread, no locks; the kernel takes the process's mmap_lock for reading.
 * Return: a number of 4 KiB pages, or -1: the kernel does not tell (PAGEMAP_SCAN, Linux 6.7).
 */
int64_t pagemap_huge_pages(int pagemap, const void *hva, uint64_t size_bytes);

#endif
