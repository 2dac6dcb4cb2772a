/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The machine's virtio devices: each in a slot of its own, a virtio-mmio register block with an
 * interrupt line (vmm/virtio_slots.h), which the DSDT finds by itself (vmm/virtio.asl). A virtio-mem
 * can come and go while the machine runs.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <linux/virtio_mmio.h>

#include "devices/virtio_mmio.h"
#include "vmm/balloon.h"
#include "vmm/virtio_memory.h"
#include "vmm/virtio_presence.h"
#include "vmm/virtio_slots.h"
#include "vmm/vm_internal.h"

/**
 * struct slot - a place, and the device that is there
 *
 * One of @balloon and @memory is there, or neither.
 */
struct slot {
	struct irq irq;
	struct balloon *balloon;
	struct virtio_memory *memory;
	struct virtio_device *device; /* theirs; NULL: the slot is free */
	struct virtio_mmio mmio;
	bool attached; /* to the bus */
	bool hotplugged;
	bool known; /* in this life the guest has seen a device here */
};

/*
 * struct vm_virtio - all of them. Under the VM's control lock once the machine can run; @presence is
 * immutable.
 */
struct vm_virtio {
	struct slot slots[VIRTIO_SLOTS];
	struct irq irq; /* of the Generic Event Device */
	struct virtio_presence *presence;
};

static gpa_t slot_gpa(unsigned int index)
{
	return VIRTIO_SLOT_GPA + (gpa_t)index * VIRTIO_SLOT_BYTES;
}

/* ---- Life -------------------------------------------------------------------------------------- */

int vm_virtio_place(struct vm *vm, struct samara_error *err)
{
	const struct vm_config *config = vm->config;

	if (config->virtio_mem_count + config->balloon.present > VIRTIO_SLOTS)
		return samara_error_set(err, -E2BIG, "more than %d virtio devices", VIRTIO_SLOTS);
	for (unsigned int i = 0; i < config->virtio_mem_count; i++) {
		const struct virtio_mem_options *options = &config->virtio_mems[i];
		int ret = layout_add_device(&vm->layout, options->size_bytes, options->block_bytes,
					    vm->kvm.phys_bits, &vm->virtio_mem_gpas[i], err);

		if (ret)
			return samara_error_prefix(err, "virtio-mem %s", options->id);
	}
	return 0;
}

/*
 * A guest that has seen a device in a slot keeps what it made of it after the device is gone, so slots
 * that are new to it come first.
 */
static struct slot *find_slot(struct vm_virtio *virtio)
{
	struct slot *again = NULL;

	for (unsigned int i = 0; i < VIRTIO_SLOTS; i++) {
		struct slot *slot = &virtio->slots[i];

		if (!slot->device && !slot->known)
			return slot;
		if (!slot->device && !again)
			again = slot;
	}
	return again;
}

/* A free slot, with an interrupt, on no bus. */
static int take_slot(struct vm *vm, struct slot **slot, struct samara_error *err)
{
	*slot = find_slot(vm->devices.virtio);
	if (!*slot)
		return samara_error_set(err, -ENOSPC,
					"no free slots available: all %d of virtio devices are "
					"taken",
					VIRTIO_SLOTS);
	(*slot)->irq.eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if ((*slot)->irq.eventfd < 0)
		return samara_error_set(err, -errno, "eventfd for an interrupt: %s",
					strerror(errno));
	return 0;
}

static unsigned int index_of(const struct vm *vm, const struct slot *slot)
{
	return (unsigned int)(slot - vm->devices.virtio->slots);
}

static int attach(struct vm *vm, struct slot *slot, const char *name, struct samara_error *err)
{
	gpa_t gpa = slot_gpa(index_of(vm, slot));
	int ret;

	virtio_mmio_init(&slot->mmio, slot->device);
	ret = bus_attach(vm->devices.mmio, gpa, VIRTIO_MMIO_BYTES, name, &virtio_mmio_bus_ops,
			 &slot->mmio, err);
	slot->attached = !ret;
	return ret;
}

