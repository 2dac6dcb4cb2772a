/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/stress_board.h"

#include <string.h>
#include <linux/virtio_mmio.h>

#include "devices/memory_hotplug_registers.h"
#include "vmm/virtio_slots.h"

/* Nobody is told of an interrupt: the guest polls. */
static const struct irq no_irq = {.eventfd = -1};

static gpa_t slot_gpa(unsigned int slot)
{
	return VIRTIO_SLOT_GPA + (gpa_t)slot * VIRTIO_SLOT_BYTES;
}

/* Put a device's registers into a slot, with the doorbell that KVM rings by itself. */
static int attach(struct stress_board *board, struct kvm *kvm, struct virtio_mmio *registers,
		  struct virtio_device *device, unsigned int slot, const char *name,
		  struct samara_error *err)
{
	const struct kvm_doorbell notify = {
		.bus = KVM_DOORBELL_MMIO,
		.address = slot_gpa(slot) + VIRTIO_MMIO_QUEUE_NOTIFY,
		.length_bytes = 4,
	};
	int ret;

	virtio_mmio_init(registers, device);
	ret = bus_attach(board->mmio, slot_gpa(slot), VIRTIO_MMIO_BYTES, name, &virtio_mmio_bus_ops,
			 registers, err);
	if (!ret && kvm)
		ret = kvm_connect_ioeventfd(kvm, virtio_device_kick_fd(device), &notify, err);
	return ret;
}

static int create_mem(struct stress_board *board, const struct stress_board_config *config,
		      struct kvm *kvm, struct samara_error *err)
{
	struct virtio_memory_config mem = {
		.devices = board->memory,
		.options = &board->mem_options,
		.gpa = config->layout->mem_gpa,
		.irq = no_irq,
	};
	int ret;

	board->mem_options = (struct virtio_mem_options){
		.id = "mem0",
		.size_bytes = STRESS_MEM_BLOCKS * STRESS_MEM_BLOCK_BYTES,
		.block_bytes = STRESS_MEM_BLOCK_BYTES,
		.node = VIRTIO_MEM_NO_NODE,
	};
	ret = virtio_memory_create(&mem, &board->mem, err);
	return ret ? ret
		   : attach(board, kvm, &board->mem_registers,
			    virtio_mem_device(virtio_memory_device(board->mem)),
			    STRESS_BOARD_MEM_SLOT, "mem0", err);
}

static int create_balloon(struct stress_board *board, const struct stress_board_config *config,
			  struct kvm *kvm, struct samara_error *err)
{
	struct balloon_config balloon = {
		.devices = board->memory,
		.options = &board->balloon_options,
		.memory_bytes = STRESS_BALLOON_PAGES * SAMARA_PAGE_BYTES,
		.irq = no_irq,
	};
	int ret;

	board->balloon_options.present = true;
	/* What it takes is there from the start, and stays. */
	ret = guest_mm_plug(config->mm, config->layout->balloon_gpa, balloon.memory_bytes,
			    GUEST_MM_RDWR, err);
	if (!ret)
		ret = balloon_create(&balloon, &board->balloon, err);
	return ret ? ret
		   : attach(board, kvm, &board->balloon_registers,
			    virtio_balloon_device(balloon_device(board->balloon)),
			    STRESS_BOARD_BALLOON_SLOT, "balloon", err);
}

static int create_dimms(struct stress_board *board, struct samara_error *err)
{
	int ret = dimms_create(board->memory, STRESS_DIMM_SLOTS, no_irq, &board->dimms, err);

	return ret ? ret
		   : bus_attach(board->pio, MEMORY_HOTPLUG_PORT, MEMORY_HOTPLUG_BYTES,
				"memory hotplug", &memory_hotplug_bus_ops,
				dimms_registers(board->dimms), err);
}

static int create_frame(struct stress_board *board, const struct stress_board_config *config,
			struct samara_error *err)
{
	struct memory_devices_config memory = {
		.mm = config->mm,
		.layout = &board->layout,
		.backing = config->backing,
		.max_bytes = STRESS_DIMM_SLOTS * STRESS_DIMM_UNITS * STRESS_DIMM_UNIT_BYTES,
		.nodes = 1,
		.notify = config->notify,
		.arg = config->arg,
	};
	int ret = bus_create("MMIO", &board->mmio);

	if (!ret)
		ret = bus_create("port I/O", &board->pio);
	if (!ret)
		ret = qom_create(&board->qom);
	if (ret)
		return samara_error_set(err, ret, "memory devices: %s", strerror(-ret));
	board->layout.hotplug_gpa = config->layout->dimm_gpa;
	board->layout.hotplug_bytes = memory.max_bytes;
	memory.qom = board->qom;
	return memory_devices_create(&memory, &board->memory, err);
}

int stress_board_create(struct stress_board *board, const struct stress_board_config *config,
			struct kvm *kvm, struct samara_error *err)
{
	int ret = create_frame(board, config, err);

	if (!ret && config->with_mem)
		ret = create_mem(board, config, kvm, err);
	if (!ret && config->with_balloon)
		ret = create_balloon(board, config, kvm, err);
	if (!ret && config->with_dimms)
		ret = create_dimms(board, err);
	return ret;
}

void stress_board_destroy(struct stress_board *board)
{
	if (board->mem_registers.device)
		bus_detach(board->mmio, slot_gpa(STRESS_BOARD_MEM_SLOT), NULL);
	if (board->balloon_registers.device)
		bus_detach(board->mmio, slot_gpa(STRESS_BOARD_BALLOON_SLOT), NULL);
	if (board->dimms)
		bus_detach(board->pio, MEMORY_HOTPLUG_PORT, NULL);
	dimms_stop(board->dimms);
	balloon_destroy(board->balloon);
	virtio_memory_destroy(board->mem);
	memory_devices_destroy(board->memory);
	dimms_destroy(board->dimms);
	if (board->qom)
		qom_destroy(board->qom);
	if (board->mmio)
		bus_destroy(board->mmio);
	if (board->pio)
		bus_destroy(board->pio);
}

bool stress_board_exit(struct stress_board *board, struct kvm_run *run)
{
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	gpa_t gpa = run->mmio.phys_addr;

	if (run->exit_reason == KVM_EXIT_IO) {
		if (run->io.port - MEMORY_HOTPLUG_PORT >= MEMORY_HOTPLUG_BYTES || !board->pio)
			return false;
		if (run->io.direction == KVM_EXIT_IO_OUT)
			bus_write(board->pio, run->io.port, data, run->io.size);
		else
			bus_read(board->pio, run->io.port, data, run->io.size);
		return true;
	}
	if (run->exit_reason != KVM_EXIT_MMIO || !board->mmio ||
	    gpa - VIRTIO_SLOT_GPA >= VIRTIO_SLOTS * VIRTIO_SLOT_BYTES)
		return false;
	if (run->mmio.is_write)
		bus_write(board->mmio, gpa, run->mmio.data, run->mmio.len);
	else
		bus_read(board->mmio, gpa, run->mmio.data, run->mmio.len);
	return true;
}
