/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Plug, unplug and protect. Each looks whether it can be done, takes all the memory it needs, and
 * only then changes something; what can fail after that is undone.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mm/operation.h"

static int check_prot(const struct range *range, unsigned int prot, struct samara_error *err)
{
	if (prot != GUEST_MM_RDWR && prot != GUEST_MM_READ)
		return range_error(err, range, -EINVAL,
				   "protection %#x is neither read-write nor read-only", prot);
	if (prot == GUEST_MM_READ && !range->window->can_protect)
		return range_error(
			err, range, -EOPNOTSUPP,
			"this kernel cannot write-protect shared memory (Linux 5.19 can)");
	return 0;
}

int guest_mm_plug(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes, unsigned int prot,
		  struct samara_error *err)
{
	struct range range = {.operation = "plug", .gpa = gpa, .size_bytes = size_bytes};
	MA_STATE(store, &mm->tree->map, gpa, gpa + size_bytes - 1);
	MA_STATE(undo, &mm->tree->map, gpa, gpa + size_bytes - 1);
	struct mem_region *region = NULL;
	int ret;

	ret = range_check(mm, &range, err);
	if (!ret)
		ret = check_prot(&range, prot, err);
	if (ret)
		return operation_refuse(mm, ret);
	lock_tree_write(mm->tree);
	ret = range_check_free(mm, &range, err);
	if (ret)
		goto out;
	region = region_make(mm, range.window, gpa, range_last(&range), prot);
	if (!region || mas_preallocate(&store, region, GFP_KERNEL) ||
	    mas_preallocate(&undo, NULL, GFP_KERNEL)) {
		mas_destroy(&store);
		free(region);
		ret = range_error(err, &range, -ENOMEM, "out of memory");
		goto out;
	}
	region_start_write(&region->region);
	mas_store_prealloc(&store, region);
	ret = stray_clear(mm, gpa, size_bytes);
	/* Shared memory: what another process left there is not to become the guest's. */
	if (!ret && range.window->backing == GUEST_MM_MEMFD)
		ret = window_discard(range.window, gpa, size_bytes);
	if (ret) {
		mas_store_prealloc(&undo, NULL);
		region_retire(&region->region);
		range_error(err, &range, ret, "dropping what is there: %s", strerror(-ret));
		goto out;
	}
	mas_destroy(&undo);
	range_merge(mm, &range);
out:
	return operation_end(mm, ret, &mm->counters.plugs);
}

int guest_mm_unplug(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes, struct samara_error *err)
{
	struct range range = {.operation = "unplug", .gpa = gpa, .size_bytes = size_bytes};
	MA_STATE(erase, &mm->tree->map, gpa, gpa + size_bytes - 1);
	struct mem_region *region;
	int ret;

	ret = range_check(mm, &range, err);
	if (ret)
		return operation_refuse(mm, ret);
	lock_tree_write(mm->tree);
	ret = range_check_plugged(mm, &range, err);
	if (ret)
		goto out;
	ret = range_isolate(mm, &range);
	if (!ret)
		ret = mas_preallocate(&erase, NULL, GFP_KERNEL);
	if (ret) {
		range_error(err, &range, ret, "%s", strerror(-ret));
		goto merge;
	}
	/* Nobody populates the range while its regions are marked, and nobody reads its bits. */
	ret = window_discard(range.window, gpa, size_bytes);
	if (ret) {
		mas_destroy(&erase);
		range_error(err, &range, ret, "giving the pages back: %s", strerror(-ret));
		goto merge;
	}
	window_clear_present(range.window, gpa, size_bytes);
	for_each_region_in(mm, &range, region) region_retire(&region->region);
	mas_store_prealloc(&erase, NULL);
	goto out;
merge:
	range_merge(mm, &range);
out:
	return operation_end(mm, ret, &mm->counters.unplugs);
}

/* Make what is present in a region obey @prot. Allowing to write does not fail. */
static int apply_prot(struct guest_mm *mm, struct mem_region *region, unsigned int prot)
{
	char *hva = window_hva(region->window, region->region.first);
	uint64_t size_bytes = region->region.last - region->region.first + 1;

	if (!(prot & GUEST_MM_WRITE))
		return uffd_protect(&mm->uffd, hva, size_bytes, true);
	uffd_unprotect(&mm->uffd, hva, size_bytes);
	return 0;
}

static int protect_regions(struct guest_mm *mm, const struct range *range, unsigned int prot)
{
	struct mem_region *region, *failed = NULL;
	int ret = 0;

	for_each_region_in(mm, range, region)
	{
		if (region->prot == prot)
			continue;
		ret = apply_prot(mm, region, prot);
		if (ret) {
			failed = region;
			break;
		}
	}
	for_each_region_in(mm, range, region)
	{
		if (ret) {
			/*
			 * As it was: what failed is a protection, so this lifts or changes nothing.
			 */
			if (region->prot != prot)
				apply_prot(mm, region, region->prot);
			if (region == failed)
				break;
		} else {
			__atomic_store_n(&region->prot, prot, __ATOMIC_RELAXED);
		}
	}
	return ret;
}

int guest_mm_protect(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes, unsigned int prot,
		     struct samara_error *err)
{
	struct range range = {.operation = "protect", .gpa = gpa, .size_bytes = size_bytes};
	int ret;

	ret = range_check(mm, &range, err);
	if (!ret)
		ret = check_prot(&range, prot, err);
	if (ret)
		return operation_refuse(mm, ret);
	lock_tree_write(mm->tree);
	ret = range_check_plugged(mm, &range, err);
	if (ret)
		goto out;
	ret = range_isolate(mm, &range);
	if (!ret)
		ret = protect_regions(mm, &range, prot);
	if (ret)
		range_error(err, &range, ret, "%s", strerror(-ret));
	range_merge(mm, &range);
out:
	return operation_end(mm, ret, &mm->counters.protects);
}

int guest_mm_hold_again(struct guest_mm *mm, struct samara_error *err)
{
	MA_STATE(mas, &mm->tree->map, 0, 0);
	struct region *entry;
	int ret = 0;

	lock_tree_write(mm->tree);
	__atomic_store_n(&mm->letting_go, false, __ATOMIC_RELEASE);
	mas_for_each (&mas, entry, UINT64_MAX)
		if (!(mem_region_of(entry)->prot & GUEST_MM_WRITE))
			region_start_write(entry);
	region_drain(mm->tree);
	mas_set(&mas, 0);
	while (!ret && (entry = mas_find(&mas, UINT64_MAX)) != NULL)
		if (!(mem_region_of(entry)->prot & GUEST_MM_WRITE))
			ret = apply_prot(mm, mem_region_of(entry), GUEST_MM_READ);
	unlock_tree_write(mm->tree);
	fault_service_retry(mm);
	if (ret)
		samara_error_set(err, ret, "write-protecting read-only memory again: %s",
				 strerror(-ret));
	return ret;
}
