/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fill MIB: for a guest. Takes that much memory, writes to every page what only that page holds,
 * and reads it back. Says how many pages were wrong; the status is 1 if any was.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define PAGE_BYTES 4096u
#define WORDS      (PAGE_BYTES / sizeof(uint64_t))

/* Far apart in the page, so that one of two halves is not the other's. */
static const unsigned int places[] = {0, 1, WORDS / 2, WORDS - 1};

static uint64_t pattern(uint64_t page, unsigned int place)
{
	return (page * 4 + place + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

int main(int argc, char **argv)
{
	uint64_t mib = argc == 2 ? strtoull(argv[1], NULL, 10) : 0, page, wrong = 0;
	uint64_t pages = (mib << 20) / PAGE_BYTES;
	volatile uint64_t *memory;
	unsigned int i;

	if (!mib) {
		fprintf(stderr, "usage: fill MIB\n");
		return 2;
	}
	memory = mmap(NULL, pages * PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		      -1, 0);
	if (memory == MAP_FAILED) {
		perror("fill");
		return 2;
	}
	for (page = 0; page < pages; page++)
		for (i = 0; i < 4; i++)
			memory[page * WORDS + places[i]] = pattern(page, i);
	for (page = 0; page < pages; page++)
		for (i = 0; i < 4; i++)
			if (memory[page * WORDS + places[i]] != pattern(page, i)) {
				wrong++;
				break;
			}
	printf("filled %llu MiB: %llu pages wrong\n", (unsigned long long)mib,
	       (unsigned long long)wrong);
	return wrong != 0;
}
