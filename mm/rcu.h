/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef SAMARA_MM_RCU_H
#define SAMARA_MM_RCU_H

/*
 * RCU as samara uses it: liburcu's "bp" flavour, whose threads register themselves at their first
 * read-side section and leave by themselves.
 *
 * What it promises, and all that may be relied on:
 *
 *  - what was written before samara_rcu_assign_pointer() is seen by whoever got that pointer from
 *    samara_rcu_dereference();
 *  - a read-side section that began before a grace period happens before what follows the grace
 *    period: the code after samara_synchronize_rcu(), the callback of samara_call_rcu();
 *  - what a thread did before samara_call_rcu() happens before the callback;
 *  - callbacks handed over before samara_rcu_barrier() happen before its return.
 *
 * Callbacks run one after the other in a thread of liburcu's, up to some ten milliseconds after
 * the grace period. Read-side sections nest, and never contain samara_synchronize_rcu(),
 * samara_rcu_barrier(), or a lock that is held across either.
 *
 * ThreadSanitizer cannot see how liburcu does it (inline assembly, membarrier); in such a build the
 * wrapper states exactly these promises by annotation, so that our own code stays checked.
 */

#if defined(__SANITIZE_THREAD__)
#define SAMARA_RCU_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SAMARA_RCU_TSAN 1
#endif
#endif
#ifndef SAMARA_RCU_TSAN
#define SAMARA_RCU_TSAN 0
#endif

/*
 * Inline read-side sections, as LGPL code may have them. Not in builds with a sanitizer (which are
 * debug builds): it would check liburcu's code, whose structs are less aligned than they say.
 */
#if !defined(SAMARA_DEBUG) && !SAMARA_RCU_TSAN && !defined(_LGPL_SOURCE)
#define _LGPL_SOURCE
#endif
#include <urcu/urcu-bp.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * struct samara_rcu_head - in an object that is given up by samara_call_rcu()
 *
 * Lock: owned by whoever called samara_call_rcu(), by the callback from then on.
 */
struct samara_rcu_head {
	struct rcu_head urcu;
	void (*func)(struct samara_rcu_head *head);
#if SAMARA_RCU_TSAN
	uint64_t period;
#endif
};

/*
 * Load a pointer that another thread may be publishing. Acquire: what the publisher wrote through
 * it before is visible. Context: a read-side section, or the writers' lock is held.
 */
#define samara_rcu_dereference(p)       __atomic_load_n(&(p), __ATOMIC_ACQUIRE)

/* Publish a pointer. Release: what was written before is visible to whoever sees the pointer. */
#define samara_rcu_assign_pointer(p, v) __atomic_store_n(&(p), (v), __ATOMIC_RELEASE)

#if SAMARA_RCU_TSAN

void samara_rcu_read_lock(void);
void samara_rcu_read_unlock(void);
void samara_synchronize_rcu(void);
void samara_rcu_barrier(void);
void samara_call_rcu(struct samara_rcu_head *head, void (*func)(struct samara_rcu_head *head));

#else

/**
 * samara_rcu_read_lock() - begin a read-side section; they nest
 *
 * Context: Any thread, not a signal handler. Does not sleep, writes only the thread's own line.
 */
static inline void samara_rcu_read_lock(void)
{
	urcu_bp_read_lock();
}

/**
 * samara_rcu_read_unlock() - end a read-side section
 */
static inline void samara_rcu_read_unlock(void)
{
	urcu_bp_read_unlock();
}

/**
 * samara_synchronize_rcu() - wait until every read-side section that is running now has ended
 *
 * Context: Sleeps. Not in a read-side section.
 */
static inline void samara_synchronize_rcu(void)
{
	urcu_bp_synchronize_rcu();
}

/**
 * samara_rcu_barrier() - wait until every callback handed over so far has run
 *
 * Context: Sleeps, often 10 ms and more. Not in a read-side section, not in a callback.
 */
static inline void samara_rcu_barrier(void)
{
	urcu_bp_barrier();
}

/* What liburcu calls: hands on to the callback with its own type. */
static inline void samara_rcu_callback(struct rcu_head *urcu)
{
	struct samara_rcu_head *head =
		(struct samara_rcu_head *)((char *)urcu - offsetof(struct samara_rcu_head, urcu));

	head->func(head);
}

/**
 * samara_call_rcu() - have a function called after a grace period
 * @head: in the object to give up
 * @func: runs in liburcu's thread; may call samara_call_rcu(), must not wait for a grace period
 *
 * Context: Any thread, a read-side section included. Does not sleep.
 */
static inline void samara_call_rcu(struct samara_rcu_head *head,
				   void (*func)(struct samara_rcu_head *head))
{
	head->func = func;
	urcu_bp_call_rcu(&head->urcu, samara_rcu_callback);
}

#endif

/**
 * samara_rcu_start() - have liburcu's callback thread running
 *
 * liburcu starts it at the first samara_call_rcu() otherwise, with that caller's signal mask, and
 * ends the process when it cannot. Whoever will call samara_call_rcu() where nothing may fail calls
 * this at the beginning. The thread blocks all signals, so that it never takes one that others wait
 * for.
 *
 * Context: Any thread, any number of times.
 */
void samara_rcu_start(void);

/**
 * samara_rcu_read_ongoing() - whether the calling thread is in a read-side section, for assertions
 */
static inline bool samara_rcu_read_ongoing(void)
{
	return urcu_bp_read_ongoing() != 0;
}

#endif
