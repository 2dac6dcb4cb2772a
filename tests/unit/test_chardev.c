/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <setjmp.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "vmm/chardev.h"

#define PATTERN(i) ((uint8_t)((i)*7 + (i) / 251))

static char scratch[] = "/tmp/test_chardev.XXXXXX";
static char path[64];

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- A device that takes what it has room for ---- */

static struct {
	pthread_mutex_t lock;
	uint8_t bytes[65536];
	size_t count, room;
} device = {.lock = PTHREAD_MUTEX_INITIALIZER};

static size_t device_receive(void *arg, const uint8_t *bytes, size_t count)
{
	size_t taken;

	(void)arg;
	pthread_mutex_lock(&device.lock);
	taken = count < device.room ? count : device.room;
	memcpy(device.bytes + device.count, bytes, taken);
	device.count += taken;
	device.room -= taken;
	pthread_mutex_unlock(&device.lock);
	return taken;
}

static void device_quit(void *arg)
{
	(void)arg;
}

static size_t device_count(void)
{
	size_t count;

	pthread_mutex_lock(&device.lock);
	count = device.count;
	pthread_mutex_unlock(&device.lock);
	return count;
}

static void device_set_room(size_t room)
{
	pthread_mutex_lock(&device.lock);
	device.room = room;
	pthread_mutex_unlock(&device.lock);
}

/* Less than if each piece of what is sent were waited for; far more than a busy machine needs. */
#define PATIENCE_MS 100000

static bool device_has(size_t count)
{
	int64_t end = now_ms() + 60000;

	while (device_count() < count && now_ms() < end)
		usleep(500);
	return device_count() == count;
}

static struct chardev *open_chardev(enum chardev_kind kind, const char *file)
{
	struct chardev_config config = {.kind = kind, .path = (char *)file};
	struct chardev_peer peer = {.receive = device_receive, .quit = device_quit};
	struct chardev *chardev;

	device.count = 0;
	device.room = sizeof(device.bytes);
	assert_int_equal(chardev_create(&config, &chardev, NULL), 0);
	assert_int_equal(chardev_start(chardev, &peer, NULL), 0);
	return chardev;
}

static void transmit_pattern(struct chardev *chardev, size_t first, size_t count)
{
	uint8_t bytes[1000];
	size_t i, n;

	for (; count; first += n, count -= n) {
		n = count < sizeof(bytes) ? count : sizeof(bytes);
		for (i = 0; i < n; i++)
			bytes[i] = PATTERN(first + i);
		chardev_transmit(chardev, bytes, n);
	}
}

/* ---- Standard descriptors, for a test's length ---- */

static int saved_fd[3];

static void replace(int fd, int with)
{
	fflush(stdout);
	saved_fd[fd] = fcntl(fd, F_DUPFD_CLOEXEC, 10);
	assert_int_equal(dup2(with, fd), fd);
	close(with);
}

static void put_back(int fd)
{
	dup2(saved_fd[fd], fd);
	close(saved_fd[fd]);
}

static void make_pipe(int ends[2])
{
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
}

/* ---- Files ---- */

static void a_file_gets_every_byte(void **state)
{
	const size_t total = 3 * CHARDEV_RING_BYTES + 17;
	struct chardev *chardev = open_chardev(CHARDEV_FILE, path);
	uint8_t *bytes = malloc(total + 1);
	size_t i;
	FILE *file;

	(void)state;
	assert_null(chardev_pty(chardev));
	transmit_pattern(chardev, 0, total);
	chardev_destroy(chardev);
	file = fopen(path, "r");
	assert_non_null(file);
	assert_int_equal(fread(bytes, 1, total + 1, file), total);
	fclose(file);
	for (i = 0; i < total; i++)
		if (bytes[i] != PATTERN(i))
			fail_msg("byte %zu", i);
	free(bytes);
	/* Truncated by the next. */
	chardev_destroy(open_chardev(CHARDEV_FILE, path));
	assert_int_equal(truncate(path, 0), 0);
}

