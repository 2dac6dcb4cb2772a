/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/lib/interpose.h"
#include "tests/lib/mm_fixture.h"

/*
 * Pins: what they hold, and who waits for whom.
 */

static void test_pin_errors(void **state)
{
	struct fixture *f = *state;
	struct guest_mm_pin pin;

	plug_some(f);
	assert_int_equal(guest_mm_pin(f->mm, BASE, 0, false, &pin), -EINVAL);
	assert_int_equal(pin.iov_count, 0);
	assert_int_equal(guest_mm_pin(f->mm, BASE, UINT64_MAX, false, &pin), -EINVAL);
	assert_int_equal(guest_mm_pin(f->mm, UINT64_MAX, 2, false, &pin), -EINVAL);
	assert_int_equal(guest_mm_pin(f->mm, 0, 1, false, &pin), -EFAULT);
	assert_int_equal(guest_mm_pin(f->mm, BASE + 24 * PAGE, 1, false, &pin), -EFAULT);
	assert_int_equal(guest_mm_pin(f->mm, BASE + 24 * PAGE - 1, 2, false, &pin), -EFAULT);
	assert_int_equal(guest_mm_pin(f->mm, BASE + 15 * PAGE, 2 * PAGE, true, &pin), -EFAULT);
	assert_int_equal(guest_mm_pin(f->mm, BASE + 15 * PAGE, 2 * PAGE, false, &pin), 0);
	assert_int_equal(pin.iov_count, 2);
	guest_mm_unpin(&pin);
	guest_mm_unpin(&pin);       /* of nothing: nothing */
	unplug(f, BASE, 24 * PAGE); /* no failed pin holds anything */
	unplug(f, BASE + 32 * PAGE, 8 * PAGE);
}

static void test_pin_over_regions(void **state)
{
	struct fixture *f = *state;
	const unsigned int max = GUEST_MM_PIN_REGIONS;
	struct guest_mm_pin pin;
	gpa_t at = BASE;

	/* Alternate protections: every page a region of its own. */
	plug(f, BASE, (max + 1) * PAGE, GUEST_MM_RDWR);
	fill(f, BASE, (max + 1) * PAGE);
	for (unsigned int i = 0; i <= max; i += 2)
		protect(f, BASE + i * PAGE, PAGE, GUEST_MM_READ);
	assert_int_equal(guest_mm_pin(f->mm, BASE, (max + 1) * PAGE, false, &pin), -E2BIG);
	assert_int_equal(guest_mm_pin(f->mm, BASE + 5, max * PAGE - 5 + 1, false, &pin), -E2BIG);
	assert_int_equal(guest_mm_pin(f->mm, BASE + 5, max * PAGE - 5, false, &pin), 0);
	assert_int_equal(pin.iov_count, max);
	for (unsigned int i = 0; i < max; i++) {
		uint64_t skip = i ? 0 : 5;

		assert_ptr_equal(pin.iov[i].iov_base, hva(f, at + skip));
		assert_int_equal(pin.iov[i].iov_len, PAGE - skip);
		at += PAGE;
	}
	guest_mm_unpin(&pin);
	unplug(f, BASE, (max + 1) * PAGE);
}

/* The pages of a pin are there before it is: the host's access never faults. */
static void test_pin_populates(void **state)
{
	struct fixture *f = *state;
	struct guest_mm_pin pin;
	uint64_t faults;

	plug(f, BASE, 64 * PAGE, GUEST_MM_RDWR);
	assert_int_equal(guest_mm_pin(f->mm, BASE + 3 * PAGE + 100, 20 * PAGE, true, &pin), 0);
	faults = stats(f).faults;
	assert_int_equal(stats(f).populated_bytes, 21 * PAGE);
	memset(pin.iov[0].iov_base, 7, pin.iov[0].iov_len);
	assert_int_equal(stats(f).faults, faults);
	guest_mm_unpin(&pin);
	assert_int_equal(peek(f, BASE + 4 * PAGE), UINT64_C(0x0707070707070707));
	assert_int_equal(stats(f).pins, 1);
}

