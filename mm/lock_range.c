/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * LOCK=range: a range lock over the addresses of each tree: a list of the ranges that are held, in
 * the order of their first addresses, under one mutex.
 *
 *   reader                                       writer (holds the tree lock)
 *   look up                                      add the region's range to the list, at the mark
 *   add its range, unless a writer's meets it    wait until no reader's range meets one of those
 *   detached by now? take it out, look up again  change; take them out; tree->seq + 1
 *
 * Holders are known by their range, so regions are cut under them, as in LOCK=region. But every
 * reader of the tree writes the mutex and the list, twice: that is what this design is here to show.
 *
 * A reader's entry comes from a store of the tree's, which grows when it is empty; when there is no
 * memory for that, the region is busy.
 *
 * Source: J. Kara, "lib: Implement range locks" (LKML, 2013), D. Bueso, "locking: Introduce
 * range reader/writer lock" (LKML, 2017), with a sorted list in the place of the interval tree; the
 * list as in A. Kogan, D. Dice, S. Issa, "Scalable Range Locks for Scalable Address Spaces and
 * Beyond" (EuroSys 2020), who make it lock-free. Model: tests/model/region.pml.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "mm/tree_lock.h"

#define LOOKUPS 4
#define STORE   64 /* readers' entries that a tree has from the start */

const char lock_design[] = "range";

/**
 * struct range_lock - one per tree
 *
 * Lock key: l @lock, the innermost of all.
 */
struct range_lock {
	pthread_mutex_t lock;
	pthread_cond_t left;         /* a reader left, and a writer waits */
	bool waits;                  /* l */
	struct range_hold held;      /* l: the list's head, in a ring */
	struct range_hold *unused;   /* l: by next */
	struct range_hold *added[8]; /* l: arrays that @unused was grown by, each twice the last */
	unsigned int adds;           /* l */
	struct range_hold store[STORE];
};

static struct range_lock *range_lock_of(const struct region_tree *tree)
{
	return tree->own;
}

static void put_unused(struct range_lock *own, struct range_hold *holds, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		holds[i].next = own->unused;
		own->unused = &holds[i];
	}
}

int lock_init_tree(struct region_tree *tree)
{
	struct range_lock *own = calloc(1, sizeof(*own));

	if (!own)
		return -ENOMEM;
	pthread_mutex_init(&own->lock, NULL);
	pthread_cond_init(&own->left, NULL);
	own->held.before = own->held.next = &own->held;
	put_unused(own, own->store, STORE);
	tree->own = own;
	return 0;
}

void lock_destroy_tree(struct region_tree *tree)
{
	struct range_lock *own = range_lock_of(tree);

	while (own->adds)
		free(own->added[--own->adds]);
	pthread_cond_destroy(&own->left);
	pthread_mutex_destroy(&own->lock);
	free(own);
}

/* An entry to use. Context: locked. Return: NULL when there is no memory. */
static struct range_hold *take_unused(struct range_lock *own)
{
	struct range_hold *hold;

	if (!own->unused && own->adds < sizeof(own->added) / sizeof(own->added[0])) {
		size_t count = (size_t)STORE << (own->adds + 1);

		hold = calloc(count, sizeof(*hold));
		if (hold) {
			own->added[own->adds++] = hold;
			put_unused(own, hold, count);
		}
	}
	hold = own->unused;
	if (hold)
		own->unused = hold->next;
	return hold;
}

static bool meets(const struct range_hold *hold, uint64_t first, uint64_t last)
{
	return hold->first <= last && first <= hold->last;
}

/* Put an entry at its place. Context: locked. */
static void insert(struct range_lock *own, struct range_hold *hold)
{
	struct range_hold *at = own->held.next;

	while (at != &own->held && at->first < hold->first)
		at = at->next;
	hold->before = at->before;
	hold->next = at;
	at->before->next = hold;
	at->before = hold;
}

static void take_out(struct range_hold *hold)
{
	hold->before->next = hold->next;
	hold->next->before = hold->before;
}

