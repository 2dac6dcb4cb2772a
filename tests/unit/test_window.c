/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "mm/backing.h"
#include "mm/window.h"
#include "tests/lib/interpose.h"

/*
 * Windows: the bitmap of what is present, at the borders of its words and of the address space, and
 * the ways in which making one fails.
 */

#define PAGE SAMARA_PAGE_BYTES

struct fixture {
	struct uffd uffd;
	struct window window;
};

#define PAGES 200 /* three words and a bit */

static int create(struct window *window, const struct uffd *uffd, gpa_t gpa, uint64_t size_bytes,
		  enum guest_mm_backing backing, struct samara_error *err)
{
	struct guest_mm_window_config config = {
		.gpa = gpa, .size_bytes = size_bytes, .backing = backing};

	return window_create(window, uffd, 1, true, &config, err);
}

static void make(struct fixture *f, gpa_t gpa, uint64_t pages, enum guest_mm_backing backing)
{
	struct samara_error err = {0};

	if (uffd_open(&f->uffd, &err) ||
	    create(&f->window, &f->uffd, gpa, pages * PAGE, backing, &err))
		fail_msg("%s", err.text);
}

static void unmake(struct fixture *f)
{
	window_destroy(&f->window);
	uffd_close(&f->uffd);
}

/* Every range of pages, at every place: set, count, find, clear; with all others set or not. */
static void check_ranges(struct window *w, uint64_t pages)
{
	gpa_t base = w->gpa, end = base + pages * PAGE;
	uint64_t run;

	for (uint64_t from = 0; from<pages; from += from % 64> 2 && from % 64 < 60 ? 13 : 1) {
		for (uint64_t to = from + 1; to <= pages;
		     to += to % 64 > 2 && to % 64 < 61 && to < pages - 14 ? 13 : 1) {
			gpa_t first = base + from * PAGE;
			uint64_t size = (to - from) * PAGE;

			window_set_present(w, first, size);
			window_set_present(w, first, size); /* counted once */
			assert_int_equal(w->present.set, to - from);
			assert_int_equal(page_bitmap_count(&w->present, base, pages * PAGE),
					 to - from);
			assert_int_equal(page_bitmap_count(&w->present, first, size), to - from);
			assert_true(window_present(w, first));
			assert_true(window_present(w, first + size - PAGE));
			if (from)
				assert_false(window_present(w, first - PAGE));
			if (to < pages)
				assert_false(window_present(w, first + size));
			assert_int_equal(page_bitmap_next_run(&w->present, base, end, true, &run),
					 first);
			assert_int_equal(run, size);
			assert_int_equal(page_bitmap_next_run(&w->present, first, end, false, &run),
					 first + size);
			assert_int_equal(run, (pages - to) * PAGE);
			assert_int_equal(
				page_bitmap_next_run(&w->present, first + size, end, true, &run),
				end);
			assert_int_equal(run, 0);
			window_clear_present(w, first, size);
			window_clear_present(w, base, pages * PAGE);
			assert_int_equal(w->present.set, 0);
			/* The other way round: a hole in what is all present. */
			window_set_present(w, base, pages * PAGE);
			window_clear_present(w, first, size);
			assert_int_equal(w->present.set, pages - (to - from));
			assert_int_equal(page_bitmap_next_run(&w->present, base, end, false, &run),
					 first);
			assert_int_equal(run, size);
			window_clear_present(w, base, pages * PAGE);
			assert_int_equal(w->present.set, 0);
		}
	}
}

static void test_bitmap(void **state)
{
	struct fixture f = {0};

	(void)state;
	make(&f, 0x100000000, PAGES, GUEST_MM_ANON);
	check_ranges(&f.window, PAGES);
	unmake(&f);
	make(&f, 0x100001000, 64, GUEST_MM_MEMFD);
	check_ranges(&f.window, 64);
	unmake(&f);
	make(&f, 0x3000, 1, GUEST_MM_ANON);
	check_ranges(&f.window, 1);
	unmake(&f);
}

/* Over several groups of 4096 pages, most of them never used. */
static void test_bitmap_of_many_pages(void **state)
{
	const uint64_t edge[] = {0, 1, 4095, 4096, 4097, 8191, 8192, 12288, 20000, 20479, 20480};
	const unsigned int edges = sizeof(edge) / sizeof(edge[0]);
	struct page_bitmap map;
	uint64_t run;

	(void)state;
	assert_int_equal(page_bitmap_init(&map, 0, 20480 * PAGE), 0);
	for (unsigned int a = 0; a < edges; a++)
		for (unsigned int b = a + 1; b < edges; b++) {
			uint64_t first = edge[a] * PAGE, size = (edge[b] - edge[a]) * PAGE;

			assert_int_equal(page_bitmap_set(&map, first, size), edge[b] - edge[a]);
			assert_int_equal(page_bitmap_next_run(&map, 0, 20480 * PAGE, true, &run),
					 first);
			assert_int_equal(run, size);
			assert_int_equal(page_bitmap_count(&map, 0, 20480 * PAGE),
					 edge[b] - edge[a]);
			page_bitmap_next_run(&map, first, 20480 * PAGE, false, &run);
			assert_int_equal(run, (20480 - edge[b]) * PAGE);
			assert_int_equal(page_bitmap_clear(&map, 5000 * PAGE, 0), 0);
			/* In two parts, cut in the middle of a group. */
			assert_int_equal(
				page_bitmap_clear(&map, 0, 10000 * PAGE) +
					page_bitmap_clear(&map, 10000 * PAGE, 10480 * PAGE),
				edge[b] - edge[a]);
			assert_int_equal(map.set, 0);
			page_bitmap_next_run(&map, 0, 20480 * PAGE, true, &run);
			assert_int_equal(run, 0);
		}
	page_bitmap_destroy(&map);
}

