/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef GUEST_STRESS_ABI_H
#define GUEST_STRESS_ABI_H

/*
 * What the stress guest and `samara stress` share: a control block in guest memory that is always
 * plugged, and how memory contents are named.
 *
 * Both sides read and write it while the other runs; fields marked "atomic" by __atomic builtins.
 * The guest trusts the host; the host checks what it reads.
 */

#define STRESS_MAX_CPUS        256u
#define STRESS_MAX_SLOTS       1024u
#define STRESS_SHARED_COUNTERS 64u
#define STRESS_LIVE_COUNTERS   32u
#define STRESS_PROTECT_PAGES   32u
#define STRESS_LIVE_PLACES     3u
#define STRESS_ERRORS          256u
#define STRESS_ORDER           4096u
#define STRESS_PAGE_SHIFT      12
#define STRESS_PAGE_BYTES      4096u
#define STRESS_PAGE_WORDS      512u

/* The guest writes here when a vCPU has finished: any port without a device will do. */
#define STRESS_DONE_PORT       0xf4

/* And here each round, if it shall: the host hands it back to KVM at once. */
#define STRESS_LEAVE_PORT      0xf5

#ifndef __ASSEMBLER__

#include <stdint.h>

/*
 * A pattern names the word's address and the generation of the write, so that a wrong word says
 * whose it is. Never 0: what was never written reads as 0.
 */
#define STRESS_GENERATION_BITS  24
#define STRESS_GENERATION_SHIFT 40

static inline uint64_t stress_pattern(uint64_t gpa, uint32_t generation)
{
	return (uint64_t)generation << STRESS_GENERATION_SHIFT | gpa >> 3;
}

/*
 * Counters in memory that the host moves while vCPUs increment them carry a signature above the
 * count: where nothing is plugged the guest reads zeros, or what it wrote there a moment ago, and
 * an increment that found no signature has hit nothing.
 */
#define STRESS_LIVE_SHIFT     48
#define STRESS_LIVE_SIGNATURE UINT64_C(0x5a5e)
#define STRESS_LIVE_COUNT     ((UINT64_C(1) << STRESS_LIVE_SHIFT) - 1)

/*
 * Latencies in TSC cycles, with two significant digits: 128 buckets per power of two, so a bucket
 * is at most 0.79 % wide. Values below 128 have a bucket each; everything from 2^44 on is in the
 * last. The scheme is that of G. Tene's HdrHistogram.
 */
#define STRESS_SUB_BITS       7
#define STRESS_TOP_BIT        44
#define STRESS_BUCKETS        ((STRESS_TOP_BIT - STRESS_SUB_BITS + 1) << STRESS_SUB_BITS)

static inline uint32_t stress_bucket(uint64_t value)
{
	uint32_t shift;

	if (value < 1u << STRESS_SUB_BITS)
		return (uint32_t)value;
	if (value >> STRESS_TOP_BIT)
		return STRESS_BUCKETS - 1;
	shift = 63 - STRESS_SUB_BITS - (uint32_t)__builtin_clzll(value);
	return ((shift + 1) << STRESS_SUB_BITS) + (uint32_t)(value >> shift) -
	       (1u << STRESS_SUB_BITS);
}

/**
 * struct stress_area - which words of a slot carry a pattern, and which
 * @gpa: where the slot was when they were written; the patterns name this address
 * @generation: of the write; 0: the words read as 0
 * @first_page, @page_step, @pages: page k is first_page + k * page_step, counted from the slot
 * @first_word, @word_step, @words: the same within each page
 */
struct stress_area {
	uint64_t gpa;
	uint32_t generation;
	uint32_t first_page, page_step, pages;
	uint32_t first_word, word_step, words;
	uint32_t pad;
};

#include "guest/stress_device_abi.h"

enum stress_slot_state {
	STRESS_SLOT_HOST,    /* the host's: the guest keeps off */
	STRESS_SLOT_OFFERED, /* for any vCPU to claim */
	STRESS_SLOT_CLAIMED, /* a vCPU is at it */
	STRESS_SLOT_DONE,    /* back to the host */
};

#define STRESS_VISIT_FRESH   1u /* just plugged: words were 0; first touches are timed */
#define STRESS_VISIT_NOTHING 2u /* not plugged: reads give 0, what is written is forgotten */

/**
 * struct stress_slot - one visit of a vCPU to a slot
 * @state: atomic, enum stress_slot_state; says who owns the other fields
 * @gpa: where the slot is now
 * @expect: checked first
 * @write: written then, and read back; 0 pages: nothing
 */
struct stress_slot {
	uint32_t state;
	uint32_t flags;
	uint64_t gpa;
	struct stress_area expect, write;
} __attribute__((aligned(128)));

