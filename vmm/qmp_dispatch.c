/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From a client's message to a command of the table, and from its outcome to a reply. The words of
 * the errors follow QEMU's, since tools look for them.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/qmp_command.h"

/* A message as it goes over the wire; takes @message over. */
static char *to_wire(json_t *message)
{
	size_t length_bytes;
	char *text;

	if (!message)
		return NULL;
	length_bytes = json_dumpb(message, NULL, 0, JSON_COMPACT);
	text = malloc(length_bytes + 3);
	if (text && json_dumpb(message, text, length_bytes, JSON_COMPACT) == length_bytes) {
		memcpy(text + length_bytes, "\r\n", 3);
	} else {
		free(text);
		text = NULL;
	}
	json_decref(message);
	return text;
}

static json_t *error_object(const char *error_class, const char *text)
{
	json_t *error = json_pack("{s:{s:s, s:s}}", "error", "class", error_class, "desc", text);

	/* What a client sent may be quoted there and cut in the middle of a character. */
	if (!error)
		error = json_pack("{s:{s:s, s:s}}", "error", "class", error_class, "desc",
				  "the reason is not valid UTF-8");
	return error;
}

char *qmp_error_message(const char *error_class, const char *text)
{
	return to_wire(error_object(error_class, text));
}

json_t *qmp_version(void)
{
	/* "qemu" is the dialect of QMP: libvirt 9.0 takes 4.2 and later, newer ones 6.2. */
	return json_pack("{s:{s:i, s:i, s:i}, s:s}", "qemu", "major", 7, "minor", 2, "micro", 0,
			 "package", "samara " SAMARA_VERSION);
}

char *qmp_greeting(void)
{
	return to_wire(
		json_pack("{s:{s:o, s:[]}}", "QMP", "version", qmp_version(), "capabilities"));
}

char *qmp_event_message(const struct vm_notice *notice)
{
	return to_wire(qmp_event(notice));
}

static unsigned int arg_index(const struct qmp_call *call, const char *name)
{
	unsigned int i;

	for (i = 0; call->args[i].name; i++)
		if (!strcmp(call->args[i].name, name))
			return i;
	assert(!"a command asks for an argument that it does not declare");
	return 0;
}

bool qmp_has(const struct qmp_call *call, const char *name)
{
	return call->values[arg_index(call, name)];
}

uint64_t qmp_size(const struct qmp_call *call, const char *name)
{
	return call->sizes[arg_index(call, name)];
}

const char *qmp_word(const struct qmp_call *call, const char *name)
{
	return json_string_value(call->values[arg_index(call, name)]);
}

const json_t *qmp_strings(const struct qmp_call *call, const char *name)
{
	return call->values[arg_index(call, name)];
}

const json_t *qmp_value(const struct qmp_call *call, const char *name)
{
	return call->values[arg_index(call, name)];
}

bool qmp_bool(const struct qmp_call *call, const char *name, bool missing)
{
	const json_t *value = call->values[arg_index(call, name)];

	return value ? json_is_true(value) : missing;
}

json_t *qmp_number(uint64_t value)
{
	char text[24];

	if (value <= INT64_MAX)
		return json_integer((json_int_t)value);
	snprintf(text, sizeof(text), "0x%llx", (unsigned long long)value);
	return json_string(text);
}

int qmp_answer(struct qmp_call *call, json_t *result)
{
	call->result = result;
	return result ? 0
		      : samara_error_set(&call->err, -ENOMEM, "%s: out of memory",
					 call->command->name);
}

static int wrong_type(struct qmp_call *call, const struct qmp_arg *arg, const char *expected)
{
	return samara_error_set(&call->err, -EINVAL,
				"Invalid parameter type for '%s', expected: %s", arg->name,
				expected);
}

