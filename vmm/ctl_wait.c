/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "vmm/ctl_wait.h"

/* How often the progress line is renewed. */
#define TICK_MS 200

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

int ctl_get_property(struct qmp_client *client, const char *path, const char *property,
		     json_t **value, struct samara_error *err)
{
	return ctl_run(client, "qom-get",
		       json_pack("{s:s, s:s}", "path", path, "property", property), value, err);
}

int ctl_get_size(struct qmp_client *client, const char *path, const char *property, uint64_t *bytes,
		 struct samara_error *err)
{
	json_t *value = NULL, *object;
	int ret = ctl_get_property(client, path, property, &value, err);

	if (ret)
		return ret;
	object = json_pack("{s:o}", "size", value);
	*bytes = ctl_number(object, "size");
	json_decref(object);
	return 0;
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

/* A question that failed: the VM may have said before that it ends, which is the better reason. */
static int explain(struct qmp_client *client, int ret, struct samara_error *err)
{
	struct samara_error ignored = {0};
	json_t *event = NULL;
	int ended = 0;

	while (!ended && !qmp_client_next_event(client, 0, &event, &ignored)) {
		ended = look_at_end(ctl_text(event, "event"), err);
		json_decref(event);
	}
	return ended ? ended : ret;
}

/* Whether @ask says that it is done, and has said so for @settle_ms. Return: 1, 0, -errno. */
static int ask(const struct ctl_wait *wait, uint64_t *done_ms, struct samara_error *err)
{
	int ret = wait->ask ? wait->ask(wait, err) : 0;

	if (ret < 0)
		return explain(wait->client, ret, err);
	if (!ret) {
		*done_ms = 0;
		return 0;
	}
	if (!*done_ms)
		*done_ms = ctl_now_ms();
	return ctl_now_ms() - *done_ms >= wait->settle_ms;
}

int ctl_wait_for_guest(const struct ctl_wait *wait, struct samara_error *err)
{
	uint64_t limit_ms = (uint64_t)wait->timeout_s * 1000, done_ms = 0;
	int ret = 0;

	while (!ret) {
		struct samara_error reason = {0};
		json_t *event = NULL;

		ret = ask(wait, &done_ms, err);
		if (ret)
			break;
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
		if (wait->look)
			ret = wait->look(wait, ctl_text(event, "event"),
					 json_object_get(event, "data"), err);
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
