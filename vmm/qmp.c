/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "vmm/qmp.h"
#include "vmm/qmp_command.h"
#include "vmm/qmp_frame.h"
#include "vmm/qmp_socket.h"
#include "vmm/qmp_throttle.h"

/* With more than this unread by the client, no further command of it is read. */
#define OUTPUT_HIGH_BYTES (64u * 1024u)

/* Messages in a row that are no JSON: it is not a QMP client. */
#define MALFORMED_MAX     8u

/* How long qmp_server_stop() waits for clients to read their last messages. */
#define LAST_WORDS_MS     200

/* How long without a descriptor to accept with, before trying again. */
#define ACCEPT_AGAIN_MS   100

/*
 * Lock key: [i] immutable, [L] server->lock, [io] the I/O thread alone, [w] the client's worker
 * alone.
 *
 * A client is in exactly one of three states: idle (the I/O thread reads and frames its input),
 * busy (its worker carries out a command, and nothing is read), or done (the I/O thread frees it).
 */
struct qmp_client {
	struct qmp_server *server; /* [i] */
	struct qmp_client *next;   /* [L] */
	int fd;                    /* [i] */
	pthread_t worker;          /* [i] */
	pthread_cond_t wake;       /* for @worker, with server->lock */

	struct qmp_session session; /* [w] */
	bool events;                /* [L] negotiated: hears of events */

	struct qmp_framer framer; /* [io]; while busy its message is the worker's */
	char input[4096];         /* [io] read and not framed yet */
	size_t input_first;       /* [io] */
	size_t input_last;        /* [io] */
	unsigned int malformed;   /* [io] in a row */
	bool eof;                 /* [io] nothing more will come */

	char *output;           /* [L] */
	size_t output_first;    /* [L] */
	size_t output_last;     /* [L] */
	size_t output_capacity; /* [L] */
	bool broken;            /* [L] nobody reads: output is forgotten */
	bool drop;              /* [L] let it go as soon as it is not busy */
	bool busy;              /* [L] */
	bool end;               /* [L] its worker shall end */
};

struct qmp_server {
	struct vm *vm;                /* [i] */
	struct qmp_socket socket;     /* [i] */
	int kick_fd;                  /* [i] an eventfd that wakes the I/O thread */
	pthread_t io;                 /* [i] */
	pthread_mutex_t lock;         /* a leaf: nothing is locked and nobody waited for under it */
	struct qmp_client *clients;   /* [L] */
	unsigned int client_count;    /* [L] */
	bool stopping;                /* [L] */
	bool accept_paused;           /* [io] out of file descriptors */
	struct qmp_throttle throttle; /* [L] */
};

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void kick(struct qmp_server *server)
{
	uint64_t one = 1;

	/* A full counter wakes as well, so a failure means nothing. */
	if (write(server->kick_fd, &one, sizeof(one)) < 0)
		return;
}

/* ---- Output. All under server->lock. --------------------------------------------------------- */

static size_t output_pending(const struct qmp_client *client)
{
	return client->output_last - client->output_first;
}

static void forget_output(struct qmp_client *client)
{
	free(client->output);
	client->output = NULL;
	client->output_first = 0;
	client->output_last = 0;
	client->output_capacity = 0;
}

/* Append one message; NULL, and whatever can't be stored, drops the client. */
static void put(struct qmp_client *client, const char *text)
{
	size_t length_bytes, pending = output_pending(client);

	if (client->broken || client->drop)
		return;
	if (!text)
		goto drop;
	length_bytes = strlen(text);
	if (client->output_last + length_bytes > client->output_capacity) {
		size_t capacity = pending + length_bytes + 1024;
		char *output = malloc(capacity);

		if (!output)
			goto drop;
		if (pending)
			memcpy(output, client->output + client->output_first, pending);
		free(client->output);
		client->output = output;
		client->output_first = 0;
		client->output_last = pending;
		client->output_capacity = capacity;
	}
	memcpy(client->output + client->output_last, text, length_bytes);
	client->output_last += length_bytes;
	return;
drop:
	client->drop = true;
}

/* Send what the socket takes now. */
static void flush(struct qmp_client *client)
{
	while (output_pending(client)) {
		ssize_t sent = send(client->fd, client->output + client->output_first,
				    output_pending(client), MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0 && errno == EAGAIN)
			return;
		if (sent < 0) {
			client->broken = true;
			break;
		}
		client->output_first += (size_t)sent;
	}
	forget_output(client);
}

