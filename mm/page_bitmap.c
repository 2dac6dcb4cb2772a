/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>

#include "mm/page_bitmap.h"

#define WORD_PAGES 64

static uint64_t words_bytes(const struct page_bitmap *map)
{
	return (map->pages + WORD_PAGES - 1) / WORD_PAGES * sizeof(uint64_t);
}

int page_bitmap_init(struct page_bitmap *map, gpa_t gpa, uint64_t size_bytes)
{
	void *words;

	*map = (struct page_bitmap){.gpa = gpa, .pages = size_bytes >> SAMARA_PAGE_SHIFT};
	words = mmap(NULL, words_bytes(map), PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (words == MAP_FAILED)
		return -ENOMEM;
	map->words = words;
	return 0;
}

void page_bitmap_destroy(struct page_bitmap *map)
{
	if (map->words)
		munmap(map->words, words_bytes(map));
	map->words = NULL;
}

static uint64_t page_index(const struct page_bitmap *map, gpa_t gpa)
{
	return (gpa - map->gpa) >> SAMARA_PAGE_SHIFT;
}

bool page_bitmap_test(const struct page_bitmap *map, gpa_t gpa)
{
	uint64_t page = page_index(map, gpa);
	uint64_t word = __atomic_load_n(&map->words[page / WORD_PAGES], __ATOMIC_ACQUIRE);

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

uint64_t page_bitmap_set(struct page_bitmap *map, gpa_t gpa, uint64_t size_bytes)
{
	uint64_t page = page_index(map, gpa), end = page + (size_bytes >> SAMARA_PAGE_SHIFT);
	uint64_t next, changed = 0;

	for (; page < end; page = next) {
		uint64_t *word = &map->words[page / WORD_PAGES];
		uint64_t mask = word_mask(page, end, &next);
		uint64_t before = __atomic_fetch_or(word, mask, __ATOMIC_RELEASE);

		changed += (uint64_t)__builtin_popcountll(mask & ~before);
	}
	__atomic_fetch_add(&map->set, changed, __ATOMIC_RELAXED);
	return changed;
}

uint64_t page_bitmap_clear(struct page_bitmap *map, gpa_t gpa, uint64_t size_bytes)
{
	uint64_t page = page_index(map, gpa), end = page + (size_bytes >> SAMARA_PAGE_SHIFT);
	uint64_t next, changed = 0;

	for (; page < end; page = next) {
		uint64_t *word = &map->words[page / WORD_PAGES];
		uint64_t mask = word_mask(page, end, &next);

		/* Do not dirty the bitmap of what was never set. */
		if (!(__atomic_load_n(word, __ATOMIC_RELAXED) & mask))
			continue;
		changed += (uint64_t)__builtin_popcountll(
			mask & __atomic_fetch_and(word, ~mask, __ATOMIC_RELEASE));
	}
	if (changed)
		__atomic_fetch_sub(&map->set, changed, __ATOMIC_RELAXED);
	return changed;
}

uint64_t page_bitmap_count(const struct page_bitmap *map, gpa_t gpa, uint64_t size_bytes)
{
	uint64_t page = page_index(map, gpa), end = page + (size_bytes >> SAMARA_PAGE_SHIFT);
	uint64_t next, count = 0;

	for (; page < end; page = next) {
		uint64_t mask = word_mask(page, end, &next);
		const uint64_t *word = &map->words[(next - 1) / WORD_PAGES];

		count += (uint64_t)__builtin_popcountll(__atomic_load_n(word, __ATOMIC_RELAXED) &
							mask);
	}
	return count;
}

/* The first page from @page on whose bit is @value; @end if there is none. */
static uint64_t find_bit(const struct page_bitmap *map, uint64_t page, uint64_t end, bool value)
{
	uint64_t next;

	for (; page < end; page = next) {
		uint64_t mask = word_mask(page, end, &next);
		uint64_t word = __atomic_load_n(&map->words[page / WORD_PAGES], __ATOMIC_ACQUIRE);

		word = (value ? word : ~word) & mask;
		if (word)
			return page - page % WORD_PAGES + (uint64_t)__builtin_ctzll(word);
	}
	return end;
}

gpa_t page_bitmap_next_run(const struct page_bitmap *map, gpa_t gpa, gpa_t end, bool value,
			   uint64_t *run_bytes)
{
	uint64_t last = page_index(map, end);
	uint64_t first = find_bit(map, page_index(map, gpa), last, value);
	uint64_t after = find_bit(map, first, last, !value);

	*run_bytes = (after - first) << SAMARA_PAGE_SHIFT;
	return map->gpa + (first << SAMARA_PAGE_SHIFT);
}
