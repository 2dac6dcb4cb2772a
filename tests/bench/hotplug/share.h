/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BENCH_HOTPLUG_SHARE_H
#define BENCH_HOTPLUG_SHARE_H

#include <stdint.h>
#include <sys/types.h>

/*
 * What a VMM itself spends, told apart from the guest's code and the kernel's part of KVM:
 *   - the CPU time of all its threads but the vCPU's, system calls included, to the nanosecond;
 *   - the time from each return of KVM_RUN to user space until it is called again, by the kernel's
 *     trace events, to the microsecond.
 *
 * The virtual machine has one vCPU. One is watched at a time.
 */
struct share {
	pid_t pid, vcpu;             /* its process; the vCPU's thread in it */
	uint64_t others_ns, exit_ns; /* results of share_end() */
};

/* Find the vCPU's thread of @pid. Return: 0, -ESRCH. */
int share_find(struct share *share, pid_t pid);

/* Return: 0, -errno: there is no tracing. */
int share_begin(struct share *share);

/* How much since share_begin(). Return: 0, -errno: tracing failed, or lost events. */
int share_end(struct share *share);

#endif
