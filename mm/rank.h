/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MM_RANK_H
#define MM_RANK_H

#include <pthread.h>

/*
 * The order in which a thread may wait for locks, outermost first, and a checker of it. A thread may
 * wait for a lock only when it holds none of the same rank or an inner one; it may try for any lock at
 * any time, as a try waits for nobody. Regions are only ever tried for.
 *
 * The checker sees what a thread does, not only what happens to block: an order that is wrong is found
 * at its first use, in one thread. Debug builds check; the others have empty wrappers.
 */
enum lock_rank {
	RANK_TREE,    /* the tree lock */
	RANK_REGION,  /* a region, or a range of it */
	RANK_STRAY,   /* the stray pages */
	RANK_SERVICE, /* the fault service */
	RANKS
};

/* The checker: the calling thread is about to wait, has got, has let go. */
void rank_check_wait(enum lock_rank rank);
void rank_check_took(enum lock_rank rank);
void rank_check_dropped(enum lock_rank rank);

/* What a broken rule leads to: the process stops there. Tests put something else in its place. */
extern void (*rank_broken)(enum lock_rank wanted, enum lock_rank held);

#ifdef SAMARA_DEBUG
#define rank_wait    rank_check_wait
#define rank_took    rank_check_took
#define rank_dropped rank_check_dropped
#else
static inline void rank_wait(enum lock_rank rank)
{
	(void)rank;
}
static inline void rank_took(enum lock_rank rank)
{
	(void)rank;
}
static inline void rank_dropped(enum lock_rank rank)
{
	(void)rank;
}
#endif

/* A mutex with a rank. */
static inline void ranked_lock(pthread_mutex_t *lock, enum lock_rank rank)
{
	rank_wait(rank);
	pthread_mutex_lock(lock);
	rank_took(rank);
}

static inline void ranked_unlock(pthread_mutex_t *lock, enum lock_rank rank)
{
	rank_dropped(rank);
	pthread_mutex_unlock(lock);
}

#endif
