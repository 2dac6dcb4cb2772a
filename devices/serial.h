/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DEVICES_SERIAL_H
#define DEVICES_SERIAL_H

#include <stddef.h>
#include <stdint.h>

#include <samara/error.h>

#include "devices/bus.h"
#include "devices/irq.h"

/*
 * A 16550A UART (TI PC16550D data sheet, SNLS378C; registers in its section 8). Time is
 * compressed: a byte is on the wire the moment it is written, and the character timeout of the
 * receive FIFO has passed the moment its last byte is in.
 */
struct serial;

#define SERIAL_PORTS 8

/**
 * struct serial_config - what a UART is joined to
 * @irq: pulsed whenever an interrupt becomes pending
 * @transmit: takes the bytes that the guest sends; may sleep for a bounded time
 * @space: the receive FIFO, found full by serial_receive(), has room again; may be NULL, must not
 *         sleep
 * @arg: for both
 *
 * Context of the callbacks: vCPU threads, several at once, no lock of the UART held.
 */
struct serial_config {
	struct irq irq;
	void (*transmit)(void *arg, const uint8_t *bytes, size_t count);
	void (*space)(void *arg);
	void *arg;
};

/**
 * serial_create() - make a UART in its reset state
 *
 * Return: 0, -ENOMEM.
 */
int serial_create(const struct serial_config *config, struct serial **out,
		  struct samara_error *err);

/**
 * serial_destroy() - free it
 *
 * Context: It is on no bus, and no serial_receive() is under way.
 */
void serial_destroy(struct serial *serial);

/**
 * serial_reset() - master reset (data sheet, table 1); what was received and not read is lost
 *
 * Context: Any thread.
 */
void serial_reset(struct serial *serial);

/**
 * serial_receive() - bytes arrive on the wire
 *
 * Nothing is taken while the guest has the UART in loop-back mode. When not all bytes were taken,
 * @space is called once there is room.
 *
 * Context: Any thread; does not sleep.
 * Return: how many bytes were taken; the rest is the caller's to offer again.
 */
size_t serial_receive(struct serial *serial, const uint8_t *bytes, size_t count);

/* The device is a struct serial at SERIAL_PORTS ports. */
extern const struct bus_ops serial_bus_ops;

#endif
