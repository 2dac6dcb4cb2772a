/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * LOCK=region: a lock per region that readers take without writing anything that is shared.
 *
 * A reader publishes the region it wants in a slot of its own thread, and then looks whether a
 * writer has marked it. A writer marks the region, and then looks whether a slot names it. It is
 * Dekker's pattern: with sequentially consistent stores and loads on both sides at least one of
 * the two sees the other. The reader gives way; the writer waits.
 *
 *   reader                                  writer (holds the tree lock)
 *   R1  slot = region       (seq_cst)       W1  region->lock_seq = tree->seq   (seq_cst)
 *   R2  region->lock_seq == tree->seq?      W2  any slot == region? wait       (seq_cst)
 *       yes: slot = NULL, fall back         W3  change; detached = 1 if it was taken out
 *   R3  region->detached?                   W4  tree->seq + 1   (release: unlocks all at once)
 *       yes: slot = NULL, fall back
 *
 * The reader may compare an old lock_seq with a new seq and so pass R2 after W4: then R3, which is
 * read later, shows whether the region was taken out between. Sequence numbers have 64 bits and
 * are never used twice.
 *
 * R1 to R3 run in one RCU read-side section, so the region's memory is what it was looked up as.
 * On x86 R1 is one xchg on a line that no other reader touches; the loads are plain ones.
 *
 * A thread whose slots are all in use (THREAD_SLOTS) holds further regions by a counted pin in the
 * region itself, with the same checks.
 *
 * Progress: a reader never loops; a writer waits for the readers that were in when it marked, and
 * for at most one glimpse of each later one. A futex wake-up by readers would have to be ordered
 * after their plain store, and cost them a fence: the writer sleeps for a while and looks again.
 *
 * Source: Linux, include/linux/mmap_lock.h and mm/mmap_lock.c for the sequence numbers and the bulk
 * unlock; hazard pointers (M. Michael, IEEE TPDS 15(6), 2004) for the published slot.
 */
#include <time.h>

#include "mm/cpu_relax.h"
#include "mm/debug.h"
#include "mm/lock.h"
#include "mm/region.h"

const char lock_design[] = "region";

static struct region **free_slot(struct thread_state *self)
{
	for (unsigned int i = 0; i < THREAD_SLOTS; i++)
		if (!__atomic_load_n(&self->slots[i], __ATOMIC_RELAXED))
			return &self->slots[i];
	return NULL;
}

static void let_go(struct region *region, struct region **slot)
{
	if (slot)
		__atomic_store_n(slot, NULL, __ATOMIC_RELEASE);
	else
		__atomic_fetch_sub(&region->pins, 1, __ATOMIC_RELEASE);
}

struct region *region_try_read_lock(struct region_tree *tree, uint64_t address,
				    struct region_guard *guard, bool *busy)
{
	struct thread_state *self = thread_state_get();
	struct region **slot = self ? free_slot(self) : NULL;
	struct region *region;

	*busy = false;
	samara_rcu_read_lock();
	region = region_find(tree, address);
	if (!region) {
		samara_rcu_read_unlock();
		if (self)
			thread_count(&self->counters[tree->id].miss);
		return NULL;
	}
	if (slot)
		(void)__atomic_exchange_n(slot, region, __ATOMIC_SEQ_CST);
	else
		__atomic_fetch_add(&region->pins, 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&region->lock_seq, __ATOMIC_SEQ_CST) ==
		    __atomic_load_n(&tree->seq, __ATOMIC_SEQ_CST) ||
	    __atomic_load_n(&region->detached, __ATOMIC_SEQ_CST)) {
		let_go(region, slot);
		samara_rcu_read_unlock();
		if (self)
			thread_count(&self->counters[tree->id].abort);
		*busy = true;
		return NULL;
	}
	samara_rcu_read_unlock();
	if (self)
		thread_count(&self->counters[tree->id].success);
	thread_holds.count++;
	guard->tree = tree;
	guard->region = region;
	guard->slot = slot;
	return region;
}

