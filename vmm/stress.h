/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_STRESS_H
#define VMM_STRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <samara/error.h>
#include <samara/guest_mm.h>

#include "vmm/inject.h"
#include "vmm/stress_hist.h"

/*
 * A run of `samara stress`: a VM whose vCPUs write and check memory (guest/stress.c), and workers
 * of the host that plug, unplug, move and protect it meanwhile.
 */

/* No number of an option is larger. */
#define STRESS_NUMBER_MAX 1000000000u

/* What an operator does next: an operation on a slot, or on a range that is in use meanwhile. */
enum stress_mix {
	STRESS_MIX_PLUG,
	STRESS_MIX_UNPLUG,
	STRESS_MIX_REMAP,
	STRESS_MIX_PROTECT,
	STRESS_MIX_POPULATE,
	STRESS_MIX_DISCARD,
	STRESS_MIX_REBACK,
	STRESS_MIX_REFUSED,      /* what must fail */
	STRESS_MIX_REMAP_LIVE,   /* move counters that vCPUs increment */
	STRESS_MIX_REMAP_DEVICE, /* move what devices do DMA to */
	STRESS_MIX_PROTECT_LIVE, /* write-protect what vCPUs write */
	STRESS_MIX_BALLOON,      /* ask the guest to lend another amount of memory */
	STRESS_MIX_VIRTIO_MEM,   /* ask it to plug or unplug blocks */
	STRESS_MIX_DIMM,         /* plug a DIMM, or ask the guest to let it go */
	STRESS_MIXES
};

/* "plug", "unplug", ... "remap-live", ... */
extern const char *const stress_mix_names[STRESS_MIXES];

/* Which slots vCPUs work on and operators change. */
enum stress_pattern_kind {
	STRESS_PATTERN_SEQUENTIAL, /* one after another */
	STRESS_PATTERN_RANDOM,
	STRESS_PATTERN_ZIPF, /* a few of them most of the time */
	STRESS_PATTERN_ONE,  /* all slots side by side, so that they make one region */
	STRESS_PATTERN_OWN,  /* each slot a region of its own, and each vCPU its own slots */
	STRESS_PATTERNS
};

/* What runs in the VM. */
enum stress_guest_kind {
	STRESS_GUEST_OWN,   /* guest/stress.c: no operating system */
	STRESS_GUEST_LINUX, /* a Linux kernel, and guest/agent.c as its init */
};

#define STRESS_TEXT_BYTES 1024u

/**
 * struct stress_linux_options - the Linux guest; strings are "" where nothing is given
 * @modules: folder with its modules, as /lib/modules/RELEASE or flat
 * @console: file that gets what the guest prints
 * @append: for its command line
 * @each: how often each operation of the mix is to be done, at least: the run goes on until then
 * @memory_bytes: at start
 * @device_bytes: what its virtio-mem device has at most, and its DIMMs together
 */
struct stress_linux_options {
	char kernel[STRESS_TEXT_BYTES], modules[STRESS_TEXT_BYTES], console[STRESS_TEXT_BYTES];
	char append[STRESS_TEXT_BYTES];
	unsigned int each;
	uint64_t memory_bytes, device_bytes;
};

/**
 * struct stress_options - what to run; stress_options_init() sets the defaults
 * @mix_given: somebody has chosen the weights
 * @linux_guest: for STRESS_GUEST_LINUX
 * @slot_min_bytes, @slot_bytes: each plug chooses a size between them
 * @operators: workers that take the mix of operations through slots and special ranges
 * @strangers: workers that do long operations on memory that nobody uses
 * @devices: workers that do DMA
 * @fault_around_pages: a power of two; one first touch in each such chunk is timed
 * @rate: steps per second of all operators together; 0: as many as there can be
 * @device_pages: that a device pins at once, at most
 * @device_hold_us, @device_rest_us: how long a device holds its pages, and rests, at most
 * @weight: how often an operator takes each of enum stress_mix, of the sum of all
 * @zipf: exponent of STRESS_PATTERN_ZIPF
 * @inject: what fails or takes long on purpose
 */
struct stress_options {
	enum stress_guest_kind guest;
	bool mix_given;
	struct stress_linux_options linux_guest;
	unsigned int seconds, cpus, slots;
	uint64_t slot_min_bytes, slot_bytes, stranger_bytes;
	unsigned int operators, strangers, devices;
	unsigned int fault_around_pages;
	unsigned int rate, device_pages, device_hold_us, device_rest_us;
	unsigned int weight[STRESS_MIXES];
	enum stress_pattern_kind pattern;
	double zipf;
	enum guest_mm_backing backing;
	bool copy_only;
	uint64_t seed;
	struct inject_rules inject;
};

