/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <pty.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "vmm/chardev.h"
#include "vmm/terminal.h"

#define KEY_ESCAPE         0x01 /* Ctrl-A */

/* As much is read at once and, of a terminal, kept for a guest that does not read. */
#define INPUT_BYTES        4096

/* As much is written at once: a pipe that polls as writable has room for it. */
#define CHUNK_BYTES        4096

/* How often a process in the background looks whether the terminal is its own again. */
#define BACKGROUND_POLL_MS 200

/*
 * struct chardev - the host's end of a serial line
 *
 * Immutable from chardev_start() on: everything not named here.
 * @lock: @ring, @ring_first, @ring_count, @stalled, @failed, @ending, @abandoned, @writing,
 *	@moved_ns. @changed is signalled for the writer thread, @room for those who wait for it.
 * Input thread: @input, @input_count, @escape.
 */
struct chardev {
	enum chardev_kind kind;
	const char *name; /* for messages */
	char *path;
	int in_fd, out_fd; /* -1: none */
	int slave_fd;      /* a pseudo-terminal's other end: kept open, so that it never hangs up */
	int wake_fd;       /* eventfd: space, or the end */
	char pty[64];
	bool terminal; /* in_fd is one, with console keys */
	bool patient;  /* wait for a reader that is slow */
	struct chardev_peer peer;
	pthread_t writer, reader;
	bool started, reading; /* the threads are to be joined */

	pthread_mutex_t lock;
	pthread_cond_t changed, room;
	uint8_t *ring;
	size_t ring_first, ring_count;
	bool stalled; /* someone has waited in vain since the reader last moved */
	bool failed;  /* a write error: everything is dropped */
	bool ending;
	bool abandoned;   /* what is left stays unwritten */
	bool writing;     /* the writer thread is in its loop */
	int64_t moved_ns; /* when the writer thread last got rid of something */

	uint8_t input[INPUT_BYTES];
	size_t input_count;
	bool escape; /* Ctrl-A was typed */
};

