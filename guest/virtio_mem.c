/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The driver of virtio-mem (virtio 1.2, 5.15): plugs and unplugs blocks until there are as many as
 * the device asks for, some at a time, and asks now and then in which state they are.
 */
#include "guest/devices.h"
#include "guest/virtio.h"

#include <stddef.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_mem.h>

/* Blocks that one request is about, at most. */
#define RUN_MAX     4u

/* One of so many requests is followed by a question. */
#define STATE_EVERY 4u

/**
 * struct mem_driver - what it knows
 * @plugged: blocks
 * @waiting: a request of type @request.type is in the queue, about blocks that are taken
 * @asked: what was done to them, when the request is a question
 */
struct mem_driver {
	struct queue queue;
	struct virtio_mem_req request;
	struct virtio_mem_resp response;
	uint64_t next_look;
	uint32_t plugged, cursor, requests;
	uint32_t first, count;
	uint16_t asked;
	bool started, waiting;
};

_Static_assert(sizeof(struct mem_driver) <= STRESS_DRIVER_BYTES, "it has no more memory");

static uint64_t block_gpa(const struct stress_pool *pool, uint32_t index)
{
	return pool->gpa + index * pool->unit_bytes;
}

static void submit(struct cpu *cpu, struct mem_driver *driver, uint16_t type)
{
	const struct stress_pool *pool = pool_of(cpu, STRESS_POOL_MEM);
	const struct buffer buffers[] = {
		{&driver->request, sizeof(driver->request), false},
		{&driver->response, sizeof(driver->response), true},
	};

	driver->request.type = type;
	driver->request.u.plug.addr = block_gpa(pool, driver->first);
	driver->request.u.plug.nb_blocks = (uint16_t)driver->count;
	driver->response.type = UINT16_MAX;
	driver->waiting = true;
	virtio_submit(pool->registers, 0, &driver->queue, buffers, 2);
}

/* ---- What a request has done ------------------------------------------------------------------ */

static void put_all(struct cpu *cpu, struct mem_driver *driver, enum stress_unit_state state)
{
	for (uint32_t i = 0; i < driver->count; i++)
		unit_put(cpu, pool_of(cpu, STRESS_POOL_MEM), driver->first + i, state);
}

static void settle_plugged(struct cpu *cpu, struct mem_driver *driver)
{
	const struct stress_pool *pool = pool_of(cpu, STRESS_POOL_MEM);

	for (uint32_t i = driver->first; i < driver->first + driver->count; i++) {
		unit_given(cpu, pool, i, STRESS_ERROR_FRESH);
		unit_fill(cpu, pool, i);
	}
	driver->plugged += driver->count;
	put_all(cpu, driver, STRESS_UNIT_THERE);
}

static void settle_unplugged(struct cpu *cpu, struct mem_driver *driver)
{
	const struct stress_pool *pool = pool_of(cpu, STRESS_POOL_MEM);

	for (uint32_t i = driver->first; i < driver->first + driver->count; i++) {
		unit_gone(cpu, pool, i);
		unit_reach(cpu, pool, i, STRESS_ERROR_NOTHING, true);
	}
	driver->plugged -= driver->count;
	put_all(cpu, driver, STRESS_UNIT_ABSENT);
}

/* The device could not: all is as it was. */
static void settle_undone(struct cpu *cpu, struct mem_driver *driver, bool unplug)
{
	const struct stress_pool *pool = pool_of(cpu, STRESS_POOL_MEM);

	for (uint32_t i = driver->first; unplug && i < driver->first + driver->count; i++)
		unit_check(cpu, pool, i, STRESS_ERROR_PATTERN);
	put_all(cpu, driver, unplug ? STRESS_UNIT_THERE : STRESS_UNIT_ABSENT);
}

static void settle(struct cpu *cpu, struct mem_driver *driver, uint16_t type)
{
	if (type == VIRTIO_MEM_REQ_PLUG)
		settle_plugged(cpu, driver);
	else
		settle_unplugged(cpu, driver);
}

static void wrong_answer(struct cpu *cpu, struct mem_driver *driver, uint64_t expected,
			 uint64_t found)
{
	report(cpu, STRESS_ERROR_ANSWER, block_gpa(pool_of(cpu, STRESS_POOL_MEM), driver->first), 0,
	       expected, found);
}

