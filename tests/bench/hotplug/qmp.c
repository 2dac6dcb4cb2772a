/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/bench/hotplug/qmp.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PATIENCE_MS 600000

static void die(const struct qmp *qmp, const char *what)
{
	fprintf(stderr, "meter: %s: %s\n", qmp->name, what);
	exit(1);
}

static void wait_for_bytes(struct qmp *qmp)
{
	struct pollfd poll_fd = {.fd = qmp->fd, .events = POLLIN};

	if (poll(&poll_fd, 1, PATIENCE_MS) != 1)
		die(qmp, "no answer");
}

/* The next whole line that is there, or NULL. */
static char *next_line(struct qmp *qmp)
{
	char *end;
	ssize_t length;

	memmove(qmp->buffer, qmp->buffer + qmp->line_bytes, qmp->used - qmp->line_bytes);
	qmp->used -= qmp->line_bytes;
	qmp->line_bytes = 0;
	end = memchr(qmp->buffer, '\n', qmp->used);
	if (!end) {
		length = recv(qmp->fd, qmp->buffer + qmp->used, sizeof(qmp->buffer) - qmp->used,
			      MSG_DONTWAIT);
		if (!length || (length < 0 && errno != EAGAIN))
			die(qmp, "the connection ended");
		if (length < 0)
			return NULL;
		qmp->used += (size_t)length;
		end = memchr(qmp->buffer, '\n', qmp->used);
	}
	if (!end)
		return NULL;
	*end = 0;
	qmp->line_bytes = (size_t)(end - qmp->buffer) + 1;
	return qmp->buffer;
}

/* The next answer that is there, or NULL. */
static char *next_answer(struct qmp *qmp)
{
	char *line;

	while ((line = next_line(qmp))) {
		if (strstr(line, "\"DEVICE_DELETED\"") && strstr(line, "\"device\""))
			qmp->deleted++;
		if (strstr(line, "UNPLUG_GUEST_ERROR") || strstr(line, "MEM_UNPLUG_ERROR"))
			die(qmp, line);
		if (strstr(line, "\"event\""))
			continue;
		if (strstr(line, "\"error\""))
			die(qmp, line);
		if (strstr(line, "\"return\""))
			return line;
	}
	return NULL;
}

static void send_command(struct qmp *qmp, const char *format, va_list arguments)
{
	char command[1024];
	int length = vsnprintf(command, sizeof(command) - 1, format, arguments);

	command[length++] = '\n';
	if (send(qmp->fd, command, (size_t)length, MSG_NOSIGNAL) != length)
		die(qmp, "it does not take a command");
}

static const char *wait_for_answer(struct qmp *qmp)
{
	const char *line;

	while (!(line = next_answer(qmp)))
		wait_for_bytes(qmp);
	return line;
}

void qmp_open(struct qmp *qmp, const char *name, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	qmp->name = name;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	qmp->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (qmp->fd < 0 || connect(qmp->fd, (struct sockaddr *)&address, sizeof(address)))
		die(qmp, strerror(errno));
	qmp_ask(qmp, "{\"execute\":\"qmp_capabilities\"}");
}

void qmp_send(struct qmp *qmp, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	send_command(qmp, format, arguments);
	va_end(arguments);
}

bool qmp_take(struct qmp *qmp)
{
	return next_answer(qmp);
}

const char *qmp_ask(struct qmp *qmp, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	send_command(qmp, format, arguments);
	va_end(arguments);
	return wait_for_answer(qmp);
}

uint64_t qmp_ask_number(struct qmp *qmp, const char *command, const char *member)
{
	const char *line = qmp_ask(qmp, "%s", command);
	char key[64];

	snprintf(key, sizeof(key), "\"%s\":", member);
	line = strstr(line, key);
	if (!line)
		die(qmp, "an answer without the number that was asked for");
	return strtoull(line + strlen(key), NULL, 10);
}

void qmp_wait_deleted(struct qmp *qmp, unsigned int deleted)
{
	while (qmp->deleted < deleted) {
		next_answer(qmp);
		if (qmp->deleted < deleted)
			wait_for_bytes(qmp);
	}
}
