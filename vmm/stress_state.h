/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_STRESS_STATE_H
#define VMM_STRESS_STATE_H

#include <pthread.h>

#include "vmm/stress.h"
#include "vmm/stress_board.h"
#include "vmm/stress_devices.h"
#include "vmm/stress_guest.h"
#include "vmm/stress_log.h"
#include "vmm/stress_plan.h"
#include "vmm/stress_rng.h"

struct stress_worker;

/* Within a run: what its workers share. For vmm/stress*.c alone. */

#define STRESS_MAX_WORKERS 64u
#define STRESS_MAX_DEVICES 16u

/**
 * struct stress_host_slot - the host's view of a slot
 *
 * Lock: all under @lock; @lock is only ever tried. While the slot is offered or claimed, nobody
 * changes anything but @state in the control block.
 * @place: where it is, or was before it was unplugged
 * @bytes: its size since the last plug
 * @in_file: a file is behind it, from a reback
 * @content: what was written last; generation 0: nothing since the last plug, which was before
 * @lone: nothing else was written since the plug, so all other words are 0
 * @offered_flags, @offered_write: the visit that was offered last and is not accounted for yet
 * @nothing_before: faults_nothing when it was offered
 */
struct stress_host_slot {
	pthread_mutex_t lock;
	unsigned int place;
	uint64_t bytes;
	bool plugged, read_only, lone, in_file;
	bool broken; /* an operation failed half way: it is left alone */
	uint32_t generation;
	struct stress_area content;
	bool offered;
	uint32_t offered_flags;
	struct stress_area offered_write;
	uint64_t nothing_before;
};

/**
 * struct stress_mover - a range that goes from place to place while it is in use
 * @lock: the worker that moves it; only ever tried
 * @turn: atomic; odd while it is being moved
 * @gpa: atomic; where it is, or was before the move that goes on
 */
struct stress_mover {
	pthread_mutex_t lock;
	const gpa_t *places;
	uint64_t bytes;
	unsigned int at; /* under @lock */
	unsigned int turn;
	gpa_t gpa;
};

enum stress_step {
	STRESS_STEP_DONE,
	STRESS_STEP_UNSUITED, /* the slots that are not the guest's are plugged, or not, all of them */
	STRESS_STEP_BUSY,     /* all slots are the guest's */
};

/* struct stress_map_place - what a row of the map shows */
struct stress_map_place {
	const char *name;
	gpa_t gpa;
	uint64_t size_bytes;
};

/**
 * struct stress - a run
 *
 * Locks: I: immutable while workers run. A: atomic. Others as noted.
 * @step: does what an operator has planned; NULL: as samara's own guest wants it
 * @place_name: what is at a gpa, for people; NULL: the same
 * @changing_gpa: from there on the guest itself plugs and unplugs, so that what was plugged may be
 *   gone; 0: nowhere
 */
struct stress {
	struct stress_options options;        /* I */
	const struct stress_watcher *watcher; /* I */
	struct stress_layout layout;          /* I */
	struct stress_order order;            /* I */
	struct guest_mm *mm;                  /* I */
	struct stress_guest guest;
	struct stress_control *control; /* I; the contents are shared with the guest */
	uint32_t words;                 /* I: written in a page, as the guest chose */
	struct stress_host_slot *slots; /* I */
	pthread_mutex_t places_lock;
	bool *place_taken; /* under @places_lock */
	struct stress_mover live, device;
	struct stress_board board; /* I */
	struct stress_devices devices;
	pthread_mutex_t protect_lock; /* the protect range; only ever tried */
	bool stopping;                /* A */
	uint64_t operations;          /* A: of all workers, for the progress line */
	uint64_t integrity_errors;    /* A: found by the host */
	uint64_t operation_errors;    /* A */
	pthread_mutex_t note_lock;
	unsigned int notes;         /* under @note_lock */
	const char *told_what;      /* under @note_lock: the last wrong word that was told of */
	gpa_t told_page;            /* the same */
	struct samara_error hung;   /* the main thread's: what hangs; code 0: nothing */
	uint32_t guest_errors_told; /* the main thread's */
	unsigned int found_count;   /* under @note_lock */
	struct stress_found found[STRESS_FOUND]; /* the same */
	struct stress_log log;
	struct stress_worker *workers; /* I; the contents are theirs */
	unsigned int worker_count;     /* I */
	enum stress_step (*step)(struct stress_worker *w, const struct stress_plan *plan); /* I */
	const char *(*place_name)(const struct stress *s, gpa_t gpa);                      /* I */
	struct stress_map_place map_places[STRESS_MAP_RANGES];                             /* I */
	gpa_t changing_gpa;                                                                /* I */
};

/**
 * struct stress_worker - a thread of the host
 *
 * Locks: its own thread's until it is joined.
 */
struct stress_worker {
	struct stress *stress;
	pthread_t thread;
	unsigned int index;            /* among those of its kind */
	struct stress_planner planner; /* an operator's */
	struct stress_rng rng;         /* an operator's: of the step */
	uint64_t operations[STRESS_OPS];
	struct stress_hist operation_ns[STRESS_OPS];
	uint64_t checked_bytes, dma;
	unsigned char *buffer; /* STRESS_WORKER_BYTES */
};

