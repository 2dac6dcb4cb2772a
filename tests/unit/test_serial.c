/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cmocka.h>

#include "devices/serial.h"

enum {
	DATA,
	IER,
	IIR,
	LCR,
	MCR,
	LSR,
	MSR,
	SCR
};
#define FCR IIR

static struct {
	struct serial *serial;
	int eventfd;
	uint8_t sent[4096];
	size_t sent_count;
	unsigned int spaces;
} t;

static void transmit(void *arg, const uint8_t *bytes, size_t count)
{
	assert_ptr_equal(arg, &t);
	assert_true(t.sent_count + count <= sizeof(t.sent));
	memcpy(t.sent + t.sent_count, bytes, count);
	t.sent_count += count;
}

static void space(void *arg)
{
	assert_ptr_equal(arg, &t);
	t.spaces++;
}

static int set_up(void **state)
{
	struct serial_config config = {.transmit = transmit, .space = space, .arg = &t};

	(void)state;
	memset(&t, 0, sizeof(t));
	t.eventfd = eventfd(0, EFD_NONBLOCK);
	config.irq.eventfd = t.eventfd;
	return serial_create(&config, &t.serial, NULL);
}

static int tear_down(void **state)
{
	(void)state;
	serial_destroy(t.serial);
	close(t.eventfd);
	return 0;
}

static uint8_t get(unsigned int reg)
{
	uint8_t value;

	serial_bus_ops.read(t.serial, reg, &value, 1);
	return value;
}

static void put(unsigned int reg, uint8_t value)
{
	serial_bus_ops.write(t.serial, reg, &value, 1);
}

/* Edges since last asked. */
static unsigned int edges(void)
{
	eventfd_t count = 0;

	return eventfd_read(t.eventfd, &count) ? 0 : (unsigned int)count;
}

static size_t receive(const char *text)
{
	return serial_receive(t.serial, (const uint8_t *)text, strlen(text));
}

/* What Linux's 8250 driver looks at to tell a 16550A from its kin (drivers/tty/serial/8250). */
static void is_a_16550a(void **state)
{
	unsigned int value;

	(void)state;
	put(IER, 0);
	assert_int_equal(get(IER), 0);
	put(IER, 0x0f);
	assert_int_equal(get(IER), 0x0f);
	put(IER, 0xff);
	assert_int_equal(get(IER), 0x0f);
	put(IER, 0);
	/* Loop-back: RTS and OUT2 come back as CTS and DCD. */
	put(MCR, 0x10 | 0x0a);
	assert_int_equal(get(MSR) & 0xf0, 0x90);
	put(MCR, 0);
	put(FCR, 0x01);
	assert_int_equal(get(IIR) >> 6, 3);
	/* No 16650 (EFR), no 16750 (64-byte FIFO). */
	put(LCR, 0xbf);
	assert_int_equal(get(LCR), 0xbf);
	put(LCR, 0x80);
	put(FCR, 0x21);
	assert_int_equal(get(IIR) & 0x20, 0);
	put(LCR, 0);
	put(FCR, 0);
	assert_int_equal(get(IIR), 0x01);
	for (value = 0; value < 256; value++) {
		put(SCR, value);
		assert_int_equal(get(SCR), value);
	}
}

static void bytes_go_out(void **state)
{
	(void)state;
	assert_int_equal(get(LSR), 0x60);
	put(DATA, 'h');
	put(DATA, 'i');
	assert_int_equal(get(LSR), 0x60);
	assert_int_equal(t.sent_count, 2);
	assert_memory_equal(t.sent, "hi", 2);
	assert_int_equal(edges(), 0);
}

static void the_divisor_is_no_data(void **state)
{
	(void)state;
	put(LCR, 0x83);
	put(DATA, 0x12);
	put(IER, 0x34);
	assert_int_equal(get(DATA), 0x12);
	assert_int_equal(get(IER), 0x34);
	put(LCR, 0x03);
	assert_int_equal(get(IER), 0);
	assert_int_equal(t.sent_count, 0);
}

static void bytes_come_in(void **state)
{
	(void)state;
	/* 16450 mode: one at a time. */
	assert_int_equal(receive("ab"), 1);
	assert_int_equal(get(LSR), 0x61);
	assert_int_equal(t.spaces, 0);
	assert_int_equal(get(DATA), 'a');
	assert_int_equal(t.spaces, 1);
	assert_int_equal(get(LSR), 0x60);
	/* The FIFO takes 16. */
	put(FCR, 0x01);
	assert_int_equal(receive("0123456789abcdefghij"), 16);
	assert_int_equal(get(DATA), '0');
	assert_int_equal(t.spaces, 2);
	assert_int_equal(receive("gh"), 1);
	for (const char *c = "123456789abcdefg"; *c; c++)
		assert_int_equal(get(DATA), *c);
	assert_int_equal(get(LSR), 0x60);
	assert_int_equal(get(DATA), 0);
	/* Emptied by FCR, and by leaving the mode. */
	receive("xyz");
	put(FCR, 0x03);
	assert_int_equal(get(LSR), 0x60);
	receive("xyz");
	put(FCR, 0x00);
	assert_int_equal(get(LSR), 0x60);
}

