/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * LOCK=region: a lock per region that readers take without writing anything that is shared, and
 * that a writer has to itself only where it changes something.
 *
 * A reader publishes in a slot of its own thread which addresses it is going to use, and through
 * which region, and then looks whether a writer has marked that region or put others in its place.
 * A writer does that, and then looks whether a slot's addresses meet what it marked. It is Dekker's
 * pattern: with sequentially consistent stores and loads on both sides at least one of the two sees
 * the other. The reader gives way; the writer waits.
 *
 *   reader                                  writer (holds the tree lock)
 *   R0  region = look-up                    W0  cut: A, B, C stored in place of OLD, B marked;
 *   R1  slot: first, last, tree (release),      then OLD->detached = 1          (seq_cst)
 *             then region  (seq_cst xchg)   W1  region->lock_seq = tree->seq    (seq_cst)
 *   R2  region->lock_seq == tree->seq?      W2  any slot of this tree whose range meets a
 *       yes: slot = NULL, fall back             marked region? wait             (seq_cst)
 *   R3  region->detached?                   W3  change; detached = 1 if it was taken out
 *       yes: slot = NULL, look up again     W4  tree->seq + 1   (release: unlocks all at once)
 *
 * The order of the stores and loads:
 *
 *   R1 before R2, R3; W0, W1 before W2: Dekker. Either R2 or R3 sees the writer or W2 sees the slot.
 *   R1, first to region: a writer that sees the region sees the range that goes with it. A hold
 *     that was there when W2 began is read whole, because its owner does not touch it. If its owner
 *     lets it go and publishes another while W2 reads, W2 may see parts of both; the old hold is
 *     over then, and the new one began after the marks, so that its R2 or R3 turns it away if it
 *     meets one of them: whatever W2 makes of the mixture is right. Each field is stored with
 *     release and read with acquire, so seeing any part of the new one orders the end of the old
 *     one before what the writer does.
 *   R3 after R2: the reader may compare an old lock_seq with a new seq, and so pass R2 after W4.
 *     Then R3 shows whether the region was taken out or replaced between. Sequence numbers have 64
 *     bits and are never used twice.
 *   W0, stores before detached: who finds a region detached and looks up again finds the new ones.
 *
 * A cut waits for nobody. Who came through OLD goes on, in its own range; it uses OLD's memory, but
 * finds nothing in it that is not true of its range. A later writer sees it all the same, because
 * slots are compared by range, whatever region they name. So regions can be split and merged under
 * their readers.
 *
 * Memory. R0 to R3 run in one RCU read-side section. A region that is over is freed when a grace
 * period is over and no slot names it: after that nobody can look it up any more, and who had looked
 * it up before has published it, or never will. What is named still is looked at again whenever the
 * tree is unlocked; there is at most one such region for each slot in use.
 *
 * Slots. Six in a thread's own lines, then more in blocks that are added and stay (a writer may be
 * looking at them). A thread without memory for those claims one that all such threads share, by
 * compare-and-swap; when these are all in use, it is told that the region is busy, and waits or lets
 * go. A hold belongs to the thread that took it. It may sleep with it as long as it likes: whoever
 * wants those addresses waits.
 *
 * Progress: a reader looks up at most LOOKUPS times; a writer waits for the readers that were in its
 * range when it marked, and for at most one glimpse of each later one. A futex wake-up by readers
 * would have to be ordered after their plain store, and cost them a fence: the writer sleeps for a
 * while and looks again.
 *
 * Publishing. On x86 R1's xchg is one locked instruction on a line that no other reader touches; the
 * loads are plain ones. LOCK=region-membarrier stores plainly, and has the writer interrupt every
 * CPU instead (membarrier(2), PRIVATE_EXPEDITED): between W1 and W2 each reader then passes a full
 * fence, before its R1 or after it.
 *
 * Source: Linux, include/linux/mmap_lock.h and mm/mmap_lock.c for the sequence numbers and the bulk
 * unlock; hazard pointers (M. Michael, IEEE TPDS 15(6), 2004) for the published slot and the way
 * memory is freed. Model: tests/model/region.pml.
 */