void region_read_unlock(struct region_guard *guard)
{
	let_go(guard->region, guard->slot);
	thread_holds.count--;
}

void lock_tree_read(struct region_tree *tree)
{
	SAMARA_ASSERT(lock_thread_holds() == 0);
	phase_read_lock(&tree->lock);
}

void unlock_tree_read(struct region_tree *tree)
{
	phase_read_unlock(&tree->lock);
}

void lock_tree_write(struct region_tree *tree)
{
	SAMARA_ASSERT(lock_thread_holds() == 0);
	phase_write_lock(&tree->lock);
	SAMARA_ASSERT(!tree->marked);
}

void unlock_tree_write(struct region_tree *tree)
{
	tree->marked = NULL;
	region_free_retired(tree);
	__atomic_store_n(&tree->seq, tree->seq + 1, __ATOMIC_SEQ_CST);
	phase_write_unlock(&tree->lock);
}

void region_start_write(struct region *region)
{
	struct region_tree *tree = region->tree;

	if (region->lock_seq == tree->seq)
		return;
	__atomic_store_n(&region->lock_seq, tree->seq, __ATOMIC_SEQ_CST);
	region->next_marked = tree->marked;
	tree->marked = region;
}

void region_start_marked(struct region *region)
{
	__atomic_store_n(&region->lock_seq, region->tree->seq, __ATOMIC_SEQ_CST);
}

/* Whether a slot's content is among the marked ones. It is compared, never looked into: a reader
 * that gave way may have been the last to know a region that is freed by now. */
static bool is_marked(const struct region_tree *tree, const struct region *named)
{
	for (struct region *region = tree->marked; region; region = region->next_marked)
		if (region == named)
			return true;
	return false;
}

static void wait_a_little(unsigned int round)
{
	struct timespec pause = {.tv_nsec = round < 160 ? 20000 : 500000};

	if (round < 128)
		cpu_relax();
	else
		clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
}

void region_drain(struct region_tree *tree)
{
	struct thread_state *state;
	struct region *region;

	for (state = thread_state_first(); state; state = state->next) {
		for (unsigned int i = 0; i < THREAD_SLOTS; i++) {
			struct region **slot = &state->slots[i];

			region = __atomic_load_n(slot, __ATOMIC_SEQ_CST);
			if (!region || !is_marked(tree, region))
				continue;
			for (unsigned int round = 0;
			     __atomic_load_n(slot, __ATOMIC_ACQUIRE) == region; round++)
				wait_a_little(round);
		}
	}
	for (region = tree->marked; region; region = region->next_marked)
		for (unsigned int round = 0; __atomic_load_n(&region->pins, __ATOMIC_SEQ_CST);
		     round++)
			wait_a_little(round);
}

static bool has_readers(const struct region *region)
{
	struct thread_state *state;

	for (state = thread_state_first(); state; state = state->next)
		for (unsigned int i = 0; i < THREAD_SLOTS; i++)
			if (__atomic_load_n(&state->slots[i], __ATOMIC_SEQ_CST) == region)
				return true;
	return __atomic_load_n(&region->pins, __ATOMIC_SEQ_CST) != 0;
}

bool region_try_start_write(struct region *region)
{
	struct region_tree *tree = region->tree;

	if (region->lock_seq == tree->seq)
		return true;
	__atomic_store_n(&region->lock_seq, tree->seq, __ATOMIC_SEQ_CST);
	if (has_readers(region)) {
		/* Unmark: readers that gave way meanwhile wait for the tree lock, as they may. */
		__atomic_store_n(&region->lock_seq, 0, __ATOMIC_SEQ_CST);
		return false;
	}
	region->next_marked = tree->marked;
	tree->marked = region;
	return true;
}

unsigned int lock_thread_holds(void)
{
	return thread_holds.count;
}
