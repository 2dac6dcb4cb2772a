/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Remap: a range moves to another gpa, and every byte with it.
 *
 * While it moves, both places are in the tree with their regions marked, so whoever faults at
 * either waits; a vCPU that has a page mapped loses it at the moment it is moved (UFFDIO_MOVE), or
 * can no longer write to it from before it is copied until it is gone (write protection). So a
 * write lands in the old page before it moves, or in nothing; it is never half there.
 *
 * UFFDIO_MOVE drops write protection, so a page that is moved can be written to as soon as it is at
 * its new place. Pages of read-only regions are copied: the copy comes into being protected, and
 * the original stays so until it is dropped.
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "mm/operation.h"
#include "mm/trace.h"

/* How often a page that the kernel is using just now is tried again, 50 us apart, until it is
 * copied instead. KVM takes such references for the time of one stage-2 fault. */
#define BUSY_TRIES    20
#define BUSY_PAUSE_NS 50000

/* Whether a region's pages are moved; if not, they are copied. The same in both directions. */
static bool is_moved(const struct guest_mm *mm, const struct mem_region *region,
		     const struct range *from, const struct range *to)
{
	gpa_t gpa = region->region.first;
	uint64_t size_bytes = region->region.last - gpa + 1;

	return mm->uffd->can_move && !mm->copy_only && region->prot & GUEST_MM_WRITE &&
	       window_is_anon(from->window, gpa, size_bytes) &&
	       window_is_anon(to->window, to->gpa + (gpa - from->gpa), size_bytes);
}

static void pause_ns(long ns)
{
	struct timespec pause = {.tv_nsec = ns};

	clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
}

/*
 * Copy a run of present pages behind missing ones. The source is write-protected, and so are the
 * copies: a vCPU that writes to the new place too early waits, for the operation may yet fail.
 */
static int copy_run(struct window *to, gpa_t target, const char *from, uint64_t size_bytes,
		    uint64_t *done)
{
	int ret = 0;

	for (*done = 0; *done < size_bytes && !ret;) {
		uint64_t step = window_in_mapping(to, target + *done, size_bytes - *done);

		ret = uffd_copy(window_uffd(to, target + *done), window_hva(to, target + *done),
				from + *done, step, true, &step);
		if (!ret)
			*done += step;
	}
	return ret;
}

/* Copy one page that cannot be moved, and drop the original. On failure the copy is gone. */
static int copy_busy_page(const struct range *from, gpa_t source, const struct range *to,
			  gpa_t target)
{
	uint64_t done;
	int ret;

	ret = window_protect(from->window, source, SAMARA_PAGE_BYTES);
	if (!ret)
		ret = copy_run(to->window, target, window_hva(from->window, source),
			       SAMARA_PAGE_BYTES, &done);
	if (ret)
		return ret;
	ret = window_discard(from->window, source, SAMARA_PAGE_BYTES);
	if (ret)
		discard_surely(to->window, target, SAMARA_PAGE_BYTES);
	else
		window_unprotect(to->window, target, SAMARA_PAGE_BYTES);
	return ret;
}

/* Move a run of present pages. @done says how much of it is at the new place, also on failure. */
static int move_run(const struct range *from, gpa_t source, const struct range *to, gpa_t target,
		    uint64_t size_bytes, uint64_t *done)
{
	unsigned int tries = 0;
	int ret = 0;

	*done = 0;
	while (*done < size_bytes && !ret) {
		uint64_t step = window_in_mapping(to->window, target + *done, size_bytes - *done);

		/* Both in one mapping each. */
		step = window_in_mapping(from->window, source + *done, step);
		ret = uffd_move(window_uffd(to->window, target + *done),
				window_hva(to->window, target + *done),
				window_hva(from->window, source + *done), step, &step);
		*done += step;
		if (step)
			tries = 0;
		if (ret != -EBUSY)
			continue;
		if (tries++ < BUSY_TRIES) {
			pause_ns(BUSY_PAUSE_NS);
			ret = 0;
			continue;
		}
		ret = copy_busy_page(from, source + *done, to, target + *done);
		if (!ret)
			*done += SAMARA_PAGE_BYTES;
	}
	return ret;
}

/*
 * Bring every present page of one region of @from to @to, and its bit with it.
 *
 * Copies leave the originals where they are, write-protected, with their bits set: the caller drops
 * the one set or the other.
 */
