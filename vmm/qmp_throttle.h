/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_QMP_THROTTLE_H
#define VMM_QMP_THROTTLE_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/virtio_slots.h"
#include "vmm/vm_event.h"

/*
 * Events of which a guest makes as many as it likes, and the last one says it all: the size of a
 * balloon or of a virtio-mem. One each goes out in QMP_THROTTLE_MS, and the last one always does.
 */
#define QMP_THROTTLE_MS 100

/**
 * struct qmp_throttled - one source of such events: an event, and the device that makes it
 * @path: its QOM path, "" if the event names none
 * @text: the message that waits, NULL: none
 * @next_ms: when the next one may go; on the caller's clock
 */
struct qmp_throttled {
	enum vm_event event;
	char path[96];
	char *text;
	uint64_t next_ms;
};

/* struct qmp_throttle - all sources; zeroed at first; under its owner's lock */
struct qmp_throttle {
	struct qmp_throttled sources[VIRTIO_SLOTS];
	unsigned int count;
};

/**
 * qmp_throttle_hold() - whether an event has to wait
 * @text: its message; taken over if it has to: what waited before is freed, and never sent
 */
bool qmp_throttle_hold(struct qmp_throttle *throttle, const struct vm_notice *notice, char *text,
		       uint64_t now_ms);

/**
 * qmp_throttle_end() - forget the device that an event tells the end of; of others nothing
 *
 * Return: what waits of it, to be sent before that event, and freed; NULL: nothing does.
 */
char *qmp_throttle_end(struct qmp_throttle *throttle, const struct vm_notice *notice);

/* The next message whose time has come, to be freed; NULL: there is none. */
char *qmp_throttle_due(struct qmp_throttle *throttle, uint64_t now_ms);

/* In how many ms there will be one; -1: nothing waits. */
int qmp_throttle_timeout_ms(const struct qmp_throttle *throttle, uint64_t now_ms);

/* Free what waits. */
void qmp_throttle_clear(struct qmp_throttle *throttle);

#endif