/* Empty a slot, of whatever there is in it. */
static void clear_slot(struct vm *vm, struct slot *slot)
{
	bool known = slot->known;

	if (slot->attached)
		bus_detach(vm->devices.mmio, slot_gpa(index_of(vm, slot)), NULL);
	balloon_destroy(slot->balloon);
	virtio_memory_destroy(slot->memory);
	if (slot->irq.eventfd >= 0)
		close(slot->irq.eventfd);
	*slot = (struct slot){.irq = {.eventfd = -1}, .known = known};
}

static int create_balloon(struct vm *vm, struct samara_error *err)
{
	struct balloon_config config = {
		.devices = vm->memory_devices,
		.options = &vm->config->balloon,
		.memory_bytes = vm->config->memory_bytes,
		.report = vm_warn,
	};
	struct slot *slot;
	int ret;

	if (!config.options->present)
		return 0;
	ret = take_slot(vm, &slot, err);
	if (ret)
		return ret;
	config.irq = slot->irq;
	ret = balloon_create(&config, &slot->balloon, err);
	if (ret)
		return ret;
	vm_set_balloon(vm, balloon_control(slot->balloon));
	slot->device = virtio_balloon_device(balloon_device(slot->balloon));
	return attach(vm, slot, "balloon", err);
}

/* The slot is left as far as it got; clear_slot() undoes that. */
static int create_mem(struct vm *vm, struct virtio_memory_config *config, struct slot **out,
		      struct samara_error *err)
{
	struct slot *slot;
	int ret = take_slot(vm, &slot, err);

	*out = slot;
	if (ret)
		return ret;
	config->devices = vm->memory_devices;
	config->irq = slot->irq;
	config->report = vm_warn;
	ret = virtio_memory_create(config, &slot->memory, err);
	if (ret)
		return ret;
	slot->hotplugged = config->hotplugged;
	slot->device = virtio_mem_device(virtio_memory_device(slot->memory));
	return attach(vm, slot, config->options->id ? config->options->id : "virtio-mem", err);
}

static int create_presence(struct vm *vm, struct samara_error *err)
{
	struct vm_virtio *virtio = vm->devices.virtio;

	virtio->irq.eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (virtio->irq.eventfd < 0)
		return samara_error_set(err, -errno, "eventfd for an interrupt: %s",
					strerror(errno));
	if (virtio_presence_create(virtio->irq, &virtio->presence))
		return samara_error_set(err, -ENOMEM, "virtio devices: out of memory");
	return bus_attach(vm->devices.pio, VIRTIO_SLOTS_PORT, VIRTIO_SLOTS, "virtio slots",
			  &virtio_presence_bus_ops, virtio->presence, err);
}

int vm_virtio_create(struct vm *vm, struct samara_error *err)
{
	struct vm_virtio *virtio = calloc(1, sizeof(*virtio));
	struct slot *slot;
	int ret;

	if (!virtio)
		return samara_error_set(err, -ENOMEM, "virtio devices: out of memory");
	vm->devices.virtio = virtio;
	for (unsigned int i = 0; i < VIRTIO_SLOTS; i++)
		virtio->slots[i].irq.eventfd = -1;
	ret = create_presence(vm, err);
	if (!ret)
		ret = create_balloon(vm, err);
	for (unsigned int i = 0; !ret && i < vm->config->virtio_mem_count; i++) {
		struct virtio_memory_config config = {
			.options = &vm->config->virtio_mems[i],
			.gpa = vm->virtio_mem_gpas[i],
		};

		ret = create_mem(vm, &config, &slot, err);
	}
	for (unsigned int i = 0; !ret && i < VIRTIO_SLOTS; i++) {
		virtio->slots[i].known = virtio->slots[i].device;
		virtio_presence_set(virtio->presence, i, virtio->slots[i].device);
	}
	return ret;
}

