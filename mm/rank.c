/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * After jemalloc's witness (include/jemalloc/internal/witness.h) and Linux's lockdep, for an order that
 * is known beforehand.
 */
#include "mm/rank.h"

static __thread unsigned int held[RANKS];

static void stop_here(enum lock_rank wanted, enum lock_rank holds)
{
	(void)wanted;
	(void)holds;
	__builtin_trap();
}

void (*rank_broken)(enum lock_rank wanted, enum lock_rank held) = stop_here;

void rank_check_wait(enum lock_rank rank)
{
	for (unsigned int i = rank; i < RANKS; i++)
		if (held[i])
			rank_broken(rank, (enum lock_rank)i);
}

void rank_check_took(enum lock_rank rank)
{
	held[rank]++;
}

void rank_check_dropped(enum lock_rank rank)
{
	if (!held[rank])
		rank_broken(rank, rank);
	else
		held[rank]--;
}
