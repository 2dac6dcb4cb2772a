/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <samara/types.h>

#include "vmm/config.h"

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
	free(config->name);
	free(config->kernel);
	free(config->initrd);
	free(config->cmdline);
	free(config->serial.path);
	free(config->qmp_path);
	for (unsigned int i = 0; i < config->virtio_mem_count; i++)
		free(config->virtio_mems[i].id);
	free(config->virtio_mems);
	memset(config, 0, sizeof(*config));
}

static int check_memory(uint64_t bytes, const char *what, struct samara_error *err)
{
	if (bytes < VM_MIN_MEMORY_BYTES)
		return samara_error_set(
			err, -EINVAL, "%s: %" PRIu64 " bytes are too little; it takes at least 2M",
			what, bytes);
	if (bytes % SAMARA_PAGE_BYTES)
		return samara_error_set(
			err, -EINVAL, "%s: %" PRIu64 " bytes are not a multiple of the 4 KiB page",
			what, bytes);
	return 0;
}

int vm_config_check(const struct vm_config *config, struct samara_error *err)
{
	int ret;

	if (!config->kernel || !*config->kernel)
		return samara_error_set(err, -EINVAL, "--kernel: no kernel is given");
	if (config->cpus < 1 || config->cpus > VM_MAX_CPUS)
		return samara_error_set(err, -EINVAL, "--cpus: %u; it is 1 to %d", config->cpus,
					VM_MAX_CPUS);
	ret = check_memory(config->memory_bytes, "--memory", err);
	if (!ret)
		ret = check_memory(config->max_memory_bytes, "--memory max=", err);
	if (ret)
		return ret;
	if (config->max_memory_bytes < config->memory_bytes)
		return samara_error_set(err, -EINVAL,
					"--memory: max=%" PRIu64 " is less than the %" PRIu64
					" bytes at start",
					config->max_memory_bytes, config->memory_bytes);
	if (config->serial.kind == CHARDEV_FILE && (!config->serial.path || !*config->serial.path))
		return samara_error_set(err, -EINVAL, "--serial: file: without a path");
	return 0;
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

static int parse_memory_key(const char *key, struct vm_config *config, struct samara_error *err)
{
	if (!strncmp(key, "max=", 4))
		return parse_size(key + 4, "--memory max=", &config->max_memory_bytes, err);
	if (!strcmp(key, "backing=anon"))
		config->backing = GUEST_MM_ANON;
	else if (!strcmp(key, "backing=memfd"))
		config->backing = GUEST_MM_MEMFD;
	else if (!strncmp(key, "backing=", 8))
		return samara_error_set(err, -EINVAL,
					"--memory backing=: '%s' is none; choose anon or memfd",
					key + 8);
	else
		return samara_error_set(err, -EINVAL,
					"--memory: '%s' is no setting; there are max=SIZE and "
					"backing=anon|memfd",
					key);
	return 0;
}

int parse_memory(const char *text, struct vm_config *config, struct samara_error *err)
{
	struct vm_config parsed = *config;
	char *copy = strdup(text), *rest = copy, *key;
	int ret;

	if (!copy)
		return samara_error_set(err, -ENOMEM, "--memory: out of memory");
	ret = parse_size(strsep(&rest, ","), "--memory", &parsed.memory_bytes, err);
	parsed.max_memory_bytes = parsed.memory_bytes;
	while (!ret && (key = strsep(&rest, ",")))
		ret = parse_memory_key(key, &parsed, err);
	if (!ret) {
		config->memory_bytes = parsed.memory_bytes;
		config->max_memory_bytes = parsed.max_memory_bytes;
		config->backing = parsed.backing;
	}
	free(copy);
	return ret;
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
