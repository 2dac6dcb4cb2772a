/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/free_pages.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>
#include <linux/virtio_config.h>

/* How often @check is called. */
#define TICK_MS   50

/* The last page there can be is no memory; so all that is named is less than 2^64 bytes. */
#define LAST_PAGE ((UINT64_C(1) << (64 - SAMARA_PAGE_SHIFT)) - 1)

/* A range as page numbers, its end not included. */
struct page_range {
	uint64_t first, end;
};

/**
 * struct round - one round of hints
 *
 * Locks: L: under @lock, which is taken within the balloon's; once @over and not @failed, nobody
 * writes it any more. B: the balloon's worker's until @over; then the asker's.
 */
struct round {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool over, complete;       /* L */
	struct page_range *ranges; /* B */
	size_t count, capacity;    /* B */
	int failed;                /* B: -errno; whatever comes then is passed over */
};

/* ---- What is named ----------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
	const struct page_range *left = a, *right = b;

	return left->first < right->first ? -1 : left->first > right->first;
}

/* Put in order, and together what touches or overlaps: a driver may name a page twice. */
static void put_together(struct round *round)
{
	size_t count = 0;

	if (!round->count)
		return;
	qsort(round->ranges, round->count, sizeof(*round->ranges), compare);
	for (size_t i = 0; i < round->count; i++) {
		const struct page_range range = round->ranges[i];
		struct page_range *last = count ? &round->ranges[count - 1] : NULL;

		if (!last || range.first > last->end)
			round->ranges[count++] = range;
		else if (range.end > last->end)
			last->end = range.end;
	}
	round->count = count;
}

/* Have room for one more: a driver makes us keep no more than twice what is allowed. */
static int make_room(struct round *round)
{
	size_t capacity = round->capacity ? round->capacity * 2 : 1024;
	struct page_range *ranges;

	if (round->count < round->capacity)
		return 0;
	if (capacity > 2 * FREE_PAGES_RANGES_MAX) {
		put_together(round);
		return round->count > FREE_PAGES_RANGES_MAX ? -E2BIG : 0;
	}
	ranges = reallocarray(round->ranges, capacity, sizeof(*ranges));
	if (!ranges)
		return -ENOMEM;
	round->ranges = ranges;
	round->capacity = capacity;
	return 0;
}

/* Linux gets one block after the other from where memory is not in pieces: up or down. */
static bool extend_last(struct round *round, const struct page_range *range)
{
	struct page_range *last = round->count ? &round->ranges[round->count - 1] : NULL;

	if (last && last->end == range->first)
		last->end = range->end;
	else if (last && last->first == range->end)
		last->first = range->first;
	else
		return false;
	return true;
}

static void note_over(void *arg, bool complete)
{
	struct round *round = arg;

	pthread_mutex_lock(&round->lock);
	round->over = true;
	round->complete = complete;
	pthread_cond_signal(&round->wake);
	pthread_mutex_unlock(&round->lock);
}

static void take_hint(void *arg, gpa_t gpa, uint64_t size_bytes)
{
	const uint64_t mask = SAMARA_PAGE_BYTES - 1;
	const gpa_t last = gpa + size_bytes - 1;
	/* The whole pages of it. */
	struct page_range range = {
		.first = (gpa >> SAMARA_PAGE_SHIFT) + !!(gpa & mask),
		.end = (last >> SAMARA_PAGE_SHIFT) + ((last & mask) == mask),
	};
	struct round *round = arg;

	if (range.end > LAST_PAGE)
		range.end = LAST_PAGE;
	if (round->failed || !size_bytes || last < gpa || range.first >= range.end)
		return;
	if (extend_last(round, &range))
		return;
	round->failed = make_room(round);
	if (round->failed)
		note_over(round, false);
	else
		round->ranges[round->count++] = range;
}

/* ---- Waiting ----------------------------------------------------------------------------------- */

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Return: whether it is over, after @ms at the latest. */
static bool wait_a_tick(struct round *round, uint64_t ms)
{
	struct timespec until;
	bool over;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += (long)ms * 1000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_mutex_lock(&round->lock);
	while (!round->over &&
	       pthread_cond_timedwait(&round->wake, &round->lock, &until) != ETIMEDOUT)
		continue;
	over = round->over;
	pthread_mutex_unlock(&round->lock);
	return over;
}

