/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_SOCKET_FILE_H
#define VMM_SOCKET_FILE_H

#include <sys/un.h>

/*
 * The file that names a listening UNIX socket, and what of it a dead process leaves behind. No
 * state; any thread may call.
 */

/**
 * socket_file_lock() - serialize changes of a socket's file with every other samara
 * @path: of the file, short enough for a socket address; the lock is on its folder
 *
 * Hold it from the look at a stale file until listen(): to who looks, a socket that is bound and
 * does not listen yet is as dead as one whose process has ended.
 *
 * Context: May sleep, until who holds the lock lets it go.
 * Return: a descriptor for socket_file_unlock(), or -1: where the folder may be written and not
 * read there is no lock to be had, and none is taken.
 */
int socket_file_lock(const char *path);

void socket_file_unlock(int fd);

/**
 * socket_file_probe() - whether somebody listens there
 *
 * Return: 0 (nobody), -EADDRINUSE, or what connect() said.
 */
int socket_file_probe(const struct sockaddr_un *address);

/**
 * socket_file_remove_dead() - remove a socket that nobody listens on; leave all else alone
 * @path: of whatever length; one that no socket can have is not touched
 *
 * Context: May sleep, as socket_file_lock() does.
 */
void socket_file_remove_dead(const char *path);

#endif
