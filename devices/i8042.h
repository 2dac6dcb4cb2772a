/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DEVICES_I8042_H
#define DEVICES_I8042_H

#include "devices/bus.h"

/*
 * What is left of a PC's keyboard controller when there is no keyboard: the pulse on its output
 * bit 0, which resets the machine.
 */
struct i8042;

/* From port 0x60: data at 0, command and status at 4. */
#define I8042_PORTS 5

/**
 * i8042_create() - make one
 * @reset: the guest asks for a reset. Context: a vCPU's thread, must not sleep for long
 *
 * Return: 0, -ENOMEM.
 */
int i8042_create(void (*reset)(void *arg), void *arg, struct i8042 **out);

/* Context: It is on no bus. */
void i8042_destroy(struct i8042 *i8042);

/* The device is a struct i8042 at I8042_PORTS ports. */
extern const struct bus_ops i8042_bus_ops;

#endif
