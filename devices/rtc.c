/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "devices/rtc.h"

/* Ports of the PC/AT. */
#define PORT_INDEX        0
#define PORT_DATA         1
#define INDEX_MASK        0x7f /* bit 7 masks NMIs: there are none */

/* Memory map of the MC146818A (data sheet ADI026, figure 12). */
#define REG_SECONDS       0x00
#define REG_SECONDS_ALARM 0x01
#define REG_MINUTES       0x02
#define REG_MINUTES_ALARM 0x03
#define REG_HOURS         0x04
#define REG_HOURS_ALARM   0x05
#define REG_WEEKDAY       0x06
#define REG_DAY           0x07
#define REG_MONTH         0x08
#define REG_YEAR          0x09
#define REG_A             0x0a
#define REG_B             0x0b
#define REG_C             0x0c
#define REG_D             0x0d
#define REG_COUNT         128

/* Register A: update in progress; divider (held in reset while its upper bits are both set);
 * rate of the periodic interrupt. */
#define A_UIP             0x80
#define A_DIVIDER         0x70
#define A_DIVIDER_RUN     0x20 /* 32,768 Hz */
#define A_DIVIDER_RESET   0x60 /* both bits set */
#define A_RATE            0x0f
#define A_RATE_1024_HZ    0x06

/* Register B. */
#define B_SET             0x80
#define B_PERIOD          0x40 /* interrupt enables, at the bits of their flags in register C */
#define B_ALARM           0x20
#define B_UPDATE          0x10
#define B_ENABLES         (B_PERIOD | B_ALARM | B_UPDATE)
#define B_SQWE            0x08
#define B_BINARY          0x04
#define B_24_HOUR         0x02

/* Register C: the three flags, and their disjunction where enabled. */
#define C_IRQF            0x80

/* Register D: valid RAM and time. */
#define D_VALID           0x80

#define HOUR_PM           0x80 /* in 12-hour mode */
#define ALARM_ANY         0xc0 /* both bits set: any value matches */
#define NS                INT64_C(1000000000)
#define DAY_S             86400
#define LIMIT_S           (INT64_C(200) * 365 * DAY_S) /* the years 1770 to 2169 */
#define CRYSTAL_HZ        32768

/*
 * The update cycle takes 1984 us, and UIP is set 244 us before it (data sheet, table 6). Here the
 * registers change at its end.
 */
#define UPDATE_NS         INT64_C(2228000)

/* A jump of the host's clock is noticed after this long at the latest. */
#define SLEEP_MAX_NS      NS

/*
 * struct rtc - the clock
 *
 * @config: immutable. Everything else: @lock, held during no callback but @now_ns and
 * irq_trigger(). @wake is signalled when the thread's next event may have changed.
 */
struct rtc {
	struct rtc_config config;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool ending;
	uint8_t index;
	uint8_t reg[REG_COUNT]; /* the time registers hold the time while it stands, else rubbish */
	int64_t offset_ns;      /* guest time minus host time */
	int64_t seen_ns;        /* guest time up to which events are in register C */
	int weekday_shift;      /* what the guest set, minus what the date says */
};

static int64_t host_now_ns(void *arg)
{
	struct timespec now;

	(void)arg;
	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec * NS + now.tv_nsec;
}

static int64_t now_ns(const struct rtc *rtc)
{
	return rtc->config.now_ns(rtc->config.arg) + rtc->offset_ns;
}

static int64_t floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b < 0);
}

/* The time stands while the guest sets it, or holds the divider in reset. */
static bool stands(const struct rtc *rtc)
{
	return rtc->reg[REG_B] & B_SET || (rtc->reg[REG_A] & A_DIVIDER_RESET) == A_DIVIDER_RESET;
}

/* ---- Numbers as register B wants them ---- */

static uint8_t encode(const struct rtc *rtc, unsigned int value)
{
	return rtc->reg[REG_B] & B_BINARY ? value : (value / 10) << 4 | value % 10;
}

static unsigned int decode(const struct rtc *rtc, uint8_t value)
{
	return rtc->reg[REG_B] & B_BINARY ? value : (value >> 4) * 10 + (value & 0xf);
}

static uint8_t encode_hour(const struct rtc *rtc, unsigned int hour)
{
	if (rtc->reg[REG_B] & B_24_HOUR)
		return encode(rtc, hour);
	return encode(rtc, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? HOUR_PM : 0);
}

