/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The register block of the memory slots, driven as the AML of vmm/memory_hotplug.asl does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "devices/memory_hotplug.h"

#define SLOTS 8u
#define GPA   UINT64_C(0x123400000000)
#define SIZE  UINT64_C(0x180000000)

/* What the callbacks were last told, and how often. */
static struct {
	unsigned int ejections, reports, slot;
	uint32_t event, status;
} told;

static int irq;

static void ejected(void *arg, unsigned int slot)
{
	assert_ptr_equal(arg, &told);
	told.ejections++;
	told.slot = slot;
}

static void reported(void *arg, unsigned int slot, uint32_t event, uint32_t status)
{
	assert_ptr_equal(arg, &told);
	told.reports++;
	told.slot = slot;
	told.event = event;
	told.status = status;
}

static int make(void **state)
{
	struct memory_hotplug_config config = {
		.slots = SLOTS, .ejected = ejected, .reported = reported, .arg = &told};

	memset(&told, 0, sizeof(told));
	irq = eventfd(0, EFD_NONBLOCK);
	config.irq.eventfd = irq;
	return irq < 0 ? -1 : memory_hotplug_create(&config, (struct memory_hotplug **)state);
}

static int destroy(void **state)
{
	memory_hotplug_destroy(*state);
	close(irq);
	return 0;
}

static uint32_t get(void *hotplug, unsigned int offset)
{
	uint32_t value = 0x77777777;

	memory_hotplug_bus_ops.read(hotplug, offset, &value, 4);
	return value;
}

static void put(void *hotplug, unsigned int offset, uint32_t value)
{
	memory_hotplug_bus_ops.write(hotplug, offset, &value, 4);
}

static unsigned int edges(void)
{
	eventfd_t count = 0;

	return eventfd_read(irq, &count) ? 0 : (unsigned int)count;
}

static void an_insertion_is_told_once(void **state)
{
	struct memory_hotplug *slots = *state;

	assert_int_equal(get(slots, MEMORY_HOTPLUG_NEXT), MEMORY_HOTPLUG_NONE);
	assert_int_equal(memory_hotplug_insert(slots, 3, GPA, SIZE, 2, true), 0);
	assert_int_equal(edges(), 1);
	assert_int_equal(get(slots, MEMORY_HOTPLUG_NEXT), 3);
	assert_int_equal(get(slots, MEMORY_HOTPLUG_SLOT), 3);
	assert_int_equal(get(slots, MEMORY_HOTPLUG_STATUS),
			 MEMORY_HOTPLUG_ENABLED | MEMORY_HOTPLUG_INSERTING);
	assert_true(memory_hotplug_remind(slots));
	assert_int_equal(edges(), 1);
	put(slots, MEMORY_HOTPLUG_STATUS, MEMORY_HOTPLUG_INSERTING);
	assert_int_equal(get(slots, MEMORY_HOTPLUG_NEXT), MEMORY_HOTPLUG_NONE);
	assert_false(memory_hotplug_remind(slots));
	assert_int_equal(edges(), 0);

	put(slots, MEMORY_HOTPLUG_SLOT, 3);
	assert_int_equal(get(slots, MEMORY_HOTPLUG_STATUS), MEMORY_HOTPLUG_ENABLED);
	assert_int_equal(get(slots, MEMORY_HOTPLUG_GPA_LOW), (uint32_t)GPA);
	assert_int_equal(get(slots, MEMORY_HOTPLUG_GPA_HIGH), GPA >> 32);
	assert_int_equal(get(slots, MEMORY_HOTPLUG_SIZE_LOW), (uint32_t)SIZE);
	assert_int_equal(get(slots, MEMORY_HOTPLUG_SIZE_HIGH), SIZE >> 32);
	assert_int_equal(get(slots, MEMORY_HOTPLUG_NODE), 2);
	/* The slots beside it are empty. */
	put(slots, MEMORY_HOTPLUG_SLOT, 2);
	assert_int_equal(get(slots, MEMORY_HOTPLUG_STATUS), 0);
	assert_int_equal(get(slots, MEMORY_HOTPLUG_SIZE_HIGH), 0);
}

/* A guest that boots asks each slot where its range is: no device check for it afterwards. */
static void what_is_found_at_boot_is_not_told(void **state)
{
	struct memory_hotplug *slots = *state;

	assert_int_equal(memory_hotplug_insert(slots, 0, GPA, SIZE, 0, false), 0);
	assert_int_equal(edges(), 0);
	assert_int_equal(get(slots, MEMORY_HOTPLUG_NEXT), MEMORY_HOTPLUG_NONE);
	assert_int_equal(memory_hotplug_insert(slots, 1, GPA + SIZE, SIZE, 0, true), 0);
	put(slots, MEMORY_HOTPLUG_SLOT, 1);
	get(slots, MEMORY_HOTPLUG_GPA_LOW);
	assert_int_equal(get(slots, MEMORY_HOTPLUG_NEXT), MEMORY_HOTPLUG_NONE);
}

