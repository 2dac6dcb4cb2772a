/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mm/window.h"

/* hva alignment: KVM and the host use huge pages only where gpa and hva agree modulo 2 MiB. */
#define HUGE_BYTES (UINT64_C(2) << 20)
#define WORD_PAGES 64

static uint64_t page_index(const struct window *window, gpa_t gpa)
{
	return (gpa - window->gpa) >> SAMARA_PAGE_SHIFT;
}

static uint64_t bitmap_bytes(const struct window *window)
{
	uint64_t words = ((window->size_bytes >> SAMARA_PAGE_SHIFT) + WORD_PAGES - 1) / WORD_PAGES;

	return words * sizeof(uint64_t);
}

/* Reserve @size_bytes with hva congruent to gpa modulo HUGE_BYTES. */
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

static int map_backing(struct window *window)
{
	int flags = MAP_FIXED | MAP_NORESERVE;

	if (window->backing == GUEST_MM_MEMFD) {
		window->fd = memfd_create("samara-guest", MFD_CLOEXEC);
		if (window->fd < 0)
			return -errno;
		if (ftruncate(window->fd, (off_t)window->size_bytes))
			return -errno;
		flags |= MAP_SHARED;
	} else {
		flags |= MAP_PRIVATE | MAP_ANONYMOUS;
	}
	if (mmap(window->hva, window->size_bytes, PROT_READ | PROT_WRITE, flags, window->fd, 0) ==
	    MAP_FAILED)
		return -errno;
	/*
	 * A fork would share pages copy-on-write: UFFDIO_MOVE then refuses, and a DMA goes astray.
	 */
	if (madvise(window->hva, window->size_bytes, MADV_DONTFORK))
		return -errno;
	/* Guest memory is not for core dumps; a kernel that cannot leave it out does no harm. */
	madvise(window->hva, window->size_bytes, MADV_DONTDUMP);
	return 0;
}

int window_create(struct window *window, const struct uffd *uffd, gpa_t gpa, uint64_t size_bytes,
		  enum guest_mm_backing backing, struct samara_error *err)
{
	int ret;