static int check_size(struct qmp_call *call, const struct qmp_arg *arg, const json_t *value,
		      uint64_t *size)
{
	char what[64];

	if (json_is_integer(value)) {
		if (json_integer_value(value) < 0)
			return samara_error_set(&call->err, -EINVAL,
						"Parameter '%s' is negative: %lld", arg->name,
						(long long)json_integer_value(value));
		*size = (uint64_t)json_integer_value(value);
		return 0;
	}
	if (!json_is_string(value))
		return wrong_type(call, arg, "an integer, or a string like \"4G\" or \"0x1000\"");
	snprintf(what, sizeof(what), "Parameter '%s'", arg->name);
	return parse_size(json_string_value(value), what, size, &call->err);
}

static int check_enum(struct qmp_call *call, const struct qmp_arg *arg, const json_t *value)
{
	char known[128] = "";
	unsigned int i;

	if (!json_is_string(value))
		return wrong_type(call, arg, "string");
	for (i = 0; arg->words[i]; i++) {
		size_t used = strlen(known);

		if (!strcmp(arg->words[i], json_string_value(value)))
			return 0;
		snprintf(known + used, sizeof(known) - used, "%s'%s'", i ? ", " : "",
			 arg->words[i]);
	}
	return samara_error_set(&call->err, -EINVAL,
				"Parameter '%s' does not accept value '%.64s', only %s", arg->name,
				json_string_value(value), known);
}

static int check_strings(struct qmp_call *call, const struct qmp_arg *arg, const json_t *value)
{
	size_t i;

	if (!json_is_array(value))
		return wrong_type(call, arg, "array");
	for (i = 0; i < json_array_size(value); i++)
		if (!json_is_string(json_array_get(value, i)))
			return wrong_type(call, arg, "array of strings");
	return 0;
}

static int check_arg(struct qmp_call *call, const struct qmp_arg *arg, unsigned int index)
{
	const json_t *value = call->values[index];

	if (!value)
		return arg->optional ? 0
				     : samara_error_set(&call->err, -EINVAL,
							"Parameter '%s' is missing", arg->name);
	switch (arg->type) {
	case QMP_ARG_SIZE:
		return check_size(call, arg, value, &call->sizes[index]);
	case QMP_ARG_ENUM:
		return check_enum(call, arg, value);
	case QMP_ARG_STRINGS:
		return check_strings(call, arg, value);
	case QMP_ARG_STRING:
		return json_is_string(value) ? 0 : wrong_type(call, arg, "string");
	case QMP_ARG_BOOL:
		return json_is_boolean(value) ? 0 : wrong_type(call, arg, "boolean");
	case QMP_ARG_OBJECT:
		return json_is_object(value) ? 0 : wrong_type(call, arg, "object");
	case QMP_ARG_OBJECTS:
		return json_is_array(value) ? 0 : wrong_type(call, arg, "array");
	case QMP_ARG_ANY:
		return 0;
	}
	return -EINVAL;
}

/* Sort @arguments (NULL: none) into the call, and hold them against the declaration. */
static int check_args(struct qmp_call *call, json_t *arguments)
{
	const struct qmp_arg *args = call->args;
	const char *name;
	json_t *value;
	unsigned int i;
	int ret;

	json_object_foreach(arguments, name, value)
	{
		for (i = 0; args && args[i].name; i++)
			if (!strcmp(args[i].name, name))
				break;
		if (!args || !args[i].name)
			return samara_error_set(&call->err, -EINVAL,
						"Parameter '%.64s' is unexpected", name);
		call->values[i] = value;
	}
	for (i = 0; args && args[i].name; i++) {
		ret = check_arg(call, &args[i], i);
		if (ret)
			return ret;
	}
	return 0;
}

static const struct qmp_command *find_command(const char *name)
{
	const struct qmp_command *const *table, *command;

	for (table = qmp_command_tables; *table; table++)
		for (command = *table; command->name; command++)
			if (!strcmp(command->name, name))
				return command;
	return NULL;
}