/* To all that hear of events; takes @text over. */
static void broadcast(struct qmp_server *server, char *text)
{
	struct qmp_client *client;

	for (client = server->clients; client; client = client->next) {
		if (!client->events)
			continue;
		if (output_pending(client) > QMP_EVENT_BACKLOG_BYTES)
			client->drop = true;
		put(client, text);
	}
	free(text);
}

static void listener(const struct vm_notice *notice, void *arg)
{
	struct qmp_server *server = arg;
	char *text = qmp_event_message(notice), *held;

	pthread_mutex_lock(&server->lock);
	held = qmp_throttle_end(&server->throttle, notice);
	if (held)
		broadcast(server, held);
	if (!text || !qmp_throttle_hold(&server->throttle, notice, text, now_ms()))
		broadcast(server, text);
	pthread_mutex_unlock(&server->lock);
	kick(server);
}

/* What was held back and has waited until @until_ms. */
static void send_held(struct qmp_server *server, uint64_t until_ms)
{
	char *text;

	while ((text = qmp_throttle_due(&server->throttle, until_ms)))
		broadcast(server, text);
}

/* ---- A client's worker ----------------------------------------------------------------------- */

bool qmp_client_gone(const struct qmp_session *session)
{
	struct pollfd fd = {.fd = session->fd};

	return poll(&fd, 1, 0) > 0 && fd.revents & (POLLHUP | POLLERR);
}

static void *work(void *arg)
{
	struct qmp_client *client = arg;
	struct qmp_server *server = client->server;

	pthread_mutex_lock(&server->lock);
	for (;;) {
		char *reply;

		while (!client->busy && !client->end)
			pthread_cond_wait(&client->wake, &server->lock);
		if (!client->busy)
			break;
		pthread_mutex_unlock(&server->lock);
		reply = qmp_dispatch(&client->session, client->framer.message,
				     client->framer.length_bytes);
		pthread_mutex_lock(&server->lock);
		put(client, reply);
		free(reply);
		client->events = client->session.negotiated;
		client->busy = false;
		kick(server);
	}
	pthread_mutex_unlock(&server->lock);
	return NULL;
}

/* ---- Clients come and go: the I/O thread, under server->lock --------------------------------- */

