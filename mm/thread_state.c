/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mm/thread_state.h"

/* In a slot of the commons that a thread has claimed and not yet published anything in. */
#define CLAIMED ((struct region *)1)

/* Slots of no thread in particular: for threads without memory. Found like anybody's. */
static struct slot_block commons_rest[COMMONS_SLOTS / THREAD_SLOTS - 1];
static struct thread_state commons = {.in_use = 1};

/* Atomic: the list only grows, at its head. The commons are its end. */
static struct thread_state *first_state = &commons;

__thread struct thread_holds thread_holds;
__thread struct thread_state *thread_state_own;
static pthread_key_t exit_key;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void thread_ends(void *arg)
{
	struct thread_state *state = arg;

	thread_state_own = NULL;
	__atomic_store_n(&state->in_use, 0, __ATOMIC_RELEASE);
}

static struct slot_block *next_block(struct slot_block *block)
{
	return __atomic_load_n(&block->next, __ATOMIC_SEQ_CST);
}

/* The other threads are not in the child: what they held nobody holds, and nobody would let go. */
static void child_after_fork(void)
{
	for (struct thread_state *state = thread_state_first(); state; state = state->next) {
		if (state == thread_state_own)
			continue;
		for (struct slot_block *block = &state->slots; block; block = next_block(block))
			for (unsigned int i = 0; i < THREAD_SLOTS; i++)
				thread_slot_drop(&block->slot[i]);
		if (state != &commons)
			__atomic_store_n(&state->in_use, 0, __ATOMIC_RELEASE);
	}
}

static void first_use_of_all(void)
{
	pthread_key_create(&exit_key, thread_ends);
	pthread_atfork(NULL, NULL, child_after_fork);
	for (size_t i = 0; i < sizeof(commons_rest) / sizeof(commons_rest[0]); i++) {
		struct slot_block *before = i ? &commons_rest[i - 1] : &commons.slots;

		__atomic_store_n(&before->next, &commons_rest[i], __ATOMIC_SEQ_CST);
	}
}

static struct thread_state *adopt(void)
{
	struct thread_state *state;

	for (state = thread_state_first(); state; state = state->next) {
		uint32_t unused = 0;

		if (__atomic_compare_exchange_n(&state->in_use, &unused, 1, false, __ATOMIC_ACQUIRE,
						__ATOMIC_RELAXED))
			return state;
	}
	return NULL;
}

static struct thread_state *create(void)
{
	struct thread_state *state;

	if (posix_memalign((void **)&state, 128, sizeof(*state)))
		return NULL;
	memset(state, 0, sizeof(*state));
	state->in_use = 1;
	state->next = __atomic_load_n(&first_state, __ATOMIC_RELAXED);
	/* SEQ_CST: a writer that misses this state marked its regions before we can look. */
	while (!__atomic_compare_exchange_n(&first_state, &state->next, state, true,
					    __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
		;
	return state;
}

struct thread_state *thread_state_first_use(void)
{
	pthread_once(&once, first_use_of_all);
	thread_state_own = adopt();
	if (!thread_state_own)
		thread_state_own = create();
	if (thread_state_own) {
		__atomic_store_n(&thread_state_own->thread, gettid(), __ATOMIC_RELAXED);
		pthread_setspecific(exit_key, thread_state_own);
	}
	return thread_state_own;
}

struct thread_state *thread_state_first(void)
{
	return __atomic_load_n(&first_state, __ATOMIC_SEQ_CST);
}

static struct region_slot *claim_common(void)
{
	for (struct slot_block *block = &commons.slots; block; block = next_block(block)) {
		for (unsigned int i = 0; i < THREAD_SLOTS; i++) {
			struct region *none = NULL;

			if (__atomic_compare_exchange_n(&block->slot[i].region, &none, CLAIMED,
							false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
				return &block->slot[i];
		}
	}
	return NULL;
}

struct region_slot *thread_slot_find(struct thread_state *self)
{
	struct slot_block *block = self ? &self->slots : NULL, *more;

	if (!block)
		return claim_common();
	for (;;) {
		for (unsigned int i = 0; i < THREAD_SLOTS; i++)
			if (!__atomic_load_n(&block->slot[i].region, __ATOMIC_RELAXED))
				return &block->slot[i];
		if (!block->next)
			break;
		block = block->next;
	}
	if (posix_memalign((void **)&more, 128, sizeof(*more)))
		return claim_common();
	memset(more, 0, sizeof(*more));
	/* SEQ_CST: as in create(). */
	__atomic_store_n(&block->next, more, __ATOMIC_SEQ_CST);
	return &more->slot[0];
}

unsigned int thread_slots_used(void)
{
	unsigned int used = 0;

	if (!thread_state_own)
		return 0;
	for (struct slot_block *block = &thread_state_own->slots; block; block = block->next)
		for (unsigned int i = 0; i < THREAD_SLOTS; i++)
			used += __atomic_load_n(&block->slot[i].region, __ATOMIC_RELAXED) != NULL;
	return used;
}

static bool is_in(struct slot_block *block, const struct region_slot *slot)
{
	for (; block; block = next_block(block))
		if (slot >= block->slot && slot < block->slot + THREAD_SLOTS)
			return true;
	return false;
}

bool thread_slot_is_own(const struct region_slot *slot)
{
	return thread_state_own && is_in(&thread_state_own->slots, slot);
}

bool thread_slot_is_common(const struct region_slot *slot)
{
	return is_in(&commons.slots, slot);
}

void thread_state_sum(unsigned int tree_id, struct lock_counters *sum)
{
	struct thread_state *state;

	memset(sum, 0, sizeof(*sum));
	for (state = thread_state_first(); state; state = state->next) {
		struct lock_counters *own = &state->counters[tree_id];

		sum->success += __atomic_load_n(&own->success, __ATOMIC_RELAXED);
		sum->abort += __atomic_load_n(&own->abort, __ATOMIC_RELAXED);
		sum->retry += __atomic_load_n(&own->retry, __ATOMIC_RELAXED);
		sum->miss += __atomic_load_n(&own->miss, __ATOMIC_RELAXED);
		sum->wait_ns += __atomic_load_n(&own->wait_ns, __ATOMIC_RELAXED);
		sum->pins += __atomic_load_n(&own->pins, __ATOMIC_RELAXED);
	}
}
