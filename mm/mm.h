/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MM_MM_H
#define MM_MM_H

#include <samara/guest_mm.h>

#include "mm/lock.h"
#include "mm/region.h"
#include "mm/stray.h"
#include "mm/uffd.h"
#include "mm/window.h"

struct fault_service;

/**
 * struct mem_region - a region of guest memory
 *
 * Lock key: I immutable; w written with the region marked and drained, read by holders.
 */
struct mem_region {
	struct region region;  /* first: region_retire() frees the whole */
	struct window *window; /* I */
	unsigned int prot;     /* w, atomic: listings read it under RCU alone */
};

/* What guest_mm_get_stats() reports of operations and faults: atomic (relaxed), never decrease. */
struct mm_counters {
	uint64_t plugs, unplugs, remaps, protects, failed_operations;
	uint64_t faults, fault_pages, fault_write_protect, faults_deferred, faults_nothing;
	uint64_t faults_held, last_nothing_gpa;
};

/**
 * struct guest_mm - the guest-physical address space of one VM (mm_struct in Linux)
 *
 * Lock key: I immutable after guest_mm_create(); s immutable once counted; a atomic; everything
 * else has locks of its own. Ranks, outermost first:
 *
 *   tree lock > region > stray lock > fault service lock
 *
 * No lock is held across a system call that can wait for a fault to be resolved.
 */
struct guest_mm {
	struct region_tree *tree; /* I: mem_region by gpa */
	struct uffd uffd;         /* I */
	bool copy_only;           /* I */
	bool letting_go;          /* a: guest_mm_let_go() to guest_mm_hold_again() */
	uint64_t around_bytes;    /* I: what a fault populates at most */
	const void *zeros;        /* I: around_bytes of zeros, a single page of the host */
	struct window windows[WINDOWS_MAX]; /* s: the first window_count of them */
	unsigned int window_count;          /* a: release when a window is ready */
	struct stray strays;
	struct fault_service *service; /* I */
	struct mm_counters counters;
};

static inline struct mem_region *mem_region_of(struct region *region)
{
	return (struct mem_region *)region;
}

static inline void mm_count(uint64_t *counter, uint64_t add)
{
	__atomic_fetch_add(counter, add, __ATOMIC_RELAXED);
}

/* How many windows there are, to be looked at by any thread. */
static inline unsigned int mm_window_count(const struct guest_mm *mm)
{
	return __atomic_load_n(&mm->window_count, __ATOMIC_ACQUIRE);
}

/* The window that covers a range, NULL if none does. */
struct window *mm_window(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes);

/**
 * populate_range() - have every page of a range present
 * @region: held by the caller, or marked and drained; it covers the range
 *
 * Context: Does not wait for locks. Several threads may populate the same pages.
 * Return: 0, -ENOMEM, or what userfaultfd said; what was populated stays so.
 */
int populate_range(struct guest_mm *mm, struct mem_region *region, gpa_t gpa, uint64_t size_bytes);

/**
 * populate_around() - the same for the page at @gpa and, if they are missing, its neighbours from
 * @first to @last, which is what the caller holds
 */
int populate_around(struct guest_mm *mm, struct mem_region *region, gpa_t gpa, gpa_t first,
		    gpa_t last);

/**
 * fault_service_start() - start the threads that read the userfaultfd
 */
int fault_service_start(struct guest_mm *mm, unsigned int threads, struct samara_error *err);
void fault_service_stop(struct guest_mm *mm);

/*
 * Have the retry thread look again: an operation is over, or there is a stray page to expire.
 * Context: no lock is held.
 */
void fault_service_retry(struct guest_mm *mm);

#endif
