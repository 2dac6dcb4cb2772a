/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What it costs to find a region, hold a page of it and let it go: a contestant of versus.
 *
 * locks [rcu]: this build's lock design; or the bare look-up in a read-side section, which no design
 * can be faster than.
 *
 * A cell is THREADS.WHERE.WRITER. Threads: readers, each on a CPU of its own as long as there are
 * some. Where: `same`, all in one region of 64 GiB; `diff`, each in its own; each thread takes pages
 * of its own, at random. Writer: `quiet`, there is none; else another thread cuts 2 MiB out of a
 * region, drains it, unites the region again and sleeps for 50 us, all the time: `elsewhere`, in a
 * region that nobody reads; `same`, in the one that is read, where nobody reads.
 *
 * Each address depends on what was found at the last one, as it does where a look-up is followed by
 * work: no two overlap in the CPU. The cells 1.same.overlap and 2.same.overlap go without that: there a
 * CPU has several bare look-ups under way at once, while each hold waits for the last.
 *
 * ns: wall-clock time of a thread, less the time that it was ready but kept off its CPU, by what it
 * did; the mean of the threads. With more threads than CPUs they keep each other off.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "mm/lock.h"
#include "mm/region_cut.h"
#include "tests/bench/cell.h"

#define REGIONS      16
#define REGION_BYTES (UINT64_C(64) << 30)
#define STEP         (2 * REGION_BYTES)  /* with gaps, so that nothing is merged */
#define READ_BYTES   (UINT64_C(1) << 30) /* what one thread reads of a region */
#define CHANGE_AT    (UINT64_C(48) << 30)
#define CHANGE_BYTES (UINT64_C(2) << 20)
#define SLICE_NS     UINT64_C(8000000)
#define THREADS_MAX  8
#define KEYS         1024
#define BATCH        64

enum {
	SAME,
	DIFF
};
enum {
	QUIET,
	ELSEWHERE,
	IN_SAME,
	OVERLAP
};

static struct region_tree *tree;
static bool bare;
static uint64_t keys[THREADS_MAX][KEYS];
static uint32_t stop __attribute__((aligned(128)));
static pthread_barrier_t together;

struct reader {
	unsigned int index;
	int where;
	uint64_t done, ns;
	uintptr_t found;
	bool overlaps;
} __attribute__((aligned(128)));

static void hold_once(uint64_t address, uintptr_t *found)
{
	struct region_guard guard;
	struct region *region;
	bool busy;

	region = region_try_fault_lock(tree, address, address, address + 4095, &guard, &busy);
	if (!region)
		region = region_read_lock_range(tree, address, address, address + 4095, &guard);
	*found = (uintptr_t)region->object;
	region_read_unlock(&guard);
}

static void look_up_once(uint64_t address, uintptr_t *found)
{
	samara_rcu_read_lock();
	*found = (uintptr_t)region_find(tree, address)->object;
	samara_rcu_read_unlock();
}

/* @depends: what was found has a say in where to look next. */
static inline __attribute__((always_inline)) void batch(struct reader *own, uint64_t base,
							unsigned int *at, bool depends)
{
	for (unsigned int i = 0; i < BATCH; i++) {
		uint64_t address = base + keys[own->index][*at];

		if (bare)
			look_up_once(address, &own->found);
		else
			hold_once(address, &own->found);
		*at = (*at + 1 + (depends ? own->found & 1 : 0)) % KEYS;
	}
}

static void *reader_main(void *arg)
{
	struct reader *own = arg;
	uint64_t base = own->where == DIFF ? own->index * STEP : 0, start, kept_off;
	unsigned int at = 0;

	cell_on_cpu(own->index);
	pthread_barrier_wait(&together);
	kept_off = cell_kept_off_ns();
	start = cell_now_ns();
	/* At least once: on a busy machine the slice may be over before a reader has a CPU. */
	do {
		if (own->overlaps)
			batch(own, base, &at, false);
		else
			batch(own, base, &at, true);
		own->done += BATCH;
	} while (!__atomic_load_n(&stop, __ATOMIC_RELAXED));
	own->ns = cell_now_ns() - start;
	kept_off = cell_kept_off_ns() - kept_off;
	own->ns -= kept_off < own->ns ? kept_off : 0;
	return NULL;
}

