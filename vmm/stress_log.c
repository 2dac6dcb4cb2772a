/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/stress_log.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Operations that go on are among so many last ones: there are fewer workers. */
#define RUNNING_WITHIN 256u

void stress_log_init(struct stress_log *log)
{
	pthread_mutex_init(&log->lock, NULL);
	log->count = 0;
}

uint64_t stress_log_begin(struct stress_log *log, enum stress_op op, gpa_t gpa, uint64_t size_bytes,
			  uint64_t argument, uint64_t now_ns)
{
	uint64_t number;

	pthread_mutex_lock(&log->lock);
	number = log->count++;
	log->entries[number % STRESS_LOG_ENTRIES] = (struct stress_log_entry){
		.began_ns = now_ns,
		.gpa = gpa,
		.size_bytes = size_bytes,
		.argument = argument,
		.op = op,
	};
	pthread_mutex_unlock(&log->lock);
	return number;
}

void stress_log_end(struct stress_log *log, uint64_t number, uint64_t now_ns, int ret)
{
	struct stress_log_entry *entry = &log->entries[number % STRESS_LOG_ENTRIES];

	pthread_mutex_lock(&log->lock);
	/* A long one may have been overwritten. */
	if (log->count - number <= STRESS_LOG_ENTRIES) {
		entry->took_ns = now_ns > entry->began_ns ? now_ns - entry->began_ns : 1;
		entry->ret = ret;
	}
	pthread_mutex_unlock(&log->lock);
}

static bool touches(const struct stress_log_entry *entry, gpa_t gpa)
{
	if (gpa - entry->gpa < entry->size_bytes)
		return true;
	return entry->op == STRESS_OP_REMAP && gpa - entry->argument < entry->size_bytes;
}

static unsigned int find(struct stress_log *log, uint64_t within, const gpa_t *gpa,
			 struct stress_log_entry *found, unsigned int most)
{
	unsigned int n = 0;

	pthread_mutex_lock(&log->lock);
	for (uint64_t i = log->count; i && log->count - i < within && n < most; i--) {
		const struct stress_log_entry *entry = &log->entries[(i - 1) % STRESS_LOG_ENTRIES];

		if (gpa ? touches(entry, *gpa) : !entry->took_ns)
			found[n++] = *entry;
	}
	pthread_mutex_unlock(&log->lock);
	return n;
}

unsigned int stress_log_find(struct stress_log *log, gpa_t gpa, struct stress_log_entry *found,
			     unsigned int most)
{
	return find(log, STRESS_LOG_ENTRIES, &gpa, found, most);
}

unsigned int stress_log_running(struct stress_log *log, struct stress_log_entry *found,
				unsigned int most)
{
	return find(log, RUNNING_WITHIN, NULL, found, most);
}

void stress_log_describe(const struct stress_log_entry *entry, uint64_t now_ns, char *text,
			 size_t length)
{
	char to[32] = "", end[48];

	if (entry->op == STRESS_OP_REMAP)
		snprintf(to, sizeof(to), " to %#" PRIx64, entry->argument);
	else if (entry->op == STRESS_OP_PROTECT)
		snprintf(to, sizeof(to), " %s", entry->argument == GUEST_MM_READ ? "ro" : "rw");
	else if (stress_op_is_guests(entry->op))
		snprintf(to, sizeof(to), " to %" PRIu64 " KiB", entry->argument >> 10);
	if (!entry->took_ns)
		snprintf(end, sizeof(end), "not over");
	else if (entry->ret)
		snprintf(end, sizeof(end), "failed: %s", strerror(-entry->ret));
	else
		snprintf(end, sizeof(end), "took %.3f ms", (double)entry->took_ns / 1e6);
	snprintf(text, length, "%s %#" PRIx64 "-%#" PRIx64 "%s, began %.3f ms before, %s",
		 stress_op_names[entry->op], entry->gpa, entry->gpa + entry->size_bytes - 1, to,
		 (double)(now_ns - entry->began_ns) / 1e6, end);
}
