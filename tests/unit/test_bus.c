/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "devices/bus.h"

#define DEVICE_BYTES 16

/* A device that remembers its last access, and whether it should be accessed at all. */
struct probe {
	uint64_t offset;
	unsigned int length;
	uint64_t value;
	unsigned int reads, writes;
};

static void probe_read(void *device, uint64_t offset, void *data, unsigned int length)
{
	struct probe *probe = device;

	probe->offset = offset;
	probe->length = length;
	probe->reads++;
	assert_true(offset + length <= DEVICE_BYTES);
	memcpy(data, &probe->value, length);
}

static void probe_write(void *device, uint64_t offset, const void *data, unsigned int length)
{
	struct probe *probe = device;

	probe->offset = offset;
	probe->length = length;
	probe->writes++;
	assert_true(offset + length <= DEVICE_BYTES);
	memcpy(&probe->value, data, length);
}

static const struct bus_ops probe_ops = {.read = probe_read, .write = probe_write};

static int make_bus(void **state)
{
	return bus_create("MMIO", (struct bus **)state);
}

static int free_bus(void **state)
{
	bus_destroy(*state);
	return 0;
}

static void nothing_is_there(void **state)
{
	struct bus *bus = *state;
	struct bus_counters counters;
	uint64_t value = 0;

	assert_int_equal(bus_read(bus, 0x1000, &value, 4), -ENXIO);
	assert_int_equal(value, 0xffffffff);
	assert_int_equal(bus_write(bus, 0x1000, &value, 4), -ENXIO);
	assert_int_equal(bus_read(bus, UINT64_MAX, &value, 8), -ENXIO);
	assert_true(value == UINT64_MAX);
	bus_get_counters(bus, &counters);
	assert_int_equal(counters.reads, 2);
	assert_int_equal(counters.writes, 1);
	assert_int_equal(counters.nowhere, 3);
}

/* Each offset around a device with each length, odd ones too: in whole, or not at all. */
static void only_whole_accesses_arrive(void **state)
{
	struct bus *bus = *state;
	struct probe probe = {0};
	const uint64_t base = 0x1000;
	unsigned int length;
	int64_t offset;

	assert_int_equal(bus_attach(bus, base, DEVICE_BYTES, "probe", &probe_ops, &probe, NULL), 0);
	for (length = 1; length <= 8; length++) {
		for (offset = -9; offset <= DEVICE_BYTES + 1; offset++) {
			bool legal = (length & (length - 1)) == 0;
			bool inside = offset >= 0 && offset + length <= DEVICE_BYTES;
			uint8_t data[8] = {1, 2, 3, 4, 5, 6, 7, 8};
			unsigned int reads = probe.reads, writes = probe.writes, i;
			int ret = bus_write(bus, base + offset, data, length);

			assert_int_equal(ret, legal && inside ? 0 : -ENXIO);
			assert_int_equal(probe.writes, writes + (legal && inside));
			memset(data, 0, sizeof(data));
			ret = bus_read(bus, base + offset, data, length);
			assert_int_equal(ret, legal && inside ? 0 : -ENXIO);
			assert_int_equal(probe.reads, reads + (legal && inside));
			for (i = 0; i < 8; i++)
				assert_int_equal(data[i], i >= length ? 0 : ret ? 0xff : i + 1);
			if (!ret) {
				assert_int_equal(probe.offset, offset);
				assert_int_equal(probe.length, length);
			}
		}
	}
}

static void a_device_at_the_very_end(void **state)
{
	struct bus *bus = *state;
	struct probe probe = {.value = 0x55};
	uint64_t value = 0;

	assert_int_equal(bus_attach(bus, UINT64_MAX - 3, 4, "last", &probe_ops, &probe, NULL), 0);
	assert_int_equal(bus_read(bus, UINT64_MAX, &value, 1), 0);
	assert_int_equal(value, 0x55);
	assert_int_equal(bus_read(bus, UINT64_MAX, &value, 2), -ENXIO);
	assert_int_equal(bus_read(bus, UINT64_MAX - 3, &value, 4), 0);
}

static void attach_names_what_is_there(void **state)
{
	struct bus *bus = *state;
	struct samara_error err = {0};
	struct probe probe = {0};

	assert_int_equal(bus_attach(bus, 0x1000, 0x10, "clock", &probe_ops, &probe, NULL), 0);
	assert_int_equal(bus_attach(bus, 0x100f, 0x10, "disk", &probe_ops, &probe, &err), -EEXIST);
	assert_non_null(strstr(err.text, "disk"));
	assert_non_null(strstr(err.text, "clock"));
	assert_int_equal(bus_attach(bus, 0xff0, 0x100, "disk", &probe_ops, &probe, &err), -EEXIST);
	assert_int_equal(bus_attach(bus, 0x1010, 0x10, "disk", &probe_ops, &probe, &err), 0);
	assert_int_equal(bus_attach(bus, 0x2000, 0, "none", &probe_ops, &probe, &err), -EINVAL);
	assert_int_equal(bus_attach(bus, UINT64_MAX, 2, "far", &probe_ops, &probe, &err), -EINVAL);
	assert_non_null(strstr(err.text, "far"));
}

