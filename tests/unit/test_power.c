/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "devices/i8042.h"
#include "devices/power.h"
#include "devices/pvpanic.h"

#define SLP_EN  0x20
#define WAK_STS 0x80

static unsigned int poweroffs, resets;

static void count_poweroff(void *arg)
{
	assert_ptr_equal(arg, &poweroffs);
	poweroffs++;
}

static void count_reset(void *arg)
{
	assert_ptr_equal(arg, &poweroffs);
	resets++;
}

static int make_power(void **state)
{
	poweroffs = 0;
	resets = 0;
	return power_create(count_poweroff, count_reset, &poweroffs, (struct power **)state);
}

static int free_power(void **state)
{
	power_destroy(*state);
	return 0;
}

static uint8_t get(void *power, unsigned int offset)
{
	uint8_t value = 0x77;

	power_bus_ops.read(power, offset, &value, 1);
	return value;
}

static void put(void *power, unsigned int offset, uint8_t value)
{
	power_bus_ops.write(power, offset, &value, 1);
}

/* Only S5, and only together with SLP_EN; whatever else is in the byte. */
static void only_s5_switches_off(void **state)
{
	unsigned int value;

	for (value = 0; value < 256; value++) {
		unsigned int before = poweroffs;
		unsigned int wanted = value & SLP_EN && (value >> 2 & 7) == POWER_SLP_TYP_S5;

		put(*state, POWER_SLEEP_CONTROL, value);
		assert_int_equal(poweroffs - before, wanted);
		assert_int_equal(get(*state, POWER_SLEEP_CONTROL) & SLP_EN, 0);
		assert_int_equal(get(*state, POWER_SLEEP_CONTROL), value & 0x1c);
	}
	assert_int_equal(poweroffs, 16); /* four bits are ignored */
	assert_int_equal(resets, 0);
}

static void only_the_reset_value_resets(void **state)
{
	unsigned int value;

	for (value = 0; value < 256; value++)
		put(*state, POWER_RESET, value);
	assert_int_equal(resets, 1);
	assert_int_equal(poweroffs, 0);
}

static void the_wake_status_is_cleared_by_one(void **state)
{
	put(*state, POWER_SLEEP_STATUS, 0x7f);
	assert_int_equal(get(*state, POWER_SLEEP_STATUS), 0);
	put(*state, POWER_SLEEP_STATUS, WAK_STS);
	assert_int_equal(get(*state, POWER_SLEEP_STATUS), 0);
}

static void wide_accesses_are_bytes(void **state)
{
	const uint8_t all[4] = {SLP_EN | POWER_SLP_TYP_S5 << 2, 0, POWER_RESET_VALUE, 0};
	uint8_t data[4] = {1, 1, 1, 1};

	power_bus_ops.write(*state, 0, all, 4);
	assert_int_equal(poweroffs, 1);
	assert_int_equal(resets, 1);
	power_bus_ops.read(*state, 0, data, 4);
	assert_int_equal(data[POWER_SLEEP_CONTROL], POWER_SLP_TYP_S5 << 2);
	assert_int_equal(data[3], 0xff);
}

static void a_reset_is_pulsed_by_the_keyboard_controller(void **state)
{
	struct i8042 *i8042;
	uint8_t bytes[8] = {0};
	unsigned int value;

	(void)state;
	resets = 0;
	assert_int_equal(i8042_create(count_reset, &poweroffs, &i8042), 0);
	for (value = 0; value < 256; value++) {
		bytes[0] = value;
		i8042_bus_ops.write(i8042, 4, bytes, 1);
		assert_int_equal(resets, value >= 0xfe);
		i8042_bus_ops.write(i8042, 0, bytes, 1);
	}
	assert_int_equal(resets, 1);
	/* A double word at 0x61 has its last byte at 0x64. */
	bytes[3] = 0xfe;
	i8042_bus_ops.write(i8042, 1, bytes, 4);
	assert_int_equal(resets, 2);
	i8042_bus_ops.read(i8042, 4, bytes, 1);
	assert_int_equal(bytes[0], 0);
	i8042_bus_ops.read(i8042, 0, bytes, 4);
	assert_int_equal(bytes[0], 0);
	assert_int_equal(bytes[1], 0xff);
	i8042_destroy(i8042);
}

/* A panic is told once in a life, however often the guest says so. */
static void a_panic_is_told_once(void **state)
{
	struct pvpanic *pvpanic;
	unsigned int value;
	uint8_t byte;

	(void)state;
	resets = 0;
	assert_int_equal(pvpanic_create(count_reset, &poweroffs, &pvpanic), 0);
	pvpanic_bus_ops.read(pvpanic, 0, &byte, 1);
	assert_int_equal(byte, PVPANIC_PANICKED);
	for (value = 0; value < 256; value += 2) {
		byte = value;
		pvpanic_bus_ops.write(pvpanic, 0, &byte, 1);
	}
	assert_int_equal(resets, 0);
	for (value = 1; value < 256; value += 2) {
		byte = value;
		pvpanic_bus_ops.write(pvpanic, 0, &byte, 1);
	}
	assert_int_equal(resets, 1);
	pvpanic_reset(pvpanic);
	pvpanic_bus_ops.write(pvpanic, 0, &byte, 1);
	assert_int_equal(resets, 2);
	pvpanic_destroy(pvpanic);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_power, free_power)
	const struct CMUnitTest tests[] = {
		TEST(only_s5_switches_off),
		TEST(only_the_reset_value_resets),
		TEST(the_wake_status_is_cleared_by_one),
		TEST(wide_accesses_are_bytes),
		cmocka_unit_test(a_panic_is_told_once),
		cmocka_unit_test(a_reset_is_pulsed_by_the_keyboard_controller),
	};

	return cmocka_run_group_tests_name("power", tests, NULL, NULL);
}
