/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_CTL_WAIT_H
#define VMM_CTL_WAIT_H

#include "vmm/ctl.h"
#include "vmm/qmp_client.h"

/*
 * What samara ctl's verbs that wait for the guest have in common: their commands, and the wait with
 * its progress line.
 */

/* How long the guest is waited for, unless --timeout says otherwise, and how long that can be. */
#define CTL_TIMEOUT_S     60
#define CTL_TIMEOUT_MAX_S 1000000

/* How long what was asked for has to be there, where the guest was on its way elsewhere before. */
#define CTL_SETTLE_MS     500

/* Run a command; takes @arguments over (NULL: none; out of memory shows as an error). */
int ctl_run(struct qmp_client *client, const char *execute, json_t *arguments, json_t **result,
	    struct samara_error *err);

/* Read a property; one that is a size. */
int ctl_get_property(struct qmp_client *client, const char *path, const char *property,
		     json_t **value, struct samara_error *err);
int ctl_get_size(struct qmp_client *client, const char *path, const char *property, uint64_t *bytes,
		 struct samara_error *err);

/* The entry of query-memory-devices whose id that is; borrowed, NULL: there is none. */
const json_t *ctl_find_device(const json_t *devices, const char *id);

/* Whether the guest runs, and so can answer. */
int ctl_is_running(struct qmp_client *client, bool *running, struct samara_error *err);

/**
 * struct ctl_wait - waiting for the guest
 * @what: for the progress line
 * @look: sees each event: 0: go on, 1: done, or -errno with the error set; NULL: none matters
 * @ask: asks the VM now and then, returns the same; NULL: events tell
 * @settle_ms: how long @ask has to say that it is done
 * @id, @path: of the device
 * @goal_bytes: shown with @now_bytes
 * @now_bytes: NULL: neither is shown
 * @arg: theirs
 */
struct ctl_wait {
	struct qmp_client *client;
	const char *what;
	uint64_t started_ms;
	long timeout_s;
	int (*look)(const struct ctl_wait *wait, const char *event, const json_t *data,
		    struct samara_error *err);
	int (*ask)(const struct ctl_wait *wait, struct samara_error *err);
	unsigned int settle_ms;
	const char *id, *path;
	uint64_t goal_bytes;
	uint64_t *now_bytes;
	void *arg;
};

/* Return: 0 (done), -ETIMEDOUT, -ESHUTDOWN (the VM has ended), or what @look or @ask returned. */
int ctl_wait_for_guest(const struct ctl_wait *wait, struct samara_error *err);

/* @ask, until the virtio-mem device at @path has @goal_bytes; -ECANCELED: other ones are wanted. */
int ctl_ask_plugged(const struct ctl_wait *wait, struct samara_error *err);

uint64_t ctl_now_ms(void);
double ctl_seconds_since(uint64_t started_ms);

#endif
