/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>

#include "mm/maple_internal.h"
#include "tests/lib/maple_driver.h"

/*
 * libFuzzer over the driver of the model test: bytes choose the kind of tree, the search variant
 * and the operations; what differs from the model stops it. FUZZ_LOG=1 prints each call, to read
 * what a file that was found does:
 *
 *   FUZZ_LOG=1 build/region/fuzz/fuzz_maple crash-...
 */

/* Part of libFuzzer's interface. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const unsigned int flags[] = {
		0,
		MT_FLAGS_ALLOC_RANGE,
		MT_FLAGS_SNAPSHOT,
		MT_FLAGS_SNAPSHOT | MT_FLAGS_ALLOC_RANGE,
		MT_FLAGS_USE_RCU | MT_FLAGS_ALLOC_RANGE,
		MT_FLAGS_USE_RCU | MT_FLAGS_SNAPSHOT | MT_FLAGS_LOCK_EXTERN,
	};
	static const char *const walkers[] = {"plain", "avx2", "avx512", "neon"};
	static const unsigned long spaces[] = {16, 64, 256, 4096};
	struct maple_driver_options options = {.steps = 4096, .compare_every = 8};
	struct maple_driver_result result;
	struct maple_input in = {.bytes = data, .left = size};
	unsigned int kind = maple_input_byte(&in), shape = maple_input_byte(&in);

	/* Trees under RCU wait for grace periods: few of them. */
	options.flags = flags[kind % 64 < 62 ? kind % 4 : 4 + kind % 2];
	if (!maple_walker_choose(walkers[kind >> 6]))
		maple_walker_choose("plain");
	options.space = spaces[shape % 4];
	options.shift = shape / 4 % 3 * 20;
	options.log = getenv("FUZZ_LOG") ? stderr : NULL;
	maple_poison_nodes = true;
	if (!maple_driver_run(&in, &options, &result)) {
		fprintf(stderr, "%s\n", result.failure);
		abort();
	}
	return 0;
}
