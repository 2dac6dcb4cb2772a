/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_TORTURE_GUEST_MM_WINDOWS_H
#define TESTS_TORTURE_GUEST_MM_WINDOWS_H

#include <stdbool.h>
#include <stdint.h>

#include <samara/guest_mm.h>

/*
 * A memory manager with two windows of one backing, BASE and SECOND, and what a guest would do by raw
 * accesses through the windows' host addresses.
 */

#define PAGE         SAMARA_PAGE_BYTES
#define BASE         UINT64_C(0x100000000)
#define SECOND       UINT64_C(0x200000000)
#define WINDOW_BYTES (UINT64_C(64) << 20)

/**
 * struct windows - immutable once made
 * @mm: nothing is plugged in it at first
 * @window: at BASE, at SECOND
 */
struct windows {
	struct guest_mm *mm;
	struct guest_mm_window window[2];
};

/* Ends the program when it cannot. */
void windows_make(struct windows *windows, enum guest_mm_backing backing, bool copy_only);

/* Context: nobody accesses them any more. */
void windows_destroy(struct windows *windows);

/* The word at a gpa of one of the windows. */
uint64_t *windows_word(const struct windows *windows, gpa_t gpa);

/* Ends the program when what a test needs to begin with has failed. */
void must(int ret, const struct samara_error *err);

#endif
