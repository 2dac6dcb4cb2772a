/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_LIB_MEMORY_VM_H
#define TESTS_LIB_MEMORY_VM_H

#include "tests/lib/control_socket.h"
#include "tests/lib/dimm_guest.h"
#include "tests/lib/qmp_peer.h"
#include "tests/lib/straw_vm.h"
#include "vmm/dimm.h"

/*
 * What the tests of memory devices share: a control socket, with a VM of straw behind it that has
 * real memory (64 MiB, and room for 1 GiB more) and real slots for DIMMs, all of them empty.
 */
#define MIB (UINT64_C(1) << 20)

/* With the backing that *@state points to; of anonymous memory if it is NULL. */
int memory_vm_setup(void **state);
int memory_vm_teardown(void **state);

/* Lines about a guest that misbehaves, since the set-up. */
extern atomic_uint memory_vm_complaints;

/* Make a backend of anonymous memory; a DIMM of one; ask the guest for a device. */
void add_backend(int fd, const char *id, unsigned int mib);
void add_dimm(int fd, const char *id, const char *memdev);
void ask_back(int fd, const char *id);

/* The next event must be this; a @device of NULL: of an empty slot. */
void expect_ost(int fd, const char *device, int source, int status);
void expect_deleted(int fd, const char *id);

size_t device_count(int fd);

/* Besides the memory at start, which must be 64 MiB. */
uint64_t plugged_bytes(int fd);

/* Elements of a struct CMUnitTest []. */
#define MEMORY_TEST(f) cmocka_unit_test_setup_teardown(f, memory_vm_setup, memory_vm_teardown)
#define MEMORY_TEST_OF(backing, f)                                                       \
	cmocka_unit_test_prestate_setup_teardown(f, memory_vm_setup, memory_vm_teardown, \
						 &(enum guest_mm_backing){backing})

#endif
