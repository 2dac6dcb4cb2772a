/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "devices/serial.h"

/* Registers by offset (TI PC16550D, SNLS378C, 8.1 and table 2). */
#define REG_DATA          0 /* RBR, THR; divisor latch, low, with DLAB */
#define REG_IER           1 /* divisor latch, high, with DLAB */
#define REG_IIR           2 /* write: FCR */
#define REG_LCR           3
#define REG_MCR           4
#define REG_LSR           5
#define REG_MSR           6
#define REG_SCR           7

/* Interrupt enable; the same bits stand for the causes in pending(). */
#define IER_RECEIVE       0x01 /* received data available, character timeout */
#define IER_TRANSMIT      0x02 /* transmitter holding register empty */
#define IER_LINE          0x04 /* receiver line status */
#define IER_MODEM         0x08 /* modem status */
#define IER_MASK          0x0f

/* Interrupt identification, in falling priority (table 4). */
#define IIR_LINE          0x06
#define IIR_RECEIVE       0x04
#define IIR_TIMEOUT       0x0c
#define IIR_TRANSMIT      0x02
#define IIR_MODEM         0x00
#define IIR_NONE          0x01
#define IIR_FIFOS         0xc0 /* set while the FIFOs are enabled */

#define FCR_ENABLE        0x01
#define FCR_CLEAR_RECEIVE 0x02
#define FCR_TRIGGER_SHIFT 6
#define LCR_DLAB          0x80
#define MCR_DTR           0x01
#define MCR_RTS           0x02
#define MCR_OUT1          0x04
#define MCR_OUT2          0x08
#define MCR_LOOP          0x10
#define MCR_MASK          0x1f
#define LSR_DATA_READY    0x01
#define LSR_OVERRUN       0x02
#define LSR_EMPTY         0x60 /* THRE and TEMT: bytes leave at once */
#define MSR_DELTA_RI      0x04 /* trailing edge */
#define MSR_DELTAS        0x0f
#define MSR_CTS           0x10
#define MSR_DSR           0x20
#define MSR_RI            0x40
#define MSR_DCD           0x80
#define MSR_LINES         0xf0
#define MSR_DELTA_SHIFT   4
#define MSR_PEER_THERE    (MSR_CTS | MSR_DSR | MSR_DCD)
#define FIFO_BYTES        16

/*
 * struct serial - a 16550A
 *
 * @config: immutable. Everything else: @lock, which is held during no callback but irq_trigger().
 */
struct serial {
	struct serial_config config;
	pthread_mutex_t lock;
	uint8_t ier, fcr, lcr, mcr, msr, scr;
	uint8_t divisor[2];
	bool overrun;          /* LSR bit 1 */
	bool transmit_pending; /* THRE interrupt: neither read from IIR nor outrun by a write */
	bool sender_waits;     /* serial_receive() did not take all */
	uint8_t fifo[FIFO_BYTES];
	unsigned int head, count;
};

/* What an access leaves to be done when the lock is let go. */
struct after {
	bool transmit, space;
	uint8_t byte;
};

static unsigned int fifo_room(const struct serial *s)
{
	return (s->fcr & FCR_ENABLE ? FIFO_BYTES : 1) - s->count;
}

static bool trigger_reached(const struct serial *s)
{
	static const unsigned int levels[] = {1, 4, 8, 14};

	if (!(s->fcr & FCR_ENABLE))
		return s->count > 0;
	return s->count >= levels[s->fcr >> FCR_TRIGGER_SHIFT];
}

/* Causes that are enabled and there, as IER bits. */
static unsigned int pending(const struct serial *s)
{
	unsigned int causes = 0;

	if (s->overrun)
		causes |= IER_LINE;
	if (s->count) /* at the trigger level, or below it: the timeout is over */
		causes |= IER_RECEIVE;
	if (s->transmit_pending)
		causes |= IER_TRANSMIT;
	if (s->msr & MSR_DELTAS)
		causes |= IER_MODEM;
	return causes & s->ier;
}

static uint8_t identify(unsigned int causes, bool trigger)
{
	if (causes & IER_LINE)
		return IIR_LINE;
	if (causes & IER_RECEIVE)
		return trigger ? IIR_RECEIVE : IIR_TIMEOUT;
	if (causes & IER_TRANSMIT)
		return IIR_TRANSMIT;
	if (causes & IER_MODEM)
		return IIR_MODEM;
	return IIR_NONE;
}