static int transfer_region(struct guest_mm *mm, const struct mem_region *region,
			   const struct range *from, const struct range *to)
{
	bool move = is_moved(mm, region, from, to);
	gpa_t source = region->region.first, end = region->region.last + 1;
	int ret = 0;

	if (!move && region->prot & GUEST_MM_WRITE)
		ret = window_protect(from->window, source, end - source);
	while (!ret) {
		uint64_t run, done;
		gpa_t target;

		source = page_bitmap_next_run(&from->window->present, source, end, true, &run);
		if (!run)
			break;
		target = to->gpa + (source - from->gpa);
		if (move)
			ret = move_run(from, source, to, target, run, &done);
		else
			ret = copy_run(to->window, target, window_hva(from->window, source), run,
				       &done);
		window_set_present(to->window, target, done);
		if (move)
			window_clear_present(from->window, source, done);
		source += done;
	}
	return ret;
}

static int transfer(struct guest_mm *mm, const struct range *from, const struct range *to)
{
	struct mem_region *region;
	int ret;

	for_each_region_in(mm, from, region)
	{
		ret = transfer_region(mm, region, from, to);
		if (ret)
			return ret;
	}
	return 0;
}

/*
 * Undo a transfer() that failed on its way: move back what was moved, however often that takes, as
 * it is nowhere else; drop what was copied; lift the protection where writing is allowed.
 */
static void transfer_back(struct guest_mm *mm, const struct range *from, const struct range *to)
{
	struct mem_region *region;

	for_each_region_in(mm, to, region)
	{
		gpa_t first = region->region.first;
		uint64_t size_bytes = region->region.last - first + 1;

		if (is_moved(mm, region, to, from)) {
			while (transfer_region(mm, region, to, from))
				pause_before_retry();
		} else {
			discard_surely(to->window, first, size_bytes);
			window_clear_present(to->window, first, size_bytes);
		}
	}
	if (window_is_shared(to->window, to->gpa, to->size_bytes))
		window_unprotect(to->window, to->gpa, to->size_bytes);
	range_unprotect_writable(mm, from);
}

/*
 * Publish marked regions at the new place, one for each at the old one. @undo is kept able to take
 * them out again.
 */
static int publish_target(struct guest_mm *mm, struct operation *op)
{
	const struct range *from = &op->range, *to = &op->to;
	struct mem_region *old, *region;

	/* Without a first preallocation there would be nothing to undo with. */
	if (mas_preallocate(&op->undo, NULL, GFP_KERNEL))
		return -ENOMEM;
	for_each_region_in(mm, from, old)
	{
		gpa_t first = to->gpa + (old->region.first - from->gpa);
		gpa_t last = to->gpa + (old->region.last - from->gpa);
		MA_STATE(store, &mm->tree->map, first, last);

		region = region_make(mm, to->window, first, last, old->prot);
		if (!region || mas_preallocate(&op->undo, NULL, GFP_KERNEL) ||
		    mas_preallocate(&op->erase, NULL, GFP_KERNEL) ||
		    mas_preallocate(&store, region, GFP_KERNEL)) {
			free(region);
			return -ENOMEM;
		}
		region_start_write(&region->region);
		mas_store_prealloc(&store, region);
	}
	return 0;
}

/* In shared memory, where the kernel maps by itself what others put there. */
static int protect_target(struct guest_mm *mm, const struct range *to)
{
	struct mem_region *region;
	int ret = 0;

	if (!window_is_shared(to->window, to->gpa, to->size_bytes))
		return 0;
	for_each_region_in(mm, to, region)
	{
		if (!(region->prot & GUEST_MM_WRITE))
			ret = window_protect(to->window, region->region.first,
					     region->region.last - region->region.first + 1);
		if (ret)
			return ret;
	}
	return 0;
}

/* The new place is published: bring the contents there. */
static int fill_target(struct guest_mm *mm, const struct range *from, const struct range *to)
{
	int ret = stray_clear(mm, to->gpa, to->size_bytes);

	/* Shared memory: another process may have put pages there. */
	if (!ret)
		ret = window_drop(to->window, to->gpa, to->size_bytes);
	if (ret)
		return ret;
	ret = protect_target(mm, to);
	if (!ret)
		ret = transfer(mm, from, to);
	if (!ret)
		ret = window_reserve(to->window, to->gpa, to->size_bytes);
	if (ret)
		transfer_back(mm, from, to);
	return ret;
}