static void test_operations_wait_for_pins(void **state)
{
	struct fixture *f = *state;

	for (enum operation o = UNPLUG; o <= PROTECT; o++) {
		struct worker worker = {.f = f, .operation = o, .size_bytes = 8 * PAGE};
		struct guest_mm_pin pin;

		if (o == REMAP)
			continue;
		worker.gpa = BASE + (uint64_t)o * 100 * PAGE;
		plug(f, worker.gpa, 8 * PAGE, GUEST_MM_RDWR);
		assert_int_equal(guest_mm_pin(f->mm, worker.gpa + 2 * PAGE, 16, true, &pin), 0);
		start_operation(&worker);
		/* The pin holds what it held: the DMA lands. */
		memset(pin.iov[0].iov_base, 0x11, 16);
		assert_int_equal(((volatile char *)pin.iov[0].iov_base)[3], 0x11);
		guest_mm_unpin(&pin);
		pthread_join(worker.thread, NULL);
		assert_int_equal(worker.ret, 0);
	}
	assert_int_equal(peek(f, BASE + 0x2000000 + 2 * PAGE), UINT64_C(0x1111111111111111));
}

/* With a pin held elsewhere all the time, every operation goes through. */
static void test_operations_wait_for_no_other_pins(void **state)
{
	struct fixture *f = *state;
	struct guest_mm_pin pin;

	plug(f, BASE, 8 * PAGE, GUEST_MM_RDWR);
	plug(f, BASE + 16 * PAGE, 8 * PAGE, GUEST_MM_RDWR);
	if (!strcmp(stats(f).lock, "single")) {
		print_message("# SKIP LOCK=single: every operation waits for every pin\n");
		skip();
	}
	assert_int_equal(guest_mm_pin(f->mm, BASE, 8 * PAGE, true, &pin), 0);
	for (unsigned int round = 0; round < 20; round++) {
		struct worker worker = {.f = f, .size_bytes = 8 * PAGE};

		/* Another thread: this one holds a pin. */
		for (enum operation o = PLUG; o < OPERATIONS; o++) {
			static const enum operation order[] = {
				POPULATE, DISCARD, PROTECT, UNPLUG, PLUG, REMAP_FROM, UNPLUG};

			worker.operation = order[o];
			worker.gpa = o == OPERATIONS - 1 ? BASE + 0x2000000 : BASE + 16 * PAGE;
			pthread_create(&worker.thread, NULL, operator_main, &worker);
			pthread_join(worker.thread, NULL);
			assert_int_equal(worker.ret, 0);
		}
		worker.operation = PLUG;
		worker.gpa = BASE + 16 * PAGE;
		pthread_create(&worker.thread, NULL, operator_main, &worker);
		pthread_join(worker.thread, NULL);
		assert_int_equal(worker.ret, 0);
	}
	guest_mm_unpin(&pin);
}

/*
 * A region that is held delays nobody: a change of nothing waits for none. Where holders are known by
 * their range it is merged, else it is left alone.
 */
static void test_merge_waits_for_nobody(void **state)
{
	struct fixture *f = *state;
	bool by_range = !strncmp(stats(f).lock, "region", 6) || !strcmp(stats(f).lock, "range");
	struct guest_mm_pin pin;

	plug(f, BASE, 4 * PAGE, GUEST_MM_RDWR);
	if (!strcmp(stats(f).lock, "single")) {
		print_message("# SKIP LOCK=single: every operation waits for every pin\n");
		skip();
	}
	assert_int_equal(guest_mm_pin(f->mm, BASE, PAGE, true, &pin), 0);
	elsewhere(f, PLUG, BASE + 4 * PAGE, 4 * PAGE);
	if (by_range)
		EXPECT_REGIONS(f, BASE, 8 * PAGE, 3, );
	else
		EXPECT_REGIONS(f, BASE, 4 * PAGE, 3, BASE + 4 * PAGE, 4 * PAGE, 3, );
	elsewhere(f, UNPLUG, BASE + 6 * PAGE, 2 * PAGE);
	guest_mm_unpin(&pin);
	/* The next operation there unites them. */
	plug(f, BASE + 6 * PAGE, 2 * PAGE, GUEST_MM_RDWR);
	protect(f, BASE, 8 * PAGE, GUEST_MM_READ);
	EXPECT_REGIONS(f, BASE, 8 * PAGE, 1, );
}