static unsigned int decode_hour(const struct rtc *rtc, uint8_t value)
{
	if (rtc->reg[REG_B] & B_24_HOUR)
		return decode(rtc, value);
	return decode(rtc, value & ~HOUR_PM) % 12 + (value & HOUR_PM ? 12 : 0);
}

/* ---- Time to registers and back ---- */

static void store_time(struct rtc *rtc, int64_t ns)
{
	time_t seconds = floor_div(ns, NS);
	struct tm tm;
	unsigned int year;

	if (!gmtime_r(&seconds, &tm))
		memset(&tm, 0, sizeof(tm));
	year = (unsigned int)tm.tm_year + 1900;
	rtc->reg[REG_SECONDS] = encode(rtc, tm.tm_sec % 60);
	rtc->reg[REG_MINUTES] = encode(rtc, tm.tm_min);
	rtc->reg[REG_HOURS] = encode_hour(rtc, tm.tm_hour);
	rtc->reg[REG_WEEKDAY] = encode(rtc, (tm.tm_wday + rtc->weekday_shift) % 7 + 1);
	rtc->reg[REG_DAY] = encode(rtc, tm.tm_mday);
	rtc->reg[REG_MONTH] = encode(rtc, tm.tm_mon + 1);
	rtc->reg[REG_YEAR] = encode(rtc, year % 100);
	rtc->reg[RTC_CENTURY] = encode(rtc, year / 100 % 100);
}

/*
 * The registers become the time. What the guest wrote may be no date at all: timegm() carries
 * over whatever is too much. The result is kept to where nanoseconds, and their difference to
 * the host's, have room in 64 bits.
 */
static void load_time(struct rtc *rtc, int64_t phase_ns)
{
	struct tm tm = {
		.tm_sec = decode(rtc, rtc->reg[REG_SECONDS]),
		.tm_min = decode(rtc, rtc->reg[REG_MINUTES]),
		.tm_hour = decode_hour(rtc, rtc->reg[REG_HOURS]),
		.tm_mday = decode(rtc, rtc->reg[REG_DAY]),
		.tm_mon = (int)decode(rtc, rtc->reg[REG_MONTH]) - 1,
		.tm_year = (int)(decode(rtc, rtc->reg[RTC_CENTURY]) * 100 +
				 decode(rtc, rtc->reg[REG_YEAR])) -
			   1900,
	};
	int weekday = (int)decode(rtc, rtc->reg[REG_WEEKDAY]);
	int64_t ns, seconds = timegm(&tm);

	if (seconds > LIMIT_S)
		seconds = LIMIT_S;
	if (seconds < -LIMIT_S)
		seconds = -LIMIT_S;
	ns = seconds * NS + phase_ns;

	/* The register counts from 1, tm_wday from 0, both from Sunday. */
	rtc->weekday_shift = (weekday - 1 - tm.tm_wday + 7) % 7;
	rtc->offset_ns = ns - rtc->config.now_ns(rtc->config.arg);
	rtc->seen_ns = ns;
}

/* ---- Events ---- */

/* Length of the periodic interrupt's period (data sheet, table 5), 0: none. */
static int64_t period_ns(const struct rtc *rtc)
{
	unsigned int rate = rtc->reg[REG_A] & A_RATE;

	if (!rate)
		return 0;
	if (rate <= 2) /* 256 Hz and 128 Hz with this crystal */
		rate += 7;
	return NS * (INT64_C(1) << (rate - 1)) / CRYSTAL_HZ;
}

static bool alarm_field_matches(uint8_t alarm, uint8_t value)
{
	return (alarm & ALARM_ANY) == ALARM_ANY || alarm == value;
}

static bool alarm_matches(const struct rtc *rtc, int64_t second)
{
	unsigned int of_day = (unsigned int)(second - floor_div(second, DAY_S) * DAY_S);

	return alarm_field_matches(rtc->reg[REG_SECONDS_ALARM], encode(rtc, of_day % 60)) &&
	       alarm_field_matches(rtc->reg[REG_MINUTES_ALARM], encode(rtc, of_day / 60 % 60)) &&
	       alarm_field_matches(rtc->reg[REG_HOURS_ALARM], encode_hour(rtc, of_day / 3600));
}

/* Whether the alarm went off in the seconds after @from up to @to; a day holds every time. */
static bool alarm_passed(const struct rtc *rtc, int64_t from, int64_t to)
{
	int64_t second;

	if (to - from > DAY_S)
		from = to - DAY_S;
	for (second = from + 1; second <= to; second++)
		if (alarm_matches(rtc, second))
			return true;
	return false;
}

