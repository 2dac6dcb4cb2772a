/* SPDX-License-Identifier: GPL-2.0-or-later */
/* samara ctl balloon [SIZE]: how much of its memory the guest has left, and what it says of it. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/param.h>
#include <time.h>

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

/* ---- balloon SIZE ---------------------------------------------------------------------------- */

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

/* ---- balloon --------------------------------------------------------------------------------- */

static int add_row(struct libscols_table *table, const char *name, const char *value)
{
	const char *cells[] = {name, value};

	return ctl_add_row(table, cells, 2);
}

static int add_size_row(struct libscols_table *table, const char *name, uint64_t bytes)
{
	char size[32];

	ctl_format_size(size, sizeof(size), bytes);
	return add_row(table, name, size);
}

/* Those of the guest's statistics that are bytes (virtio 1.2, 5.5.6.3); others are counts. */
static bool is_size(const char *name)
{
	static const char *const sizes[] = {"stat-swap-in",          "stat-swap-out",
					    "stat-free-memory",      "stat-total-memory",
					    "stat-available-memory", "stat-disk-caches"};

	for (unsigned int i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		if (!strcmp(name, sizes[i]))
			return true;
	return false;
}

static int add_stats(struct libscols_table *table, const json_t *stats)
{
	const char *name;
	json_t *value;
	char text[24];
	int ret = 0;

	json_object_foreach((json_t *)stats, name, value)
	{
		/* -1: the guest does not say. */
		if (ret || json_integer_value(value) < 0)
			continue;
		snprintf(text, sizeof(text), "%" PRId64, (int64_t)json_integer_value(value));
		ret = is_size(name) ? add_size_row(table, name, json_integer_value(value))
				    : add_row(table, name, text);
	}
	return ret;
}

static int add_times(struct libscols_table *table, uint64_t interval_s, uint64_t updated_s)
{
	char text[40] = "never";
	time_t at = (time_t)updated_s;
	struct tm tm;
	int ret;

	if (updated_s && localtime_r(&at, &tm))
		strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm);
	ret = add_row(table, "last-update", text);
	snprintf(text, sizeof(text), interval_s ? "%" PRIu64 " s" : "never", interval_s);
	return ret ? ret : add_row(table, "interval", text);
}

static int show_table(const json_t *reply, struct samara_error *err)
{
	static const struct ctl_column columns[] = {{"BALLOON", false}, {"VALUE", true}};
	struct libscols_table *table = ctl_new_table(columns, 2);
	const json_t *stats = json_object_get(reply, "guest-stats");
	int ret = table ? 0 : -ENOMEM;

	if (!ret)
		ret = add_size_row(table, "actual", ctl_number(reply, "actual"));
	if (!ret)
		ret = add_size_row(table, "target", ctl_number(reply, "target"));
	if (!ret)
		ret = add_times(table, ctl_number(reply, "guest-stats-polling-interval"),
				ctl_number(stats, "last-update"));
	if (!ret)
		ret = add_stats(table, json_object_get(stats, "stats"));
	return ctl_print_table(table, ret, err);
}

/* {"actual": left now, "target": as asked for, and the properties by their names} */
static int ask_all(struct qmp_client *client, json_t **reply, struct samara_error *err)
{
	json_t *stats = NULL, *interval = NULL;
	struct state state = {0};
	int ret = get_state(client, &state, err);

	if (!ret)
		ret = ctl_get_property(client, BALLOON_PATH, "guest-stats", &stats, err);
	if (!ret)
		ret = ctl_get_property(client, BALLOON_PATH, "guest-stats-polling-interval",
				       &interval, err);
	if (ret) {
		json_decref(stats);
		return ret;
	}
	*reply = json_pack("{s:I, s:I, s:o, s:o}", "actual",
			   (json_int_t)left_bytes(state.given_bytes, state.actual_bytes), "target",
			   (json_int_t)left_bytes(state.given_bytes, state.target_bytes),
			   "guest-stats-polling-interval", interval, "guest-stats", stats);
	return *reply ? 0 : samara_error_set(err, -ENOMEM, "out of memory");
}

static int set_interval(struct qmp_client *client, long seconds, struct samara_error *err)
{
	struct state state = {0};
	/* It says so if there is no balloon. */
	int ret = get_state(client, &state, err);

	return ret ? ret
		   : ctl_run(client, "qom-set",
			     json_pack("{s:s, s:s, s:i}", "path", BALLOON_PATH, "property",
				       "guest-stats-polling-interval", "value", (int)seconds),
			     NULL, err);
}

int ctl_balloon_state(const char *path, const struct ctl_words *words, struct samara_error *err)
{
	struct qmp_client *client = NULL;
	long interval_s = -1;
	json_t *reply = NULL;
	int ret = ctl_number_option(words, "--interval", INT32_MAX, &interval_s, err);

	if (ret)
		return ret;
	ret = qmp_client_connect(path, &client, err);
	if (!ret && interval_s >= 0)
		ret = set_interval(client, interval_s, err);
	if (!ret)
		ret = ask_all(client, &reply, err);
	if (!ret)
		ret = ctl_has(words, "--json") ? ctl_show_json(reply, err) : show_table(reply, err);
	json_decref(reply);
	qmp_client_close(client);
	return ret;
}
