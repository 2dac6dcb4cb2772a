/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_STRESS_LINUX_AGENT_H
#define VMM_STRESS_LINUX_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <samara/types.h>

#include "guest/agent_abi.h"
#include "guest/stress_abi.h"

/*
 * What the agent in a Linux guest says (guest/agent_abi.h), taken from whatever bytes come. A guest
 * may send anything: what is kept has fixed sizes, and a line that the agent would not send ends
 * the conversation.
 */

enum stress_agent_state {
	STRESS_AGENT_SILENT, /* until the first line; noise before it is passed over */
	STRESS_AGENT_HELLO,
	STRESS_AGENT_READY, /* it works */
	STRESS_AGENT_DONE,
	STRESS_AGENT_FAILED, /* it says why */
	STRESS_AGENT_GARBLED /* it said what makes no sense */
};

/* struct stress_agent_counts - the last "count" line, and sums of bytes since the start */
struct stress_agent_counts {
	uint64_t tsc;
	uint64_t checked_bytes, written_bytes, released_bytes;
	uint64_t faults, visits, least_visits, errors;
	uint64_t total_bytes;
};

/**
 * struct stress_agent_wrong - a wrong word
 * @what: a text for people; immutable
 * @gpa: 0: not known
 */
struct stress_agent_wrong {
	const char *what;
	unsigned int cpu;
	uint32_t generation;
	uint64_t va;
	gpa_t gpa;
	uint64_t expected, found;
};

/**
 * struct stress_agent_range - memory of the agent's that may be write-protected
 */
struct stress_agent_range {
	gpa_t gpa;
	uint64_t size_bytes;
};

/**
 * struct stress_agent - what it has said up to now
 * @lines: how many were understood
 * @text: why it failed, or the line that makes no sense
 * @touches: first touches by stress_bucket() of their TSC cycles; @touch_max: the largest
 *
 * The first three are the line that is not complete yet.
 * Locks: the caller's, for all of it.
 */
struct stress_agent {
	char line[AGENT_LINE_BYTES + 1];
	size_t length;
	bool too_long;

	enum stress_agent_state state;
	uint64_t lines;
	unsigned int cpus;
	bool mmio, mem, balloon;
	char release[64];
	struct stress_agent_range own[AGENT_OWN_PAGES];
	unsigned int own_count;
	struct stress_agent_counts counts;
	uint32_t touches[STRESS_BUCKETS];
	uint64_t touch_max;
	struct stress_agent_wrong wrong[AGENT_WRONG_LINES];
	unsigned int wrong_count;
	char text[192];
};

/**
 * stress_agent_feed() - take bytes from the guest
 * @agent: all zero at first
 *
 * Context: Does not sleep.
 */
void stress_agent_feed(struct stress_agent *agent, const uint8_t *bytes, size_t count);

#endif