/* Renew IRQF; an edge when it becomes set. */
static void update_irqf(struct rtc *rtc)
{
	bool was = rtc->reg[REG_C] & C_IRQF;

	rtc->reg[REG_C] &= ~C_IRQF;
	if (rtc->reg[REG_C] & rtc->reg[REG_B] & B_ENABLES) {
		rtc->reg[REG_C] |= C_IRQF;
		if (!was)
			irq_trigger(&rtc->config.irq);
	}
}

/* Bring register C up to now. */
static void catch_up(struct rtc *rtc)
{
	int64_t now = now_ns(rtc), from = rtc->seen_ns;
	int64_t period = period_ns(rtc);

	/* The host's clock may have been set back. */
	rtc->seen_ns = now;
	if (now <= from)
		return;
	if (period && floor_div(now, period) != floor_div(from, period))
		rtc->reg[REG_C] |= B_PERIOD;
	if (!stands(rtc) && floor_div(now, NS) != floor_div(from, NS)) {
		rtc->reg[REG_C] |= B_UPDATE;
		if (!(rtc->reg[REG_C] & B_ALARM) &&
		    alarm_passed(rtc, floor_div(from, NS), floor_div(now, NS)))
			rtc->reg[REG_C] |= B_ALARM;
	}
	update_irqf(rtc);
}

/* How long until an enabled interrupt may become pending; -1: not before something is changed. */
static int64_t next_event_ns(const struct rtc *rtc)
{
	int64_t now = rtc->seen_ns, wait = -1, period = period_ns(rtc);

	if (rtc->reg[REG_C] & C_IRQF)
		return -1; /* register C is to be read first */
	if (rtc->reg[REG_B] & (B_ALARM | B_UPDATE) && !stands(rtc))
		wait = NS - (now - floor_div(now, NS) * NS);
	if (rtc->reg[REG_B] & B_PERIOD && period) {
		int64_t next = period - (now - floor_div(now, period) * period);

		if (wait < 0 || next < wait)
			wait = next;
	}
	return wait;
}

static void *rtc_thread(void *arg)
{
	struct rtc *rtc = arg;

	pthread_setname_np(pthread_self(), "rtc");
	pthread_mutex_lock(&rtc->lock);
	while (!rtc->ending) {
		struct timespec until;
		int64_t wait;

		catch_up(rtc);
		wait = next_event_ns(rtc);
		if (wait < 0) {
			pthread_cond_wait(&rtc->wake, &rtc->lock);
			continue;
		}
		if (wait > SLEEP_MAX_NS)
			wait = SLEEP_MAX_NS;
		clock_gettime(CLOCK_MONOTONIC, &until);
		wait += until.tv_nsec;
		until.tv_sec += wait / NS;
		until.tv_nsec = wait % NS;
		pthread_cond_timedwait(&rtc->wake, &rtc->lock, &until);
	}
	pthread_mutex_unlock(&rtc->lock);
	return NULL;
}

/* ---- Registers ---- */

static bool is_time(unsigned int reg)
{
	return reg == REG_SECONDS || reg == REG_MINUTES || reg == REG_HOURS ||
	       (reg >= REG_WEEKDAY && reg <= REG_YEAR) || reg == RTC_CENTURY;
}

static uint8_t read_register(struct rtc *rtc, unsigned int reg)
{
	uint8_t value;
	int64_t now;

	switch (reg) {
	case REG_A:
		now = now_ns(rtc);
		if (!stands(rtc) && NS - (now - floor_div(now, NS) * NS) <= UPDATE_NS)
			return rtc->reg[REG_A] | A_UIP;
		return rtc->reg[REG_A];
	case REG_C:
		catch_up(rtc);
		value = rtc->reg[REG_C];
		rtc->reg[REG_C] = 0;
		pthread_cond_signal(&rtc->wake);
		return value;
	case REG_D:
		return D_VALID;
	default:
		if (is_time(reg) && !stands(rtc))
			store_time(rtc, now_ns(rtc));
		return rtc->reg[reg];
	}
}

