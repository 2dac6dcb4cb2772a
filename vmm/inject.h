/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_INJECT_H
#define VMM_INJECT_H

#include <stdbool.h>
#include <stdint.h>

#include <samara/error.h>

/*
 * Faults on purpose: calls that samara makes into the C library and the kernel fail, or take long,
 * with given odds. vmm/inject_wrap.c puts inject_strike() in front of these calls in the program
 * samara; while nothing is armed it costs one load and a branch that is never taken.
 */
enum inject_place {
	INJECT_ALLOC, /* malloc, calloc, realloc, posix_memalign */
	INJECT_MMAP,
	INJECT_MREMAP,
	INJECT_MADVISE,
	INJECT_FALLOCATE,
	INJECT_UFFD_COPY,
	INJECT_UFFD_ZERO,
	INJECT_UFFD_MOVE,
	INJECT_UFFD_PROTECT,
	INJECT_UFFD_WAKE, /* takes long only: it never fails */
	INJECT_KVM_RUN,   /* is interrupted: EINTR or EAGAIN */
	INJECT_KVM_SETUP, /* the VM, its memslots and vCPUs */
	INJECT_PLACES
};

/* "alloc", "uffd-copy", ... */
extern const char *const inject_place_names[INJECT_PLACES];

/**
 * struct inject_rules - what happens where
 * @odds: one of so many calls there is struck; 0: none
 * @delay_ns: it then takes so much longer; 0: it fails
 */
struct inject_rules {
	struct {
		uint32_t odds;
		uint64_t delay_ns;
	} place[INJECT_PLACES];
};

/**
 * inject_parse() - add a rule: "PLACE:ODDS" or "PLACE:ODDS:DELAY", as "uffd-copy:100:2ms"
 *
 * The place "all" stands for each but kvm-setup. DELAY has the unit ns, us, ms or s.
 * Return: 0, -EINVAL; the text says what is wrong, and which places there are.
 */
int inject_parse(struct inject_rules *rules, const char *text, struct samara_error *err);

/* Whether there is any rule; whether there is one that makes calls fail. */
bool inject_any(const struct inject_rules *rules);
bool inject_any_fails(const struct inject_rules *rules);

/**
 * inject_arm() - begin; the same @seed strikes the same calls, counted at each place
 * inject_disarm() - end
 *
 * Context: any thread; one plan at a time.
 */
void inject_arm(const struct inject_rules *rules, uint64_t seed);
void inject_disarm(void);

/* The same for the time in which a VM is made: only calls to KVM that make it are struck. */
void inject_arm_setup(const struct inject_rules *rules, uint64_t seed);

/* Spare this thread's calls, until as many inject_resume(). */
void inject_pause(void);
void inject_resume(void);

/* Whether a rule is armed that makes calls fail, and whether this code is what they fail with. */
bool inject_fails(void);
bool inject_is_code(int code);

/**
 * struct inject_counts - calls at each place since inject_arm(), and those that were struck
 */
struct inject_counts {
	uint64_t calls[INJECT_PLACES], struck[INJECT_PLACES];
};

void inject_get_counts(struct inject_counts *counts);

/* ---- For vmm/inject_wrap.c ------------------------------------------------------------------- */

extern bool inject_armed; /* atomic */

int inject_roll(enum inject_place place);

/* Return: the errno to fail with, or 0: go on. */
static inline int inject_strike(enum inject_place place)
{
	if (__builtin_expect(!__atomic_load_n(&inject_armed, __ATOMIC_ACQUIRE), 1))
		return 0;
	return inject_roll(place);
}

#endif
