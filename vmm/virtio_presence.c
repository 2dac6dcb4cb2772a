/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "vmm/virtio_presence.h"

#define REMIND_S 1

/*
 * Lock key: [i] immutable, [a] atomic, a bit for each slot, [o] the owner's, [l] lock, a leaf.
 * vCPUs take no lock.
 */
struct virtio_presence {
	struct irq irq;      /* [i] */
	atomic_uint present; /* [a] */
	atomic_uint unseen;  /* [a] changed, and not looked at since */
	pthread_t thread;    /* [o] */
	bool started;        /* [o] */
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stop; /* [l] */
};

/* ---- Telling --------------------------------------------------------------------------------- */

static void wait_a_while(struct virtio_presence *presence)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += REMIND_S;
	pthread_cond_timedwait(&presence->wake, &presence->lock, &until);
}

static void *remind(void *arg)
{
	struct virtio_presence *presence = arg;

	pthread_mutex_lock(&presence->lock);
	while (!presence->stop) {
		if (atomic_load(&presence->unseen)) {
			irq_trigger(&presence->irq);
			wait_a_while(presence);
		} else {
			pthread_cond_wait(&presence->wake, &presence->lock);
		}
	}
	pthread_mutex_unlock(&presence->lock);
	return NULL;
}

/* A thread that no signal is delivered to: those are the main thread's and the vCPUs'. */
static int start_thread(struct virtio_presence *presence)
{
	sigset_t all, old;
	int ret;

	if (presence->started)
		return 0;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	ret = -pthread_create(&presence->thread, NULL, remind, presence);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	presence->started = !ret;
	return ret;
}

void virtio_presence_set(struct virtio_presence *presence, unsigned int slot, bool there)
{
	if (there)
		atomic_fetch_or(&presence->present, 1u << slot);
	else
		atomic_fetch_and(&presence->present, ~(1u << slot));
}

int virtio_presence_change(struct virtio_presence *presence, unsigned int slot, bool there)
{
	int ret = start_thread(presence);

	if (ret)
		return ret;
	virtio_presence_set(presence, slot, there);
	pthread_mutex_lock(&presence->lock);
	atomic_fetch_or(&presence->unseen, 1u << slot);
	pthread_cond_signal(&presence->wake);
	pthread_mutex_unlock(&presence->lock);
	return 0;
}

/* ---- The ports ------------------------------------------------------------------------------- */

static void read_ports(void *device, uint64_t offset, void *data, unsigned int length)
{
	struct virtio_presence *presence = device;
	uint8_t *bytes = data;

	for (unsigned int i = 0; i < length; i++) {
		uint32_t bit = 1u << (offset + i);

		/* First: a change after the look is one that is not seen. */
		atomic_fetch_and(&presence->unseen, ~bit);
		bytes[i] = (atomic_load(&presence->present) & bit) != 0;
	}
}

const struct bus_ops virtio_presence_bus_ops = {
	.read = read_ports,
};

/* ---- Life ------------------------------------------------------------------------------------ */

int virtio_presence_create(struct irq irq, struct virtio_presence **out)
{
	struct virtio_presence *presence = calloc(1, sizeof(*presence));
	pthread_condattr_t clock;

	if (!presence)
		return -ENOMEM;
	presence->irq = irq;
	pthread_mutex_init(&presence->lock, NULL);
	pthread_condattr_init(&clock);
	pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	pthread_cond_init(&presence->wake, &clock);
	pthread_condattr_destroy(&clock);
	*out = presence;
	return 0;
}

void virtio_presence_stop(struct virtio_presence *presence)
{
	if (!presence || !presence->started)
		return;
	pthread_mutex_lock(&presence->lock);
	presence->stop = true;
	pthread_cond_signal(&presence->wake);
	pthread_mutex_unlock(&presence->lock);
	pthread_join(presence->thread, NULL);
	presence->started = false;
}

void virtio_presence_destroy(struct virtio_presence *presence)
{
	if (!presence)
		return;
	virtio_presence_stop(presence);
	pthread_cond_destroy(&presence->wake);
	pthread_mutex_destroy(&presence->lock);
	free(presence);
}

void virtio_presence_reset(struct virtio_presence *presence)
{
	atomic_store(&presence->unseen, 0);
}