/* Who holds a pin gets -EAGAIN where it would have to wait, and a circle cannot close. */
static void test_pin_again(void **state)
{
	struct fixture *f = *state;
	struct worker worker = {.f = f, .operation = UNPLUG, .gpa = BASE, .size_bytes = 8 * PAGE};
	struct guest_mm_pin pin, second;

	plug(f, BASE, 8 * PAGE, GUEST_MM_RDWR);
	plug(f, SECOND, 8 * PAGE, GUEST_MM_RDWR);
	assert_int_equal(guest_mm_pin(f->mm, BASE, PAGE, true, &pin), 0);
	start_operation(&worker);
	if (strcmp(stats(f).lock, "single")) {
		assert_int_equal(guest_mm_pin(f->mm, BASE + PAGE, PAGE, true, &second), -EAGAIN);
		assert_int_equal(second.iov_count, 0);
		assert_int_equal(guest_mm_read(f->mm, BASE + PAGE, &second, 8), -EAGAIN);
	}
	/* Elsewhere there is nothing to wait for. */
	assert_int_equal(guest_mm_pin(f->mm, SECOND, PAGE, true, &second), 0);
	assert_int_equal(load(&worker.done), 0);
	guest_mm_unpin(&second);
	guest_mm_unpin(&pin);
	pthread_join(worker.thread, NULL);
	assert_int_equal(worker.ret, 0);
	assert_int_equal(guest_mm_pin(f->mm, BASE, PAGE, true, &pin), -EFAULT);
}

/* ---- Who holds an operation up ---------------------------------------------------------------- */

struct reports {
	uint32_t count; /* atomic: written last */
	struct guest_mm_slow_operation last;
	char operation[16];
};

static void take_report(const struct guest_mm_slow_operation *slow, void *arg)
{
	struct reports *reports = arg;

	reports->last = *slow;
	snprintf(reports->operation, sizeof(reports->operation), "%s", slow->operation);
	__atomic_fetch_add(&reports->count, 1, __ATOMIC_SEQ_CST);
}

static void test_slow_operation_is_reported(void **state)
{
	struct reports reports = {0};
	struct guest_mm_config config = {
		.slow_operation = take_report, .slow_ms = 50, .slow_arg = &reports};
	struct fixture f = {0};
	struct worker worker = {.f = &f, .operation = UNPLUG, .gpa = BASE, .size_bytes = 8 * PAGE};
	struct guest_mm_pin pin, elsewhere;
	struct samara_error err;
	bool by_slot;

	(void)state;
	ok(guest_mm_create(&config, &f.mm, &err), &err);
	by_slot = !strncmp(stats(&f).lock, "region", 6);
	ok(guest_mm_add_window(f.mm, BASE, BASE_BYTES, GUEST_MM_ANON, &err), &err);
	plug(&f, BASE, 64 * PAGE, GUEST_MM_RDWR);
	assert_int_equal(guest_mm_pin(f.mm, BASE + 3 * PAGE + 5, PAGE, true, &pin), 0);
	assert_int_equal(guest_mm_pin(f.mm, BASE + 32 * PAGE, PAGE, true, &elsewhere), 0);
	pthread_create(&worker.thread, NULL, operator_main, &worker);
	for (unsigned int i = 0; i < 6000 && by_slot && load(&reports.count) < 2; i++)
		sleep_ms(10);
	assert_int_equal(load(&worker.done), 0);
	guest_mm_unpin(&pin);
	guest_mm_unpin(&elsewhere);
	pthread_join(worker.thread, NULL);
	guest_mm_destroy(f.mm);
	if (!by_slot) {
		print_message("# SKIP this lock design does not publish its holders\n");
		skip();
	}
	assert_true(load(&reports.count) >= 2);
	assert_string_equal(reports.operation, "unplug");
	assert_int_equal(reports.last.gpa, BASE);
	assert_int_equal(reports.last.size_bytes, 8 * PAGE);
	assert_true(reports.last.waited_ms >= 50);
	assert_int_equal(reports.last.holders, 1);
	assert_int_equal(reports.last.holder[0].thread, gettid());
	assert_int_equal(reports.last.holder[0].gpa, BASE + 3 * PAGE);
	assert_int_equal(reports.last.holder[0].size_bytes, 2 * PAGE);
}

