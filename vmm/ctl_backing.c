/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/config_internal.h"
#include "vmm/ctl_backing.h"

/* The words of run --memory, and the type of object-add that each is. */
static const struct kind {
	const char *name, *type;
	bool file, huge;
} kinds[] = {
	{"ram", "memory-backend-ram", false, false},
	{"memfd", "memory-backend-memfd", false, false},
	{"hugetlb", "memory-backend-memfd", false, true},
	{"file", "memory-backend-file", true, false},
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

struct backing {
	const struct kind *kind;
	const char *path;
	struct guest_mm_placement placement;
	json_t *arguments;
};

static int set(json_t *arguments, const char *name, json_t *value, struct samara_error *err)
{
	return json_object_set_new(arguments, name, value)
		       ? samara_error_set(err, -ENOMEM, "--backing: out of memory")
		       : 0;
}

static int parse_kind(const char *text, struct backing *backing, struct samara_error *err)
{
	for (unsigned int i = 0; i < KINDS; i++) {
		if (strcmp(text, kinds[i].name))
			continue;
		backing->kind = &kinds[i];
		return set(backing->arguments, "qom-type", json_string(kinds[i].type), err);
	}
	return samara_error_set(
		err, -EINVAL, "--backing: '%s' is none; choose ram, memfd, hugetlb or file", text);
}

/* Return: 1, 0 (it is none of these), -errno. */
static int parse_switch(const char *key, struct backing *backing, struct samara_error *err)
{
	static const char *const switches[][2] = {
		{"share", "share"}, {"prealloc", "prealloc"}, {"discard", "discard-data"}};

	for (unsigned int i = 0; i < 3; i++) {
		bool on = false;
		int ret = config_parse_switch(key, switches[i][0], "--backing", &on, err);

		if (ret > 0 && !backing->kind->file && !strcmp(switches[i][0], "discard"))
			return samara_error_set(err, -EINVAL,
						"--backing: discard= is for backing file");
		if (ret > 0)
			ret = set(backing->arguments, switches[i][1], json_boolean(on), err) ?: 1;
		if (ret)
			return ret;
	}
	return 0;
}

static int parse_setting(const char *key, struct backing *backing, struct samara_error *err)
{
	int ret;

	if (!strncmp(key, "path=", 5)) {
		backing->path = key + 5;
		return 0;
	}
	if (!strncmp(key, "host-nodes=", 11))
		return parse_host_nodes(key + 11,
					"--backing host-nodes=", &backing->placement.nodes, err);
	if (!strncmp(key, "policy=", 7))
		return parse_policy(key + 7, "--backing policy=", &backing->placement.numa, err)
			       ?: set(backing->arguments, "policy", json_string(key + 7), err);
	ret = parse_switch(key, backing, err);
	if (!ret)
		return samara_error_set(
			err, -EINVAL,
			"--backing: '%s' is no setting; there are path=FILE, "
			"share=, prealloc=, discard=, host-nodes=LIST and policy=NAME",
			key);
	return ret < 0 ? ret : 0;
}

static int add_path(const struct backing *backing, struct samara_error *err)
{
	char *here = NULL;
	json_t *path;

	if (backing->kind->file != (backing->path && *backing->path))
		return samara_error_set(err, -EINVAL, "--backing: file and path=FILE go together");
	if (!backing->path)
		return 0;
	if (*backing->path != '/') {
		here = getcwd(NULL, 0);
		if (!here)
			return samara_error_set(err, -errno, "--backing path=%s: where is it? %s",
						backing->path, strerror(errno));
	}
	path = here ? json_sprintf("%s/%s", here, backing->path) : json_string(backing->path);
	free(here);
	if (!path)
		return samara_error_set(err, -EINVAL, "--backing path=%s: no text in UTF-8",
					backing->path);
	return set(backing->arguments, "mem-path", path, err);
}

static int add_nodes(const struct backing *backing, struct samara_error *err)
{
	json_t *list;
	int ret = check_placement(&backing->placement, "--backing", err);

	if (ret || !backing->placement.nodes)
		return ret;
	list = json_array();
	for (int node = 0; !ret && node < 64; node++)
		if (backing->placement.nodes >> node & 1)
			ret = json_array_append_new(list, json_integer(node));
	if (!ret)
		return set(backing->arguments, "host-nodes", list, err);
	json_decref(list);
	return samara_error_set(err, -ENOMEM, "--backing: out of memory");
}

int ctl_parse_backing(const char *text, json_t **out, struct samara_error *err)
{
	struct backing backing = {.arguments = json_object()};
	char *copy = strdup(text ? text : "ram"), *rest = copy, *key;
	int ret = copy && backing.arguments
			  ? 0
			  : samara_error_set(err, -ENOMEM, "--backing: out of memory");

	if (!ret)
		ret = parse_kind(strsep(&rest, ","), &backing, err);
	if (!ret && backing.kind->huge)
		ret = set(backing.arguments, "hugetlb", json_true(), err);
	while (!ret && (key = strsep(&rest, ",")))
		ret = parse_setting(key, &backing, err);
	if (!ret)
		ret = add_path(&backing, err);
	if (!ret)
		ret = add_nodes(&backing, err);
	free(copy);
	if (ret)
		json_decref(backing.arguments);
	else
		*out = backing.arguments;
	return ret;
}
