/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "devices/memory_hotplug.h"

/*
 * @status: MEMORY_HOTPLUG_ENABLED, _INSERTING, _REMOVING
 * @ejected: the guest let it go, the owner has not removed it yet
 * @ost_event: as written to OST_EVENT
 */
struct slot {
	gpa_t gpa;
	uint64_t size_bytes;
	uint32_t node;
	uint32_t status;
	uint32_t ost_event;
	bool ejected;
};

/*
 * Lock key: [i] immutable, [l] under lock, a leaf. Callbacks are called without it.
 */
struct memory_hotplug {
	struct memory_hotplug_config config; /* [i] */
	pthread_mutex_t lock;
	uint32_t selected;                           /* [l] any number: the guest's */
	struct slot slots[MEMORY_HOTPLUG_SLOTS_MAX]; /* [l] */
};

int memory_hotplug_create(const struct memory_hotplug_config *config, struct memory_hotplug **out)
{
	struct memory_hotplug *hotplug;

	if (config->slots > MEMORY_HOTPLUG_SLOTS_MAX)
		return -EINVAL;
	hotplug = calloc(1, sizeof(*hotplug));
	if (!hotplug)
		return -ENOMEM;
	hotplug->config = *config;
	pthread_mutex_init(&hotplug->lock, NULL);
	*out = hotplug;
	return 0;
}

void memory_hotplug_destroy(struct memory_hotplug *hotplug)
{
	if (!hotplug)
		return;
	pthread_mutex_destroy(&hotplug->lock);
	free(hotplug);
}

int memory_hotplug_insert(struct memory_hotplug *hotplug, unsigned int index, gpa_t gpa,
			  uint64_t size_bytes, uint32_t node, bool announce)
{
	struct slot *slot;
	int ret = -EBUSY;

	if (index >= hotplug->config.slots)
		return -EINVAL;
	slot = &hotplug->slots[index];
	pthread_mutex_lock(&hotplug->lock);
	if (!slot->status && !slot->ejected) {
		*slot = (struct slot){
			.gpa = gpa,
			.size_bytes = size_bytes,
			.node = node,
			.status =
				MEMORY_HOTPLUG_ENABLED | (announce ? MEMORY_HOTPLUG_INSERTING : 0u),
		};
		ret = 0;
	}
	pthread_mutex_unlock(&hotplug->lock);
	if (!ret && announce)
		irq_trigger(&hotplug->config.irq);
	return ret;
}

int memory_hotplug_request_removal(struct memory_hotplug *hotplug, unsigned int index)
{
	int ret = -ENOENT;

	if (index >= hotplug->config.slots)
		return ret;
	pthread_mutex_lock(&hotplug->lock);
	if (hotplug->slots[index].status & MEMORY_HOTPLUG_ENABLED) {
		hotplug->slots[index].status |= MEMORY_HOTPLUG_REMOVING;
		ret = 0;
	}
	pthread_mutex_unlock(&hotplug->lock);
	if (!ret)
		irq_trigger(&hotplug->config.irq);
	return ret;
}

void memory_hotplug_remove(struct memory_hotplug *hotplug, unsigned int index)
{
	pthread_mutex_lock(&hotplug->lock);
	if (index < hotplug->config.slots)
		memset(&hotplug->slots[index], 0, sizeof(hotplug->slots[index]));
	pthread_mutex_unlock(&hotplug->lock);
}

/* The first slot with something to tell; MEMORY_HOTPLUG_NONE. */
static uint32_t find_next(const struct memory_hotplug *hotplug)
{
	unsigned int i;

	for (i = 0; i < hotplug->config.slots; i++)
		if (hotplug->slots[i].status & (MEMORY_HOTPLUG_INSERTING | MEMORY_HOTPLUG_REMOVING))
			return i;
	return MEMORY_HOTPLUG_NONE;
}

bool memory_hotplug_remind(struct memory_hotplug *hotplug)
{
	bool pending;

	pthread_mutex_lock(&hotplug->lock);
	pending = find_next(hotplug) != MEMORY_HOTPLUG_NONE;
	pthread_mutex_unlock(&hotplug->lock);
	if (pending)
		irq_trigger(&hotplug->config.irq);
	return pending;
}

