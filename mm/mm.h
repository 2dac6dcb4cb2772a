/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MM_MM_H
#define MM_MM_H

#include <samara/guest_mm.h>

#include "mm/lock.h"
#include "mm/region.h"
#include "mm/slow.h"
#include "mm/stray.h"
#include "mm/uffd.h"
#include "mm/window.h"

struct fault_service;

/**
 * struct mem_region - a region of guest memory
 *
 * Lock key: I immutable.
 */
struct mem_region {
	struct region region;  /* first: region_retire() frees the whole */
	struct window *window; /* I */
	unsigned int prot;     /* I: protect puts another region in its place */
};

/* What guest_mm_get_stats() reports of operations and faults: atomic (relaxed), never decrease. */
struct mm_counters {
	uint64_t plugs, unplugs, remaps, protects, discards, rebacks;
	uint64_t failed_operations, discarded_pages;
	uint64_t faults, fault_pages, fault_write_protect, faults_deferred, faults_nothing;
	uint64_t faults_held, fault_errors, last_nothing_gpa;
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
	struct region_tree *tree;           /* I: mem_region by gpa */
	struct uffd *uffd;                  /* I: uffd_count of them */
	unsigned int uffd_count;            /* I */
	bool copy_only;                     /* I */
	bool huge_pages;                    /* I */
	bool letting_go;                    /* a: guest_mm_let_go() to guest_mm_hold_again() */
	uint64_t around_bytes;              /* I: what a fault populates at most */
	const void *zeros;                  /* I: zeros_bytes of them, a single page of the host */
	uint64_t zeros_bytes;               /* I: around_bytes, and a huge page at least */
	struct window windows[WINDOWS_MAX]; /* s: the first window_count of them */
	unsigned int window_count;          /* a: release when a window is ready */
	uint64_t page_bytes;                /* s: the largest of the windows' pages */
	struct stray strays;
	struct slow slow;
	uint64_t limit_bytes;          /* a: written with the tree locked; UINT64_MAX: none */
	uint64_t plugged_bytes;        /* a: the same */
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

struct range;

/*
 * The limit (mm/account.c): a range is charged before it becomes memory, and no more when it is
 * none. Context: tree lock held for writing. Return: 0, -EDQUOT.
 */
int limit_charge(struct guest_mm *mm, const struct range *range, struct samara_error *err);
void limit_uncharge(struct guest_mm *mm, const struct range *range);

/**
 * populate_range() - have every page of a range present
 * @region: held by the caller, or marked and drained; it covers the range
 *
 * Context: Does not wait for locks. Several threads may populate the same pages.
 * Return: 0, -ENOMEM, or what userfaultfd said; what was populated stays so.
 */
int populate_range(struct guest_mm *mm, struct mem_region *region, gpa_t gpa, uint64_t size_bytes);

/* What a fault at @gpa populates at most: to be held for populate_around(). */
void populate_block(const struct guest_mm *mm, gpa_t gpa, gpa_t *first, gpa_t *last);

/* Widen that for a guest that walks from one huge page to the next. Return: whether it does. */
bool populate_ahead(const struct guest_mm *mm, const struct window *window, gpa_t gpa, gpa_t *first,
		    gpa_t *last);

/**
 * populate_around() - the same for the page at @gpa and, if they are missing, its neighbours from
 * @first to @last, which is what the caller holds
 */
int populate_around(struct guest_mm *mm, struct mem_region *region, gpa_t gpa, gpa_t first,
		    gpa_t last);

/**
 * fault_service_start() - start the threads that read the userfaultfds
 * @anywhere: handlers are not kept on CPUs
 */
int fault_service_start(struct guest_mm *mm, unsigned int threads, bool anywhere,
			struct samara_error *err);
void fault_service_stop(struct guest_mm *mm);

/*
 * An operation is over, or held writes may go: try what is parked, if anything is.
 * Context: no lock is held.
 */
void fault_service_retry(struct guest_mm *mm);

/*
 * A mapping is about to be moved, or has been: have what userfaultfd says of it read.
 * Context: no lock that a fault takes is held.
 */
void fault_service_moving(struct guest_mm *mm, bool moving);

/* There is a stray page to expire. Context: no lock is held. */
void fault_service_stray(struct guest_mm *mm);

#endif
