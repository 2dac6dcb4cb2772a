/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BENCH_HOTPLUG_TRACE_H
#define BENCH_HOTPLUG_TRACE_H

#include <stdint.h>

/*
 * The kernel's trace events (Documentation/trace/ftrace.rst), with times of CLOCK_MONOTONIC.
 */
#define TRACING "/sys/kernel/tracing/"

/* Write to one of its files, from its start. Return: 0, -errno. */
int trace_put(const char *path, const char *text);

/**
 * trace_event() - read a line "COMM-TID [CPU] FLAGS SECONDS.MICROSECONDS: EVENT: ..."
 * @time_us: when it was
 *
 * Return: "EVENT: ...", within @line, or NULL: it is none.
 */
const char *trace_event(const char *line, uint64_t *time_us);

/**
 * trace_open_signals() - listen for agents
 *
 * Return: a file that poll() knows, for trace_next_signal(); -errno.
 */
int trace_open_signals(void);

/* Return: the next signal that has come (signals.h), 0: none, -errno. */
int trace_next_signal(int fd, uint64_t *time_us);

#endif
