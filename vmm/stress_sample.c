/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a run looks like at a moment, to those who watch it. Nothing here waits for an operation or
 * holds one up.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "vmm/stress_state.h"

/* Guest memory came or went while resident memory was read: of no use if it was more than that. */
#define RSS_NOISE_BYTES (UINT64_C(1) << 20)

static uint64_t resident_bytes(void)
{
	unsigned long size, resident = 0;
	FILE *file = fopen("/proc/self/statm", "re");

	if (!file)
		return 0;
	if (fscanf(file, "%lu %lu", &size, &resident) != 2)
		resident = 0;
	fclose(file);
	return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t stress_own_rss(struct stress *s)
{
	struct guest_mm_stats before, after;
	uint64_t rss, change;

	guest_mm_get_stats(s->mm, &before);
	rss = resident_bytes();
	guest_mm_get_stats(s->mm, &after);
	change = before.populated_bytes > after.populated_bytes
			 ? before.populated_bytes - after.populated_bytes
			 : after.populated_bytes - before.populated_bytes;
	if (change > RSS_NOISE_BYTES || rss < after.populated_bytes)
		return 0;
	return rss - after.populated_bytes;
}

void stress_sample_progress(struct stress *s, struct stress_progress *progress)
{
	struct inject_counts injected = {0};
	struct guest_mm_stats stats;

	guest_mm_get_stats(s->mm, &stats);
	progress->operations = __atomic_load_n(&s->operations, __ATOMIC_RELAXED);
	progress->faults = stats.faults;
	progress->errors = __atomic_load_n(&s->integrity_errors, __ATOMIC_RELAXED) +
			   __atomic_load_n(&s->operation_errors, __ATOMIC_RELAXED) +
			   __atomic_load_n(&s->control->error_count, __ATOMIC_RELAXED);
	for (unsigned int i = 0; i < s->options.cpus; i++)
		progress->checked_bytes +=
			8 * __atomic_load_n(&s->control->vcpu[i].checked_words, __ATOMIC_RELAXED);
	progress->regions = stats.regions;
	progress->tree_nodes = stats.tree_nodes;
	progress->plugged_bytes = stats.plugged_bytes;
	progress->populated_bytes = stats.populated_bytes;
	inject_get_counts(&injected);
	for (unsigned int i = 0; i < INJECT_PLACES; i++)
		progress->injected += injected.struck[i];
}

void stress_sample_latencies(struct stress *s, struct stress_hist *operation_ns,
			     struct stress_hist *fault_cycles)
{
	memset(operation_ns, 0, sizeof(*operation_ns));
	memset(fault_cycles, 0, sizeof(*fault_cycles));
	for (unsigned int i = 0; i < s->worker_count; i++)
		for (unsigned int op = 0; op < STRESS_OPS; op++)
			stress_hist_merge(operation_ns, &s->workers[i].operation_ns[op]);
	for (unsigned int op = 0; op < STRESS_OPS; op++)
		stress_hist_merge(operation_ns, &s->devices.operation_ns[op]);
	for (unsigned int i = 0; i < s->options.cpus; i++) {
		const struct stress_vcpu *vcpu = &s->control->vcpu[i];

		stress_hist_merge_guest(fault_cycles, vcpu->fault_buckets,
					__atomic_load_n(&vcpu->fault_max, __ATOMIC_RELAXED));
	}
}

/* ---- The map --------------------------------------------------------------------------------- */

/* A range of the map, and the cells that it is cut into. */
struct strip {
	gpa_t gpa;
	uint64_t size_bytes, cell_bytes;
	struct stress_map_cell *cells;
	unsigned int count;
};

struct strips {
	struct strip strip[STRESS_MAP_RANGES];
};

static void paint(struct strip *strip, gpa_t gpa, uint64_t size_bytes, double populated,
		  bool plugged, bool changing)
{
	gpa_t end = gpa + size_bytes, strip_end = strip->gpa + strip->size_bytes;

	if (gpa < strip->gpa)
		gpa = strip->gpa;
	if (end > strip_end)
		end = strip_end;
	while (gpa < end) {
		uint64_t n = (gpa - strip->gpa) / strip->cell_bytes;
		gpa_t cell_end = strip->gpa + (n + 1) * strip->cell_bytes;
		uint64_t bytes = (cell_end < end ? cell_end : end) - gpa;
		struct stress_map_cell *cell = &strip->cells[n];

		if (plugged) {
			cell->plugged_bytes += bytes;
			cell->populated_bytes += (uint64_t)(populated * (double)bytes);
		}
		cell->changing |= changing;
		gpa += bytes;
	}
}

static int paint_region(const struct guest_mm_region *region, void *arg)
{
	struct strips *strips = arg;
	double populated =
		(double)(region->populated_pages * SAMARA_PAGE_BYTES) / (double)region->size_bytes;

	for (unsigned int i = 0; i < STRESS_MAP_RANGES; i++)
		paint(&strips->strip[i], region->gpa, region->size_bytes, populated, true,
		      region->locked);
	return 0;
}

void stress_sample_places(struct stress *s)
{
	const struct stress_layout *layout = &s->layout;
	const gpa_t ends[] = {STRESS_WINDOW_GPA, layout->mem_gpa, layout->places_gpa,
			      layout->stranger_gpa, STRESS_WINDOW_GPA + layout->window_bytes};

	for (unsigned int i = 0; i < STRESS_MAP_RANGES; i++)
		s->map_places[i] = (struct stress_map_place){
			.gpa = ends[i],
			.size_bytes = ends[i + 1] - ends[i],
		};
}

void stress_sample_map(struct stress *s, struct stress_map *map)
{
	struct stress_log_entry running[STRESS_MAX_WORKERS];
	struct strips strips;
	unsigned int count, i, n;

	for (i = 0; i < STRESS_MAP_RANGES; i++) {
		struct strip *strip = &strips.strip[i];

		memset(map->cells[i], 0, sizeof(map->cells[i]));
		strip->gpa = s->map_places[i].gpa;
		strip->size_bytes = s->map_places[i].size_bytes;
		strip->count = map->wanted;
		strip->cell_bytes = (strip->size_bytes / SAMARA_PAGE_BYTES / map->wanted + 1) *
				    SAMARA_PAGE_BYTES;
		strip->cells = map->cells[i];
		map->cell_bytes[i] = strip->cell_bytes;
		map->name[i] = s->map_places[i].name;
	}
	guest_mm_for_each_region(s->mm, paint_region, &strips);
	count = stress_log_running(&s->log, running, STRESS_MAX_WORKERS);
	for (n = 0; n < count; n++) {
		/* What the guest was asked changes block by block. */
		if (stress_op_is_guests(running[n].op))
			continue;
		for (i = 0; i < STRESS_MAP_RANGES; i++) {
			paint(&strips.strip[i], running[n].gpa, running[n].size_bytes, 0, false,
			      true);
			if (running[n].op == STRESS_OP_REMAP)
				paint(&strips.strip[i], running[n].argument, running[n].size_bytes,
				      0, false, true);
		}
	}
}