/*
 * The output pin is level, the line behind it takes edges. So there is an edge for a cause that
 * was not there before, and for what remains when another was acknowledged: a driver that handles
 * one cause per interrupt never sleeps on the next.
 */
static void signal_change(struct serial *s, unsigned int before, bool acknowledged)
{
	unsigned int now = pending(s);

	if (now && (now != before || acknowledged))
		irq_trigger(&s->config.irq);
}

static void fifo_clear(struct serial *s)
{
	s->head = 0;
	s->count = 0;
}

/* One byte from the wire or the loop; without room it is an overrun (8.6.3, LSR bit 1). */
static void fifo_put(struct serial *s, uint8_t byte)
{
	if (fifo_room(s)) {
		s->fifo[(s->head + s->count) % FIFO_BYTES] = byte;
		s->count++;
		return;
	}
	s->overrun = true;
	/* The FIFO keeps its bytes, the character in the shift register is lost; the single
	 * register of the 16450 is overwritten. */
	if (!(s->fcr & FCR_ENABLE))
		s->fifo[s->head] = byte;
}

static uint8_t fifo_get(struct serial *s)
{
	uint8_t byte;

	if (!s->count)
		return 0;
	byte = s->fifo[s->head];
	s->head = (s->head + 1) % FIFO_BYTES;
	s->count--;
	return byte;
}

/* The modem lines follow the peer, or in the loop our own outputs (8.6.5, MCR bit 4). */
static void update_modem_lines(struct serial *s)
{
	unsigned int lines = MSR_PEER_THERE, changed, deltas;

	if (s->mcr & MCR_LOOP)
		lines = (s->mcr & MCR_RTS ? MSR_CTS : 0) | (s->mcr & MCR_DTR ? MSR_DSR : 0) |
			(s->mcr & MCR_OUT1 ? MSR_RI : 0) | (s->mcr & MCR_OUT2 ? MSR_DCD : 0);
	changed = (s->msr ^ lines) & MSR_LINES;
	deltas = changed >> MSR_DELTA_SHIFT;
	if (lines & MSR_RI)
		deltas &= ~(unsigned int)MSR_DELTA_RI;
	s->msr = lines | (s->msr & MSR_DELTAS) | deltas;
}

static void set_registers(struct serial *s)
{
	s->ier = 0;
	s->fcr = 0;
	s->lcr = 0;
	s->mcr = 0;
	s->msr = MSR_PEER_THERE;
	s->scr = 0;
	s->divisor[0] = 1; /* 115,200 baud; not defined by the data sheet */
	s->divisor[1] = 0;
	s->overrun = false;
	s->transmit_pending = false;
	fifo_clear(s);
}

int serial_create(const struct serial_config *config, struct serial **out, struct samara_error *err)
{
	struct serial *s = calloc(1, sizeof(*s));

	if (!s)
		return samara_error_set(err, -ENOMEM, "serial: out of memory");
	s->config = *config;
	pthread_mutex_init(&s->lock, NULL);
	set_registers(s);
	*out = s;
	return 0;
}

