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
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "mm/operation.h"

/* How often a page that the kernel is using just now is tried again, 50 us apart, until it is
 * copied instead. KVM takes such references for the time of one stage-2 fault. */
#define BUSY_TRIES    20
#define BUSY_PAUSE_NS 50000

/* Between two tries of undoing something that worked a moment before. */
#define UNDO_PAUSE_NS 1000000

/* Whether a region's pages are moved; if not, they are copied. */
static bool is_moved(const struct guest_mm *mm, const struct mem_region *region,
		     const struct range *to)
{
	return mm->uffd.can_move && !mm->copy_only && region->prot & GUEST_MM_WRITE &&
	       region->window->backing == GUEST_MM_ANON && to->window->backing == GUEST_MM_ANON;
}

static void pause_ns(long ns)
{
	struct timespec pause = {.tv_nsec = ns};

	clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
}

/* Drop pages that must not stay. fill_target() has seen that the window can do it. */
static void discard_surely(struct window *window, gpa_t gpa, uint64_t size_bytes)
{
	while (window_discard(window, gpa, size_bytes))
		pause_ns(UNDO_PAUSE_NS);
}

/*
 * Copy a run of present pages behind missing ones. The source is write-protected, and so are the
 * copies: a vCPU that writes to the new place too early waits, for the operation may yet fail.
 */
static int copy_run(struct guest_mm *mm, char *to, const char *from, uint64_t size_bytes,
		    uint64_t *done)
{
	int ret = 0;

	for (*done = 0; *done < size_bytes && !ret;) {
		uint64_t step;

		ret = uffd_copy(&mm->uffd, to + *done, from + *done, size_bytes - *done, true,
				&step);
		if (!ret)
			*done += step;
	}
	return ret;
}

/* Copy one page that cannot be moved, and drop the original. On failure the copy is gone. */
static int copy_busy_page(struct guest_mm *mm, const struct range *from, gpa_t source,
			  const struct range *to, gpa_t target)
{
	char *page = window_hva(from->window, source);
	uint64_t done;
	int ret;

	ret = uffd_protect(&mm->uffd, page, SAMARA_PAGE_BYTES, true);
	if (!ret)
		ret = copy_run(mm, window_hva(to->window, target), page, SAMARA_PAGE_BYTES, &done);
	if (ret)
		return ret;
	ret = window_discard(from->window, source, SAMARA_PAGE_BYTES);
	if (ret)
		discard_surely(to->window, target, SAMARA_PAGE_BYTES);
	else
		uffd_unprotect(&mm->uffd, window_hva(to->window, target), SAMARA_PAGE_BYTES);
	return ret;
}

