/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/qmp_socket.h"

int qmp_socket_address(const char *path, struct sockaddr_un *address, struct samara_error *err)
{
	if (!*path)
		return samara_error_set(err, -EINVAL, "control socket: the path is empty");
	if (strlen(path) >= sizeof(address->sun_path))
		return samara_error_set(
			err, -ENAMETOOLONG,
			"control socket: the path has %zu bytes, a UNIX socket takes %zu: %s",
			strlen(path), sizeof(address->sun_path) - 1, path);
	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	strcpy(address->sun_path, path);
	return 0;
}

/*
 * Serialize looking at a stale file and replacing it with every other samara: a lock on the folder.
 * Where the folder may be written and not read there is no lock to be had, and none is taken.
 */
static int lock_folder(const char *path)
{
	char folder[sizeof(((struct sockaddr_un *)0)->sun_path)];
	char *slash;
	int fd;

	strcpy(folder, path);
	slash = strrchr(folder, '/');
	if (!slash)
		strcpy(folder, ".");
	else
		slash[slash == folder] = '\0';
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0)
		flock(fd, LOCK_EX);
	return fd;
}

static void unlock_folder(int fd)
{
	if (fd >= 0)
		close(fd);
}

/* Whether somebody listens there: 0 (nobody), -EADDRINUSE, or what connect() said. */
static int probe(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int ret;

	if (fd < 0)
		return -errno;
	ret = connect(fd, (const struct sockaddr *)address, sizeof(*address)) ? -errno : 0;
	close(fd);
	if (ret == -ECONNREFUSED)
		return 0;
	/* EAGAIN: its queue is full; EPROTOTYPE: it is of another type. Somebody is there. */
	if (ret == 0 || ret == -EAGAIN || ret == -EPROTOTYPE)
		return -EADDRINUSE;
	return ret;
}

/* Make room for our socket file: remove one that a dead process left. */
static int remove_stale(const struct sockaddr_un *address, struct samara_error *err)
{
	const char *path = address->sun_path;
	struct stat stat;
	int ret;

	if (lstat(path, &stat)) {
		if (errno == ENOENT)
			return 0;
		ret = -errno;
		goto failed;
	}
	if (!S_ISSOCK(stat.st_mode))
		return samara_error_set(err, -EEXIST,
					"control socket %s: a file of that name exists, and it is "
					"not a socket",
					path);
	ret = probe(address);
	if (ret == -EADDRINUSE)
		return samara_error_set(err, ret,
					"control socket %s: another process listens there", path);
	if (!ret && unlink(path) && errno != ENOENT)
		ret = -errno;
failed:
	if (ret)
		samara_error_set(err, ret, "control socket %s: %s", path, strerror(-ret));
	return ret;
}

int qmp_socket_listen(struct qmp_socket *out, const char *path, struct samara_error *err)
{
	struct sockaddr_un address;
	struct stat stat;
	int ret, folder;

	ret = qmp_socket_address(path, &address, err);
	if (ret)
		return ret;
	folder = lock_folder(path);
	ret = remove_stale(&address, err);
	if (ret)
		goto unlock;
	out->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (out->fd < 0) {
		ret = -errno;
		goto failed;
	}
	/* bind() takes the file's mode from the socket's, so nobody else gets in even at first. */
	if (fchmod(out->fd, 0600) ||
	    bind(out->fd, (const struct sockaddr *)&address, sizeof(address))) {
		ret = -errno;
		goto close;
	}
	if (listen(out->fd, 16) || lstat(path, &stat)) {
		ret = -errno;
		unlink(path);
		goto close;
	}
	strcpy(out->path, path);
	out->device = stat.st_dev;
	out->inode = stat.st_ino;
	unlock_folder(folder);
	return 0;
close:
	close(out->fd);
failed:
	samara_error_set(err, ret, "control socket %s: %s", path, strerror(-ret));
unlock:
	unlock_folder(folder);
	return ret;
}

void qmp_socket_close(struct qmp_socket *out)
{
	struct stat stat;
	int folder = lock_folder(out->path);

	if (!lstat(out->path, &stat) && stat.st_dev == out->device && stat.st_ino == out->inode)
		unlink(out->path);
	unlock_folder(folder);
	close(out->fd);
}
