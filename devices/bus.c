/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <samara/region_tree.h>

#include "devices/bus.h"

/*
 * struct bus_range - a device at its place
 *
 * All fields but @next are immutable from region_tree_insert() to region_tree_remove(), whose
 * callers hold bus.lock; an access reads them while it holds the region. @next: bus.lock.
 */
struct bus_range {
	uint64_t first, last;
	const struct bus_ops *ops;
	void *device;
	struct bus_range *next;
	char name[];
};

/*
 * Accesses are counted on a line that a thread has to itself as long as there are no more than
 * SHARDS threads; beyond that threads share lines, and the sums stay right.
 */
#define SHARDS     64
#define LINE_BYTES 64

/* All fields: atomic, relaxed; they order nothing. */
struct shard {
	_Alignas(LINE_BYTES) _Atomic uint64_t reads;
	_Atomic uint64_t writes, nowhere;
};

/*
 * struct bus - a bus
 *
 * @lock serialises attach and detach; an access never takes it. @ranges: @lock. @name, @tree:
 * immutable.
 */
struct bus {
	struct shard shards[SHARDS];
	const char *name;
	struct region_tree *tree;
	pthread_mutex_t lock;
	struct bus_range *ranges;
};

static struct shard *my_shard(struct bus *bus)
{
	static _Atomic unsigned int threads;
	static _Thread_local unsigned int number; /* from 1; 0: none yet */

	if (!number)
		number = 1 + atomic_fetch_add_explicit(&threads, 1, memory_order_relaxed) % SHARDS;
	return &bus->shards[number - 1];
}

static void count(_Atomic uint64_t *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

int bus_create(const char *name, struct bus **out)
{
	struct bus *bus = aligned_alloc(LINE_BYTES, sizeof(*bus));
	int ret;

	if (!bus)
		return -ENOMEM;
	memset(bus, 0, sizeof(*bus));
	bus->name = name;
	ret = region_tree_create(&bus->tree);
	if (ret) {
		free(bus);
		return ret;
	}
	pthread_mutex_init(&bus->lock, NULL);
	*out = bus;
	return 0;
}

void bus_destroy(struct bus *bus)
{
	struct bus_range *range, *next;

	if (!bus)
		return;
	region_tree_destroy(bus->tree);
	for (range = bus->ranges; range; range = next) {
		next = range->next;
		free(range);
	}
	pthread_mutex_destroy(&bus->lock);
	free(bus);
}

/* Whatever lies in first..last. Context: holds bus->lock. */
static const struct bus_range *find_overlap(const struct bus *bus, uint64_t first, uint64_t last)
{
	const struct bus_range *range;

	for (range = bus->ranges; range; range = range->next)
		if (range->first <= last && first <= range->last)
			return range;
	return NULL;
}

int bus_attach(struct bus *bus, uint64_t first, uint64_t size, const char *device_name,
	       const struct bus_ops *ops, void *device, struct samara_error *err)
{
	const struct bus_range *there;
	struct bus_range *range;
	size_t name_bytes = strlen(device_name) + 1;
	uint64_t last = first + size - 1;
	int ret;

	if (!size || last < first)
		return samara_error_set(err, -EINVAL,
					"%s: %s: %" PRIu64 " addresses at 0x%" PRIx64 " %s",
					bus->name, device_name, size, first,
					size ? "reach past the end" : "are no range");

	range = malloc(sizeof(*range) + name_bytes);
	if (!range)
		return samara_error_set(err, -ENOMEM, "%s: %s: out of memory", bus->name,
					device_name);
	range->first = first;
	range->last = last;
	range->ops = ops;
	range->device = device;
	memcpy(range->name, device_name, name_bytes);

	pthread_mutex_lock(&bus->lock);
	there = find_overlap(bus, first, last);
	if (there) {
		ret = samara_error_set(err, -EEXIST,
				       "%s: %s: 0x%" PRIx64 "-0x%" PRIx64
				       " is taken: %s is at 0x%" PRIx64 "-0x%" PRIx64,
				       bus->name, device_name, first, last, there->name,
				       there->first, there->last);
		goto fail;
	}
	ret = region_tree_insert(bus->tree, first, last, range);
	if (ret) {
		samara_error_set(err, ret, "%s: %s: 0x%" PRIx64 "-0x%" PRIx64 ": %s", bus->name,
				 device_name, first, last, strerror(-ret));
		goto fail;
	}
	range->next = bus->ranges;
	bus->ranges = range;
	pthread_mutex_unlock(&bus->lock);
	return 0;

fail:
	pthread_mutex_unlock(&bus->lock);
	free(range);
	return ret;
}

int bus_detach(struct bus *bus, uint64_t first, struct samara_error *err)
{
	struct bus_range *range, **link;
	void *object;
	int ret;

	pthread_mutex_lock(&bus->lock);
	ret = region_tree_remove(bus->tree, first, &object);
	if (ret) {
		pthread_mutex_unlock(&bus->lock);
		return samara_error_set(err, ret, "%s: 0x%" PRIx64 ": %s", bus->name, first,
					ret == -ENOENT ? "no device starts there" : strerror(-ret));
	}
	range = object;
	for (link = &bus->ranges; *link != range; link = &(*link)->next)
		;
	*link = range->next;
	pthread_mutex_unlock(&bus->lock);
	free(range);
	return 0;
}

/*
 * The device that takes an access as a whole, its region held; NULL when there is none. KVM cuts
 * an access that crosses a page into pieces of any length: the odd ones belong to no device.
 */
static const struct bus_range *enter(struct bus *bus, uint64_t address, unsigned int length,
				     struct region_guard *guard)
{
	const struct bus_range *range;
	struct region *region;

	if (length != 1 && length != 2 && length != 4 && length != 8)
		return NULL;
	region = region_read_lock(bus->tree, address, guard);
	if (!region)
		return NULL;
	range = region_object(region);
	if (range->last - address >= length - 1)
		return range;
	region_read_unlock(guard);
	return NULL;
}

int bus_read(struct bus *bus, uint64_t address, void *data, unsigned int length)
{
	struct shard *shard = my_shard(bus);
	const struct bus_range *range;
	struct region_guard guard;
	bool taken = false;

	count(&shard->reads);
	range = enter(bus, address, length, &guard);
	if (range) {
		if (range->ops->read) {
			range->ops->read(range->device, address - range->first, data, length);
			taken = true;
		}
		region_read_unlock(&guard);
	}
	if (taken)
		return 0;
	count(&shard->nowhere);
	memset(data, 0xff, length);
	return -ENXIO;
}

int bus_write(struct bus *bus, uint64_t address, const void *data, unsigned int length)
{
	struct shard *shard = my_shard(bus);
	const struct bus_range *range;
	struct region_guard guard;
	bool taken = false;

	count(&shard->writes);
	range = enter(bus, address, length, &guard);
	if (range) {
		if (range->ops->write) {
			range->ops->write(range->device, address - range->first, data, length);
			taken = true;
		}
		region_read_unlock(&guard);
	}
	if (taken)
		return 0;
	count(&shard->nowhere);
	return -ENXIO;
}

void bus_get_counters(struct bus *bus, struct bus_counters *counters)
{
	unsigned int i;

	memset(counters, 0, sizeof(*counters));
	for (i = 0; i < SHARDS; i++) {
		struct shard *shard = &bus->shards[i];

		counters->reads += atomic_load_explicit(&shard->reads, memory_order_relaxed);
		counters->writes += atomic_load_explicit(&shard->writes, memory_order_relaxed);
		counters->nowhere += atomic_load_explicit(&shard->nowhere, memory_order_relaxed);
	}
}