/* What `samara stress` does when it is told nothing; the seed is 0. */
void stress_options_init(struct stress_options *options);

/**
 * stress_option_set() - set one option from text
 * @name: of the command line's long option, without the dashes: "slot-size"
 *
 * Return: 0, -ENOENT (no such option), -EINVAL, -ERANGE; the text names the option.
 */
int stress_option_set(struct stress_options *options, const char *name, const char *text,
		      struct samara_error *err);

/**
 * stress_options_load() - set those that a workload file names (docs/stress.md)
 *
 * Return: 0, -EINVAL, -ERANGE, -ENOENT; the text names the file and the option.
 */
int stress_options_load(struct stress_options *options, const char *path, struct samara_error *err);

/* The name of a pattern; NULL: there is none of that number. */
const char *stress_pattern_name(enum stress_pattern_kind pattern);

enum stress_op {
	STRESS_OP_PLUG,
	STRESS_OP_UNPLUG,
	STRESS_OP_REMAP,
	STRESS_OP_PROTECT,
	STRESS_OP_POPULATE,
	STRESS_OP_DISCARD,
	STRESS_OP_REBACK,
	STRESS_OP_BALLOON, /* until the guest's answer, this and the next two */
	STRESS_OP_VIRTIO_MEM,
	STRESS_OP_DIMM,
	STRESS_OP_REFUSED,  /* asked for what must fail, and it did */
	STRESS_OP_INJECTED, /* failed because --inject made it, and left all as it was */
	STRESS_OPS
};

/* "plug", "unplug", ... */
extern const char *const stress_op_names[STRESS_OPS];

/* Whether it takes as long as the guest takes to answer. */
static inline bool stress_op_is_guests(enum stress_op op)
{
	return op == STRESS_OP_BALLOON || op == STRESS_OP_VIRTIO_MEM || op == STRESS_OP_DIMM;
}

#define STRESS_FOUND            16u
#define STRESS_ERROR_OPERATIONS 4u

/**
 * struct stress_found - a wrong word
 * @who: that found it: "vCPU 1", "host"
 * @place: what was at @gpa
 * @operations: the last ones that touched @gpa, the latest first
 */
struct stress_found {
	char who[32];
	const char *what, *place;
	gpa_t gpa;
	uint64_t expected, found;
	unsigned int operation_count;
	char operations[STRESS_ERROR_OPERATIONS][160];
};

/**
 * struct stress_linux_result - what a Linux guest says of itself at the end, and what it did not do
 * @release: of its kernel; "": it never said
 * @least_bytes, @most_bytes: the memory that it had, at one time and another
 * @missing: operations that were left out, as it has no driver for them; "": none
 * @declined: requests to its drivers that they did not fulfil in time
 */
struct stress_linux_result {
	char release[64];
	uint64_t written_bytes, released_bytes, faults, least_bytes, most_bytes;
	char missing[64];
	uint64_t declined;
};

/**
 * struct stress_result - what a run has done and found
 * @operations: by kind; those on slots, special ranges, devices and the strangers' memory
 * @operation_ns: how long each took the worker, in nanoseconds
 * @fault_cycles: first touches that the vCPUs timed, in TSC cycles
 * @tsc_hz: cycles per second of the guest's time-stamp counter, 0 if it was not to be found out
 * @integrity_errors: words that were not what they had to be, found by vCPUs or the host
 * @lost_increments: differences between counters in memory and the increments made
 * @operation_errors: operations that failed, or succeeded, and should not have
 * @stuck_cpus: vCPUs that got nowhere for STRESS_STUCK_S seconds at the end
 * @found: the first wrong words, @found_count of them
 * @injected: what --inject struck
 * @rss_first_bytes, @rss_last_bytes: resident memory without the guest's: the median of what was
 *   seen in the second fifth of the run, and in the last one; 0: not seen
 * @failure: why the run ended early; code 0: it did not
 */
struct stress_result {
	struct stress_options options;
	double seconds;
	uint64_t operations[STRESS_OPS];
	struct stress_hist operation_ns[STRESS_OPS];
	struct stress_hist fault_cycles;
	double tsc_hz;
	uint64_t integrity_errors, lost_increments, operation_errors;
	unsigned int stuck_cpus;
	uint64_t checked_by_guest_bytes, checked_by_host_bytes;
	uint64_t visits, increments, nothing_accesses, live_missed, dma;
	uint64_t device_visits; /* of vCPUs, to memory that devices give and take */
	struct guest_mm_stats mm;
	unsigned int found_count;
	struct stress_found found[STRESS_FOUND];
	struct inject_counts injected;
	struct stress_linux_result linux_guest;
	uint64_t rss_first_bytes, rss_last_bytes;
	bool interrupted;
	struct samara_error failure;
};

