/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DEVICES_BUS_H
#define DEVICES_BUS_H

#include <stdint.h>

#include <samara/error.h>

/*
 * A bus dispatches accesses to devices by address: one bus for MMIO, one for port I/O. It stands
 * on a region tree, so an access holds its device alone: devices come and go while vCPUs access
 * others.
 */
struct bus;

/**
 * struct bus_ops - a device as the bus sees it
 *
 * @offset counts from the first address of the range. @length is 1, 2, 4 or 8 and never reaches
 * past the end of the range. Data is little endian.
 *
 * Context: vCPU threads, several at once: a device locks its own state. May sleep.
 */
struct bus_ops {
	void (*read)(void *device, uint64_t offset, void *data, unsigned int length);
	void (*write)(void *device, uint64_t offset, const void *data, unsigned int length);
};

/**
 * struct bus_counters - accesses since creation
 * @nowhere: accesses where no device is: reads gave all ones, writes went nowhere
 */
struct bus_counters {
	uint64_t reads, writes, nowhere;
};

/**
 * bus_create() - make an empty bus
 * @name: "MMIO" or "port I/O", for messages
 *
 * Return: 0, -ENOMEM.
 */
int bus_create(const char *name, struct bus **out);

/**
 * bus_destroy() - free it; the devices on it are their owners'
 *
 * Context: No access is under way.
 */
void bus_destroy(struct bus *bus);

/**
 * bus_attach() - put a device at a range
 * @size: number of addresses, not 0
 * @ops: lives as long as the device is attached; a NULL read or write is as if nothing were there
 *
 * Context: May sleep; not from a device's own access functions.
 * Return: 0, -EINVAL (empty or past the end), -EEXIST (names the device that is there), -ENOMEM.
 */
int bus_attach(struct bus *bus, uint64_t first, uint64_t size, const char *device_name,
	       const struct bus_ops *ops, void *device, struct samara_error *err);

/**
 * bus_detach() - take the device that starts at @first away
 *
 * When it returns, no access is inside the device and none will get in.
 *
 * Context: May sleep; not from a device's own access functions.
 * Return: 0, -ENOENT.
 */
int bus_detach(struct bus *bus, uint64_t first, struct samara_error *err);

/**
 * bus_read(), bus_write() - one access by a vCPU
 *
 * An access that starts in a device's range and reaches past its end is as one to nothing.
 *
 * Context: May sleep (the device's choice). Waits for nothing but changes at this address.
 * Return: 0, -ENXIO (nothing is there; a read's @data is all ones).
 */
int bus_read(struct bus *bus, uint64_t address, void *data, unsigned int length);
int bus_write(struct bus *bus, uint64_t address, const void *data, unsigned int length);

/* Accesses since creation, of all vCPUs. Context: Does not sleep. */
void bus_get_counters(struct bus *bus, struct bus_counters *counters);

#endif