void serial_destroy(struct serial *s)
{
	if (!s)
		return;
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* Whether a sender waits and there is room for it. Context: holds the lock. */
static bool take_space(struct serial *s)
{
	if (!s->sender_waits || !fifo_room(s) || s->mcr & MCR_LOOP)
		return false;
	s->sender_waits = false;
	return true;
}

void serial_reset(struct serial *s)
{
	bool space;

	pthread_mutex_lock(&s->lock);
	set_registers(s);
	space = take_space(s);
	pthread_mutex_unlock(&s->lock);
	if (space && s->config.space)
		s->config.space(s->config.arg);
}

size_t serial_receive(struct serial *s, const uint8_t *bytes, size_t count)
{
	unsigned int before;
	size_t taken = 0;

	pthread_mutex_lock(&s->lock);
	before = pending(s);
	if (!(s->mcr & MCR_LOOP))
		while (taken < count && fifo_room(s))
			fifo_put(s, bytes[taken++]);
	if (taken < count)
		s->sender_waits = true;
	signal_change(s, before, false);
	pthread_mutex_unlock(&s->lock);
	return taken;
}

static uint8_t read_register(struct serial *s, unsigned int reg)
{
	unsigned int before = pending(s);
	uint8_t value = 0;

	switch (reg) {
	case REG_DATA:
		if (s->lcr & LCR_DLAB)
			return s->divisor[0];
		value = fifo_get(s);
		/* With less than the trigger level left, the read has ended one timeout
		 * indication, and the next one is there at once. */
		signal_change(s, before, s->count && before & IER_RECEIVE && !trigger_reached(s));
		return value;
	case REG_IER:
		return s->lcr & LCR_DLAB ? s->divisor[1] : s->ier;
	case REG_IIR:
		value = identify(before, trigger_reached(s));
		if (value == IIR_TRANSMIT) {
			s->transmit_pending = false;
			signal_change(s, before, true);
		}
		return value | (s->fcr & FCR_ENABLE ? IIR_FIFOS : 0);
	case REG_LCR:
		return s->lcr;
	case REG_MCR:
		return s->mcr;
	case REG_LSR:
		value = LSR_EMPTY | (s->count ? LSR_DATA_READY : 0) |
			(s->overrun ? LSR_OVERRUN : 0);
		s->overrun = false;
		signal_change(s, before, false);
		return value;
	case REG_MSR:
		value = s->msr;
		s->msr &= ~MSR_DELTAS;
		signal_change(s, before, false);
		return value;
	default:
		return s->scr;
	}
}

static void write_fcr(struct serial *s, uint8_t value)
{
	/* Both FIFOs are emptied by a change of mode; other bits count only with bit 0 (8.6.2). */
	if ((value ^ s->fcr) & FCR_ENABLE)
		fifo_clear(s);
	if (!(value & FCR_ENABLE)) {
		s->fcr = 0;
		return;
	}
	if (value & FCR_CLEAR_RECEIVE)
		fifo_clear(s);
	s->fcr = FCR_ENABLE | (value & (3u << FCR_TRIGGER_SHIFT));
}

static void write_register(struct serial *s, unsigned int reg, uint8_t value, struct after *after)
{
	unsigned int before = pending(s);

	switch (reg) {
	case REG_DATA:
		if (s->lcr & LCR_DLAB) {
			s->divisor[0] = value;
			return;
		}
		if (s->mcr & MCR_LOOP) {
			fifo_put(s, value);
		} else {
			after->transmit = true;
			after->byte = value;
		}
		/* It is gone already: the register was full for no time at all. */
		s->transmit_pending = true;
		break;
	case REG_IER:
		if (s->lcr & LCR_DLAB) {
			s->divisor[1] = value;
			return;
		}
		/* Enabling the interrupt while the register is empty raises it. */
		if (value & ~s->ier & IER_TRANSMIT)
			s->transmit_pending = true;
		s->ier = value & IER_MASK;
		break;
	case REG_IIR:
		write_fcr(s, value);
		break;
	case REG_LCR:
		s->lcr = value;
		break;
	case REG_MCR:
		s->mcr = value & MCR_MASK;
		update_modem_lines(s);
		break;
	case REG_SCR:
		s->scr = value;
		break;
	default: /* LSR and MSR are for reading; writing is for factory tests */
		break;
	}
	signal_change(s, before, false);
}

/* A wide access is cut into bytes at successive ports, as a bus controller does for ISA. */
static void serial_read(void *device, uint64_t offset, void *data, unsigned int length)
{
	struct serial *s = device;
	uint8_t *bytes = data;
	unsigned int i;

	for (i = 0; i < length; i++) {
		bool space;

		pthread_mutex_lock(&s->lock);
		bytes[i] = read_register(s, offset + i);
		space = take_space(s);
		pthread_mutex_unlock(&s->lock);
		if (space && s->config.space)
			s->config.space(s->config.arg);
	}
}

static void serial_write(void *device, uint64_t offset, const void *data, unsigned int length)
{
	struct serial *s = device;
	const uint8_t *bytes = data;
	unsigned int i;

	for (i = 0; i < length; i++) {
		struct after after = {0};

		pthread_mutex_lock(&s->lock);
		write_register(s, offset + i, bytes[i], &after);
		after.space = take_space(s);
		pthread_mutex_unlock(&s->lock);
		if (after.transmit)
			s->config.transmit(s->config.arg, &after.byte, 1);
		if (after.space && s->config.space)
			s->config.space(s->config.arg);
	}
}

const struct bus_ops serial_bus_ops = {
	.read = serial_read,
	.write = serial_write,
};
