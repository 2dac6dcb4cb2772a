/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Each access to region B while region A is being changed, with its time: a contestant of versus that
 * is made for tests/bench/compare, which draws what it says.
 *
 * A cell is `fault`, a first touch of a page by guest_mm_fault(), or `pin`, guest_mm_pin() of 64 bytes
 * and guest_mm_unpin(); one every 50 us for 0.4 s. Meanwhile another thread plugs 64 MiB in the same
 * window, populates, protects, moves and unplugs it, and rests for 20 ms, over and over.
 *
 * `at.US.ns`: the access that was due US after the beginning took so long. One that was held up from
 * its due time on, because the one before was not done by then, counts from its due time; one that the
 * host woke late counts from then. Time that the thread was ready but kept off its CPU does not count:
 * that of whoever holds a lock up does. `change.US.ns`: a change that began then, and how long it took.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include <samara/guest_mm.h>

#include "tests/bench/cell.h"

#define PAGE        SAMARA_PAGE_BYTES
#define B_GPA       UINT64_C(0x100000000)
#define ACCESSES    8000
#define EVERY_NS    UINT64_C(50000)
#define A_GPA       UINT64_C(0x180000000)
#define A_BYTES     (UINT64_C(64) << 20)
#define MOVED       UINT64_C(0x1c0000000)
#define REST_NS     20000000
#define CHANGES_MAX 1024

enum {
	FAULT,
	PIN
};

static struct guest_mm *mm;
static uint32_t stop; /* atomic */
static uint64_t began_ns;
static uint64_t access_at_ns[ACCESSES], access_ns[ACCESSES];

/* The writer's, until it is joined. */
static struct change {
	uint64_t at_ns, ns;
} changes[CHANGES_MAX];
static unsigned int change_count;

static void must(int ret, const struct samara_error *err)
{
	if (!ret)
		return;
	fprintf(stderr, "timeline: %s\n", err->text);
	exit(1);
}

static void change(unsigned int step)
{
	struct samara_error err;
	uint64_t start = cell_now_ns();
	int ret;

	switch (step) {
	case 0:
		ret = guest_mm_plug(mm, A_GPA, A_BYTES, GUEST_MM_RDWR, &err);
		break;
	case 1:
		ret = guest_mm_populate(mm, A_GPA, A_BYTES, &err);
		break;
	case 2:
		ret = guest_mm_protect(mm, A_GPA, A_BYTES, GUEST_MM_READ, &err);
		break;
	case 3:
		ret = guest_mm_remap(mm, A_GPA, A_BYTES, MOVED, &err);
		break;
	default:
		ret = guest_mm_unplug(mm, MOVED, A_BYTES, &err);
		break;
	}
	must(ret, &err);
	if (change_count < CHANGES_MAX)
		changes[change_count++] =
			(struct change){.at_ns = start - began_ns, .ns = cell_now_ns() - start};
}

static void *writer_main(void *arg)
{
	struct timespec rest = {.tv_nsec = REST_NS};

	cell_on_cpu(1);
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		clock_nanosleep(CLOCK_MONOTONIC, 0, &rest, NULL);
		for (unsigned int step = 0; step < 5; step++)
			change(step);
	}
	return arg;
}

static void access_once(int what, unsigned int i)
{
	struct samara_error err;
	struct guest_mm_pin pin;

	if (what == FAULT) {
		guest_mm_fault(mm, B_GPA + i * PAGE, 0);
		return;
	}
	snprintf(err.text, sizeof(err.text), "cannot pin a page");
	must(guest_mm_pin(mm, B_GPA + i * PAGE, 64, true, &pin), &err);
	guest_mm_unpin(&pin);
}

/* How long this thread was ready but kept off its CPU; cheaper than cell_kept_off_ns(). */
static uint64_t kept_off_ns(int schedstat)
{
	char text[96], *space;
	ssize_t got = pread(schedstat, text, sizeof(text) - 1, 0);

	if (got <= 0)
		return 0;
	text[got] = 0;
	space = strchr(text, ' ');
	return space ? strtoull(space, NULL, 10) : 0;
}

/* All in the thread's own time, which stands still while it is kept off its CPU. */
static void measure(int what)
{
	int schedstat = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
	uint64_t own_began = began_ns - kept_off_ns(schedstat), done = 0;

	for (unsigned int i = 0; i < ACCESSES; i++) {
		uint64_t due = own_began + i * EVERY_NS, start = due, kept_off;

		kept_off = kept_off_ns(schedstat);
		if (done <= due) {
			struct timespec until = {.tv_sec = (time_t)((due + kept_off) / 1000000000),
						 .tv_nsec = (long)((due + kept_off) % 1000000000)};

			clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
			kept_off = kept_off_ns(schedstat);
			start = cell_now_ns() - kept_off;
		}
		access_at_ns[i] = due + kept_off - began_ns;
		access_once(what, i);
		done = cell_now_ns();
		done -= kept_off_ns(schedstat);
		/* It may have been kept off between the two. */
		access_ns[i] = done > start ? done - start : 0;
	}
	if (schedstat >= 0)
		close(schedstat);
}

static void run(const struct cell *cell)
{
	struct samara_error err;
	pthread_t writer;
	char unit[48];

	must(guest_mm_plug(mm, B_GPA, ACCESSES * PAGE, GUEST_MM_RDWR, &err), &err);
	if (cell->what == PIN)
		must(guest_mm_populate(mm, B_GPA, ACCESSES * PAGE, &err), &err);
	__atomic_store_n(&stop, 0, __ATOMIC_SEQ_CST);
	change_count = 0;
	began_ns = cell_now_ns();
	if (pthread_create(&writer, NULL, writer_main, NULL))
		exit(1);
	cell_on_cpu(0);
	measure(cell->what);
	__atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
	pthread_join(writer, NULL);
	must(guest_mm_unplug(mm, B_GPA, ACCESSES * PAGE, &err), &err);
	for (unsigned int i = 0; i < ACCESSES; i++) {
		snprintf(unit, sizeof(unit), "at.%llu.ns", access_at_ns[i] / 1000ULL);
		cell_value(cell, unit, (double)access_ns[i]);
	}
	for (unsigned int i = 0; i < change_count; i++) {
		snprintf(unit, sizeof(unit), "change.%llu.ns", changes[i].at_ns / 1000ULL);
		cell_value(cell, unit, (double)changes[i].ns);
	}
}

int main(void)
{
	static const struct cell cells[] = {{"fault", run, 1, FAULT, 0}, {"pin", run, 1, PIN, 0}};
	struct guest_mm_config config = {.fault_around_pages = 1};
	struct samara_error err;

	/* Else the kernel may wake the accesses as late as they are apart. */
	prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
	must(guest_mm_create(&config, &mm, &err), &err);
	must(guest_mm_add_window(mm, B_GPA, UINT64_C(4) << 30, GUEST_MM_ANON, &err), &err);
	return cell_serve(cells, sizeof(cells) / sizeof(cells[0]));
}