/* More pins than a thread has slots. */
static void test_many_pins(void **state)
{
	struct fixture *f = *state;
	struct guest_mm_pin pin[40];

	for (unsigned int i = 0; i < 40; i++) {
		plug(f, BASE + 2 * i * PAGE, PAGE, GUEST_MM_RDWR);
		poke(f, BASE + 2 * i * PAGE, i);
	}
	for (unsigned int i = 0; i < 40; i++)
		assert_int_equal(guest_mm_pin(f->mm, BASE + 2 * i * PAGE, 8, true, &pin[i]), 0);
	for (unsigned int i = 0; i < 40; i++) {
		assert_int_equal(*(uint64_t *)pin[i * 7 % 40].iov[0].iov_base, i * 7 % 40);
		guest_mm_unpin(&pin[i * 7 % 40]);
	}
	for (unsigned int i = 0; i < 40; i++)
		unplug(f, BASE + 2 * i * PAGE, PAGE);
}

static void test_read_and_write(void **state)
{
	struct fixture *f = *state;
	const uint64_t size = 40 * PAGE;
	unsigned char *bytes = malloc(size), *back = malloc(size);

	plug(f, BASE, size, GUEST_MM_RDWR);
	for (uint64_t i = 0; i < size; i++)
		bytes[i] = (unsigned char)(i * 13 + (i >> 9));
	assert_int_equal(guest_mm_write(f->mm, BASE, bytes, size), 0);
	/* More regions than a pin has room for; reading goes over all of them. */
	for (unsigned int i = 0; i < 30; i += 2)
		protect(f, BASE + i * PAGE, PAGE, GUEST_MM_READ);
	for (uint64_t from = 0; from < 3 * PAGE; from += 1111)
		for (uint64_t length = 1; length < size - from; length = length * 3 + 777) {
			memset(back, 0, length);
			assert_int_equal(guest_mm_read(f->mm, BASE + from, back, length), 0);
			assert_memory_equal(back, bytes + from, length);
		}
	assert_int_equal(guest_mm_read(f->mm, BASE, back, 0), 0);
	assert_int_equal(guest_mm_write(f->mm, BASE + PAGE - 1, bytes, 2), 0 - EFAULT);
	/* Short ones, that are not pinned: the same rules, also where a page is not there. */
	for (uint64_t length = 1; length <= 9; length++) {
		assert_int_equal(guest_mm_write(f->mm, BASE + 2 * PAGE + 8, bytes, length),
				 -EFAULT);
		assert_int_equal(guest_mm_read(f->mm, BASE + 2 * PAGE + 8, back, length), 0);
		assert_memory_equal(back, bytes + 2 * PAGE + 8, length);
		assert_int_equal(guest_mm_read(f->mm, BASE + size + 8, back, length), -EFAULT);
	}
	plug(f, BASE + 100 * PAGE, PAGE, GUEST_MM_RDWR);
	assert_int_equal(guest_mm_write(f->mm, BASE + 100 * PAGE + 6, "guest", 5), 0);
	assert_int_equal(guest_mm_read(f->mm, BASE + 100 * PAGE, back, 16), 0);
	assert_memory_equal(back, "\0\0\0\0\0\0guest\0\0\0\0\0", 16);
	assert_int_equal(guest_mm_write(f->mm, BASE + PAGE, "samara", 6), 0);
	assert_int_equal(guest_mm_read(f->mm, BASE + PAGE, back, 6), 0);
	assert_memory_equal(back, "samara", 6);
	assert_int_equal(guest_mm_read(f->mm, BASE + size - 1, back, 2), -EFAULT);
	assert_int_equal(guest_mm_read(f->mm, UINT64_MAX, back, 2), -EINVAL);
	assert_int_equal(guest_mm_write(f->mm, 0, back, 2), -EFAULT);
	free(bytes);
	free(back);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		MM_TEST(test_merge_waits_for_nobody),
		MM_TEST(test_pin_errors),
		MM_TEST(test_pin_over_regions),
		MM_TEST(test_pin_populates),
		MM_TEST(test_operations_wait_for_pins),
		MM_TEST(test_operations_wait_for_no_other_pins),
		MM_TEST(test_pin_again),
		MM_TEST(test_many_pins),
		cmocka_unit_test(test_slow_operation_is_reported),
		MM_TEST(test_read_and_write),
	};

	return cmocka_run_group_tests_name("pins", tests, NULL, NULL);
}
