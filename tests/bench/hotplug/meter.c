/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * meter WAY BASE_MIB SIZES ROUNDS NAME:PID:SOCKET:CONSOLE...
 *
 * Has virtual machines plug and unplug memory by turns, in WAY virtio-mem, dimm or balloon, and
 * takes the time from the QMP request to the signal of the guest's agent for the last 128 MiB. While one is measured the others are stopped. SIZES is in MiB, separated by commas. A balloon leaves
 * BASE_MIB, less what it takes.
 *
 * Prints for each: "NAME WAY.OP.SIZE ms of-it-the-VMM's-ms of-that-in-exits-ms".
 */
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/hotplug/qmp.h"
#include "tests/bench/hotplug/share.h"
#include "tests/bench/hotplug/signals.h"
#include "tests/bench/hotplug/trace.h"

#define VMS_MAX     4
#define SETTLE_US   500000
#define LOOK_US     100000
#define PATIENCE_MS 600000

/* One virtual machine. */
struct vm {
	const char *name;
	struct qmp qmp;
	struct share share;
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
static int signals; /* trace_open_signals() */

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

/* Wait for so many signals, and for the answer to the request. Return: when the last signal was, us. */
static uint64_t wait_signals(struct vm *vm, int wanted, uint64_t count)
{
	struct pollfd fds[] = {
		{.fd = signals, .events = POLLIN},
		{.fd = vm->qmp.fd, .events = POLLIN},
	};
	bool answered = false;
	uint64_t time_us, last_us = 0;
	int signal;

	while (count || !answered) {
		if (poll(fds, 2, PATIENCE_MS) < 1)
			die(vm->name, "the guest does not come to an end");
		if (fds[1].revents && qmp_take(&vm->qmp))
			answered = true;
		while ((signal = trace_next_signal(signals, &time_us)) > 0) {
			if (signal != wanted || !count)
				die(vm->name, "the guest's memory goes the wrong way");
			last_us = time_us;
			count--;
		}
		if (signal < 0)
			die("tracing", strerror(-signal));
	}
	return last_us;
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
	end = (double)wait_signals(vm, plug ? SIGNAL_COME : SIGNAL_GONE, mib / SIGNAL_MIB) / 1e3;
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

/* The guest's console is kept in a file. A guest that goes down takes the VMM's connection with it. */
static void wait_ready(struct vm *vm, const char *console)
{
	static char text[65536];
	size_t length = 0;
	FILE *file;

	do {
		qmp_take(&vm->qmp);
		usleep(LOOK_US);
		file = fopen(console, "r");
		if (file) {
			length = fread(text, 1, sizeof(text) - 1, file);
			fclose(file);
		}
		text[length] = 0;
	} while (!strstr(text, SIGNAL_READY));
}

static void open_vm(struct vm *vm, char *text)
{
	char *pid, *socket, *console;

	vm->name = strtok(text, ":");
	pid = strtok(NULL, ":");
	socket = strtok(NULL, ":");
	console = strtok(NULL, ":");
	if (!console)
		die(text, "not NAME:PID:SOCKET:CONSOLE");
	qmp_open(&vm->qmp, vm->name, socket);
	wait_ready(vm, console);
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
	signals = trace_open_signals();
	if (signals < 0)
		die("tracing", strerror(-signals));
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