static int64_t monotonic_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static struct timespec to_timespec(int64_t ns)
{
	return (struct timespec){.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
}

static const int64_t stall_ns = CHARDEV_STALL_MS * INT64_C(1000000);

/* ---- Output ---- */

/*
 * Wait, once, for the writer thread to make progress. Context: holds @lock.
 * Return: whether there was any within CHARDEV_STALL_MS of the last time.
 */
static bool wait_for_progress(struct chardev *chardev, int64_t since_ns)
{
	int64_t last = chardev->moved_ns > since_ns ? chardev->moved_ns : since_ns;
	struct timespec until = to_timespec(last + stall_ns);
	size_t before = chardev->ring_count;

	return !pthread_cond_timedwait(&chardev->room, &chardev->lock, &until) ||
	       chardev->ring_count != before;
}

void chardev_transmit(void *arg, const uint8_t *bytes, size_t count)
{
	struct chardev *chardev = arg;
	int64_t since = 0;
	size_t i;

	if (chardev->out_fd < 0)
		return;
	pthread_mutex_lock(&chardev->lock);
	for (i = 0; i < count && !chardev->failed; i++) {
		while (chardev->ring_count == CHARDEV_RING_BYTES && chardev->patient &&
		       !chardev->stalled && !chardev->failed) {
			if (!since)
				since = monotonic_ns();
			chardev->stalled = !wait_for_progress(chardev, since);
		}
		if (chardev->ring_count == CHARDEV_RING_BYTES) {
			chardev->ring_first = (chardev->ring_first + 1) % CHARDEV_RING_BYTES;
			chardev->ring_count--;
		}
		chardev->ring[(chardev->ring_first + chardev->ring_count) % CHARDEV_RING_BYTES] =
			bytes[i];
		chardev->ring_count++;
	}
	pthread_cond_signal(&chardev->changed);
	pthread_mutex_unlock(&chardev->lock);
}

/* Take the oldest bytes out. Context: holds @lock. */
static size_t take_chunk(struct chardev *chardev, uint8_t *chunk)
{
	size_t count = chardev->ring_count < CHUNK_BYTES ? chardev->ring_count : CHUNK_BYTES;
	size_t i;

	for (i = 0; i < count; i++)
		chunk[i] = chardev->ring[(chardev->ring_first + i) % CHARDEV_RING_BYTES];
	chardev->ring_first = (chardev->ring_first + count) % CHARDEV_RING_BYTES;
	chardev->ring_count -= count;
	return count;
}

/* Sent to the writer thread to get it out of a write; chosen apart from the vCPUs' own. */
#define KICK_SIGNAL (SIGRTMAX - 1)

static void kicked(int number)
{
	(void)number;
}

/* Without SA_RESTART: the write that it interrupts returns EINTR. */
static int handle_kick(void)
{
	struct sigaction action = {.sa_handler = kicked};

	sigemptyset(&action.sa_mask);
	return sigaction(KICK_SIGNAL, &action, NULL) ? -errno : 0;
}

/*
 * One write that may block, even after poll(): standard output can be anything, and shares its
 * O_NONBLOCK with other processes. stop_writer() kicks the thread out of it.
 */
static ssize_t write_some(struct chardev *chardev, const uint8_t *bytes, size_t count)
{
	struct pollfd pollfd = {.fd = chardev->out_fd, .events = POLLOUT};

	if (poll(&pollfd, 1, -1) < 0)
		return -1;
	return write(chardev->out_fd, bytes, count);
}

static bool is_abandoned(struct chardev *chardev)
{
	bool abandoned;

	pthread_mutex_lock(&chardev->lock);
	abandoned = chardev->abandoned;
	pthread_mutex_unlock(&chardev->lock);
	return abandoned;
}

/* Context: holds no lock. Return: 0, -ECANCELED (by stop_writer()), -errno. */
static int write_chunk(struct chardev *chardev, const uint8_t *chunk, size_t count)
{
	while (count) {
		ssize_t written = write_some(chardev, chunk, count);

		if (written < 0 && (errno == EINTR || errno == EAGAIN)) {
			if (is_abandoned(chardev))
				return -ECANCELED;
			continue;
		}
		if (written <= 0)
			return written ? -errno : -EIO;
		chunk += written;
		count -= written;
		pthread_mutex_lock(&chardev->lock);
		chardev->moved_ns = monotonic_ns();
		chardev->stalled = false;
		pthread_cond_broadcast(&chardev->room);
		pthread_mutex_unlock(&chardev->lock);
	}
	return 0;
}

static void *writer_main(void *arg)
{
	struct chardev *chardev = arg;
	uint8_t chunk[CHUNK_BYTES];
	size_t count;
	sigset_t kick;
	int ret;

	sigemptyset(&kick);
	sigaddset(&kick, KICK_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &kick, NULL);
	pthread_setname_np(pthread_self(), "serial-out");
	pthread_mutex_lock(&chardev->lock);
	for (;;) {
		while (!chardev->ring_count && !chardev->ending)
			pthread_cond_wait(&chardev->changed, &chardev->lock);
		if (!chardev->ring_count)
			break;
		count = take_chunk(chardev, chunk);
		pthread_mutex_unlock(&chardev->lock);
		ret = write_chunk(chardev, chunk, count);
		pthread_mutex_lock(&chardev->lock);
		if (!ret)
			continue;
		chardev->failed = true;
		chardev->ring_count = 0;
		if (ret != -ECANCELED)
			fprintf(stderr,
				"samara: serial port: cannot write to %s: %s; what the guest sends "
				"is dropped from here on\n",
				chardev->name, strerror(-ret));
		break;
	}
	chardev->writing = false;
	pthread_cond_broadcast(&chardev->room);
	pthread_mutex_unlock(&chardev->lock);
	return NULL;
}

/* Let the writer thread write out what is there, as long as the other end takes it. */
static void stop_writer(struct chardev *chardev)
{
	/* A pseudo-terminal that takes nothing at once has nobody who reads it. */
	int64_t patience_ns = chardev->patient ? stall_ns : stall_ns / 10;
	int64_t start = monotonic_ns();

	pthread_mutex_lock(&chardev->lock);
	chardev->ending = true;
	pthread_cond_signal(&chardev->changed);
	while (chardev->writing) {
		int64_t last = chardev->moved_ns > start ? chardev->moved_ns : start;
		int64_t end = last + patience_ns, now = monotonic_ns();
		struct timespec until;

		/* The kick may come just before the write that is to be interrupted: again. */
		if (now >= end) {
			chardev->abandoned = true;
			pthread_kill(chardev->writer, KICK_SIGNAL);
			end = now + 1000000;
		}
		until = to_timespec(end);
		pthread_cond_timedwait(&chardev->room, &chardev->lock, &until);
	}
	pthread_mutex_unlock(&chardev->lock);
	pthread_join(chardev->writer, NULL);
}

/* ---- Input ---- */

void chardev_space(void *arg)
{
	struct chardev *chardev = arg;
	const uint64_t one = 1;
	ssize_t written = write(chardev->wake_fd, &one, sizeof(one));

	(void)written; /* it fails only when it is readable anyway */
}

static void say(struct chardev *chardev, const char *text)
{
	chardev_transmit(chardev, (const uint8_t *)text, strlen(text));
}

/* What a terminal sent: console keys are carried out, the rest is kept for the guest. */
static void handle_keys(struct chardev *chardev, const uint8_t *keys, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++) {
		uint8_t key = keys[i];

		if (!chardev->escape && key == KEY_ESCAPE) {
			chardev->escape = true;
			continue;
		}
		if (chardev->escape) {
			chardev->escape = false;
			if (key == 'x' || key == 'X') {
				chardev->peer.quit(chardev->peer.arg);
				continue;
			}
			if (key == 'h' || key == 'H' || key == '?') {
				say(chardev, "\r\nsamara: Ctrl-A x     end the virtual machine\r\n"
					     "        Ctrl-A h     this help\r\n"
					     "        Ctrl-A a     send Ctrl-A to the guest "
					     "(Ctrl-A Ctrl-A, too)\r\n"
					     "        any other key after Ctrl-A is ignored\r\n");
				continue;
			}
			if (key != 'a' && key != 'A' && key != KEY_ESCAPE)
				continue;
			key = KEY_ESCAPE;
		}
		/* A guest that does not read loses what is typed on, but never the keys above. */
		if (chardev->input_count < sizeof(chardev->input))
			chardev->input[chardev->input_count++] = key;
	}
}