#include "mm/broken.h"
#include "mm/cpu_relax.h"
#include "mm/debug.h"
#include "mm/tree_lock.h"
#include "mm/wait.h"

#ifdef REGION_MEMBARRIER
#include <errno.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* Set in a guard's pointer to a slot of the commons. */
#define COMMON  1

/* How often a reader looks up that finds its region replaced before it could get in. */
#define LOOKUPS 4

#ifdef REGION_MEMBARRIER

const char lock_design[] = "region-membarrier";

static int announce(void)
{
	return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) ? -errno
											: 0;
}

static void order_marks(void)
{
	/* It can fail only where announce() did. */
	syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
}

static inline void publish_region(struct region_slot *slot, struct region *region)
{
	__atomic_store_n(&slot->region, region, __ATOMIC_RELEASE);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

#else

const char lock_design[] = "region";

static int announce(void)
{
	return 0;
}

/* The marks were stored, and the slots are loaded, in an order that all agree on. */
static void order_marks(void)
{
}

static inline void publish_region(struct region_slot *slot, struct region *region)
{
	(void)__atomic_exchange_n(&slot->region, region, __ATOMIC_SEQ_CST);
}

#endif

int lock_init_tree(struct region_tree *tree)
{
	(void)tree;
	return announce();
}

void lock_destroy_tree(struct region_tree *tree)
{
	(void)tree;
}

static inline void publish(struct region_slot *slot, struct region_tree *tree, uint64_t first,
			   uint64_t last, struct region *region)
{
	__atomic_store_n(&slot->first, first, __ATOMIC_RELEASE);
	__atomic_store_n(&slot->last, last, __ATOMIC_RELEASE);
	__atomic_store_n(&slot->tree, tree, __ATOMIC_RELEASE);
	publish_region(slot, region);
}

/* R1 to R3 of what was looked up. Context: read-side section. Return: whether it is held. */
static inline bool publish_and_check(struct region_tree *tree, struct region *region,
				     uint64_t first, uint64_t last, struct region_slot *slot,
				     struct region_guard *guard)
{
	bool seen_free = true;

	first = first < region->first ? region->first : first;
	last = last > region->last ? region->last : last;
	if (BROKEN_BARRIER) {
		seen_free = !is_marked(tree, region) && !is_detached(region);
		for (unsigned int i = 0; i < BROKEN_STORE_BUFFER; i++)
			cpu_relax();
	}
	publish(slot, tree, first, last, region);
	guard->region = region;
	guard->slot = slot;
	guard->first = first;
	guard->last = last;
	if (BROKEN_LOCK || BROKEN_BARRIER)
		return seen_free;
	return __builtin_expect(!is_marked(tree, region) && !is_detached(region), 1);
}

/* The thread's first slot is in use, or there is none, or the first try came to nothing. */
static __attribute__((noinline)) struct region *try_slowly(struct region_tree *tree,
							   uint64_t address, uint64_t first,
							   uint64_t last,
							   struct region_guard *guard, bool *busy)
{
	struct thread_state *self = thread_state_get();
	struct region_slot *slot = thread_slot_find(self);

	*busy = false;
	if (!slot)
		return try_aborted(tree, self, busy);
	samara_rcu_read_lock();
	for (unsigned int lookups = 0; lookups < LOOKUPS; lookups++) {
		struct region *region = region_find(tree, address);

		if (!region) {
			thread_slot_drop(slot);
			samara_rcu_read_unlock();
			return try_missed(tree, self);
		}
		if (publish_and_check(tree, region, first, last, slot, guard)) {
			samara_rcu_read_unlock();
			rank_took(RANK_REGION);
			if (self)
				thread_count(&self->counters[tree->id].success);
			if (thread_slot_is_common(slot)) {
				/* It has no owner to be found in: it is counted, and the guard
				 * says so. */
				thread_holds.count++;
				guard->slot = (char *)slot + COMMON;
			}
			SAMARA_PROBE3(lock_try, tree->id, guard->first, guard->last);
			return region;
		}
		if (is_marked(tree, region))
			break;
	}
	thread_slot_drop(slot);
	samara_rcu_read_unlock();
	return try_aborted(tree, self, busy);
}

struct region *region_try_read_lock_range(struct region_tree *tree, uint64_t address,
					  uint64_t first, uint64_t last, struct region_guard *guard,
					  bool *busy)
{
	struct thread_state *self = thread_state_own;
	struct region *region;

	if (__builtin_expect(
		    !self || __atomic_load_n(&self->slots.slot[0].region, __ATOMIC_RELAXED), 0))
		return try_slowly(tree, address, first, last, guard, busy);
	*busy = false;
	samara_rcu_read_lock();
	region = region_find(tree, address);
	if (__builtin_expect(region != NULL, 1)) {
		if (publish_and_check(tree, region, first, last, &self->slots.slot[0], guard)) {
			samara_rcu_read_unlock();
			rank_took(RANK_REGION);
			thread_count(&self->counters[tree->id].success);
			SAMARA_PROBE3(lock_try, tree->id, guard->first, guard->last);
			return region;
		}
		thread_slot_drop(&self->slots.slot[0]);
	}
	samara_rcu_read_unlock();
	return try_slowly(tree, address, first, last, guard, busy);
}

struct region *region_try_fault_lock(struct region_tree *tree, uint64_t address, uint64_t first,
				     uint64_t last, struct region_guard *guard, bool *busy)
	__attribute__((alias("region_try_read_lock_range")));

void region_read_unlock(struct region_guard *guard)
{
	uintptr_t slot = (uintptr_t)guard->slot;

	if (__builtin_expect(slot & COMMON, 0)) {
		slot -= COMMON;
		thread_holds.count--;
	} else {
		SAMARA_ASSERT(thread_slot_is_own((struct region_slot *)slot));
	}
	rank_dropped(RANK_REGION);
	thread_slot_drop((struct region_slot *)slot);
}

void region_start_write(struct region *region)
{
	mark(region);
}

void region_start_cut(struct region *region)
{
	(void)region;
}

bool region_try_start_cut(struct region *region)
{
	(void)region;
	return true;
}

/* What is marked, and the addresses from the first to the last of it. */
struct marks {
	struct region_tree *tree;
	uint64_t first, last;
};

/* Whether a hold that a slot shows is in a writer's way. */
static bool is_in_the_way(const struct marks *marks, const struct region_slot *slot)
{
	uint64_t first, last;

	if (!__atomic_load_n(&slot->region, __ATOMIC_SEQ_CST) ||
	    __atomic_load_n(&slot->tree, __ATOMIC_ACQUIRE) != marks->tree)
		return false;
	first = __atomic_load_n(&slot->first, __ATOMIC_ACQUIRE);
	last = __atomic_load_n(&slot->last, __ATOMIC_ACQUIRE);
	if (last < marks->first || first > marks->last)
		return false;
	for (struct region *region = marks->tree->marked; region; region = region->next_marked)
		if (first <= region->last && region->first <= last)
			return true;
	return false;
}

void lock_drain(struct region_tree *tree)
{
	struct marks marks = {.tree = tree, .first = UINT64_MAX};

	if (BROKEN_DRAIN)
		return;
	for (struct region *region = tree->marked; region; region = region->next_marked) {
		if (region->first < marks.first)
			marks.first = region->first;
		if (region->last > marks.last)
			marks.last = region->last;
	}
	order_marks();
	for (struct thread_state *state = thread_state_first(); state; state = state->next)
		for (struct slot_block *block = &state->slots; block;
		     block = __atomic_load_n(&block->next, __ATOMIC_SEQ_CST))
			for (unsigned int i = 0; i < THREAD_SLOTS; i++)
				for (unsigned int round = 0; is_in_the_way(&marks, &block->slot[i]);
				     round++)
					wait_a_little(round);
}

void lock_end_write(struct region_tree *tree)
{
	(void)tree;
}

bool lock_is_held(const struct region *region)
{
	for (struct thread_state *state = thread_state_first(); state; state = state->next)
		for (struct slot_block *block = &state->slots; block;
		     block = __atomic_load_n(&block->next, __ATOMIC_SEQ_CST))
			for (unsigned int i = 0; i < THREAD_SLOTS; i++)
				if (__atomic_load_n(&block->slot[i].region, __ATOMIC_SEQ_CST) ==
				    region)
					return true;
	return false;
}
