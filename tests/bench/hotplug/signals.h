/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BENCH_HOTPLUG_SIGNALS_H
#define BENCH_HOTPLUG_SIGNALS_H

/*
 * What the guest's agent sends over its serial port, a byte each: control characters that no kernel
 * message holds.
 */
#define SIGNAL_COME  0x02 /* another SIGNAL_MIB of memory are there */
#define SIGNAL_GONE  0x03 /* they are gone */
#define SIGNAL_READY 0x05 /* the agent listens */

/* A memory block of Linux in a guest below 64 GiB (arch/x86/mm/init_64.c, MIN_MEMORY_BLOCK_SIZE). */
#define SIGNAL_MIB   128

#endif
