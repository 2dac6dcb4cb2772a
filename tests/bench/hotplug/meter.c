/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * meter WAY BASE_MIB SIZES ROUNDS NAME:PID:SOCKET:CONSOLE...
 *
 * Has virtual machines plug and unplug memory by turns, in WAY virtio-mem, dimm or balloon, and
 * takes the time from the QMP request to the agent's signal for the last 128 MiB (signals.h). While
 * one is measured the others are stopped. SIZES is in MiB, separated by commas. A balloon leaves
 * BASE_MIB, less what it takes.
 *
 * Prints for each: "NAME WAY.OP.SIZE ms of-it-the-VMM's-ms of-that-in-exits-ms".
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/hotplug/qmp.h"
#include "tests/bench/hotplug/share.h"
#include "tests/bench/hotplug/signals.h"

#define VMS_MAX     4
#define SETTLE_US   500000
#define LOOK_US     100000
#define PATIENCE_MS 600000

/* One virtual machine. */
struct vm {
	const char *name;
	struct qmp qmp;
	struct share share;
	int console;
	FILE *log; /* what else is on its console */
};

/**
 * struct way - how memory comes and goes
 * @prepare: what a plug needs first and is not timed
 * @plug, @unplug: send the request
 * @settle: wait until the VMM, too, has so much plugged
 */
struct way {
	const char *name;
	bool unplug_first;
	void (*prepare)(struct vm *vm, uint64_t mib);
	void (*plug)(struct vm *vm, uint64_t mib);
	void (*unplug)(struct vm *vm, uint64_t mib);
	void (*settle)(struct vm *vm, uint64_t plugged_mib, uint64_t mib);
};

static uint64_t base_mib;

static void die(const char *name, const char *what)
{
	fprintf(stderr, "meter: %s: %s\n", name, what);
	exit(1);
}

static void wait_number(struct vm *vm, const char *command, const char *member, uint64_t mib)
{
	for (int i = 0; qmp_ask_number(&vm->qmp, command, member) != mib << 20; i++) {
		if (i == PATIENCE_MS / (LOOK_US / 1000))
			die(vm->name, "the VMM does not have what the guest has");
		usleep(LOOK_US);
	}
}

/* ---- virtio-mem ------------------------------------------------------------------------------- */

#define MEM0 "\"path\":\"/machine/peripheral/mem0\""

static void request(struct vm *vm, uint64_t mib)
{
	qmp_send(&vm->qmp,
		 "{\"execute\":\"qom-set\",\"arguments\":{" MEM0
		 ",\"property\":\"requested-size\",\"value\":%llu}}",
		 (unsigned long long)mib << 20);
}

static void plug_blocks(struct vm *vm, uint64_t mib)
{
	request(vm, mib);
}

static void unplug_blocks(struct vm *vm, uint64_t mib)
{
	(void)mib;
	request(vm, 0);
}

static void settle_blocks(struct vm *vm, uint64_t plugged_mib, uint64_t mib)
{
	(void)mib;
	wait_number(vm, "{\"execute\":\"qom-get\",\"arguments\":{" MEM0 ",\"property\":\"size\"}}",
		    "return", plugged_mib);
}

/* ---- pc-dimm ---------------------------------------------------------------------------------- */

static void make_backend(struct vm *vm, uint64_t mib)
{
	qmp_ask(&vm->qmp,
		"{\"execute\":\"object-add\",\"arguments\":{\"qom-type\":\"memory-backend-ram\","
		"\"id\":\"ram0\",\"size\":%llu}}",
		(unsigned long long)mib << 20);
}

static void plug_dimm(struct vm *vm, uint64_t mib)
{
	(void)mib;
	qmp_send(&vm->qmp, "{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"pc-dimm\","
			   "\"id\":\"dimm0\",\"memdev\":\"ram0\"}}");
}

static void unplug_dimm(struct vm *vm, uint64_t mib)
{
	(void)mib;
	vm->qmp.deleted = 0;
	qmp_send(&vm->qmp, "{\"execute\":\"device_del\",\"arguments\":{\"id\":\"dimm0\"}}");
}

static void settle_dimm(struct vm *vm, uint64_t plugged_mib, uint64_t mib)
{
	(void)mib;
	if (plugged_mib)
		return;
	qmp_wait_deleted(&vm->qmp, 1);
	qmp_ask(&vm->qmp, "{\"execute\":\"object-del\",\"arguments\":{\"id\":\"ram0\"}}");
}

/* ---- virtio-balloon --------------------------------------------------------------------------- */

static void leave(struct vm *vm, uint64_t mib)
{
	qmp_send(&vm->qmp, "{\"execute\":\"balloon\",\"arguments\":{\"value\":%llu}}",
		 (unsigned long long)mib << 20);
}

static void inflate(struct vm *vm, uint64_t mib)
{
	leave(vm, base_mib - mib);
}

static void deflate(struct vm *vm, uint64_t mib)
{
	(void)mib;
	leave(vm, base_mib);
}

static void settle_balloon(struct vm *vm, uint64_t plugged_mib, uint64_t mib)
{
	wait_number(vm, "{\"execute\":\"query-balloon\"}", "actual", base_mib - mib + plugged_mib);
}