static void a_full_disk_is_told_once(void **state)
{
	struct chardev *chardev;
	char text[512];
	ssize_t length;
	int ends[2];

	(void)state;
	make_pipe(ends);
	replace(2, ends[1]);
	chardev = open_chardev(CHARDEV_FILE, "/dev/full");
	transmit_pattern(chardev, 0, 100);
	usleep(50000);
	transmit_pattern(chardev, 0, 3 * CHARDEV_RING_BYTES);
	chardev_destroy(chardev);
	put_back(2);
	length = read(ends[0], text, sizeof(text) - 1);
	assert_true(length > 0);
	text[length] = 0;
	assert_non_null(strstr(text, "/dev/full"));
	assert_non_null(strstr(text, "No space left"));
	assert_ptr_equal(strchr(text, '\n'), text + length - 1);
	close(ends[0]);
}

static void a_file_that_cannot_be(void **state)
{
	struct chardev_config config = {.kind = CHARDEV_FILE, .path = (char *)"/nonexistent/x"};
	struct samara_error err;
	struct chardev *chardev;

	(void)state;
	assert_int_equal(chardev_create(&config, &chardev, &err), -ENOENT);
	assert_non_null(strstr(err.text, "/nonexistent/x"));
}

/* ---- Pseudo-terminals ---- */

static struct chardev *open_pty_quietly(void)
{
	struct chardev *chardev;

	replace(2, open("/dev/null", O_WRONLY | O_CLOEXEC));
	chardev = open_chardev(CHARDEV_PTY, NULL);
	put_back(2);
	return chardev;
}

static void a_pty_works_both_ways(void **state)
{
	struct chardev *chardev = open_pty_quietly();
	char answer[16] = {0};
	ssize_t got, length;
	int fd, round;

	(void)state;
	/* A client comes, goes, and comes again. */
	for (round = 1; round <= 2; round++) {
		fd = open(chardev_pty(chardev), O_RDWR | O_NOCTTY | O_CLOEXEC);
		assert_true(fd >= 0);
		assert_int_equal(write(fd, "ls\n\003", 4), 4);
		assert_true(device_has(4 * round));
		assert_memory_equal(device.bytes, "ls\n\003", 4);
		chardev_transmit(chardev, (const uint8_t *)"a\r\nb", 4);
		for (got = 0; got < 4; got += length) {
			length = read(fd, answer + got, sizeof(answer) - got);
			assert_true(length > 0);
		}
		assert_int_equal(got, 4);
		assert_memory_equal(answer, "a\r\nb", 4);
		close(fd);
	}
	chardev_destroy(chardev);
}

static void a_pty_that_nobody_reads_delays_nobody(void **state)
{
	struct chardev *chardev = open_pty_quietly();
	int64_t start = now_ms();

	(void)state;
	transmit_pattern(chardev, 0, 8 * CHARDEV_RING_BYTES);
	chardev_destroy(chardev);
	assert_true(now_ms() - start < PATIENCE_MS);
}

/* ---- Standard input and output as pipes ---- */

static struct chardev *open_stdio(int *in, int *out)
{
	int input[2], output[2];

	make_pipe(input);
	make_pipe(output);
	replace(0, input[0]);
	replace(1, output[1]);
	*in = input[1];
	*out = output[0];
	return open_chardev(CHARDEV_STDIO, NULL);
}

static void close_stdio(struct chardev *chardev, int in, int out)
{
	chardev_destroy(chardev);
	put_back(0);
	put_back(1);
	if (in >= 0)
		close(in);
	if (out >= 0)
		close(out);
}

static void input_waits_for_the_guest(void **state)
{
	uint8_t bytes[20000];
	struct chardev *chardev;
	size_t i;
	int in, out;

	(void)state;
	for (i = 0; i < sizeof(bytes); i++)
		bytes[i] = PATTERN(i);
	chardev = open_stdio(&in, &out);
	device_set_room(0);
	assert_int_equal(write(in, bytes, sizeof(bytes)), sizeof(bytes));
	usleep(20000);
	assert_int_equal(device_count(), 0);
	for (i = 0; i < sizeof(bytes);) {
		size_t room = i + 16 <= sizeof(bytes) ? 16 : sizeof(bytes) - i;

		device_set_room(room);
		chardev_space(chardev);
		i += room;
		if (!device_has(i))
			break;
	}
	close_stdio(chardev, in, out);
	assert_int_equal(i, sizeof(bytes));
	assert_memory_equal(device.bytes, bytes, sizeof(bytes));
}

