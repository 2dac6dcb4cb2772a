/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "mm/thread_state.h"

/* Atomic: the list only grows, at its head. */
static struct thread_state *first_state;

__thread struct thread_holds thread_holds;
static __thread struct thread_state *own_state __attribute__((tls_model("initial-exec")));
static pthread_key_t exit_key;
static pthread_once_t exit_key_once = PTHREAD_ONCE_INIT;

static void thread_ends(void *arg)
{
	struct thread_state *state = arg;

	own_state = NULL;
	__atomic_store_n(&state->in_use, 0, __ATOMIC_RELEASE);
}

static void make_exit_key(void)
{
	pthread_key_create(&exit_key, thread_ends);
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

static __attribute__((noinline)) struct thread_state *first_use(void)
{
	pthread_once(&exit_key_once, make_exit_key);
	own_state = adopt();
	if (!own_state)
		own_state = create();
	if (own_state)
		pthread_setspecific(exit_key, own_state);
	return own_state;
}

struct thread_state *thread_state_get(void)
{
	return own_state ? own_state : first_use();
}

struct thread_state *thread_state_first(void)
{
	return __atomic_load_n(&first_state, __ATOMIC_SEQ_CST);
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
		sum->pins += __atomic_load_n(&own->pins, __ATOMIC_RELAXED);
	}
}
