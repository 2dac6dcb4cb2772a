/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_QMP_CLIENT_H
#define VMM_QMP_CLIENT_H

#include <jansson.h>

#include <samara/error.h>

/*
 * A client of a control socket; one thread uses it.
 */
struct qmp_client;

/**
 * qmp_client_connect() - connect, check the greeting, negotiate
 *
 * Context: May sleep; a server that says nothing is given up after five seconds.
 * Return: 0, -ENAMETOOLONG, -ENOENT, -ECONNREFUSED (nobody listens), -EACCES, -EPROTO (not a QMP
 * server), -ETIMEDOUT, -ECONNRESET; each with the path by name.
 */
int qmp_client_connect(const char *path, struct qmp_client **out, struct samara_error *err);

/**
 * qmp_client_run() - carry out one command
 * @command: the whole message, an object with "execute"; stays the caller's
 * @result: what the command returned, to be released; may be NULL
 *
 * Events that come meanwhile are kept for qmp_client_next_event(), QMP_CLIENT_EVENTS_MAX at most:
 * the newest.
 *
 * Context: May sleep for as long as the command takes.
 * Return: 0, -EREMOTEIO (the server refused it; the text is the server's), -ECONNRESET (the
 * connection ended before the reply), -EPROTO (what came is no reply), -ENOMEM.
 */
int qmp_client_run(struct qmp_client *client, json_t *command, json_t **result,
		   struct samara_error *err);

#define QMP_CLIENT_EVENTS_MAX 64

/**
 * qmp_client_next_event() - the next event that came, or comes within a time
 * @timeout_ms: 0: only one that came; -1: as long as it takes
 * @event: the whole message, to be released
 *
 * Return: 0, -ETIMEDOUT (none came), -ECONNRESET, -EPROTO (what came is no event), -ENOMEM.
 */
int qmp_client_next_event(struct qmp_client *client, int timeout_ms, json_t **event,
			  struct samara_error *err);

/* Close the connection and free it. Context: Does not sleep. */
void qmp_client_close(struct qmp_client *client);

#endif
