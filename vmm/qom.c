/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/config.h"
#include "vmm/qom.h"

/* Immutable once it is in the list. */
struct qom_object {
	char *path;
	const char *type;
	const struct qom_property *properties;
	void *object;
	struct qom_object *next;
};

/*
 * @lock: for reading while a property is read or written, for writing while objects come and go;
 * it guards @objects. Taken before any lock of an object.
 */
struct qom {
	pthread_rwlock_t lock;
	struct qom_object *objects;
};

/* As QEMU names them. */
static const char *const type_names[] = {
	[QOM_STRING] = "string", [QOM_SIZE] = "size",     [QOM_INT] = "int",
	[QOM_BOOL] = "bool",     [QOM_OBJECT] = "struct",
};

int qom_create(struct qom **out)
{
	struct qom *qom = calloc(1, sizeof(*qom));

	if (!qom)
		return -ENOMEM;
	pthread_rwlock_init(&qom->lock, NULL);
	*out = qom;
	return 0;
}

void qom_destroy(struct qom *qom)
{
	if (!qom)
		return;
	pthread_rwlock_destroy(&qom->lock);
	free(qom);
}

static struct qom_object *find(const struct qom *qom, const char *path)
{
	struct qom_object *object;

	for (object = qom->objects; object; object = object->next)
		if (!strcmp(object->path, path))
			return object;
	return NULL;
}

static void free_object(struct qom_object *object)
{
	free(object->path);
	free(object);
}

int qom_add(struct qom *qom, const char *path, const char *type,
	    const struct qom_property *properties, void *opaque, struct samara_error *err)
{
	struct qom_object *object = calloc(1, sizeof(*object));
	bool there;

	if (!object || !(object->path = strdup(path))) {
		free(object);
		return samara_error_set(err, -ENOMEM, "%s: out of memory", path);
	}
	object->type = type;
	object->properties = properties;
	object->object = opaque;
	pthread_rwlock_wrlock(&qom->lock);
	there = find(qom, path);
	if (!there) {
		object->next = qom->objects;
		qom->objects = object;
	}
	pthread_rwlock_unlock(&qom->lock);
	if (!there)
		return 0;
	free_object(object);
	return samara_error_set(err, -EEXIST, "%s: there is an object of that name already", path);
}

void qom_remove(struct qom *qom, const char *path)
{
	struct qom_object **link, *object;

	pthread_rwlock_wrlock(&qom->lock);
	for (link = &qom->objects; *link; link = &(*link)->next)
		if (!strcmp((*link)->path, path))
			break;
	object = *link;
	if (object)
		*link = object->next;
	pthread_rwlock_unlock(&qom->lock);
	if (object)
		free_object(object);
}

/* ---- Values ---------------------------------------------------------------------------------- */

static json_t *to_json(enum qom_type type, const union qom_value *value)
{
	char text[24];

	switch (type) {
	case QOM_STRING:
		return json_string(value->string ? value->string : "");
	case QOM_SIZE:
		if (value->size <= INT64_MAX)
			return json_integer((json_int_t)value->size);
		/* Past JSON's (jansson's) signed 64 bits: as a string, which is read as well. */
		snprintf(text, sizeof(text), "0x%llx", (unsigned long long)value->size);
		return json_string(text);
	case QOM_INT:
		return json_integer(value->integer);
	case QOM_BOOL:
		return json_boolean(value->boolean);
	case QOM_OBJECT:
		return value->object;
	}
	return NULL;
}

static int wrong_type(const char *name, enum qom_type type, struct samara_error *err)
{
	static const char *const expected[] = {
		[QOM_STRING] = "string",
		[QOM_SIZE] = "an integer that is not negative, or a string like \"4G\"",
		[QOM_INT] = "integer",
		[QOM_BOOL] = "boolean",
		[QOM_OBJECT] = "object",
	};

	return samara_error_set(err, -EINVAL, "Invalid parameter type for '%s', expected: %s", name,
				expected[type]);
}

static int from_json(const char *name, enum qom_type type, const json_t *json,
		     union qom_value *value, struct samara_error *err)
{
	bool fits = false;

	switch (type) {
	case QOM_STRING:
		fits = json_is_string(json);
		value->string = json_string_value(json);
		break;
	case QOM_SIZE:
		if (json_is_string(json))
			return parse_size(json_string_value(json), name, &value->size, err);
		fits = json_is_integer(json) && json_integer_value(json) >= 0;
		value->size = (uint64_t)json_integer_value(json);
		break;
	case QOM_INT:
		fits = json_is_integer(json);
		value->integer = json_integer_value(json);
		break;
	case QOM_BOOL:
		fits = json_is_boolean(json);
		value->boolean = json_is_true(json);
		break;
	case QOM_OBJECT:
		fits = json_is_object(json);
		value->object = (json_t *)json;
		break;
	}
	return fits ? 0 : wrong_type(name, type, err);
}

/* ---- Reading and writing --------------------------------------------------------------------- */

/* Under the lock. */
static int find_property(struct qom *qom, const char *path, const char *name,
			 struct qom_object **object, const struct qom_property **out,
			 struct samara_error *err)
{
	const struct qom_property *property;