static void the_receive_interrupt_obeys_the_trigger(void **state)
{
	static const unsigned int levels[] = {1, 4, 8, 14};
	unsigned int i, n;

	(void)state;
	for (i = 0; i < 4; i++) {
		put(FCR, 0x03 | i << 6);
		put(IER, 0x01);
		edges();
		for (n = 1; n <= 16; n++) {
			assert_int_equal(receive("x"), 1);
			assert_int_equal(get(IIR), n >= levels[i] ? 0xc4 : 0xcc);
			/* One edge, by the first: after that the line is up. */
			assert_int_equal(edges(), n == 1);
		}
		while (get(LSR) & 1)
			get(DATA);
		assert_int_equal(get(IIR), 0xc1);
		edges();
	}
}

/* A driver that reads one byte per interrupt gets an interrupt for each. */
static void what_remains_interrupts_again(void **state)
{
	(void)state;
	put(FCR, 0xc1);
	put(IER, 0x01);
	receive("abc");
	assert_int_equal(edges(), 1);
	assert_int_equal(get(DATA), 'a');
	assert_true(edges() >= 1);
	assert_int_equal(get(DATA), 'b');
	assert_true(edges() >= 1);
	assert_int_equal(get(DATA), 'c');
	assert_int_equal(edges(), 0);
}

static void the_transmit_interrupt(void **state)
{
	(void)state;
	/* Enabling it while the register is empty raises it. */
	put(IER, 0x02);
	assert_int_equal(edges(), 1);
	assert_int_equal(get(IIR), 0x02);
	/* Reading IIR ended it. */
	assert_int_equal(get(IIR), 0x01);
	assert_int_equal(edges(), 0);
	put(DATA, 'a');
	assert_int_equal(edges(), 1);
	put(DATA, 'b');
	assert_int_equal(get(IIR), 0x02);
	assert_int_equal(get(IIR), 0x01);
	edges();
	/* Off and on again: raised again, as Linux expects of a UART without the THRE bug. */
	put(IER, 0x00);
	assert_int_equal(get(IIR), 0x01);
	put(IER, 0x02);
	assert_int_equal(edges(), 1);
	assert_int_equal(get(IIR), 0x02);
}

static void the_highest_comes_first(void **state)
{
	(void)state;
	put(FCR, 0x01);
	put(MCR, 0x10);
	put(DATA, 'x');
	put(MCR, 0x12);
	for (int i = 0; i < 16; i++)
		put(DATA, 'y');
	put(IER, 0x0f);
	edges();
	assert_int_equal(get(IIR), 0xc6);
	assert_int_equal(get(LSR) & 0x03, 0x03);
	assert_true(edges() >= 1);
	assert_int_equal(get(IIR), 0xc4);
	for (int i = 0; i < 16; i++)
		get(DATA);
	assert_true(edges() >= 1);
	assert_int_equal(get(IIR), 0xc2);
	assert_int_equal(edges(), 1);
	assert_int_equal(get(IIR), 0xc0);
	assert_int_equal(get(MSR) & 0x0f, 0x0b);
	assert_int_equal(get(IIR), 0xc1);
	assert_int_equal(edges(), 0);
}

static void overrun(void **state)
{
	(void)state;
	put(MCR, 0x10);
	put(DATA, 'a');
	put(DATA, 'b');
	assert_int_equal(get(LSR), 0x63);
	assert_int_equal(get(LSR), 0x61);
	assert_int_equal(get(DATA), 'b'); /* the single register is overwritten */
	put(FCR, 0x01);
	for (int i = 0; i < 17; i++)
		put(DATA, 'a' + i);
	assert_int_equal(get(LSR), 0x63);
	for (int i = 0; i < 16; i++)
		assert_int_equal(get(DATA), 'a' + i); /* the FIFO keeps what it has */
	assert_int_equal(t.sent_count, 0);
}

static void the_loop_keeps_the_wire_out(void **state)
{
	(void)state;
	put(FCR, 0x01);
	put(MCR, 0x10);
	assert_int_equal(receive("abc"), 0);
	assert_int_equal(get(LSR), 0x60);
	assert_int_equal(t.spaces, 0);
	put(MCR, 0x00);
	assert_int_equal(t.spaces, 1);
	assert_int_equal(receive("abc"), 3);
}

