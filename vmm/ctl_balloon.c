/* SPDX-License-Identifier: GPL-2.0-or-later */
/* samara ctl balloon SIZE: how much of its memory the guest has left. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/param.h>

#include "vmm/balloon.h"
#include "vmm/ctl_wait.h"

/**
 * struct state - a balloon, as the VM tells
 * @given_bytes: all the guest's memory, what is in the balloon included
 * @actual_bytes, @target_bytes: what is, and is to be, in the balloon
 * @moved_pages: that went in and out since the VM began
 *
 * "Actual" of QMP is how much the guest has left, so it changes when memory is plugged, and so does
 * BALLOON_CHANGE's. Whether the guest has done as it was asked, only what is in the balloon tells.
 */
struct state {
	uint64_t given_bytes, actual_bytes, target_bytes, moved_pages;
};

static int get_counters(struct qmp_client *client, struct state *state, struct samara_error *err)
{
	json_t *counters = NULL;
	int ret = ctl_get_property(client, BALLOON_PATH, "x-samara-counters", &counters, err);

	state->actual_bytes = ctl_number(counters, "actual-bytes");
	state->target_bytes = ctl_number(counters, "target-bytes");
	state->moved_pages =
		ctl_number(counters, "inflated-pages") + ctl_number(counters, "deflated-pages");
	json_decref(counters);
	return ret;
}

static int get_state(struct qmp_client *client, struct state *state, struct samara_error *err)
{
	json_t *summary = NULL;
	int ret;

	/* It says so if there is no balloon. */
	ret = ctl_run(client, "query-balloon", NULL, NULL, err);
	if (!ret)
		ret = ctl_run(client, "query-memory-size-summary", NULL, &summary, err);
	state->given_bytes =
		ctl_number(summary, "base-memory") + ctl_number(summary, "plugged-memory");
	json_decref(summary);
	return ret ? ret : get_counters(client, state, err);
}

static uint64_t left_bytes(uint64_t given_bytes, uint64_t balloon_bytes)
{
	return balloon_bytes < given_bytes ? given_bytes - balloon_bytes : 0;
}

static int refuse_other_target(struct samara_error *err)
{
	return samara_error_set(err, -ECANCELED,
				"balloon: somebody else has asked for another size meanwhile");
}

static int ask_balloon(const struct ctl_wait *wait, struct samara_error *err)
{
	uint64_t *moved_pages = wait->arg;
	struct state state = {0};
	bool resting;
	int ret = get_counters(wait->client, &state, err);

	if (ret)
		return ret;
	if (state.target_bytes != wait->goal_bytes)
		return refuse_other_target(err);
	resting = !wait->settle_ms || state.moved_pages == *moved_pages;
	*moved_pages = state.moved_pages;
	*wait->now_bytes = state.actual_bytes;
	return state.actual_bytes == wait->goal_bytes && resting;
}

/* Memory that came or went while the guest was at work is the guest's: the request was made before. */
static void tell(const struct state *before, const struct state *now, bool running,
		 uint64_t started_ms)
{
	char left[32], size[32];

	ctl_format_size(left, sizeof(left), left_bytes(now->given_bytes, now->target_bytes));
	if (running)
		printf("the guest has %s left (%.1f s)", left, ctl_seconds_since(started_ms));
	else
		printf("the guest will have %s left, when it runs", left);
	if (now->given_bytes > before->given_bytes) {
		ctl_format_size(size, sizeof(size), now->given_bytes - before->given_bytes);
		printf("; %s of it were plugged meanwhile", size);
	} else if (now->given_bytes < before->given_bytes) {
		ctl_format_size(size, sizeof(size), before->given_bytes - now->given_bytes);
		printf("; %s were unplugged meanwhile", size);
	}
	putchar('\n');
}

/* What has to be in the balloon, of which only whole pages can be. */
static uint64_t balloon_bytes(uint64_t given_bytes, uint64_t wanted_bytes)
{
	return left_bytes(given_bytes, wanted_bytes) & ~(SAMARA_PAGE_BYTES - 1);
}

/* Ask for it. @before: as it was; @now: since then */
static int set_target(struct qmp_client *client, uint64_t wanted_bytes, const struct state *before,
		      struct state *now, struct samara_error *err)
{
	uint64_t first_bytes, last_bytes;
	char wanted[24];
	int ret;

	snprintf(wanted, sizeof(wanted), "0x%" PRIx64, wanted_bytes);
	ret = ctl_run(client, "balloon", json_pack("{s:s}", "value", wanted), NULL, err);
	if (!ret)
		ret = get_state(client, now, err);
	if (ret)
		return ret;
	/* Memory may have come or gone before the VM reckoned, or after. */
	first_bytes = balloon_bytes(before->given_bytes, wanted_bytes);
	last_bytes = balloon_bytes(now->given_bytes, wanted_bytes);
	if (now->target_bytes < MIN(first_bytes, last_bytes) ||
	    now->target_bytes > MAX(first_bytes, last_bytes))
		return refuse_other_target(err);
	return 0;
}

static int fill_balloon(struct qmp_client *client, uint64_t wanted_bytes, long timeout_s,
			struct samara_error *err)
{
	uint64_t now_bytes = 0, moved_pages;
	struct ctl_wait wait = {
		.client = client,
		.what = "balloon",
		.timeout_s = timeout_s,
		.ask = ask_balloon,
		.arg = &moved_pages,
		.started_ms = ctl_now_ms(),
		.now_bytes = &now_bytes,
	};
	struct state before = {0}, now = {0};
	bool running = false;
	int ret = get_state(client, &before, err);

	if (!ret)
		ret = ctl_is_running(client, &running, err);
	if (!ret)
		ret = set_target(client, wanted_bytes, &before, &now, err);
	wait.goal_bytes = now.target_bytes;
	moved_pages = now.moved_pages;
	/*
	 * A guest that was on its way to another size may be at this one by chance, with pages in its
	 * hands: it is done when it rests there.
	 */
	if (before.actual_bytes != before.target_bytes)
		wait.settle_ms = CTL_SETTLE_MS;
	if (!ret && running)
		ret = ctl_wait_for_guest(&wait, err);
	if (!ret)
		ret = get_state(client, &now, err);
	if (!ret)
		tell(&before, &now, running, wait.started_ms);
	return ret;
}

int ctl_balloon(const char *path, const struct ctl_words *words, struct samara_error *err)
{
	struct qmp_client *client = NULL;
	long timeout_s = CTL_TIMEOUT_S;
	uint64_t bytes;
	int ret = ctl_parse_size(words->operands[0], "SIZE", &bytes, err);

	if (!ret)
		ret = ctl_number_option(words, "--timeout", CTL_TIMEOUT_MAX_S, &timeout_s, err);
	if (ret)
		return ret;
	ret = qmp_client_connect(path, &client, err);
	if (!ret)
		ret = fill_balloon(client, bytes, timeout_s, err);
	qmp_client_close(client);
	return ret;
}
