/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>

#include "mm/page_bitmap.h"

#define WORD_PAGES  64
#define GROUP_PAGES (64 * WORD_PAGES)

static uint64_t words_bytes(const struct page_bitmap *map)
{
	return (map->pages + WORD_PAGES - 1) / WORD_PAGES * sizeof(uint64_t);
}

static uint64_t map_bytes(const struct page_bitmap *map)
{
	return words_bytes(map) + (map->pages + GROUP_PAGES - 1) / GROUP_PAGES;
}

int page_bitmap_init(struct page_bitmap *map, gpa_t gpa, uint64_t size_bytes)
{
	void *words;

	*map = (struct page_bitmap){.gpa = gpa, .pages = size_bytes >> SAMARA_PAGE_SHIFT};
	words = mmap(NULL, map_bytes(map), PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (words == MAP_FAILED)
		return -ENOMEM;
	map->words = words;
	map->groups = (uint8_t *)words + words_bytes(map);
	return 0;
}

void page_bitmap_destroy(struct page_bitmap *map)
{
	if (map->words)
		munmap(map->words, map_bytes(map));
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

/* Eight groups at a time, where they begin at a multiple of eight. */
#define EIGHT 8u
typedef uint64_t __attribute__((may_alias)) eight_groups;

static bool eight_are_empty(const struct page_bitmap *map, uint64_t group)
{
	uint64_t groups = (map->pages + GROUP_PAGES - 1) / GROUP_PAGES;

	return group % EIGHT == 0 && group + EIGHT <= groups &&
	       !__atomic_load_n((const eight_groups *)&map->groups[group], __ATOMIC_RELAXED);
}

/* The first page from @page on whose group has bits; @end if there is none. */
static uint64_t skip_empty(const struct page_bitmap *map, uint64_t page, uint64_t end)
{
	while (page < end) {
		uint64_t group = page / GROUP_PAGES;

		if (eight_are_empty(map, group))
			group += EIGHT;
		else if (!__atomic_load_n(&map->groups[group], __ATOMIC_RELAXED))
			group++;
		else
			return page;
		page = group * GROUP_PAGES;
	}
	return end;
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
		uint8_t *group = &map->groups[page / GROUP_PAGES];
		uint64_t before;

		if (!__atomic_load_n(group, __ATOMIC_RELAXED))
			__atomic_store_n(group, 1, __ATOMIC_RELAXED);
		before = __atomic_fetch_or(word, mask, __ATOMIC_RELEASE);

		changed += (uint64_t)__builtin_popcountll(mask & ~before);
	}
	__atomic_fetch_add(&map->set, changed, __ATOMIC_RELAXED);
	return changed;
}

uint64_t page_bitmap_clear(struct page_bitmap *map, gpa_t gpa, uint64_t size_bytes)
{
	uint64_t page = page_index(map, gpa), end = page + (size_bytes >> SAMARA_PAGE_SHIFT);
	uint64_t next, changed = 0, first = page;

	for (; (page = skip_empty(map, page, end)) < end; page = next) {
		uint64_t *word = &map->words[page / WORD_PAGES];
		uint64_t mask = word_mask(page, end, &next);

		/* Do not dirty the bitmap of what was never set. */
		if (!(__atomic_load_n(word, __ATOMIC_RELAXED) & mask))
			continue;
		changed += (uint64_t)__builtin_popcountll(
			mask & __atomic_fetch_and(word, ~mask, __ATOMIC_RELEASE));
	}
	/* Nobody else sets bits of these: they are inside the range, which is the caller's. */
	first = (first + GROUP_PAGES - 1) / GROUP_PAGES * GROUP_PAGES;
	for (; (first = skip_empty(map, first, end)) + GROUP_PAGES <= end; first += GROUP_PAGES)
		__atomic_store_n(&map->groups[first / GROUP_PAGES], 0, __ATOMIC_RELAXED);
	if (changed)
		__atomic_fetch_sub(&map->set, changed, __ATOMIC_RELAXED);
	return changed;
}

uint64_t page_bitmap_count(const struct page_bitmap *map, gpa_t gpa, uint64_t size_bytes)
{
	uint64_t page = page_index(map, gpa), end = page + (size_bytes >> SAMARA_PAGE_SHIFT);
	uint64_t next, count = 0;

	for (; (page = skip_empty(map, page, end)) < end; page = next) {
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
		uint64_t mask, word;

		if (value)
			page = skip_empty(map, page, end);
		if (page == end)
			break;
		mask = word_mask(page, end, &next);
		word = __atomic_load_n(&map->words[page / WORD_PAGES], __ATOMIC_ACQUIRE);

		word = (value ? word : ~word) & mask;
		if (word)
			return page - page % WORD_PAGES + (uint64_t)__builtin_ctzll(word);
	}
	return end;
}

bool page_bitmap_is_fresh(const struct page_bitmap *map, gpa_t gpa, uint64_t size_bytes)
{
	uint64_t page = page_index(map, gpa), end = page + (size_bytes >> SAMARA_PAGE_SHIFT);

	return skip_empty(map, page, end) == end;
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
