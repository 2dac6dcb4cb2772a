/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hungry FILE: for a guest. Holds nearly all memory there is, whatever there is at the moment: takes
 * more of it while more is available, gives back while too little is, and between the two exchanges
 * old for new. Each page is written when it is taken and checked before it is given back. Until it
 * is sent SIGTERM; then the status is 1 if a page was wrong. FILE says how it is all the while.
 */
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE_BYTES  4096u
#define WORDS       (PAGE_BYTES / sizeof(uint64_t))
#define CHUNK_MIB   8u
#define CHUNK_BYTES ((uint64_t)CHUNK_MIB << 20)
#define CHUNKS_MAX  1024u

/* What is left to the others: the kernel with its reserves, a shell. */
#define ENOUGH_MIB  64u
#define LITTLE_MIB  40u
#define REST_US     20000u

/* A ring: the oldest goes first. */
static struct chunk {
	volatile uint64_t *words;
	uint64_t seed;
} chunks[CHUNKS_MAX];
static unsigned int first, count;
static uint64_t taken, most_mib, checked_pages, wrong_pages;
static volatile sig_atomic_t stop;

static void on_term(int signal)
{
	(void)signal;
	stop = 1;
}

/* MemAvailable (Linux Documentation/filesystems/proc.rst), in MiB. */
static uint64_t available_mib(void)
{
	unsigned long long kib = 0;
	char line[128];
	FILE *file = fopen("/proc/meminfo", "re");

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "MemAvailable: %llu", &kib) == 1)
			break;
	if (file)
		fclose(file);
	return kib >> 10;
}

static uint64_t pattern(uint64_t seed, uint64_t page)
{
	return (seed << 32 | page) * UINT64_C(0x9e3779b97f4a7c15);
}

/* Two words far apart in the page, so that one of two halves is not the other's. */
static bool take(void)
{
	struct chunk *chunk = &chunks[(first + count) % CHUNKS_MAX];
	uint64_t pages = CHUNK_BYTES / PAGE_BYTES, page;
	void *memory;

	if (count == CHUNKS_MAX)
		return false;
	memory =
		mmap(NULL, CHUNK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return false;
	chunk->words = memory;
	chunk->seed = ++taken;
	for (page = 0; page < pages; page++) {
		chunk->words[page * WORDS] = pattern(chunk->seed, page);
		chunk->words[page * WORDS + WORDS - 1] = ~pattern(chunk->seed, page);
	}
	count++;
	if (count * CHUNK_MIB > most_mib)
		most_mib = count * CHUNK_MIB;
	return true;
}

static void give_back(void)
{
	struct chunk *chunk = &chunks[first];
	uint64_t pages = CHUNK_BYTES / PAGE_BYTES, page;

	for (page = 0; page < pages; page++)
		if (chunk->words[page * WORDS] != pattern(chunk->seed, page) ||
		    chunk->words[page * WORDS + WORDS - 1] != ~pattern(chunk->seed, page))
			wrong_pages++;
	checked_pages += pages;
	munmap((void *)chunk->words, CHUNK_BYTES);
	first = (first + 1) % CHUNKS_MAX;
	count--;
}

/* One that is read meanwhile sees the former file or the next one. */
static void say(const char *path)
{
	char draft[256];
	FILE *file;

	snprintf(draft, sizeof(draft), "%s.draft", path);
	file = fopen(draft, "we");
	if (!file)
		return;
	fprintf(file,
		"holds %u MiB, most %llu MiB; taken %llu MiB, checked %llu pages, wrong %llu\n",
		count * CHUNK_MIB, (unsigned long long)most_mib,
		(unsigned long long)taken * CHUNK_MIB, (unsigned long long)checked_pages,
		(unsigned long long)wrong_pages);
	fclose(file);
	rename(draft, path);
}

int main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = on_term};

	if (argc != 2) {
		fprintf(stderr, "usage: hungry FILE\n");
		return 2;
	}
	sigaction(SIGTERM, &action, NULL);
	while (!stop) {
		uint64_t available = available_mib();

		if (available < LITTLE_MIB && count) {
			give_back();
		} else if (available < ENOUGH_MIB + CHUNK_MIB || !take()) {
			if (count)
				give_back();
			take();
			usleep(REST_US);
		}
		say(argv[1]);
	}
	while (count)
		give_back();
	say(argv[1]);
	return wrong_pages != 0;
}
