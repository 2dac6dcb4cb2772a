/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The options of samara run that add virtio devices. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/virtio_mem.h"
#include "vmm/config_internal.h"
#include "vmm/virtio_slots.h"

/* Proximity domains are 32 bits wide, virtio-mem's field is 16 (virtio 1.2, 5.15.4). */
#define NODE_MAX 0xffff

static int check_room(unsigned int devices, const char *option, struct samara_error *err)
{
	if (devices > VIRTIO_SLOTS)
		return samara_error_set(err, -E2BIG,
					"%s: more than %d virtio devices; there is no place for it",
					option, VIRTIO_SLOTS);
	return 0;
}

static int parse_balloon_key(const char *key, struct balloon_options *balloon,
			     struct samara_error *err)
{
	int ret = config_parse_switch(key, "deflate-on-oom", "--balloon", &balloon->deflate_on_oom,
				      err);

	if (!ret)
		ret = config_parse_switch(key, "free-page-reporting", "--balloon",
					  &balloon->reporting, err);
	if (!ret)
		ret = config_parse_switch(key, "packed", "--balloon", &balloon->packed, err);
	if (!ret)
		return samara_error_set(err, -EINVAL,
					"--balloon: '%s' is no setting; there are deflate-on-oom=, "
					"free-page-reporting= and packed=, each on or off",
					key);
	return ret < 0 ? ret : 0;
}

int parse_balloon(const char *text, struct vm_config *config, struct samara_error *err)
{
	struct balloon_options parsed = {true, true, true, true, 0, 0};
	char *copy, *rest, *key;
	int ret = check_room(1 + config->virtio_mem_count, "--balloon", err);

	if (ret)
		return ret;
	rest = copy = strdup(text ? text : "");
	if (!copy)
		return samara_error_set(err, -ENOMEM, "--balloon: out of memory");
	while (!ret && *copy && (key = strsep(&rest, ",")))
		ret = parse_balloon_key(key, &parsed, err);
	if (!ret)
		config->balloon = parsed;
	free(copy);
	return ret;
}

static int parse_id(const char *text, char **id, struct samara_error *err)
{
	char *copy;

	if (!*text)
		return samara_error_set(err, -EINVAL, "--virtio-mem id=: it is empty");
	copy = strdup(text);
	if (!copy)
		return samara_error_set(err, -ENOMEM, "--virtio-mem: out of memory");
	free(*id);
	*id = copy;
	return 0;
}

static int parse_node(const char *text, int *node, struct samara_error *err)
{
	unsigned long value;
	char *end;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || value > NODE_MAX)
		return samara_error_set(err, -EINVAL,
					"--virtio-mem node=: '%s' is not a number from 0 to %d",
					text, NODE_MAX);
	*node = (int)value;
	return 0;
}

static int parse_mem_key(const char *key, struct virtio_mem_options *mem, struct samara_error *err)
{
	int ret;

	if (!strncmp(key, "id=", 3))
		return parse_id(key + 3, &mem->id, err);
	if (!strncmp(key, "size=", 5))
		return parse_size(key + 5, "--virtio-mem size=", &mem->size_bytes, err);
	if (!strncmp(key, "block=", 6))
		return parse_size(key + 6, "--virtio-mem block=", &mem->block_bytes, err);
	if (!strncmp(key, "requested=", 10))
		return parse_size(key + 10, "--virtio-mem requested=", &mem->requested_bytes, err);
	if (!strncmp(key, "node=", 5))
		return parse_node(key + 5, &mem->node, err);
	ret = config_parse_switch(key, "packed", "--virtio-mem", &mem->packed, err);
	if (!ret)
		return samara_error_set(err, -EINVAL,
					"--virtio-mem: '%s' is no setting; there are id=, size=, "
					"block=, requested=, node= and packed=",
					key);
	return ret < 0 ? ret : 0;
}

static int check_mem(const struct virtio_mem_options *mem, const struct vm_config *config,
		     struct samara_error *err)
{
	int ret;

	if (!mem->id)
		return samara_error_set(err, -EINVAL, "--virtio-mem: it has no id=");
	if (!mem->size_bytes)
		return samara_error_set(err, -EINVAL, "--virtio-mem %s: it has no size=", mem->id);
	for (unsigned int i = 0; i < config->virtio_mem_count; i++)
		if (!strcmp(config->virtio_mems[i].id, mem->id))
			return samara_error_set(
				err, -EEXIST, "--virtio-mem id=%s: there is one already", mem->id);
	ret = virtio_mem_check(mem->size_bytes, mem->block_bytes, mem->requested_bytes, err);
	return ret ? samara_error_prefix(err, "--virtio-mem %s", mem->id) : 0;
}

int add_virtio_mem(struct vm_config *config, const struct virtio_mem_options *mem,
		   struct samara_error *err)
{
	struct virtio_mem_options *more;
	int ret;

	ret = check_room(config->balloon.present + config->virtio_mem_count + 1, "--virtio-mem",
			 err);
	if (!ret)
		ret = check_mem(mem, config, err);
	if (ret)
		return ret;
	more = realloc(config->virtio_mems, (config->virtio_mem_count + 1) * sizeof(*more));
	if (!more)
		return samara_error_set(err, -ENOMEM, "--virtio-mem: out of memory");
	more[config->virtio_mem_count++] = *mem;
	config->virtio_mems = more;
	return 0;
}

int parse_virtio_mem(const char *text, struct vm_config *config, struct samara_error *err)
{
	struct virtio_mem_options parsed = {
		.block_bytes = VIRTIO_MEM_MIN_BLOCK_BYTES,
		.node = VIRTIO_MEM_NO_NODE,
		.packed = true,
	};
	char *copy = strdup(text), *rest = copy, *key;
	int ret = 0;

	if (!copy)
		return samara_error_set(err, -ENOMEM, "--virtio-mem: out of memory");
	while (!ret && (key = strsep(&rest, ",")))
		ret = parse_mem_key(key, &parsed, err);
	if (!ret)
		ret = add_virtio_mem(config, &parsed, err);
	if (ret)
		free(parsed.id);
	free(copy);
	return ret;
}
