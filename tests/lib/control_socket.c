/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/lib/control_socket.h"
#include "tests/lib/qmp_peer.h"
#include "vmm/qmp.h"

char socket_folder[] = "/tmp/samara-test-qmp-XXXXXX";
char socket_path[SOCKET_PATH_BYTES];

static struct qmp_server *server;

int make_folder(void **state)
{
	(void)state;
	if (!mkdtemp(socket_folder))
		return -1;
	snprintf(socket_path, sizeof(socket_path), "%s/qmp", socket_folder);
	peer_use(socket_path);
	return 0;
}

int remove_folder(void **state)
{
	(void)state;
	return rmdir(socket_folder);
}

int socket_serve(struct vm *vm)
{
	struct samara_error err = {0};
	int ret = qmp_server_start(vm, socket_path, &server, &err);

	if (ret)
		fprintf(stderr, "%s\n", err.text);
	return ret;
}

int socket_close(void)
{
	qmp_server_stop(server);
	server = NULL;
	return access(socket_path, F_OK) ? 0 : -1;
}

/* ---- samara ctl ------------------------------------------------------------------------------ */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned int running; /* under lock: calls of ctl() */
static int saved[2];

static void mute(void)
{
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	fflush(stdout);
	for (int i = 0; i < 2; i++) {
		saved[i] = dup(i + 1);
		dup2(null, i + 1);
	}
	close(null);
}

static void unmute(void)
{
	fflush(stdout);
	for (int i = 0; i < 2; i++) {
		dup2(saved[i], i + 1);
		close(saved[i]);
	}
}

int ctl(const char *verb, const char *a, const char *b, const char *c)
{
	const char *argv[] = {"samara ctl", socket_path, verb, a, b, c, NULL};
	int argc = 3, status;

	while (argv[argc])
		argc++;
	pthread_mutex_lock(&lock);
	if (!running++)
		mute();
	pthread_mutex_unlock(&lock);
	status = cmd_ctl(argc, (char **)argv);
	pthread_mutex_lock(&lock);
	if (!--running)
		unmute();
	pthread_mutex_unlock(&lock);
	return status;
}
