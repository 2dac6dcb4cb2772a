/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * agent blocks|total: in the guest, tells by a hypercall (signals.h) when memory has come or gone, for
 * each SIGNAL_MIB.
 *
 * blocks: a memory block went online or offline, as the kernel's uevents say. total: the kernel's
 * total of memory, from which a balloon takes, passed another step; looked at each 10 ms.
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/sysinfo.h>
#include <unistd.h>
#include <linux/netlink.h>

#include "tests/bench/hotplug/signals.h"

#define LOOK_US    10000
#define STEP_BYTES ((unsigned long)SIGNAL_MIB << 20)

/* AMD's instruction, which the lab has. */
static void tell(unsigned long signal)
{
	unsigned long number = SIGNAL_HYPERCALL;

	__asm__ volatile("vmmcall" : "+a"(number) : "b"(signal) : "memory");
}

static void ready(void)
{
	puts(SIGNAL_READY);
	fflush(stdout);
}

static int watch_blocks(void)
{
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK, .nl_groups = 1};
	int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);
	char event[4096];
	ssize_t length;

	if (fd < 0 || bind(fd, (struct sockaddr *)&kernel, sizeof(kernel))) {
		perror("agent: uevents");
		return 1;
	}
	ready();
	while ((length = recv(fd, event, sizeof(event) - 1, 0)) > 0) {
		event[length] = 0;
		/* "ACTION@DEVPATH", then the same and more as variables. */
		if (!strncmp(event, "online@/devices/system/memory/", 30))
			tell(SIGNAL_COME);
		else if (!strncmp(event, "offline@/devices/system/memory/", 31))
			tell(SIGNAL_GONE);
	}
	perror("agent: uevents");
	return 1;
}

static unsigned long total_bytes(void)
{
	struct sysinfo info = {0};

	sysinfo(&info);
	return info.totalram * info.mem_unit;
}

static void watch_total(void)
{
	unsigned long base = total_bytes(), steps = 0;

	ready();
	for (;; usleep(LOOK_US)) {
		unsigned long total = total_bytes(), gone = total < base ? base - total : 0;

		/* A step is gone when all of it is, and back when all of it is. */
		for (; gone / STEP_BYTES > steps; steps++)
			tell(SIGNAL_GONE);
		for (; (gone + STEP_BYTES - 1) / STEP_BYTES < steps; steps--)
			tell(SIGNAL_COME);
	}
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "blocks"))
		return watch_blocks();
	if (argc == 2 && !strcmp(argv[1], "total"))
		watch_total(); /* for ever */
	fprintf(stderr, "usage: agent blocks|total\n");
	return 2;
}
