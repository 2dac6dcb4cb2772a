/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "devices/rtc.h"

#define NS       INT64_C(1000000000)

/* 2024-02-29 23:59:58.5 UTC, a Thursday. */
#define LEAP_DAY (INT64_C(1709251198) * NS + NS / 2)

enum {
	SEC,
	SEC_ALARM,
	MIN,
	MIN_ALARM,
	HOUR,
	HOUR_ALARM,
	WEEKDAY,
	DAY,
	MONTH,
	YEAR,
	A,
	B,
	C,
	D
};

static struct {
	struct rtc *rtc;
	int eventfd;
	_Atomic int64_t now;
} t;

static int64_t test_clock(void *arg)
{
	assert_ptr_equal(arg, &t);
	return t.now;
}

static int set_up(void **state)
{
	struct rtc_config config = {.now_ns = test_clock, .arg = &t};

	(void)state;
	t.now = LEAP_DAY;
	t.eventfd = eventfd(0, EFD_NONBLOCK);
	config.irq.eventfd = t.eventfd;
	return rtc_create(&config, &t.rtc, NULL);
}

static int set_up_host_clock(void **state)
{
	struct rtc_config config = {.arg = &t};

	(void)state;
	t.eventfd = eventfd(0, EFD_NONBLOCK);
	config.irq.eventfd = t.eventfd;
	return rtc_create(&config, &t.rtc, NULL);
}

static int tear_down(void **state)
{
	(void)state;
	rtc_destroy(t.rtc);
	close(t.eventfd);
	return 0;
}

static uint8_t get(uint8_t reg)
{
	uint8_t value;

	rtc_bus_ops.write(t.rtc, 0, &reg, 1);
	rtc_bus_ops.read(t.rtc, 1, &value, 1);
	return value;
}

static void put(uint8_t reg, uint8_t value)
{
	rtc_bus_ops.write(t.rtc, 0, &reg, 1);
	rtc_bus_ops.write(t.rtc, 1, &value, 1);
}

/* Whether an edge came within so many milliseconds. */
static int edge(int ms)
{
	struct pollfd pollfd = {.fd = t.eventfd, .events = POLLIN};
	eventfd_t count;

	if (poll(&pollfd, 1, ms) != 1)
		return 0;
	eventfd_read(t.eventfd, &count);
	return 1;
}

static void assert_time(unsigned int century, unsigned int year, unsigned int month,
			unsigned int day, unsigned int hour, unsigned int min, unsigned int sec)
{
	assert_int_equal(get(RTC_CENTURY), century);
	assert_int_equal(get(YEAR), year);
	assert_int_equal(get(MONTH), month);
	assert_int_equal(get(DAY), day);
	assert_int_equal(get(HOUR), hour);
	assert_int_equal(get(MIN), min);
	assert_int_equal(get(SEC), sec);
}

static void tells_the_hosts_time(void **state)
{
	(void)state;
	assert_int_equal(get(D), 0x80);
	assert_int_equal(get(A), 0x26);
	assert_int_equal(get(B), 0x02);
	assert_time(0x20, 0x24, 0x02, 0x29, 0x23, 0x59, 0x58);
	assert_int_equal(get(WEEKDAY), 5);
	t.now += 2 * NS;
	assert_time(0x20, 0x24, 0x03, 0x01, 0x00, 0x00, 0x00);
	assert_int_equal(get(WEEKDAY), 6);
	/* The mask of NMIs is not part of the index. */
	assert_int_equal(get(0x80 | MONTH), 0x03);
}

static void formats(void **state)
{
	static const uint8_t twelve[24] = {0x12, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0x10, 0x11};
	unsigned int hour;

	(void)state;
	put(B, 0x06);
	assert_time(20, 24, 2, 29, 23, 59, 58);
	t.now = LEAP_DAY - LEAP_DAY % (86400 * NS);
	for (hour = 0; hour < 24; hour++) {
		put(B, 0x00);
		assert_int_equal(get(HOUR), hour < 12 ? twelve[hour] : (twelve[hour - 12] | 0x80));
		put(B, 0x06);
		assert_int_equal(get(HOUR), hour);
		/* What is written is read the same way. */
		put(B, 0x00);
		put(HOUR, hour < 12 ? twelve[hour] : (twelve[hour - 12] | 0x80));
		put(B, 0x06);
		assert_int_equal(get(HOUR), hour);
		t.now += 3600 * NS;
	}
}

static void set_by_the_guest(void **state)
{
	(void)state;
	put(B, 0x82);
	t.now += 100 * NS; /* it stands */
	assert_int_equal(get(SEC), 0x58);
	assert_int_equal(get(A) & 0x80, 0);
	put(SEC, 0x30);
	put(MIN, 0x20);
	put(HOUR, 0x10);
	put(DAY, 0x31);
	put(MONTH, 0x12);
	put(YEAR, 0x99);
	put(RTC_CENTURY, 0x19);
	put(WEEKDAY, 0x06);
	put(B, 0x02);
	assert_time(0x19, 0x99, 0x12, 0x31, 0x10, 0x20, 0x30);
	assert_int_equal(get(WEEKDAY), 6);
	t.now += 86400 * NS;
	assert_time(0x20, 0x00, 0x01, 0x01, 0x10, 0x20, 0x30);
	assert_int_equal(get(WEEKDAY), 7);
	/* A single register while it runs, and a reset of the machine. */
	put(MIN, 0x59);
	rtc_reset(t.rtc);
	assert_time(0x20, 0x00, 0x01, 0x01, 0x10, 0x59, 0x30);
}

/* As Linux does: SET, divider into reset, registers, then both back; the first update follows
 * half a second later. */
