/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DEVICES_BROKEN_H
#define DEVICES_BROKEN_H

/*
 * Faults put in on purpose, as those of mm/broken.h, which says what they are for: `make
 * BREAK=virtio-mem|balloon`. They are 0 in everything else.
 */

/* A block is unplugged as far as the driver knows, and its memory stays. */
#ifndef BROKEN_VIRTIO_MEM
#define BROKEN_VIRTIO_MEM 0
#endif

/* Pages in the balloon are counted, and keep what is in them. */
#ifndef BROKEN_BALLOON
#define BROKEN_BALLOON 0
#endif

#endif
