/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef GUEST_AGENT_H
#define GUEST_AGENT_H

/*
 * The agent: /init of the Linux guest of `samara stress`. Its threads, one on each CPU, use memory
 * as programs do, and check it; guest/agent_abi.h says how it speaks to the host.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "guest/agent_abi.h"
#include "guest/stress_abi.h"
#include "vmm/stress_rng.h"

/* Which area a thread takes next; the names are those of samara's --pattern. */
enum agent_pattern {
	AGENT_SEQUENTIAL,
	AGENT_RANDOM,
	AGENT_ZIPF,
	AGENT_ONE, /* all areas make one mapping */
	AGENT_OWN, /* each is a mapping, and each thread has its own */
	AGENT_PATTERNS
};

/**
 * struct agent_options - from the kernel's command line, behind "--"
 * @zipf: exponent of AGENT_ZIPF
 */
struct agent_options {
	uint64_t seed, area_bytes;
	unsigned int areas;
	enum agent_pattern pattern;
	double zipf;
};

/**
 * struct agent_area - memory that threads fill, check and give back as a whole
 * @busy: atomic; a thread is at it, and owns @generation and the contents
 * @generation: of the patterns in it; 0: it was given back, its pages come as zeros
 */
struct agent_area {
	uint8_t *memory;
	uint32_t busy;
	uint32_t generation;
	bool huge; /* the kernel may use huge pages for it */
};

/**
 * struct agent_thread - a thread, and what it has done
 *
 * Locks: its own thread's; counters are read by the reporter at any time, one atomic word each.
 * @next: of the areas, for patterns that go round
 * @own_count: what its counter in each page of struct agent.own holds
 */
struct agent_thread {
	struct agent *agent;
	pthread_t thread;
	unsigned int index, cpu;
	struct stress_rng rng;
	unsigned int next;
	uint64_t checked_bytes, written_bytes, released_bytes, faults, visits, errors;
	uint64_t own_count[AGENT_OWN_PAGES];
	uint32_t touches[STRESS_BUCKETS];
} __attribute__((aligned(128)));

/**
 * struct agent - all of it; immutable while threads run, but for what is said of each field
 * @arena: where the areas are; patterns name addresses by their distance from it
 * @own: pages that the host write-protects at times
 * @stop, @running: atomic; the threads shall end, so many have not yet
 * @wrong_lines: atomic; lines about wrong words so far
 */
struct agent {
	struct agent_options options;
	unsigned int cpus;
	struct agent_thread *threads;
	struct agent_area *areas;
	uint8_t *arena;
	uint8_t *own;
	double *zipf_sums;
	uint32_t touches_told[STRESS_BUCKETS]; /* the reporter's */
	uint32_t stop, running, wrong_lines;
};

/* Areas (guest/agent_area.c). Return: 0, or errno. */
int agent_areas_create(struct agent *agent);

/* One visit of a thread: choose an area, check it, write it anew or give it back. */
void agent_visit(struct agent_thread *thread);

/* Check an area, or the counters, a last time. Context: no thread runs but the caller. */
void agent_check_area(struct agent_thread *thread, struct agent_area *area);
void agent_check_own(struct agent_thread *thread);

/* Where an address is in guest-physical memory; 0: the kernel does not tell. */
uint64_t agent_gpa(const void *address);

/* The line to the host (guest/agent_port.c). Return: 0, or errno. */
int agent_port_open(void);

/* Send a line, without its end. Context: any thread; sleeps as long as the host takes. */
void agent_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Wait for a line of the host, a while. Return: whether it was AGENT_STOP. */
bool agent_wait_for_stop(int timeout_ms);

/* Have all that was said on its way. */
void agent_port_drain(void);

#endif
