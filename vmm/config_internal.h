/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_CONFIG_INTERNAL_H
#define VMM_CONFIG_INTERNAL_H

#include "vmm/config.h"

/* Shared by config.c, config_memory.c and config_virtio.c. */

/* A decimal number from @min to @max. Return: 0, -EINVAL. */
int config_parse_count(const char *text, const char *what, unsigned int min, unsigned int max,
		       unsigned int *out, struct samara_error *err);

/* If @key is "NAME=on|off", store it. Return: 1, 0 (another key), -EINVAL. */
int config_parse_switch(const char *key, const char *name, const char *option, bool *value,
			struct samara_error *err);

#endif
