/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/stress_workers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/stress_clock.h"

int stress_workers_alloc(struct stress *s, struct stress_workers *workers, struct samara_error *err)
{
	const struct stress_options *options = &s->options;
	struct stress_rng seeds = {options->seed};

	workers->total = options->operators + options->strangers + options->devices;
	workers->worker = calloc(workers->total, sizeof(*workers->worker));
	if (!workers->worker)
		goto out_of_memory;
	for (unsigned int i = 0; i < workers->total; i++) {
		struct stress_worker *w = &workers->worker[i];

		w->stress = s;
		w->rng.state = stress_random(&seeds);
		w->index = i;
		if (i < options->operators)
			stress_planner_init(&w->planner, &s->options, &s->order, i, w->rng.state);
		else if (i < options->operators + options->strangers)
			w->index -= options->operators;
		else
			w->index -= options->operators + options->strangers;
		w->buffer = malloc(STRESS_WORKER_BYTES);
		if (!w->buffer)
			goto out_of_memory;
	}
	return 0;

out_of_memory:
	return samara_error_set(err, -ENOMEM, "out of memory for %u workers", workers->total);
}

int stress_workers_start(struct stress *s, struct stress_workers *workers, struct samara_error *err)
{
	const struct stress_options *options = &s->options;

	for (unsigned int i = 0; i < workers->total; i++) {
		struct stress_worker *w = &workers->worker[i];
		void *(*main)(void *) = stress_device_main;
		int ret;

		if (i < options->operators)
			main = stress_operator_main;
		else if (i < options->operators + options->strangers)
			main = stress_stranger_main;
		ret = pthread_create(&w->thread, NULL, main, w);
		if (ret)
			return samara_error_set(err, -ret, "no thread to be had: %s",
						strerror(ret));
		workers->started++;
	}
	return 0;
}

/* An operation that takes so long hangs: the largest takes a second or two where all is slow, and more
 * where other programs have the CPUs. */
#define HANG_NS (60 * STRESS_NS_PER_S)

static void set_hung(struct stress *s, const char *what)
{
	if (s->hung.code)
		return;
	samara_error_set(&s->hung, -ETIMEDOUT, "it hangs: %s", what);
	stress_operation_error(s, &s->hung, "hung");
}

bool stress_look_for_hung(struct stress *s)
{
	struct stress_log_entry running[STRESS_MAX_WORKERS];
	unsigned int count = stress_log_running(&s->log, running, STRESS_MAX_WORKERS);
	uint64_t now = stress_now_ns();
	char text[160];

	/* The latest comes first: who waits for the one that hangs began after it. */
	while (count--) {
		if (now < running[count].began_ns + HANG_NS ||
		    stress_op_is_guests(running[count].op))
			continue;
		stress_log_describe(&running[count], now, text, sizeof(text));
		set_hung(s, text);
		return true;
	}
	return false;
}

/* Wait for a worker as long as nothing hangs. Return: whether it has ended. */
static bool worker_join(struct stress *s, struct stress_worker *w)
{
	uint64_t start = stress_now_ns();
	struct timespec until;

	do {
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec++;
		if (!pthread_timedjoin_np(w->thread, NULL, &until))
			return true;
	} while (!stress_look_for_hung(s) && stress_now_ns() - start < 2 * HANG_NS);
	set_hung(s, "a device, or the check after an operation, does not end");
	return false;
}

void stress_workers_join(struct stress *s, struct stress_workers *workers)
{
	__atomic_store_n(&s->stopping, true, __ATOMIC_RELEASE);
	for (unsigned int i = 0; i < workers->started; i++)
		if (!worker_join(s, &workers->worker[i]))
			return;
	workers->started = 0;
}

void stress_workers_free(struct stress_workers *workers)
{
	for (unsigned int i = 0; workers->worker && i < workers->total; i++)
		free(workers->worker[i].buffer);
	free(workers->worker);
}
