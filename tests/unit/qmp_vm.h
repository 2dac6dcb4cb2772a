/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_UNIT_QMP_VM_H
#define TESTS_UNIT_QMP_VM_H

/*
 * The control socket, with a VM of straw behind it: vm_*() and guest_mm_*() are defined here, so
 * that the tests decide how long a command takes and when events come. For one file of a program.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include <jansson.h>

#include "devices/bus.h"
#include "tests/lib/control_socket.h"
#include "tests/lib/qmp_peer.h"
#include "vmm/memory_devices.h"
#include "vmm/qmp.h"
#include "vmm/qmp_client.h"
#include "vmm/qmp_command.h"

/* ---- The VM of straw ------------------------------------------------------------------------- */

#define GPA_WAITS   0xb10c000 /* an unplug there waits until straw.release is set */
#define GPA_REFUSED 0xbad000  /* a plug there fails */

struct vm {
	struct vm_config config;
	struct memory_devices *memory_devices;
	struct qom *qom;
	vm_event_fn *listener;
	void *listener_arg;
	_Atomic enum vm_state state;
	atomic_int resets, quits, waiting;
	atomic_bool release;
	unsigned int region_count;
	uint64_t gpa, size_bytes, new_gpa;
	unsigned int prot;
};

static struct vm straw;

static __attribute__((unused)) void tell_by(enum vm_event event, bool by_guest)
{
	const struct vm_notice notice = {.event = event, .by_guest = by_guest};

	if (straw.listener)
		straw.listener(&notice, straw.listener_arg);
}

static __attribute__((unused)) void tell(enum vm_event event)
{
	tell_by(event, false);
}

int vm_pause(struct vm *vm, struct samara_error *err)
{
	(void)err;
	vm->state = VM_PAUSED;
	tell(VM_EVENT_STOP);
	return 0;
}

int vm_resume(struct vm *vm, struct samara_error *err)
{
	if (vm->state == VM_SHUTDOWN)
		return samara_error_set(err, -EINVAL, "the VM has ended");
	vm->state = VM_RUNNING;
	tell(VM_EVENT_RESUME);
	return 0;
}

/* The virtio devices' commands take devices; the lab has some. */
const struct qmp_command qmp_virtio_commands[] = {{NULL, NULL, false, NULL, NULL, NULL, NULL}};

void vm_request_reset(struct vm *vm, bool by_guest)
{
	(void)by_guest;
	vm->resets++;
	tell(VM_EVENT_RESET);
}

void vm_quit(struct vm *vm)
{
	tell(VM_EVENT_SHUTDOWN);
	vm->quits++;
}

void vm_powerdown(struct vm *vm)
{
	(void)vm;
	tell(VM_EVENT_POWERDOWN);
}

/* It has no devices, nor slots for them; tests/unit/test_qmp_memory.c has. */
struct memory_devices *vm_memory_devices(struct vm *vm)
{
	return vm->memory_devices;
}

int vm_add_virtio_mem(struct vm *vm, const struct virtio_mem_options *options, const char *memdev,
		      gpa_t gpa, struct samara_error *err)
{
	(void)vm;
	(void)gpa;
	return samara_error_set(err, -EPERM, "%s of straw, block %u", memdev,
				(unsigned int)options->block_bytes);
}

int vm_remove_virtio_mem(struct vm *vm, const char *id, struct samara_error *err)
{
	(void)vm;
	(void)id;
	(void)err;
	return -ENOENT;
}

struct dimms *vm_dimms(struct vm *vm)
{
	(void)vm;
	return NULL;
}

struct qom *vm_qom(struct vm *vm)
{
	return vm->qom;
}

const struct vm_balloon *vm_get_balloon(struct vm *vm)
{
	(void)vm;
	return NULL;
}

enum vm_state vm_get_state(struct vm *vm)
{
	return vm->state;
}

struct guest_mm *vm_mm(struct vm *vm)
{
	(void)vm;
	return NULL;
}

const struct vm_config *vm_get_config(struct vm *vm)
{
	return &vm->config;
}

int vm_vcpu_tid(struct vm *vm, unsigned int index)
{
	(void)vm;
	return 1000 + (int)index;
}

int vm_add_listener(struct vm *vm, vm_event_fn *listener, void *arg)
{
	vm->listener = listener;
	vm->listener_arg = arg;
	return 0;
}