	*window =
		(struct window){.gpa = gpa, .size_bytes = size_bytes, .fd = -1, .backing = backing};
	window->hva = reserve(gpa, size_bytes);
	if (!window->hva)
		return samara_error_set(err, -ENOMEM,
					"window %#" PRIx64 "+%#" PRIx64
					": no host address space for it",
					gpa, size_bytes);
	window->present = mmap(NULL, bitmap_bytes(window), PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (window->present == MAP_FAILED) {
		window->present = NULL;
		ret = -ENOMEM;
		goto fail;
	}
	ret = map_backing(window);
	if (ret)
		goto fail;
	window->can_protect = backing == GUEST_MM_ANON || uffd->can_protect_shared;
	ret = uffd_register(uffd, window->hva, size_bytes, window->can_protect);
	if (ret)
		goto fail;
	return 0;
fail:
	samara_error_set(err, ret, "window %#" PRIx64 "+%#" PRIx64 ": %s", gpa, size_bytes,
			 strerror(-ret));
	window_destroy(window);
	return ret;
}

void window_destroy(struct window *window)
{
	if (window->present)
		munmap(window->present, bitmap_bytes(window));
	munmap(window->hva, window->size_bytes);
	if (window->fd >= 0)
		close(window->fd);
}

bool window_present(const struct window *window, gpa_t gpa)
{
	uint64_t page = page_index(window, gpa);
	uint64_t word = __atomic_load_n(&window->present[page / WORD_PAGES], __ATOMIC_ACQUIRE);

	return word >> (page % WORD_PAGES) & 1;
}

/* The bits of one word that belong to pages [page, end), and where the next word starts. */
static uint64_t word_mask(uint64_t page, uint64_t end, uint64_t *next)
{
	uint64_t low = page % WORD_PAGES, bits;

	*next = page - low + WORD_PAGES;
	if (*next > end)
		*next = end;
	bits = *next - page;
	return (bits == WORD_PAGES ? ~UINT64_C(0) : (UINT64_C(1) << bits) - 1) << low;
}

void window_set_present(struct window *window, gpa_t gpa, uint64_t size_bytes)
{
	uint64_t page = page_index(window, gpa), end = page + (size_bytes >> SAMARA_PAGE_SHIFT);
	uint64_t next, set = 0;

	for (; page < end; page = next) {
		uint64_t *word = &window->present[page / WORD_PAGES];
		uint64_t mask = word_mask(page, end, &next);
		uint64_t before = __atomic_fetch_or(word, mask, __ATOMIC_RELEASE);

		set += (uint64_t)__builtin_popcountll(mask & ~before);
	}
	__atomic_fetch_add(&window->present_pages, set, __ATOMIC_RELAXED);
}

void window_clear_present(struct window *window, gpa_t gpa, uint64_t size_bytes)
{
	uint64_t page = page_index(window, gpa), end = page + (size_bytes >> SAMARA_PAGE_SHIFT);
	uint64_t next, cleared = 0;

	for (; page < end; page = next) {
		uint64_t *word = &window->present[page / WORD_PAGES];
		uint64_t mask = word_mask(page, end, &next);

		/* Do not dirty the bitmap of what was never populated. */
		if (!(__atomic_load_n(word, __ATOMIC_RELAXED) & mask))
			continue;
		cleared += (uint64_t)__builtin_popcountll(
			mask & __atomic_fetch_and(word, ~mask, __ATOMIC_RELEASE));
	}
	__atomic_fetch_sub(&window->present_pages, cleared, __ATOMIC_RELAXED);
}

uint64_t window_count_present(const struct window *window, gpa_t gpa, uint64_t size_bytes)
{
	uint64_t page = page_index(window, gpa), end = page + (size_bytes >> SAMARA_PAGE_SHIFT);
	uint64_t next, count = 0;

	for (; page < end; page = next) {
		uint64_t mask = word_mask(page, end, &next);
		const uint64_t *word = &window->present[(next - 1) / WORD_PAGES];

		count += (uint64_t)__builtin_popcountll(__atomic_load_n(word, __ATOMIC_RELAXED) &
							mask);
	}
	return count;
}

/* The first page from @page on whose bit is @value; @end if there is none. */
static uint64_t find_bit(const struct window *window, uint64_t page, uint64_t end, bool value)
{
	uint64_t next;

	for (; page < end; page = next) {
		uint64_t mask = word_mask(page, end, &next);
		uint64_t word =
			__atomic_load_n(&window->present[page / WORD_PAGES], __ATOMIC_ACQUIRE);

		word = (value ? word : ~word) & mask;
		if (word)
			return page - page % WORD_PAGES + (uint64_t)__builtin_ctzll(word);
	}
	return end;
}

gpa_t window_next_run(const struct window *window, gpa_t gpa, gpa_t end, bool present,
		      uint64_t *run_bytes)
{
	uint64_t last = page_index(window, end);
	uint64_t first = find_bit(window, page_index(window, gpa), last, present);
	uint64_t after = find_bit(window, first, last, !present);

	*run_bytes = (after - first) << SAMARA_PAGE_SHIFT;
	return window->gpa + (first << SAMARA_PAGE_SHIFT);
}

int window_discard(struct window *window, gpa_t gpa, uint64_t size_bytes)
{
	int ret;

	if (window->backing == GUEST_MM_ANON) {
		ret = madvise(window_hva(window, gpa), size_bytes, MADV_DONTNEED);
	} else {
		do {
			ret = fallocate(window->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					(off_t)(gpa - window->gpa), (off_t)size_bytes);
		} while (ret && errno == EINTR);
	}
	return ret ? -errno : 0;
}