/* The ports are on a bus that goes with its owner, vm_devices_destroy(). */
void vm_virtio_destroy(struct vm *vm)
{
	struct vm_virtio *virtio = vm->devices.virtio;

	if (!virtio)
		return;
	virtio_presence_stop(virtio->presence);
	for (unsigned int i = 0; i < VIRTIO_SLOTS; i++)
		clear_slot(vm, &virtio->slots[i]);
	bus_detach(vm->devices.pio, VIRTIO_SLOTS_PORT, NULL);
	virtio_presence_destroy(virtio->presence);
	if (virtio->irq.eventfd >= 0)
		close(virtio->irq.eventfd);
	free(virtio);
	vm->devices.virtio = NULL;
}

/* An edge of the former life is not for the next one. */
static void drain(const struct irq *irq)
{
	eventfd_t count;

	eventfd_read(irq->eventfd, &count);
}

void vm_virtio_reset(struct vm *vm)
{
	struct vm_virtio *virtio = vm->devices.virtio;

	virtio_presence_reset(virtio->presence);
	drain(&virtio->irq);
	for (unsigned int i = 0; i < VIRTIO_SLOTS; i++) {
		struct slot *slot = &virtio->slots[i];

		slot->known = slot->device;
		if (!slot->device)
			continue;
		if (slot->memory)
			virtio_mem_reset(virtio_memory_device(slot->memory));
		else
			virtio_device_reset(slot->device);
		virtio_mmio_reset(&slot->mmio);
		drain(&slot->irq);
	}
}

static struct kvm_doorbell doorbell(unsigned int index)
{
	return (struct kvm_doorbell){
		.bus = KVM_DOORBELL_MMIO,
		.address = slot_gpa(index) + VIRTIO_MMIO_QUEUE_NOTIFY,
		.length_bytes = 4,
	};
}

static int connect(struct vm *vm, const struct slot *slot, struct samara_error *err)
{
	const struct kvm_doorbell notify = doorbell(index_of(vm, slot));
	unsigned int gsi = VIRTIO_SLOT_GSI + index_of(vm, slot);
	int ret = kvm_connect_irq(&vm->kvm, slot->irq.eventfd, gsi, err);

	if (ret)
		return ret;
	ret = kvm_connect_ioeventfd(&vm->kvm, virtio_device_kick_fd(slot->device), &notify, err);
	if (ret)
		kvm_disconnect_irq(&vm->kvm, slot->irq.eventfd, gsi);
	return ret;
}

static void disconnect(struct vm *vm, const struct slot *slot)
{
	const struct kvm_doorbell notify = doorbell(index_of(vm, slot));

	kvm_disconnect_ioeventfd(&vm->kvm, virtio_device_kick_fd(slot->device), &notify);
	kvm_disconnect_irq(&vm->kvm, slot->irq.eventfd, VIRTIO_SLOT_GSI + index_of(vm, slot));
}

int vm_virtio_connect(struct vm *vm, struct samara_error *err)
{
	const struct vm_virtio *virtio = vm->devices.virtio;
	int ret = kvm_connect_irq(&vm->kvm, virtio->irq.eventfd, VIRTIO_SLOTS_GSI, err);

	for (unsigned int i = 0; !ret && i < VIRTIO_SLOTS; i++)
		if (virtio->slots[i].device)
			ret = connect(vm, &virtio->slots[i], err);
	return ret;
}

void vm_virtio_pause(struct vm *vm)
{
	for (unsigned int i = 0; i < VIRTIO_SLOTS; i++)
		if (vm->devices.virtio->slots[i].device)
			virtio_device_pause(vm->devices.virtio->slots[i].device);
}

void vm_virtio_resume(struct vm *vm)
{
	for (unsigned int i = 0; i < VIRTIO_SLOTS; i++)
		if (vm->devices.virtio->slots[i].device)
			virtio_device_resume(vm->devices.virtio->slots[i].device);
}

/* Under @control: a device_del that came before the end may still be at its work. */
void vm_virtio_stop(struct vm *vm)
{
	pthread_mutex_lock(&vm->control);
	virtio_presence_stop(vm->devices.virtio->presence);
	vm_virtio_pause(vm);
	pthread_mutex_unlock(&vm->control);
}

/* ---- While it runs --------------------------------------------------------------------------- */

