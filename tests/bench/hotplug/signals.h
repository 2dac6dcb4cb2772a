/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BENCH_HOTPLUG_SIGNALS_H
#define BENCH_HOTPLUG_SIGNALS_H

/*
 * What the guest's agent tells the meter: a hypercall that KVM does not know, with one of these as its
 * argument. KVM answers it without the VMM, so the signal costs no VMM anything, and traces it first.
 */
#define SIGNAL_HYPERCALL 0x73616d61
#define SIGNAL_COME      1 /* another SIGNAL_MIB of memory are there */
#define SIGNAL_GONE      2 /* they are gone */

/* The agent listens: a line on the serial port. */
#define SIGNAL_READY     "agent: ready"

/* A memory block of Linux in a guest below 64 GiB (arch/x86/mm/init_64.c, MIN_MEMORY_BLOCK_SIZE). */
#define SIGNAL_MIB       128

#endif