static void an_ejection_empties_the_slot_at_once(void **state)
{
	struct memory_hotplug *slots = *state;

	assert_int_equal(memory_hotplug_request_removal(slots, 5), -ENOENT);
	assert_int_equal(memory_hotplug_insert(slots, 5, GPA, SIZE, 0, false), 0);
	assert_int_equal(memory_hotplug_request_removal(slots, 5), 0);
	assert_int_equal(edges(), 1);
	assert_int_equal(get(slots, MEMORY_HOTPLUG_NEXT), 5);
	assert_int_equal(get(slots, MEMORY_HOTPLUG_STATUS),
			 MEMORY_HOTPLUG_ENABLED | MEMORY_HOTPLUG_REMOVING);
	put(slots, MEMORY_HOTPLUG_STATUS, MEMORY_HOTPLUG_REMOVING);
	assert_int_equal(get(slots, MEMORY_HOTPLUG_STATUS), MEMORY_HOTPLUG_ENABLED);
	put(slots, MEMORY_HOTPLUG_STATUS, MEMORY_HOTPLUG_EJECT);
	assert_int_equal(told.ejections, 1);
	assert_int_equal(told.slot, 5);
	assert_int_equal(get(slots, MEMORY_HOTPLUG_STATUS), 0);
	/* Once more, and for an empty slot: nothing. */
	put(slots, MEMORY_HOTPLUG_STATUS, MEMORY_HOTPLUG_EJECT);
	put(slots, MEMORY_HOTPLUG_SLOT, 6);
	put(slots, MEMORY_HOTPLUG_STATUS, MEMORY_HOTPLUG_EJECT);
	assert_int_equal(told.ejections, 1);
	/* Until its owner has taken the memory away, nothing new gets in. */
	assert_int_equal(memory_hotplug_insert(slots, 5, GPA, SIZE, 0, true), -EBUSY);
	memory_hotplug_remove(slots, 5);
	assert_int_equal(memory_hotplug_insert(slots, 5, GPA, SIZE, 0, true), 0);
	assert_int_equal(memory_hotplug_insert(slots, 5, GPA, SIZE, 0, true), -EBUSY);
	assert_int_equal(memory_hotplug_insert(slots, SLOTS, GPA, SIZE, 0, true), -EINVAL);
}

static void reports_are_passed_on(void **state)
{
	struct memory_hotplug *slots = *state;

	put(slots, MEMORY_HOTPLUG_SLOT, 4);
	put(slots, MEMORY_HOTPLUG_OST_EVENT, 0x103);
	assert_int_equal(told.reports, 0);
	/* Another slot's report between does not disturb it. */
	put(slots, MEMORY_HOTPLUG_SLOT, 1);
	put(slots, MEMORY_HOTPLUG_OST_EVENT, 1);
	put(slots, MEMORY_HOTPLUG_SLOT, 4);
	put(slots, MEMORY_HOTPLUG_OST_STATUS, 0x84);
	assert_int_equal(told.reports, 1);
	assert_int_equal(told.slot, 4);
	assert_int_equal(told.event, 0x103);
	assert_int_equal(told.status, 0x84);
}

static void a_reset_keeps_ranges_and_forgets_news(void **state)
{
	struct memory_hotplug *slots = *state;

	assert_int_equal(memory_hotplug_insert(slots, 0, GPA, SIZE, 1, true), 0);
	assert_int_equal(memory_hotplug_insert(slots, 1, GPA + SIZE, SIZE, 1, true), 0);
	assert_int_equal(memory_hotplug_request_removal(slots, 1), 0);
	put(slots, MEMORY_HOTPLUG_SLOT, 1);
	memory_hotplug_reset(slots);
	assert_int_equal(get(slots, MEMORY_HOTPLUG_SLOT), 0);
	assert_int_equal(get(slots, MEMORY_HOTPLUG_STATUS), MEMORY_HOTPLUG_ENABLED);
	put(slots, MEMORY_HOTPLUG_SLOT, 1);
	assert_int_equal(get(slots, MEMORY_HOTPLUG_STATUS), MEMORY_HOTPLUG_ENABLED);
	assert_int_equal(get(slots, MEMORY_HOTPLUG_NEXT), MEMORY_HOTPLUG_NONE);
}

/* Whatever a guest writes, with whatever length: nothing outside the slots is touched. */
static void any_access_is_survived(void **state)
{
	struct memory_hotplug *slots = *state;
	static const uint32_t selectors[] = {0, SLOTS - 1, SLOTS, 31, 32, 0x80000000, 0xffffffff};
	uint8_t bytes[8];
	unsigned int i, offset, length;

	assert_int_equal(memory_hotplug_insert(slots, 0, GPA, SIZE, 1, true), 0);
	srand(1);
	for (i = 0; i < 200000; i++) {
		length = 1u << rand() % 4;
		offset = (unsigned int)rand() % MEMORY_HOTPLUG_BYTES / length * length;
		if (i % 3 == 0) {
			put(slots, MEMORY_HOTPLUG_SLOT, selectors[(unsigned int)rand() % 7]);
		} else if (i % 3 == 1) {
			memset(bytes, rand(), sizeof(bytes));
			memory_hotplug_bus_ops.write(slots, offset, bytes, length);
		} else {
			memset(bytes, 0x55, sizeof(bytes));
			memory_hotplug_bus_ops.read(slots, offset, bytes, length);
			if (length != 4)
				assert_int_equal(bytes[0], 0xff);
			else
				assert_int_equal(bytes[4], 0x55);
		}
	}
	assert_true(told.ejections <= 1);
	assert_true(told.slot < SLOTS);
	/* A selector that names no slot reads as an empty one. */
	put(slots, MEMORY_HOTPLUG_SLOT, SLOTS);
	assert_int_equal(get(slots, MEMORY_HOTPLUG_STATUS), 0);
	assert_int_equal(get(slots, MEMORY_HOTPLUG_SIZE_LOW), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, destroy)
	const struct CMUnitTest tests[] = {
		TEST(an_insertion_is_told_once),
		TEST(what_is_found_at_boot_is_not_told),
		TEST(an_ejection_empties_the_slot_at_once),
		TEST(reports_are_passed_on),
		TEST(a_reset_keeps_ranges_and_forgets_news),
		TEST(any_access_is_survived),
	};

	return cmocka_run_group_tests_name("memory hotplug", tests, NULL, NULL);
}
