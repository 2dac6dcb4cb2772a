/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Workload files: docs/stress.md. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "vmm/stress.h"

/* An object of weights is as good as a list of them. */
static int load_mix(struct stress_options *options, const json_t *mix, struct samara_error *err)
{
	char text[1024] = "";
	size_t length = 0;

	for (void *at = json_object_iter((json_t *)mix); at;
	     at = json_object_iter_next((json_t *)mix, at)) {
		const json_t *weight = json_object_iter_value(at);

		if (!json_is_integer(weight))
			return samara_error_set(err, -EINVAL,
						"--mix %s: its weight is a whole number",
						json_object_iter_key(at));
		length += (size_t)snprintf(text + length, sizeof(text) - length,
					   "%s%s=%" JSON_INTEGER_FORMAT, length ? "," : "",
					   json_object_iter_key(at), json_integer_value(weight));
		if (length >= sizeof(text))
			return samara_error_set(err, -EINVAL, "--mix: too long");
	}
	return stress_option_set(options, "mix", text, err);
}

static int load_setting(struct stress_options *options, const char *name, const json_t *value,
			struct samara_error *err)
{
	char number[32];

	if (!strcmp(name, "mix") && json_is_object(value))
		return load_mix(options, value, err);
	if (json_is_array(value)) {
		int ret = 0;

		for (size_t i = 0; !ret && i < json_array_size(value); i++)
			ret = json_is_string(json_array_get(value, i))
				      ? stress_option_set(
						options, name,
						json_string_value(json_array_get(value, i)), err)
				      : samara_error_set(err, -EINVAL,
							 "--%s [...]: a list of strings", name);
		return ret;
	}
	if (json_is_boolean(value))
		return stress_option_set(options, name, json_is_true(value) ? "true" : "false",
					 err);
	if (json_is_integer(value)) {
		snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT,
			 json_integer_value(value));
		return stress_option_set(options, name, number, err);
	}
	if (!json_is_string(value))
		return samara_error_set(err, -EINVAL, "%s: a string, a whole number or a boolean",
					name);
	return stress_option_set(options, name, json_string_value(value), err);
}

int stress_options_load(struct stress_options *options, const char *path, struct samara_error *err)
{
	struct samara_error why_not = {0};
	json_error_t why;
	json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, &why);
	void *at;
	int ret = 0;

	if (!root && why.line < 0)
		return samara_error_set(err, -EINVAL, "%s", why.text);
	if (!root)
		return samara_error_set(err, -EINVAL, "%s:%d: %s", path, why.line, why.text);
	if (!json_is_object(root))
		ret = samara_error_set(err, -EINVAL, "%s: not a JSON object", path);
	for (at = json_object_iter(root); !ret && at; at = json_object_iter_next(root, at)) {
		const char *name = json_object_iter_key(at);

		/* For people. */
		if (!strcmp(name, "comment"))
			continue;
		if (load_setting(options, name, json_object_iter_value(at), &why_not))
			ret = samara_error_set(err, why_not.code, "%s: %s", path, why_not.text);
	}
	json_decref(root);
	return ret;
}
