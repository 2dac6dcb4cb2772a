/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_QMP_SOCKET_H
#define VMM_QMP_SOCKET_H

#include <sys/types.h>
#include <sys/un.h>

#include <samara/error.h>

/**
 * struct qmp_socket - a listening UNIX socket and the file that names it; its owner's alone
 * @device, @inode: which file we made, so that another's is never removed
 */
struct qmp_socket {
	int fd;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	dev_t device;
	ino_t inode;
};

/**
 * qmp_socket_address() - a path as a socket address
 *
 * Return: 0, -ENAMETOOLONG or -EINVAL (empty), with the path by name.
 */
int qmp_socket_address(const char *path, struct sockaddr_un *address, struct samara_error *err);

/**
 * qmp_socket_listen() - make the socket, mode 0600, non-blocking
 *
 * A socket file that nobody listens on any more is replaced. The janitor knows of the file before
 * it is there, so none stays behind whenever the process is killed.
 * Return: 0, -ENAMETOOLONG, -EADDRINUSE, -EEXIST, or what the file system said.
 */
int qmp_socket_listen(struct qmp_socket *socket, const char *path, struct samara_error *err);

/* Close it and remove its file, if it is still the one we made. */
void qmp_socket_close(struct qmp_socket *socket);

#endif
