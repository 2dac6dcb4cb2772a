/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_CTL_WAIT_H
#define VMM_CTL_WAIT_H

#include "vmm/ctl.h"
#include "vmm/qmp_client.h"

/*
 * What samara ctl's verbs that wait for the guest have in common: their words, their commands, and
 * the wait with its progress line.
 */

/**
 * struct ctl_words - what was given on the command line
 * @node, @timeout_s: -1: not given
 */
struct ctl_words {
	const char *operand, *id;
	long node, timeout_s;
	bool json;
};

/* @options: those that the verb knows, as "--id --node". Return: 0, -EINVAL. */
int ctl_parse_words(int count, char **words, const char *options, struct ctl_words *out,
		    struct samara_error *err);

/* Run a command; takes @arguments over (NULL: none; out of memory shows as an error). */
int ctl_run(struct qmp_client *client, const char *execute, json_t *arguments, json_t **result,
	    struct samara_error *err);

/* A member that is a text; "" if it is none. */
const char *ctl_text(const json_t *object, const char *key);

/* The entry of query-memory-devices whose id that is; borrowed, NULL: there is none. */
const json_t *ctl_find_device(const json_t *devices, const char *id);

/* Whether the guest runs, and so can answer. */
int ctl_is_running(struct qmp_client *client, bool *running, struct samara_error *err);

/**
 * struct ctl_wait - waiting for the guest
 * @what: for the progress line
 * @look: sees each event: 0: go on, 1: done, or -errno with the error set
 */
struct ctl_wait {
	struct qmp_client *client;
	const char *what;
	uint64_t started_ms;
	long timeout_s;
	int (*look)(const struct ctl_wait *wait, const char *event, const json_t *data,
		    struct samara_error *err);
	const char *id;
	uint64_t goal_bytes;
	uint64_t *now_bytes; /* shown with the goal; NULL: neither */
};

/* Return: 0 (done), -ETIMEDOUT, -ESHUTDOWN (the VM has ended), or what @look returned. */
int ctl_wait_for_guest(const struct ctl_wait *wait, struct samara_error *err);

uint64_t ctl_now_ms(void);
double ctl_seconds_since(uint64_t started_ms);

/* The verbs, each in the file of its subject; as struct ctl_verb's @run. */
int ctl_plug(const char *path, int count, char **words, struct samara_error *err);
int ctl_unplug(const char *path, int count, char **words, struct samara_error *err);
int ctl_resize(const char *path, int count, char **words, struct samara_error *err);
int ctl_balloon(const char *path, int count, char **words, struct samara_error *err);
int ctl_free(const char *path, int count, char **words, struct samara_error *err);

#endif
