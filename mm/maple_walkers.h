/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef SAMARA_MM_MAPLE_WALKERS_H
#define SAMARA_MM_MAPLE_WALKERS_H

#include "mm/maple_internal.h"

/*
 * Which walkers a build has. None with vectors under ThreadSanitizer: it takes a vector load for a
 * plain one of everything in it, the link included, which is masked out.
 */
#if defined(__x86_64__) && !SAMARA_RCU_TSAN
#define MAPLE_HAS_X86_WALKERS 1
#endif
#if defined(__aarch64__) && !SAMARA_RCU_TSAN
#define MAPLE_HAS_NEON_WALKER 1
#endif

extern const struct maple_walker maple_walker_plain;
#ifdef MAPLE_HAS_X86_WALKERS
extern const struct maple_walker maple_walker_avx2, maple_walker_avx512;
#endif
#ifdef MAPLE_HAS_NEON_WALKER
extern const struct maple_walker maple_walker_neon;
#endif

#endif
