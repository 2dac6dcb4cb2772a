/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/i8042.h"

/* Offsets from port 0x60, and the command (IBM PC/AT technical reference, keyboard controller). */
#define DATA            0
#define COMMAND         4 /* read: status */
#define PULSE_RESET     0xfe
#define STATUS_NO_INPUT 0x00

/* All fields: immutable. */
struct i8042 {
	void (*reset)(void *arg);
	void *arg;
};

int i8042_create(void (*reset)(void *arg), void *arg, struct i8042 **out)
{
	struct i8042 *i8042 = malloc(sizeof(*i8042));

	if (!i8042)
		return -ENOMEM;
	i8042->reset = reset;
	i8042->arg = arg;
	*out = i8042;
	return 0;
}

void i8042_destroy(struct i8042 *i8042)
{
	free(i8042);
}

/* Both buffers are always empty: no key to read, and a command may be written at once. */
static void i8042_read(void *device, uint64_t offset, void *data, unsigned int length)
{
	uint8_t *bytes = data;
	unsigned int i;

	(void)device;
	/* The ports between the two belong to others, and nobody is there. */
	for (i = 0; i < length; i++)
		bytes[i] = offset + i == DATA ? 0 : offset + i == COMMAND ? STATUS_NO_INPUT : 0xff;
}

static void i8042_write(void *device, uint64_t offset, const void *data, unsigned int length)
{
	struct i8042 *i8042 = device;
	const uint8_t *bytes = data;

	if (offset <= COMMAND && offset + length > COMMAND &&
	    bytes[COMMAND - offset] == PULSE_RESET)
		i8042->reset(i8042->arg);
}

const struct bus_ops i8042_bus_ops = {
	.read = i8042_read,
	.write = i8042_write,
};
