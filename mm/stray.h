/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MM_STRAY_H
#define MM_STRAY_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <samara/types.h>

struct guest_mm;

/*
 * Stray pages: what a guest gets that accesses a gpa where nothing is plugged. The access has to be
 * answered, or the vCPU waits for ever; so a page of zeros is put behind it for GUEST_MM_STRAY_MS.
 * What the guest writes there is forgotten with it. There are at most STRAYS of them, so a guest
 * cannot make memory of nothing.
 */
#define STRAYS 64

/**
 * struct stray - the stray pages there are, the oldest first
 *
 * @lock protects everything here. Rank: below regions. A page is put behind nothing, and recorded,
 * in one critical section that looks again whether there is a region; plug publishes its region
 * before it takes the lock to clear the range. So no page in this list is ever a region's.
 *
 * @report: told of the first access by stray_expire(), and NULL from then on; @arg is for it
 * @touched: there was one, at @first_gpa, which does not change afterwards
 */
struct stray {
	pthread_mutex_t lock;
	void (*report)(gpa_t gpa, void *arg);
	void *arg;
	bool touched;
	gpa_t first_gpa;
	gpa_t gpa[STRAYS];
	uint64_t until_ns[STRAYS];
	unsigned int first, count;
};

/* @report: NULL, or what is told of the first access. */
void stray_init(struct stray *strays, void (*report)(gpa_t gpa, void *arg), void *arg);
void stray_destroy(struct stray *strays);

/**
 * stray_answer() - answer an access to nothing
 *
 * Context: May sleep (its lock is held for microseconds).
 * Return: 0; -EAGAIN (there is a region now); -ENOMEM, or what userfaultfd said.
 */
int stray_answer(struct guest_mm *mm, gpa_t gpa);

/**
 * stray_clear() - forget the stray pages in a range
 *
 * Context: May sleep. The range's regions are published and marked.
 * Return: 0, or what window_discard() said.
 */
int stray_clear(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes);

/**
 * stray_expire() - forget those that are old enough, and tell of the first there ever was
 *
 * Context: the fault service's retry thread; holds no lock.
 * Return: nanoseconds until the next one is, UINT64_MAX if there is none.
 */
uint64_t stray_expire(struct guest_mm *mm);

#endif
