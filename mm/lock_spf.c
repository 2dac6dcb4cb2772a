/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * LOCK=spf: faults that lock nothing, after the speculative page faults that were proposed for Linux
 * from 2010 to 2022.
 *
 * A fault looks its region up, checks the region's sequence number, and works, all in one RCU
 * read-side section: it writes nothing but that section's own line. If the number says that a writer
 * is there, the speculation is over and it falls back.
 *
 * The proposals checked the number a second time at the end, under the page table's lock, at which a
 * writer that came meanwhile had to pass by too; a fault that found itself overtaken threw away its
 * page. User space has no such lock: once UFFDIO_COPY has put a page there, it cannot be taken back.
 * So the second check is turned round: the writer, after its mark, waits for a grace period, when
 * every fault that had not seen the mark is over. A writer pays for it with tens of microseconds, and
 * waits for all faults of the process, wherever they are.
 *
 * What cannot be speculated is counted in the region: pins, DMA, bus accesses (SPF took the mmap_lock
 * for those). The count is as in LOCK=refcount, without the wake-up.
 *
 *   fault                                        writer (holds the tree lock)
 *   begin RCU section; look up                   mark: lock_seq = tree->seq
 *   marked? detached? end it, fall back          wait for a grace period
 *   work; end it                                 wait until the counts of what is marked are 0
 *                                                change; tree->seq + 1
 *
 * Source: P. Zijlstra, "mm: Speculative pagefault -v2" (LKML, 2010); L. Dufour, "Speculative page
 * faults" v11 (LKML, 2018); M. Lespinasse, "Speculative page faults" (LKML, 2022). Model:
 * tests/model/spf.pml.
 */
#include "mm/tree_lock.h"
#include "mm/wait.h"

#define LOOKUPS 4

const char lock_design[] = "spf";

/* In a guard: held by its RCU read-side section alone. */
static char speculative;

int lock_init_tree(struct region_tree *tree)
{
	(void)tree;
	return 0;
}

void lock_destroy_tree(struct region_tree *tree)
{
	(void)tree;
}

/* Look up within a read-side section, and count if that is asked for. NULL: see @marked. */
static struct region *find_unmarked(struct region_tree *tree, uint64_t address, bool count,
				    bool *marked)
{
	struct region *region;

	*marked = true;
	for (unsigned int lookups = 0; lookups < LOOKUPS; lookups++) {
		region = region_find(tree, address);
		if (!region) {
			*marked = false;
			return NULL;
		}
		if (count)
			__atomic_add_fetch(&region->own.count, 1, __ATOMIC_SEQ_CST);
		*marked = is_marked(tree, region);
		if (!*marked && !is_detached(region))
			return region;
		if (count)
			__atomic_sub_fetch(&region->own.count, 1, __ATOMIC_SEQ_CST);
		if (*marked)
			return NULL;
		*marked = true;
	}
	return NULL;
}

struct region *region_try_read_lock_range(struct region_tree *tree, uint64_t address,
					  uint64_t first, uint64_t last, struct region_guard *guard,
					  bool *busy)
{
	struct thread_state *self = thread_state_get();
	struct region *region;
	bool marked;

	*busy = false;
	samara_rcu_read_lock();
	region = find_unmarked(tree, address, true, &marked);
	samara_rcu_read_unlock();
	if (region)
		return try_succeeded(tree, self, region, NULL, first, last, guard);
	return marked ? try_aborted(tree, self, busy) : try_missed(tree, self);
}

struct region *region_try_fault_lock(struct region_tree *tree, uint64_t address, uint64_t first,
				     uint64_t last, struct region_guard *guard, bool *busy)
{
	struct thread_state *self = thread_state_get();
	struct region *region;
	bool marked;

	*busy = false;
	samara_rcu_read_lock();
	region = find_unmarked(tree, address, false, &marked);
	if (region)
		return try_succeeded(tree, self, region, &speculative, first, last, guard);
	samara_rcu_read_unlock();
	return marked ? try_aborted(tree, self, busy) : try_missed(tree, self);
}

void region_read_unlock(struct region_guard *guard)
{
	if (guard->slot == &speculative)
		samara_rcu_read_unlock();
	else
		__atomic_sub_fetch(&guard->region->own.count, 1, __ATOMIC_RELEASE);
	thread_holds.count--;
	rank_dropped(RANK_REGION);
}

void region_start_write(struct region *region)
{
	mark(region);
}

/* Faults are waited for wherever they are; only counted holds belong to the region they came by. */
void region_start_cut(struct region *region)
{
	mark(region);
}

bool region_try_start_cut(struct region *region)
{
	uint64_t before = region->lock_seq;

	if (before == region->tree->seq)
		return true;
	__atomic_store_n(&region->lock_seq, region->tree->seq, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&region->own.count, __ATOMIC_SEQ_CST)) {
		/* Readers that gave way meanwhile wait for the tree lock, as they may. */
		__atomic_store_n(&region->lock_seq, before, __ATOMIC_SEQ_CST);
		return false;
	}
	return true;
}

void lock_drain(struct region_tree *tree)
{
	samara_synchronize_rcu();
	for (struct region *region = tree->marked; region; region = region->next_marked)
		for (unsigned int round = 0; __atomic_load_n(&region->own.count, __ATOMIC_SEQ_CST);
		     round++)
			wait_a_little(round);
}

void lock_end_write(struct region_tree *tree)
{
	(void)tree;
}

bool lock_is_held(const struct region *region)
{
	(void)region;
	return false;
}
