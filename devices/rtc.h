/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DEVICES_RTC_H
#define DEVICES_RTC_H

#include <stdint.h>

#include <samara/error.h>

#include "devices/bus.h"
#include "devices/irq.h"

/*
 * An MC146818A real-time clock with the two ports of a PC/AT: index and data. It runs on the
 * host's clock (UTC); what the guest sets is kept as a difference to it.
 */
struct rtc;

#define RTC_PORTS   2

/* Where a PC keeps the century; the FADT's CENTURY field (ACPI 6.4, 5.2.9). */
#define RTC_CENTURY 0x32

/**
 * struct rtc_config - what a clock is joined to
 * @irq: pulsed when an enabled alarm, periodic or update interrupt becomes pending
 * @now_ns: the host's clock, nanoseconds since 1970; NULL: CLOCK_REALTIME
 * @arg: for @now_ns
 */
struct rtc_config {
	struct irq irq;
	int64_t (*now_ns)(void *arg);
	void *arg;
};

/**
 * rtc_create() - make a clock and its thread, which sleeps unless an interrupt is enabled
 *
 * Return: 0, -ENOMEM, -EAGAIN (no thread to be had).
 */
int rtc_create(const struct rtc_config *config, struct rtc **out, struct samara_error *err);

/**
 * rtc_destroy() - end the thread, free the clock
 *
 * Context: May sleep. It is on no bus.
 */
void rtc_destroy(struct rtc *rtc);

/**
 * rtc_reset() - the RESET pin (data sheet, "Signal Descriptions"): interrupts off, the time and
 * the NVRAM stay
 *
 * Context: Any thread.
 */
void rtc_reset(struct rtc *rtc);

/* The device is a struct rtc at RTC_PORTS ports. */
extern const struct bus_ops rtc_bus_ops;

#endif