static void answered(struct cpu *cpu, struct mem_driver *driver)
{
	uint16_t type = driver->request.type, answer = driver->response.type;
	uint16_t state = driver->response.u.state.state;

	driver->waiting = false;
	if (type == VIRTIO_MEM_REQ_STATE) {
		uint16_t expected = driver->asked == VIRTIO_MEM_REQ_PLUG
					    ? VIRTIO_MEM_STATE_PLUGGED
					    : VIRTIO_MEM_STATE_UNPLUGGED;

		if (answer != VIRTIO_MEM_RESP_ACK)
			wrong_answer(cpu, driver, VIRTIO_MEM_RESP_ACK, answer);
		else if (state != expected)
			wrong_answer(cpu, driver, expected, state);
		settle(cpu, driver, driver->asked);
		return;
	}
	if (answer == VIRTIO_MEM_RESP_ACK && ++driver->requests % STATE_EVERY == 0) {
		driver->asked = type;
		submit(cpu, driver, VIRTIO_MEM_REQ_STATE);
		return;
	}
	if (answer == VIRTIO_MEM_RESP_ACK) {
		settle(cpu, driver, type);
		return;
	}
	/* NACK: it is asked for less since; BUSY: the host could not. */
	if (answer != VIRTIO_MEM_RESP_BUSY &&
	    (answer != VIRTIO_MEM_RESP_NACK || type != VIRTIO_MEM_REQ_PLUG))
		wrong_answer(cpu, driver, VIRTIO_MEM_RESP_ACK, answer);
	settle_undone(cpu, driver, type == VIRTIO_MEM_REQ_UNPLUG);
}

/* ---- Requests --------------------------------------------------------------------------------- */

/* Take blocks side by side, up to @most, that all are in a state. Return: whether there is one. */
static bool take_run(struct cpu *cpu, struct mem_driver *driver, enum stress_unit_state state,
		     uint32_t most)
{
	const struct stress_pool *pool = pool_of(cpu, STRESS_POOL_MEM);
	uint32_t i;

	driver->count = 0;
	for (i = 0; i < pool->count && !driver->count; i++) {
		/* 5 has no divisor in common with a power of two: each block has its turn. */
		driver->cursor = (driver->cursor + 5) % pool->count;
		driver->first = driver->cursor;
		driver->count = unit_take(cpu, pool, driver->first, state);
	}
	while (driver->count && driver->count < most &&
	       driver->first + driver->count < pool->count &&
	       unit_take(cpu, pool, driver->first + driver->count, state))
		driver->count++;
	return driver->count;
}

static void change(struct cpu *cpu, struct mem_driver *driver, uint32_t requested)
{
	const struct stress_pool *pool = pool_of(cpu, STRESS_POOL_MEM);
	uint32_t most = 1 + driver->requests % RUN_MAX;
	uint32_t i;

	if (requested > driver->plugged) {
		if (most > requested - driver->plugged)
			most = requested - driver->plugged;
		if (take_run(cpu, driver, STRESS_UNIT_ABSENT, most))
			submit(cpu, driver, VIRTIO_MEM_REQ_PLUG);
	} else if (requested < driver->plugged) {
		if (most > driver->plugged - requested)
			most = driver->plugged - requested;
		if (!take_run(cpu, driver, STRESS_UNIT_THERE, most))
			return;
		for (i = driver->first; i < driver->first + driver->count; i++)
			unit_check(cpu, pool, i, STRESS_ERROR_PATTERN);
		submit(cpu, driver, VIRTIO_MEM_REQ_UNPLUG);
	}
}

static bool start(const struct stress_pool *pool, struct mem_driver *driver)
{
	struct queue *queue = &driver->queue;

	return virtio_start(pool->registers, VIRTIO_ID_MEM,
			    1u << VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE, &queue, 1);
}

void virtio_mem_poll(struct cpu *cpu)
{
	const struct stress_pool *pool = pool_of(cpu, STRESS_POOL_MEM);
	struct mem_driver *driver = driver_of(cpu, STRESS_POOL_MEM);
	uint64_t requested;

	if (driver->waiting) {
		if (virtio_is_done(&driver->queue))
			answered(cpu, driver);
		else if (driver->request.type == VIRTIO_MEM_REQ_UNPLUG)
			unit_race(cpu, pool, driver->first);
		return;
	}
	if (!device_is_due(&driver->next_look))
		return;
	if (!driver->started && !(driver->started = start(pool, driver)))
		return;
	requested = virtio_read_config_long(pool->registers,
					    offsetof(struct virtio_mem_config, requested_size));
	change(cpu, driver, (uint32_t)(requested / pool->unit_bytes));
}
