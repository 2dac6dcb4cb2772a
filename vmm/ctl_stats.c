/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * samara ctl stats: what a VM counts; with --watch how fast, again and again.
 */
#include <errno.h>
#include <inttypes.h>
#include <libsmartcols.h>
#include <math.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "vmm/ctl.h"
#include "vmm/qmp_client.h"
#include "vmm/stats.h"

#define SECONDS_MAX 86400.0

struct watch {
	double seconds;
	bool as_json;
};

/* A reading, and when it was complete. */
struct reading {
	json_t *values;
	double at;
};

/* Nothing is left in a buffer when a signal can come: see quietly(). */
static void end(int number)
{
	(void)number;
	_exit(0);
}

/* A signal that we were told to ignore stays ignored. */
static void end_by(int number)
{
	struct sigaction action;

	if (sigaction(number, NULL, &action) || action.sa_handler == SIG_IGN)
		return;
	action = (struct sigaction){.sa_handler = end};
	sigaction(number, &action, NULL);
}

/* While something is printed, signals wait. */
static void quietly(bool on)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(on ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
}

static int read_options(const struct ctl_words *words, struct watch *watch,
			struct samara_error *err)
{
	const char *text = ctl_value(words, "--watch");
	char *stop;

	*watch = (struct watch){.seconds = 1, .as_json = ctl_has(words, "--json")};
	if (!text)
		return 0;
	watch->seconds = strtod(text, &stop);
	if (*stop || stop == text || !(watch->seconds >= 0.01 && watch->seconds <= SECONDS_MAX))
		return samara_error_set(err, -EINVAL,
					"stats: --watch %s: not a number of seconds from 0.01 to "
					"%.0f",
					text, SECONDS_MAX);
	return 0;
}

static int take_reading(struct qmp_client *client, json_t *command, struct reading *reading,
			struct samara_error *err)
{
	struct timespec now;
	int ret = qmp_client_run(client, command, &reading->values, err);

	if (ret)
		return ret;
	clock_gettime(CLOCK_MONOTONIC, &now);
	reading->at = (double)now.tv_sec + (double)now.tv_nsec / 1e9;
	if (json_is_object(reading->values))
		return 0;
	json_decref(reading->values);
	reading->values = NULL;
	return samara_error_set(err, -EPROTO, "the server's reply is no object");
}

/* A number of a reply; those past signed 64 bits come as a string. */
static uint64_t number(const json_t *value)
{
	if (json_is_string(value))
		return strtoull(json_string_value(value), NULL, 0);
	return (uint64_t)json_integer_value(value);
}

/* How fast a counter grew, NAN: it is none, or there is no earlier value. */
static double rate_of(const char *name, const struct reading *before, const struct reading *now)
{
	const struct stat_info *info = stats_find(name);
	const json_t *old = before->values ? json_object_get(before->values, name) : NULL;
	uint64_t from = number(old), to = number(json_object_get(now->values, name));

	if (!old || !info || info->kind != STAT_COUNTER || now->at <= before->at || to < from)
		return NAN;
	return (double)(to - from) / (now->at - before->at);
}

static int no_memory(struct samara_error *err)
{
	return samara_error_set(err, -ENOMEM, "out of memory");
}

/* {"stats": as they came, "rates": per second, "seconds": between the readings} */
static int show_json(const struct reading *before, const struct reading *now,
		     struct samara_error *err)
{
	json_t *rates = json_object(), *line;
	const char *name;
	json_t *value;
	int ret = 0;

	json_object_foreach(now->values, name, value)
	{
		double rate = rate_of(name, before, now);

		if (!isnan(rate) && json_object_set_new(rates, name, json_real(rate)))
			ret = -ENOMEM;
	}
	line = json_pack("{s:O, s:o, s:f}", "stats", now->values, "rates", rates, "seconds",
			 before->values ? now->at - before->at : 0.0);
	if (ret || !line || json_dumpf(line, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9)))
		ret = no_memory(err);
	json_decref(line);
	putchar('\n');
	return ret;
}

