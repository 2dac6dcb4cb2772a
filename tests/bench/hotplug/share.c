/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/bench/hotplug/share.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/bench/hotplug/trace.h"

#define TRACE_KIB "16384"

/* "vCPU 0" in samara, "CPU 0/KVM" in QEMU. */
int share_find(struct share *share, pid_t pid)
{
	char path[64], name[32] = "";
	struct dirent *entry;
	DIR *threads;
	FILE *file;

	*share = (struct share){.pid = pid};
	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	threads = opendir(path);
	while (threads && !share->vcpu && (entry = readdir(threads))) {
		snprintf(path, sizeof(path), "/proc/%d/task/%.16s/comm", pid, entry->d_name);
		file = fopen(path, "r");
		if (file && fgets(name, sizeof(name), file) && strstr(name, "CPU 0"))
			share->vcpu = atoi(entry->d_name);
		if (file)
			fclose(file);
	}
	if (threads)
		closedir(threads);
	return share->vcpu ? 0 : -ESRCH;
}

static uint64_t vcpu_ns(const struct share *share)
{
	uint64_t ns = 0;
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/schedstat", share->pid, share->vcpu);
	file = fopen(path, "r");
	if (file) {
		if (fscanf(file, "%" SCNu64, &ns) != 1)
			ns = 0;
		fclose(file);
	}
	return ns;
}

/*
 * Of all threads but the vCPU's, those that have ended included. The two clocks are read one after the
 * other: once more if the vCPU ran in between.
 */
static uint64_t others_ns(const struct share *share)
{
	struct timespec all = {0};
	clockid_t clock;
	uint64_t vcpu;

	if (clock_getcpuclockid(share->pid, &clock))
		return 0;
	for (int tries = 0; tries < 100; tries++) {
		vcpu = vcpu_ns(share);
		clock_gettime(clock, &all);
		if (vcpu_ns(share) == vcpu)
			break;
	}
	return (uint64_t)all.tv_sec * 1000000000u + (uint64_t)all.tv_nsec - vcpu;
}

int share_begin(struct share *share)
{
	char pid[16];
	int ret;

	snprintf(pid, sizeof(pid), "%d", share->vcpu);
	ret = trace_put(TRACING "tracing_on", "0");
	if (!ret)
		ret = trace_put(TRACING "buffer_size_kb", TRACE_KIB);
	if (!ret)
		ret = trace_put(TRACING "trace_clock", "mono");
	if (!ret)
		ret = trace_put(TRACING "set_event_pid", pid);
	if (!ret)
		ret = trace_put(TRACING "events/kvm/kvm_userspace_exit/enable", "1");
	/* ioctl(2) is 16 on x86-64 (arch/x86/entry/syscalls/syscall_64.tbl). */
	if (!ret)
		ret = trace_put(TRACING "events/raw_syscalls/sys_enter/filter", "id == 16");
	if (!ret)
		ret = trace_put(TRACING "events/raw_syscalls/sys_enter/enable", "1");
	if (!ret)
		ret = trace_put(TRACING "trace", "");
	share->others_ns = others_ns(share);
	if (!ret)
		ret = trace_put(TRACING "tracing_on", "1");
	return ret;
}

/* KVM_RUN is 0xae80 (linux/kvm.h), the second argument of ioctl(). */
static int sum_exits(FILE *trace, uint64_t *sum_ns)
{
	uint64_t left_us = 0, now_us;
	const char *event;
	char line[512];

	*sum_ns = 0;
	while (fgets(line, sizeof(line), trace)) {
		if (strstr(line, "LOST"))
			return -ENOBUFS;
		event = trace_event(line, &now_us);
		if (event && !strncmp(event, "kvm_userspace_exit:", 19)) {
			left_us = now_us;
		} else if (event && strstr(event, ", ae80,") && left_us) {
			*sum_ns += (now_us - left_us) * 1000;
			left_us = 0;
		}
	}
	return 0;
}

int share_end(struct share *share)
{
	uint64_t after = others_ns(share);
	FILE *trace;
	int ret;

	share->others_ns = after - share->others_ns;
	trace_put(TRACING "tracing_on", "0");
	trace_put(TRACING "events/enable", "0");
	trace = fopen(TRACING "trace", "r");
	if (!trace)
		return -errno;
	ret = sum_exits(trace, &share->exit_ns);
	fclose(trace);
	return ret;
}
