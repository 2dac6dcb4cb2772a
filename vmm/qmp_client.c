/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmm/qmp_client.h"
#include "vmm/qmp_socket.h"

#define GREETING_MS    5000

/* More than this in one line is no reply: a listing of a million regions has about 100 MiB. */
#define LINE_BYTES_MAX (UINT32_C(512) << 20)

/*
 * Used by one thread.
 */
struct qmp_client {
	int fd;
	char *path;
	char *line; /* read so far; the first line_bytes of it are a line that was handed out */
	size_t used_bytes, capacity_bytes, line_bytes;
	json_t *events; /* that came before a reply, oldest first */
};

static int make_room(struct qmp_client *client)
{
	size_t capacity_bytes = client->capacity_bytes ? client->capacity_bytes * 2 : 4096;
	char *line;

	if (client->used_bytes < client->capacity_bytes)
		return 0;
	if (client->capacity_bytes >= LINE_BYTES_MAX)
		return -EMSGSIZE;
	line = realloc(client->line, capacity_bytes);
	if (!line)
		return -ENOMEM;
	client->line = line;
	client->capacity_bytes = capacity_bytes;
	return 0;
}

static int receive(struct qmp_client *client, int timeout_ms)
{
	struct pollfd fd = {.fd = client->fd, .events = POLLIN};
	ssize_t length;
	int ret;

	do {
		ret = poll(&fd, 1, timeout_ms);
	} while (ret < 0 && errno == EINTR);
	if (ret < 0)
		return -errno;
	if (!ret)
		return -ETIMEDOUT;
	ret = make_room(client);
	if (ret)
		return ret;
	length = recv(client->fd, client->line + client->used_bytes,
		      client->capacity_bytes - client->used_bytes, 0);
	if (length < 0)
		return errno == EINTR ? 0 : -errno;
	if (!length)
		return -ECONNRESET;
	client->used_bytes += (size_t)length;
	return 0;
}

/* Hand out the next line, without its end; it is valid until the next call. */
static int next_line(struct qmp_client *client, int timeout_ms, size_t *length_bytes)
{
	size_t searched = 0;

	client->used_bytes -= client->line_bytes;
	if (client->line_bytes)
		memmove(client->line, client->line + client->line_bytes, client->used_bytes);
	client->line_bytes = 0;
	for (;;) {
		char *end = client->used_bytes > searched ? memchr(client->line + searched, '\n',
								   client->used_bytes - searched)
							  : NULL;
		int ret;

		if (end) {
			*length_bytes = (size_t)(end - client->line);
			client->line_bytes = *length_bytes + 1;
			return 0;
		}
		searched = client->used_bytes;
		ret = receive(client, timeout_ms);
		if (ret)
			return ret;
	}
}

static int next_message(struct qmp_client *client, int timeout_ms, json_t **message,
			struct samara_error *err)
{
	json_error_t reason;
	size_t length_bytes;
	int ret;

	ret = next_line(client, timeout_ms, &length_bytes);
	if (ret == -ECONNRESET)
		return samara_error_set(err, ret, "%s: the connection was lost", client->path);
	if (ret == -ETIMEDOUT)
		return samara_error_set(err, ret, "%s: nothing came for %d ms", client->path,
					timeout_ms);
	if (ret)
		return samara_error_set(err, ret, "%s: receive: %s", client->path, strerror(-ret));
	*message = json_loadb(client->line, length_bytes, 0, &reason);
	if (!json_is_object(*message)) {
		json_decref(*message);
		return samara_error_set(
			err, -EPROTO, "%s: not a QMP server: it sent no JSON object", client->path);
	}
	return 0;
}

static int send_all(struct qmp_client *client, const char *text, size_t length_bytes,
		    struct samara_error *err)
{
	while (length_bytes) {
		ssize_t sent = send(client->fd, text, length_bytes, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0 && (errno == EPIPE || errno == ECONNRESET))
			return samara_error_set(err, -ECONNRESET, "%s: the connection was lost",
						client->path);
		if (sent < 0)
			return samara_error_set(err, -errno, "%s: send: %s", client->path,
						strerror(errno));
		text += sent;
		length_bytes -= (size_t)sent;
	}
	return 0;
}

/*
 * The line end goes with the message: a server takes the message as soon as its last brace is
 * there, and after `quit` it may be gone before a second piece is sent.
 */
static int send_message(struct qmp_client *client, json_t *message, struct samara_error *err)
{
	char *text = json_dumps(message, JSON_COMPACT), *line = NULL;
	int ret, length_bytes = text ? asprintf(&line, "%s\r\n", text) : -1;

	if (length_bytes < 0)
		ret = samara_error_set(err, -ENOMEM, "%s: out of memory", client->path);
	else
		ret = send_all(client, line, (size_t)length_bytes, err);
	if (length_bytes >= 0)
		free(line);
	free(text);
	return ret;
}

