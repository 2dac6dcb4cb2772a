/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_QMP_COMMAND_H
#define VMM_QMP_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include <samara/error.h>

#include "vmm/vm.h"

/*
 * What a QMP command is: a name, the arguments it takes, and a function. The dispatcher checks the
 * arguments against their declaration, so a command sees only what it declared, in its range.
 */

enum qmp_arg_type {
	QMP_ARG_SIZE,   /* bytes or an address: a 64-bit integer, or a string like "4G", "0x1000" */
	QMP_ARG_ENUM,   /* one of a list of words */
	QMP_ARG_STRINGS /* an array of strings */
};

/**
 * struct qmp_arg - one argument of a command; immutable
 * @words: for QMP_ARG_ENUM, ended by NULL
 */
struct qmp_arg {
	const char *name;
	enum qmp_arg_type type;
	bool optional;
	const char *const *words;
};

#define QMP_ARGS_MAX 8

/**
 * struct qmp_session - what the server knows of one client's conversation
 *
 * Used by the client's own thread alone.
 */
struct qmp_session {
	struct vm *vm;
	bool negotiated; /* qmp_capabilities is done: commands are taken, events are sent */
};

struct qmp_command;

/**
 * struct qmp_call - one execution of a command
 * @result: what to return; NULL gives {}
 * @error_class: the class of an error, NULL gives GenericError
 *
 * The rest is the dispatcher's; commands use qmp_size() and its like. One thread's own.
 */
struct qmp_call {
	struct qmp_session *session;
	struct vm *vm;
	json_t *result;
	const char *error_class;
	struct samara_error err;

	const struct qmp_command *command;
	json_t *values[QMP_ARGS_MAX]; /* borrowed; NULL: not given */
	uint64_t sizes[QMP_ARGS_MAX];
};

/**
 * struct qmp_command - a row of the command table; immutable
 * @args: ended by one without a name; NULL: none
 * @before_negotiation: whether it is for before qmp_capabilities, and for then only
 * @run: returns 0, or -errno with call->err set; client's own thread, may sleep
 */
struct qmp_command {
	const char *name;
	const struct qmp_arg *args;
	bool before_negotiation;
	int (*run)(struct qmp_call *call);
};

/* The command table, ended by an entry without a name (qmp_commands.c). */
extern const struct qmp_command qmp_commands[];

/* Commands of vmm/qmp_virtio.c. */
int qmp_virtio_balloon(struct qmp_call *call);
int qmp_virtio_balloon_stats(struct qmp_call *call);
int qmp_virtio_mem(struct qmp_call *call);
int qmp_query_virtio(struct qmp_call *call);

/* Whether an argument that the command declares was given, and its value. */
bool qmp_has(const struct qmp_call *call, const char *name);
uint64_t qmp_size(const struct qmp_call *call, const char *name);
const char *qmp_word(const struct qmp_call *call, const char *name);
const json_t *qmp_strings(const struct qmp_call *call, const char *name);

/**
 * qmp_dispatch() - carry out one message of a client
 * @text: the message, a JSON text
 *
 * Context: May sleep, as long as the command takes.
 * Return: the reply as it goes over the wire, to be freed; NULL when out of memory.
 */
char *qmp_dispatch(struct qmp_session *session, const char *text, size_t length_bytes);

/* Messages that are no replies. Each to be freed; NULL when out of memory. */
char *qmp_greeting(void);
char *qmp_error_message(const char *error_class, const char *text);
char *qmp_event_message(enum vm_event event, bool by_guest);

/* The version of samara and of the QMP dialect, as query-version shows it. */
json_t *qmp_version(void);

#endif