static int add_mem(struct vm *vm, const struct virtio_mem_options *options, const char *memdev,
		   gpa_t gpa, struct samara_error *err)
{
	struct virtio_memory_config config = {
		.options = options,
		.memdev = memdev,
		.gpa = gpa,
		.hotplugged = true,
	};
	struct slot *slot;
	int ret = create_mem(vm, &config, &slot, err);

	if (!ret && vm->paused)
		virtio_device_pause(slot->device);
	if (!ret)
		ret = connect(vm, slot, err);
	if (!ret) {
		ret = virtio_presence_change(vm->devices.virtio->presence, index_of(vm, slot),
					     true);
		if (ret) {
			samara_error_set(err, ret, "no thread to tell the guest: %s",
					 strerror(-ret));
			disconnect(vm, slot);
		}
	}
	if (!ret)
		slot->known = true;
	else if (slot)
		clear_slot(vm, slot);
	return ret;
}

int vm_add_virtio_mem(struct vm *vm, const struct virtio_mem_options *options, const char *memdev,
		      gpa_t gpa, struct samara_error *err)
{
	int ret;

	pthread_mutex_lock(&vm->control);
	ret = vm_check_alive(vm, err);
	if (!ret)
		ret = add_mem(vm, options, memdev, gpa, err);
	pthread_mutex_unlock(&vm->control);
	return ret;
}

static struct slot *find_mem(struct vm_virtio *virtio, const char *id)
{
	for (unsigned int i = 0; i < VIRTIO_SLOTS; i++) {
		struct slot *slot = &virtio->slots[i];

		if (slot->memory && slot->hotplugged && virtio_memory_is(slot->memory, id))
			return slot;
	}
	return NULL;
}

/*
 * From here on the guest finds nothing in the slot. A driver that took the device a moment ago finds
 * that its registers read as nothing.
 */
static void remove_mem(struct vm *vm, struct slot *slot)
{
	struct vm_virtio *virtio = vm->devices.virtio;

	virtio_presence_change(virtio->presence, index_of(vm, slot), false);
	disconnect(vm, slot);
	bus_detach(vm->devices.mmio, slot_gpa(index_of(vm, slot)), NULL);
	slot->attached = false;
	virtio_memory_delete(slot->memory);
	slot->memory = NULL;
	clear_slot(vm, slot);
}

/* @control held. */
static int find_and_remove(struct vm *vm, const char *id, struct samara_error *err)
{
	struct slot *slot = find_mem(vm->devices.virtio, id);
	int ret;

	if (!slot)
		return -ENOENT;
	ret = vm_check_alive(vm, err);
	if (!ret)
		ret = virtio_memory_begin_unplug(slot->memory, err);
	if (!ret)
		remove_mem(vm, slot);
	return ret;
}

int vm_remove_virtio_mem(struct vm *vm, const char *id, struct samara_error *err)
{
	int ret;

	pthread_mutex_lock(&vm->control);
	ret = find_and_remove(vm, id, err);
	pthread_mutex_unlock(&vm->control);
	return ret;
}

/* ---- Questions --------------------------------------------------------------------------------- */

struct virtio_balloon *vm_virtio_balloon(struct vm *vm)
{
	const struct vm_virtio *virtio = vm->devices.virtio;
	struct virtio_balloon *found = NULL;

	pthread_mutex_lock(&vm->control);
	for (unsigned int i = 0; !found && i < VIRTIO_SLOTS; i++)
		if (virtio->slots[i].balloon)
			found = balloon_device(virtio->slots[i].balloon);
	pthread_mutex_unlock(&vm->control);
	return found;
}

struct virtio_mem *vm_virtio_mem(struct vm *vm)
{
	const struct vm_virtio *virtio = vm->devices.virtio;
	struct virtio_mem *found = NULL;

	pthread_mutex_lock(&vm->control);
	for (unsigned int i = 0; !found && i < VIRTIO_SLOTS; i++)
		if (virtio->slots[i].memory)
			found = virtio_memory_device(virtio->slots[i].memory);
	pthread_mutex_unlock(&vm->control);
	return found;
}