static void half_a_second_after_the_divider(void **state)
{
	(void)state;
	put(B, 0x82);
	put(A, 0x76);
	put(SEC, 0x10);
	put(B, 0x02);
	t.now += 5 * NS;
	assert_int_equal(get(SEC), 0x10);
	put(A, 0x26);
	t.now += NS / 2 - 1;
	assert_int_equal(get(SEC), 0x10);
	t.now += 1;
	assert_int_equal(get(SEC), 0x11);
}

static void update_in_progress(void **state)
{
	(void)state;
	t.now = LEAP_DAY - LEAP_DAY % NS;
	assert_int_equal(get(A) & 0x80, 0);
	t.now += NS - 2300000;
	assert_int_equal(get(A) & 0x80, 0);
	t.now += 100000;
	assert_int_equal(get(A) & 0x80, 0x80);
	t.now += 2199999;
	assert_int_equal(get(A) & 0x80, 0x80);
	t.now += 1;
	assert_int_equal(get(A) & 0x80, 0);
	/* Read only. */
	put(A, 0xa6);
	assert_int_equal(get(A), 0x26);
}

static void flags_without_interrupts(void **state)
{
	(void)state;
	get(C);
	assert_int_equal(get(C), 0);
	t.now += NS;
	/* Update and period; the alarm of 00:00:00 is not yet. */
	assert_int_equal(get(C), 0x50);
	assert_int_equal(get(C), 0);
	t.now += NS;
	assert_int_equal(get(C), 0x70);
	assert_int_equal(edge(0), 0);
	/* The host's clock goes back: nothing happens until it has caught up. */
	t.now -= 3600 * NS;
	assert_int_equal(get(C), 0);
}

static void alarms(void **state)
{
	(void)state;
	put(HOUR_ALARM, 0xff);
	put(MIN_ALARM, 0xc0);
	put(SEC_ALARM, 0x05);
	put(A, 0x20); /* no periods */
	get(C);
	t.now += 6 * NS; /* 00:00:04 */
	assert_int_equal(get(C), 0x10);
	t.now += NS;
	assert_int_equal(get(C), 0x30);
	t.now += 59 * NS;
	assert_int_equal(get(C), 0x10);
	t.now += NS;
	assert_int_equal(get(C), 0x30);
	/* Never reached: not even after days. */
	put(SEC_ALARM, 0x7a);
	t.now += 3 * 86400 * NS;
	assert_int_equal(get(C), 0x10);
}

static void interrupts(void **state)
{
	int i;

	(void)state;
	/* By the host's clock: 64 Hz, each acknowledged. */
	put(A, 0x2a);
	put(B, 0x42);
	for (i = 0; i < 8; i++) {
		assert_int_equal(edge(60000), 1);
		assert_int_equal(get(C) & 0xc0, 0xc0);
	}
	/* Not acknowledged: no more edges. */
	assert_int_equal(edge(60000), 1);
	assert_int_equal(edge(50), 0);
	/* Off. */
	put(B, 0x02);
	get(C);
	assert_int_equal(edge(50), 0);
	/* The update interrupt comes once a second. */
	put(B, 0x12);
	assert_int_equal(edge(60000), 1);
	assert_int_equal(get(C) & 0x90, 0x90);
	assert_int_equal(edge(60000), 1);
	/* SET ends it, and so does a reset. */
	put(B, 0x92);
	assert_int_equal(get(B), 0x82);
	put(B, 0x72);
	rtc_reset(t.rtc);
	assert_int_equal(get(B), 0x02);
}

static void nvram_keeps_its_bytes(void **state)
{
	unsigned int i;

	(void)state;
	for (i = 0x0e; i < 0x80; i++)
		if (i != RTC_CENTURY)
			put(i, 0xff - i);
	rtc_reset(t.rtc);
	for (i = 0x0e; i < 0x80; i++)
		if (i != RTC_CENTURY)
			assert_int_equal(get(i), 0xff - i);
}

/* Every byte in every register, in each format: no crash, and a date of some kind afterwards. */
static void hostile_accesses(void **state)
{
	static const uint8_t formats_of_b[] = {0x00, 0x02, 0x04, 0x06, 0x82, 0x86};
	uint8_t data[8], zero = 0;
	unsigned int f, reg, value;

	(void)state;
	for (f = 0; f < sizeof(formats_of_b); f++) {
		for (reg = 0; reg < 256; reg++) {
			for (value = 0; value < 256; value += 5) {
				put(reg, value);
				t.now += NS / 3;
				get(reg);
				put(B, formats_of_b[f]);
				put(A, 0x26);
			}
		}
		memset(data, 0xff, sizeof(data));
		rtc_bus_ops.write(t.rtc, 0, data, 2);
		rtc_bus_ops.read(t.rtc, 0, data, 2);
	}
	/* The farthest dates there are. */
	put(B, 0x86);
	for (reg = 0; reg < 10; reg++)
		put(reg, 0xff);
	put(RTC_CENTURY, 0xff);
	put(B, 0x06);
	t.now += 86400 * NS;
	assert_in_range(get(MONTH), 1, 12);
	for (reg = 0; reg < 10; reg++)
		put(reg, 0);
	put(RTC_CENTURY, 0);
	assert_in_range(get(MONTH), 1, 12);
	rtc_bus_ops.write(t.rtc, 0, &zero, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(tells_the_hosts_time),
		TEST(formats),
		TEST(set_by_the_guest),
		TEST(half_a_second_after_the_divider),
		TEST(update_in_progress),
		TEST(flags_without_interrupts),
		TEST(alarms),
		cmocka_unit_test_setup_teardown(interrupts, set_up_host_clock, tear_down),
		TEST(nvram_keeps_its_bytes),
		TEST(hostile_accesses),
	};

	return cmocka_run_group_tests_name("rtc", tests, NULL, NULL);
}
