/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The machine's virtio devices: each in a slot of its own, a virtio-mmio register block with an
 * interrupt line (vmm/virtio_slots.h), which the DSDT finds by itself (vmm/virtio.asl).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <linux/virtio_mmio.h>

#include "devices/virtio_mmio.h"
#include "vmm/balloon.h"
#include "vmm/virtio_memory.h"
#include "vmm/virtio_slots.h"
#include "vmm/vm_internal.h"

/**
 * struct slot - a device at its place
 *
 * Immutable after vm_virtio_create(). Exactly one of @balloon and @memory is there.
 */
struct slot {
	struct irq irq;
	struct balloon *balloon;
	struct virtio_memory *memory;
	struct virtio_device *device; /* theirs */
	struct virtio_mmio mmio;
	bool attached; /* to the bus */
};

/* struct vm_virtio - all of them; immutable after vm_virtio_create() */
struct vm_virtio {
	struct slot slots[VIRTIO_SLOTS];
	unsigned int count;
};

static gpa_t slot_gpa(unsigned int index)
{
	return VIRTIO_SLOT_GPA + (gpa_t)index * VIRTIO_SLOT_BYTES;
}

static void report(void *arg, const char *line)
{
	(void)arg;
	fprintf(stderr, "samara: warning: %s\n", line);
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

/* The next slot, with an interrupt, on no bus. There are enough: vm_virtio_place() looked. */
static int take_slot(struct vm *vm, struct slot **slot, struct samara_error *err)
{
	struct vm_virtio *virtio = vm->devices.virtio;

	*slot = &virtio->slots[virtio->count];
	(*slot)->irq.eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if ((*slot)->irq.eventfd < 0)
		return samara_error_set(err, -errno, "eventfd for an interrupt: %s",
					strerror(errno));
	virtio->count++;
	return 0;
}

static int attach(struct vm *vm, struct slot *slot, const char *name, struct samara_error *err)
{
	gpa_t gpa = slot_gpa(slot - vm->devices.virtio->slots);
	int ret;

	virtio_mmio_init(&slot->mmio, slot->device);
	ret = bus_attach(vm->devices.mmio, gpa, VIRTIO_MMIO_BYTES, name, &virtio_mmio_bus_ops,
			 &slot->mmio, err);
	slot->attached = !ret;
	return ret;
}

static int create_balloon(struct vm *vm, struct samara_error *err)
{
	struct balloon_config config = {
		.devices = vm->memory_devices,
		.options = &vm->config->balloon,
		.memory_bytes = vm->config->memory_bytes,
		.report = report,
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

static int create_mem(struct vm *vm, unsigned int index, struct samara_error *err)
{
	struct virtio_memory_config config = {
		.devices = vm->memory_devices,
		.options = &vm->config->virtio_mems[index],
		.gpa = vm->virtio_mem_gpas[index],
		.report = report,
	};
	struct slot *slot;
	int ret = take_slot(vm, &slot, err);

	if (ret)
		return ret;
	config.irq = slot->irq;
	ret = virtio_memory_create(&config, &slot->memory, err);
	if (ret)
		return ret;
	slot->device = virtio_mem_device(virtio_memory_device(slot->memory));
	return attach(vm, slot, config.options->id, err);
}

int vm_virtio_create(struct vm *vm, struct samara_error *err)
{
	int ret;

	vm->devices.virtio = calloc(1, sizeof(*vm->devices.virtio));
	if (!vm->devices.virtio)
		return samara_error_set(err, -ENOMEM, "virtio devices: out of memory");
	ret = create_balloon(vm, err);
	for (unsigned int i = 0; !ret && i < vm->config->virtio_mem_count; i++)
		ret = create_mem(vm, i, err);
	return ret;
}

void vm_virtio_destroy(struct vm *vm)
{
	struct vm_virtio *virtio = vm->devices.virtio;

	for (unsigned int i = 0; virtio && i < virtio->count; i++) {
		struct slot *slot = &virtio->slots[i];

		if (slot->attached)
			bus_detach(vm->devices.mmio, slot_gpa(i), NULL);
		balloon_destroy(slot->balloon);
		virtio_memory_destroy(slot->memory);
		close(slot->irq.eventfd);
	}
	free(virtio);
	vm->devices.virtio = NULL;
}

int vm_virtio_reset(struct vm *vm, struct samara_error *err)
{
	struct vm_virtio *virtio = vm->devices.virtio;
	eventfd_t count;

	for (unsigned int i = 0; i < virtio->count; i++) {
		struct slot *slot = &virtio->slots[i];
		int ret = 0;

		if (slot->memory)
			ret = virtio_mem_reset(virtio_memory_device(slot->memory), err);
		else
			virtio_device_reset(slot->device);
		if (ret)
			return ret;
		virtio_mmio_reset(&slot->mmio);
		/* An edge of the former life is not for the next one. */
		eventfd_read(slot->irq.eventfd, &count);
	}
	return 0;
}

int vm_virtio_connect(struct vm *vm, struct samara_error *err)
{
	const struct vm_virtio *virtio = vm->devices.virtio;
	int ret = 0;

	for (unsigned int i = 0; !ret && i < virtio->count; i++) {
		const struct slot *slot = &virtio->slots[i];
		const struct kvm_doorbell notify = {
			.bus = KVM_DOORBELL_MMIO,
			.address = slot_gpa(i) + VIRTIO_MMIO_QUEUE_NOTIFY,
			.length_bytes = 4,
		};

		ret = kvm_connect_irq(&vm->kvm, slot->irq.eventfd, VIRTIO_SLOT_GSI + i, err);
		if (!ret)
			ret = kvm_connect_ioeventfd(&vm->kvm, virtio_device_kick_fd(slot->device),
						    &notify, err);
	}
	return ret;
}

void vm_virtio_pause(struct vm *vm)
{
	for (unsigned int i = 0; i < vm->devices.virtio->count; i++)
		virtio_device_pause(vm->devices.virtio->slots[i].device);
}

void vm_virtio_resume(struct vm *vm)
{
	for (unsigned int i = 0; i < vm->devices.virtio->count; i++)
		virtio_device_resume(vm->devices.virtio->slots[i].device);
}
