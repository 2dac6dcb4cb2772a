/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * query-qmp-schema: the commands, events and their types, made from the tables that the dispatcher
 * itself works by, in the form of QEMU's qapi/introspect.json. Types that have no name of their own
 * are numbered.
 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "vmm/qmp_command.h"

/* Types there can be; the tables are far from it, and one more fails the query. */
#define TYPES_MAX 256

/**
 * struct builder - a schema while it is made; one thread's own
 * @types: what was numbered, by the table that declares it; the index is its name
 */
struct builder {
	json_t *list;
	const void *types[TYPES_MAX];
	unsigned int count;
	bool failed;
};

/* Name of the object without members, which is the first. */
#define EMPTY "0"

static void add(struct builder *builder, json_t *entry)
{
	if (json_array_append_new(builder->list, entry))
		builder->failed = true;
}

/* Whether the type is there already; its number either way. */
static bool numbered(struct builder *builder, const void *declaration, unsigned int *number)
{
	for (*number = 0; *number < builder->count; ++*number)
		if (builder->types[*number] == declaration)
			return true;
	if (builder->count == TYPES_MAX)
		builder->failed = true;
	else
		builder->types[builder->count++] = declaration;
	return false;
}

static void add_builtin(struct builder *builder, const char *name, const char *json_type)
{
	add(builder, json_pack("{s:s, s:s, s:s}", "name", name, "meta-type", "builtin", "json-type",
			       json_type));
}

static void add_enum(struct builder *builder, const char *name, const char *const *words)
{
	json_t *members = json_array(), *values = json_array();

	for (; *words; words++) {
		json_array_append_new(members, json_pack("{s:s}", "name", *words));
		json_array_append_new(values, json_string(*words));
	}
	add(builder, json_pack("{s:s, s:s, s:o, s:o}", "name", name, "meta-type", "enum", "members",
			       members, "values", values));
}

static json_t *object_type(struct builder *builder, const struct qmp_arg *members);

/* The name of an argument's type, adding what it takes. */
static json_t *type_of(struct builder *builder, const struct qmp_arg *arg)
{
	char name[16], element[16];
	unsigned int number;
	json_t *object;

	switch (arg->type) {
	case QMP_ARG_SIZE:
		return json_string("size");
	case QMP_ARG_ENUM:
		if (!numbered(builder, arg->words, &number)) {
			snprintf(name, sizeof(name), "%u", number);
			add_enum(builder, name, arg->words);
		}
		return json_sprintf("%u", number);
	case QMP_ARG_STRINGS:
		return json_string("[str]");
	case QMP_ARG_STRING:
		return json_string("str");
	case QMP_ARG_BOOL:
		return json_string("bool");
	case QMP_ARG_ANY:
		return json_string("any");
	case QMP_ARG_OBJECT:
		return object_type(builder, arg->members);
	case QMP_ARG_OBJECTS:
		object = object_type(builder, arg->members);
		snprintf(element, sizeof(element), "%s", json_string_value(object));
		json_decref(object);
		/* An array is known by the declaration of its own, and not by its elements'. */
		if (!numbered(builder, arg, &number))
			add(builder,
			    json_pack("{s:o, s:s, s:s}", "name", json_sprintf("%u", number),
				      "meta-type", "array", "element-type", element));
		return json_sprintf("%u", number);
	}
	return NULL;
}

static json_t *describe_members(struct builder *builder, const struct qmp_arg *members,
				const char *leave_out)
{
	json_t *list = json_array(), *member;

	for (; members && members->name; members++) {
		if (leave_out && !strcmp(members->name, leave_out))
			continue;
		member = json_pack("{s:s, s:o}", "name", members->name, "type",
				   type_of(builder, members));
		if (members->optional && member)
			json_object_set_new(member, "default", json_null());
		if (json_array_append_new(list, member))
			builder->failed = true;
	}
	return list;
}

