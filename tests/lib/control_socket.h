/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_LIB_CONTROL_SOCKET_H
#define TESTS_LIB_CONTROL_SOCKET_H

#include "vmm/commands.h"
#include "vmm/vm.h"

/*
 * A control socket in a folder of its own, for tests/lib/qmp_peer.h and samara ctl to connect to. One
 * at a time.
 */
#define SOCKET_PATH_BYTES 48

extern char socket_folder[], socket_path[SOCKET_PATH_BYTES];

/* Of a group of tests: make the folder; remove it, and fail if anything is left in it. */
int make_folder(void **state);
int remove_folder(void **state);

/* Return: 0, or -errno with a line on standard error. */
int socket_serve(struct vm *vm);

/* Again and again, if need be. Return: 0; -1: the socket's file is still there. */
int socket_close(void);

/**
 * ctl() - run samara ctl on the socket; what it prints is dropped, since TAP is on standard output
 * @a, @b, @c: the verb's arguments; NULL: there are no more
 *
 * Context: any thread; meanwhile, what others print is dropped, too.
 * Return: its exit status.
 */
int ctl(const char *verb, const char *a, const char *b, const char *c);

#endif