static void the_end_of_input_is_not_the_end(void **state)
{
	struct chardev *chardev;
	char answer[16];
	int in, out;
	ssize_t length;

	(void)state;
	chardev = open_stdio(&in, &out);
	assert_int_equal(write(in, "\001x", 2), 2);
	close(in);
	assert_true(device_has(2)); /* no console keys in a pipe */
	usleep(20000);
	chardev_transmit(chardev, (const uint8_t *)"still", 5);
	length = read(out, answer, sizeof(answer));
	close_stdio(chardev, -1, out);
	assert_int_equal(length, 5);
}

static void a_pipe_that_nobody_reads_delays_nobody_for_long(void **state)
{
	struct chardev *chardev;
	int64_t start;
	int in, out;

	(void)state;
	chardev = open_stdio(&in, &out);
	start = now_ms();
	transmit_pattern(chardev, 0, 16 * CHARDEV_RING_BYTES);
	close_stdio(chardev, in, out);
	assert_true(now_ms() - start < PATIENCE_MS);
}

static void a_closed_pipe_is_told(void **state)
{
	struct chardev *chardev;
	char text[512] = {0};
	int in, out, ends[2];

	(void)state;
	make_pipe(ends);
	replace(2, ends[1]);
	chardev = open_stdio(&in, &out);
	close(out);
	transmit_pattern(chardev, 0, 10000);
	close_stdio(chardev, in, -1);
	put_back(2);
	assert_true(read(ends[0], text, sizeof(text) - 1) > 0);
	close(ends[0]);
	assert_non_null(strstr(text, "Broken pipe"));
}

#define SLOW_BYTES (3 * CHARDEV_RING_BYTES)

struct slow_reader {
	int fd;
	bool right; /* what was read is what was sent, as far as it goes */
	size_t total;
	int64_t longest_ms; /* between two reads: a busy machine may make it slower than it means to be */
};

static void *slow_reader(void *arg)
{
	struct slow_reader *reader = arg;
	int64_t last = now_ms(), now;
	uint8_t bytes[16384];
	ssize_t count;

	reader->right = true;
	while ((count = read(reader->fd, bytes, sizeof(bytes))) > 0) {
		for (ssize_t i = 0; i < count; i++)
			if (bytes[i] != PATTERN(reader->total + i))
				reader->right = false;
		reader->total += count;
		usleep(2000);
		now = now_ms();
		if (now - last > reader->longest_ms)
			reader->longest_ms = now - last;
		last = now;
	}
	return NULL;
}

static void a_slow_reader_gets_every_byte(void **state)
{
	struct slow_reader reader;
	struct chardev *chardev;
	pthread_t thread;
	int in, tries = 0;

	(void)state;
	do {
		memset(&reader, 0, sizeof(reader));
		chardev = open_stdio(&in, &reader.fd);
		pthread_create(&thread, NULL, slow_reader, &reader);
		transmit_pattern(chardev, 0, SLOW_BYTES);
		close_stdio(chardev, in, -1);
		pthread_join(thread, NULL);
		close(reader.fd);
	} while (reader.longest_ms > CHARDEV_STALL_MS / 2 && ++tries < 100);
	assert_true(reader.right);
	assert_int_equal(reader.total, SLOW_BYTES);
}

static int make_scratch(void **state)
{
	(void)state;
	if (!mkdtemp(scratch))
		return -1;
	snprintf(path, sizeof(path), "%s/file", scratch);
	return 0;
}

static int remove_scratch(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(scratch);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file_gets_every_byte),
		cmocka_unit_test(a_full_disk_is_told_once),
		cmocka_unit_test(a_file_that_cannot_be),
		cmocka_unit_test(a_pty_works_both_ways),
		cmocka_unit_test(a_pty_that_nobody_reads_delays_nobody),
		cmocka_unit_test(input_waits_for_the_guest),
		cmocka_unit_test(the_end_of_input_is_not_the_end),
		cmocka_unit_test(a_pipe_that_nobody_reads_delays_nobody_for_long),
		cmocka_unit_test(a_closed_pipe_is_told),
		cmocka_unit_test(a_slow_reader_gets_every_byte),
	};

	return cmocka_run_group_tests_name("chardev", tests, make_scratch, remove_scratch);
}
