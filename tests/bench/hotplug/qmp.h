/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BENCH_HOTPLUG_QMP_H
#define BENCH_HOTPLUG_QMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A client for the QMP of samara and of QEMU, one command at a time. Whatever goes wrong ends the
 * program with a line that says so.
 */
struct qmp {
	const char *name; /* for messages */
	int fd;
	size_t used, line_bytes; /* of @buffer: in all, and the line that was read last */
	unsigned int deleted;    /* DEVICE_DELETED events so far */
	char buffer[65536];
};

/* Connect to the socket at @path, take the greeting and leave the negotiation. */
void qmp_open(struct qmp *qmp, const char *name, const char *path);

/* Send a command and do not wait. */
void qmp_send(struct qmp *qmp, const char *format, ...) __attribute__((format(printf, 2, 3)));

/**
 * qmp_take() - take what has come, and wait for nothing
 *
 * Return: whether the answer to the command was there.
 */
bool qmp_take(struct qmp *qmp);

/* Send a command, wait for its answer. Return: the answer's line, until the next call. */
const char *qmp_ask(struct qmp *qmp, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Send a command whose answer has a number: "return" itself, or a member of it. */
uint64_t qmp_ask_number(struct qmp *qmp, const char *command, const char *member);

/* Wait until so many devices have gone. */
void qmp_wait_deleted(struct qmp *qmp, unsigned int deleted);

#endif
