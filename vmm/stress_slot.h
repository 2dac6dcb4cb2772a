/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_STRESS_SLOT_H
#define VMM_STRESS_SLOT_H

#include "vmm/stress_state.h"

/*
 * Slots: ranges that the host plugs, moves, protects and unplugs (vmm/stress_slot_op.c), and hands
 * to the guest in between (vmm/stress_slot.c). Each visit of a vCPU first checks what must be there
 * and then writes a new pattern, so an error of the memory manager shows at the next visit at the
 * latest. Context of all: the slot's lock is held.
 */

gpa_t stress_slot_gpa(const struct stress *s, const struct stress_host_slot *slot);

/* A free place at random; there are always as many as slots. And free it again. */
unsigned int stress_take_place(struct stress_worker *w);
void stress_release_place(struct stress *s, unsigned int place);

/*
 * Words for the next write, spread over the slot, with offsets that reach each word in time; those
 * of the last write as far as the slot has them, to be found as 0.
 */
struct stress_area stress_slot_write_area(struct stress_worker *w, struct stress_host_slot *slot);
struct stress_area stress_slot_zeros(const struct stress_host_slot *slot);

/* Hand it to the guest, to check and, if @write is not NULL, to write. */
void stress_slot_offer(struct stress_worker *w, struct stress_host_slot *slot, uint32_t flags,
		       const struct stress_area *expect, const struct stress_area *write);

/**
 * stress_slot_take() - lock a slot that the guest does not have, the planned one or one after it
 *
 * Return: NULL when there is none; @step says whether there are some that the plan does not suit.
 */
struct stress_host_slot *stress_slot_take(struct stress_worker *w, const struct stress_plan *plan,
					  enum stress_step *step);

/* Read what it holds, as a device would. */
void stress_slot_check(struct stress_worker *w, const struct stress_host_slot *slot);

#endif
