/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tests/lib/torture.h"
#include "tests/torture/guest_mm/tally.h"

#define TOLD 5

void tally_wrong(uint64_t *kind, const char *fmt, ...)
{
	char text[200];
	va_list args;

	if (__atomic_fetch_add(kind, 1, __ATOMIC_RELAXED) >= TOLD)
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	printf("# %s\n", text);
}

bool tally_operation(struct tally *tally, const char *what, int ret, const struct samara_error *err)
{
	count(&tally->operations);
	if (!ret)
		return true;
	count(&tally->operations_failed);
	/* An answer names the place. */
	if (!tally->failing || !strstr(err->text, "0x") || err->code != ret)
		tally_wrong(&tally->wrong_answer, "%s: %d: %s", what, ret, err->text);
	return false;
}

bool tally_excuses(const struct tally *tally, int ret)
{
	return tally->failing && ret == -ENOMEM;
}

bool tally_everybody_got_on(const struct tally *tally)
{
	return counted(&tally->accesses) > 50 && counted(&tally->pins) > 5 &&
	       counted(&tally->operations) > 20 && counted(&tally->listings) > 5;
}

void tally_report(const struct tally *tally, struct tap *tap, const char *name, bool sound)
{
	tap_report(tap, !tally->wrong_gone, "promise 3: gone is gone, %s", name);
	tap_report(tap, !tally->wrong_bytes, "promise 4: nothing is lost, %s", name);
	tap_report(tap, !tally->wrong_change, "what is read-only does not change, %s", name);
	tap_report(tap, !tally->wrong_listing, "listings are in order, %s", name);
	tap_report(tap, !tally->wrong_answer && sound, "%s, %s",
		   tally->failing ? "promise 7: every failure has an answer"
				  : "every operation succeeds",
		   name);
	tap_report(tap, tally_everybody_got_on(tally), "everybody got on, %s", name);
}
