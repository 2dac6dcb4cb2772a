/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DEVICES_POWER_H
#define DEVICES_POWER_H

#include "devices/bus.h"
#include "devices/power_registers.h"

/*
 * How a machine with reduced hardware is switched off and reset: the sleep control and sleep
 * status registers (ACPI 6.4, 4.8.3.7) and the reset register (4.8.3.6), a byte each.
 */
struct power;

/**
 * power_create() - make the registers
 * @poweroff: the guest enters S5
 * @reset: the guest writes the reset value
 * @arg: for both
 *
 * Context of the callbacks: a vCPU's thread; must not sleep for long.
 * Return: 0, -ENOMEM.
 */
int power_create(void (*poweroff)(void *arg), void (*reset)(void *arg), void *arg,
		 struct power **out);

/* Context: It is on no bus. */
void power_destroy(struct power *power);

/* The machine was reset: the registers are as power_create() made them. */
void power_reset(struct power *power);

/* The device is a struct power at POWER_PORTS ports. */
extern const struct bus_ops power_bus_ops;

#endif
