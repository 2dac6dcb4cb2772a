/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "devices/pvpanic.h"

/*
 * @told: atomic; the panic of this life was told. The others: immutable.
 */
struct pvpanic {
	void (*panicked)(void *arg);
	void *arg;
	atomic_bool told;
};

int pvpanic_create(void (*panicked)(void *arg), void *arg, struct pvpanic **out)
{
	struct pvpanic *pvpanic = calloc(1, sizeof(*pvpanic));

	if (!pvpanic)
		return -ENOMEM;
	pvpanic->panicked = panicked;
	pvpanic->arg = arg;
	*out = pvpanic;
	return 0;
}

void pvpanic_destroy(struct pvpanic *pvpanic)
{
	free(pvpanic);
}

void pvpanic_reset(struct pvpanic *pvpanic)
{
	atomic_store(&pvpanic->told, false);
}

static void pvpanic_read(void *device, uint64_t offset, void *data, unsigned int length)
{
	(void)device;
	(void)offset;
	memset(data, 0, length);
	*(uint8_t *)data = PVPANIC_PANICKED;
}

static void pvpanic_write(void *device, uint64_t offset, const void *data, unsigned int length)
{
	struct pvpanic *pvpanic = device;

	(void)offset;
	(void)length;
	if (*(const uint8_t *)data & PVPANIC_PANICKED && !atomic_exchange(&pvpanic->told, true))
		pvpanic->panicked(pvpanic->arg);
}

const struct bus_ops pvpanic_bus_ops = {
	.read = pvpanic_read,
	.write = pvpanic_write,
};
