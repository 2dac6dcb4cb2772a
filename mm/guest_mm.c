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
#define SLOW_MS                1000
#define USERFAULTFDS_MAX       64

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
	if (config->userfaultfds > USERFAULTFDS_MAX)
		return samara_error_set(err, -EINVAL, "%u userfaultfds: %u at most",
					config->userfaultfds, USERFAULTFDS_MAX);
	return 0;
}

static void close_uffds(struct guest_mm *mm)
{
	while (mm->uffd_count)
		uffd_close(&mm->uffd[--mm->uffd_count]);
	free(mm->uffd);
}

static int open_uffds(struct guest_mm *mm, unsigned int count, struct samara_error *err)
{
	int ret = 0;

	mm->uffd = calloc(count, sizeof(*mm->uffd));
	if (!mm->uffd)
		return samara_error_set(err, -ENOMEM, "guest memory manager: out of memory");
	for (; mm->uffd_count < count && !ret; mm->uffd_count += !ret)
		ret = uffd_open(&mm->uffd[mm->uffd_count], err);
	if (ret)
		close_uffds(mm);
	return ret;
}

int guest_mm_create(const struct guest_mm_config *config, struct guest_mm **out,
		    struct samara_error *err)
{
	static const struct guest_mm_config defaults;
	struct guest_mm *mm;
	unsigned int pages, threads;
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
	threads = config->fault_threads ? config->fault_threads : default_fault_threads();
	mm->copy_only = config->copy_only;
	mm->limit_bytes = UINT64_MAX;
	mm->slow = (struct slow){
		.report = config->slow_operation,
		.arg = config->slow_arg,
		.period_ns = (config->slow_ms ? config->slow_ms : SLOW_MS) * UINT64_C(1000000),
	};
	mm->page_bytes = SAMARA_PAGE_BYTES;
	mm->huge_pages = !config->no_huge_pages && !config->copy_only;
	mm->around_bytes = pages * SAMARA_PAGE_BYTES;
	mm->zeros_bytes = mm->around_bytes < HUGE_BYTES ? HUGE_BYTES : mm->around_bytes;
	stray_init(&mm->strays, config->first_nothing, config->nothing_arg);
	/* Read only and never written: all of it is the host's one zero page. */
	zeros = mmap(NULL, mm->zeros_bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
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
	ret = open_uffds(mm,
			 config->userfaultfds         ? config->userfaultfds
			 : threads > USERFAULTFDS_MAX ? USERFAULTFDS_MAX
						      : threads,
			 err);
	if (ret)
		goto fail_tree;
	ret = fault_service_start(mm, threads, config->free_handlers, err);
	if (ret)
		goto fail_uffd;
	*out = mm;
	return 0;
fail_uffd:
	close_uffds(mm);
fail_tree:
	region_tree_destroy(mm->tree);
fail_zeros:
	munmap(zeros, mm->zeros_bytes);
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
	close_uffds(mm);
	region_tree_destroy(mm->tree);
	munmap((void *)(uintptr_t)mm->zeros, mm->zeros_bytes);
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

int guest_mm_add_window_config(struct guest_mm *mm, const struct guest_mm_window_config *config,
			       struct samara_error *err)
{
	struct range range = {
		.operation = "window", .gpa = config->gpa, .size_bytes = config->size_bytes};
	gpa_t gpa = config->gpa, last = gpa + config->size_bytes - 1;
	int ret;

	if (!config->size_bytes || (gpa | config->size_bytes) & (SAMARA_PAGE_BYTES - 1) ||
	    last < gpa)
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
	ret = window_create(&mm->windows[mm->window_count], mm->uffd, mm->uffd_count,
			    mm->huge_pages, config, err);
	if (ret)
		return ret;
	if (mm->windows[mm->window_count].own.page_bytes > mm->page_bytes)
		mm->page_bytes = mm->windows[mm->window_count].own.page_bytes;
	__atomic_store_n(&mm->window_count, mm->window_count + 1, __ATOMIC_RELEASE);
	return 0;
}

int guest_mm_add_window(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes,
			enum guest_mm_backing backing, struct samara_error *err)
{
	struct guest_mm_window_config config = {
		.gpa = gpa, .size_bytes = size_bytes, .backing = backing, .fd = -1};

	return guest_mm_add_window_config(mm, &config, err);
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
		.fd = own->own.shared ? own->own.fd : -1,
		.offset_bytes = own->own.offset_bytes,
		.page_bytes = own->own.page_bytes,
		.backing = own->own.kind,
	};
	return 0;
}

/* Populate what [*@gpa, @last] has of one region. *@gpa moves behind it. */
static int populate_next(struct guest_mm *mm, gpa_t *gpa, gpa_t last)
{
	/* Piece by piece: a writer that wants the range waits for one piece at most. */
	gpa_t end = last < (*gpa | (mm->zeros_bytes - 1)) ? last : *gpa | (mm->zeros_bytes - 1);
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

int guest_mm_for_each_region(struct guest_mm *mm,
			     int (*visit)(const struct guest_mm_region *region, void *arg),
			     void *arg)
{
	MA_STATE(mas, &mm->tree->map, 0, 0);
	uint64_t seq = __atomic_load_n(&mm->tree->seq, __ATOMIC_ACQUIRE);
	struct region *region;
	int ret = 0;

	/*
	 * A walk sees one version of the tree (MT_FLAGS_SNAPSHOT), and regions do not change. Bounds
	 * are the walk's: a region that is being cut covers less than its own.
	 */
	samara_rcu_read_lock();
	while (!ret && (region = mas_find(&mas, UINT64_MAX)) != NULL) {
		const struct mem_region *memory = mem_region_of(region);
		uint64_t size_bytes = mas.last - mas.index + 1;
		struct guest_mm_region info = {
			.gpa = mas.index,
			.size_bytes = size_bytes,
			.prot = memory->prot,
			.backing = memory->window->own.kind,
			.discarded_pages = page_bitmap_count(&memory->window->discarded, mas.index,
							     size_bytes),
			.populated_pages =
				page_bitmap_count(&memory->window->present, mas.index, size_bytes),
			/* Marked by the operation under way at the start, or by a later one. */
			.locked = __atomic_load_n(&region->lock_seq, __ATOMIC_ACQUIRE) >= seq,
		};

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

	samara_rcu_read_lock();
	while (mas_find(&mas, UINT64_MAX)) {
		stats->regions++;
		stats->plugged_bytes += mas.last - mas.index + 1;
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
		.tree_nodes = counter(&mm->tree->nodes),
		.tree_bytes = counter(&mm->tree->held_bytes),
		.plugs = counter(&own->plugs),
		.unplugs = counter(&own->unplugs),
		.remaps = counter(&own->remaps),
		.protects = counter(&own->protects),
		.discards = counter(&own->discards),
		.rebacks = counter(&own->rebacks),
		.discarded_pages = counter(&own->discarded_pages),
		.limit_bytes = counter(&mm->limit_bytes),
		.failed_operations = counter(&own->failed_operations),
		.faults = counter(&own->faults),
		.fault_pages = counter(&own->fault_pages),
		.fault_write_protect = counter(&own->fault_write_protect),
		.faults_deferred = counter(&own->faults_deferred),
		.faults_nothing = counter(&own->faults_nothing),
		.faults_held = counter(&own->faults_held),
		.fault_errors = counter(&own->fault_errors),
		.last_nothing_gpa = counter(&own->last_nothing_gpa),
		.pins = locks.pins,
		.lock_success = locks.success,
		.lock_abort = locks.abort,
		.lock_retry = locks.retry,
		.lock_miss = locks.miss,
		.lock_wait_ns = locks.wait_ns,
	};
	for (unsigned int i = 0; i < mm_window_count(mm); i++)
		stats->populated_bytes += counter(&mm->windows[i].present.set) << SAMARA_PAGE_SHIFT;
	sum_regions(mm, stats);
}
