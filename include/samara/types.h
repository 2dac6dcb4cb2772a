/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef SAMARA_TYPES_H
#define SAMARA_TYPES_H

#include <stdint.h>

/* A guest-physical address, in bytes. */
typedef uint64_t gpa_t;

/* The page size of guest memory management: 4 KiB on every host samara runs on. */
#define SAMARA_PAGE_SHIFT 12
#define SAMARA_PAGE_BYTES (UINT64_C(1) << SAMARA_PAGE_SHIFT)

#endif
