/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <time.h>

#include "mm/mm.h"
#include "mm/rank.h"
#include "mm/stray.h"

void stray_init(struct stray *strays, void (*report)(gpa_t gpa, void *arg), void *arg)
{
	*strays = (struct stray){.lock = PTHREAD_MUTEX_INITIALIZER, .report = report, .arg = arg};
}

void stray_destroy(struct stray *strays)
{
	pthread_mutex_destroy(&strays->lock);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* Windows of huge pages take few: they are scarce. */
#define STRAYS_HUGE 4

static int discard_page(struct guest_mm *mm, gpa_t gpa)
{
	struct window *window = mm_window(mm, gpa, SAMARA_PAGE_BYTES);

	return window_discard(window, gpa, window->own.page_bytes);
}

/* Forget the oldest. Context: lock held. */
static int drop_first(struct guest_mm *mm)
{
	struct stray *strays = &mm->strays;
	int ret = discard_page(mm, strays->gpa[strays->first]);

	if (ret)
		return ret;
	strays->first = (strays->first + 1) % STRAYS;
	strays->count--;
	return 0;
}

static bool is_plugged(struct guest_mm *mm, gpa_t gpa)
{
	bool plugged;

	samara_rcu_read_lock();
	plugged = region_find(mm->tree, gpa) != NULL;
	samara_rcu_read_unlock();
	return plugged;
}

/* Put a page of zeros there. Return: 0, -EEXIST, -ENOMEM, ... */
static int put_zeros(struct guest_mm *mm, struct window *window, gpa_t page)
{
	const struct uffd *uffd = window_uffd(window, page);
	uint64_t done;

	if (window->own.page_bytes == SAMARA_PAGE_BYTES)
		return uffd_zero(uffd, window_hva(window, page));
	return uffd_copy(uffd, window_hva(window, page), mm->zeros, window->own.page_bytes, false,
			 &done);
}

int stray_answer(struct guest_mm *mm, gpa_t gpa)
{
	struct window *window = mm_window(mm, gpa, 1);
	uint64_t page_bytes = window->own.page_bytes;
	gpa_t page = gpa & ~(page_bytes - 1);
	struct stray *strays = &mm->strays;
	unsigned int slot;
	int ret = 0;

	ranked_lock(&strays->lock, RANK_STRAY);
	if (is_plugged(mm, gpa)) {
		ret = -EAGAIN;
		goto out;
	}
	while (!ret && strays->count >= (page_bytes > SAMARA_PAGE_BYTES ? STRAYS_HUGE : STRAYS))
		ret = drop_first(mm);
	if (!ret) {
		/* Counted before the vCPU goes on: whoever hears of the access finds it counted. */
		mm_count(&mm->counters.faults_nothing, 1);
		__atomic_store_n(&mm->counters.last_nothing_gpa, gpa, __ATOMIC_RELAXED);
		if (!strays->touched)
			strays->first_gpa = gpa;
		strays->touched = true;
		ret = put_zeros(mm, window, page);
	}
	if (!ret) {
		slot = (strays->first + strays->count++) % STRAYS;
		strays->gpa[slot] = page;
		strays->until_ns[slot] = now_ns() + GUEST_MM_STRAY_MS * UINT64_C(1000000);
	}
	/* That it is there already is another vCPU's doing: this one can go on as well. */
	if (ret == -EEXIST)
		ret = 0;
	if (!ret)
		window_wake(window, page, page_bytes);
out:
	ranked_unlock(&strays->lock, RANK_STRAY);
	return ret;
}

int stray_clear(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes)
{
	struct stray *strays = &mm->strays;
	unsigned int kept = 0, i;
	int ret = 0;

	ranked_lock(&strays->lock, RANK_STRAY);
	for (i = 0; i < strays->count; i++) {
		unsigned int from = (strays->first + i) % STRAYS;
		unsigned int to = (strays->first + kept) % STRAYS;

		if (!ret && strays->gpa[from] - gpa < size_bytes) {
			ret = discard_page(mm, strays->gpa[from]);
			if (!ret)
				continue;
		}
		strays->gpa[to] = strays->gpa[from];
		strays->until_ns[to] = strays->until_ns[from];
		kept++;
	}
	strays->count = kept;
	ranked_unlock(&strays->lock, RANK_STRAY);
	return ret;
}

uint64_t stray_expire(struct guest_mm *mm)
{
	struct stray *strays = &mm->strays;
	void (*report)(gpa_t gpa, void *arg) = NULL;
	uint64_t left = UINT64_MAX, now;

	ranked_lock(&strays->lock, RANK_STRAY);
	now = now_ns();
	while (strays->count) {
		uint64_t until = strays->until_ns[strays->first];

		if (until > now) {
			left = until - now;
			break;
		}
		if (drop_first(mm)) {
			/*
			 * The host will not take it back now: try again, the guest is no worse off.
			 */
			left = GUEST_MM_STRAY_MS * UINT64_C(1000000);
			break;
		}
	}
	if (strays->touched) {
		report = strays->report;
		strays->report = NULL;
	}
	ranked_unlock(&strays->lock, RANK_STRAY);
	if (report)
		report(strays->first_gpa, strays->arg);
	return left;
}