/* Return: 0: go on. */
static int check(struct virtio_balloon *balloon, const struct free_pages_request *request,
		 struct samara_error *err)
{
	if (virtio_device_status(virtio_balloon_device(balloon)) & VIRTIO_CONFIG_S_NEEDS_RESET)
		return samara_error_set(err, -EIO,
					"the guest's driver broke the rules: its balloon needs a "
					"reset");
	return request->check(request->arg, err);
}

static int wait_until_over(struct round *round, struct virtio_balloon *balloon,
			   const struct free_pages_request *request, struct samara_error *err)
{
	const uint64_t deadline_ms = now_ms() + request->timeout_ms;
	int ret = 0;

	for (;;) {
		uint64_t now = now_ms(), left_ms = deadline_ms > now ? deadline_ms - now : 0;

		if (wait_a_tick(round, left_ms < TICK_MS ? left_ms : TICK_MS))
			return 0;
		ret = check(balloon, request, err);
		if (ret)
			return ret;
		if (!left_ms)
			return samara_error_set(err, -ETIMEDOUT,
						"the guest has not named all of its free pages "
						"within %u ms",
						request->timeout_ms);
	}
}

/* ---- A round ----------------------------------------------------------------------------------- */

static int look(const struct round *round, struct samara_error *err)
{
	if (round->failed == -E2BIG)
		return samara_error_set(err, -E2BIG, "the guest names more than %u ranges",
					FREE_PAGES_RANGES_MAX);
	if (round->failed)
		return samara_error_set(err, round->failed, "free pages: out of memory");
	if (!round->complete)
		return samara_error_set(err, -ECANCELED, "the guest was reset meanwhile");
	return 0;
}

static uint64_t populated_bytes(struct guest_mm *mm)
{
	struct guest_mm_stats stats;

	guest_mm_get_stats(mm, &stats);
	return stats.populated_bytes;
}

/* While the guest keeps the pages: afterwards it uses them, or reports them. */
static int add_up(struct round *round, struct guest_mm *mm,
		  const struct free_pages_request *request, struct free_pages *sum,
		  struct samara_error *err)
{
	struct guest_mm_usage usage;
	int ret = 0;

	put_together(round);
	for (size_t i = 0; !ret && i < round->count; i++) {
		const struct page_range *range = &round->ranges[i];
		uint64_t bytes;

		ret = guest_mm_get_usage(mm, range->first << SAMARA_PAGE_SHIFT,
					 (range->end - range->first) << SAMARA_PAGE_SHIFT, &usage,
					 err);
		if (ret)
			break;
		bytes = usage.plugged_pages << SAMARA_PAGE_SHIFT;
		sum->free_bytes += bytes;
		sum->ranges += !!bytes;
		sum->largest_bytes = bytes > sum->largest_bytes ? bytes : sum->largest_bytes;
		sum->populated_bytes += usage.populated_pages << SAMARA_PAGE_SHIFT;
		if (i % 64 == 63)
			ret = request->check(request->arg, err);
	}
	return ret;
}

static int ask(struct round *round, struct virtio_balloon *balloon, struct guest_mm *mm,
	       const struct free_pages_request *request, struct free_pages *sum,
	       struct samara_error *err)
{
	uint64_t before = populated_bytes(mm), after;
	int ret = virtio_balloon_start_hints(balloon, take_hint, note_over, round, err);

	if (ret)
		return ret;
	ret = wait_until_over(round, balloon, request, err);
	if (!ret)
		ret = look(round, err);
	after = populated_bytes(mm);
	sum->grown_bytes = after > before ? after - before : 0;
	if (!ret)
		ret = add_up(round, mm, request, sum, err);
	virtio_balloon_end_hints(balloon);
	return ret;
}

int free_pages_ask(struct virtio_balloon *balloon, struct guest_mm *mm,
		   const struct free_pages_request *request, struct free_pages *out,
		   struct samara_error *err)
{
	struct free_pages sum = {0};
	struct round round = {0};
	pthread_condattr_t clock;
	int ret = request->check(request->arg, err);

	if (ret)
		return ret;
	pthread_mutex_init(&round.lock, NULL);
	pthread_condattr_init(&clock);
	pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	pthread_cond_init(&round.wake, &clock);
	pthread_condattr_destroy(&clock);
	ret = ask(&round, balloon, mm, request, &sum, err);
	if (!ret)
		*out = sum;
	pthread_cond_destroy(&round.wake);
	pthread_mutex_destroy(&round.lock);
	free(round.ranges);
	return ret;
}
