/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/lib/tap.h"

/* Flushed: of a program that crashes or hangs, all that it came to is in the log. */

void tap_report(struct tap *tap, bool good, const char *fmt, ...)
{
	va_list args;

	printf("%sok %u - ", good ? "" : "not ", ++tap->done);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
	tap->failed += !good;
}

void tap_skip(struct tap *tap, const char *name, const char *fmt, ...)
{
	va_list args;

	printf("ok %u - %s # SKIP ", ++tap->done, name);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
}

void tap_bail_out(const char *why)
{
	printf("Bail out! %s\n", why);
	exit(1);
}

int tap_end(const struct tap *tap)
{
	printf("1..%u\n", tap->done);
	return tap->failed != 0;
}