static int add_row(struct libscols_table *table, const char *name, const json_t *value, double rate)
{
	struct libscols_line *line = scols_table_new_line(table, NULL);
	const struct stat_info *info = stats_find(name);
	char text[32], per_second[32] = "";

	if (info && info->kind == STAT_ADDRESS)
		snprintf(text, sizeof(text), "0x%" PRIx64, number(value));
	else if (!info && json_is_string(value))
		snprintf(text, sizeof(text), "%s", json_string_value(value));
	else
		snprintf(text, sizeof(text), "%" PRIu64, number(value));
	if (!isnan(rate))
		snprintf(per_second, sizeof(per_second), rate < 10 ? "%.2f" : "%.0f", rate);
	return !line || scols_line_set_data(line, 0, name) || scols_line_set_data(line, 1, text) ||
			       scols_line_set_data(line, 2, per_second)
		       ? -ENOMEM
		       : 0;
}

static int show_table(const struct reading *before, const struct reading *now,
		      struct samara_error *err)
{
	struct libscols_table *table = scols_new_table();
	const char *name;
	json_t *value;
	int ret = 0;

	if (!table || !scols_table_new_column(table, "COUNTER", 0, 0) ||
	    !scols_table_new_column(table, "VALUE", 0, SCOLS_FL_RIGHT) ||
	    !scols_table_new_column(table, "PER SECOND", 0, SCOLS_FL_RIGHT))
		ret = -ENOMEM;
	json_object_foreach(now->values, name, value) if (!ret) ret =
		add_row(table, name, value, rate_of(name, before, now));
	/* On a terminal over the last one; else one after the other. */
	if (!ret && isatty(STDOUT_FILENO))
		fputs("\033[H\033[2J", stdout);
	else if (!ret && before->values)
		putchar('\n');
	if (!ret && scols_print_table(table))
		ret = -ENOMEM;
	scols_unref_table(table);
	return ret ? no_memory(err) : 0;
}

static int watch_until_error(struct qmp_client *client, json_t *command, const struct watch *watch,
			     struct samara_error *err)
{
	struct timespec pause = {.tv_sec = (time_t)watch->seconds};
	struct reading before = {0}, now = {0};
	int ret;

	pause.tv_nsec = (long)((watch->seconds - (double)pause.tv_sec) * 1e9);
	for (;;) {
		ret = take_reading(client, command, &now, err);
		if (ret)
			break;
		quietly(true);
		ret = (watch->as_json ? show_json : show_table)(&before, &now, err);
		if (!ret && fflush(stdout))
			ret = samara_error_set(err, -EIO, "standard output can't be written");
		if (ret)
			break;
		quietly(false);
		json_decref(before.values);
		before = now;
		now.values = NULL;
		clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
	}
	json_decref(before.values);
	json_decref(now.values);
	return ret;
}

/* Until interrupted: SIGINT and SIGTERM end the process with status 0, between two readings. */
static int watch(const char *path, const struct ctl_words *words, struct samara_error *err)
{
	struct qmp_client *client = NULL;
	struct watch watch;
	json_t *command;
	int ret = read_options(words, &watch, err);

	if (ret)
		return ret;
	end_by(SIGINT);
	end_by(SIGTERM);
	quietly(false);
	command = json_pack("{s:s}", "execute", words->verb->execute);
	ret = command ? qmp_client_connect(path, &client, err) : no_memory(err);
	if (!ret)
		ret = watch_until_error(client, command, &watch, err);
	json_decref(command);
	qmp_client_close(client);
	return ret;
}

int ctl_stats(const char *path, const struct ctl_words *words, struct samara_error *err)
{
	return ctl_has(words, "--watch") ? watch(path, words, err)
					 : ctl_run_command(path, words, err);
}
