/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_STRESS_BOARD_H
#define VMM_STRESS_BOARD_H

#include <stdbool.h>
#include <linux/kvm.h>

#include <samara/error.h>

#include "devices/bus.h"
#include "devices/virtio_mmio.h"
#include "vmm/balloon.h"
#include "vmm/config.h"
#include "vmm/dimm.h"
#include "vmm/kvm.h"
#include "vmm/layout.h"
#include "vmm/memory_devices.h"
#include "vmm/stress_layout.h"
#include "vmm/virtio_memory.h"

/**
 * struct stress_board_config - what the board is for
 * @with_*: which devices it has
 * @notify: hears of what the guest does with them
 */
struct stress_board_config {
	struct guest_mm *mm;
	const struct stress_layout *layout;
	enum guest_mm_backing backing;
	bool with_mem, with_balloon, with_dimms;
	vm_event_fn *notify;
	void *arg;
};

/**
 * struct stress_board - the memory devices of the stress VM, as `samara run` has them: the same
 * objects at the same addresses, but for interrupts, which its guest does not take
 *
 * Immutable after stress_board_create().
 */
struct stress_board {
	struct bus *mmio, *pio;
	struct qom *qom;
	struct layout layout; /* of the DIMMs alone */
	struct memory_devices *memory;
	struct balloon_options balloon_options;
	struct balloon *balloon;
	struct virtio_mem_options mem_options;
	struct virtio_memory *mem;
	struct dimms *dimms;
	struct virtio_mmio mem_registers, balloon_registers;
};

/* The slots of vmm/virtio_slots.h that they are in. */
#define STRESS_BOARD_MEM_SLOT     0u
#define STRESS_BOARD_BALLOON_SLOT 1u

#define STRESS_BOARD_MEM_PATH     "/machine/peripheral/mem0"

/**
 * stress_board_create() - make the devices
 * @board: all zero
 * @kvm: has its VM; the queues' doorbells are connected to it; NULL: they come as exits, too
 *
 * Return: 0, -errno; then stress_board_destroy() is called as well.
 */
int stress_board_create(struct stress_board *board, const struct stress_board_config *config,
			struct kvm *kvm, struct samara_error *err);

/* Context: no vCPU runs. What is plugged stays. */
void stress_board_destroy(struct stress_board *board);

/**
 * stress_board_exit() - carry out a vCPU's access to a device
 *
 * Context: vCPU threads.
 * Return: whether it was one.
 */
bool stress_board_exit(struct stress_board *board, struct kvm_run *run);

#endif
