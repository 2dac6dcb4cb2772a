/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/lib/maple_model.h"

#include <errno.h>
#include <string.h>

/* ---- Ranges ---------------------------------------------------------------------------------- */

/* The first entry that ends at @index or after. */
static unsigned int position(const struct maple_model *m, unsigned long index)
{
	unsigned int low = 0, high = m->count;

	while (low < high) {
		unsigned int middle = (low + high) / 2;

		if (m->range[middle].last < index)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

void maple_model_clear(struct maple_model *m)
{
	m->count = 0;
}

bool maple_model_has_room(const struct maple_model *m)
{
	/* A store cuts an entry in two at most, and adds its own. */
	return m->count + 2 <= MAPLE_MODEL_RANGES;
}

void maple_model_store(struct maple_model *m, unsigned long first, unsigned long last, void *entry)
{
	unsigned int from = position(m, first), to = from, added = 0;
	struct maple_range add[3];

	if (from < m->count && m->range[from].first < first) {
		add[added] = m->range[from];
		add[added++].last = first - 1;
	}
	if (entry)
		add[added++] = (struct maple_range){first, last, entry};
	while (to < m->count && m->range[to].first <= last)
		to++;
	if (to > from && m->range[to - 1].last > last) {
		add[added] = m->range[to - 1];
		add[added++].first = last + 1;
	}
	memmove(&m->range[from + added], &m->range[to], (m->count - to) * sizeof(m->range[0]));
	memcpy(&m->range[from], add, added * sizeof(add[0]));
	m->count = m->count - (to - from) + added;
}

struct maple_range maple_model_at(const struct maple_model *m, unsigned long index)
{
	unsigned int at = position(m, index);

	if (at < m->count && m->range[at].first <= index)
		return m->range[at];
	return (struct maple_range){
		.first = at ? m->range[at - 1].last + 1 : 0,
		.last = at < m->count ? m->range[at].first - 1 : ULONG_MAX,
	};
}

bool maple_model_is_free(const struct maple_model *m, unsigned long first, unsigned long last)
{
	unsigned int at = position(m, first);

	return at == m->count || m->range[at].first > last;
}

bool maple_model_find(const struct maple_model *m, unsigned long index, unsigned long max,
		      struct maple_range *found)
{
	unsigned int at = position(m, index);

	if (index > max || at == m->count || m->range[at].first > max)
		return false;
	*found = m->range[at];
	return true;
}

int maple_model_gap(const struct maple_model *m, unsigned long min, unsigned long max,
		    unsigned long size, bool up, unsigned long *first)
{
	unsigned long at = up ? min : max;

	if (min > max || size == 0 || size - 1 > max - min)
		return -EINVAL;
	for (;;) {
		struct maple_range r = maple_model_at(m, at);
		unsigned long low = r.first < min ? min : r.first;
		unsigned long high = r.last > max ? max : r.last;

		if (!r.entry && high - low >= size - 1) {
			*first = up ? low : high - (size - 1);
			return 0;
		}
		if (up ? high == max : low == min)
			return -EBUSY;
		at = up ? high + 1 : low - 1;
	}
}

/* ---- States ---------------------------------------------------------------------------------- */

void maple_model_state_set(struct maple_model_state *s, unsigned long first, unsigned long last)
{
	*s = (struct maple_model_state){.index = first, .last = last, .status = ma_start};
}

void maple_model_state_reset(struct maple_model_state *s)
{
	s->status = ma_start;
	s->walked = false;
}

void maple_model_state_pause(struct maple_model_state *s)
{
	s->status = ma_pause;
	s->walked = false;
}

static void go_to(const struct maple_model *m, struct maple_model_state *s, unsigned long index)
{
	struct maple_range r = maple_model_at(m, index);

	s->index = r.first;
	s->last = r.last;
	s->walked = true;
	s->status = m->count ? ma_active : ma_none;
}

void maple_model_state_stored(const struct maple_model *m, struct maple_model_state *s,
			      unsigned long first, unsigned long last, const void *entry)
{
	s->index = first;
	s->last = last;
	s->walked = true;
	s->status = ma_active;
	if (!entry)
		go_to(m, s, first);
}

void *maple_model_walk(const struct maple_model *m, struct maple_model_state *s)
{
	go_to(m, s, s->index);
	return maple_model_at(m, s->index).entry;
}

/* From where the state is to the next entry, or range, whose beginning is not above @max. */
static void *step_up(const struct maple_model *m, struct maple_model_state *s, unsigned long max,
		     bool gaps)
{
	void *entry;

	do {
		if (s->last >= max) {
			s->status = ma_overflow;
			return NULL;
		}
		go_to(m, s, s->last + 1);
		entry = maple_model_at(m, s->index).entry;
	} while (!entry && !gaps);
	return entry;
}

static void *step_down(const struct maple_model *m, struct maple_model_state *s, unsigned long min,
		       bool gaps)
{
	void *entry;

	do {
		if (s->index <= min) {
			s->status = ma_underflow;
			return NULL;
		}
		go_to(m, s, s->index - 1);
		entry = maple_model_at(m, s->index).entry;
	} while (!entry && !gaps);
	return entry;
}

void *maple_model_next(const struct maple_model *m, struct maple_model_state *s, unsigned long max,
		       bool gaps)
{
	/* Having gone down beyond the limit, it stands before what it was at. */
	bool came_back = s->status == ma_underflow;
	void *entry;

	if (s->last >= max) {
		s->status = ma_overflow;
		return NULL;
	}
	if (s->status != ma_active && s->status != ma_overflow) {
		entry = maple_model_walk(m, s);
		if (s->status == ma_none || (came_back && entry))
			return entry;
	}
	s->status = ma_active;
	return step_up(m, s, max, gaps);
}

void *maple_model_prev(const struct maple_model *m, struct maple_model_state *s, unsigned long min,
		       bool gaps)
{
	bool came_back = s->status == ma_overflow;
	void *entry;

	if (s->index <= min) {
		s->status = ma_underflow;
		return NULL;
	}
	if (s->status != ma_active && s->status != ma_underflow) {
		entry = maple_model_walk(m, s);
		if (s->status == ma_none || (came_back && entry))
			return entry;
	}
	s->status = ma_active;
	return step_down(m, s, min, gaps);
}

void *maple_model_state_find(const struct maple_model *m, struct maple_model_state *s,
			     unsigned long max, bool gaps)
{
	void *entry;

	switch (s->status) {
	case ma_active:
		if (s->last >= max)
			return NULL;
		break;
	case ma_pause:
	case ma_none:
		if (s->last >= max)
			return NULL;
		s->index = s->status == ma_pause ? ++s->last : s->last;
		s->status = ma_start;
		break;
	case ma_underflow:
		if (s->index >= max) {
			s->status = ma_overflow;
			return NULL;
		}
		break;
	case ma_overflow:
		if (s->last >= max)
			return NULL;
		break;
	default:
		break;
	}
	if (s->status == ma_start && s->index > max)
		return NULL;
	if (s->status != ma_active) {
		entry = maple_model_walk(m, s);
		if (entry || s->status == ma_none)
			return entry;
		if (s->index == max)
			return NULL;
	}
	entry = step_up(m, s, max, gaps);
	/* Only the variant for ranges tells that it came to the limit. */
	if (!gaps)
		s->status = ma_active;
	return entry;
}

void *maple_model_state_find_rev(const struct maple_model *m, struct maple_model_state *s,
				 unsigned long min, bool gaps)
{
	void *entry;

	switch (s->status) {
	case ma_pause:
		if (s->index <= min) {
			s->status = ma_underflow;
			return NULL;
		}
		s->last = --s->index;
		s->status = ma_start;
		break;
	case ma_none:
		if (s->index <= min)
			return NULL;
		s->last = s->index;
		s->status = ma_start;
		break;
	case ma_overflow:
	case ma_underflow:
		if (s->index <= min) {
			s->status = ma_underflow;
			return NULL;
		}
		s->status = ma_active;
		break;
	default:
		break;
	}
	if (s->status == ma_start) {
		if (s->index < min)
			return NULL;
		entry = maple_model_walk(m, s);
		if (entry || s->status == ma_none)
			return entry;
	}
	if (s->index < min)
		return NULL;
	return step_down(m, s, min, gaps);
}
