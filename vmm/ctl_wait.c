/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "vmm/ctl_wait.h"

/* How long the guest is waited for, unless --timeout says otherwise. */
#define TIMEOUT_S 60

/* How often the progress line is renewed. */
#define TICK_MS   200

static int parse_number(const char *name, const char *text, long *out, struct samara_error *err)
{
	char *end;

	errno = 0;
	*out = strtol(text, &end, 10);
	if (errno || !*text || *end || *out < 0 || *out > 1000000)
		return samara_error_set(err, -EINVAL, "%s: '%s' is not a number", name, text);
	return 0;
}

int ctl_parse_words(int count, char **words, const char *options, struct ctl_words *out,
		    struct samara_error *err)
{
	int i, ret = 0;

	*out = (struct ctl_words){.node = -1, .timeout_s = TIMEOUT_S};
	for (i = 0; !ret && i < count; i++) {
		const char *word = words[i], *value = i + 1 < count ? words[i + 1] : NULL;

		if (strncmp(word, "--", 2)) {
			out->operand = word;
		} else if (!strstr(options, word)) {
			ret = samara_error_set(err, -EINVAL, "there is no option %s here", word);
		} else if (!strcmp(word, "--json")) {
			out->json = true;
		} else if (!value) {
			ret = samara_error_set(err, -EINVAL, "%s: its value is missing", word);
		} else if (!strcmp(word, "--id")) {
			out->id = words[++i];
		} else if (!strcmp(word, "--node")) {
			ret = parse_number(word, words[++i], &out->node, err);
		} else {
			ret = parse_number(word, words[++i], &out->timeout_s, err);
		}
	}
	return ret;
}

/* ---- Commands -------------------------------------------------------------------------------- */

int ctl_run(struct qmp_client *client, const char *execute, json_t *arguments, json_t **result,
	    struct samara_error *err)
{
	json_t *command = json_pack("{s:s, s:o*}", "execute", execute, "arguments", arguments);
	int ret;

	if (!command)
		return samara_error_set(err, -ENOMEM, "out of memory");
	ret = qmp_client_run(client, command, result, err);
	json_decref(command);
	return ret;
}

const char *ctl_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

const json_t *ctl_find_device(const json_t *devices, const char *id)
{
	const json_t *device;
	size_t i;

	json_array_foreach(devices, i,
			   device) if (!strcmp(ctl_text(json_object_get(device, "data"), "id"),
					       id)) return device;
	return NULL;
}

int ctl_is_running(struct qmp_client *client, bool *running, struct samara_error *err)
{
	json_t *status = NULL;
	int ret = ctl_run(client, "query-status", NULL, &status, err);

	*running = json_is_true(json_object_get(status, "running"));
	json_decref(status);
	return ret;
}

/* ---- Waiting --------------------------------------------------------------------------------- */

uint64_t ctl_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void show_progress(const struct ctl_wait *wait)
{
	char now[32], goal[32];

	if (!isatty(STDERR_FILENO))
		return;
	fprintf(stderr, "\r\033[K%s: ", wait->what);
	if (wait->now_bytes) {
		ctl_format_size(now, sizeof(now), *wait->now_bytes);
		ctl_format_size(goal, sizeof(goal), wait->goal_bytes);
		fprintf(stderr, "%s, on the way to %s; ", now, goal);
	}
	fprintf(stderr, "the guest works, %" PRIu64 " s", (ctl_now_ms() - wait->started_ms) / 1000);
}

static void end_progress(void)
{
	if (isatty(STDERR_FILENO))
		fputs("\r\033[K", stderr);
}

/* Whatever ends the VM or its guest's life ends the wait. */
static int look_at_end(const char *event, struct samara_error *err)
{
	if (!strcmp(event, "SHUTDOWN"))
		return samara_error_set(err, -ESHUTDOWN, "the VM has ended meanwhile");
	return 0;
}

int ctl_wait_for_guest(const struct ctl_wait *wait, struct samara_error *err)
{
	uint64_t limit_ms = (uint64_t)wait->timeout_s * 1000;
	int ret = 0;

	while (!ret) {
		struct samara_error reason = {0};
		json_t *event = NULL;

		show_progress(wait);
		if (ctl_now_ms() - wait->started_ms >= limit_ms) {
			ret = samara_error_set(err, -ETIMEDOUT,
					       "%s: the guest has not answered within %ld s; the "
					       "request stands",
					       wait->what, wait->timeout_s);
			break;
		}
		ret = qmp_client_next_event(wait->client, TICK_MS, &event, &reason);
		if (ret == -ETIMEDOUT) {
			ret = 0;
			continue;
		}
		if (ret) {
			*err = reason;
			break;
		}
		ret = wait->look(wait, ctl_text(event, "event"), json_object_get(event, "data"),
				 err);
		if (!ret)
			ret = look_at_end(ctl_text(event, "event"), err);
		json_decref(event);
	}
	end_progress();
	return ret < 0 ? ret : 0;
}

double ctl_seconds_since(uint64_t started_ms)
{
	return (double)(ctl_now_ms() - started_ms) / 1000;
}
