/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/stress_linux_agent.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/config.h"
#include "vmm/stress_hist.h"

/* So much of a line that makes no sense is told. */
#define GARBLED_BYTES 160

/* ---- Parts of a line ------------------------------------------------------------------------- */

/* A number as C writes it, up to @most; @at moves behind it. */
static bool take_number(const char **at, uint64_t most, uint64_t *number)
{
	char *end;

	if (**at < '0' || **at > '9')
		return false;
	errno = 0;
	*number = strtoull(*at, &end, 0);
	*at = end;
	return !errno && *number <= most;
}

static bool take_text(const char **at, const char *text)
{
	size_t length = strlen(text);

	if (strncmp(*at, text, length))
		return false;
	*at += length;
	return true;
}

/* " KEY=NUMBER" */
static bool take(const char **at, const char *key, uint64_t most, uint64_t *number)
{
	return take_text(at, " ") && take_text(at, key) && take_text(at, "=") &&
	       take_number(at, most, number);
}

/* The same for a counter, which does not go back. */
static bool take_counter(const char **at, const char *key, uint64_t *counter)
{
	uint64_t before = *counter;

	return take(at, key, INT64_MAX, counter) && *counter >= before;
}

/* ---- Lines: whether one makes sense; @at is behind its first word --------------------------------- */

static bool hear_hello(struct stress_agent *agent, const char *at)
{
	uint64_t version, cpus, mmio, mem, balloon;

	if (agent->state != STRESS_AGENT_SILENT || !take(&at, "version", UINT32_MAX, &version) ||
	    version != AGENT_VERSION || !take(&at, "cpus", VM_MAX_CPUS, &cpus) || !cpus ||
	    !take(&at, "mmio", 1, &mmio) || !take(&at, "mem", 1, &mem) ||
	    !take(&at, "balloon", 1, &balloon) || !take_text(&at, " release="))
		return false;
	agent->cpus = (unsigned int)cpus;
	agent->mmio = mmio;
	agent->mem = mem;
	agent->balloon = balloon;
	snprintf(agent->release, sizeof(agent->release), "%s", at);
	agent->state = STRESS_AGENT_HELLO;
	return true;
}

static bool hear_own(struct stress_agent *agent, const char *at)
{
	const uint64_t most_bytes = AGENT_OWN_PAGES * SAMARA_PAGE_BYTES;
	struct stress_agent_range range;

	if (agent->state != STRESS_AGENT_HELLO || agent->own_count == AGENT_OWN_PAGES ||
	    !take(&at, "gpa", INT64_MAX, &range.gpa) ||
	    !take(&at, "bytes", most_bytes, &range.size_bytes) || *at || !range.size_bytes ||
	    (range.gpa | range.size_bytes) % SAMARA_PAGE_BYTES)
		return false;
	agent->own[agent->own_count++] = range;
	return true;
}

static bool hear_ready(struct stress_agent *agent, const char *at)
{
	if (agent->state != STRESS_AGENT_HELLO || *at)
		return false;
	agent->state = STRESS_AGENT_READY;
	return true;
}

static bool hear_count(struct stress_agent *agent, const char *at)
{
	struct stress_agent_counts counts = agent->counts;

	/* These may go back: CPUs differ in theirs, and memory goes. */
	counts.tsc = counts.total_bytes = 0;
	if (agent->state != STRESS_AGENT_READY || !take_counter(&at, "tsc", &counts.tsc) ||
	    !take_counter(&at, "checked", &counts.checked_bytes) ||
	    !take_counter(&at, "written", &counts.written_bytes) ||
	    !take_counter(&at, "released", &counts.released_bytes) ||
	    !take_counter(&at, "faults", &counts.faults) ||
	    !take_counter(&at, "visits", &counts.visits) ||
	    !take_counter(&at, "least", &counts.least_visits) ||
	    !take_counter(&at, "errors", &counts.errors) ||
	    !take_counter(&at, "total", &counts.total_bytes) || *at)
		return false;
	agent->counts = counts;
	return true;
}

static bool hear_touch(struct stress_agent *agent, const char *at)
{
	if (agent->state != STRESS_AGENT_READY || !*at)
		return false;
	while (*at) {
		uint64_t bucket, count, last;

		if (!take_text(&at, " ") || !take_number(&at, STRESS_BUCKETS - 1, &bucket) ||
		    !take_text(&at, ":") || !take_number(&at, UINT32_MAX, &count) || !count)
			return false;
		/* At the end of the scale it stays. */
		if (count > UINT32_MAX - agent->touches[bucket])
			count = UINT32_MAX - agent->touches[bucket];
		agent->touches[bucket] += (uint32_t)count;
		last = stress_bucket_last((uint32_t)bucket);
		if (last > agent->touch_max)
			agent->touch_max = last;
	}
	return true;
}

