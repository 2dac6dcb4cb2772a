/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hold GPA MIB PAUSE_US: for a guest. How long a stage-2 fault takes, round by round.
 *
 * The host plugs MIB at GPA, which nobody in the guest manages, and types "begin" at the guest's console.
 * One page in every 64 KiB (what the host populates for a fault of its own) is written for the
 * first time, here and there, with a pause in between, until the host types "end" or all are done.
 * Each write's time goes into a list; then all that was written is read back. So what is timed is
 * one store that the host has to find a page for, and nothing of the guest's kernel.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE_BYTES  4096u
#define BLOCK_BYTES 65536u
#define PAGES       (BLOCK_BYTES / PAGE_BYTES)
#define TOKEN       UINT64_C(0x9e3779b97f4a7c15)
#define LOOK_EVERY  16 /* pages from one look at the console to the next */

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static volatile uint64_t *map(uint64_t gpa, uint64_t bytes)
{
	int fd = open("/dev/mem", O_RDWR);
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)gpa);

	if (fd < 0 || at == MAP_FAILED) {
		perror("hold: /dev/mem");
		exit(2);
	}
	close(fd);
	return at;
}

/* Wait for a line from the host, and whether it is this one. */
static bool told(int console, const char *what)
{
	char line[16];
	ssize_t got = read(console, line, sizeof(line) - 1);

	if (got <= 0) {
		perror("hold: /dev/console");
		exit(2);
	}
	line[got] = 0;
	return !strncmp(line, what, strlen(what));
}

/* Whether the host has typed something, without waiting for it. */
static bool is_called(int console)
{
	struct pollfd poll_for = {.fd = console, .events = POLLIN};

	return poll(&poll_for, 1, 0) > 0;
}

/* The Ith block to touch, neighbours in time far apart: each once, as @blocks is a power of two. */
static uint64_t block_of(uint64_t i, uint64_t blocks)
{
	return i * (TOKEN >> 40 | 1) & (blocks - 1);
}

static volatile uint64_t *word_of(volatile uint64_t *memory, uint64_t block)
{
	uint64_t page = block * TOKEN >> 32 & (PAGES - 1);

	return memory + (block * BLOCK_BYTES + page * PAGE_BYTES) / sizeof(*memory);
}

static int compare(const void *left, const void *right)
{
	uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

	return a < b ? -1 : a > b;
}

static double us_at(const uint64_t *sorted, uint64_t count, double share)
{
	uint64_t rank = (uint64_t)((double)count * share);

	return (double)sorted[rank < count ? rank : count - 1] / 1000;
}

static void report(unsigned int round, uint64_t *times, uint64_t count, uint64_t wrong)
{
	qsort(times, count, sizeof(*times), compare);
	printf("guest: round %u: touched %llu wrong %llu p50 %.0f p99 %.0f p999 %.0f max %.0f us\n",
	       round, (unsigned long long)count, (unsigned long long)wrong,
	       us_at(times, count, 0.5), us_at(times, count, 0.99), us_at(times, count, 0.999),
	       us_at(times, count, 1));
	fflush(stdout);
}

int main(int argc, char **argv)
{
	uint64_t blocks = argc == 4 ? (strtoull(argv[2], NULL, 10) << 20) / BLOCK_BYTES : 0;
	int console = open("/dev/console", O_RDONLY);
	volatile uint64_t *memory;
	useconds_t pause_us;
	uint64_t *times;

	if (!blocks || blocks & (blocks - 1)) {
		fprintf(stderr, "usage: hold GPA MIB PAUSE_US (MIB: a power of two)\n");
		return 2;
	}
	memory = map(strtoull(argv[1], NULL, 0), blocks * BLOCK_BYTES);
	pause_us = (useconds_t)strtoul(argv[3], NULL, 10);
	times = calloc(blocks, sizeof(*times));
	if (!times)
		return 2;
	for (unsigned int round = 1;; round++) {
		uint64_t count = 0, wrong = 0;

		while (!told(console, "begin"))
			;
		printf("guest: round %u: begins\n", round);
		fflush(stdout);
		while (count < blocks && (count % LOOK_EVERY || !count || !is_called(console))) {
			uint64_t block = block_of(count, blocks), start = now_ns();

			*word_of(memory, block) = block ^ TOKEN;
			times[count++] = now_ns() - start;
			usleep(pause_us);
		}
		while (!told(console, "end"))
			;
		for (uint64_t i = 0; i < count; i++)
			wrong += *word_of(memory, block_of(i, blocks)) !=
				 (block_of(i, blocks) ^ TOKEN);
		report(round, times, count, wrong);
	}
}