/* Twice the protect range, the largest thing that is compared. */
#define STRESS_WORKER_BYTES (2 * STRESS_PROTECT_PAGES * STRESS_PAGE_BYTES)

static inline bool stress_stopping(const struct stress *s)
{
	return __atomic_load_n(&s->stopping, __ATOMIC_ACQUIRE);
}

static inline bool stress_guest_failed(struct stress *s)
{
	return __atomic_load_n(&s->guest.failed, __ATOMIC_ACQUIRE);
}

/* Errors (vmm/stress_note.c): count one, and tell of the first ones. Any thread. */
void stress_note(struct stress *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void stress_integrity_error(struct stress *s, const char *what, gpa_t gpa, uint32_t generation,
			    uint64_t expected, uint64_t found);
void stress_operation_error(struct stress *s, const struct samara_error *err, const char *what);

/* Tell of a wrong word that is counted elsewhere; @what lives on. Any thread. */
void stress_tell_error(struct stress *s, const char *who, const char *what, gpa_t gpa,
		       uint32_t generation, uint64_t expected, uint64_t found);

/* Tell of errors that the guest has reported since the last call. */
void stress_tell_guest_errors(struct stress *s);

/* What is behind memory, as the argument of STRESS_OP_REBACK. */
enum stress_memory {
	STRESS_MEMORY_OWN,
	STRESS_MEMORY_HUGE,
	STRESS_MEMORY_FILE,
};

/*
 * Operations (vmm/stress_op.c): as those of guest_mm, but counted and timed; a failure is an error
 * of the run. stress_op_pieces() takes a range in one to three pieces, in any order.
 */
int stress_op(struct stress_worker *w, enum stress_op op, gpa_t gpa, uint64_t size_bytes,
	      uint64_t argument);
int stress_op_pieces(struct stress_worker *w, enum stress_op op, gpa_t gpa, uint64_t size_bytes,
		     uint64_t argument);

/*
 * The host's own accesses, to check and to count: as guest_mm_read() and _write(), and not struck by
 * --inject.
 */
int stress_read(struct stress *s, gpa_t gpa, void *to, uint64_t bytes);
int stress_write(struct stress *s, gpa_t gpa, const void *from, uint64_t bytes);

/* One that must be refused, as often as it is tried, with an error of this code. */
void stress_op_refused(struct stress_worker *w, enum stress_op op, gpa_t gpa, uint64_t size_bytes,
		       uint64_t argument, int expected);

/* The layout of a run (vmm/stress_check.c). Return: as stress_layout_init(). */
int stress_layout_make(struct stress_layout *layout, const struct stress_options *options,
		       struct samara_error *err);

/* Slots (vmm/stress_slot.c). */
int stress_slots_init(struct stress *s, struct samara_error *err);
void stress_slots_free(struct stress *s);

/* Do to a slot what is planned. */
enum stress_step stress_slot_step(struct stress_worker *w, const struct stress_plan *plan);

/* Check all slots. Context: no vCPU and no other worker runs. */
void stress_slots_check(struct stress_worker *w);

/* Ranges in use (vmm/stress_range.c). */
int stress_ranges_init(struct stress *s, struct samara_error *err);
void stress_move(struct stress_worker *w, struct stress_mover *mover);
void stress_protect_step(struct stress_worker *w);

/*
 * The guest's side of devices (vmm/stress_units.c): tell it of them; a DIMM's units are gone; rounds
 * of the slowest vCPU with a driver; check a unit that no vCPU has; check all of them, when no vCPU
 * runs. @arg is the struct stress.
 */
void stress_units_init(struct stress *s);
void stress_units_gone(void *arg, gpa_t gpa, uint64_t size_bytes);
uint64_t stress_units_rounds(void *arg);
void stress_units_check_one(struct stress_worker *w);
void stress_units_check(struct stress_worker *w);

/**
 * stress_count_lost() - compare counters in memory with the increments that vCPUs made
 * @tolerance: vCPUs that were ended where they were, with one increment each perhaps not counted
 *
 * Context: no vCPU runs.
 * Return: the sum of the differences.
 */
uint64_t stress_count_lost(struct stress *s, unsigned int tolerance);

/* A moment of the run (vmm/stress_sample.c). Context: waits for nobody; holds nobody up. */
void stress_sample_progress(struct stress *s, struct stress_progress *progress);
void stress_sample_latencies(struct stress *s, struct stress_hist *operation_ns,
			     struct stress_hist *fault_cycles);
void stress_sample_map(struct stress *s, struct stress_map *map);

/* What the map of samara's own guest shows. Context: the layout is made. */
void stress_sample_places(struct stress *s);

/* Resident memory without the guest's; 0: it was not to be told just then. */
uint64_t stress_own_rss(struct stress *s);

/* What the threads do (vmm/stress_worker.c); @arg is the struct stress_worker. */
void *stress_operator_main(void *arg);
void *stress_stranger_main(void *arg);
void *stress_device_main(void *arg);

#endif
