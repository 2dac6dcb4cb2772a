/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/lib/maple_history.h"

#include <limits.h>
#include <string.h>

#define STATES  (1u << 18)
#define CHANGES 128u
#define HALF    (MAPLE_HISTORY_INDICES / 2)

/**
 * struct history - what an index has held
 * @head: changes so far; written after the change itself
 * @change: the last ones: the number of the write, and in the lower half what is there since
 */
struct history {
	_Atomic uint64_t head;
	_Atomic uint64_t change[CHANGES];
};

/* Written by writers, logs before @begun. */
static _Atomic uint64_t begun, completed;
static _Atomic uint64_t states[STATES];
static struct history histories[MAPLE_HISTORY_INDICES + 1];

struct maple_history_counts maple_history_counts;

unsigned long maple_history_index(unsigned long number)
{
	return number < HALF ? number : ULONG_MAX - (MAPLE_HISTORY_INDICES - 1 - number);
}

static unsigned long slot_of(unsigned long index)
{
	if (index < HALF)
		return index;
	return index >= maple_history_index(HALF) ? MAPLE_HISTORY_INDICES - (ULONG_MAX - index)
						  : HALF;
}

void maple_history_clear(void)
{
	begun = completed = 0;
	states[0] = 0;
	memset(histories, 0, sizeof(histories));
	memset(&maple_history_counts, 0, sizeof(maple_history_counts));
}

void maple_history_begin(uint64_t version, unsigned long first, unsigned long last, uint64_t value,
			 uint64_t hash)
{
	for (unsigned long n = slot_of(first); n <= slot_of(last); n++) {
		struct history *h = &histories[n];
		uint64_t head = atomic_load_explicit(&h->head, memory_order_relaxed);

		atomic_store(&h->change[head % CHANGES], version << 32 | value);
		atomic_store(&h->head, head + 1);
	}
	atomic_store(&states[version % STATES], hash);
	atomic_store(&begun, version);
}

void maple_history_complete(uint64_t version)
{
	atomic_store(&completed, version);
}

uint64_t maple_history_completed(void)
{
	return atomic_load(&completed);
}

uint64_t maple_history_begun(void)
{
	return atomic_load(&begun);
}

static void count(atomic_ulong *counter)
{
	atomic_fetch_add(counter, 1);
}

void maple_history_check_value(unsigned long index, uint64_t value, uint64_t from, uint64_t to)
{
	struct history *h = &histories[slot_of(index)];
	uint64_t head = atomic_load(&h->head), until = UINT64_MAX;

	for (uint64_t i = 0; i < head; i++) {
		uint64_t change, since;

		change = atomic_load(&h->change[(head - 1 - i) % CHANGES]);
		since = change >> 32;
		/* At the end of the log, or written over meanwhile. */
		if (i + 2 >= CHANGES || since >= until) {
			count(&maple_history_counts.not_logged);
			return;
		}
		if (since <= to && (change & UINT32_MAX) == value)
			return;
		if (since <= from) {
			count(&maple_history_counts.wrong_values);
			return;
		}
		until = since;
	}
	/* Nothing was there before the first change. */
	if (value)
		count(&maple_history_counts.wrong_values);
}

void maple_history_add_age(uint64_t versions)
{
	unsigned int bucket = 0;

	while (versions >> bucket && bucket < MAPLE_HISTORY_AGES - 1)
		bucket++;
	count(&maple_history_counts.ages[bucket]);
}

void maple_history_check_state(uint64_t hash, uint64_t from, uint64_t to)
{
	if (to - from >= STATES / 2) {
		count(&maple_history_counts.not_logged);
		return;
	}
	/* The newest first: a tree may well be again what it was. */
	for (uint64_t age = 0; age <= to - from; age++) {
		if (atomic_load(&states[(to - age) % STATES]) == hash) {
			maple_history_add_age(age);
			return;
		}
	}
	count(&maple_history_counts.wrong_states);
}
