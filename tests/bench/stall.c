/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How long a fault or a pin in region B takes while region A is being changed: a contestant of versus.
 *
 * A cell is WHAT.MEANWHILE. What: `fault`, a first touch of a page by guest_mm_fault(), as the vCPU's
 * own thread or a handler resolves it, one page at a time (no fault-around); `pin`, guest_mm_pin() of
 * 64 bytes and guest_mm_unpin(). Meanwhile, in a region of the same window: `quiet`, nothing; `churn`,
 * 2 MiB are plugged, touched, moved and unplugged without a pause; `hold1ms`, a writer marks that
 * region, keeps it for 1 ms, and lets it go, without a pause; `control`, the same as churn but in
 * another guest_mm of this process: what is slower than quiet there is the host's doing (its mmap_lock,
 * TLB shootdowns, the caches), since the two share no lock of ours; `outside`, the same in another
 * process, which shares no lock of the host's for one address space either.
 *
 * p50, p99, p999, max of one slice's accesses, in ns of wall-clock time.
 */
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <samara/guest_mm.h>

#include "mm/mm.h"
#include "tests/bench/cell.h"

#define PAGE    SAMARA_PAGE_BYTES
#define B_GPA   UINT64_C(0x100000000)
#define B_PAGES UINT64_C(2048)
#define A_GPA   UINT64_C(0x180000000)
#define A_BYTES (UINT64_C(2) << 20)
#define MOVED   UINT64_C(0x1c0000000)
#define PINS    20000

enum {
	FAULT,
	PIN
};
enum {
	QUIET,
	CHURN,
	HOLD,
	CONTROL,
	OUTSIDE
};

static struct guest_mm *mm, *other_mm;

/*
 * Shared with the other process. A cell begins when its writer has: a thread inherits the CPU of the one
 * that measures, and might not get away from there before a slice is over.
 */
static struct {
	uint32_t stop, running;
} * writing;

static uint64_t *sample;
static int outside[2]; /* a byte to the other process starts it, a byte back says that it is over */