static const char *take_kind(const char **at)
{
	static const struct {
		const char *word, *what;
	} kinds[] = {
		{" kind=" AGENT_KIND_FRESH " ", "a page that was given anew was not zero"},
		{" kind=" AGENT_KIND_PATTERN " ", "contents were not kept"},
		{" kind=" AGENT_KIND_OWN " ",
		 "a counter changed in memory that is protected at times"},
	};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		if (take_text(at, kinds[i].word)) {
			(*at)--; /* the blank belongs to what follows */
			return kinds[i].what;
		}
	}
	return NULL;
}

static bool hear_wrong(struct stress_agent *agent, const char *at)
{
	struct stress_agent_wrong wrong = {.what = take_kind(&at)};
	uint64_t cpu, generation;

	if (agent->state != STRESS_AGENT_READY || !wrong.what ||
	    agent->wrong_count == AGENT_WRONG_LINES || !take(&at, "cpu", UINT16_MAX, &cpu) ||
	    !take(&at, "va", UINT64_MAX, &wrong.va) || !take(&at, "gpa", INT64_MAX, &wrong.gpa) ||
	    !take(&at, "generation", UINT32_MAX, &generation) ||
	    !take(&at, "expected", UINT64_MAX, &wrong.expected) ||
	    !take(&at, "found", UINT64_MAX, &wrong.found) || *at)
		return false;
	wrong.cpu = (unsigned int)cpu;
	wrong.generation = (uint32_t)generation;
	agent->wrong[agent->wrong_count++] = wrong;
	return true;
}

static bool hear_fail(struct stress_agent *agent, const char *at)
{
	snprintf(agent->text, sizeof(agent->text), "%s", *at ? at + 1 : "it does not say why");
	agent->state = STRESS_AGENT_FAILED;
	return true;
}

static bool hear_done(struct stress_agent *agent, const char *at)
{
	if (agent->state != STRESS_AGENT_READY || *at)
		return false;
	agent->state = STRESS_AGENT_DONE;
	return true;
}

static const struct {
	const char *word;
	bool (*hear)(struct stress_agent *agent, const char *at);
} words[] = {
	{"hello", hear_hello}, {"own", hear_own},     {"ready", hear_ready}, {"count", hear_count},
	{"touch", hear_touch}, {"wrong", hear_wrong}, {"fail", hear_fail},   {"done", hear_done},
};

/* ---- Bytes ----------------------------------------------------------------------------------- */

static bool is_printable(const char *line, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (line[i] < ' ' || line[i] > '~')
			return false;
	return true;
}

static bool hear(struct stress_agent *agent)
{
	const char *line = agent->line;
	size_t length = strcspn(line, " ");

	if (agent->too_long || !is_printable(line, agent->length))
		return false;
	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
		if (strlen(words[i].word) == length && !strncmp(line, words[i].word, length))
			return words[i].hear(agent, line + length);
	return false;
}

/* For a message: the start of the line, and nothing that a terminal takes for a command. */
static void garble(struct stress_agent *agent)
{
	int length = agent->length < GARBLED_BYTES ? (int)agent->length : GARBLED_BYTES;

	for (int i = 0; i < length; i++)
		if (agent->line[i] < ' ' || agent->line[i] > '~')
			agent->line[i] = '?';
	snprintf(agent->text, sizeof(agent->text), "'%.*s'%s", length, agent->line,
		 agent->too_long ? "... without an end" : "");
	agent->state = STRESS_AGENT_GARBLED;
}

static void end_line(struct stress_agent *agent)
{
	agent->line[agent->length] = 0;
	if (hear(agent))
		agent->lines++;
	else if (agent->state != STRESS_AGENT_SILENT)
		garble(agent);
	agent->length = 0;
	agent->too_long = false;
}

void stress_agent_feed(struct stress_agent *agent, const uint8_t *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		/* It has had its last word. */
		if (agent->state >= STRESS_AGENT_DONE)
			return;
		if (bytes[i] == '\n')
			end_line(agent);
		else if (agent->length < AGENT_LINE_BYTES)
			agent->line[agent->length++] = (char)bytes[i];
		else
			agent->too_long = true;
	}
}
