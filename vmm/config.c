/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/config_internal.h"

void vm_config_init(struct vm_config *config)
{
	memset(config, 0, sizeof(*config));
	config->cpus = 1;
	config->memory_bytes = UINT64_C(512) << 20;
	config->max_memory_bytes = config->memory_bytes;
	config->backing = GUEST_MM_ANON;
	config->serial.kind = CHARDEV_STDIO;
}

void vm_config_free(struct vm_config *config)
{
	unsigned int i;

	free(config->name);
	free(config->kernel);
	free(config->initrd);
	free(config->cmdline);
	free(config->serial.path);
	free(config->qmp_path);
	free(config->metrics);
	free(config->memory_path);
	for (i = 0; i < config->dimm_count; i++)
		free(config->dimms[i].id);
	for (i = 0; i < config->virtio_mem_count; i++)
		free(config->virtio_mems[i].id);
	free(config->virtio_mems);
	memset(config, 0, sizeof(*config));
}

/* The power of two that a unit stands for; -1: there is no such unit. */
static int unit_shift(const char *unit)
{
	static const char letters[] = "KMGTPE";
	const char *letter;

	if (!*unit || !strcmp(unit, "B"))
		return 0;
	letter = strchr(letters, toupper((unsigned char)*unit));
	if (!letter || !*letter || (unit[1] && strcmp(unit + 1, "iB")))
		return -1;
	return 10 * (int)(letter - letters + 1);
}

int parse_size(const char *text, const char *what, uint64_t *bytes, struct samara_error *err)
{
	int base = 10, shift;
	char *end;
	uint64_t value;

	if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X') &&
	    isxdigit((unsigned char)text[2]))
		base = 16;
	/* strtoull() itself would take blanks and a sign. */
	if (!isdigit((unsigned char)*text))
		return samara_error_set(err, -EINVAL, "%s: '%s' is not a size (512M, 4G, 0x1000)",
					what, text);
	errno = 0;
	value = strtoull(text, &end, base);
	shift = unit_shift(end);
	if (shift < 0)
		return samara_error_set(err, -EINVAL,
					"%s: '%s': there is no unit '%s'; K, M, G, T, P and E are "
					"powers of 1024",
					what, text, end);
	if (errno || value > UINT64_MAX >> shift)
		return samara_error_set(err, -ERANGE, "%s: '%s' does not fit into 64 bits", what,
					text);
	*bytes = value << shift;
	return 0;
}

int config_parse_count(const char *text, const char *what, unsigned int min, unsigned int max,
		       unsigned int *out, struct samara_error *err)
{
	unsigned long value;
	char *end;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || !isdigit((unsigned char)*text) || *end || value < min || value > max)
		return samara_error_set(err, -EINVAL, "%s: '%s' is not a number from %u to %u",
					what, text, min, max);
	*out = (unsigned int)value;
	return 0;
}

int config_parse_switch(const char *key, const char *name, const char *option, bool *value,
			struct samara_error *err)
{
	size_t length = strlen(name);

	if (strncmp(key, name, length) || key[length] != '=')
		return 0;
	key += length + 1;
	if (strcmp(key, "on") && strcmp(key, "off"))
		return samara_error_set(err, -EINVAL, "%s %s=: '%s' is neither on nor off", option,
					name, key);
	*value = !strcmp(key, "on");
	return 1;
}

int parse_serial(const char *text, struct chardev_config *serial, struct samara_error *err)
{
	static const char *const kinds[] = {
		[CHARDEV_NULL] = "null",
		[CHARDEV_STDIO] = "stdio",
		[CHARDEV_PTY] = "pty",
	};
	struct chardev_config parsed = {0};
	size_t i;

	if (!strncmp(text, "file:", 5)) {
		if (!text[5])
			return samara_error_set(err, -EINVAL, "--serial: file: without a path");
		parsed.kind = CHARDEV_FILE;
		parsed.path = strdup(text + 5);
		if (!parsed.path)
			return samara_error_set(err, -ENOMEM, "--serial: out of memory");
		goto done;
	}
	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strcmp(text, kinds[i]))
			continue;
		parsed.kind = (enum chardev_kind)i;
		goto done;
	}
	return samara_error_set(
		err, -EINVAL, "--serial: '%s' is none; choose stdio, pty, file:PATH or null", text);
done:
	free(serial->path);
	*serial = parsed;
	return 0;
}

int parse_qmp(const char *text, char **path, struct samara_error *err)
{
	char *copy;

	if (strncmp(text, "unix:", 5) || !text[5])
		return samara_error_set(err, -EINVAL, "--qmp: '%s' is not of the form unix:PATH",
					text);
	copy = strdup(text + 5);
	if (!copy)
		return samara_error_set(err, -ENOMEM, "--qmp: out of memory");
	free(*path);
	*path = copy;
	return 0;
}