static void modem_lines(void **state)
{
	(void)state;
	assert_int_equal(get(MSR), 0xb0);
	put(IER, 0x08);
	put(MCR, 0x10 | 0x04); /* RI on, the peer's lines off */
	assert_int_equal(edges(), 1);
	assert_int_equal(get(IIR), 0x00);
	assert_int_equal(get(MSR), 0x40 | 0x0b);
	assert_int_equal(get(MSR), 0x40);
	assert_int_equal(get(IIR), 0x01);
	put(MCR, 0x10);
	assert_int_equal(get(MSR), 0x04); /* the trailing edge of RI */
	assert_int_equal(get(MSR), 0x00);
}

static void reset_forgets(void **state)
{
	(void)state;
	put(FCR, 0x01);
	put(IER, 0x0f);
	put(LCR, 0x83);
	put(MCR, 0x0b);
	receive("0123456789abcdefg");
	serial_reset(t.serial);
	assert_int_equal(t.spaces, 1);
	edges();
	assert_int_equal(get(IER), 0);
	assert_int_equal(get(IIR), 0x01);
	assert_int_equal(get(LCR), 0);
	assert_int_equal(get(MCR), 0);
	assert_int_equal(get(LSR), 0x60);
	assert_int_equal(get(MSR), 0xb0);
	assert_int_equal(edges(), 0);
}

/* A wide access is one to each port in turn, and never to a ninth. */
static void hostile_accesses(void **state)
{
	unsigned int length, offset, i;

	(void)state;
	for (length = 1; length <= 8; length *= 2) {
		for (offset = 0; offset + length <= SERIAL_PORTS; offset++) {
			for (i = 0; i < 256; i++) {
				uint8_t data[9];

				memset(data, i, sizeof(data));
				data[length] = 0x5a;
				serial_bus_ops.write(t.serial, offset, data, length);
				serial_bus_ops.read(t.serial, offset, data, length);
				assert_int_equal(data[length], 0x5a);
				t.sent_count = 0;
			}
			receive("0123456789abcdef0123456789abcdef");
		}
	}
}

/* ---- A driver that sleeps until an interrupt, and a sender: no byte lost, no edge missed ---- */

#define STREAM_BYTES 20000

static void *driver_main(void *arg)
{
	unsigned int got = 0;
	eventfd_t count;

	(void)arg;
	while (got < STREAM_BYTES) {
		uint8_t iir;

		if (eventfd_read(t.eventfd, &count))
			return (void *)1;
		while (!((iir = get(IIR)) & 1)) {
			if ((iir & 0x0f) == 0x02)
				continue;
			while (get(LSR) & 1)
				if (get(DATA) != (uint8_t)(got++ * 7))
					return (void *)2;
		}
	}
	return NULL;
}

static _Atomic unsigned int stream_spaces;

static void stream_space(void *arg)
{
	(void)arg;
	atomic_fetch_add(&stream_spaces, 1);
}

static void no_byte_and_no_edge_is_lost(void **state)
{
	struct serial_config config = {.transmit = transmit, .space = stream_space, .arg = &t};
	unsigned int sent = 0, seen;
	void *result;
	pthread_t driver;

	(void)state;
	tear_down(NULL);
	t.eventfd = eventfd(0, 0); /* blocking */
	config.irq.eventfd = t.eventfd;
	atomic_store(&stream_spaces, 0);
	assert_int_equal(serial_create(&config, &t.serial, NULL), 0);
	put(FCR, 0x81);
	put(IER, 0x03);
	assert_int_equal(pthread_create(&driver, NULL, driver_main, NULL), 0);
	while (sent < STREAM_BYTES) {
		uint8_t bytes[23];
		size_t taken, n = 0;

		seen = atomic_load(&stream_spaces);
		while (n < sizeof(bytes) && sent + n < STREAM_BYTES) {
			bytes[n] = (uint8_t)((sent + n) * 7);
			n++;
		}
		taken = serial_receive(t.serial, bytes, n);
		sent += taken;
		/* Told when there is room; if it is not, this never ends. */
		if (taken < n)
			while (atomic_load(&stream_spaces) == seen)
				usleep(10);
	}
	pthread_join(driver, &result);
	assert_null(result);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(is_a_16550a),
		TEST(bytes_go_out),
		TEST(the_divisor_is_no_data),
		TEST(bytes_come_in),
		TEST(the_receive_interrupt_obeys_the_trigger),
		TEST(what_remains_interrupts_again),
		TEST(the_transmit_interrupt),
		TEST(the_highest_comes_first),
		TEST(overrun),
		TEST(the_loop_keeps_the_wire_out),
		TEST(modem_lines),
		TEST(reset_forgets),
		TEST(hostile_accesses),
		TEST(no_byte_and_no_edge_is_lost),
	};

	return cmocka_run_group_tests_name("serial", tests, NULL, NULL);
}
