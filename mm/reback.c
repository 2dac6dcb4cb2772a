/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reback: other memory comes behind a range, and every byte with it.
 *
 * Other huge pages and another node are other pages behind the same mapping; the kernel exchanges
 * those itself, while everybody goes on. Another file is another mapping:
 *
 *   the range is write-protected, its contents are copied to the file,
 *   the file is mapped elsewhere, watched and protected as the range is,
 *   mremap() puts that mapping in the place of the old one.
 *
 * To the vCPUs the last step is one moment: before it they may read the old pages, but not write;
 * after it they find the new ones. A new mapping made in its place (MAP_FIXED) would not be watched
 * at first, and the kernel would put zeros where a vCPU touched it just then. This is the one
 * operation that changes the process' mappings, so everybody's faults wait for it for a moment.
 * mremap() tells the userfaultfd, and waits until that has been read (fault_service_moving()).
 */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mm/broken.h"
#include "mm/numa.h"
#include "mm/operation.h"
#include "mm/trace.h"

/**
 * struct reback - what is prepared: the new memory, mapped at @stage
 */
struct reback {
	struct piece *piece;
	struct backing backing; /* as it is while it is at @stage */
	char *stage;
	char *map;
	uint64_t map_bytes;
	struct ma_state store; /* in the window's tree of pieces */
};

static int reback_check(struct guest_mm *mm, struct operation *op, struct samara_error *err)
{
	int ret = range_check(mm, &op->range, err);

	SAMARA_PROBE2(reback, op->range.gpa, op->range.size_bytes);
	if (ret)
		return ret;
	ret = numa_check(&op->memory->placement, err);
	if (ret)
		return ret;
	if (op->range.window->own.page_bytes != SAMARA_PAGE_BYTES ||
	    op->range.window->own.kind == GUEST_MM_FILE_PRIVATE)
		return range_error(err, &op->range, -EOPNOTSUPP,
				   "huge pages and private files stay what they are");
	if (!mm->uffd->can_remap || !mm->uffd->can_protect_shared)
		return range_error(err, &op->range, -EOPNOTSUPP,
				   "this kernel cannot watch a mapping that moves, or "
				   "write-protect shared memory (Linux 5.19 can)");
	return 0;
}

static int reback_look(struct guest_mm *mm, struct operation *op, struct samara_error *err)
{
	return range_check_plugged(mm, &op->range, err);
}

/* The window's own memory again: a piece of the same file, or of none. */
static int open_own(const struct range *range, const struct guest_mm_placement *placement,
		    struct backing *backing, struct samara_error *err)
{
	const struct backing *own = &range->window->own;

	*backing = *own;
	if (placement->numa != GUEST_MM_NUMA_ANY)
		backing->placement = *placement;
	backing->offset_bytes = backing_offset(own, range->gpa);
	if (own->fd < 0)
		return 0;
	backing->fd = fcntl(own->fd, F_DUPFD_CLOEXEC, 3);
	return backing->fd < 0 ? samara_error_set(err, -errno, "%s", strerror(errno)) : 0;
}

static int open_memory(struct operation *op, struct reback *reback, struct samara_error *err)
{
	const struct range *range = &op->range;
	struct guest_mm_window_config config = {
		.gpa = range->gpa,
		.size_bytes = range->size_bytes,
		.backing = GUEST_MM_FILE_SHARED,
		.fd = op->memory->fd,
		.offset_bytes = op->memory->offset_bytes,
		.placement = op->memory->placement,
	};
	struct backing *backing;
	int ret;

	reback->piece = calloc(1, sizeof(*reback->piece));
	if (!reback->piece)
		return samara_error_set(err, -ENOMEM, "out of memory");
	backing = &reback->piece->backing;
	backing->fd = -1;
	if (op->memory->kind == GUEST_MM_MEMORY_OWN)
		ret = open_own(range, &op->memory->placement, backing, err);
	else
		ret = backing_open(backing, &config, err);
	if (ret)
		return ret;
	if (backing->page_bytes != SAMARA_PAGE_BYTES)
		return samara_error_set(err, -EINVAL,
					"a file of huge pages cannot be had piecewise");
	backing->gpa = range->gpa;
	backing->size_bytes = range->size_bytes;
	backing->hva = window_hva(range->window, range->gpa);
	reback->backing = *backing;
	return 0;
}

