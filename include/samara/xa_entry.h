/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef SAMARA_XA_ENTRY_H
#define SAMARA_XA_ENTRY_H

#include <stdbool.h>
#include <stdint.h>

/*
 * What an entry of a tree can be, told apart by its two lowest bits as in Linux
 * (include/linux/xarray.h):
 *
 *   00  a pointer
 *   x1  an integer of 63 bits (a value entry)
 *   10  the tree's own: below 4096 reserved; minus 4095 to minus 1, shifted left by two: an error
 *
 * Context: any; they are pure functions.
 */

#define XA_MAX_ERRNO 4095

static inline void *xa_mk_value(unsigned long value)
{
	return (void *)(value << 1 | 1);
}

static inline unsigned long xa_to_value(const void *entry)
{
	return (unsigned long)entry >> 1;
}

static inline bool xa_is_value(const void *entry)
{
	return (unsigned long)entry & 1;
}

static inline void *xa_mk_internal(unsigned long value)
{
	return (void *)(value << 2 | 2);
}

static inline unsigned long xa_to_internal(const void *entry)
{
	return (unsigned long)entry >> 2;
}

static inline bool xa_is_internal(const void *entry)
{
	return ((unsigned long)entry & 3) == 2;
}

/* A range that is taken although nothing is there yet: the simple interface shows it as NULL. */
#define XA_ZERO_ENTRY xa_mk_internal(257)

static inline bool xa_is_zero(const void *entry)
{
	return entry == XA_ZERO_ENTRY;
}

static inline void *xa_mk_err(long error)
{
	return xa_mk_internal((unsigned long)error);
}

static inline bool xa_is_err(const void *entry)
{
	return xa_is_internal(entry) &&
	       (unsigned long)entry >= (unsigned long)xa_mk_internal(-(unsigned long)XA_MAX_ERRNO);
}

/* The negative errno of an error entry, 0 for any other. */
static inline int xa_err(const void *entry)
{
	return xa_is_err(entry) ? (int)((long)entry >> 2) : 0;
}

#endif
