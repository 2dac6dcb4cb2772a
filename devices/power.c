/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

#include "devices/power.h"

/* Sleep control register (ACPI 6.4, table 4.21): SLP_TYPx is bits 2 to 4, SLP_EN is bit 5. */
#define SLP_TYP_SHIFT 2
#define SLP_TYP_MASK  (7u << SLP_TYP_SHIFT)
#define SLP_EN        (1u << 5)

/* Sleep status register (ACPI 6.4, table 4.22): WAK_STS is bit 7, cleared by writing 1. */
#define WAK_STS       (1u << 7)

/*
 * struct power - sleep control, sleep status and reset register
 *
 * @slp_typ, @status: atomic. The others: immutable.
 */
struct power {
	void (*poweroff)(void *arg);
	void (*reset)(void *arg);
	void *arg;
	_Atomic uint8_t slp_typ; /* at its place in the register */
	_Atomic uint8_t status;
};

int power_create(void (*poweroff)(void *arg), void (*reset)(void *arg), void *arg,
		 struct power **out)
{
	struct power *power = calloc(1, sizeof(*power));

	if (!power)
		return -ENOMEM;
	power->poweroff = poweroff;
	power->reset = reset;
	power->arg = arg;
	*out = power;
	return 0;
}

void power_destroy(struct power *power)
{
	free(power);
}

void power_reset(struct power *power)
{
	power->slp_typ = 0;
	power->status = 0;
}

static uint8_t read_register(struct power *power, uint64_t offset)
{
	switch (offset) {
	case POWER_SLEEP_CONTROL:
		return power->slp_typ; /* SLP_EN reads as zero */
	case POWER_SLEEP_STATUS:
		return power->status;
	case POWER_RESET:
		return 0;
	default:
		return 0xff;
	}
}

static void write_register(struct power *power, uint64_t offset, uint8_t value)
{
	switch (offset) {
	case POWER_SLEEP_CONTROL:
		power->slp_typ = value & SLP_TYP_MASK;
		/* S5 is the only state that the DSDT offers: any other SLP_TYP is no request. */
		if (value & SLP_EN && (value & SLP_TYP_MASK) == POWER_SLP_TYP_S5 << SLP_TYP_SHIFT)
			power->poweroff(power->arg);
		break;
	case POWER_SLEEP_STATUS:
		if (value & WAK_STS)
			atomic_fetch_and(&power->status, (uint8_t)~WAK_STS);
		break;
	case POWER_RESET:
		if (value == POWER_RESET_VALUE)
			power->reset(power->arg);
		break;
	}
}

static void power_read(void *device, uint64_t offset, void *data, unsigned int length)
{
	uint8_t *bytes = data;
	unsigned int i;

	for (i = 0; i < length; i++)
		bytes[i] = read_register(device, offset + i);
}

static void power_write(void *device, uint64_t offset, const void *data, unsigned int length)
{
	const uint8_t *bytes = data;
	unsigned int i;

	for (i = 0; i < length; i++)
		write_register(device, offset + i, bytes[i]);
}

const struct bus_ops power_bus_ops = {
	.read = power_read,
	.write = power_write,
};
