/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/bench/hotplug/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/bench/hotplug/signals.h"

/* A buffer of its own, so that reading signals takes nothing from other events. */
#define SIGNALS TRACING "instances/signals/"

int trace_put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC), ret;

	if (fd < 0)
		return -errno;
	ret = write(fd, text, strlen(text)) < 0 ? -errno : 0;
	close(fd);
	return ret;
}

const char *trace_event(const char *line, uint64_t *time_us)
{
	/* COMM may hold spaces. */
	const char *cpu = strstr(line, " ["), *event;
	unsigned long seconds, us;

	if (line[0] == '#' || !cpu || sscanf(cpu, " [%*d] %*s %lu.%lu", &seconds, &us) != 2)
		return NULL;
	*time_us = seconds * 1000000ul + us;
	event = strstr(cpu, ": ");
	return event ? event + 2 : NULL;
}

int trace_open_signals(void)
{
	int fd, ret = mkdir(SIGNALS, 0700) && errno != EEXIST ? -errno : 0;

	if (!ret)
		ret = trace_put(SIGNALS "trace_clock", "mono");
	/* Readers are woken for each event. */
	if (!ret)
		ret = trace_put(SIGNALS "buffer_percent", "0");
	if (!ret)
		ret = trace_put(SIGNALS "events/kvm/kvm_hypercall/enable", "1");
	if (ret)
		return ret;
	fd = open(SIGNALS "trace_pipe", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int trace_next_signal(int fd, uint64_t *time_us)
{
	static char lines[4096];
	static size_t used, taken;
	unsigned int number, argument;
	const char *event;
	char *line, *end;
	ssize_t length;

	for (;;) {
		line = lines + taken;
		end = memchr(line, '\n', used - taken);
		if (!end) {
			memmove(lines, line, used - taken);
			used -= taken;
			taken = 0;
			length = read(fd, lines + used, sizeof(lines) - used);
			if (length <= 0)
				return length && errno != EAGAIN ? -errno : 0;
			used += (size_t)length;
			continue;
		}
		*end = 0;
		taken = (size_t)(end - lines) + 1;
		event = trace_event(line, time_us);
		if (event && sscanf(event, "kvm_hypercall: nr %x a0 %x", &number, &argument) == 2 &&
		    number == SIGNAL_HYPERCALL)
			return (int)argument;
	}
}