static void detach_leaves_nothing(void **state)
{
	struct bus *bus = *state;
	struct samara_error err = {0};
	struct probe probe = {0};
	uint8_t value;

	assert_int_equal(bus_attach(bus, 0x1000, 0x10, "probe", &probe_ops, &probe, NULL), 0);
	assert_int_equal(bus_detach(bus, 0x1001, &err), -ENOENT);
	assert_non_null(strstr(err.text, "0x1001"));
	assert_int_equal(bus_detach(bus, 0x1000, NULL), 0);
	assert_int_equal(bus_detach(bus, 0x1000, NULL), -ENOENT);
	assert_int_equal(bus_read(bus, 0x1000, &value, 1), -ENXIO);
	assert_int_equal(probe.reads, 0);
	assert_int_equal(bus_attach(bus, 0x1000, 0x10, "again", &probe_ops, &probe, NULL), 0);
}

static void absent_functions_are_nowhere(void **state)
{
	static const struct bus_ops none = {0};
	struct bus *bus = *state;
	struct bus_counters counters;
	uint8_t value = 0;

	assert_int_equal(bus_attach(bus, 0, 1, "none", &none, NULL, NULL), 0);
	assert_int_equal(bus_read(bus, 0, &value, 1), -ENXIO);
	assert_int_equal(value, 0xff);
	assert_int_equal(bus_write(bus, 0, &value, 1), -ENXIO);
	bus_get_counters(bus, &counters);
	assert_int_equal(counters.nowhere, 2);
}

/* ---- Torture: devices come and go while others, and they themselves, are accessed ---- */

#define THREADS    4
#define TORTURE_MS 1000
#define COMES_BASE 0x2000
#define STAYS_BASE 0x1000

struct mortal {
	_Atomic bool attached;
	_Atomic uint64_t accesses, after_death;
};

static void mortal_read(void *device, uint64_t offset, void *data, unsigned int length)
{
	struct mortal *mortal = device;

	(void)offset;
	if (!atomic_load(&mortal->attached))
		atomic_fetch_add(&mortal->after_death, 1);
	atomic_fetch_add(&mortal->accesses, 1);
	memset(data, 0x11, length);
	/* Again at the end: the device must not go while an access is inside. */
	if (!atomic_load(&mortal->attached))
		atomic_fetch_add(&mortal->after_death, 1);
}

static const struct bus_ops mortal_ops = {.read = mortal_read};

struct torture {
	struct bus *bus;
	_Atomic bool end;
	_Atomic uint64_t lost, wrong;
};

static void *access_all(void *arg)
{
	struct torture *torture = arg;
	unsigned int i = 0;

	while (!atomic_load(&torture->end)) {
		uint32_t stays = 0, comes = 0;

		/* The device that stays is never missed. */
		if (bus_read(torture->bus, STAYS_BASE + 4 * (i++ % 4), &stays, 4) ||
		    stays != 0x11111111)
			atomic_fetch_add(&torture->lost, 1);
		if (bus_read(torture->bus, COMES_BASE + 4 * (i % 4), &comes, 4)) {
			if (comes != 0xffffffff)
				atomic_fetch_add(&torture->wrong, 1);
		} else if (comes != 0x11111111) {
			atomic_fetch_add(&torture->wrong, 1);
		}
	}
	return NULL;
}

static void devices_come_and_go(void **state)
{
	static struct mortal stays, comes[2];
	struct torture torture = {.bus = *state};
	struct timespec now, start;
	pthread_t threads[THREADS];
	uint64_t cycles = 0, expected;
	struct bus_counters counters;
	unsigned int i;

	stays.attached = true;
	assert_int_equal(bus_attach(torture.bus, STAYS_BASE, DEVICE_BYTES, "stays", &mortal_ops,
				    &stays, NULL),
			 0);
	for (i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, access_all, &torture), 0);
	clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		struct mortal *mortal = &comes[cycles++ % 2];

		atomic_store(&mortal->attached, true);
		assert_int_equal(bus_attach(torture.bus, COMES_BASE, DEVICE_BYTES, "comes",
					    &mortal_ops, mortal, NULL),
				 0);
		assert_int_equal(bus_detach(torture.bus, COMES_BASE, NULL), 0);
		atomic_store(&mortal->attached, false);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000 <
			 TORTURE_MS ||
		 atomic_load(&stays.accesses) <= 1000 || cycles <= 100);
	atomic_store(&torture.end, true);
	for (i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);

	assert_int_equal(torture.lost, 0);
	assert_int_equal(torture.wrong, 0);
	assert_int_equal(comes[0].after_death + comes[1].after_death, 0);
	bus_get_counters(torture.bus, &counters);
	expected = stays.accesses + comes[0].accesses + comes[1].accesses;
	assert_int_equal(counters.reads - counters.nowhere, expected);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_bus, free_bus)
	const struct CMUnitTest tests[] = {
		TEST(nothing_is_there),         TEST(only_whole_accesses_arrive),
		TEST(a_device_at_the_very_end), TEST(attach_names_what_is_there),
		TEST(detach_leaves_nothing),    TEST(absent_functions_are_nowhere),
		TEST(devices_come_and_go),
	};

	return cmocka_run_group_tests_name("bus", tests, NULL, NULL);
}
