/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <limits.h>

#include "vmm/janitor.h"
#include "vmm/socket_file.h"

/*
 * Its name for ps. Not one that holds "samara": `pkill -9 samara` would end both at once, and
 * nobody would be left to clean up.
 */
#define NAME        "vmm-janitor"
#define SOCKET_FD   3
#define WATCHED_MAX 16 /* more are refused */

enum message_kind {
	MESSAGE_EXPECT_SOCKET,
	MESSAGE_WATCH_PATH,
	MESSAGE_UNWATCH_PATH,
	MESSAGE_WATCH_TERMINAL,
	MESSAGE_UNWATCH_TERMINAL,
};

/* What samara tells the janitor; one datagram, so it arrives as a whole or not at all. */
struct message {
	enum message_kind kind;
	union {
		struct {
			dev_t device;
			ino_t inode;
			char path[PATH_MAX];
		} file;
		struct {
			struct termios saved, ours;
		} terminal;
	};
};

/* ---- In samara ---- */

/*
 * struct janitor - samara's end
 *
 * @fd, @pid: set by janitor_start(), before there are threads, and by janitor_stop(), under @lock.
 */
static struct {
	pthread_mutex_t lock;
	int fd; /* -1: there is no janitor */
	pid_t pid;
} janitor = {.lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1};

static int tell(const struct message *message)
{
	int ret = 0;

	pthread_mutex_lock(&janitor.lock);
	if (janitor.fd >= 0) {
		while (send(janitor.fd, message, sizeof(*message), MSG_NOSIGNAL) < 0) {
			if (errno == EINTR)
				continue;
			ret = -errno;
			break;
		}
	}
	pthread_mutex_unlock(&janitor.lock);
	return ret;
}

static int tell_path(enum message_kind kind, const char *path)
{
	struct message message = {.kind = kind};
	struct stat st;

	if (strlen(path) >= sizeof(message.file.path))
		return -ENAMETOOLONG;
	if (kind == MESSAGE_WATCH_PATH) {
		if (lstat(path, &st))
			return -errno;
		message.file.device = st.st_dev;
		message.file.inode = st.st_ino;
	}
	strcpy(message.file.path, path);
	return tell(&message);
}

int janitor_expect_socket(const char *path)
{
	return tell_path(MESSAGE_EXPECT_SOCKET, path);
}

int janitor_watch_path(const char *path)
{
	return tell_path(MESSAGE_WATCH_PATH, path);
}

void janitor_unwatch_path(const char *path)
{
	tell_path(MESSAGE_UNWATCH_PATH, path);
}

void janitor_watch_terminal(const struct termios *saved, const struct termios *ours)
{
	struct message message = {.kind = MESSAGE_UNWATCH_TERMINAL};

	if (saved) {
		message.kind = MESSAGE_WATCH_TERMINAL;
		message.terminal.saved = *saved;
		message.terminal.ours = *ours;
	}
	tell(&message);
}

