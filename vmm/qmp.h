/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_QMP_H
#define VMM_QMP_H

#include <samara/error.h>

#include "vmm/vm.h"

/*
 * The control socket: a UNIX socket that speaks QMP, the JSON protocol that VMM tooling speaks.
 *
 * One thread does all input and output; each client has a thread of its own that carries out its
 * commands one after the other. So a command that waits, for a pin say, holds up its own client
 * alone, and events reach that client meanwhile. What a client can make samara remember is
 * bounded: one message, one reply, and QMP_EVENT_BACKLOG_BYTES of events that it has not read.
 * Events that a guest can make at will, about the sizes of its devices, are thinned out
 * (vmm/qmp_throttle.h).
 */
struct qmp_server;

/* Clients at a time; one more is told so and let go. */
#define QMP_CLIENTS_MAX         32u

/* Output that a client has not read yet: above it events drop that client. */
#define QMP_EVENT_BACKLOG_BYTES (UINT32_C(1) << 20)

/**
 * qmp_server_start() - listen, and serve clients until qmp_server_stop()
 * @vm: made and not yet running; the server becomes one of its listeners
 * @path: where the socket shall be; one that a dead process left there is replaced
 *
 * Only the owner of the process can connect (mode 0600).
 *
 * Context: May sleep, starts threads.
 * Return: 0, -ENAMETOOLONG, -EADDRINUSE (somebody listens there), -EEXIST (not a socket), -ENOMEM,
 * -EAGAIN (no thread to be had), or what the file system said.
 */
int qmp_server_start(struct vm *vm, const char *path, struct qmp_server **out,
		     struct samara_error *err);

/**
 * qmp_server_stop() - send what is still to be sent, let all clients go, remove the socket
 *
 * Context: May sleep: commands in progress are waited for. After vm_run() has returned, and before
 * vm_destroy(); no event may come any more.
 */
void qmp_server_stop(struct qmp_server *server);

#endif