/* Nanoseconds in a TSC cycle, 0 if that was not to be found out. */
static inline double stress_cycle_ns(const struct stress_result *result)
{
	return result->tsc_hz > 0 ? 1e9 / result->tsc_hz : 0;
}

static inline uint64_t stress_operations_total(const struct stress_result *result)
{
	uint64_t total = 0;

	for (unsigned int op = 0; op < STRESS_OPS; op++)
		total += result->operations[op];
	return total;
}

/* Cells of the map in the live view, by range. */
#define STRESS_MAP_CELLS 256u

enum stress_map_range {
	STRESS_MAP_USED, /* own, shared, protected, moving */
	STRESS_MAP_DEVICES,
	STRESS_MAP_SLOTS,
	STRESS_MAP_STRANGERS,
	STRESS_MAP_RANGES
};

/**
 * struct stress_map_cell - a part of the guest-physical map
 * @plugged_bytes, @populated_bytes: in it; @changing: an operation is at it
 */
struct stress_map_cell {
	uint64_t plugged_bytes, populated_bytes;
	bool changing;
};

/**
 * struct stress_map - the guest-physical map, each range cut into equal cells
 * @wanted: cells per range, set by who asks; up to STRESS_MAP_CELLS
 * @name: of each range; NULL: as in enum stress_map_range; "": there is none
 */
struct stress_map {
	unsigned int wanted;
	const char *name[STRESS_MAP_RANGES];
	uint64_t cell_bytes[STRESS_MAP_RANGES];
	struct stress_map_cell cells[STRESS_MAP_RANGES][STRESS_MAP_CELLS];
};

/**
 * struct stress_progress - how a run goes
 * @operation_ns, @fault_cycles: since it began; NULL unless the watcher wants latencies
 * @map: NULL unless the watcher wants it
 * @checked_bytes: by vCPUs
 * @guest_bytes, @guest_faults: a Linux guest's memory, and its own page faults; 0 bytes: it is none,
 *   or has not told yet
 */
struct stress_progress {
	double seconds;
	uint64_t operations, faults, errors, injected;
	uint64_t regions, tree_nodes;
	uint64_t plugged_bytes, populated_bytes, rss_bytes; /* without the guest's */
	uint64_t checked_bytes, guest_bytes, guest_faults;
	double tsc_hz;
	const struct stress_hist *operation_ns; /* of all kinds together */
	const struct stress_hist *fault_cycles;
	const struct stress_map *map;
};

/**
 * struct stress_watcher - who wants to hear of a run while it goes on
 * @progress: about ten times a second, from the thread that called stress_run()
 * @interval_s: how often it wants latencies, and the map if @map_cells is not 0; 0: never
 * @note: one line about an error, from any thread, one at a time; only the first ones are told
 */
struct stress_watcher {
	void (*progress)(const struct stress_progress *progress, void *arg);
	void (*note)(const char *line, void *arg);
	void *arg;
	double interval_s;
	unsigned int map_cells;
};

/**
 * stress_check_options() - whether they make a run
 *
 * Return: 0; -EINVAL, -ERANGE with the option by name.
 */
int stress_check_options(const struct stress_options *options, struct samara_error *err);

/**
 * stress_run() - run it
 * @interrupt: becomes non-zero when the run shall end early
 *
 * When an operation hangs, that is the result's failure, and what the run is made of stays: the
 * process is to end then.
 *
 * Context: May sleep, starts threads. A signal makes it look at @interrupt sooner.
 * Return: 0 when it ran, whatever it found; or why it could not start.
 */
int stress_run(const struct stress_options *options, const struct stress_watcher *watcher,
	       const volatile int *interrupt, struct stress_result *result,
	       struct samara_error *err);

/* Whether a run found nothing wrong. */
bool stress_passed(const struct stress_result *result);

/**
 * stress_print(), stress_write_json() - the result as text for people; as one JSON object
 * (vmm/stress_report.c, vmm/stress_json.c)
 *
 * Return: 0, -ENOMEM, -EIO (could not be written).
 */
int stress_print(const struct stress_result *result, FILE *out, struct samara_error *err);
int stress_write_json(const struct stress_result *result, FILE *out, struct samara_error *err);

/**
 * stress_compare() - print two results that stress_write_json() wrote, side by side
 *
 * Return: 0, -ENOMEM, -EINVAL (no such file, or no result; by name).
 */
int stress_compare(const char *path_a, const char *path_b, FILE *out, struct samara_error *err);

#endif