void janitor_stop(void)
{
	pid_t pid;

	pthread_mutex_lock(&janitor.lock);
	pid = janitor.pid;
	if (janitor.fd >= 0)
		close(janitor.fd);
	janitor.fd = -1;
	janitor.pid = 0;
	pthread_mutex_unlock(&janitor.lock);
	if (!pid)
		return;
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/* ---- In the janitor: one thread, and memory of its own ---- */

static struct {
	struct message *files[WATCHED_MAX];
	struct termios saved, ours;
	bool terminal;
} watched;

static void forget(const char *path)
{
	unsigned int i;

	for (i = 0; i < WATCHED_MAX; i++) {
		if (watched.files[i] && !strcmp(watched.files[i]->file.path, path)) {
			free(watched.files[i]);
			watched.files[i] = NULL;
		}
	}
}

static void remember(const struct message *message)
{
	unsigned int i;

	forget(message->file.path);
	for (i = 0; i < WATCHED_MAX; i++) {
		if (watched.files[i])
			continue;
		watched.files[i] = malloc(sizeof(*message));
		if (watched.files[i])
			*watched.files[i] = *message;
		return;
	}
}

static void handle(const struct message *message)
{
	switch (message->kind) {
	case MESSAGE_EXPECT_SOCKET:
	case MESSAGE_WATCH_PATH:
		remember(message);
		break;
	case MESSAGE_UNWATCH_PATH:
		forget(message->file.path);
		break;
	case MESSAGE_WATCH_TERMINAL:
		watched.saved = message->terminal.saved;
		watched.ours = message->terminal.ours;
		watched.terminal = true;
		break;
	case MESSAGE_UNWATCH_TERMINAL:
		watched.terminal = false;
		break;
	}
}

static bool same_attributes(const struct termios *a, const struct termios *b)
{
	return a->c_iflag == b->c_iflag && a->c_oflag == b->c_oflag && a->c_lflag == b->c_lflag &&
	       a->c_cflag == b->c_cflag && !memcmp(a->c_cc, b->c_cc, sizeof(a->c_cc));
}

static void remove_file(const struct message *message)
{
	const char *path = message->file.path;
	struct stat st;

	/* Which file it is was never told: if it is there, and ours, it is a socket and dead. */
	if (message->kind == MESSAGE_EXPECT_SOCKET)
		socket_file_remove_dead(path);
	/* Another process may have put its own file there meanwhile. */
	else if (!lstat(path, &st) && st.st_dev == message->file.device &&
		 st.st_ino == message->file.inode)
		unlink(path);
}

static void clean_up(void)
{
	struct termios now;
	unsigned int i;

	if (watched.terminal && !tcgetattr(STDIN_FILENO, &now) &&
	    same_attributes(&now, &watched.ours))
		tcsetattr(STDIN_FILENO, TCSANOW, &watched.saved);

	for (i = 0; i < WATCHED_MAX; i++)
		if (watched.files[i])
			remove_file(watched.files[i]);
}

/* Keep the socket as SOCKET_FD, and standard input if it is a terminal; nothing else. */
static void close_others(int socket_fd)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), fd;

	for (fd = 0; fd <= STDERR_FILENO; fd++)
		if (fd != STDIN_FILENO || !isatty(fd))
			dup2(null, fd);
	if (socket_fd != SOCKET_FD)
		dup2(socket_fd, SOCKET_FD);
	close_range(SOCKET_FD + 1, ~0u, 0);
}

/*
 * `pkill -9 -f samara` looks at the arguments, and would end both as well: put NAME in their place.
 * They lie one behind the other from argv[0] on, as long as /proc/self/cmdline is (proc(5)).
 */
static void hide_arguments(void)
{
	char *arguments = program_invocation_name, bytes[4096];
	int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
	size_t total = 0;
	ssize_t count;

	while ((count = read(fd, bytes, sizeof(bytes))) > 0) {
		/* Not where we think they are: leave them alone. */
		if (memcmp(arguments + total, bytes, count))
			break;
		total += count;
	}
	close(fd);
	if (count || total < sizeof(NAME))
		return;
	memset(arguments, 0, total);
	memcpy(arguments, NAME, sizeof(NAME));
}

__attribute__((noreturn)) static void janitor_main(int socket_fd)
{
	static struct message message;
	sigset_t all;
	ssize_t length;

	/*
	 * A session of its own: no signal of the terminal or the shell's job control comes here,
	 * and tcsetattr() is allowed as the terminal is not the controlling one. Who signals the
	 * janitor by number gets nowhere, but with SIGKILL.
	 */
	setsid();
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	prctl(PR_SET_NAME, NAME);
	hide_arguments();
	close_others(socket_fd);

	for (;;) {
		length = recv(SOCKET_FD, &message, sizeof(message), 0);
		if (length == sizeof(message))
			handle(&message);
		else if (length >= 0 || errno != EINTR)
			break;
	}
	clean_up();
	_exit(0);
}

int janitor_start(struct samara_error *err)
{
	int ends[2], ret;
	pid_t pid;

	/* Every end of samara closes its socket: that is how the janitor hears of it. */
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) {
		ret = -errno;
		return samara_error_set(err, ret, "cannot make a socket for the janitor: %s",
					strerror(-ret));
	}
	pid = fork();
	if (pid < 0) {
		ret = -errno;
		close(ends[0]);
		close(ends[1]);
		return samara_error_set(err, ret, "cannot start the janitor process: %s",
					strerror(-ret));
	}
	if (pid == 0) {
		close(ends[0]);
		janitor_main(ends[1]);
	}
	close(ends[1]);
	janitor.fd = ends[0];
	janitor.pid = pid;
	return 0;
}
