/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_QOM_H
#define VMM_QOM_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include <samara/error.h>

/*
 * What the machine is made of, by path, as QMP's qom-get, qom-set and qom-list see it: devices
 * below /machine/peripheral, memory backends below /objects. Each has properties with a type, which
 * is checked before a setter sees a value.
 */
struct qom;

enum qom_type {
	QOM_STRING,
	QOM_SIZE, /* bytes */
	QOM_INT,
	QOM_BOOL,
	QOM_OBJECT, /* a JSON object */
};

/**
 * union qom_value - a property's value
 * @string: in a setter it ends with the call; a getter's stays valid as long as the object
 * @object: a getter's is handed over
 */
union qom_value {
	const char *string;
	uint64_t size;
	int64_t integer;
	bool boolean;
	json_t *object;
};

/**
 * struct qom_property - a property; immutable
 * @get, @set: NULL: it can't be. They return 0, or -errno with the error set.
 *
 * Context of both: any thread, several at once; they may sleep, and must not call qom_*().
 */
struct qom_property {
	const char *name;
	enum qom_type type;
	int (*get)(void *object, union qom_value *value, struct samara_error *err);
	int (*set)(void *object, const union qom_value *value, struct samara_error *err);
};

/* Return: 0, -ENOMEM. */
int qom_create(struct qom **out);

/* Context: All objects are removed. */
void qom_destroy(struct qom *qom);

/**
 * qom_add() - give an object a path
 * @path: copied
 * @type: "pc-dimm"; lives as long as the object
 * @properties: ended by one without a name
 *
 * Context: May sleep; not from a getter or setter.
 * Return: 0, -EEXIST, -ENOMEM.
 */
int qom_add(struct qom *qom, const char *path, const char *type,
	    const struct qom_property *properties, void *object, struct samara_error *err);

/**
 * qom_remove() - take a path away
 *
 * When it returns, no getter or setter of the object is running and none will.
 *
 * Context: May sleep; not from a getter or setter.
 */
void qom_remove(struct qom *qom, const char *path);

/**
 * qom_get(), qom_set() - read and write a property
 * @value: for qom_get(), to be released
 *
 * Context: May sleep.
 * Return: 0; -ENODEV (no such path), -ENOENT (no such property), -EACCES (it can't be read, or
 * written), -EINVAL (a value of another type), -ENOMEM, or what the object said.
 */
int qom_get(struct qom *qom, const char *path, const char *name, json_t **value,
	    struct samara_error *err);
int qom_set(struct qom *qom, const char *path, const char *name, const json_t *value,
	    struct samara_error *err);

/**
 * qom_list() - the properties of an object, or what lies directly below a path
 * @list: an array of {"name", "type"}, to be released
 *
 * Return: 0, -ENODEV, -ENOMEM.
 */
int qom_list(struct qom *qom, const char *path, json_t **list, struct samara_error *err);

#endif
