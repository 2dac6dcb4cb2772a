/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>

#include "tests/bench/maple_companion.h"

/**
 * struct companion - the second thread and what it is told
 * @mutex, @wake: guard and announce @work and @done
 * @work: what to do; NULL when there is nothing
 * @arg: for @work
 * @done: the work has stopped
 * @running, @stop: atomic, for the work
 * @preemptions: during the last work; under @mutex
 * @all, @first, @second: the CPUs there are, and the two that are used; immutable
 */
static struct companion {
	pthread_mutex_t mutex;
	pthread_cond_t wake;
	companion_work *work;
	void *arg;
	bool done;
	bool running;
	bool stop;
	long preemptions;
	cpu_set_t all, first, second;
} companion = {
	.mutex = PTHREAD_MUTEX_INITIALIZER,
	.wake = PTHREAD_COND_INITIALIZER,
};

long companion_preemptions(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_nivcsw;
}

static void *companion_thread(void *unused)
{
	long before;

	(void)unused;
	pthread_mutex_lock(&companion.mutex);
	for (;;) {
		while (!companion.work)
			pthread_cond_wait(&companion.wake, &companion.mutex);
		pthread_mutex_unlock(&companion.mutex);
		before = companion_preemptions();
		companion.work(companion.arg, &companion.running, &companion.stop);
		pthread_mutex_lock(&companion.mutex);
		companion.preemptions = companion_preemptions() - before;
		companion.work = NULL;
		companion.done = true;
		pthread_cond_broadcast(&companion.wake);
	}
	return NULL;
}

int companion_start(void)
{
	cpu_set_t *sets[] = {&companion.first, &companion.second};
	unsigned int found = 0;
	pthread_t thread;
	int err;

	if (sched_getaffinity(0, sizeof(companion.all), &companion.all))
		return -errno;
	for (int cpu = 0; cpu < CPU_SETSIZE && found < 2; cpu++) {
		if (CPU_ISSET(cpu, &companion.all))
			CPU_SET(cpu, sets[found++]);
	}
	if (found < 2)
		return -ENODEV;
	err = pthread_create(&thread, NULL, companion_thread, NULL);
	if (err)
		return -err;
	pthread_setaffinity_np(thread, sizeof(companion.second), &companion.second);
	pthread_detach(thread);
	return 0;
}

void companion_begin(companion_work *work, void *arg)
{
	pthread_setaffinity_np(pthread_self(), sizeof(companion.first), &companion.first);
	__atomic_store_n(&companion.stop, false, __ATOMIC_RELAXED);
	__atomic_store_n(&companion.running, false, __ATOMIC_RELAXED);
	pthread_mutex_lock(&companion.mutex);
	companion.done = false;
	companion.arg = arg;
	companion.work = work;
	pthread_cond_broadcast(&companion.wake);
	pthread_mutex_unlock(&companion.mutex);
	while (!__atomic_load_n(&companion.running, __ATOMIC_ACQUIRE))
		sched_yield();
}

bool companion_end(void)
{
	bool undisturbed;

	__atomic_store_n(&companion.stop, true, __ATOMIC_RELAXED);
	pthread_mutex_lock(&companion.mutex);
	while (!companion.done)
		pthread_cond_wait(&companion.wake, &companion.mutex);
	undisturbed = companion.preemptions == 0;
	pthread_mutex_unlock(&companion.mutex);
	pthread_setaffinity_np(pthread_self(), sizeof(companion.all), &companion.all);
	return undisturbed;
}