/* Map it elsewhere, where addresses agree modulo 2 MiB, watched as the window is. */
static int map_stage(const struct range *range, struct reback *reback)
{
	const struct window *window = range->window;
	gpa_t gpa = range->gpa;
	uint64_t left = range->size_bytes;
	int ret;

	reback->map_bytes = range->size_bytes + HUGE_BYTES;
	reback->map = mmap(NULL, reback->map_bytes, PROT_NONE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (reback->map == MAP_FAILED) {
		reback->map = NULL;
		return -errno;
	}
	reback->stage = reback->map + ((gpa - (uintptr_t)reback->map) & (HUGE_BYTES - 1));
	reback->backing.hva = reback->stage;
	ret = reback->backing.ops->map(&reback->backing, reback->stage, left, 0);
	if (!ret)
		ret = window_advise(window, &reback->backing, reback->stage, left);
	while (left && !ret) {
		uint64_t bytes = window_in_stripe(window, gpa, left);

		ret = uffd_register(window_uffd(window, gpa), backing_hva(&reback->backing, gpa),
				    bytes, true);
		gpa += bytes;
		left -= bytes;
	}
	return ret;
}

static int copy_run(const struct window *window, const struct reback *reback, gpa_t gpa,
		    uint64_t size_bytes)
{
	const struct backing *backing = &reback->backing;
	uint64_t done;
	int ret = 0;

	while (size_bytes && !ret) {
		ret = uffd_copy(window_uffd(window, gpa), backing_hva(backing, gpa),
				window_hva(window, gpa), window_in_stripe(window, gpa, size_bytes),
				false, &done);
		if (!ret) {
			gpa += done;
			size_bytes -= done;
		}
	}
	return ret;
}

/* Whether what is behind a range now is the new memory already, in the same place. */
static bool is_same(const struct backing *old, const struct backing *new, gpa_t gpa)
{
	return backing_same_file(old, new) && backing_offset(old, gpa) == backing_offset(new, gpa);
}

/* Bring what is present of a range into the new memory, where nothing else is to be. */
static int copy_part(const struct range *range, const struct reback *reback, gpa_t at,
		     uint64_t size_bytes)
{
	gpa_t end = at + size_bytes;
	uint64_t run;
	int ret = 0;

	if (reback->backing.shared)
		ret = reback->backing.ops->discard(&reback->backing, at, size_bytes);
	while (!ret &&
	       (at = page_bitmap_next_run(&range->window->present, at, end, true, &run), run)) {
		ret = copy_run(range->window, reback, at, run);
		at += run;
	}
	return ret;
}

/*
 * What the new memory holds is the range's contents, or zeros, or, of a file that shall be taken as
 * it is, what the file holds.
 */
static int fill_new(const struct range *range, const struct reback *reback,
		    const struct guest_mm_memory *memory)
{
	gpa_t gpa = range->gpa;
	uint64_t left = range->size_bytes;
	int ret = 0;

	while (left && !ret) {
		uint64_t bytes = left;
		const struct backing *old = window_backing(range->window, gpa, &bytes);

		if (is_same(old, &reback->backing, gpa))
			ret = 0;
		else if (!memory->bare)
			ret = copy_part(range, reback, gpa, bytes);
		else if (memory->kind == GUEST_MM_MEMORY_OWN && reback->backing.shared)
			ret = reback->backing.ops->discard(&reback->backing, gpa, bytes);
		gpa += bytes;
		left -= bytes;
	}
	return ret;
}

/* Whether one window uses the new memory, anywhere but where it is to be put. */
static bool is_used(const struct window *window, const struct range *range,
		    const struct backing *new)
{
	uint64_t first = new->offset_bytes, left = window->size_bytes;
	gpa_t gpa = window->gpa;

	while (left) {
		uint64_t bytes = left, offset;
		const struct backing *old = window_backing(window, gpa, &bytes);

		offset = backing_offset(old, gpa);
		if (backing_same_file(old, new) &&
		    !(window == range->window && is_same(old, new, gpa)) &&
		    offset < first + new->size_bytes && first < offset + bytes)
			return true;
		gpa += bytes;
		left -= bytes;
	}
	return false;
}

/* The same memory at two places would be what no operation expects. */
static int check_unused(struct guest_mm *mm, struct operation *op, struct samara_error *err)
{
	const struct backing *new = &op->reback->backing;

	for (unsigned int i = 0; i < mm_window_count(mm); i++) {
		const struct window *window = &mm->windows[i];
		bool own = op->memory->kind == GUEST_MM_MEMORY_OWN;

		if (is_used(window, &op->range, new) ||
		    (!own && backing_same_file(&window->own, new)))
			return samara_error_set(err, -EBUSY,
						"that memory is behind the window at %#llx already",
						(unsigned long long)window->gpa);
	}
	return 0;
}

/* What is read-only is so in the new mapping, too. */
static int protect_stage(struct guest_mm *mm, const struct range *range,
			 const struct reback *reback)
{
	struct mem_region *region;
	int ret = 0;

	for_each_region_in(mm, range, region)
	{
		gpa_t gpa = region->region.first;
		uint64_t left = region->region.last - gpa + 1;

		while (!(region->prot & GUEST_MM_WRITE) && left && !ret) {
			uint64_t bytes = window_in_stripe(range->window, gpa, left);

			ret = uffd_protect(window_uffd(range->window, gpa),
					   backing_hva(&reback->backing, gpa), bytes, true);
			gpa += bytes;
			left -= bytes;
		}
		if (ret)
			return ret;
	}
	return 0;
}

static void free_reback(struct reback *reback)
{
	if (reback->map)
		munmap(reback->map, reback->map_bytes);
	mas_destroy(&reback->store);
	if (reback->piece)
		piece_free(reback->piece);
	free(reback);
}

static void reback_undo(struct guest_mm *mm, struct operation *op)
{
	free_reback(op->reback);
	range_unprotect_writable(mm, &op->range);
}

static int prepare_memory(struct guest_mm *mm, struct operation *op, struct samara_error *err)
{
	const struct range *range = &op->range;
	struct reback *reback = op->reback;
	int ret = open_memory(op, reback, err);

	if (!ret)
		ret = check_unused(mm, op, err);
	if (ret) {
		samara_error_prefix(err, "%s %#llx+%#llx", range->operation,
				    (unsigned long long)range->gpa,
				    (unsigned long long)range->size_bytes);
		return ret;
	}
	ret = mas_preallocate(&reback->store, reback->piece, GFP_KERNEL);
	if (!ret)
		ret = map_stage(range, reback);
	if (!ret)
		ret = numa_place(reback->stage, range->size_bytes, &reback->backing.placement,
				 NULL);
	if (!ret && !BROKEN_REBACK)
		ret = window_protect(range->window, range->gpa, range->size_bytes);
	if (!ret)
		ret = fill_new(range, reback, op->memory);
	if (!ret)
		ret = protect_stage(mm, range, reback);
	return ret ? range_error(err, range, ret, "%s", strerror(-ret)) : 0;
}

static int reback_prepare(struct guest_mm *mm, struct operation *op, struct samara_error *err)
{
	struct range *range = &op->range;
	int ret = range_isolate(mm, range);

	if (ret)
		return range_error(err, range, ret, "%s", strerror(-ret));
	op->reback = calloc(1, sizeof(*op->reback));
	if (!op->reback)
		return range_error(err, range, -ENOMEM, "out of memory");
	op->reback->backing.fd = -1;
	op->reback->store = (struct ma_state){.tree = &range->window->pieces,
					      .index = range->gpa,
					      .last = range_last(range),
					      .status = ma_start};
	ret = prepare_memory(mm, op, err);
	if (ret)
		reback_undo(mm, op);
	return ret;
}

/*
 * Put the new mapping in the old one's place, and give back what the old one's files held.
 *
 * mremap() fails only for want of memory for a few small objects. It may then have unmapped the old
 * place already: there is no way back, and the contents are in the new memory.
 */
static void exchange(const struct range *range, const struct reback *reback)
{
	const struct window *window = range->window;
	gpa_t gpa = range->gpa;
	uint64_t left = range->size_bytes;

	while (left) {
		uint64_t bytes = window_in_stripe(window, gpa, left);

		while (mremap(backing_hva(&reback->backing, gpa), bytes, bytes,
			      MREMAP_MAYMOVE | MREMAP_FIXED, window_hva(window, gpa)) == MAP_FAILED)
			pause_before_retry();
		gpa += bytes;
		left -= bytes;
	}
}

/* What was replaced is given back; but a file that came as it was goes as it is. */
static void empty_old_files(const struct range *range, const struct backing *new, bool bare)
{
	gpa_t gpa = range->gpa;
	uint64_t left = range->size_bytes;

	while (left) {
		uint64_t bytes = left;
		const struct backing *old = window_backing(range->window, gpa, &bytes);
		bool keep = is_same(old, new, gpa) ||
			    (bare && !backing_same_file(old, &range->window->own));

		while (old->shared && !keep && old->ops->discard(old, gpa, bytes))
			pause_before_retry();
		gpa += bytes;
		left -= bytes;
	}
}

static void reback_commit(struct guest_mm *mm, struct operation *op)
{
	struct reback *reback = op->reback;

	fault_service_moving(mm, true);
	exchange(&op->range, reback);
	fault_service_moving(mm, false);
	if (op->memory->bare)
		window_forget(op->range.window, op->range.gpa, op->range.size_bytes);
	empty_old_files(&op->range, &reback->backing, op->memory->bare);
	__atomic_store_n(&op->range.window->has_pieces, true, __ATOMIC_RELEASE);
	while (mas_preallocate(&reback->store, reback->piece, GFP_KERNEL))
		pause_before_retry();
	window_set_piece(op->range.window, &reback->store, reback->piece);
	reback->piece = NULL;
	free_reback(reback);
	/* Who met the protection, or a page that was missing just then, tries again. */
	range_unprotect_writable(mm, &op->range);
	window_wake(op->range.window, op->range.gpa, op->range.size_bytes);
}

const struct operation_kind reback_operation = {
	.check = reback_check,
	.look = reback_look,
	.prepare = reback_prepare,
	.undo = reback_undo,
	.commit = reback_commit,
	.counter = offsetof(struct mm_counters, rebacks),
};

int guest_mm_reback(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes,
		    const struct guest_mm_memory *memory, struct samara_error *err)
{
	struct operation op = {
		.kind = &reback_operation,
		.range = {.operation = "reback", .gpa = gpa, .size_bytes = size_bytes},
		.memory = memory,
	};

	switch (memory->kind) {
	case GUEST_MM_MEMORY_OWN:
	case GUEST_MM_MEMORY_FILE:
		return operations_run(mm, &op, 1, err);
	case GUEST_MM_MEMORY_HUGE:
	case GUEST_MM_MEMORY_NODE:
		return place_range(mm, &op.range, memory, err);
	default:
		mm_count(&mm->counters.failed_operations, 1);
		return range_error(err, &op.range, -EINVAL, "%d is no kind of memory",
				   (int)memory->kind);
	}
}