static json_t *object_type(struct builder *builder, const struct qmp_arg *members)
{
	unsigned int number;

	if (!members)
		return json_string(EMPTY);
	if (!numbered(builder, members, &number)) {
		json_t *list = describe_members(builder, members, NULL);

		add(builder, json_pack("{s:o, s:s, s:o}", "name", json_sprintf("%u", number),
				       "meta-type", "object", "members", list));
	}
	return json_sprintf("%u", number);
}

/* One case: what its variant takes besides the argument that decides. */
static json_t *describe_case(struct builder *builder, const struct qmp_variant *variant,
			     const char *tag)
{
	unsigned int number;

	if (!numbered(builder, variant, &number)) {
		json_t *list = describe_members(builder, variant->args, tag);

		add(builder, json_pack("{s:o, s:s, s:o}", "name", json_sprintf("%u", number),
				       "meta-type", "object", "members", list));
	}
	return json_pack("{s:s, s:o}", "case", variant->name, "type", json_sprintf("%u", number));
}

static json_t *variants_type(struct builder *builder, const struct qmp_command *command)
{
	const struct qmp_variant *variant;
	json_t *words = json_array(), *values = json_array(), *cases = json_array();
	unsigned int object, tag;

	numbered(builder, command, &object);
	numbered(builder, command->variants, &tag);
	for (variant = command->variants; variant->name; variant++) {
		json_array_append_new(words, json_pack("{s:s}", "name", variant->name));
		json_array_append_new(values, json_string(variant->name));
		if (json_array_append_new(cases, describe_case(builder, variant, command->tag)))
			builder->failed = true;
	}
	add(builder, json_pack("{s:o, s:s, s:o, s:o}", "name", json_sprintf("%u", tag), "meta-type",
			       "enum", "members", words, "values", values));
	add(builder,
	    json_pack("{s:o, s:s, s:[{s:s, s:o}], s:s, s:o}", "name", json_sprintf("%u", object),
		      "meta-type", "object", "members", "name", command->tag, "type",
		      json_sprintf("%u", tag), "tag", command->tag, "variants", cases));
	return json_sprintf("%u", object);
}

static void add_command(struct builder *builder, const struct qmp_command *command)
{
	json_t *takes = command->variants ? variants_type(builder, command)
					  : object_type(builder, command->args);
	json_t *returns =
		command->returns ? type_of(builder, command->returns) : json_string(EMPTY);

	add(builder, json_pack("{s:s, s:s, s:o, s:o}", "name", command->name, "meta-type",
			       "command", "arg-type", takes, "ret-type", returns));
}

static void add_types(struct builder *builder)
{
	add_builtin(builder, "str", "string");
	add_builtin(builder, "int", "int");
	add_builtin(builder, "bool", "boolean");
	add_builtin(builder, "any", "value");
	add(builder, json_pack("{s:s, s:s, s:s}", "name", "[str]", "meta-type", "array",
			       "element-type", "str"));
	/* A number of 64 bits, or a string that is one: "4G", "0x1000". */
	add(builder, json_pack("{s:s, s:s, s:[{s:s}, {s:s}]}", "name", "size", "meta-type",
			       "alternate", "members", "type", "int", "type", "str"));
	add(builder,
	    json_pack("{s:s, s:s, s:[]}", "name", EMPTY, "meta-type", "object", "members"));
}

json_t *qmp_schema(void)
{
	struct builder builder = {.list = json_array()};
	const struct qmp_command *const *table, *command;
	const struct qmp_event *event;

	if (!builder.list)
		return NULL;
	builder.count = 1; /* EMPTY */
	add_types(&builder);
	for (table = qmp_command_tables; *table; table++)
		for (command = *table; command->name; command++)
			add_command(&builder, command);
	for (event = qmp_events; event->name; event++)
		add(&builder,
		    json_pack("{s:s, s:s, s:o}", "name", event->name, "meta-type", "event",
			      "arg-type", object_type(&builder, event->members)));
	if (builder.failed) {
		json_decref(builder.list);
		return NULL;
	}
	return builder.list;
}