static void *churn_main(void *arg)
{
	struct guest_mm *own = arg;
	struct guest_mm_pin pin;

	cell_on_cpu(1);
	while (!__atomic_load_n(&writing->stop, __ATOMIC_RELAXED)) {
		guest_mm_plug(own, A_GPA, A_BYTES, GUEST_MM_RDWR, NULL);
		if (!guest_mm_pin(own, A_GPA, A_BYTES, true, &pin))
			guest_mm_unpin(&pin);
		guest_mm_remap(own, A_GPA, A_BYTES, MOVED, NULL);
		guest_mm_unplug(own, MOVED, A_BYTES, NULL);
		__atomic_store_n(&writing->running, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void *hold_main(void *arg)
{
	struct timespec pause = {.tv_nsec = 1000000};

	(void)arg;
	cell_on_cpu(1);
	guest_mm_plug(mm, A_GPA, A_BYTES, GUEST_MM_RDWR, NULL);
	while (!__atomic_load_n(&writing->stop, __ATOMIC_RELAXED)) {
		lock_tree_write(mm->tree);
		region_start_write(region_find(mm->tree, A_GPA));
		region_drain(mm->tree);
		__atomic_store_n(&writing->running, 1, __ATOMIC_RELAXED);
		clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
		unlock_tree_write(mm->tree);
	}
	guest_mm_unplug(mm, A_GPA, A_BYTES, NULL);
	return NULL;
}

static struct guest_mm *make_mm(void)
{
	struct guest_mm_config config = {.fault_around_pages = 1};
	struct guest_mm *made;

	if (guest_mm_create(&config, &made, NULL) ||
	    guest_mm_add_window(made, B_GPA, UINT64_C(4) << 30, GUEST_MM_ANON, NULL))
		exit(1);
	return made;
}

/* Before this process has any threads. */
static int start_outside(void)
{
	int to[2], from[2];
	char byte;

	if (pipe(to) || pipe(from))
		return -1;
	switch (fork()) {
	case -1:
		return -1;
	case 0:
		close(to[1]);
		close(from[0]);
		other_mm = make_mm();
		while (read(to[0], &byte, 1) == 1) {
			churn_main(other_mm);
			if (write(from[1], &byte, 1) != 1)
				break;
		}
		_exit(0);
	}
	close(to[0]);
	close(from[1]);
	outside[0] = from[0];
	outside[1] = to[1];
	return 0;
}

/* Another thread, or process. */
static void start_writer(int kind, pthread_t *writer)
{
	__atomic_store_n(&writing->stop, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&writing->running, kind == QUIET, __ATOMIC_SEQ_CST);
	if (kind == OUTSIDE) {
		if (write(outside[1], "", 1) != 1)
			exit(1);
	} else if (kind != QUIET) {
		pthread_create(writer, NULL, kind == HOLD ? hold_main : churn_main,
			       kind == CONTROL ? other_mm : mm);
	}
	while (!__atomic_load_n(&writing->running, __ATOMIC_RELAXED))
		usleep(100);
}

static void stop_writer(int kind, pthread_t writer)
{
	char byte;

	__atomic_store_n(&writing->stop, 1, __ATOMIC_SEQ_CST);
	if (kind == OUTSIDE) {
		if (read(outside[0], &byte, 1) != 1)
			exit(1);
	} else if (kind != QUIET) {
		pthread_join(writer, NULL);
	}
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static unsigned int measure(int what)
{
	struct guest_mm_pin pin;

	if (what == FAULT) {
		for (unsigned int i = 0; i < B_PAGES; i++) {
			uint64_t start = cell_now_ns();

			guest_mm_fault(mm, B_GPA + i * PAGE, 0);
			sample[i] = cell_now_ns() - start;
		}
		return B_PAGES;
	}
	for (unsigned int i = 0; i < PINS; i++) {
		uint64_t start = cell_now_ns();

		if (!guest_mm_pin(mm, B_GPA + i % B_PAGES * PAGE, 64, true, &pin))
			guest_mm_unpin(&pin);
		sample[i] = cell_now_ns() - start;
	}
	return PINS;
}

static void run(const struct cell *cell)
{
	pthread_t writer = 0;
	unsigned int count;

	guest_mm_plug(mm, B_GPA, B_PAGES * PAGE, GUEST_MM_RDWR, NULL);
	if (cell->what == PIN)
		guest_mm_populate(mm, B_GPA, B_PAGES * PAGE, NULL);
	start_writer(cell->writer, &writer);
	cell_on_cpu(0);
	count = measure(cell->what);
	stop_writer(cell->writer, writer);
	guest_mm_unplug(mm, B_GPA, B_PAGES * PAGE, NULL);
	qsort(sample, count, sizeof(*sample), compare);
	cell_value(cell, "p50.ns", (double)sample[count / 2]);
	cell_value(cell, "p99.ns", (double)sample[count * 99 / 100]);
	cell_value(cell, "p999.ns", (double)sample[count * 999 / 1000]);
	cell_value(cell, "max.ns", (double)sample[count - 1]);
}

int main(void)
{
	static const struct cell cells[] = {
		{"fault.quiet", run, 1, FAULT, QUIET},     {"fault.churn", run, 1, FAULT, CHURN},
		{"fault.hold1ms", run, 1, FAULT, HOLD},    {"pin.quiet", run, 1, PIN, QUIET},
		{"fault.control", run, 1, FAULT, CONTROL}, {"pin.control", run, 1, PIN, CONTROL},
		{"pin.churn", run, 1, PIN, CHURN},         {"pin.hold1ms", run, 1, PIN, HOLD},
		{"fault.outside", run, 1, FAULT, OUTSIDE}, {"pin.outside", run, 1, PIN, OUTSIDE},
	};

	sample = calloc(PINS, sizeof(*sample));
	writing = mmap(NULL, sizeof(*writing), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	if (!sample || writing == MAP_FAILED || start_outside())
		return 1;
	mm = make_mm();
	other_mm = make_mm();
	return cell_serve(cells, sizeof(cells) / sizeof(cells[0]));
}