static const struct way ways[] = {
	{"virtio-mem", false, NULL, plug_blocks, unplug_blocks, settle_blocks},
	{"dimm", false, make_backend, plug_dimm, unplug_dimm, settle_dimm},
	{"balloon", true, NULL, deflate, inflate, settle_balloon},
};

/* ---- One measurement --------------------------------------------------------------------------- */

/* Read the console up to the first such signal. Return: whether it came. */
static bool heard(struct vm *vm, int signal)
{
	char byte;

	while (read(vm->console, &byte, 1) == 1) {
		if (byte == signal)
			return true;
		fputc(byte, vm->log);
	}
	return false;
}

static void wait_signals(struct vm *vm, int signal, uint64_t count)
{
	struct pollfd fds[] = {
		{.fd = vm->console, .events = POLLIN},
		{.fd = vm->qmp.fd, .events = POLLIN},
	};
	bool answered = false;

	while (count || !answered) {
		if (poll(fds, 2, PATIENCE_MS) < 1)
			die(vm->name, "the guest does not come to an end");
		if (fds[1].revents && qmp_take(&vm->qmp))
			answered = true;
		while (count && heard(vm, signal))
			count--;
	}
}

static double now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void measure(struct vm *vm, const struct way *way, bool plug, uint64_t mib)
{
	const char *op = plug ? "plug" : "unplug";
	double start, end;
	int ret;

	if (plug && way->prepare)
		way->prepare(vm, mib);
	usleep(SETTLE_US);
	ret = share_begin(&vm->share);
	if (ret)
		die("tracing", strerror(-ret));
	start = now_ms();
	(plug ? way->plug : way->unplug)(vm, mib);
	wait_signals(vm, plug ? SIGNAL_COME : SIGNAL_GONE, mib / SIGNAL_MIB);
	end = now_ms();
	ret = share_end(&vm->share);
	if (ret)
		die("tracing", strerror(-ret));
	printf("%s %s.%s.%lluM %.3f %.3f %.3f\n", vm->name, way->name, op, (unsigned long long)mib,
	       end - start, (double)(vm->share.others_ns + vm->share.exit_ns) / 1e6,
	       (double)vm->share.exit_ns / 1e6);
	fflush(stdout);
	way->settle(vm, plug ? mib : 0, mib);
}

static void measure_both(struct vm *vm, const struct way *way, uint64_t mib)
{
	qmp_ask(&vm->qmp, "{\"execute\":\"cont\"}");
	usleep(SETTLE_US);
	measure(vm, way, !way->unplug_first, mib);
	measure(vm, way, way->unplug_first, mib);
	qmp_ask(&vm->qmp, "{\"execute\":\"stop\"}");
}

/* ---- The run ------------------------------------------------------------------------------------ */

static void open_vm(struct vm *vm, char *text)
{
	char *pid, *socket, *console, path[256];

	vm->name = strtok(text, ":");
	pid = strtok(NULL, ":");
	socket = strtok(NULL, ":");
	console = strtok(NULL, ":");
	if (!console)
		die(text, "not NAME:PID:SOCKET:CONSOLE");
	snprintf(path, sizeof(path), "%s.log", console);
	vm->log = fopen(path, "w");
	/* For writing, too: so it has no end. */
	vm->console = open(console, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (!vm->log || vm->console < 0)
		die(console, strerror(errno));
	setlinebuf(vm->log);
	qmp_open(&vm->qmp, vm->name, socket);
	while (!heard(vm, SIGNAL_READY)) {
		if (kill(atoi(pid), 0))
			die(vm->name, "it has ended");
		usleep(LOOK_US);
	}
	usleep(2 * SETTLE_US);
	if (share_find(&vm->share, atoi(pid)))
		die(vm->name, "its vCPU's thread is not found");
	qmp_ask(&vm->qmp, "{\"execute\":\"stop\"}");
}

int main(int argc, char **argv)
{
	static struct vm vms[VMS_MAX];
	unsigned int vm_count = 0, rounds = argc > 5 ? (unsigned int)atoi(argv[4]) : 0;
	const struct way *way = NULL;
	char *size;

	for (size_t i = 0; rounds && i < sizeof(ways) / sizeof(*ways); i++)
		if (!strcmp(argv[1], ways[i].name))
			way = &ways[i];
	if (!way) {
		fprintf(stderr, "usage: meter virtio-mem|dimm|balloon BASE_MIB SIZES ROUNDS "
				"NAME:PID:SOCKET:CONSOLE...\n");
		return 2;
	}
	base_mib = strtoull(argv[2], NULL, 10);
	for (int i = 5; i < argc && vm_count < VMS_MAX; i++)
		open_vm(&vms[vm_count++], argv[i]);
	for (size = strtok(argv[3], ","); size; size = strtok(NULL, ","))
		for (unsigned int round = 0; round < rounds; round++)
			for (unsigned int i = 0; i < vm_count; i++)
				measure_both(&vms[(i + round) % vm_count], way,
					     strtoull(size, NULL, 10));
	return 0;
}
