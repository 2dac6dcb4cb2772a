/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mm/cpu_relax.h"
#include "mm/futex.h"
#include "mm/phase_lock.h"

#define READER 0x100u /* one reader, in rin and rout */
#define WBITS  0x3u   /* a writer's bits in rin */
#define PRES   0x2u   /* a writer is present or waits */
#define PHID   0x1u   /* its phase: differs from the last writer's, so a reader sees it change */
#define SPINS  128    /* about a microsecond: shorter than going to sleep and waking up */

static uint32_t load(uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}

/* Wait until (*word & mask) is, or is no longer, @value. */
static void wait_for(uint32_t *word, uint32_t mask, uint32_t value, bool equal)
{
	for (unsigned int spins = 0;; spins++) {
		uint32_t now = load(word);

		if (((now & mask) == value) == equal)
			return;
		if (spins < SPINS)
			cpu_relax();
		else
			futex_wait(word, now);
	}
}

void phase_read_lock(struct phase_lock *lock)
{
	uint32_t writer = __atomic_fetch_add(&lock->rin, READER, __ATOMIC_SEQ_CST) & WBITS;

	if (writer)
		wait_for(&lock->rin, WBITS, writer, false);
}

bool phase_read_trylock(struct phase_lock *lock)
{
	uint32_t rin = load(&lock->rin);

	while (!(rin & WBITS))
		if (__atomic_compare_exchange_n(&lock->rin, &rin, rin + READER, true,
						__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			return true;
	return false;
}

void phase_read_unlock(struct phase_lock *lock)
{
	__atomic_fetch_add(&lock->rout, READER, __ATOMIC_SEQ_CST);
	/* Ordered against the writer's announcement in rin: it sees our step, or we see its bit. */
	if (load(&lock->rin) & PRES)
		futex_wake_all(&lock->rout);
}

bool phase_is_read(struct phase_lock *lock)
{
	/* This order: a reader that comes between the two is seen, never one that left missed. */
	uint32_t out = load(&lock->rout);

	return (load(&lock->rin) & ~WBITS) != out;
}

void phase_write_lock(struct phase_lock *lock)
{
	uint32_t ticket = __atomic_fetch_add(&lock->win, 1, __ATOMIC_SEQ_CST);
	uint32_t readers;

	wait_for(&lock->wout, UINT32_MAX, ticket, true);
	readers = __atomic_fetch_add(&lock->rin, PRES | (ticket & PHID), __ATOMIC_SEQ_CST) & ~WBITS;
	wait_for(&lock->rout, UINT32_MAX, readers, true);
}

void phase_write_unlock(struct phase_lock *lock)
{
	uint32_t next = load(&lock->wout) + 1;

	__atomic_fetch_and(&lock->rin, ~WBITS, __ATOMIC_SEQ_CST);
	futex_wake_all(&lock->rin);
	__atomic_store_n(&lock->wout, next, __ATOMIC_SEQ_CST);
	if (load(&lock->win) != next)
		futex_wake_all(&lock->wout);
}