/* The window whose end is 2^64: an end of range is 0 there. */
static void test_bitmap_at_the_end_of_the_address_space(void **state)
{
	struct fixture f = {0};

	(void)state;
	make(&f, 0 - PAGES * PAGE, PAGES, GUEST_MM_ANON);
	check_ranges(&f.window, PAGES);
	unmake(&f);
}

static void test_covers(void **state)
{
	struct window w = {.gpa = 0x10000, .size_bytes = 0x4000};
	struct window top = {.gpa = 0 - (uint64_t)0x4000, .size_bytes = 0x4000};

	(void)state;
	assert_true(window_covers(&w, 0x10000, 0x4000));
	assert_true(window_covers(&w, 0x13000, 0x1000));
	assert_true(window_covers(&w, 0x14000, 0));
	assert_false(window_covers(&w, 0x14000, 1));
	assert_false(window_covers(&w, 0xf000, 0x1000));
	assert_false(window_covers(&w, 0xf000, 0x2000));
	assert_false(window_covers(&w, 0x10000, 0x4001));
	assert_false(window_covers(&w, 0x11000, UINT64_MAX));
	assert_true(window_covers(&top, 0 - (uint64_t)0x1000, 0x1000));
	assert_false(window_covers(&top, 0 - (uint64_t)0x1000, 0x2000));
	assert_false(window_covers(&top, 0, 0x1000));
}

/* Guest and host addresses agree modulo 2 MiB, or huge pages could never be behind a memslot. */
static void test_alignment(void **state)
{
	struct fixture f = {0};

	(void)state;
	make(&f, 0x100123000, 33, GUEST_MM_ANON);
	assert_int_equal((uintptr_t)f.window.hva & 0x1fffff, 0x123000);
	unmake(&f);
}

/* Each system call fails once: an error that names the window, and no descriptor closed or lost. */
static void test_create_fails(void **state)
{
	struct samara_error err;
	struct uffd uffd;
	struct window w;

	(void)state;
	assert_int_equal(uffd_open(&uffd, &err), 0);
	for (int backing = GUEST_MM_ANON; backing <= GUEST_MM_MEMFD; backing++) {
		for (unsigned long nth = 1;; nth++) {
			int before = dup(0), after, ret;

			close(before);
			interpose_fail_nth(INTERPOSE_MMAP | INTERPOSE_REGISTER, nth, 1, 0);
			err.text[0] = '\0';
			ret = create(&w, &uffd, 0x40000000, 0x10000, (enum guest_mm_backing)backing,
				     &err);
			if (!ret)
				window_destroy(&w);
			if (!interpose_end()) {
				assert_int_equal(ret, 0);
				assert_true(nth > 3);
				break;
			}
			if (!ret) /* it can do without */
				continue;
			assert_int_equal(ret, -ENOMEM);
			assert_non_null(strstr(err.text, "window 0x40000000+0x10000: "));
			assert_true(fcntl(0, F_GETFD) >= 0);
			after = dup(0);
			assert_int_equal(after, before);
			close(after);
		}
	}
	/* Beyond what a host can map, and what a file can be. */
	assert_int_equal(create(&w, &uffd, 0, 0 - PAGE, GUEST_MM_ANON, &err), -ENOMEM);
	assert_int_equal(create(&w, &uffd, 0, UINT64_C(1) << 60, GUEST_MM_MEMFD, &err), -ENOMEM);
	uffd_close(&uffd);
}

static void *touch(void *page)
{
	*(volatile char *)page = 1;
	return NULL;
}

/*
 * Who waits for a page sleeps on until it is woken, though a huge page has come: a guest that walks on
 * would meet the handler in the next one (mm/populate.c).
 */
static void test_huge_page_wakes_nobody(void **state)
{
	struct timespec soon = {.tv_nsec = 50000000}, until;
	struct fixture f;
	struct fill fill = {.window = &f.window, .size_bytes = HUGE_BYTES};
	struct pollfd message;
	pthread_t thread;

	(void)state;
	make(&f, 0, HUGE_BYTES / PAGE, GUEST_MM_ANON);
	if (stage_fill(&fill, f.window.hva) || window_discard(&f.window, 0, HUGE_BYTES)) {
		print_message("# SKIP this host makes no huge pages\n");
		unmake(&f);
		skip();
	}
	assert_int_equal(pthread_create(&thread, NULL, touch, f.window.hva + 5 * PAGE), 0);
	message = (struct pollfd){.fd = f.uffd.fd, .events = POLLIN};
	assert_int_equal(poll(&message, 1, 100000), 1);
	assert_int_equal(stage_fill(&fill, f.window.hva), 0);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += (until.tv_nsec + soon.tv_nsec) / 1000000000;
	until.tv_nsec = (until.tv_nsec + soon.tv_nsec) % 1000000000;
	assert_int_equal(pthread_timedjoin_np(thread, NULL, &until), ETIMEDOUT);
	window_wake(&f.window, 0, HUGE_BYTES);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(f.window.hva[5 * PAGE], 1);
	unmake(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bitmap),
		cmocka_unit_test(test_bitmap_of_many_pages),
		cmocka_unit_test(test_bitmap_at_the_end_of_the_address_space),
		cmocka_unit_test(test_covers),
		cmocka_unit_test(test_alignment),
		cmocka_unit_test(test_create_fails),
		cmocka_unit_test(test_huge_page_wakes_nobody),
	};

	return cmocka_run_group_tests_name("window", tests, NULL, NULL);
}
