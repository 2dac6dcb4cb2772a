/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Making and unmaking a guest_mm, and looking at it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mm/mm.h"
#include "mm/operation.h"

#define FAULT_THREADS_MAX      4   /* by default; measured enough for two CPUs, see KERNEL-FACTS */
#define FAULT_AROUND_PAGES     512 /* 2 MiB: where batches stop paying */
#define FAULT_AROUND_PAGES_MAX 65536

static unsigned int default_fault_threads(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	return cpus < 1 ? 1 : cpus > FAULT_THREADS_MAX ? FAULT_THREADS_MAX : (unsigned int)cpus;
}

static int check_config(const struct guest_mm_config *config, struct samara_error *err)
{
	unsigned int pages = config->fault_around_pages;

	if (pages & (pages - 1) || pages > FAULT_AROUND_PAGES_MAX)
		return samara_error_set(err, -EINVAL,
					"fault_around_pages %u is no power of two up to %u", pages,
					FAULT_AROUND_PAGES_MAX);
	return 0;
}

int guest_mm_create(const struct guest_mm_config *config, struct guest_mm **out,
		    struct samara_error *err)
{
	static const struct guest_mm_config defaults;
	struct guest_mm *mm;
	unsigned int pages;
	void *zeros;
	int ret;

	if (!config)
		config = &defaults;
	ret = check_config(config, err);
	if (ret)
		return ret;
	mm = calloc(1, sizeof(*mm));
	if (!mm)
		return samara_error_set(err, -ENOMEM, "guest memory manager: out of memory");
	pages = config->fault_around_pages ? config->fault_around_pages : FAULT_AROUND_PAGES;
	mm->copy_only = config->copy_only;
	mm->around_bytes = pages * SAMARA_PAGE_BYTES;
	stray_init(&mm->strays);
	/* Read only and never written: all of it is the host's one zero page. */
	zeros = mmap(NULL, mm->around_bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (zeros == MAP_FAILED) {
		ret = samara_error_set(err, -ENOMEM, "guest memory manager: out of memory");
		goto fail_mm;
	}
	mm->zeros = zeros;
	ret = region_tree_create(&mm->tree);
	if (ret) {
		samara_error_set(err, ret, "region tree: %s", strerror(-ret));
		goto fail_zeros;
	}
	ret = uffd_open(&mm->uffd, err);
	if (ret)
		goto fail_tree;
	ret = fault_service_start(
		mm, config->fault_threads ? config->fault_threads : default_fault_threads(), err);
	if (ret)
		goto fail_uffd;
	*out = mm;
	return 0;
fail_uffd:
	uffd_close(&mm->uffd);
fail_tree:
	region_tree_destroy(mm->tree);
fail_zeros:
	munmap(zeros, mm->around_bytes);
fail_mm:
	stray_destroy(&mm->strays);
	free(mm);
	return ret;
}

void guest_mm_destroy(struct guest_mm *mm)
{
	if (!mm)
		return;
	fault_service_stop(mm);
	for (unsigned int i = 0; i < mm_window_count(mm); i++)
		window_destroy(&mm->windows[i]);
	uffd_close(&mm->uffd);
	region_tree_destroy(mm->tree);
	munmap((void *)(uintptr_t)mm->zeros, mm->around_bytes);
	stray_destroy(&mm->strays);
	free(mm);
}

struct window *mm_window(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes)
{
	for (unsigned int i = 0; i < mm_window_count(mm); i++)
		if (window_covers(&mm->windows[i], gpa, size_bytes))
			return &mm->windows[i];
	return NULL;
}

int guest_mm_add_window(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes,
			enum guest_mm_backing backing, struct samara_error *err)
{
	struct range range = {.operation = "window", .gpa = gpa, .size_bytes = size_bytes};
	gpa_t last = gpa + size_bytes - 1;
	int ret;

	if (!size_bytes || (gpa | size_bytes) & (SAMARA_PAGE_BYTES - 1) || last < gpa)
		return range_error(err, &range, -EINVAL,
				   "empty, not page aligned, or past the end of the address space");
	for (unsigned int i = 0; i < mm_window_count(mm); i++) {
		const struct window *other = &mm->windows[i];

		if (gpa <= other->gpa + (other->size_bytes - 1) && other->gpa <= last)
			return range_error(err, &range, -EEXIST, "overlaps the one at %#" PRIx64,
					   other->gpa);
	}
	if (mm->window_count == WINDOWS_MAX)
		return range_error(err, &range, -ENOSPC, "there are %u already", WINDOWS_MAX);
	ret = window_create(&mm->windows[mm->window_count], &mm->uffd, gpa, size_bytes, backing,
			    err);
	if (!ret)
		__atomic_store_n(&mm->window_count, mm->window_count + 1, __ATOMIC_RELEASE);
	return ret;
}

int guest_mm_get_window(const struct guest_mm *mm, unsigned int index,
			struct guest_mm_window *window)
{
	const struct window *own;

