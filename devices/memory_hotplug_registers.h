/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DEVICES_MEMORY_HOTPLUG_REGISTERS_H
#define DEVICES_MEMORY_HOTPLUG_REGISTERS_H

/*
 * The registers of struct memory_hotplug: 32 bits each, taken by aligned accesses of 4 bytes alone.
 * Nothing but #defines: iasl includes it too.
 *
 * SLOT selects which slot the registers from GPA_LOW on are about. A read of NEXT selects the first
 * slot that has something to tell (INSERTING or REMOVING) and gives its number, or NONE.
 */
#define MEMORY_HOTPLUG_SLOT       0x00
#define MEMORY_HOTPLUG_NEXT       0x04
#define MEMORY_HOTPLUG_GPA_LOW    0x08
#define MEMORY_HOTPLUG_GPA_HIGH   0x0c
#define MEMORY_HOTPLUG_SIZE_LOW   0x10
#define MEMORY_HOTPLUG_SIZE_HIGH  0x14
#define MEMORY_HOTPLUG_NODE       0x18
#define MEMORY_HOTPLUG_STATUS     0x1c
#define MEMORY_HOTPLUG_OST_EVENT  0x20 /* remembered for the write of OST_STATUS, */
#define MEMORY_HOTPLUG_OST_STATUS 0x24 /* which reports both */
#define MEMORY_HOTPLUG_BYTES      0x28

#define MEMORY_HOTPLUG_NONE       0xffffffff

/* STATUS: what is so when read; writing INSERTING or REMOVING says that it was heard of. */
#define MEMORY_HOTPLUG_ENABLED    1
#define MEMORY_HOTPLUG_INSERTING  2
#define MEMORY_HOTPLUG_REMOVING   4
#define MEMORY_HOTPLUG_EJECT      8 /* only written */

/* How many memory devices vmm/memory_hotplug.asl describes. */
#define MEMORY_HOTPLUG_SLOTS_MAX  32

/* Where the VM has them: see vmm/layout.h. */
#define MEMORY_HOTPLUG_PORT       0x620
#define MEMORY_HOTPLUG_GSI        9

#endif