/* Move a run of present pages. @done says how much of it is at the new place, also on failure. */
static int move_run(struct guest_mm *mm, const struct range *from, gpa_t source,
		    const struct range *to, gpa_t target, uint64_t size_bytes, uint64_t *done)
{
	unsigned int tries = 0;
	int ret = 0;

	*done = 0;
	while (*done < size_bytes && !ret) {
		uint64_t step;

		ret = uffd_move(&mm->uffd, window_hva(to->window, target + *done),
				window_hva(from->window, source + *done), size_bytes - *done,
				&step);
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
		ret = copy_busy_page(mm, from, source + *done, to, target + *done);
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
	bool move = is_moved(mm, region, to);
	gpa_t source = region->region.first, end = region->region.last + 1;
	int ret = 0;

	if (!move && region->prot & GUEST_MM_WRITE)
		ret = uffd_protect(&mm->uffd, window_hva(from->window, source), end - source, true);
	while (!ret) {
		uint64_t run, done;
		gpa_t target;

		source = window_next_run(from->window, source, end, true, &run);
		if (!run)
			break;
		target = to->gpa + (source - from->gpa);
		if (move)
			ret = move_run(mm, from, source, to, target, run, &done);
		else
			ret = copy_run(mm, window_hva(to->window, target),
				       window_hva(from->window, source), run, &done);
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

/* Lift the protection that copying needs, where writing is allowed. */
static void unprotect_writable(struct guest_mm *mm, const struct range *range)
{
	struct mem_region *region;

	for_each_region_in(mm, range, region) if (region->prot & GUEST_MM_WRITE)
		uffd_unprotect(&mm->uffd, window_hva(region->window, region->region.first),
			       region->region.last - region->region.first + 1);
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

		if (is_moved(mm, region, from)) {
			while (transfer_region(mm, region, to, from))
				pause_ns(UNDO_PAUSE_NS);
		} else {
			discard_surely(to->window, first, size_bytes);
			window_clear_present(to->window, first, size_bytes);
		}
	}
	unprotect_writable(mm, from);
}

static void retire_all(struct guest_mm *mm, const struct range *range)
{
	struct mem_region *region;

	for_each_region_in(mm, range, region) region_retire(&region->region);
}

/*
 * Publish marked regions at the new place, one for each at the old one. @undo is kept able to take
 * them out again, @erase to take out the old ones.
 */
static int publish_target(struct guest_mm *mm, const struct range *from, const struct range *to,
			  struct ma_state *undo, struct ma_state *erase)
{
	struct mem_region *old, *region;

	for_each_region_in(mm, from, old)
	{
		gpa_t first = to->gpa + (old->region.first - from->gpa);
		gpa_t last = to->gpa + (old->region.last - from->gpa);
		MA_STATE(store, &mm->tree->map, first, last);

		region = region_make(mm, to->window, first, last, old->prot);
		if (!region || mas_preallocate(undo, NULL, GFP_KERNEL) ||
		    mas_preallocate(erase, NULL, GFP_KERNEL) ||
		    mas_preallocate(&store, region, GFP_KERNEL)) {
			free(region);
			return -ENOMEM;
		}
		region_start_write(&region->region);
		mas_store_prealloc(&store, region);
	}
	return 0;
}

/* The new place is published: bring the contents there. */
static int fill_target(struct guest_mm *mm, const struct range *from, const struct range *to)
{
	int ret = stray_clear(mm, to->gpa, to->size_bytes);

	/* Shared memory: another process may have put pages there. And see that it can be done. */
	if (!ret)
		ret = window_discard(to->window, to->gpa, to->size_bytes);
	if (ret)
		return ret;
	ret = transfer(mm, from, to);
	/* What was moved is gone already; copies leave their originals. */
	if (!ret)
		ret = window_discard(from->window, from->gpa, from->size_bytes);
	if (ret) {
		transfer_back(mm, from, to);
		return ret;
	}
	window_clear_present(from->window, from->gpa, from->size_bytes);
	unprotect_writable(mm, to);
	return 0;
}

/* Both ranges are checked, the tree is locked. */
static int move_range(struct guest_mm *mm, const struct range *from, const struct range *to)
{
	MA_STATE(undo, &mm->tree->map, to->gpa, range_last(to));
	MA_STATE(erase, &mm->tree->map, from->gpa, range_last(from));
	int ret;

	ret = range_isolate(mm, from);
	if (ret)
		return ret;
	/* Without a first preallocation there would be nothing to undo with. */
	ret = mas_preallocate(&undo, NULL, GFP_KERNEL);
	if (ret)
		return ret;
	ret = publish_target(mm, from, to, &undo, &erase);
	if (!ret)
		ret = fill_target(mm, from, to);
	if (ret) {
		retire_all(mm, to);
		mas_store_prealloc(&undo, NULL);
		mas_destroy(&erase);
		return ret;
	}
	retire_all(mm, from);
	mas_store_prealloc(&erase, NULL);
	mas_destroy(&undo);
	return 0;
}

static int check_target(const struct range *from, const struct range *to, struct samara_error *err)
{
	if (to->gpa <= range_last(from) && from->gpa <= range_last(to))
		return range_error(err, from, -EINVAL, "the target at %#llx overlaps it",
				   (unsigned long long)to->gpa);
	if (from->window->backing != to->window->backing)
		return range_error(err, from, -EXDEV, "the target at %#llx has another backing",
				   (unsigned long long)to->gpa);
	if (!(from->window->can_protect && to->window->can_protect))
		return range_error(
			err, from, -EOPNOTSUPP,
			"this kernel cannot write-protect shared memory (Linux 5.19 can)");
	return 0;
}

int guest_mm_remap(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes, gpa_t new_gpa,
		   struct samara_error *err)
{
	struct range from = {.operation = "remap", .gpa = gpa, .size_bytes = size_bytes};
	struct range to = {.operation = "remap to", .gpa = new_gpa, .size_bytes = size_bytes};
	int ret;

	ret = range_check(mm, &from, err);
	if (!ret)
		ret = range_check(mm, &to, err);
	if (!ret)
		ret = check_target(&from, &to, err);
	if (ret)
		return operation_refuse(mm, ret);
	lock_tree_write(mm->tree);
	ret = range_check_plugged(mm, &from, err);
	if (!ret)
		ret = range_check_free(mm, &to, err);
	if (ret)
		goto out;
	ret = move_range(mm, &from, &to);
	if (ret) {
		range_error(err, &from, ret, "%s", strerror(-ret));
		range_merge(mm, &from);
	} else {
		range_merge(mm, &to);
	}
out:
	return operation_end(mm, ret, &mm->counters.remaps);
}
