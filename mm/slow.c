/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who holds an operation up. The operation itself sleeps in the lock design, so somebody else looks:
 * the retry thread, now and then, and only if a report is wanted. It reads the slots in which holders
 * are published, as the operation does.
 */
#include <time.h>

#include "mm/operation.h"
#include "mm/slow.h"

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

void slow_begin(struct slow *slow, const struct range *range)
{
	if (!slow->report)
		return;
	__atomic_store_n(&slow->operation, range->operation, __ATOMIC_RELAXED);
	__atomic_store_n(&slow->gpa, range->gpa, __ATOMIC_RELAXED);
	__atomic_store_n(&slow->size_bytes, range->size_bytes, __ATOMIC_RELAXED);
	__atomic_store_n(&slow->since_ns, now_ns(), __ATOMIC_RELEASE);
}

void slow_end(struct slow *slow)
{
	if (slow->report)
		__atomic_store_n(&slow->since_ns, 0, __ATOMIC_SEQ_CST);
}

/* Add what a slot shows, if it is in the operation's way. */
static void add_holder(struct guest_mm_slow_operation *found, const struct region_tree *tree,
		       const struct region_slot *slot, int thread)
{
	gpa_t first, last;

	if (!__atomic_load_n(&slot->region, __ATOMIC_ACQUIRE) ||
	    __atomic_load_n(&slot->tree, __ATOMIC_ACQUIRE) != tree)
		return;
	first = __atomic_load_n(&slot->first, __ATOMIC_ACQUIRE);
	last = __atomic_load_n(&slot->last, __ATOMIC_ACQUIRE);
	if (last < found->gpa || first > found->gpa + (found->size_bytes - 1))
		return;
	if (found->holders < GUEST_MM_SLOW_HOLDERS)
		found->holder[found->holders] = (struct guest_mm_holder){
			.thread = thread, .gpa = first, .size_bytes = last - first + 1};
	found->holders++;
}

static void find_holders(struct guest_mm_slow_operation *found, const struct region_tree *tree)
{
	for (struct thread_state *state = thread_state_first(); state; state = state->next) {
		int thread = __atomic_load_n(&state->thread, __ATOMIC_RELAXED);

		for (struct slot_block *block = &state->slots; block;
		     block = __atomic_load_n(&block->next, __ATOMIC_ACQUIRE))
			for (unsigned int i = 0; i < THREAD_SLOTS; i++)
				add_holder(found, tree, &block->slot[i], thread);
	}
}

uint64_t slow_watch(struct guest_mm *mm)
{
	struct slow *slow = &mm->slow;
	struct guest_mm_slow_operation found = {0};
	uint64_t since;

	if (!slow->report)
		return UINT64_MAX;
	since = __atomic_load_n(&slow->since_ns, __ATOMIC_ACQUIRE);
	if (!since || now_ns() - since < slow->period_ns)
		return slow->period_ns;
	found.operation = __atomic_load_n(&slow->operation, __ATOMIC_ACQUIRE);
	found.gpa = __atomic_load_n(&slow->gpa, __ATOMIC_ACQUIRE);
	found.size_bytes = __atomic_load_n(&slow->size_bytes, __ATOMIC_ACQUIRE);
	found.waited_ms = (now_ns() - since) / 1000000;
	find_holders(&found, mm->tree);
	if (__atomic_load_n(&slow->since_ns, __ATOMIC_SEQ_CST) == since)
		slow->report(&found, slow->arg);
	return slow->period_ns;
}