/* Choose by the argument that decides. Return: 0 with *variant, or an error. */
static int find_variant(struct qmp_call *call, const json_t *arguments,
			const struct qmp_variant **variant)
{
	const char *tag = call->command->tag;
	const json_t *value = json_object_get(arguments, tag);

	if (!value)
		return samara_error_set(&call->err, -EINVAL, "Parameter '%s' is missing", tag);
	if (!json_is_string(value))
		return samara_error_set(&call->err, -EINVAL,
					"Invalid parameter type for '%s', expected: string", tag);
	for (*variant = call->command->variants; (*variant)->name; ++*variant)
		if (!strcmp((*variant)->name, json_string_value(value)))
			return 0;
	return samara_error_set(&call->err, -EINVAL, "Parameter '%s' does not accept value '%.64s'",
				tag, json_string_value(value));
}

/* Check the arguments, and carry out the command or the variant that they choose. */
static int run_command(struct qmp_call *call, json_t *arguments)
{
	const struct qmp_variant *variant = NULL;
	int (*run)(struct qmp_call * call) = call->command->run;
	int ret = 0;

	call->args = call->command->args;
	if (call->command->variants) {
		ret = find_variant(call, arguments, &variant);
		if (ret)
			return ret;
		call->args = variant->args;
		run = variant->run;
	}
	ret = check_args(call, arguments);
	return ret ? ret : run(call);
}

/* Check the members of a message. On success *execute and *arguments are borrowed from it. */
static int check_message(json_t *message, const char **execute, json_t **arguments,
			 struct samara_error *err)
{
	const char *name;
	json_t *value;

	*execute = NULL;
	*arguments = NULL;
	if (!json_is_object(message))
		return samara_error_set(err, -EINVAL, "QMP input must be a JSON object");
	json_object_foreach(message, name, value)
	{
		if (!strcmp(name, "execute")) {
			*execute = json_string_value(value);
			if (!*execute)
				return samara_error_set(
					err, -EINVAL,
					"QMP input member 'execute' must be a string");
		} else if (!strcmp(name, "arguments")) {
			if (!json_is_object(value))
				return samara_error_set(
					err, -EINVAL,
					"QMP input member 'arguments' must be an object");
			*arguments = value;
		} else if (strcmp(name, "id")) {
			return samara_error_set(err, -EINVAL,
						"QMP input member '%.64s' is unexpected", name);
		}
	}
	if (!*execute)
		return samara_error_set(err, -EINVAL, "QMP input lacks member 'execute'");
	return 0;
}

static int run(struct qmp_call *call, json_t *message)
{
	const char *execute;
	json_t *arguments;
	int ret;

	ret = check_message(message, &execute, &arguments, &call->err);
	if (ret)
		return ret;
	call->command = find_command(execute);
	call->error_class = "CommandNotFound";
	if (!call->session->negotiated && !(call->command && call->command->before_negotiation))
		return samara_error_set(
			&call->err, -EPERM,
			"Expecting capabilities negotiation with 'qmp_capabilities'");
	if (!call->command)
		return samara_error_set(&call->err, -ENOENT, "The command %.64s has not been found",
					execute);
	if (call->session->negotiated && call->command->before_negotiation)
		return samara_error_set(&call->err, -EALREADY,
					"Capabilities negotiation is already complete, command "
					"ignored");
	call->error_class = NULL;
	return run_command(call, arguments);
}

char *qmp_dispatch(struct qmp_session *session, const char *text, size_t length_bytes)
{
	struct qmp_call call = {.session = session, .vm = session->vm};
	json_t *message, *reply, *id;
	json_error_t reason;
	int ret;

	message = json_loadb(text, length_bytes, JSON_REJECT_DUPLICATES, &reason);
	if (!message)
		ret = samara_error_set(&call.err, -EINVAL, "JSON parse error, %s", reason.text);
	else
		ret = run(&call, message);
	if (ret) {
		json_decref(call.result);
		reply = error_object(call.error_class ? call.error_class : "GenericError",
				     call.err.text);
	} else {
		reply = json_pack("{s:o}", "return", call.result ? call.result : json_object());
	}
	id = json_object_get(message, "id");
	if (id && reply)
		json_object_set(reply, "id", id);
	json_decref(message);
	return to_wire(reply);
}
