/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/socket_file.h"

int socket_file_lock(const char *path)
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

void socket_file_unlock(int fd)
{
	if (fd >= 0)
		close(fd);
}

int socket_file_probe(const struct sockaddr_un *address)
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

void socket_file_remove_dead(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct stat stat;
	int folder;

	if (strlen(path) >= sizeof(address.sun_path))
		return;
	strcpy(address.sun_path, path);
	folder = socket_file_lock(path);
	if (!lstat(path, &stat) && S_ISSOCK(stat.st_mode) && !socket_file_probe(&address))
		unlink(path);
	socket_file_unlock(folder);
}
