/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_STRESS_LAYOUT_H
#define VMM_STRESS_LAYOUT_H

#include <stdint.h>

#include <samara/error.h>
#include <samara/types.h>

#include "guest/stress_abi.h"

/*
 * Where things are in the stress VM: a boot window at 0 that stays as it is, and from 4 GiB on a
 * window in which memory comes and goes.
 */
#define STRESS_GDT_GPA         UINT64_C(0x1000)
#define STRESS_IMAGE_GPA       UINT64_C(0x100000) /* guest/stress.ld */
#define STRESS_CONTROL_GPA     UINT64_C(0x200000)
#define STRESS_STACK_BYTES     UINT64_C(0x4000)
#define STRESS_WINDOW_GPA      UINT64_C(0x100000000)

/* Pages mapped by the guest's own page tables, and the alignment of everything in the window. */
#define STRESS_LARGE_BYTES     UINT64_C(0x200000)

/* Of each vCPU: large enough that a pass takes a while, small enough that there are many. */
#define STRESS_OWN_BYTES       UINT64_C(0x80000)

/* What device DMA goes to. */
#define STRESS_DEVICE_BYTES    UINT64_C(0x100000)

/* What devices give and take: virtio-mem's blocks, the balloon's memory, DIMMs' places. */
#define STRESS_MEM_BLOCK_BYTES UINT64_C(0x200000)
#define STRESS_MEM_BLOCKS      32u
#define STRESS_BALLOON_PAGES   512u
#define STRESS_DIMM_SLOTS      4u
#define STRESS_DIMM_UNIT_BYTES UINT64_C(0x200000)
#define STRESS_DIMM_UNITS      4u /* of a DIMM, at most */

/* Places side by side, so that the regions of neighbouring slots meet. */
#define STRESS_GROUP           2u

/**
 * struct stress_layout - the map, all in bytes and gpa; ranges do not overlap
 * @boot_bytes: length of the boot window
 * @window_bytes: length of the window at STRESS_WINDOW_GPA
 * @own_gpa: regions of the vCPUs, one after another at STRESS_LARGE_BYTES
 * @live_gpa, @device_gpa: places among which a range moves; one is in use
 * @mem_gpa, @balloon_gpa, @dimm_gpa: of virtio-mem, of the memory that the balloon takes, of DIMMs
 * @stranger_gpa: the same for each worker of long operations
 * @places: twice as many as slots, in groups of @group that are adjacent, with a hole between
 * @void_gpa: STRESS_LARGE_BYTES where nothing is ever plugged
 */
struct stress_layout {
	uint64_t boot_bytes, window_bytes;
	gpa_t stacks_gpa, tables_gpa;
	gpa_t own_gpa, shared_gpa, protect_gpa, void_gpa;
	gpa_t live_gpa[STRESS_LIVE_PLACES], device_gpa[STRESS_LIVE_PLACES];
	gpa_t mem_gpa, balloon_gpa, dimm_gpa;
	gpa_t stranger_gpa;
	uint64_t stranger_bytes;
	unsigned int strangers;
	gpa_t places_gpa;
	uint64_t slot_bytes, group_bytes;
	unsigned int places, group;
};

/**
 * stress_layout_init() - place everything, places in groups of STRESS_GROUP
 * @slot_bytes: a multiple of the page size
 * @stranger_bytes: what a long operation changes; a multiple of the page size
 * @strangers: workers of long operations
 *
 * Return: 0, -EINVAL (names the option), -ERANGE (too large for the page tables).
 */
int stress_layout_init(struct stress_layout *layout, unsigned int cpus, unsigned int slots,
		       uint64_t slot_bytes, uint64_t stranger_bytes, unsigned int strangers,
		       struct samara_error *err);

/**
 * stress_layout_group() - change how many places are adjacent, right after stress_layout_init()
 * @group: 1 to all of them
 *
 * Return: 0, -ERANGE (with the holes between, it is too large for the page tables).
 */
int stress_layout_group(struct stress_layout *layout, unsigned int group, struct samara_error *err);

/* gpa of a place for a slot, and of one of a stranger's two. */
gpa_t stress_place_gpa(const struct stress_layout *layout, unsigned int place);
gpa_t stress_stranger_gpa(const struct stress_layout *layout, unsigned int stranger,
			  unsigned int which);

/* What is at a gpa: "a slot", "memory that moves", ... */
const char *stress_layout_place_name(const struct stress_layout *layout, gpa_t gpa);

/* Bytes of page tables that stress_tables_write() fills. */
uint64_t stress_tables_bytes(const struct stress_layout *layout);

/**
 * stress_tables_write() - identity-map both windows and the registers of virtio devices with large
 * pages (Intel SDM volume 3, 4.5)
 * @tables: stress_tables_bytes() of zeros that are the guest's memory at @layout->tables_gpa
 */
void stress_tables_write(const struct stress_layout *layout, uint64_t *tables);

#endif