static void offer_input(struct chardev *chardev)
{
	size_t taken;

	if (!chardev->input_count)
		return;
	taken = chardev->peer.receive(chardev->peer.arg, chardev->input, chardev->input_count);
	chardev->input_count -= taken;
	memmove(chardev->input, chardev->input + taken, chardev->input_count);
}

/* Return: false when there will never be input again. */
static bool read_input(struct chardev *chardev)
{
	uint8_t keys[256];
	ssize_t count;

	if (chardev->terminal) {
		count = read(chardev->in_fd, keys, sizeof(keys));
		if (count > 0)
			handle_keys(chardev, keys, count);
	} else {
		count = read(chardev->in_fd, chardev->input, sizeof(chardev->input));
		if (count > 0)
			chardev->input_count = count;
	}
	return count > 0 || (count < 0 && (errno == EINTR || errno == EAGAIN));
}

static bool is_ending(struct chardev *chardev)
{
	bool ending;

	pthread_mutex_lock(&chardev->lock);
	ending = chardev->ending;
	pthread_mutex_unlock(&chardev->lock);
	return ending;
}

static void *reader_main(void *arg)
{
	struct chardev *chardev = arg;
	bool open = true;
	uint64_t count;

	pthread_setname_np(pthread_self(), "serial-in");
	while (!is_ending(chardev)) {
		/* In the background the terminal is another's: neither made raw nor read. */
		bool ours = !chardev->terminal || terminal_take();
		/* Of a terminal everything is read, for the console keys; else what the guest
		 * does not take stays where it is. */
		bool want = open && ours && (chardev->terminal || !chardev->input_count);
		struct pollfd fds[2] = {
			{.fd = chardev->wake_fd, .events = POLLIN},
			{.fd = want ? chardev->in_fd : -1, .events = POLLIN},
		};

		if (poll(fds, 2, open && !ours ? BACKGROUND_POLL_MS : -1) < 0)
			continue;
		if (fds[0].revents && read(chardev->wake_fd, &count, sizeof(count)) < 0 &&
		    errno != EAGAIN)
			break;
		/* It may have been sent to the background while poll() waited. */
		if (fds[1].revents && (!chardev->terminal || terminal_take()))
			open = read_input(chardev);
		offer_input(chardev);
	}
	return NULL;
}

/* ---- Life ---- */

static int open_pty(struct chardev *chardev, struct samara_error *err)
{
	struct termios attributes;
	int ret;

	if (openpty(&chardev->in_fd, &chardev->slave_fd, chardev->pty, NULL, NULL)) {
		ret = -errno;
		chardev->in_fd = -1;
		chardev->slave_fd = -1;
		return samara_error_set(err, ret, "serial port: cannot open a pseudo-terminal: %s",
					strerror(-ret));
	}
	chardev->out_fd = chardev->in_fd;
	fcntl(chardev->in_fd, F_SETFD, FD_CLOEXEC);
	fcntl(chardev->slave_fd, F_SETFD, FD_CLOEXEC);
	fcntl(chardev->in_fd, F_SETFL, O_RDWR | O_NONBLOCK);
	/* No echo, no line editing: what `cat` or `screen` sees is what the guest sends. */
	if (!tcgetattr(chardev->slave_fd, &attributes)) {
		cfmakeraw(&attributes);
		tcsetattr(chardev->slave_fd, TCSANOW, &attributes);
	}
	chardev->name = chardev->pty;
	fprintf(stderr, "samara: serial port: %s\n", chardev->pty);
	return 0;
}

