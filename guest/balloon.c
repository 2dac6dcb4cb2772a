/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The driver of the balloon (virtio 1.2, 5.5): lends pages and takes them back until as many are in
 * it as the device asks for, a list of them at a time.
 */
#include "guest/devices.h"
#include "guest/virtio.h"

#include <stddef.h>
#include <linux/virtio_balloon.h>
#include <linux/virtio_ids.h>

#define LIST_MAX   32u

/* One of so many pages of a list is looked at when it is in the balloon: each is a fault. */
#define LOOK_EVERY 4u

enum {
	INFLATE,
	DEFLATE,
	QUEUES
};

/**
 * struct balloon_driver - what it knows
 * @actual: pages in the balloon
 * @waiting: a list is in queue @way, of pages that are taken
 */
struct balloon_driver {
	struct queue queue[QUEUES];
	uint32_t list[LIST_MAX]; /* page numbers */
	uint64_t next_look;
	uint32_t actual, cursor, count, way;
	bool started, waiting;
};

_Static_assert(sizeof(struct balloon_driver) <= STRESS_DRIVER_BYTES, "it has no more memory");

static uint32_t index_of(const struct stress_pool *pool, uint32_t page_number)
{
	return page_number - (uint32_t)(pool->gpa >> VIRTIO_BALLOON_PFN_SHIFT);
}

/* Pages that are there, or in the balloon, in an order that leaves holes. */
static void change(struct cpu *cpu, struct balloon_driver *driver, uint32_t most)
{
	const struct stress_pool *pool = pool_of(cpu, STRESS_POOL_BALLOON);
	struct buffer buffer = {.bytes = driver->list};
	uint32_t tries;

	driver->count = 0;
	for (tries = 0; tries < pool->count && driver->count < most; tries++) {
		/* 7 has no divisor in common with a power of two: each page has its turn. */
		driver->cursor = (driver->cursor + 7) % pool->count;
		if (!unit_take(cpu, pool, driver->cursor,
			       driver->way == INFLATE ? STRESS_UNIT_THERE : STRESS_UNIT_ABSENT))
			continue;
		if (driver->way == INFLATE)
			unit_check(cpu, pool, driver->cursor, STRESS_ERROR_PATTERN);
		driver->list[driver->count++] =
			(uint32_t)(pool->gpa >> VIRTIO_BALLOON_PFN_SHIFT) + driver->cursor;
	}
	if (!driver->count)
		return;
	buffer.length_bytes = driver->count * (uint32_t)sizeof(*driver->list);
	driver->waiting = true;
	virtio_submit(pool->registers, driver->way, &driver->queue[driver->way], &buffer, 1);
}

/* What is in the balloon, or was, is zero: the host has taken the page. */
static void answered(struct cpu *cpu, struct balloon_driver *driver)
{
	const struct stress_pool *pool = pool_of(cpu, STRESS_POOL_BALLOON);
	bool inflated = driver->way == INFLATE;
	uint32_t i;

	for (i = 0; i < driver->count; i++) {
		uint32_t index = index_of(pool, driver->list[i]);

		unit_gone(cpu, pool, index);
		if (!cpu->control->devices.balloon_keeps && (!inflated || i % LOOK_EVERY == 0))
			unit_check(cpu, pool, index, STRESS_ERROR_BALLOON);
		if (!inflated)
			unit_fill(cpu, pool, index);
		unit_put(cpu, pool, index, inflated ? STRESS_UNIT_ABSENT : STRESS_UNIT_THERE);
	}
	driver->waiting = false;
	driver->actual += inflated ? driver->count : -driver->count;
	virtio_write_config(pool->registers, offsetof(struct virtio_balloon_config, actual),
			    driver->actual);
}

static bool start(const struct stress_pool *pool, struct balloon_driver *driver)
{
	struct queue *const queues[QUEUES] = {&driver->queue[INFLATE], &driver->queue[DEFLATE]};

	return virtio_start(pool->registers, VIRTIO_ID_BALLOON, 0, queues, QUEUES);
}

void balloon_poll(struct cpu *cpu)
{
	const struct stress_pool *pool = pool_of(cpu, STRESS_POOL_BALLOON);
	struct balloon_driver *driver = driver_of(cpu, STRESS_POOL_BALLOON);
	uint32_t target, difference;

	if (driver->waiting) {
		if (virtio_is_done(&driver->queue[driver->way]))
			answered(cpu, driver);
		return;
	}
	if (!device_is_due(&driver->next_look))
		return;
	if (!driver->started && !(driver->started = start(pool, driver)))
		return;
	target = virtio_read_config(pool->registers,
				    offsetof(struct virtio_balloon_config, num_pages));
	driver->way = target > driver->actual ? INFLATE : DEFLATE;
	difference = target > driver->actual ? target - driver->actual : driver->actual - target;
	if (difference)
		change(cpu, driver, difference < LIST_MAX ? difference : LIST_MAX);
}
