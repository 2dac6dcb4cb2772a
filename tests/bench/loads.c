/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The loads that Linux' work on mmap_lock was measured with, on guest memory: a contestant of versus.
 *
 * loads NAME [plain|huge]
 *
 *   touch      one thread touches 1 GiB for the first time, in order (`seq`) or not (`random`); with
 *              `plain`, anonymous memory that nobody manages. ms
 *   faults     threads touch 256 MiB for the first time, all in one region (`same`), or each in one
 *              of its own (`own`). us per page
 *   start      100 threads at once, as an application starts: each plugs four regions of 64 KiB and
 *              touches every page. ms until the last is done
 *   pool       bursts of a thread pool: each of the threads plugs 256 KiB, touches a few pages and
 *              unplugs it, 50 times. us per burst
 *   zerocopy   all threads but one pin and unpin single pages of one region; the last one protects
 *              2 MiB of it and lifts that, all the time. us per pin, and its 99th percentile
 *
 * A cell is THREADS or KIND.THREADS; with `.listed` another thread lists the regions meanwhile, over
 * and over.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <samara/guest_mm.h>

#include "tests/bench/cell.h"

#define PAGE        SAMARA_PAGE_BYTES
#define BASE        (UINT64_C(4) << 30)
#define WINDOW      (UINT64_C(2) << 30)
#define TOUCH_BYTES (UINT64_C(1) << 30)
#define FAULT_BYTES (UINT64_C(256) << 20)
#define OWN_STEP    (UINT64_C(16) << 20)
#define THREADS_MAX 100
#define BURSTS      50
#define PINS        4000

/* In struct cell: @what the kind, @writer whether the regions are listed. */
enum {
	SAME,
	OWN
};

static struct guest_mm *mm;
static char *memory; /* of BASE */
static bool plain, huge;
static uint32_t stop; /* atomic */
static pthread_barrier_t together;

struct worker {
	const struct cell *cell;
	unsigned int index;
	uint64_t ns;
	uint64_t *pin_ns;
	pthread_t thread;
};

static void must(int ret, const struct samara_error *err)
{
	if (!ret)
		return;
	fprintf(stderr, "loads: %s\n", err->text);
	exit(1);
}

static void make(void)
{
	struct guest_mm_window window;
	struct samara_error err;

	must(guest_mm_create(NULL, &mm, &err), &err);
	must(guest_mm_add_window(mm, BASE, WINDOW, GUEST_MM_ANON, &err), &err);
	guest_mm_get_window(mm, 0, &window);
	memory = window.hva;
}

static void plug(gpa_t gpa, uint64_t size_bytes)
{
	struct samara_error err;

	must(guest_mm_plug(mm, gpa, size_bytes, GUEST_MM_RDWR, &err), &err);
}

static void touch(uint64_t offset)
{
	__atomic_store_n((uint64_t *)(memory + offset), 1, __ATOMIC_RELAXED);
}

static int count_one(const struct guest_mm_region *region, void *arg)
{
	*(uint64_t *)arg += region->populated_pages;
	return 0;
}

static void *lister_main(void *arg)
{
	uint64_t pages = 0;

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
		guest_mm_for_each_region(mm, count_one, &pages);
	return arg;
}

/* Run @main in so many threads that begin together; the time until the last is done. */
static uint64_t run_threads(const struct cell *cell, struct worker *workers,
			    void *(*entry)(void *arg))
{
	pthread_t lister;
	uint64_t start;

	pthread_barrier_init(&together, NULL, cell->threads + 1);
	stop = 0;
	if (cell->writer)
		pthread_create(&lister, NULL, lister_main, NULL);
	for (unsigned int i = 0; i < cell->threads; i++) {
		workers[i].cell = cell;
		workers[i].index = i;
		pthread_create(&workers[i].thread, NULL, entry, &workers[i]);
	}
	pthread_barrier_wait(&together);
	start = cell_now_ns();
	for (unsigned int i = 0; i < cell->threads; i++)
		pthread_join(workers[i].thread, NULL);
	start = cell_now_ns() - start;
	__atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
	if (cell->writer)
		pthread_join(lister, NULL);
	pthread_barrier_destroy(&together);
	return start;
}

/* ---- touch ------------------------------------------------------------------------------------- */

/*
 * Have the host find its memory. If it is a guest itself, its own host may have to find pages first that
 * nobody used for a while: whoever comes first would pay for all.
 */
