/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Torture of the guest memory manager: torture_guest_mm [SECONDS [SEED]], TAP.
 *
 * vCPUs (raw accesses), devices (pins) and operators (plug, unplug, remap, protect) work on zones
 * of guest memory at once, on each kind of backing, first undisturbed, then with system calls and
 * allocations that fail at random. What each word must be is known at every moment:
 *
 *   private zones  move between two homes. A vCPU knows what it wrote to each word last.
 *   counter zone   moves and is protected. Each counter starts at a signature, so an increment that
 *                  hit a stray page is recognised by what it returned; the others add up exactly.
 *   secret zones   come and go. What was there before an unplug is never seen after it.
 *   DMA zones      move, and come to be in a file and back. A device's bytes are what it wrote, during
 *                  a pin and at the next.
 *
 * A private zone's words carry its gpa and a generation; a secret zone's epoch also ends by
 * discarding its pages, and by unplugging and discarding in one batch.
 *
 * Who does this is in tests/torture/guest_mm/.
 */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "mm/lock.h"
#include "tests/torture/guest_mm/round.h"

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		enum guest_mm_backing backing;
		bool copy_only, fail;
	} rounds[] = {
		{"anon", GUEST_MM_ANON, false, false},
		{"memfd", GUEST_MM_MEMFD, false, false},
		{"copy_only", GUEST_MM_ANON, true, false},
		{"anon, calls fail", GUEST_MM_ANON, false, true},
		{"memfd, calls fail", GUEST_MM_MEMFD, false, true},
		{"copy_only, calls fail", GUEST_MM_ANON, true, true},
	};
	const unsigned int count = sizeof(rounds) / sizeof(rounds[0]);
	double seconds = argc > 1 ? atof(argv[1]) : 5;
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : (uint64_t)time(NULL);
	struct tap tap = {0};

	printf("# LOCK=%s, %g seconds, seed %" PRIu64 "\n", lock_design, seconds, seed);
	for (unsigned int i = 0; i < count; i++)
		round_run(&tap, rounds[i].name, rounds[i].backing, rounds[i].copy_only,
			  rounds[i].fail, seconds / count, &seed);
	return tap_end(&tap);
}