static int remap_check(struct guest_mm *mm, struct operation *op, struct samara_error *err)
{
	struct range *from = &op->range, *to = &op->to;
	int ret;

	SAMARA_PROBE3(remap, from->gpa, from->size_bytes, to->gpa);
	ret = range_check(mm, from, err);
	if (!ret)
		ret = range_check(mm, to, err);
	if (ret)
		return ret;
	if (to->gpa <= range_last(from) && from->gpa <= range_last(to))
		return range_error(err, from, -EINVAL, "the target at %#llx overlaps it",
				   (unsigned long long)to->gpa);
	if (from->window->own.kind != to->window->own.kind)
		return range_error(err, from, -EXDEV, "the target at %#llx has another backing",
				   (unsigned long long)to->gpa);
	if (from->window->own.kind == GUEST_MM_FILE_PRIVATE)
		return range_error(err, from, -EOPNOTSUPP,
				   "memory of a private file stays at its place in the file");
	if (!(from->window->can_protect && to->window->can_protect))
		return range_error(
			err, from, -EOPNOTSUPP,
			"this kernel cannot write-protect shared memory (Linux 5.19 can)");
	return 0;
}

static int remap_look(struct guest_mm *mm, struct operation *op, struct samara_error *err)
{
	int ret = range_check_plugged(mm, &op->range, err);

	return ret ? ret : range_check_free(mm, &op->to, err);
}

static int remap_prepare(struct guest_mm *mm, struct operation *op, struct samara_error *err)
{
	int ret = range_isolate(mm, &op->range);

	if (ret)
		return range_error(err, &op->range, ret, "%s", strerror(-ret));
	op->bare = window_is_bare(op->range.window, op->range.gpa, op->range.size_bytes);
	operation_set_undo(mm, op, &op->to);
	operation_set_erase(mm, op, &op->range);
	ret = publish_target(mm, op);
	if (!ret)
		ret = fill_target(mm, &op->range, &op->to);
	if (ret) {
		range_error(err, &op->range, ret, "%s", strerror(-ret));
		range_retire(mm, &op->to);
		erase_surely(&op->undo);
		mas_destroy(&op->erase);
	}
	return ret;
}

static void remap_undo(struct guest_mm *mm, struct operation *op)
{
	transfer_back(mm, &op->range, &op->to);
	range_retire(mm, &op->to);
	erase_surely(&op->undo);
	mas_destroy(&op->erase);
}

/* What was moved is gone already; copies leave their originals. */
static int remap_drop(struct guest_mm *mm, struct operation *op)
{
	(void)mm;
	if (op->bare)
		return 0;
	/* What was moved page by page leaves page tables behind. */
	return window_discard(op->range.window, op->range.gpa, op->range.size_bytes);
}

/* Pages that were discarded are so at the new place. */
static void move_discarded(const struct range *from, const struct range *to)
{
	gpa_t at = from->gpa, end = from->gpa + from->size_bytes;
	uint64_t run;

	while (at = page_bitmap_next_run(&from->window->discarded, at, end, true, &run), run) {
		page_bitmap_set(&to->window->discarded, to->gpa + (at - from->gpa), run);
		at += run;
	}
}

static void remap_commit(struct guest_mm *mm, struct operation *op)
{
	const struct range *from = &op->range;
	bool shared = window_is_shared(from->window, from->gpa, from->size_bytes);
	struct mem_region *region;

	move_discarded(from, &op->to);
	window_forget(from->window, from->gpa, from->size_bytes);
	range_unprotect_writable(mm, &op->to);
	/* In shared memory a protection outlives its page. */
	for_each_region_in(mm, from, region)
	{
		if (shared)
			window_unprotect(from->window, region->region.first,
					 region->region.last - region->region.first + 1);
		region_retire(&region->region);
	}
	erase_surely(&op->erase);
	mas_destroy(&op->undo);
}

const struct operation_kind remap_operation = {
	.check = remap_check,
	.look = remap_look,
	.prepare = remap_prepare,
	.undo = remap_undo,
	.drop = remap_drop,
	.commit = remap_commit,
	.counter = offsetof(struct mm_counters, remaps),
};

int guest_mm_remap(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes, gpa_t new_gpa,
		   struct samara_error *err)
{
	struct operation op = {
		.kind = &remap_operation,
		.range = {.operation = "remap", .gpa = gpa, .size_bytes = size_bytes},
		.to = {.operation = "remap to", .gpa = new_gpa, .size_bytes = size_bytes},
	};

	return operations_run(mm, &op, 1, err);
}