	*object = find(qom, path);
	if (!*object)
		return samara_error_set(err, -ENODEV, "Device '%.128s' not found", path);
	for (property = (*object)->properties; property->name; property++) {
		if (strcmp(property->name, name))
			continue;
		*out = property;
		return 0;
	}
	return samara_error_set(err, -ENOENT, "Property '%s.%.64s' not found", (*object)->type,
				name);
}

int qom_get(struct qom *qom, const char *path, const char *name, json_t **out,
	    struct samara_error *err)
{
	const struct qom_property *property;
	union qom_value value = {0};
	struct qom_object *object;
	int ret;

	pthread_rwlock_rdlock(&qom->lock);
	ret = find_property(qom, path, name, &object, &property, err);
	if (!ret && !property->get)
		ret = samara_error_set(err, -EACCES, "Property '%s.%s' is not readable",
				       object->type, name);
	if (!ret)
		ret = property->get(object->object, &value, err);
	if (!ret) {
		*out = to_json(property->type, &value);
		if (!*out)
			ret = samara_error_set(err, -ENOMEM, "%s: out of memory", name);
	}
	pthread_rwlock_unlock(&qom->lock);
	return ret;
}

int qom_set(struct qom *qom, const char *path, const char *name, const json_t *json,
	    struct samara_error *err)
{
	const struct qom_property *property;
	union qom_value value = {0};
	struct qom_object *object;
	int ret;

	pthread_rwlock_rdlock(&qom->lock);
	ret = find_property(qom, path, name, &object, &property, err);
	if (!ret && !property->set)
		ret = samara_error_set(err, -EACCES, "Property '%s.%s' is not writable",
				       object->type, name);
	if (!ret)
		ret = from_json(name, property->type, json, &value, err);
	if (!ret)
		ret = property->set(object->object, &value, err);
	pthread_rwlock_unlock(&qom->lock);
	return ret;
}

/* ---- Listing --------------------------------------------------------------------------------- */

/* The part of @object's path directly below @path, its length in *bytes; NULL: it is elsewhere. */
static const char *child_name(const char *object, const char *path, size_t *bytes)
{
	size_t parent_bytes = strlen(path);
	const char *name;

	while (parent_bytes && path[parent_bytes - 1] == '/')
		parent_bytes--;
	if (strncmp(object, path, parent_bytes) || object[parent_bytes] != '/')
		return NULL;
	name = object + parent_bytes + 1;
	*bytes = strcspn(name, "/");
	return name;
}

static bool is_listed(const json_t *list, const char *name)
{
	const json_t *item;
	size_t i;

	json_array_foreach(list, i,
			   item) if (!strcmp(json_string_value(json_object_get(item, "name")),
					     name)) return true;
	return false;
}

static int list_children(const struct qom *qom, const char *path, json_t *list)
{
	const struct qom_object *object;

	for (object = qom->objects; object; object = object->next) {
		char name[128], type[160];
		size_t bytes = 0;
		const char *child = child_name(object->path, path, &bytes);

		if (!child || !bytes || bytes >= sizeof(name))
			continue;
		memcpy(name, child, bytes);
		name[bytes] = '\0';
		if (is_listed(list, name))
			continue;
		snprintf(type, sizeof(type), "child<%s>",
			 child[bytes] ? "container" : object->type);
		if (json_array_append_new(list,
					  json_pack("{s:s, s:s}", "name", name, "type", type)))
			return -ENOMEM;
	}
	return 0;
}

static int list_properties(const struct qom_object *object, json_t *list)
{
	const struct qom_property *property;

	if (json_array_append_new(
		    list, json_pack("{s:s, s:s}", "name", "type", "type", type_names[QOM_STRING])))
		return -ENOMEM;
	for (property = object->properties; property->name; property++)
		if (json_array_append_new(list, json_pack("{s:s, s:s}", "name", property->name,
							  "type", type_names[property->type])))
			return -ENOMEM;
	return 0;
}

/* Containers that are there also when they are empty. */
static bool is_container(const char *path)
{
	return !strcmp(path, "/") || !strcmp(path, "/machine") || !strcmp(path, "/objects") ||
	       !strcmp(path, "/machine/peripheral");
}

int qom_list(struct qom *qom, const char *path, json_t **out, struct samara_error *err)
{
	const struct qom_object *object;
	json_t *list = json_array();
	int ret = list ? 0 : -ENOMEM;

	pthread_rwlock_rdlock(&qom->lock);
	object = find(qom, path);
	if (!ret && object)
		ret = list_properties(object, list);
	if (!ret)
		ret = list_children(qom, path, list);
	pthread_rwlock_unlock(&qom->lock);
	if (!ret && !object && !json_array_size(list) && !is_container(path))
		ret = samara_error_set(err, -ENODEV, "Device '%.128s' not found", path);
	else if (ret)
		samara_error_set(err, ret, "qom-list: out of memory");
	if (ret)
		json_decref(list);
	else
		*out = list;
	return ret;
}