static int open_file(struct chardev *chardev, const char *path, struct samara_error *err)
{
	int ret;

	chardev->path = strdup(path);
	if (!chardev->path)
		return samara_error_set(err, -ENOMEM, "serial port: out of memory");
	chardev->name = chardev->path;
	/* O_NONBLOCK: a FIFO that nobody reads is an error, not a wait. */
	chardev->out_fd =
		open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0666);
	if (chardev->out_fd < 0) {
		ret = -errno;
		return samara_error_set(err, ret, "serial port: cannot open %s: %s", path,
					strerror(-ret));
	}
	chardev->patient = true;
	return 0;
}

int chardev_create(const struct chardev_config *config, struct chardev **out,
		   struct samara_error *err)
{
	struct chardev *chardev = calloc(1, sizeof(*chardev));
	pthread_condattr_t attributes;
	int ret = 0;

	if (!chardev)
		return samara_error_set(err, -ENOMEM, "serial port: out of memory");
	chardev->kind = config->kind;
	chardev->in_fd = -1;
	chardev->out_fd = -1;
	chardev->slave_fd = -1;
	pthread_mutex_init(&chardev->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&chardev->changed, &attributes);
	pthread_cond_init(&chardev->room, &attributes);
	pthread_condattr_destroy(&attributes);
	chardev->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	chardev->ring = malloc(CHARDEV_RING_BYTES);
	if (chardev->wake_fd < 0 || !chardev->ring) {
		ret = chardev->ring ? -errno : -ENOMEM;
		samara_error_set(err, ret, "serial port: %s", strerror(-ret));
		goto fail;
	}

	switch (config->kind) {
	case CHARDEV_NULL:
		break;
	case CHARDEV_STDIO:
		chardev->name = "standard output";
		chardev->in_fd = STDIN_FILENO;
		chardev->out_fd = STDOUT_FILENO;
		chardev->terminal = isatty(STDIN_FILENO);
		chardev->patient = true;
		break;
	case CHARDEV_PTY:
		ret = open_pty(chardev, err);
		break;
	case CHARDEV_FILE:
		ret = open_file(chardev, config->path, err);
		break;
	}
	if (ret)
		goto fail;
	*out = chardev;
	return 0;

fail:
	chardev_destroy(chardev);
	return ret;
}

int chardev_start(struct chardev *chardev, const struct chardev_peer *peer,
		  struct samara_error *err)
{
	sigset_t all, before;
	int ret;

	chardev->peer = *peer;
	ret = handle_kick();
	if (ret)
		return samara_error_set(err, ret, "serial port: sigaction: %s", strerror(-ret));
	/* Signals are for others; SIGPIPE thus is the error EPIPE. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	/* Before the guest's first line, so that the terminal makes nothing else of its newline. */
	if (chardev->terminal)
		(void)terminal_take();
	if (chardev->out_fd >= 0) {
		chardev->writing = true;
		ret = -pthread_create(&chardev->writer, NULL, writer_main, chardev);
		if (ret)
			chardev->writing = false;
	}
	chardev->started = chardev->writing;
	if (!ret && chardev->in_fd >= 0) {
		ret = -pthread_create(&chardev->reader, NULL, reader_main, chardev);
		chardev->reading = !ret;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!ret)
		return 0;
	chardev_stop(chardev);
	return samara_error_set(err, ret, "serial port: cannot start its threads: %s",
				strerror(-ret));
}

void chardev_stop(struct chardev *chardev)
{
	pthread_mutex_lock(&chardev->lock);
	chardev->ending = true;
	pthread_mutex_unlock(&chardev->lock);
	if (chardev->reading) {
		chardev_space(chardev);
		pthread_join(chardev->reader, NULL);
		chardev->reading = false;
	}
	if (chardev->started) {
		stop_writer(chardev);
		chardev->started = false;
	}
	if (chardev->terminal)
		terminal_release();
}

void chardev_destroy(struct chardev *chardev)
{
	if (!chardev)
		return;
	chardev_stop(chardev);
	if (chardev->kind == CHARDEV_PTY || chardev->kind == CHARDEV_FILE) {
		if (chardev->out_fd >= 0)
			close(chardev->out_fd);
		if (chardev->slave_fd >= 0)
			close(chardev->slave_fd);
	}
	if (chardev->wake_fd >= 0)
		close(chardev->wake_fd);
	pthread_cond_destroy(&chardev->changed);
	pthread_cond_destroy(&chardev->room);
	pthread_mutex_destroy(&chardev->lock);
	free(chardev->ring);
	free(chardev->path);
	free(chardev);
}

const char *chardev_pty(const struct chardev *chardev)
{
	return chardev->kind == CHARDEV_PTY ? chardev->pty : NULL;
}
