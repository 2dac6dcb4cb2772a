/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_STRESS_WORKERS_H
#define VMM_STRESS_WORKERS_H

#include "vmm/stress_state.h"

/**
 * struct stress_workers - the host's threads of a run
 *
 * Locks: the main thread's.
 */
struct stress_workers {
	struct stress_worker *worker;
	unsigned int total, started;
};

/* Return: 0, -ENOMEM; then stress_workers_free() is called as well. */
int stress_workers_alloc(struct stress *s, struct stress_workers *workers,
			 struct samara_error *err);
void stress_workers_free(struct stress_workers *workers);

/* Return: 0, -EAGAIN (no thread to be had). */
int stress_workers_start(struct stress *s, struct stress_workers *workers,
			 struct samara_error *err);

/* Have them end, and wait for them, unless one hangs: then @s->hung says so. */
void stress_workers_join(struct stress *s, struct stress_workers *workers);

/* Look for an operation that hangs: then @s->hung says which. Return: whether there is one. */
bool stress_look_for_hung(struct stress *s);

#endif