/* Registers A and B decide whether the time runs; what was set counts from when it does again. */
static void write_control(struct rtc *rtc, unsigned int reg, uint8_t value)
{
	bool stood = stands(rtc);
	bool divider_held = (rtc->reg[REG_A] & A_DIVIDER_RESET) == A_DIVIDER_RESET;
	int64_t now;

	catch_up(rtc);
	now = now_ns(rtc);
	if (reg == REG_A) {
		value &= ~A_UIP;
		/* Latched in the format of now, before the bits that decide it may change. */
		if (!stood && (value & A_DIVIDER_RESET) == A_DIVIDER_RESET)
			store_time(rtc, now);
	} else {
		if (value & B_SET)
			value &= ~B_UPDATE; /* data sheet, register B, SET */
		if (!stood && value & B_SET)
			store_time(rtc, now);
	}
	rtc->reg[reg] = value;
	/* The first update comes half a second after the divider is let go. */
	if (stood && !stands(rtc))
		load_time(rtc, divider_held ? NS / 2 : now - floor_div(now, NS) * NS);
	update_irqf(rtc);
	pthread_cond_signal(&rtc->wake);
}

static void write_register(struct rtc *rtc, unsigned int reg, uint8_t value)
{
	int64_t now;

	switch (reg) {
	case REG_A:
	case REG_B:
		write_control(rtc, reg, value);
		break;
	case REG_C:
	case REG_D:
		break;
	default:
		if (is_time(reg) && !stands(rtc)) {
			catch_up(rtc);
			now = now_ns(rtc);
			store_time(rtc, now);
			rtc->reg[reg] = value;
			load_time(rtc, now - floor_div(now, NS) * NS);
		} else {
			catch_up(rtc);
			rtc->reg[reg] = value;
		}
		pthread_cond_signal(&rtc->wake);
		break;
	}
}

static void rtc_read(void *device, uint64_t offset, void *data, unsigned int length)
{
	struct rtc *rtc = device;
	uint8_t *bytes = data;
	unsigned int i;

	pthread_mutex_lock(&rtc->lock);
	for (i = 0; i < length; i++)
		bytes[i] = offset + i == PORT_DATA ? read_register(rtc, rtc->index) : rtc->index;
	pthread_mutex_unlock(&rtc->lock);
}

static void rtc_write(void *device, uint64_t offset, const void *data, unsigned int length)
{
	struct rtc *rtc = device;
	const uint8_t *bytes = data;
	unsigned int i;

	pthread_mutex_lock(&rtc->lock);
	for (i = 0; i < length; i++) {
		if (offset + i == PORT_DATA)
			write_register(rtc, rtc->index, bytes[i]);
		else
			rtc->index = bytes[i] & INDEX_MASK;
	}
	pthread_mutex_unlock(&rtc->lock);
}

const struct bus_ops rtc_bus_ops = {
	.read = rtc_read,
	.write = rtc_write,
};

int rtc_create(const struct rtc_config *config, struct rtc **out, struct samara_error *err)
{
	struct rtc *rtc = calloc(1, sizeof(*rtc));
	pthread_condattr_t attributes;
	int ret;

	if (!rtc)
		return samara_error_set(err, -ENOMEM, "RTC: out of memory");
	rtc->config = *config;
	if (!rtc->config.now_ns)
		rtc->config.now_ns = host_now_ns;
	rtc->reg[REG_A] = A_DIVIDER_RUN | A_RATE_1024_HZ;
	rtc->reg[REG_B] = B_24_HOUR;
	rtc->seen_ns = now_ns(rtc);
	pthread_mutex_init(&rtc->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&rtc->wake, &attributes);
	pthread_condattr_destroy(&attributes);
	ret = -pthread_create(&rtc->thread, NULL, rtc_thread, rtc);
	if (ret) {
		samara_error_set(err, ret, "RTC: cannot start its thread: %s", strerror(-ret));
		goto fail;
	}
	*out = rtc;
	return 0;

fail:
	pthread_cond_destroy(&rtc->wake);
	pthread_mutex_destroy(&rtc->lock);
	free(rtc);
	return ret;
}

void rtc_destroy(struct rtc *rtc)
{
	if (!rtc)
		return;
	pthread_mutex_lock(&rtc->lock);
	rtc->ending = true;
	pthread_cond_signal(&rtc->wake);
	pthread_mutex_unlock(&rtc->lock);
	pthread_join(rtc->thread, NULL);
	pthread_cond_destroy(&rtc->wake);
	pthread_mutex_destroy(&rtc->lock);
	free(rtc);
}

void rtc_reset(struct rtc *rtc)
{
	pthread_mutex_lock(&rtc->lock);
	catch_up(rtc);
	rtc->reg[REG_B] &= ~(B_ENABLES | B_SQWE);
	rtc->reg[REG_C] = 0;
	pthread_cond_signal(&rtc->wake);
	pthread_mutex_unlock(&rtc->lock);
}
