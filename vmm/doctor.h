/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_DOCTOR_H
#define VMM_DOCTOR_H

#include <stdbool.h>
#include <stddef.h>

/*
 * What this host offers samara, found out by trying. Each part adds its items; the verdicts at the
 * end follow from what was seen. One thread's own.
 */

enum doctor_status {
	DOCTOR_OK,
	DOCTOR_LIMITED, /* works, with a drawback */
	DOCTOR_MISSING,
};

/**
 * struct doctor_item - one thing that was looked at; strings are owned
 * @name: short and stable, for programs
 * @found: what was seen
 * @meaning: what that means for samara
 * @fix: how to get it; NULL: nothing to do, or nothing that can be done
 */
struct doctor_item {
	char *name;
	enum doctor_status status;
	char *found, *meaning, *fix;
};

enum doctor_virtualization {
	DOCTOR_NONE,
	DOCTOR_EMULATED,
	DOCTOR_HARDWARE,
};

/* Where something can run. */
enum doctor_way {
	DOCTOR_NO,
	DOCTOR_LAB,
	DOCTOR_DIRECT,
};

/**
 * struct doctor_report - what was found, and what follows
 * @kvm_usable: /dev/kvm has what samara needs
 * @uffd_usable: userfaultfd has what samara needs
 * @faults_served: a guest's access to a missing page was served through userfaultfd
 * @instructions_run: what stock kernels execute runs in a guest
 * @lab_usable: the emulated machine can be started
 */
struct doctor_report {
	struct doctor_item *items;
	size_t count, capacity;
	bool out_of_memory;
	enum doctor_virtualization virtualization;
	bool kvm_usable, uffd_usable, faults_served, instructions_run, lab_usable;
	enum doctor_way stock_kernel, stress;
};

/**
 * doctor_examine() - look at everything
 *
 * Context: Takes about a second; runs small guests where /dev/kvm allows.
 * Return: 0, -ENOMEM.
 */
int doctor_examine(struct doctor_report *report);

/* Free the items; all zero afterwards. */
void doctor_free(struct doctor_report *report);

/* The words that the report has for them, text and JSON alike. */
const char *doctor_status_name(enum doctor_status status);
const char *doctor_virtualization_name(enum doctor_virtualization virtualization);
const char *doctor_way_name(enum doctor_way way);

/**
 * doctor_conclude() - from what was seen to where things can run; by itself, for tests
 */
void doctor_conclude(struct doctor_report *report);

/*
 * For the parts. @meaning and @fix are copied; @fix is kept only if @status is not DOCTOR_OK.
 */
void doctor_add(struct doctor_report *report, const char *name, enum doctor_status status,
		const char *meaning, const char *fix, const char *found_format, ...)
	__attribute__((format(printf, 6, 7)));

/* The parts of doctor_examine(), in its order; each adds its items. Context: May sleep. */
void doctor_examine_kvm(struct doctor_report *report);
void doctor_examine_guest(struct doctor_report *report);
void doctor_examine_userfaultfd(struct doctor_report *report);
void doctor_examine_host(struct doctor_report *report);

#endif
