/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MM_PHASE_LOCK_H
#define MM_PHASE_LOCK_H

#include <stdbool.h>
#include <stdint.h>

/**
 * struct phase_lock - a reader-writer lock that starves nobody
 *
 * Readers and writers take turns: a reader waits for at most one writer, a writer for the readers
 * that came before it and the writers that came before it. Zero is unlocked.
 *
 * Source: B. Brandenburg, J. Anderson, "Spin-Based Reader-Writer Synchronization for Multiprocessor
 * Real-Time Systems", Real-Time Systems 46 (2010), the ticket form PF-T; waiting is by futex here.
 *
 * All fields are atomic. Upper 24 bits of @rin and @rout count readers that came and went; the low
 * bits of @rin tell of a writer (PRES) and its phase (PHID). @win and @wout are the writers'
 * tickets.
 */
struct phase_lock {
	uint32_t rin, rout, win, wout;
};

/* Context: each may sleep but phase_read_trylock(), phase_is_read() and the unlocks. Not recursive. */
void phase_read_lock(struct phase_lock *lock);
bool phase_read_trylock(struct phase_lock *lock); /* false while a writer is there or waits */
void phase_read_unlock(struct phase_lock *lock);
bool phase_is_read(struct phase_lock *lock); /* whether a reader is in, or waits */
void phase_write_lock(struct phase_lock *lock);
void phase_write_unlock(struct phase_lock *lock);

#endif
