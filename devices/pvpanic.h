/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DEVICES_PVPANIC_H
#define DEVICES_PVPANIC_H

#include "devices/bus.h"

/*
 * pvpanic: a port by which a guest's kernel says that it panicked (QEMU, docs/specs/pvpanic.rst;
 * Linux, drivers/misc/pvpanic). What to do then is left to the guest, which may well reset the
 * machine next.
 */
struct pvpanic;

#define PVPANIC_PORTS    1

/* Bits of the port: what the device knows when read, what has happened when written. */
#define PVPANIC_PANICKED 1u

/**
 * pvpanic_create() - make the port
 * @panicked: the guest says so; once until the next reset
 *
 * Context of the callback: a vCPU's thread; must not sleep for long.
 * Return: 0, -ENOMEM.
 */
int pvpanic_create(void (*panicked)(void *arg), void *arg, struct pvpanic **out);

/* Context: It is on no bus. */
void pvpanic_destroy(struct pvpanic *pvpanic);

/* The machine was reset: the next panic is another one. */
void pvpanic_reset(struct pvpanic *pvpanic);

/* The device is a struct pvpanic at PVPANIC_PORTS ports. */
extern const struct bus_ops pvpanic_bus_ops;

#endif
