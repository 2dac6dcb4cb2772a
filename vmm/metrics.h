/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_METRICS_H
#define VMM_METRICS_H

#include <stddef.h>
#include <sys/socket.h>

#include <samara/error.h>

#include "vmm/vm.h"

/*
 * The metrics endpoint: GET /metrics over HTTP answers with what the VM counts, in the text format
 * 0.0.4 of Prometheus. One thread of its own serves it; a client can read counters and nothing
 * else, and what it can take is bounded: METRICS_CLIENTS_MAX connections, METRICS_MEMORY_BYTES and
 * METRICS_IDLE_SECONDS of silence each.
 */
struct metrics_server;

#define METRICS_CLIENTS_MAX  32u
#define METRICS_MEMORY_BYTES ((size_t)16 << 10)
#define METRICS_IDLE_SECONDS 5u

/**
 * struct metrics_address - where to listen
 * @path: of a UNIX socket, NULL: @inet
 */
struct metrics_address {
	const char *path;
	struct sockaddr_storage inet;
	socklen_t inet_bytes;
};

/**
 * metrics_parse() - the value of --metrics
 * @text: "unix:PATH", "tcp:PORT" (on 127.0.0.1) or "tcp:ADDRESS:PORT" with a numeric address, IPv6
 *        in brackets; @address keeps pointing into it
 *
 * Context: Does not sleep: no name is looked up.
 * Return: 0, -EINVAL with the option by name.
 */
int metrics_parse(const char *text, struct metrics_address *address, struct samara_error *err);

/**
 * metrics_text() - all metrics in the text format, to be freed; NULL when out of memory
 *
 * Context: Delays no vCPU.
 */
char *metrics_text(struct vm *vm);

/**
 * metrics_server_start() - listen, and serve clients until metrics_server_stop()
 * @where: as metrics_parse() takes it
 *
 * A UNIX socket is its owner's alone (mode 0600).
 *
 * Context: May sleep, starts a thread.
 * Return: 0, -EINVAL, -EADDRINUSE, -EEXIST (not a socket), -ENOMEM, or what the system said.
 */
int metrics_server_start(struct vm *vm, const char *where, struct metrics_server **out,
			 struct samara_error *err);

/**
 * metrics_server_stop() - let all clients go, remove the socket, free the server
 *
 * Context: May sleep. @server may be NULL.
 */
void metrics_server_stop(struct metrics_server *server);

#endif
