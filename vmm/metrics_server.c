/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/metrics.h"
#include "vmm/qmp_socket.h"

#define FORM "unix:PATH, tcp:PORT or tcp:ADDRESS:PORT"

/**
 * struct metrics_server - the endpoint; immutable while its thread runs
 * @socket: for a UNIX socket; its path is empty otherwise
 */
struct metrics_server {
	struct vm *vm;
	struct MHD_Daemon *daemon;
	struct qmp_socket socket;
};

/* ---- Where ----------------------------------------------------------------------------------- */

static int parse_tcp(const char *text, struct metrics_address *address, struct samara_error *err)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC,
				 .ai_socktype = SOCK_STREAM,
				 .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE};
	const char *colon = strrchr(text, ':'), *port = colon ? colon + 1 : text;
	char host[INET6_ADDRSTRLEN + 32] = "127.0.0.1", *end;
	size_t length = colon ? (size_t)(colon - text) : 0;
	struct addrinfo *found;
	unsigned long number;
	int ret;

	errno = 0;
	number = strtoul(port, &end, 10);
	if (*port < '0' || *port > '9' || *end || errno || !number || number > 65535)
		return samara_error_set(err, -EINVAL, "--metrics: '%s': a port is 1 to 65535",
					port);
	if (colon) {
		if (length > 1 && *text == '[' && text[length - 1] == ']') {
			text++;
			length -= 2;
		} else if (memchr(text, ':', length)) {
			return samara_error_set(err, -EINVAL,
						"--metrics: '%s': an IPv6 address goes in brackets",
						text);
		}
		if (!length || length >= sizeof(host))
			return samara_error_set(err, -EINVAL, "--metrics: '%s' is not %s", text,
						FORM);
		memcpy(host, text, length);
		host[length] = '\0';
	}
	ret = getaddrinfo(host, port, &hints, &found);
	if (ret)
		return samara_error_set(err, -EINVAL, "--metrics: '%s' is no numeric address",
					host);
	memcpy(&address->inet, found->ai_addr, found->ai_addrlen);
	address->inet_bytes = found->ai_addrlen;
	freeaddrinfo(found);
	return 0;
}

int metrics_parse(const char *text, struct metrics_address *address, struct samara_error *err)
{
	memset(address, 0, sizeof(*address));
	if (!strncmp(text, "unix:", 5) && text[5]) {
		address->path = text + 5;
		return 0;
	}
	if (!strncmp(text, "tcp:", 4) && text[4])
		return parse_tcp(text + 4, address, err);
	return samara_error_set(err, -EINVAL, "--metrics: '%s' is not %s", text, FORM);
}

/* ---- The server ------------------------------------------------------------------------------ */

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned int status,
			      const char *type, const char *text, enum MHD_ResponseMemoryMode mode)
{
	/* MHD does not write to what it is told to keep (PERSISTENT). */
	struct MHD_Response *response =
		MHD_create_response_from_buffer(strlen(text), (char *)(uintptr_t)text, mode);
	enum MHD_Result ret = MHD_NO;

	if (!response) {
		if (mode == MHD_RESPMEM_MUST_FREE)
			free((char *)(uintptr_t)text);
		return MHD_NO;
	}
	if (MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type) == MHD_YES &&
	    (status != MHD_HTTP_METHOD_NOT_ALLOWED ||
	     MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD") == MHD_YES))
		ret = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return ret;
}

static enum MHD_Result refuse(struct MHD_Connection *connection, unsigned int status,
			      const char *text)
{
	return answer(connection, status, "text/plain; charset=utf-8", text,
		      MHD_RESPMEM_PERSISTENT);
}

/* MHD calls it when the header is there, and again for each piece of a body and at its end. */
static enum MHD_Result serve(void *arg, struct MHD_Connection *connection, const char *url,
			     const char *method, const char *version, const char *body,
			     size_t *body_bytes, void **request)
{
	struct metrics_server *server = arg;
	char *text;

	(void)version;
	(void)body;
	(void)body_bytes;
	(void)request;
	/* Answered before any body is read: MHD then closes the connection after the answer. */
	if (strcmp(method, MHD_HTTP_METHOD_GET) && strcmp(method, MHD_HTTP_METHOD_HEAD))
		return refuse(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD\n");
	if (strcmp(url, "/metrics"))
		return refuse(connection, MHD_HTTP_NOT_FOUND, "there is /metrics only\n");
	text = metrics_text(server->vm);
	if (!text)
		return refuse(connection, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory\n");
	return answer(connection, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", text,
		      MHD_RESPMEM_MUST_FREE);
}

static int listen_inet(const struct metrics_address *address, const char *where,
		       struct samara_error *err)
{
	int fd, ret, one = 1;

	fd = socket(address->inet.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		goto fail;
	/* So that a VM that is started again finds the port free; IPv6 only, as it was asked. */
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (address->inet.ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (!bind(fd, (const struct sockaddr *)&address->inet, address->inet_bytes) &&
	    !listen(fd, 16))
		return fd;
fail:
	ret = -errno;
	if (fd >= 0)
		close(fd);
	return samara_error_set(err, ret, "--metrics %s: %s", where, strerror(-ret));
}

static int listen_unix(struct metrics_server *server, const char *path, struct samara_error *err)
{
	int ret = qmp_socket_listen(&server->socket, path, err);

	return ret ? ret : server->socket.fd;
}

static void close_listener(struct metrics_server *server, int fd)
{
	if (!server->socket.path[0]) {
		close(fd);
		return;
	}
	qmp_socket_close(&server->socket);
}

int metrics_server_start(struct vm *vm, const char *where, struct metrics_server **out,
			 struct samara_error *err)
{
	struct metrics_address address;
	struct metrics_server *server;
	int fd, ret;

	ret = metrics_parse(where, &address, err);
	if (ret)
		return ret;
	server = calloc(1, sizeof(*server));
	if (!server)
		return samara_error_set(err, -ENOMEM, "--metrics: out of memory");
	server->vm = vm;
	fd = address.path ? listen_unix(server, address.path, err)
			  : listen_inet(&address, where, err);
	if (fd < 0) {
		free(server);
		return fd;
	}
	server->daemon = MHD_start_daemon(
		MHD_USE_EPOLL_INTERNAL_THREAD, 0, NULL, NULL, serve, server,
		MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, METRICS_CLIENTS_MAX,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, METRICS_MEMORY_BYTES,
		MHD_OPTION_CONNECTION_TIMEOUT, METRICS_IDLE_SECONDS, MHD_OPTION_END);
	if (!server->daemon) {
		close_listener(server, fd);
		free(server);
		return samara_error_set(err, -EAGAIN, "--metrics %s: no HTTP server to be had",
					where);
	}
	*out = server;
	return 0;
}

void metrics_server_stop(struct metrics_server *server)
{
	int fd;

	if (!server)
		return;
	/* The listening socket is ours again, so that its file goes before the next one comes. */
	fd = MHD_quiesce_daemon(server->daemon);
	MHD_stop_daemon(server->daemon);
	close_listener(server, fd);
	free(server);
}