static struct region *make_region(const struct region *like, uint64_t first, uint64_t last)
{
	struct region *region = malloc(sizeof(*region));

	if (region)
		region_init(region, tree, first, last, like->object);
	return region;
}

static void *writer_main(void *arg)
{
	uint64_t at = *(uint64_t *)arg, last = at + CHANGE_BYTES - 1;
	struct timespec pause = {.tv_nsec = 50000};

	cell_on_cpu(1);
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		lock_tree_write(tree);
		if (!region_isolate(tree, at, last, make_region)) {
			region_unite(region_find(tree, at - 1), region_find(tree, at), make_region);
			region_unite(region_find(tree, last), region_find(tree, last + 1),
				     make_region);
		}
		unlock_tree_write(tree);
		clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
	}
	return NULL;
}

static void run(const struct cell *cell)
{
	static struct reader reader[THREADS_MAX];
	pthread_t thread[THREADS_MAX], writer;
	struct timespec slice = {.tv_nsec = SLICE_NS};
	uint64_t at = CHANGE_AT + (cell->writer == ELSEWHERE ? (REGIONS - 1) * STEP : 0);
	double done = 0, ns = 0;

	__atomic_store_n(&stop, 0, __ATOMIC_SEQ_CST);
	pthread_barrier_init(&together, NULL, cell->threads);
	for (unsigned int i = 0; i < cell->threads; i++) {
		reader[i] = (struct reader){
			.index = i, .where = cell->what, .overlaps = cell->writer == OVERLAP};
		pthread_create(&thread[i], NULL, reader_main, &reader[i]);
	}
	if (cell->writer == ELSEWHERE || cell->writer == IN_SAME)
		pthread_create(&writer, NULL, writer_main, &at);
	clock_nanosleep(CLOCK_MONOTONIC, 0, &slice, NULL);
	__atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
	for (unsigned int i = 0; i < cell->threads; i++) {
		pthread_join(thread[i], NULL);
		done += (double)reader[i].done;
		ns += (double)reader[i].ns;
	}
	if (cell->writer == ELSEWHERE || cell->writer == IN_SAME)
		pthread_join(writer, NULL);
	pthread_barrier_destroy(&together);
	cell_value(cell, "ns", ns / done);
}

int main(int argc, char **argv)
{
	static char objects[REGIONS], names[3 * 2 * 3 + 2][32];
	static const unsigned int threads[] = {1, 2, 8};
	static const char *const where[] = {"same", "diff"};
	static const char *const writer[] = {"quiet", "elsewhere", "same"};
	struct cell cells[3 * 2 * 3 + 2];
	unsigned int count = 0;

	bare = argc > 1 && !strcmp(argv[1], "rcu");
	if (region_tree_create(&tree))
		return 1;
	for (unsigned int i = 0; i < REGIONS; i++)
		if (region_tree_insert(tree, i * STEP, i * STEP + REGION_BYTES - 1, &objects[i]))
			return 1;
	srandom(1);
	for (unsigned int i = 0; i < THREADS_MAX; i++)
		for (unsigned int k = 0; k < KEYS; k++)
			keys[i][k] =
				i * READ_BYTES + (uint64_t)random() % (READ_BYTES / 4096) * 4096;
	for (unsigned int t = 0; t < 3; t++)
		for (int r = SAME; r <= DIFF; r++)
			for (int w = QUIET; w <= IN_SAME; w++, count++) {
				snprintf(names[count], sizeof(names[0]), "%u.%s.%s", threads[t],
					 where[r], writer[w]);
				cells[count] = (struct cell){.name = names[count],
							     .run = run,
							     .threads = threads[t],
							     .what = r,
							     .writer = w};
			}
	for (unsigned int t = 0; t < 2; t++, count++) {
		snprintf(names[count], sizeof(names[0]), "%u.same.overlap", threads[t]);
		cells[count] = (struct cell){
			.name = names[count], .run = run, .threads = threads[t], .writer = OVERLAP};
	}
	return cell_serve(cells, count);
}
