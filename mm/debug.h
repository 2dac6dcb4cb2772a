/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MM_DEBUG_H
#define MM_DEBUG_H

/*
 * SAMARA_ASSERT() - a rule of this library's own code that must hold; checked in debug builds (all
 * SAN= builds are), where breaking it stops the process at that place.
 */
#ifdef SAMARA_DEBUG
#define SAMARA_ASSERT(condition)          \
	do {                              \
		if (!(condition))         \
			__builtin_trap(); \
	} while (0)
#else
#define SAMARA_ASSERT(condition) ((void)sizeof(!(condition)))
#endif

#endif
