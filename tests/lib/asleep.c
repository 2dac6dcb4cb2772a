/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/lib/asleep.h"

/* A lock of the allocator's, for example, makes a thread sleep for a moment; then it is awake again. */
#define LOOKS 5

/* The state is what follows the name in parentheses: proc(5), /proc/pid/stat. */
static bool is_asleep(pid_t tid)
{
	char path[64], text[256];
	const char *state;
	ssize_t length;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	length = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[length > 0 ? length : 0] = 0;
	state = strrchr(text, ')');
	return state && state[1] == ' ' && state[2] == 'S';
}

void wait_asleep(pthread_t thread)
{
	const struct timespec pause = {.tv_nsec = 1000000};
	unsigned int looks = 0;
	clockid_t clock;

	/* The one way from a pthread_t to a thread id: linux/posix-timers.h, make_thread_cpuclock(). */
	if (pthread_getcpuclockid(thread, &clock))
		return;
	while (looks < LOOKS) {
		nanosleep(&pause, NULL);
		looks = is_asleep((pid_t) ~(clock >> 3)) ? looks + 1 : 0;
	}
}
