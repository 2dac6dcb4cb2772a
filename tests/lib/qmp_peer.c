/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/lib/qmp_peer.h"

static const char *peer_path;

void peer_use(const char *path)
{
	peer_path = path;
}

int peer_dial(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval limit = {.tv_sec = 120};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	strcpy(address.sun_path, peer_path);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	/* A test that waits for what never comes fails instead of hanging. */
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	return fd;
}

void peer_say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

char *peer_hear_line(int fd)
{
	static char line[1 << 20];
	size_t length = 0;

	for (;;) {
		ssize_t got = recv(fd, line + length, 1, 0);

		if (got < 0 && errno == ECONNRESET)
			return NULL;
		assert_true(got >= 0);
		if (!got) {
			assert_int_equal(length, 0);
			return NULL;
		}
		if (line[length] == '\n') {
			line[length] = '\0';
			return line;
		}
		assert_true(++length < sizeof(line));
	}
}

json_t *peer_hear(int fd)
{
	char *line = peer_hear_line(fd);
	json_t *message = line ? json_loads(line, 0, NULL) : NULL;

	assert_non_null(message);
	return message;
}

const char *peer_text_at(json_t *message, const char *first, const char *second)
{
	json_t *value = json_object_get(message, first);
	const char *text = json_string_value(second ? json_object_get(value, second) : value);

	return text ? text : "";
}

int peer_greet(void)
{
	int fd = peer_dial();
	json_t *message = peer_hear(fd);

	assert_non_null(json_object_get(message, "QMP"));
	json_decref(message);
	peer_say(fd, "{\"execute\":\"qmp_capabilities\"}\r\n");
	message = peer_hear(fd);
	assert_non_null(json_object_get(message, "return"));
	json_decref(message);
	return fd;
}

json_t *peer_ask(int fd, const char *text)
{
	json_t *reply;

	peer_say(fd, text);
	for (;;) {
		reply = peer_hear(fd);
		if (!json_object_get(reply, "event"))
			return reply;
		json_decref(reply);
	}
}

void peer_expect_ok(int fd, const char *text)
{
	json_t *reply = peer_ask(fd, text);

	if (!json_object_get(reply, "return"))
		fail_msg("%s: %s", text, peer_text_at(reply, "error", "desc"));
	json_decref(reply);
}

void peer_expect_error(int fd, const char *text, const char *error_class, const char *part)
{
	json_t *reply = peer_ask(fd, text);

	assert_string_equal(peer_text_at(reply, "error", "class"), error_class);
	if (!strstr(peer_text_at(reply, "error", "desc"), part))
		fail_msg("%s: '%s' does not say '%s'", text, peer_text_at(reply, "error", "desc"),
			 part);
	json_decref(reply);
}

json_t *peer_query(int fd, const char *command)
{
	char text[128];
	json_t *reply, *result;

	snprintf(text, sizeof(text), "{\"execute\":\"%s\"}", command);
	reply = peer_ask(fd, text);
	result = json_incref(json_object_get(reply, "return"));
	assert_non_null(result);
	json_decref(reply);
	return result;
}

json_t *peer_expect_event(int fd, const char *name)
{
	json_t *message = peer_hear(fd), *data;

	assert_string_equal(peer_text_at(message, "event", NULL), name);
	data = json_incref(json_object_get(message, "data"));
	json_decref(message);
	return data;
}

void peer_expect_silence(int fd)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

	assert_int_equal(poll(&poll_fd, 1, 100), 0);
}

void peer_expect_end(int fd)
{
	char buffer[4096];
	ssize_t got;

	do {
		got = recv(fd, buffer, sizeof(buffer), 0);
	} while (got > 0);
	assert_true(got == 0 || errno == ECONNRESET);
}

void peer_expect_alive(void)
{
	int fd = peer_greet();

	peer_expect_ok(fd, "{\"execute\":\"query-status\"}");
	close(fd);
}