	if (index >= mm_window_count(mm))
		return -ENOENT;
	own = &mm->windows[index];
	*window = (struct guest_mm_window){
		.gpa = own->gpa,
		.size_bytes = own->size_bytes,
		.hva = own->hva,
		.fd = own->fd,
		.backing = own->backing,
	};
	return 0;
}

/* Populate what [*@gpa, @last] has of one region. *@gpa moves behind it. */
static int populate_next(struct guest_mm *mm, gpa_t *gpa, gpa_t last)
{
	/* Piece by piece: a writer that wants the range waits for one piece at most. */
	gpa_t end = last - *gpa < mm->around_bytes ? last : *gpa + mm->around_bytes - 1;
	struct region_guard guard;
	struct region *region = region_read_lock_range(mm->tree, *gpa, *gpa, end, &guard);
	int ret;

	if (!region)
		return -ENOENT;
	end = guard.last;
	ret = populate_range(mm, mem_region_of(region), *gpa, end - *gpa + 1);
	region_read_unlock(&guard);
	*gpa = end + 1;
	return ret;
}

int guest_mm_populate(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes, struct samara_error *err)
{
	struct range range = {.operation = "populate", .gpa = gpa, .size_bytes = size_bytes};
	gpa_t at = gpa;
	int ret;

	ret = range_check(mm, &range, err);
	if (ret)
		return ret;
	do {
		gpa = at;
		ret = populate_next(mm, &at, range_last(&range));
	} while (!ret && at - 1 != range_last(&range));
	if (ret == -ENOENT)
		range_error(err, &range, ret, "nothing is plugged at %#" PRIx64, gpa);
	else if (ret)
		range_error(err, &range, ret, "at %#" PRIx64 ": %s", gpa, strerror(-ret));
	return ret;
}

/*
 * The next region of a listing under RCU, and what of it is in the tree and was not shown yet:
 * [mas->index, mas->last]. While regions are split and merged, one that was shown may be followed
 * by a larger one that replaced it, and one that is being replaced covers less than its own bounds.
 */
static struct region *next_listed(struct ma_state *mas, uint64_t *from)
{
	struct region *region;

	do {
		region = *from == UINT64_MAX ? NULL : mas_find(mas, UINT64_MAX);
	} while (region && mas->last < *from);
	if (region && mas->index > *from)
		*from = mas->index;
	return region;
}

int guest_mm_for_each_region(struct guest_mm *mm,
			     int (*visit)(const struct guest_mm_region *region, void *arg),
			     void *arg)
{
	MA_STATE(mas, &mm->tree->map, 0, 0);
	struct region *region;
	uint64_t from = 0;
	int ret = 0;

	samara_rcu_read_lock();
	while (!ret && (region = next_listed(&mas, &from)) != NULL) {
		struct mem_region *memory = mem_region_of(region);
		uint64_t size_bytes = mas.last - from + 1;
		struct guest_mm_region info = {
			.gpa = from,
			.size_bytes = size_bytes,
			.prot = __atomic_load_n(&memory->prot, __ATOMIC_RELAXED),
			.backing = memory->window->backing,
			.populated_pages = window_count_present(memory->window, from, size_bytes),
			.locked = __atomic_load_n(&region->lock_seq, __ATOMIC_ACQUIRE) ==
				  __atomic_load_n(&mm->tree->seq, __ATOMIC_ACQUIRE),
		};

		from = mas.last == UINT64_MAX ? UINT64_MAX : mas.last + 1;
		ret = visit(&info, arg);
	}
	samara_rcu_read_unlock();
	return ret;
}

static uint64_t counter(const uint64_t *value)
{
	return __atomic_load_n(value, __ATOMIC_RELAXED);
}

static void sum_regions(struct guest_mm *mm, struct guest_mm_stats *stats)
{
	MA_STATE(mas, &mm->tree->map, 0, 0);
	uint64_t from = 0;

	samara_rcu_read_lock();
	while (next_listed(&mas, &from)) {
		stats->regions++;
		stats->plugged_bytes += mas.last - from + 1;
		from = mas.last == UINT64_MAX ? UINT64_MAX : mas.last + 1;
	}
	samara_rcu_read_unlock();
}

void guest_mm_get_stats(struct guest_mm *mm, struct guest_mm_stats *stats)
{
	const struct mm_counters *own = &mm->counters;
	struct lock_counters locks;

	region_tree_count(mm->tree, &locks);
	*stats = (struct guest_mm_stats){
		.lock = lock_design,
		.windows = mm_window_count(mm),
		.plugs = counter(&own->plugs),
		.unplugs = counter(&own->unplugs),
		.remaps = counter(&own->remaps),
		.protects = counter(&own->protects),
		.failed_operations = counter(&own->failed_operations),
		.faults = counter(&own->faults),
		.fault_pages = counter(&own->fault_pages),
		.fault_write_protect = counter(&own->fault_write_protect),
		.faults_deferred = counter(&own->faults_deferred),
		.faults_nothing = counter(&own->faults_nothing),
		.faults_held = counter(&own->faults_held),
		.last_nothing_gpa = counter(&own->last_nothing_gpa),
		.pins = locks.pins,
		.lock_success = locks.success,
		.lock_abort = locks.abort,
		.lock_retry = locks.retry,
		.lock_miss = locks.miss,
		.lock_wait_ns = locks.wait_ns,
	};
	for (unsigned int i = 0; i < mm_window_count(mm); i++)
		stats->populated_bytes += counter(&mm->windows[i].present_pages)
					  << SAMARA_PAGE_SHIFT;
	sum_regions(mm, stats);
}
