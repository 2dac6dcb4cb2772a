/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/janitor.h"
#include "vmm/qmp_socket.h"
#include "vmm/socket_file.h"

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
	ret = socket_file_probe(address);
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
	folder = socket_file_lock(path);
	ret = remove_stale(&address, err);
	if (ret)
		goto unlock;
	out->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (out->fd < 0) {
		ret = -errno;
		goto failed;
	}
	/*
	 * Told before the file is there: from bind() on we may be killed at any instruction. If
	 * somebody killed the janitor, there is a socket all the same, and nobody to remove it.
	 */
	janitor_expect_socket(path);
	/* bind() takes the file's mode from the socket's, so nobody else gets in even at first. */
	if (fchmod(out->fd, 0600) ||
	    bind(out->fd, (const struct sockaddr *)&address, sizeof(address))) {
		ret = -errno;
		goto unwatch;
	}
	if (listen(out->fd, 16) || lstat(path, &stat)) {
		ret = -errno;
		unlink(path);
		goto unwatch;
	}
	janitor_watch_path(path);
	strcpy(out->path, path);
	out->device = stat.st_dev;
	out->inode = stat.st_ino;
	socket_file_unlock(folder);
	return 0;
unwatch:
	janitor_unwatch_path(path);
	close(out->fd);
failed:
	samara_error_set(err, ret, "control socket %s: %s", path, strerror(-ret));
unlock:
	socket_file_unlock(folder);
	return ret;
}

void qmp_socket_close(struct qmp_socket *out)
{
	struct stat stat;
	int folder = socket_file_lock(out->path);

	if (!lstat(out->path, &stat) && stat.st_dev == out->device && stat.st_ino == out->inode)
		unlink(out->path);
	janitor_unwatch_path(out->path);
	socket_file_unlock(folder);
	close(out->fd);
}
