/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The live view: plain lines, so that it can be looked at in a test. Who shows it moves the cursor. */
#include <inttypes.h>

#include "vmm/stress_span.h"

/* Rows of the map per range, and what stands to the left of them. */
#define MAP_ROWS   2u
#define MAP_MARGIN 12u

const char *stress_format_ns(char *text, size_t length, double ns)
{
	if (ns < 1e4)
		snprintf(text, length, "%.0f ns", ns);
	else if (ns < 1e7)
		snprintf(text, length, "%.1f us", ns / 1e3);
	else
		snprintf(text, length, "%.1f ms", ns / 1e6);
	return text;
}

static unsigned int row_cells(unsigned int columns)
{
	unsigned int cells = columns > MAP_MARGIN + 10 ? columns - MAP_MARGIN - 1 : 10;

	return cells < STRESS_MAP_CELLS / MAP_ROWS ? cells : STRESS_MAP_CELLS / MAP_ROWS;
}

unsigned int stress_live_cells(unsigned int columns)
{
	return MAP_ROWS * row_cells(columns);
}

static char cell_char(const struct stress_map_cell *cell)
{
	/* None, up to a third, two thirds, all of what is plugged. */
	static const char populated[] = {'.', '-', '+', '#'};

	if (cell->changing)
		return '!';
	if (!cell->plugged_bytes)
		return ' ';
	return populated[(cell->populated_bytes * 3 + cell->plugged_bytes - 1) /
			 cell->plugged_bytes];
}

static void draw_latencies(FILE *out, const char *name, double per_s,
			   const struct stress_hist *hist, double scale)
{
	char text[4][32];

	fprintf(out, "%-10s %9.0f/s  p50 %-9s p99 %-9s p99.9 %-9s max %s\n", name, per_s,
		stress_format_ns(text[0], sizeof(text[0]),
				 (double)stress_hist_quantile(hist, 0.5) * scale),
		stress_format_ns(text[1], sizeof(text[1]),
				 (double)stress_hist_quantile(hist, 0.99) * scale),
		stress_format_ns(text[2], sizeof(text[2]),
				 (double)stress_hist_quantile(hist, 0.999) * scale),
		stress_format_ns(text[3], sizeof(text[3]), (double)hist->max * scale));
}

/* Return: how many lines. */
static unsigned int draw_map(FILE *out, const struct stress_map *map, enum stress_map_range range,
			     const char *name)
{
	unsigned int row = map->wanted / MAP_ROWS;

	if (map->name[range])
		name = map->name[range];
	if (!*name)
		return 0;
	for (unsigned int i = 0; i < map->wanted; i++) {
		if (i % row == 0)
			fprintf(out, "%-*s|", (int)MAP_MARGIN - 1, i ? "" : name);
		fputc(cell_char(&map->cells[range][i]), out);
		if (i % row == row - 1)
			fputs("|\n", out);
	}
	return MAP_ROWS;
}

unsigned int stress_live_draw(FILE *out, const struct stress_span *span,
			      const struct stress_progress *now,
			      const struct stress_options *options)
{
	unsigned int lines = 5;

	fprintf(out, "samara stress: %.1f of %u s, %u vCPUs, seed %" PRIu64 ": %" PRIu64 " errors",
		now->seconds, options->seconds, options->cpus, options->seed, now->errors);
	if (inject_any(&options->inject))
		fprintf(out, ", %" PRIu64 " injected", now->injected);
	fputc('\n', out);
	draw_latencies(out, "operations", span->operations_per_s, &span->operation_ns, 1);
	draw_latencies(out, "faults", span->faults_per_s, &span->fault_cycles, span->cycle_ns);
	lines += draw_map(out, now->map, STRESS_MAP_USED, "in use");
	lines += draw_map(out, now->map, STRESS_MAP_DEVICES, "devices");
	lines += draw_map(out, now->map, STRESS_MAP_SLOTS, "slots");
	lines += draw_map(out, now->map, STRESS_MAP_STRANGERS, "strangers");
	fputs("map: . plugged, -+# populated to a third, two thirds, all; ! under change\n", out);
	fprintf(out, "%" PRIu64 " regions, %.1f MiB plugged, %.1f MiB populated", now->regions,
		(double)now->plugged_bytes / 0x1p20, (double)now->populated_bytes / 0x1p20);
	if (now->rss_bytes)
		fprintf(out, ", %.1f MiB besides", (double)now->rss_bytes / 0x1p20);
	fputc('\n', out);
	if (!now->guest_bytes)
		return lines;
	fprintf(out,
		"Linux: %.1f MiB of memory, %" PRIu64 " page faults of its own, %.1f MiB checked\n",
		(double)now->guest_bytes / 0x1p20, now->guest_faults,
		(double)now->checked_bytes / 0x1p20);
	return lines + 1;
}
