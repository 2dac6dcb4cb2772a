/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "guest/agent.h"

static int port = -1;
static pthread_mutex_t say_lock = PTHREAD_MUTEX_INITIALIZER; /* a line goes out as a whole */

int agent_port_open(void)
{
	struct termios mode;

	port = open(AGENT_PORT, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (port < 0 || tcgetattr(port, &mode))
		return errno;
	cfmakeraw(&mode);
	mode.c_cflag |= CLOCAL | CREAD;
	cfsetspeed(&mode, B115200);
	return tcsetattr(port, TCSANOW, &mode) ? errno : 0;
}

void agent_say(const char *fmt, ...)
{
	char line[AGENT_LINE_BYTES + 2];
	size_t length, sent = 0;
	va_list args;
	int count;

	va_start(args, fmt);
	count = vsnprintf(line, AGENT_LINE_BYTES + 1, fmt, args);
	va_end(args);
	if (count < 0)
		return;
	length = (size_t)count < AGENT_LINE_BYTES ? (size_t)count : AGENT_LINE_BYTES;
	line[length++] = '\n';

	pthread_mutex_lock(&say_lock);
	while (sent < length) {
		ssize_t written = write(port, line + sent, length - sent);

		if (written < 0 && errno != EINTR)
			break;
		if (written > 0)
			sent += (size_t)written;
	}
	pthread_mutex_unlock(&say_lock);
}

bool agent_wait_for_stop(int timeout_ms)
{
	static char line[64];
	static size_t length;
	struct pollfd pollfd = {.fd = port, .events = POLLIN};
	char byte;

	while (poll(&pollfd, 1, timeout_ms) > 0 && read(port, &byte, 1) == 1) {
		if (byte == '\n' || byte == '\r') {
			bool stop =
				length == strlen(AGENT_STOP) && !memcmp(line, AGENT_STOP, length);

			length = 0;
			if (stop)
				return true;
		} else if (length < sizeof(line)) {
			line[length++] = byte;
		}
	}
	return false;
}

void agent_port_drain(void)
{
	tcdrain(port);
}