/* Start a thread that no signal is delivered to: those are the main thread's and the vCPUs'. */
static int start_thread(pthread_t *thread, void *(*function)(void *), void *arg)
{
	sigset_t all, old;
	int ret;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	ret = -pthread_create(thread, NULL, function, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return ret;
}

static void refuse(int fd, const char *reason)
{
	char *text = qmp_error_message("GenericError", reason);

	if (text)
		send(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT);
	free(text);
	close(fd);
}

static void add_client(struct qmp_server *server, int fd)
{
	struct qmp_client *client;
	char *greeting;

	if (server->client_count == QMP_CLIENTS_MAX) {
		refuse(fd, "too many clients at a time");
		return;
	}
	client = calloc(1, sizeof(*client));
	if (!client)
		goto failed;
	client->server = server;
	client->fd = fd;
	client->session.vm = server->vm;
	client->session.fd = fd;
	pthread_cond_init(&client->wake, NULL);
	if (start_thread(&client->worker, work, client))
		goto free;
	greeting = qmp_greeting();
	put(client, greeting);
	free(greeting);
	client->next = server->clients;
	server->clients = client;
	server->client_count++;
	flush(client);
	return;
free:
	pthread_cond_destroy(&client->wake);
	free(client);
failed:
	refuse(fd, "out of memory");
}

/* Join the worker and free the client. It is off the list; the lock is not held. */
static void free_client(struct qmp_client *client)
{
	pthread_join(client->worker, NULL);
	close(client->fd);
	pthread_cond_destroy(&client->wake);
	qmp_framer_free(&client->framer);
	free(client->output);
	free(client);
}

static bool is_done(const struct qmp_client *client)
{
	if (client->busy)
		return false;
	return client->drop || (client->eof && client->input_first == client->input_last &&
				!output_pending(client));
}

static void reap_clients(struct qmp_server *server)
{
	struct qmp_client **link = &server->clients, *gone = NULL, *client;

	while ((client = *link)) {
		if (!is_done(client)) {
			link = &client->next;
			continue;
		}
		*link = client->next;
		client->next = gone;
		gone = client;
		client->end = true;
		server->client_count--;
		flush(client);
		pthread_cond_signal(&client->wake);
	}
	pthread_mutex_unlock(&server->lock);
	while ((client = gone)) {
		gone = client->next;
		free_client(client);
	}
	pthread_mutex_lock(&server->lock);
}

/* ---- Input: the I/O thread, under server->lock ----------------------------------------------- */

static void complain(struct qmp_client *client, const char *reason, bool drop)
{
	char *text = qmp_error_message("GenericError", reason);

	put(client, text);
	free(text);
	client->drop |= drop;
}

/* Frame what was read until a message is complete, and hand that to the worker. */
static void frame(struct qmp_client *client)
{
	while (!client->busy && !client->drop && client->input_first < client->input_last &&
	       output_pending(client) < OUTPUT_HIGH_BYTES) {
		size_t taken;
		enum qmp_frame result =
			qmp_framer_push(&client->framer, client->input + client->input_first,
					client->input_last - client->input_first, &taken);

		client->input_first += taken;
		switch (result) {
		case QMP_FRAME_MORE:
			break;
		case QMP_FRAME_MESSAGE:
			client->malformed = 0;
			client->busy = true;
			pthread_cond_signal(&client->wake);
			break;
		case QMP_FRAME_GARBAGE:
			complain(client, "JSON parse error, a message starts with '{'",
				 ++client->malformed == MALFORMED_MAX);
			break;
		case QMP_FRAME_TOO_LONG:
			complain(client, "JSON message is longer than 256 KiB", true);
			break;
		case QMP_FRAME_TOO_DEEP:
			complain(client, "JSON message is nested deeper than 32", true);
			break;
		case QMP_FRAME_NO_MEMORY:
			complain(client, "out of memory", true);
			break;
		}
	}
}

static bool wants_input(const struct qmp_client *client)
{
	return !client->busy && !client->drop && !client->eof &&
	       client->input_first == client->input_last &&
	       output_pending(client) < OUTPUT_HIGH_BYTES;
}

static void receive(struct qmp_client *client)
{
	ssize_t length = recv(client->fd, client->input, sizeof(client->input), MSG_DONTWAIT);

	if (length < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	client->input_first = 0;
	client->input_last = length > 0 ? (size_t)length : 0;
	/* An error ends the input as well: the client reset the connection. */
	if (length <= 0)
		client->eof = true;
}

/* ---- The I/O thread -------------------------------------------------------------------------- */

static void accept_clients(struct qmp_server *server)
{
	int fd = accept4(server->socket.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd >= 0)
		add_client(server, fd);
	else
		server->accept_paused =
			errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS;
}

/*
 * Fill in what to wait for. A client that nothing is wanted of is left out: were it to hang up
 * while it is busy, poll() would return at once for as long as that lasts.
 */
static unsigned int prepare_poll(struct qmp_server *server, struct pollfd *fds,
				 struct qmp_client **owners)
{
	struct qmp_client *client;
	unsigned int count = 2;

	fds[0] = (struct pollfd){.fd = server->kick_fd, .events = POLLIN};
	fds[1] = (struct pollfd){.fd = server->accept_paused ? -1 : server->socket.fd,
				 .events = POLLIN};
	for (client = server->clients; client; client = client->next) {
		short events = (short)((wants_input(client) ? POLLIN : 0) |
				       (output_pending(client) ? POLLOUT : 0));

		if (!events)
			continue;
		fds[count] = (struct pollfd){.fd = client->fd, .events = events};
		owners[count++] = client;
	}
	return count;
}

/* In ms; -1: until something happens. */
static int poll_timeout(const struct qmp_server *server)
{
	int timeout_ms = qmp_throttle_timeout_ms(&server->throttle, now_ms());

	/* Without a descriptor to accept with, look again when one may have become free. */
	if (server->accept_paused && (timeout_ms < 0 || timeout_ms > ACCEPT_AGAIN_MS))
		timeout_ms = ACCEPT_AGAIN_MS;
	return timeout_ms;
}

static void *serve(void *arg)
{
	struct pollfd fds[2 + QMP_CLIENTS_MAX];
	struct qmp_client *owners[2 + QMP_CLIENTS_MAX], *client;
	struct qmp_server *server = arg;
	unsigned int i, count;
	uint64_t kicks;
	int timeout_ms;

	pthread_mutex_lock(&server->lock);
	while (!server->stopping) {
		count = prepare_poll(server, fds, owners);
		timeout_ms = poll_timeout(server);
		pthread_mutex_unlock(&server->lock);
		if (poll(fds, count, timeout_ms) < 0)
			count = 0;
		pthread_mutex_lock(&server->lock);
		server->accept_paused = false;
		if (count && fds[0].revents && read(server->kick_fd, &kicks, sizeof(kicks)) < 0)
			count = 0;
		for (i = 2; i < count; i++) {
			if (fds[i].revents && wants_input(owners[i]))
				receive(owners[i]);
		}
		send_held(server, now_ms());
		for (client = server->clients; client; client = client->next) {
			flush(client);
			frame(client);
		}
		reap_clients(server);
		if (count && fds[1].revents)
			accept_clients(server);
	}
	send_held(server, UINT64_MAX);
	pthread_mutex_unlock(&server->lock);
	return NULL;
}

/* ---- Start and stop -------------------------------------------------------------------------- */

/* Give a client until @deadline_ms to read what there is for it. No other thread is left. */
static void say_last_words(struct qmp_client *client, uint64_t deadline_ms)
{
	for (;;) {
		struct pollfd fd = {.fd = client->fd, .events = POLLOUT};
		uint64_t now = now_ms();

		flush(client);
		if (!output_pending(client) || now >= deadline_ms)
			return;
		if (poll(&fd, 1, (int)(deadline_ms - now)) < 0 && errno != EINTR)
			return;
	}
}

static void stop_clients(struct qmp_server *server)
{
	struct qmp_client *client, *next;
	uint64_t deadline_ms;

	pthread_mutex_lock(&server->lock);
	for (client = server->clients; client; client = client->next) {
		client->end = true;
		pthread_cond_signal(&client->wake);
	}
	client = server->clients;
	server->clients = NULL;
	pthread_mutex_unlock(&server->lock);

	deadline_ms = now_ms() + LAST_WORDS_MS;
	for (; client; client = next) {
		next = client->next;
		pthread_join(client->worker, NULL);
		say_last_words(client, deadline_ms);
		close(client->fd);
		pthread_cond_destroy(&client->wake);
		qmp_framer_free(&client->framer);
		free(client->output);
		free(client);
	}
}

int qmp_server_start(struct vm *vm, const char *path, struct qmp_server **out,
		     struct samara_error *err)
{
	struct qmp_server *server = calloc(1, sizeof(*server));
	int ret;

	if (!server)
		return samara_error_set(err, -ENOMEM, "control socket: out of memory");
	server->vm = vm;
	pthread_mutex_init(&server->lock, NULL);
	server->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (server->kick_fd < 0) {
		ret = samara_error_set(err, -errno, "control socket: eventfd: %s", strerror(errno));
		goto free;
	}
	ret = qmp_socket_listen(&server->socket, path, err);
	if (ret)
		goto close_kick;
	ret = start_thread(&server->io, serve, server);
	if (ret) {
		samara_error_set(err, ret, "control socket: no thread: %s", strerror(-ret));
		goto close_socket;
	}
	ret = vm_add_listener(vm, listener, server);
	if (ret) {
		samara_error_set(err, ret, "control socket: the VM takes no listener: %s",
				 strerror(-ret));
		qmp_server_stop(server);
		return ret;
	}
	*out = server;
	return 0;
close_socket:
	qmp_socket_close(&server->socket);
close_kick:
	close(server->kick_fd);
free:
	pthread_mutex_destroy(&server->lock);
	free(server);
	return ret;
}

void qmp_server_stop(struct qmp_server *server)
{
	if (!server)
		return;
	pthread_mutex_lock(&server->lock);
	server->stopping = true;
	pthread_mutex_unlock(&server->lock);
	kick(server);
	pthread_join(server->io, NULL);
	stop_clients(server);
	qmp_throttle_clear(&server->throttle);
	qmp_socket_close(&server->socket);
	close(server->kick_fd);
	pthread_mutex_destroy(&server->lock);
	free(server);
}