void vm_get_bus_counters(struct vm *vm, struct bus_counters *mmio, struct bus_counters *pio)
{
	(void)vm;
	mmio->reads = 11;
	pio->nowhere = 22;
}

int guest_mm_plug(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes, unsigned int prot,
		  struct samara_error *err)
{
	(void)mm;
	straw.gpa = gpa;
	straw.size_bytes = size_bytes;
	straw.prot = prot;
	if (gpa == GPA_REFUSED)
		return samara_error_set(err, -EEXIST, "0xbad000: plugged already");
	return 0;
}

int guest_mm_unplug(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes, struct samara_error *err)
{
	(void)mm;
	(void)size_bytes;
	(void)err;
	if (gpa != GPA_WAITS)
		return 0;
	straw.waiting++;
	while (!straw.release)
		usleep(1000);
	straw.waiting--;
	return 0;
}

int guest_mm_remap(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes, gpa_t new_gpa,
		   struct samara_error *err)
{
	(void)mm;
	(void)err;
	straw.gpa = gpa;
	straw.size_bytes = size_bytes;
	straw.new_gpa = new_gpa;
	return 0;
}

int guest_mm_protect(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes, unsigned int prot,
		     struct samara_error *err)
{
	return guest_mm_plug(mm, gpa, size_bytes, prot, err);
}

int guest_mm_discard(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes, struct samara_error *err)
{
	return guest_mm_plug(mm, gpa, size_bytes, 0, err);
}

int guest_mm_reback(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes,
		    const struct guest_mm_memory *memory, struct samara_error *err)
{
	(void)memory;
	return guest_mm_plug(mm, gpa, size_bytes, 0, err);
}

int guest_mm_write(struct guest_mm *mm, gpa_t gpa, const void *from, uint64_t length_bytes)
{
	(void)mm, (void)gpa, (void)from, (void)length_bytes;
	return 0;
}

int guest_mm_populate(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes, struct samara_error *err)
{
	return guest_mm_plug(mm, gpa, size_bytes, 0, err);
}

int guest_mm_for_each_region(struct guest_mm *mm,
			     int (*visit)(const struct guest_mm_region *region, void *arg),
			     void *arg)
{
	unsigned int i;
	int ret = 0;

	(void)mm;
	for (i = 0; i < straw.region_count && !ret; i++) {
		struct guest_mm_region region = {
			.gpa = (uint64_t)i << 21,
			.size_bytes = 1 << 21,
			.prot = i % 2 ? GUEST_MM_READ : GUEST_MM_RDWR,
			.backing = GUEST_MM_MEMFD,
			.populated_pages = i,
			.locked = i == 1,
		};

		ret = visit(&region, arg);
	}
	return ret;
}

void guest_mm_get_stats(struct guest_mm *mm, struct guest_mm_stats *stats)
{
	(void)mm;
	*stats = (struct guest_mm_stats){
		.lock = "region", .plugs = 7, .last_nothing_gpa = UINT64_MAX};
}

/* ---- Set-up ---------------------------------------------------------------------------------- */

static __attribute__((unused)) int start(void **state)
{
	struct memory_devices_config devices = {.nodes = 1};
	struct samara_error err = {0};

	(void)state;
	memset(&straw, 0, sizeof(straw));
	if (qom_create(&straw.qom))
		return -1;
	devices.qom = straw.qom;
	if (memory_devices_create(&devices, &straw.memory_devices, &err))
		return -1;
	straw.state = VM_RUNNING;
	straw.config.cpus = 2;
	straw.region_count = 3;
	return socket_serve(&straw);
}

static __attribute__((unused)) int stop(void **state)
{
	int ret;

	(void)state;
	straw.release = true;
	ret = socket_close();
	straw.listener = NULL;
	memory_devices_destroy(straw.memory_devices);
	qom_destroy(straw.qom);
	return ret;
}

static __attribute__((unused)) void wait_for(atomic_int *counter, int value)
{
	int i;

	for (i = 0; i < 120000 && *counter != value; i++)
		usleep(1000);
	assert_int_equal(*counter, value);
}

#define QMP_TEST(f) cmocka_unit_test_setup_teardown(f, start, stop)

#endif
