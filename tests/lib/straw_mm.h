/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_LIB_STRAW_MM_H
#define TESTS_LIB_STRAW_MM_H

#include <stdatomic.h>

#include "tests/lib/control_socket.h"
#include "tests/lib/qmp_peer.h"
#include "tests/lib/straw_vm.h"

/*
 * What the tests of the control socket share: one, with a VM behind it whose guest memory manager is
 * of straw, too: guest_mm_*() here note what they are asked, and a test decides how long that takes.
 * The Makefile names the programs that are linked with it, in the real one's place.
 */

#define GPA_WAITS   0xb10c000 /* an unplug there waits until @release is set */
#define GPA_REFUSED 0xbad000  /* whatever else is to be done there fails */

/**
 * struct guest_mm - what it was asked last, and what it answers
 * @waiting: unplugs that wait
 * @region_count: how many there are, of 2 MiB each
 */
struct guest_mm {
	gpa_t gpa, new_gpa;
	uint64_t size_bytes;
	unsigned int prot, region_count;
	atomic_int waiting;
	atomic_bool release;
};

extern struct guest_mm straw_mm;

int straw_setup(void **state);
int straw_teardown(void **state);

/* Two minutes at most. */
void straw_wait_for(atomic_int *counter, int value);

#define QMP_TEST(f) cmocka_unit_test_setup_teardown(f, straw_setup, straw_teardown)

#endif
