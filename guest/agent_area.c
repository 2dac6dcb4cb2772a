/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Areas of memory: filled with words that name their address and the generation of the write, found
 * again as they were at the next visit, or given back to the kernel, which then has to give zeros.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#include <x86intrin.h>

#include "guest/agent.h"

#define HUGE_BYTES      (UINT64_C(2) << 20)
#define GENERATION_MASK ((1u << STRESS_GENERATION_BITS) - 1)

/* Of so many visits one gives the area back. */
#define RELEASE_ODDS    4u

/* Counters in the pages that are write-protected at times, incremented in a visit. */
#define OWN_STEPS       8u

/* ---- Making them ----------------------------------------------------------------------------- */

static uint64_t area_pages(const struct agent *agent)
{
	return agent->options.area_bytes / STRESS_PAGE_BYTES;
}

/* With a hole behind each area but for AGENT_ONE, so that each is a mapping of its own. */
static uint64_t area_stride(const struct agent *agent)
{
	uint64_t hole = agent->options.pattern == AGENT_ONE ? 0 : HUGE_BYTES;

	return agent->options.area_bytes + hole;
}

static int map_areas(struct agent *agent)
{
	uint64_t stride = area_stride(agent), bytes = stride * agent->options.areas + HUGE_BYTES;

	agent->arena =
		mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (agent->arena == MAP_FAILED)
		return errno;
	agent->arena += -(uintptr_t)agent->arena % HUGE_BYTES;
	for (unsigned int i = 0; i < agent->options.areas; i++) {
		struct agent_area *area = &agent->areas[i];

		area->memory = agent->arena + i * stride;
		if (mprotect(area->memory, agent->options.area_bytes, PROT_READ | PROT_WRITE))
			return errno;
		/* A kernel without huge pages knows neither: then there are none. */
		area->huge = i & 1;
		madvise(area->memory, agent->options.area_bytes,
			area->huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	}
	return 0;
}

static int map_own(struct agent *agent)
{
	size_t bytes = AGENT_OWN_PAGES * STRESS_PAGE_BYTES;

	agent->own = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (agent->own == MAP_FAILED)
		return errno;
	madvise(agent->own, bytes, MADV_NOHUGEPAGE);
	return mlock(agent->own, bytes) ? errno : 0;
}

/* Area k has weight 1 / (k + 1)^zipf: the sums of these, to be searched. */
static int sum_zipf(struct agent *agent)
{
	double sum = 0;

	agent->zipf_sums = calloc(agent->options.areas, sizeof(*agent->zipf_sums));
	if (!agent->zipf_sums)
		return ENOMEM;
	for (unsigned int k = 0; k < agent->options.areas; k++)
		agent->zipf_sums[k] = sum += 1 / pow(k + 1, agent->options.zipf);
	return 0;
}

int agent_areas_create(struct agent *agent)
{
	int ret;

	agent->areas = calloc(agent->options.areas, sizeof(*agent->areas));
	if (!agent->areas)
		return ENOMEM;
	ret = map_areas(agent);
	if (!ret)
		ret = map_own(agent);
	return ret ? ret : sum_zipf(agent);
}

/* ---- What is wrong --------------------------------------------------------------------------- */

/* Documentation/admin-guide/mm/pagemap.rst: bit 63 is "present", bits 0 to 54 the frame. */
uint64_t agent_gpa(const void *address)
{
	uint64_t at = (uintptr_t)address, entry = 0;
	int file = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	if (file < 0)
		return 0;
	if (pread(file, &entry, sizeof(entry), (off_t)(at / STRESS_PAGE_BYTES * sizeof(entry))) !=
	    sizeof(entry))
		entry = 0;
	close(file);
	if (!(entry >> 63))
		return 0;
	return (entry & ((UINT64_C(1) << 55) - 1)) * STRESS_PAGE_BYTES + at % STRESS_PAGE_BYTES;
}

/* Tell of a wrong word, the first times; @count: how many were wrong in the page. */
static void wrong(struct agent_thread *thread, const char *kind, const uint64_t *address,
		  uint32_t generation, uint64_t expected, uint64_t found, uint64_t count)
{
	__atomic_fetch_add(&thread->errors, count, __ATOMIC_RELAXED);
	if (__atomic_fetch_add(&thread->agent->wrong_lines, 1, __ATOMIC_RELAXED) >=
	    AGENT_WRONG_LINES)
		return;
	agent_say("wrong kind=%s cpu=%u va=%#" PRIxPTR " gpa=%#" PRIx64
		  " generation=%u expected=%#" PRIx64 " found=%#" PRIx64,
		  kind, thread->cpu, (uintptr_t)address, agent_gpa(address), generation, expected,
		  found);
}

/* ---- Pages ----------------------------------------------------------------------------------- */

static void add(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

/* Words @first and up must be @word and on, by steps of @step; one line stands for the page. */
static void check_words(struct agent_thread *thread, const char *kind, const uint64_t *words,
			unsigned int first, uint64_t word, uint64_t step, uint32_t generation)
{
	unsigned int bad = 0, at = 0;

	for (unsigned int k = first; k < STRESS_PAGE_WORDS; k++) {
		if (__builtin_expect(words[k] == word + k * step, 1))
			continue;
		if (!bad++)
			at = k;
	}
	if (bad)
		wrong(thread, kind, &words[at], generation, word + at * step, words[at], bad);
	add(&thread->checked_bytes, (STRESS_PAGE_WORDS - first) * sizeof(*words));
}

static uint64_t first_word(const struct agent *agent, const void *page, uint32_t generation)
{
	return stress_pattern((uint64_t)((const uint8_t *)page - agent->arena), generation);
}

/* The first touch of a page that may not be there, timed: in a huge page only its first one is. */
static void touch(struct agent_thread *thread, volatile uint64_t *words, uint64_t word, bool timed)
{
	uint64_t start = __rdtsc(), end;
	uint32_t bucket;

	words[0] = word;
	end = __rdtsc();
	bucket = stress_bucket(end - start);
	/* Where a CPU is emulated, and moved, its counter can go back. */
	if (timed && end >= start)
		__atomic_store_n(&thread->touches[bucket], thread->touches[bucket] + 1,
				 __ATOMIC_RELAXED);
}

static void fill_page(struct agent_thread *thread, const struct agent_area *area, uint64_t *words,
		      uint32_t generation, bool fresh)
{
	uint64_t word = first_word(thread->agent, words, generation);

	if (fresh) {
		touch(thread, words, word, !area->huge || (uintptr_t)words % HUGE_BYTES == 0);
		check_words(thread, AGENT_KIND_FRESH, words, 1, 0, 0, 0);
	}
	for (unsigned int k = 0; k < STRESS_PAGE_WORDS; k++)
		words[k] = word + k;
	add(&thread->written_bytes, STRESS_PAGE_BYTES);
}

/* ---- Areas ----------------------------------------------------------------------------------- */

/* An order of all pages of an area. */
struct order {
	uint64_t next, step, pages;
};

static uint64_t divisor(uint64_t a, uint64_t b)
{
	while (b) {
		uint64_t rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

static struct order choose_order(struct agent_thread *thread)
{
	struct order order = {.step = 1, .pages = area_pages(thread->agent)};

	if (thread->agent->options.pattern == AGENT_SEQUENTIAL)
		return order;
	order.next = stress_below(&thread->rng, order.pages);
	order.step = 1 + stress_below(&thread->rng, order.pages);
	while (divisor(order.step, order.pages) != 1)
		order.step++;
	return order;
}

static uint64_t *next_page(struct order *order, const struct agent_area *area)
{
	uint64_t page = order->next;

	order->next = (order->next + order->step) % order->pages;
	return (uint64_t *)(area->memory + page * STRESS_PAGE_BYTES);
}

static void check_area(struct agent_thread *thread, struct agent_area *area, struct order order)
{
	for (uint64_t i = 0; area->generation && i < order.pages; i++) {
		uint64_t *words = next_page(&order, area);

		check_words(thread, AGENT_KIND_PATTERN, words, 0,
			    first_word(thread->agent, words, area->generation), 1,
			    area->generation);
	}
}

void agent_check_area(struct agent_thread *thread, struct agent_area *area)
{
	check_area(thread, area, (struct order){.step = 1, .pages = area_pages(thread->agent)});
}

static void fill_area(struct agent_thread *thread, struct agent_area *area, uint32_t generation,
		      struct order order)
{
	bool fresh = !area->generation;

	for (uint64_t i = 0; i < order.pages; i++)
		fill_page(thread, area, next_page(&order, area), generation, fresh);
	area->generation = generation;
}

static void release_area(struct agent_thread *thread, struct agent_area *area)
{
	uint64_t bytes = thread->agent->options.area_bytes;

	if (!area->generation || madvise(area->memory, bytes, MADV_DONTNEED))
		return;
	area->generation = 0;
	add(&thread->released_bytes, bytes);
}

/* ---- Counters where the host protects ---------------------------------------------------------- */

static uint64_t *own_counter(struct agent_thread *thread, unsigned int page)
{
	return (uint64_t *)(thread->agent->own + page * STRESS_PAGE_BYTES +
			    stress_protect_word(thread->index));
}

static void check_counter(struct agent_thread *thread, unsigned int page)
{
	uint64_t *counter = own_counter(thread, page);
	uint64_t found = __atomic_load_n(counter, __ATOMIC_RELAXED);

	if (found != thread->own_count[page])
		wrong(thread, AGENT_KIND_OWN, counter, 0, thread->own_count[page], found, 1);
	thread->own_count[page] = found;
	add(&thread->checked_bytes, sizeof(found));
}

static void count_own(struct agent_thread *thread)
{
	for (unsigned int i = 0; i < OWN_STEPS; i++) {
		unsigned int page = (unsigned int)stress_below(&thread->rng, AGENT_OWN_PAGES);

		check_counter(thread, page);
		__atomic_fetch_add(own_counter(thread, page), 1, __ATOMIC_RELAXED);
		thread->own_count[page]++;
	}
}

void agent_check_own(struct agent_thread *thread)
{
	for (unsigned int page = 0; page < AGENT_OWN_PAGES; page++)
		check_counter(thread, page);
}

/* ---- Visits ---------------------------------------------------------------------------------- */

static unsigned int search_zipf(const struct agent *agent, double part)
{
	unsigned int low = 0, high = agent->options.areas - 1;
	double wanted = part * agent->zipf_sums[high];

	while (low < high) {
		unsigned int middle = (low + high) / 2;

		if (agent->zipf_sums[middle] > wanted)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

/* The areas that a thread takes are a function of the seed; who is first at one is not. */
static unsigned int choose_area(struct agent_thread *thread)
{
	const struct agent *agent = thread->agent;
	unsigned int step = agent->options.pattern == AGENT_OWN ? agent->cpus : 1, area;

	switch (agent->options.pattern) {
	case AGENT_RANDOM:
		return (unsigned int)stress_below(&thread->rng, agent->options.areas);
	case AGENT_ZIPF:
		return search_zipf(agent, (double)(stress_random(&thread->rng) >> 11) * 0x1p-53);
	default:
		area = thread->next;
		thread->next += step;
		if (thread->next >= agent->options.areas)
			thread->next = step > 1 ? thread->index % agent->options.areas : 0;
		return area;
	}
}

static uint64_t minor_faults(void)
{
	struct rusage usage = {0};

	getrusage(RUSAGE_THREAD, &usage);
	return (uint64_t)usage.ru_minflt;
}

void agent_visit(struct agent_thread *thread)
{
	struct agent_area *area = &thread->agent->areas[choose_area(thread)];
	struct order order = choose_order(thread);
	bool release = stress_below(&thread->rng, RELEASE_ODDS) == 0;
	uint32_t generation;

	count_own(thread);
	if (__atomic_exchange_n(&area->busy, 1, __ATOMIC_ACQUIRE)) {
		sched_yield();
		return;
	}
	/* What was written at an earlier visit, and maybe by another CPU, is read anew. */
	__asm__ volatile("" ::: "memory");
	generation = (area->generation + 1 + thread->index) & GENERATION_MASK;
	check_area(thread, area, order);
	if (release)
		release_area(thread, area);
	else
		fill_area(thread, area, generation ? generation : 1, order);
	__atomic_store_n(&area->busy, 0, __ATOMIC_RELEASE);
	add(&thread->visits, 1);
	__atomic_store_n(&thread->faults, minor_faults(), __ATOMIC_RELAXED);
}
