/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * LOCK=region-membarrier: LOCK=region with readers that publish by a plain store, and writers that
 * order it for them by membarrier(2). See there.
 */
#define REGION_MEMBARRIER 1
#include "mm/lock_region.c"
