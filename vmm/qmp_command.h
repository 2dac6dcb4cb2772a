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
	QMP_ARG_SIZE, /* bytes or an address: a 64-bit integer, or a string like "4G", "0x1000" */
	QMP_ARG_ENUM, /* one of a list of words */
	QMP_ARG_STRINGS, /* an array of strings */
	QMP_ARG_STRING,
	QMP_ARG_BOOL,
	QMP_ARG_ANY,     /* any value: the command looks itself */
	QMP_ARG_OBJECT,  /* for results: an object */
	QMP_ARG_OBJECTS, /* for results: an array of objects */
};

/**
 * struct qmp_arg - one argument of a command, or a member of a result or event; immutable
 * @words: for QMP_ARG_ENUM, ended by NULL
 * @members: for QMP_ARG_OBJECT and _OBJECTS, ended by one without a name
 */
struct qmp_arg {
	const char *name;
	enum qmp_arg_type type;
	bool optional;
	const char *const *words;
	const struct qmp_arg *members;
};

/* Elements of an array of these: one that is always there, one that may be left out, and its end. */
#define QMP_MEMBER(name, type)                          \
	{                                               \
		name, QMP_ARG_##type, false, NULL, NULL \
	}
#define QMP_OPTION(name, type)                         \
	{                                              \
		name, QMP_ARG_##type, true, NULL, NULL \
	}
#define QMP_END                            \
	{                                  \
		NULL, 0, false, NULL, NULL \
	}

#define QMP_ARGS_MAX 20

/**
 * struct qmp_session - what the server knows of one client's conversation
 *
 * Used by the client's own thread alone.
 */
struct qmp_session {
	struct vm *vm;
	int fd;          /* of its connection, for qmp_client_gone() */
	bool negotiated; /* qmp_capabilities is done: commands are taken, events are sent */
};

struct qmp_command;

/**
 * struct qmp_call - one execution of a command
 * @result: what to return; NULL gives {}
 * @error_class: the class of an error, NULL gives GenericError
 *
 * The rest is the dispatcher's; commands use qmp_size() and its like. One thread's own.
 *
 * @args: what is declared: the command's arguments, or those of the variant that was chosen
 */
struct qmp_call {
	struct qmp_session *session;
	struct vm *vm;
	json_t *result;
	const char *error_class;
	struct samara_error err;

	const struct qmp_command *command;
	const struct qmp_arg *args;
	json_t *values[QMP_ARGS_MAX]; /* borrowed; NULL: not given */
	uint64_t sizes[QMP_ARGS_MAX];
};

/**
 * struct qmp_variant - a command whose arguments depend on one of them; immutable
 * @name: the value of that one: "pc-dimm"
 * @args: all that the command takes then; ended by one without a name
 */
struct qmp_variant {
	const char *name;
	const struct qmp_arg *args;
	int (*run)(struct qmp_call *call);
};

/**
 * struct qmp_command - a row of a command table; immutable
 * @args: ended by one without a name; NULL: none
 * @before_negotiation: whether it is for before qmp_capabilities, and for then only
 * @run: returns 0, or -errno with call->err set; client's own thread, may sleep
 * @returns: what it returns, NULL: {}
 * @tag, @variants: which argument decides, and between what (ended by one without a name); then
 * @args and @run are not used
 */
struct qmp_command {
	const char *name;
	const struct qmp_arg *args;
	bool before_negotiation;
	int (*run)(struct qmp_call *call);
	const struct qmp_arg *returns;
	const char *tag;
	const struct qmp_variant *variants;
};

/**
 * struct qmp_event - an event as clients get it; immutable
 * @members: of its data, ended by one without a name; NULL: there is none
 */
struct qmp_event {
	const char *name;
	const struct qmp_arg *members;
};

/* The command tables, each ended by an entry without a name; ended by NULL (qmp_commands.c). */
extern const struct qmp_command *const qmp_command_tables[];

/* Those about memory devices (qmp_memory.c), and about the balloon (qmp_balloon.c). */
extern const struct qmp_command qmp_memory_commands[];
extern const struct qmp_command qmp_balloon_commands[];

/* The events, by enum vm_event; ended by an entry without a name (qmp_event.c). */
extern const struct qmp_event qmp_events[];

/* What clients can use, as query-qmp-schema returns it (QEMU, qapi/introspect.json). */
json_t *qmp_schema(void);

/* Whether an argument that the command declares was given, and its value. */
bool qmp_has(const struct qmp_call *call, const char *name);
uint64_t qmp_size(const struct qmp_call *call, const char *name);
const char *qmp_word(const struct qmp_call *call, const char *name);
const json_t *qmp_strings(const struct qmp_call *call, const char *name);
const json_t *qmp_value(const struct qmp_call *call, const char *name);

/* The value, or @missing if it was not given. */
bool qmp_bool(const struct qmp_call *call, const char *name, bool missing);

/*
 * Whether nobody is there any more to read the reply, for commands that wait: the connection was
 * closed. One that only its sending side was shut down of is not.
 */
bool qmp_client_gone(const struct qmp_session *session);

/* A number that may be past JSON's (jansson's) signed 64 bits: those as a string, which we read. */
json_t *qmp_number(uint64_t value);

/* End a query: @result is the reply; NULL: out of memory. Return: what the command returns. */
int qmp_answer(struct qmp_call *call, json_t *result);

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
char *qmp_event_message(const struct vm_notice *notice);

/* The event as JSON, to be released; NULL when out of memory (qmp_event.c). */
json_t *qmp_event(const struct vm_notice *notice);

/* What the VM counts, to be released; NULL when out of memory (qmp_stats.c). */
json_t *qmp_stats(struct vm *vm);

/* The version of samara and of the QMP dialect, as query-version shows it. */
json_t *qmp_version(void);

#endif
