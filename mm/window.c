/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#include "mm/numa.h"
#include "mm/operation.h"
#include "mm/trace.h"
#include "mm/window.h"

/*
 * Reserve @size_bytes with hva congruent to gpa modulo HUGE_BYTES: KVM and the host use huge pages
 * only where that is so.
 */
static char *reserve(gpa_t gpa, uint64_t size_bytes)
{
	uint64_t reserved = size_bytes + HUGE_BYTES, skip;
	char *area;

	if (reserved < size_bytes)
		return NULL;
	area = mmap(NULL, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (area == MAP_FAILED)
		return NULL;
	skip = (gpa - (uintptr_t)area) & (HUGE_BYTES - 1);
	if (skip)
		munmap(area, skip);
	if (HUGE_BYTES - skip)
		munmap(area + skip + size_bytes, HUGE_BYTES - skip);
	return area + skip;
}

int window_advise(const struct window *window, const struct backing *backing, void *hva,
		  uint64_t size_bytes)
{
	/*
	 * A fork would share pages copy-on-write: UFFDIO_MOVE then refuses, and a DMA goes astray.
	 */
	if (madvise(hva, size_bytes, MADV_DONTFORK))
		return -errno;
	/* Guest memory is not for core dumps; a kernel that cannot leave it out does no harm. */
	madvise(hva, size_bytes, MADV_DONTDUMP);
	/*
	 * Where huge pages are wanted, the kernel has to want one as well when it finds a page
	 * missing, or it makes a table for small ones before it asks. Where none can come, it would
	 * clear one for nothing; but anonymous memory may yet be collapsed (mm/place.c), which
	 * MADV_NOHUGEPAGE forbids. A kernel without them refuses both.
	 */
	if (backing->kind != GUEST_MM_ANON && !backing->shared)
		madvise(hva, size_bytes, MADV_NOHUGEPAGE);
	else if (window->stage.area && backing->kind == GUEST_MM_ANON &&
		 backing_same_placement(backing, &window->own))
		madvise(hva, size_bytes, MADV_HUGEPAGE);
	return 0;
}

static int map_backing(struct window *window)
{
	int ret = window->own.ops->map(&window->own, window->hva, window->size_bytes, 0);

	return ret ? ret : window_advise(window, &window->own, window->hva, window->size_bytes);
}

/* Stripes are cut at 2 MiB, so that no huge page is watched by two. */
static int watch(struct window *window, const struct uffd *uffd, unsigned int uffd_count)
{
	uint64_t stripe = (window->size_bytes + uffd_count - 1) / uffd_count, skip;
	gpa_t gpa = window->gpa, left = window->size_bytes;
	int ret = 0;

	skip = gpa % HUGE_BYTES;
	stripe = (stripe + HUGE_BYTES - 1) & ~(HUGE_BYTES - 1);
	/* A window that does not start at 2 MiB is small or odd: one will do. */
	window->stripe_bytes = skip ? window->size_bytes : stripe;
	window->uffd = uffd;
	while (left && !ret) {
		uint64_t bytes = window_in_stripe(window, gpa, left);

		ret = uffd_register(window_uffd(window, gpa), window_hva(window, gpa), bytes,
				    window->can_protect);
		gpa += bytes;
		left -= bytes;
	}
	return ret;
}

static int make(struct window *window, const struct uffd *uffd, unsigned int uffd_count,
		bool huge_pages, const struct guest_mm_window_config *config,
		struct samara_error *err)
{
	int ret;

	ret = backing_open(&window->own, config, err);
	if (ret)
		return ret;
	ret = page_bitmap_init(&window->present, window->gpa, window->size_bytes);
	if (!ret)
		ret = page_bitmap_init(&window->discarded, window->gpa, window->size_bytes);
	if (!ret)
		ret = page_bitmap_init(&window->lent, window->gpa, window->size_bytes);
	if (!ret)
		ret = page_bitmap_init(&window->tables, window->gpa, window->size_bytes);
	if (ret)
		return samara_error_set(err, ret, "%s", strerror(-ret));
	window->hva = reserve(window->gpa, window->size_bytes);
	window->own.hva = window->hva;
	if (!window->hva)
		return samara_error_set(err, -ENOMEM, "no host address space for it");
	if (config->backing == GUEST_MM_ANON && huge_pages)
		stage_init(&window->stage, uffd->can_move, &config->placement);
	ret = map_backing(window);
	if (ret)
		return samara_error_set(err, ret, "%s", strerror(-ret));
	/* What an owner's file held there is not for the guest. */
	if (config->backing == GUEST_MM_FILE_SHARED) {
		ret = window_discard(window, window->gpa, window->size_bytes);
		if (ret)
			return samara_error_set(err, ret, "emptying the file: %s", strerror(-ret));
	}
	ret = numa_place(window->hva, window->size_bytes, &config->placement, err);
	if (ret)
		return ret;
	window->can_protect = !window->own.shared || uffd->can_protect_shared;
	ret = watch(window, uffd, uffd_count);
	if (ret)
		return samara_error_set(err, ret, "%s", strerror(-ret));
	return 0;
}

int window_create(struct window *window, const struct uffd *uffd, unsigned int uffd_count,
		  bool huge_pages, const struct guest_mm_window_config *config,
		  struct samara_error *err)
{
	int ret;

	*window = (struct window){
		.gpa = config->gpa,
		.size_bytes = config->size_bytes,
		.own = {.fd = -1},
		.pieces = MTREE_INIT(pieces, MT_FLAGS_USE_RCU | MT_FLAGS_LOCK_EXTERN),
	};
	ret = make(window, uffd, uffd_count, huge_pages, config, err);
	if (ret) {
		samara_error_prefix(err, "window %#" PRIx64 "+%#" PRIx64, config->gpa,
				    config->size_bytes);
		window_destroy(window);
	}
	return ret;
}

void window_destroy(struct window *window)
{
	MA_STATE(mas, &window->pieces, window->gpa, window->gpa + (window->size_bytes - 1));

	/* What window_set_piece() has nothing to put in place of. */
	if (window->has_pieces) {
		while (mas_preallocate(&mas, NULL, GFP_KERNEL))
			pause_before_retry();
		window_set_piece(window, &mas, NULL);
	}
	mtree_destroy(&window->pieces);
	page_bitmap_destroy(&window->present);
	page_bitmap_destroy(&window->discarded);
	page_bitmap_destroy(&window->lent);
	page_bitmap_destroy(&window->tables);
	stage_destroy(&window->stage);
	if (window->hva)
		munmap(window->hva, window->size_bytes);
	backing_close(&window->own);
}

bool window_is_shared(const struct window *window, gpa_t gpa, uint64_t size_bytes)
{
	while (size_bytes) {
		uint64_t bytes = size_bytes;

		if (window_backing(window, gpa, &bytes)->shared)
			return true;
		gpa += bytes;
		size_bytes -= bytes;
	}
	return false;
}

bool window_is_bare(const struct window *window, gpa_t gpa, uint64_t size_bytes)
{
	return page_bitmap_is_fresh(&window->present, gpa, size_bytes) &&
	       !window_is_shared(window, gpa, size_bytes);
}

bool window_is_anon(const struct window *window, gpa_t gpa, uint64_t size_bytes)
{
	while (size_bytes) {
		uint64_t bytes = size_bytes;

		if (window_backing(window, gpa, &bytes)->kind != GUEST_MM_ANON)
			return false;
		gpa += bytes;
		size_bytes -= bytes;
	}
	return true;
}

static void clear_if_any(struct page_bitmap *map, gpa_t gpa, uint64_t size_bytes)
{
	if (__atomic_load_n(&map->set, __ATOMIC_RELAXED))
		page_bitmap_clear(map, gpa, size_bytes);
}

void window_set_present(struct window *window, gpa_t gpa, uint64_t size_bytes)
{
	page_bitmap_set(&window->present, gpa, size_bytes);
	clear_if_any(&window->discarded, gpa, size_bytes);
	clear_if_any(&window->lent, gpa, size_bytes);
}

void window_clear_present(struct window *window, gpa_t gpa, uint64_t size_bytes)
{
	page_bitmap_clear(&window->present, gpa, size_bytes);
}

void window_forget(struct window *window, gpa_t gpa, uint64_t size_bytes)
{
	page_bitmap_clear(&window->present, gpa, size_bytes);
	clear_if_any(&window->discarded, gpa, size_bytes);
	clear_if_any(&window->lent, gpa, size_bytes);
}

void window_take_back(struct window *window, gpa_t gpa, uint64_t size_bytes)
{
	clear_if_any(&window->lent, gpa, size_bytes);
}

int window_fill(struct guest_mm *mm, struct window *window, gpa_t gpa, uint64_t size_bytes,
		bool protect, uint64_t *done)
{
	uint64_t left = window_in_stripe(window, gpa, size_bytes);
	const struct backing *backing = window_backing(window, gpa, &left);
	struct fill fill = {
		.mm = mm, .window = window, .gpa = gpa, .size_bytes = left, .protect = protect};
	int ret;

	ret = backing->ops->fill(backing, &fill, done);
	if (!ret || ret == -EEXIST)
		window_set_present(window, gpa, *done);
	return ret;
}

void window_note_table(struct window *window, gpa_t gpa)
{
	gpa_t huge = gpa & ~(HUGE_BYTES - 1);

	/* It is written once: many read what lies beside it. */
	if (window->stage.area && huge >= window->gpa && !page_bitmap_test(&window->tables, huge))
		page_bitmap_set(&window->tables, huge, SAMARA_PAGE_BYTES);
}

/* The tables of what was discarded as a whole are gone, where the kernel frees them. */
static void forget_tables(struct window *window, gpa_t gpa, uint64_t size_bytes)
{
	gpa_t first = (gpa + HUGE_BYTES - 1) & ~(HUGE_BYTES - 1);
	gpa_t end = (gpa + size_bytes) & ~(HUGE_BYTES - 1);

	if (window->stage.tables_go && first < end)
		clear_if_any(&window->tables, first, end - first);
}

int window_discard(struct window *window, gpa_t gpa, uint64_t size_bytes)
{
	int ret = 0;

	SAMARA_PROBE2(discard, gpa, size_bytes);
	if (gpa % HUGE_BYTES)
		window_note_table(window, gpa);
	if ((gpa + size_bytes) % HUGE_BYTES)
		window_note_table(window, gpa + size_bytes - 1);
	while (size_bytes && !ret) {
		uint64_t bytes = size_bytes;
		const struct backing *backing = window_backing(window, gpa, &bytes);

		ret = backing->ops->discard(backing, gpa, bytes);
		if (!ret)
			forget_tables(window, gpa, bytes);
		gpa += bytes;
		size_bytes -= bytes;
	}
	return ret;
}

int window_drop(struct window *window, gpa_t gpa, uint64_t size_bytes)
{
	return window_is_bare(window, gpa, size_bytes) ? 0
						       : window_discard(window, gpa, size_bytes);
}

int window_reserve(struct window *window, gpa_t gpa, uint64_t size_bytes)
{
	int ret = 0;

	while (size_bytes && !ret) {
		uint64_t bytes = size_bytes;
		const struct backing *backing = window_backing(window, gpa, &bytes);

		if (backing->ops->reserve) {
			ret = backing->ops->reserve(backing, gpa, bytes);
			if (!ret)
				window_set_present(window, gpa, bytes);
		}
		gpa += bytes;
		size_bytes -= bytes;
	}
	return ret;
}

int window_protect(const struct window *window, gpa_t gpa, uint64_t size_bytes)
{
	uint64_t run;
	int ret = 0;

	/* What comes later comes protected; only a file's pages come by themselves. */
	page_bitmap_next_run(&window->present, gpa, gpa + size_bytes, true, &run);
	if (!run && !window_is_shared(window, gpa, size_bytes))
		return 0;

	while (size_bytes && !ret) {
		uint64_t bytes = window_in_mapping(window, gpa, size_bytes);

		ret = uffd_protect(window_uffd(window, gpa), window_hva(window, gpa), bytes, true);
		gpa += bytes;
		size_bytes -= bytes;
	}
	return ret;
}

void window_unprotect(const struct window *window, gpa_t gpa, uint64_t size_bytes)
{
	while (size_bytes) {
		uint64_t bytes = window_in_mapping(window, gpa, size_bytes);

		uffd_unprotect(window_uffd(window, gpa), window_hva(window, gpa), bytes);
		gpa += bytes;
		size_bytes -= bytes;
	}
}

void window_wake(const struct window *window, gpa_t gpa, uint64_t size_bytes)
{
	while (size_bytes) {
		uint64_t bytes = window_in_mapping(window, gpa, size_bytes);

		uffd_wake(window_uffd(window, gpa), window_hva(window, gpa), bytes);
		gpa += bytes;
		size_bytes -= bytes;
	}
}
