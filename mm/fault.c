/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The one place where a stage-2 fault is resolved, whoever reports it.
 *
 * A fault holds the region of its gpa, like any reader, while it puts pages there. With NOWAIT it
 * takes no tree lock: what is marked belongs to an operation in progress, which has the fault tried again when it
 * is done; what is not there is answered by a stray page.
 */
#include <errno.h>

#include "mm/mm.h"
#include "mm/trace.h"

/* The page is present and write-protected. */
static int resolve_protected(struct guest_mm *mm, struct mem_region *region, gpa_t gpa)
{
	struct window *window = region->window;
	gpa_t page = gpa & ~(window->own.page_bytes - 1);
	int ret;

	if (!(region->prot & GUEST_MM_WRITE) && !__atomic_load_n(&mm->letting_go, __ATOMIC_ACQUIRE))
		return GUEST_MM_FAULT_HELD;
	/*
	 * The protection was lifted since, or belonged to an operation or to a guest that is over.
	 */
	ret = uffd_protect(window_uffd(window, page), window_hva(window, page),
			   window->own.page_bytes, false);
	return ret && ret != -ENOENT ? ret : GUEST_MM_FAULT_DONE;
}

static int resolve_missing(struct guest_mm *mm, const struct region_guard *guard, gpa_t gpa)
{
	int ret = populate_around(mm, mem_region_of(guard->region), gpa, guard->first, guard->last);

	return ret ? ret : GUEST_MM_FAULT_DONE;
}

static int answer_nothing(struct guest_mm *mm, gpa_t gpa)
{
	int ret = stray_answer(mm, gpa);

	if (ret == -EAGAIN)
		return GUEST_MM_FAULT_BUSY;
	if (ret)
		return ret;
	fault_service_stray(mm);
	return GUEST_MM_FAULT_NOTHING;
}

/*
 * Hold what the fault may populate, and no more: the rest of the region is others' to change. A design
 * that knows holders by range may find what lies ahead busy, when the page is not.
 */
static struct region *hold_around(struct guest_mm *mm, const struct window *window, gpa_t gpa,
				  unsigned int flags, struct region_guard *guard, bool *busy)
{
	struct region *region;
	gpa_t first, last;

	populate_block(mm, gpa, &first, &last);
	if (!(flags & GUEST_MM_FAULT_PROTECT) && populate_ahead(mm, window, gpa, &first, &last)) {
		region = region_try_fault_lock(mm->tree, gpa, first, last, guard, busy);
		if (region || !*busy)
			return region;
		populate_block(mm, gpa, &first, &last);
	}
	return region_try_fault_lock(mm->tree, gpa, first, last, guard, busy);
}

static int try_fault(struct guest_mm *mm, const struct window *window, gpa_t gpa,
		     unsigned int flags)
{
	struct region_guard guard;
	struct region *region;
	bool busy;
	int ret;

	region = hold_around(mm, window, gpa, flags, &guard, &busy);
	if (!region)
		return busy ? GUEST_MM_FAULT_BUSY : answer_nothing(mm, gpa);
	if (flags & GUEST_MM_FAULT_PROTECT)
		ret = resolve_protected(mm, mem_region_of(region), gpa);
	else
		ret = resolve_missing(mm, &guard, gpa);
	region_read_unlock(&guard);
	return ret;
}

int guest_mm_fault(struct guest_mm *mm, gpa_t gpa, unsigned int flags)
{
	const struct window *window = mm_window(mm, gpa, 1);
	int ret;

	if (!window)
		return -ERANGE;
	SAMARA_PROBE2(fault_begin, gpa, flags);
	ret = try_fault(mm, window, gpa, flags);
	if (ret == GUEST_MM_FAULT_BUSY && !(flags & GUEST_MM_FAULT_NOWAIT)) {
		/*
		 * When the operation is over; the lock is fair, and with it held nothing is busy.
		 */
		lock_tree_read(mm->tree);
		ret = try_fault(mm, window, gpa, flags);
		unlock_tree_read(mm->tree);
	}
	if (ret == GUEST_MM_FAULT_DONE) {
		mm_count(&mm->counters.faults, 1);
		if (flags & GUEST_MM_FAULT_PROTECT)
			mm_count(&mm->counters.fault_write_protect, 1);
	}
	SAMARA_PROBE3(fault_resolved, gpa, flags, ret);
	return ret;
}

void guest_mm_let_go(struct guest_mm *mm)
{
	__atomic_store_n(&mm->letting_go, true, __ATOMIC_RELEASE);
	fault_service_retry(mm);
}
