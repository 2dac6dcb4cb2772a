/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <pthread.h>
#include <signal.h>

#include "mm/rcu.h"

void samara_rcu_start(void)
{
	static bool started;
	sigset_t all, before;

	if (__atomic_load_n(&started, __ATOMIC_RELAXED))
		return;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	(void)urcu_bp_get_default_call_rcu_data();
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	__atomic_store_n(&started, true, __ATOMIC_RELAXED);
}

/*
 * The annotated wrapper for ThreadSanitizer; in every other build it is all in mm/rcu.h.
 *
 * Grace periods are numbered when they are asked for. An outermost read-side section remembers the
 * number of the next one, N: it began before periods N, N + 1, ... and after all earlier ones, so
 * it releases into cell N when it ends, and whatever follows period M acquires the cells up to M. A
 * section that began only after period M was asked for gets no ordering towards what follows M,
 * although it may well have ended before: freeing what was never unpublished shows as a race.
 *
 * A thread's clock keeps what it acquired, and no section of cell N is left when a period >= N has
 * ended, so each thread needs each cell once. Cells are reused after RCU_CELLS periods; with more
 * than that pending at once a race could go unseen, never a false one be reported.
 */
#if SAMARA_RCU_TSAN

/* As in <sanitizer/tsan_interface.h>, which not every compiler package brings. */
void __tsan_acquire(void *addr);
void __tsan_release(void *addr);

#define RCU_CELLS     4096u
#define RCU_UNCHECKED __attribute__((no_sanitize("thread"), noinline))

static uint64_t next_period = 1;
static uint64_t cells[RCU_CELLS];

static __thread unsigned int nesting;
static __thread uint64_t section_period;
static __thread uint64_t acquired_period;

/*
 * The number itself must order nothing that RCU does not order, so TSan does not get to see it. A
 * reader that sees the new number also sees what was unpublished before: release and acquire.
 */
RCU_UNCHECKED static uint64_t period_next(void)
{
	return __atomic_load_n(&next_period, __ATOMIC_ACQUIRE);
}

RCU_UNCHECKED static uint64_t period_begin(void)
{
	return __atomic_fetch_add(&next_period, 1, __ATOMIC_ACQ_REL);
}

static void period_ended(uint64_t period)
{
	uint64_t from = acquired_period + 1;

	if (period >= RCU_CELLS && from <= period - RCU_CELLS)
		from = period - RCU_CELLS + 1;
	for (uint64_t i = from; i <= period; i++)
		__tsan_acquire(&cells[i % RCU_CELLS]);
	if (period > acquired_period)
		acquired_period = period;
}

void samara_rcu_read_lock(void)
{
	if (nesting++ > 0) {
		urcu_bp_read_lock();
		return;
	}
	/* The number belongs to this section if no period was asked for while it began. */
	for (;;) {
		section_period = period_next();
		urcu_bp_read_lock();
		if (period_next() == section_period)
			return;
		urcu_bp_read_unlock();
	}
}

void samara_rcu_read_unlock(void)
{
	if (--nesting == 0)
		__tsan_release(&cells[section_period % RCU_CELLS]);
	urcu_bp_read_unlock();
}

void samara_synchronize_rcu(void)
{
	uint64_t period = period_begin();

	urcu_bp_synchronize_rcu();
	period_ended(period);
}

static void callback(struct rcu_head *urcu)
{
	struct samara_rcu_head *head =
		(struct samara_rcu_head *)((char *)urcu - offsetof(struct samara_rcu_head, urcu));

	__tsan_acquire(head);
	period_ended(head->period);
	head->func(head);
}

void samara_call_rcu(struct samara_rcu_head *head, void (*func)(struct samara_rcu_head *head))
{
	head->func = func;
	head->period = period_begin();
	__tsan_release(head);
	urcu_bp_call_rcu(&head->urcu, callback);
}

/*
 * Not urcu_bp_barrier(), whose own bookkeeping TSan takes for a race. All callbacks are in the
 * queue of one thread, so that the last of them tells.
 */
struct barrier {
	struct samara_rcu_head rcu;
	pthread_mutex_t lock;
	pthread_cond_t reached_cond;
	bool reached;
};

static void barrier_reached(struct samara_rcu_head *head)
{
	struct barrier *barrier = (struct barrier *)((char *)head - offsetof(struct barrier, rcu));

	pthread_mutex_lock(&barrier->lock);
	barrier->reached = true;
	pthread_cond_signal(&barrier->reached_cond);
	pthread_mutex_unlock(&barrier->lock);
}

void samara_rcu_barrier(void)
{
	struct barrier barrier = {.lock = PTHREAD_MUTEX_INITIALIZER,
				  .reached_cond = PTHREAD_COND_INITIALIZER};

	samara_call_rcu(&barrier.rcu, barrier_reached);
	pthread_mutex_lock(&barrier.lock);
	while (!barrier.reached)
		pthread_cond_wait(&barrier.reached_cond, &barrier.lock);
	pthread_mutex_unlock(&barrier.lock);
	pthread_cond_destroy(&barrier.reached_cond);
	pthread_mutex_destroy(&barrier.lock);
}

#endif
