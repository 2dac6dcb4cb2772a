/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The verbs of samara ctl that are one QMP command, and `raw`, which is any. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "vmm/ctl.h"
#include "vmm/qmp_client.h"

/* What an operand becomes; NULL: the error is set. */
static json_t *read_operand(const struct ctl_verb *verb, const struct ctl_argument *argument,
			    const char *text, struct samara_error *err)
{
	char number[24];
	json_t *json = NULL;
	uint64_t value;

	switch (argument->kind) {
	case CTL_SIZE:
		if (ctl_parse_size(text, argument->name, &value, err))
			return NULL;
		/* As a string: addresses go up to 2^64-1, JSON integers end at 2^63-1 in many
		 * readers. */
		snprintf(number, sizeof(number), "0x%" PRIx64, value);
		json = json_string(number);
		break;
	case CTL_PROT:
		if (strcmp(text, "ro") && strcmp(text, "rw")) {
			samara_error_set(err, -EINVAL, "%s: '%s' is neither ro nor rw", verb->name,
					 text);
			return NULL;
		}
		json = json_string(text);
		break;
	case CTL_VALUE:
		json = json_loads(text, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
		if (!json)
			json = json_string(text);
		break;
	case CTL_TEXT:
		json = json_string(text);
		break;
	}
	if (!json)
		samara_error_set(err, -EINVAL, "%s: '%s' is no text in UTF-8", verb->name, text);
	return json;
}

static int read_operands(const struct ctl_words *words, json_t *arguments, struct samara_error *err)
{
	const struct ctl_verb *verb = words->verb;

	for (unsigned int i = 0; i < verb->operands; i++) {
		const struct ctl_argument *argument = &verb->arguments[i];
		json_t *json = read_operand(verb, argument, words->operands[i], err);

		if (!json)
			return -EINVAL;
		if (json_object_set_new(arguments, argument->name, json))
			return samara_error_set(err, -ENOMEM, "out of memory");
	}
	if (ctl_has(words, "--ro") && json_object_set_new(arguments, "prot", json_string("ro")))
		return samara_error_set(err, -ENOMEM, "out of memory");
	return 0;
}

/* Connect, run one command, print its outcome. */
static int run(const char *path, json_t *command,
	       int (*show)(const json_t *result, struct samara_error *err),
	       struct samara_error *err)
{
	struct qmp_client *client = NULL;
	json_t *result = NULL;
	int ret = qmp_client_connect(path, &client, err);

	if (!ret)
		ret = qmp_client_run(client, command, &result, err);
	if (!ret && show)
		ret = show(result, err);
	json_decref(result);
	qmp_client_close(client);
	return ret;
}

int ctl_run_command(const char *path, const struct ctl_words *words, struct samara_error *err)
{
	json_t *arguments = json_object();
	json_t *command =
		json_pack("{s:s, s:O}", "execute", words->verb->execute, "arguments", arguments);
	int ret = command ? 0 : samara_error_set(err, -ENOMEM, "out of memory");

	if (!ret)
		ret = read_operands(words, arguments, err);
	if (!ret)
		ret = run(path, command,
			  ctl_has(words, "--json") ? ctl_show_json : words->verb->show, err);
	json_decref(command);
	json_decref(arguments);
	return ret;
}

int ctl_raw(const char *path, const struct ctl_words *words, struct samara_error *err)
{
	json_error_t reason;
	json_t *command = json_loads(words->operands[0], JSON_REJECT_DUPLICATES, &reason);
	int ret;

	if (json_is_object(command))
		ret = run(path, command, ctl_show_json, err);
	else
		ret = samara_error_set(err, -EINVAL, "raw: %s",
				       command ? "not a JSON object" : reason.text);
	json_decref(command);
	return ret;
}