void memory_hotplug_reset(struct memory_hotplug *hotplug)
{
	unsigned int i;

	pthread_mutex_lock(&hotplug->lock);
	hotplug->selected = 0;
	for (i = 0; i < hotplug->config.slots; i++) {
		hotplug->slots[i].status &= MEMORY_HOTPLUG_ENABLED;
		hotplug->slots[i].ost_event = 0;
	}
	pthread_mutex_unlock(&hotplug->lock);
}

/* ---- Registers ------------------------------------------------------------------------------- */

/* The selected slot, NULL: there is none of that number. */
static struct slot *selected(struct memory_hotplug *hotplug)
{
	return hotplug->selected < hotplug->config.slots ? &hotplug->slots[hotplug->selected]
							 : NULL;
}

static uint32_t read_slot(struct slot *slot, uint64_t offset)
{
	switch (offset) {
	case MEMORY_HOTPLUG_GPA_LOW:
		/* Who asks where it is has found it, at boot for one; nothing is left to tell. */
		slot->status &= ~(uint32_t)MEMORY_HOTPLUG_INSERTING;
		return (uint32_t)slot->gpa;
	case MEMORY_HOTPLUG_GPA_HIGH:
		return (uint32_t)(slot->gpa >> 32);
	case MEMORY_HOTPLUG_SIZE_LOW:
		return (uint32_t)slot->size_bytes;
	case MEMORY_HOTPLUG_SIZE_HIGH:
		return (uint32_t)(slot->size_bytes >> 32);
	case MEMORY_HOTPLUG_NODE:
		return slot->node;
	case MEMORY_HOTPLUG_STATUS:
		return slot->status;
	default:
		return 0;
	}
}

static uint32_t read_register(struct memory_hotplug *hotplug, uint64_t offset)
{
	struct slot *slot;

	switch (offset) {
	case MEMORY_HOTPLUG_SLOT:
		return hotplug->selected;
	case MEMORY_HOTPLUG_NEXT:
		hotplug->selected = find_next(hotplug);
		return hotplug->selected;
	default:
		slot = selected(hotplug);
		return slot ? read_slot(slot, offset) : 0;
	}
}

static void memory_hotplug_read(void *device, uint64_t offset, void *data, unsigned int length)
{
	struct memory_hotplug *hotplug = device;
	uint32_t value;

	memset(data, 0xff, length);
	if (length != sizeof(value) || offset % sizeof(value))
		return;
	pthread_mutex_lock(&hotplug->lock);
	value = read_register(hotplug, offset);
	pthread_mutex_unlock(&hotplug->lock);
	memcpy(data, &value, sizeof(value));
}

/* Return: whether the guest has let the slot's range go by this. */
static bool write_status(struct slot *slot, uint32_t value)
{
	slot->status &= ~(value & (MEMORY_HOTPLUG_INSERTING | MEMORY_HOTPLUG_REMOVING));
	if (!(value & MEMORY_HOTPLUG_EJECT) || !(slot->status & MEMORY_HOTPLUG_ENABLED))
		return false;
	slot->status = 0;
	slot->ejected = true;
	return true;
}

static void memory_hotplug_write(void *device, uint64_t offset, const void *data,
				 unsigned int length)
{
	struct memory_hotplug *hotplug = device;
	const struct memory_hotplug_config *config = &hotplug->config;
	bool ejected = false, reported = false;
	uint32_t value, index, event = 0;
	struct slot *slot;

	if (length != sizeof(value) || offset % sizeof(value))
		return;
	memcpy(&value, data, sizeof(value));
	pthread_mutex_lock(&hotplug->lock);
	slot = selected(hotplug);
	index = hotplug->selected;
	if (offset == MEMORY_HOTPLUG_SLOT) {
		hotplug->selected = value;
	} else if (slot && offset == MEMORY_HOTPLUG_STATUS) {
		ejected = write_status(slot, value);
	} else if (slot && offset == MEMORY_HOTPLUG_OST_EVENT) {
		slot->ost_event = value;
	} else if (slot && offset == MEMORY_HOTPLUG_OST_STATUS) {
		event = slot->ost_event;
		reported = true;
	}
	pthread_mutex_unlock(&hotplug->lock);
	if (ejected)
		config->ejected(config->arg, index);
	if (reported)
		config->reported(config->arg, index, event, value);
}

const struct bus_ops memory_hotplug_bus_ops = {
	.read = memory_hotplug_read,
	.write = memory_hotplug_write,
};