/* An event that can't be kept is as one that came before anybody listened. */
static void keep_event(struct qmp_client *client, json_t *event)
{
	if (!client->events)
		client->events = json_array();
	if (json_array_size(client->events) == QMP_CLIENT_EVENTS_MAX)
		json_array_remove(client->events, 0);
	json_array_append(client->events, event);
}

int qmp_client_next_event(struct qmp_client *client, int timeout_ms, json_t **event,
			  struct samara_error *err)
{
	int ret;

	if (json_array_size(client->events)) {
		*event = json_incref(json_array_get(client->events, 0));
		json_array_remove(client->events, 0);
		return 0;
	}
	/* Part of one may have come: without a wait there is no more of it. */
	ret = next_message(client, timeout_ms, event, err);
	if (ret || json_object_get(*event, "event"))
		return ret;
	json_decref(*event);
	return samara_error_set(err, -EPROTO, "%s: the server sent what is no event", client->path);
}

int qmp_client_run(struct qmp_client *client, json_t *command, json_t **result,
		   struct samara_error *err)
{
	json_t *message, *value;
	int ret;

	ret = send_message(client, command, err);
	while (!ret) {
		ret = next_message(client, -1, &message, err);
		if (ret)
			break;
		value = json_object_get(message, "return");
		if (value) {
			if (result)
				*result = json_incref(value);
			json_decref(message);
			return 0;
		}
		value = json_object_get(message, "error");
		if (value) {
			const char *text = json_string_value(json_object_get(value, "desc"));

			ret = samara_error_set(err, -EREMOTEIO, "%s", text ? text : "refused");
		} else if (json_object_get(message, "event")) {
			keep_event(client, message);
		} else {
			ret = samara_error_set(err, -EPROTO,
					       "%s: the server sent neither reply nor event",
					       client->path);
		}
		json_decref(message);
	}
	return ret;
}

static int shake_hands(struct qmp_client *client, struct samara_error *err)
{
	json_t *greeting, *capabilities, *error;
	int ret;

	ret = next_message(client, GREETING_MS, &greeting, err);
	if (ret == -ETIMEDOUT)
		return samara_error_set(err, ret,
					"%s: not a QMP server: no greeting within %d seconds",
					client->path, GREETING_MS / 1000);
	if (ret)
		return ret;
	error = json_object_get(json_object_get(greeting, "error"), "desc");
	if (error)
		ret = samara_error_set(err, -EREMOTEIO, "%s: %s", client->path,
				       json_string_value(error));
	else if (!json_object_get(greeting, "QMP"))
		ret = samara_error_set(err, -EPROTO, "%s: not a QMP server: no QMP greeting",
				       client->path);
	json_decref(greeting);
	if (ret)
		return ret;
	capabilities = json_pack("{s:s}", "execute", "qmp_capabilities");
	ret = qmp_client_run(client, capabilities, NULL, err);
	json_decref(capabilities);
	return ret;
}

static int fail_connect(const char *path, int code, struct samara_error *err)
{
	switch (code) {
	case -ENOENT:
		return samara_error_set(err, code, "%s: there is no such socket", path);
	case -ECONNREFUSED:
		return samara_error_set(err, code,
					"%s: nobody listens there: it is no socket, or its samara "
					"has ended",
					path);
	case -EACCES:
		return samara_error_set(err, code,
					"%s: no permission; the socket belongs to who started "
					"samara",
					path);
	case -EPROTOTYPE:
		return samara_error_set(err, code, "%s: not a QMP server: a socket of another type",
					path);
	default:
		return samara_error_set(err, code, "%s: %s", path, strerror(-code));
	}
}

int qmp_client_connect(const char *path, struct qmp_client **out, struct samara_error *err)
{
	struct sockaddr_un address;
	struct qmp_client *client;
	int ret;

	ret = qmp_socket_address(path, &address, err);
	if (ret)
		return ret;
	client = calloc(1, sizeof(*client));
	if (!client)
		return samara_error_set(err, -ENOMEM, "%s: out of memory", path);
	client->path = strdup(path);
	client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (!client->path || client->fd < 0) {
		ret = samara_error_set(err, client->path ? -errno : -ENOMEM, "%s: %s", path,
				       strerror(errno));
		goto close;
	}
	if (connect(client->fd, (const struct sockaddr *)&address, sizeof(address))) {
		ret = fail_connect(path, -errno, err);
		goto close;
	}
	ret = shake_hands(client, err);
	if (ret)
		goto close;
	*out = client;
	return 0;
close:
	qmp_client_close(client);
	return ret;
}

void qmp_client_close(struct qmp_client *client)
{
	if (!client)
		return;
	if (client->fd >= 0)
		close(client->fd);
	json_decref(client->events);
	free(client->path);
	free(client->line);
	free(client);
}