/* Where a wrong word was found. */
enum stress_error_kind {
	STRESS_ERROR_FRESH = 1, /* a plugged page was not zero */
	STRESS_ERROR_PATTERN,   /* a slot's contents */
	STRESS_ERROR_READBACK,  /* the same, just after the write */
	STRESS_ERROR_NOTHING,   /* a read where nothing is plugged */
	STRESS_ERROR_OWN,       /* the vCPU's own region */
	STRESS_ERROR_PROTECT,   /* its own word in the range that is write-protected at times */
	STRESS_ERROR_SHARED,    /* an increment that found a smaller count than the vCPU's own */
	STRESS_ERROR_LIVE,      /* the same, in memory that moves */
	STRESS_ERROR_LEAVING,   /* while it is unplugged: neither what was there nor zeros */
	STRESS_ERROR_BALLOON,   /* a page in the balloon was not zero */
	STRESS_ERROR_ANSWER,    /* @gpa: of a block; @found: what virtio-mem answered about it */
};

/* @filled: atomic, set last. */
struct stress_error {
	uint32_t filled;
	uint32_t kind, cpu, generation;
	uint64_t gpa, expected, found;
};

/**
 * struct stress_vcpu - what one vCPU has done; written by that vCPU, read by the host at any time
 * @heartbeat: rounds so far
 * @tsc: its time-stamp counter at the last round
 * @finished: 1 when it has seen struct stress_control.stop and touches memory no more
 * @device_visits: to units of devices
 * @shared, @live, @protect: increments that it has made, by counter
 * @protect_last: what its own word of each page of the protect range holds
 */
struct stress_vcpu {
	uint64_t heartbeat, tsc;
	uint64_t finished;
	uint64_t checked_words, visits, nothing_accesses, live_missed;
	uint64_t device_visits;
	uint64_t fault_max;
	uint64_t shared[STRESS_SHARED_COUNTERS];
	uint64_t live[STRESS_LIVE_COUNTERS];
	uint64_t protect[STRESS_PROTECT_PAGES];
	uint64_t protect_last[STRESS_PROTECT_PAGES];
	uint32_t fault_buckets[STRESS_BUCKETS];
} __attribute__((aligned(4096)));

/**
 * struct stress_control - the control block
 * @stop: atomic; set by the host: finish
 * @leave: vCPUs leave the guest each round, so that KVM_RUN is called often
 * @words: atomic; set by vCPU 0 first of all: words to write in a page, by its speed
 * @live_gpa: atomic; where the live counters are, behind the host's moves by a moment
 * @fault_around_pages: pages that one fault populates, a power of two
 * @order: slots in the order in which vCPUs look at them: vCPU n begins at n * @order_first and goes
 *   on by @order_step, round the first @order_length
 * @error_count: atomic; all errors; the first STRESS_ERRORS are in @errors
 */
struct stress_control {
	uint32_t stop;
	uint32_t words;
	uint32_t cpus, slots;
	uint32_t fault_around_pages;
	uint32_t own_pages;
	uint32_t leave, pad;
	uint64_t live_gpa;
	uint64_t own_gpa; /* of vCPU 0; the others follow */
	uint64_t own_stride_bytes;
	uint64_t shared_gpa;
	uint64_t protect_gpa;
	uint64_t slot_pages;
	uint32_t order_length, order_first, order_step;
	uint32_t error_count;
	uint16_t order[STRESS_ORDER];
	struct stress_error errors[STRESS_ERRORS];
	struct stress_slot slot[STRESS_MAX_SLOTS];
	struct stress_devices_block devices;
	struct stress_vcpu vcpu[STRESS_MAX_CPUS];
};

/* Byte offsets of counters: shared ones four to a page, two of them on one cache line. */
static inline uint64_t stress_shared_offset(uint32_t counter)
{
	return (uint64_t)(counter >> 2) * STRESS_PAGE_BYTES + (counter & 2) * 512 +
	       (counter & 1) * 8;
}
#define STRESS_SHARED_BYTES (STRESS_SHARED_COUNTERS / 4 * STRESS_PAGE_BYTES)

/* Live counters are eight pages apart, at different places in their page. */
static inline uint64_t stress_live_offset(uint32_t counter)
{
	return (uint64_t)counter * 8 * STRESS_PAGE_BYTES + counter * 72;
}
#define STRESS_LIVE_BYTES (STRESS_LIVE_COUNTERS * 8 * STRESS_PAGE_BYTES)

/* Each page of the protect range begins with a counter; vCPU n has word 8 + n. */
static inline uint64_t stress_protect_word(uint32_t cpu)
{
	return (8 + cpu) * 8;
}

#endif /* __ASSEMBLER__ */
#endif
