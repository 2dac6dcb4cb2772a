/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a run looks like meanwhile: the live view, lines in a log, the CSV file. */
#include "vmm/stress_display.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* How often a line is written where there is no terminal, in seconds. */
#define LOG_SECONDS  10

/* How often the live view is drawn. */
#define LIVE_SECONDS 0.4

static unsigned int terminal_columns(void)
{
	struct winsize size;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) || !size.ws_col)
		return 80;
	return size.ws_col;
}

/* To the first line of the view, and nothing from there on: ECMA-48, CUU and ED. */
static void erase_lines(struct stress_display *display)
{
	if (display->lines)
		printf("\r\033[%uA\033[J", display->lines);
	display->lines = 0;
	fflush(stdout);
}

static void show_live(struct stress_display *display, const struct stress_progress *now)
{
	stress_span_next(&display->live_span, now);
	pthread_mutex_lock(&display->lock);
	erase_lines(display);
	display->lines = stress_live_draw(stdout, &display->live_span, now, display->options);
	fflush(stdout);
	pthread_mutex_unlock(&display->lock);
}

static void show_line(struct stress_display *display, const struct stress_progress *now)
{
	double span = now->seconds - display->last.seconds;

	if (now->seconds < display->next || span <= 0)
		return;
	fprintf(stderr, "%s%.0f s: %.0f operations/s, %.0f faults/s, %" PRIu64 " errors%s",
		display->terminal ? "\r\033[K" : "", now->seconds,
		(double)(now->operations - display->last.operations) / span,
		(double)(now->faults - display->last.faults) / span, now->errors,
		display->terminal ? "" : "\n");
	display->last = *now;
	display->next = now->seconds + (display->terminal ? 1 : LOG_SECONDS) - 0.05;
}

static void show_progress(const struct stress_progress *now, void *arg)
{
	struct stress_display *display = arg;

	if (display->csv && now->operation_ns && now->seconds >= display->csv_next) {
		stress_span_next(&display->csv_span, now);
		display->csv_failed |= stress_csv_line(display->csv, &display->csv_span, now) != 0;
		display->csv_next = now->seconds + 0.95;
	}
	if (display->stop_on_error && now->errors)
		*display->interrupt = 1;
	if (!display->live)
		show_line(display, now);
	else if (now->map)
		show_live(display, now);
}

static void show_note(const char *line, void *arg)
{
	struct stress_display *display = arg;

	pthread_mutex_lock(&display->lock);
	erase_lines(display);
	fprintf(stderr, "%ssamara stress: %s\n",
		display->terminal && !display->live ? "\r\033[K" : "", line);
	pthread_mutex_unlock(&display->lock);
}

/* ---- Begin and end --------------------------------------------------------------------------- */

static int csv_error(const char *path, struct samara_error *err)
{
	return samara_error_set(err, -errno, "--csv %s: %s", path, strerror(errno));
}

int stress_display_begin(struct stress_display *display, const char *csv_path, bool live,
			 struct stress_watcher *watcher, struct samara_error *err)
{
	pthread_mutex_init(&display->lock, NULL);
	display->terminal = isatty(STDERR_FILENO);
	display->live = live && isatty(STDOUT_FILENO);
	display->next = (display->terminal ? 1 : LOG_SECONDS) - 0.05;
	display->csv_next = 0.95;
	*watcher = (struct stress_watcher){
		.progress = show_progress,
		.note = show_note,
		.arg = display,
		.interval_s = display->live ? LIVE_SECONDS
			      : csv_path    ? 1
					    : 0,
		.map_cells = display->live ? stress_live_cells(terminal_columns()) : 0,
	};
	if (!csv_path)
		return 0;
	display->csv = !strcmp(csv_path, "-") ? stdout : fopen(csv_path, "we");
	if (!display->csv || stress_csv_head(display->csv))
		return csv_error(csv_path, err);
	return 0;
}

int stress_display_end(struct stress_display *display, const char *csv_path,
		       struct samara_error *err)
{
	FILE *csv = display->csv;

	erase_lines(display);
	if (display->terminal && !display->live)
		fputs("\r\033[K", stderr);
	display->csv = NULL;
	if (csv && csv != stdout && fclose(csv))
		return csv_error(csv_path, err);
	if (display->csv_failed)
		return samara_error_set(err, -EIO, "--csv %s: it could not be written", csv_path);
	return 0;
}