static void warm_up(uint64_t bytes)
{
	char *area = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (area == MAP_FAILED)
		exit(1);
	madvise(area, bytes, MADV_HUGEPAGE);
	for (uint64_t at = 0; at < bytes; at += PAGE)
		__atomic_store_n(area + at, 1, __ATOMIC_RELAXED);
	munmap(area, bytes);
}

static void run_touch(const struct cell *cell)
{
	const uint64_t pages = TOUCH_BYTES / PAGE;
	uint64_t start;

	warm_up(TOUCH_BYTES);
	if (plain) {
		memory = mmap(NULL, TOUCH_BYTES, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (memory == MAP_FAILED)
			exit(1);
		if (huge)
			madvise(memory, TOUCH_BYTES, MADV_HUGEPAGE);
	} else {
		make();
		plug(BASE, TOUCH_BYTES);
	}
	start = cell_now_ns();
	/* An odd factor, modulo a power of two: every page once. */
	for (uint64_t i = 0; i < pages; i++)
		touch((cell->what == SAME ? i : i * 40503 % pages) * PAGE);
	cell_value(cell, "ms", (double)(cell_now_ns() - start) / 1e6);
	if (plain)
		munmap(memory, TOUCH_BYTES);
	else
		guest_mm_destroy(mm);
}

/* ---- faults ------------------------------------------------------------------------------------ */

static void *faults_main(void *arg)
{
	struct worker *worker = arg;
	uint64_t part = FAULT_BYTES / worker->cell->threads;
	uint64_t from = worker->index * (worker->cell->what == OWN ? part + OWN_STEP : part);

	pthread_barrier_wait(&together);
	for (uint64_t i = 0; i < part; i += PAGE)
		touch(from + i);
	return NULL;
}

static void run_faults(const struct cell *cell)
{
	struct worker workers[THREADS_MAX] = {0};
	uint64_t part = FAULT_BYTES / cell->threads, ns;

	make();
	for (unsigned int i = 0; i < cell->threads && cell->what == OWN; i++)
		plug(BASE + i * (part + OWN_STEP), part);
	if (cell->what == SAME)
		plug(BASE, FAULT_BYTES);
	ns = run_threads(cell, workers, faults_main);
	cell_value(cell, "us", (double)ns / 1e3 / (double)(FAULT_BYTES / PAGE));
	guest_mm_destroy(mm);
}

/* ---- start, pool --------------------------------------------------------------------------------- */

static void *start_main(void *arg)
{
	struct worker *worker = arg;
	const uint64_t bytes = 16 * PAGE;

	pthread_barrier_wait(&together);
	for (unsigned int i = 0; i < 4; i++) {
		/* With gaps: neighbours would be merged. */
		uint64_t offset = (worker->index * 4 + i) * 2 * bytes;

		plug(BASE + offset, bytes);
		for (uint64_t k = 0; k < bytes; k += PAGE)
			touch(offset + k);
	}
	return NULL;
}

static void run_start(const struct cell *cell)
{
	struct worker workers[THREADS_MAX] = {0};

	make();
	cell_value(cell, "ms", (double)run_threads(cell, workers, start_main) / 1e6);
	guest_mm_destroy(mm);
}

static void *pool_main(void *arg)
{
	struct worker *worker = arg;
	const uint64_t bytes = 64 * PAGE;
	uint64_t offset = worker->index * 2 * bytes;
	struct samara_error err;

	pthread_barrier_wait(&together);
	for (unsigned int i = 0; i < BURSTS; i++) {
		plug(BASE + offset, bytes);
		for (unsigned int k = 0; k < 4; k++)
			touch(offset + k * 16 * PAGE);
		must(guest_mm_unplug(mm, BASE + offset, bytes, &err), &err);
	}
	return NULL;
}

static void run_pool(const struct cell *cell)
{
	struct worker workers[THREADS_MAX] = {0};
	uint64_t ns;

	make();
	ns = run_threads(cell, workers, pool_main);
	cell_value(cell, "us", (double)ns / 1e3 / BURSTS / cell->threads);
	guest_mm_destroy(mm);
}

/* ---- zerocopy ------------------------------------------------------------------------------------ */

static uint32_t pinning; /* atomic: threads that still pin */
static bool protecting;  /* the one that protects has begun: those that pin wait for it */

static void *zerocopy_main(void *arg)
{
	struct worker *worker = arg;
	const uint64_t pages = FAULT_BYTES / PAGE / 2;
	struct guest_mm_pin pin;
	struct samara_error err;
	uint64_t at = worker->index * 7919;

	pthread_barrier_wait(&together);
	if (!worker->index) {
		while (__atomic_load_n(&pinning, __ATOMIC_RELAXED)) {
			must(guest_mm_protect(mm, BASE + FAULT_BYTES / 2, 512 * PAGE, GUEST_MM_READ,
					      &err),
			     &err);
			must(guest_mm_protect(mm, BASE + FAULT_BYTES / 2, 512 * PAGE, GUEST_MM_RDWR,
					      &err),
			     &err);
			__atomic_store_n(&protecting, true, __ATOMIC_RELAXED);
		}
		return NULL;
	}
	while (!__atomic_load_n(&protecting, __ATOMIC_RELAXED))
		usleep(100);
	for (unsigned int i = 0; i < PINS; i++) {
		uint64_t start = cell_now_ns();

		at = (at * UINT64_C(6364136223846793005) + 1442695040888963407) % pages;
		if (guest_mm_pin(mm, BASE + at * PAGE, 1500, true, &pin))
			exit(1);
		memset(pin.iov[0].iov_base, 1, 64);
		guest_mm_unpin(&pin);
		worker->pin_ns[i] = cell_now_ns() - start;
	}
	__atomic_fetch_sub(&pinning, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

static int by_value(const void *a, const void *b)
{
	const uint64_t *left = a, *right = b;

	return (*left > *right) - (*left < *right);
}

static void run_zerocopy(const struct cell *cell)
{
	struct worker workers[THREADS_MAX] = {0};
	uint64_t count = (uint64_t)(cell->threads - 1) * PINS, sum = 0;
	uint64_t *all = calloc(count, sizeof(*all));
	struct samara_error err;

	if (!all)
		exit(1);
	make();
	plug(BASE, FAULT_BYTES);
	must(guest_mm_populate(mm, BASE, FAULT_BYTES, &err), &err);
	pinning = cell->threads - 1;
	protecting = false;
	for (unsigned int i = 1; i < cell->threads; i++)
		workers[i].pin_ns = all + (i - 1) * PINS;
	run_threads(cell, workers, zerocopy_main);
	qsort(all, count, sizeof(*all), by_value);
	for (uint64_t i = 0; i < count; i++)
		sum += all[i];
	cell_value(cell, "us", (double)sum / (double)count / 1e3);
	cell_value(cell, "p99.us", (double)all[count * 99 / 100] / 1e3);
	free(all);
	guest_mm_destroy(mm);
}

static const struct load {
	const char *name;
	unsigned int count;
	struct cell cells[8];
} loads[] = {
	{"touch", 2, {{"seq", run_touch, 1, SAME, 0}, {"random", run_touch, 1, OWN, 0}}},
	{"faults",
	 6,
	 {{"same.1", run_faults, 1, SAME, 0},
	  {"same.8", run_faults, 8, SAME, 0},
	  {"same.8.listed", run_faults, 8, SAME, 1},
	  {"own.1", run_faults, 1, OWN, 0},
	  {"own.8", run_faults, 8, OWN, 0},
	  {"own.8.listed", run_faults, 8, OWN, 1}}},
	{"start", 2, {{"100", run_start, 100, 0, 0}, {"100.listed", run_start, 100, 0, 1}}},
	{"pool", 2, {{"8", run_pool, 8, 0, 0}, {"8.listed", run_pool, 8, 0, 1}}},
	{"zerocopy", 2, {{"4", run_zerocopy, 4, 0, 0}, {"4.listed", run_zerocopy, 4, 0, 1}}},
};

int main(int argc, char **argv)
{
	huge = argc > 2 && !strcmp(argv[2], "huge");
	plain = huge || (argc > 2 && !strcmp(argv[2], "plain"));
	for (unsigned int i = 0; argc > 1 && i < sizeof(loads) / sizeof(loads[0]); i++)
		if (!strcmp(argv[1], loads[i].name))
			return cell_serve(loads[i].cells, loads[i].count);
	fprintf(stderr, "usage: loads touch|faults|start|pool|zerocopy [plain|huge]\n");
	return 1;
}