/* Whether an entry of a writer meets the range, or of a reader. Context: locked. */
static bool is_held(struct range_lock *own, bool by_writer, uint64_t first, uint64_t last)
{
	struct range_hold *hold;

	for (hold = own->held.next; hold != &own->held && hold->first <= last; hold = hold->next)
		if (!hold->region == by_writer && meets(hold, first, last))
			return true;
	return false;
}

static struct range_hold *try_enter(struct range_lock *own, const struct region *region,
				    uint64_t first, uint64_t last)
{
	struct range_hold *hold = NULL;

	if (first < region->first)
		first = region->first;
	if (last > region->last)
		last = region->last;
	pthread_mutex_lock(&own->lock);
	if (!is_held(own, true, first, last))
		hold = take_unused(own);
	if (hold) {
		hold->first = first;
		hold->last = last;
		hold->region = region;
		insert(own, hold);
	}
	pthread_mutex_unlock(&own->lock);
	return hold;
}

static void leave(struct range_lock *own, struct range_hold *hold)
{
	pthread_mutex_lock(&own->lock);
	take_out(hold);
	put_unused(own, hold, 1);
	if (own->waits)
		pthread_cond_signal(&own->left);
	pthread_mutex_unlock(&own->lock);
}

struct region *region_try_read_lock_range(struct region_tree *tree, uint64_t address,
					  uint64_t first, uint64_t last, struct region_guard *guard,
					  bool *busy)
{
	struct thread_state *self = thread_state_get();
	struct range_lock *own = range_lock_of(tree);
	struct range_hold *hold;
	struct region *region;

	*busy = false;
	samara_rcu_read_lock();
	for (unsigned int lookups = 0; lookups < LOOKUPS; lookups++) {
		region = region_find(tree, address);
		if (!region) {
			samara_rcu_read_unlock();
			return try_missed(tree, self);
		}
		hold = try_enter(own, region, first, last);
		if (!hold)
			break;
		if (!is_detached(region)) {
			samara_rcu_read_unlock();
			return try_succeeded(tree, self, region, hold, first, last, guard);
		}
		leave(own, hold);
	}
	samara_rcu_read_unlock();
	return try_aborted(tree, self, busy);
}

struct region *region_try_fault_lock(struct region_tree *tree, uint64_t address, uint64_t first,
				     uint64_t last, struct region_guard *guard, bool *busy)
	__attribute__((alias("region_try_read_lock_range")));

void region_read_unlock(struct region_guard *guard)
{
	leave(range_lock_of(guard->tree), guard->slot);
	thread_holds.count--;
	rank_dropped(RANK_REGION);
}

void region_start_write(struct region *region)
{
	struct range_lock *own = range_lock_of(region->tree);

	if (!mark(region))
		return;
	region->own.hold.first = region->first;
	region->own.hold.last = region->last;
	pthread_mutex_lock(&own->lock);
	insert(own, &region->own.hold);
	pthread_mutex_unlock(&own->lock);
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

void lock_drain(struct region_tree *tree)
{
	struct range_lock *own = range_lock_of(tree);

	pthread_mutex_lock(&own->lock);
	own->waits = true;
	for (struct region *region = tree->marked; region; region = region->next_marked)
		while (is_held(own, false, region->first, region->last))
			pthread_cond_wait(&own->left, &own->lock);
	own->waits = false;
	pthread_mutex_unlock(&own->lock);
}

void lock_end_write(struct region_tree *tree)
{
	struct range_lock *own = range_lock_of(tree);

	pthread_mutex_lock(&own->lock);
	for (struct region *region = tree->marked; region; region = region->next_marked)
		take_out(&region->own.hold);
	pthread_mutex_unlock(&own->lock);
}

bool lock_is_held(const struct region *region)
{
	struct range_lock *own = range_lock_of(region->tree);
	struct range_hold *hold;

	pthread_mutex_lock(&own->lock);
	for (hold = own->held.next; hold != &own->held && hold->region != region; hold = hold->next)
		;
	pthread_mutex_unlock(&own->lock);
	return hold != &own->held;
}
