/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/lib/maple_driver_steps.h"

#include <errno.h>

#include "mm/maple_internal.h"

/* The driver's steps by states: mas_*(). */

#define PREALLOCATED 8u

static const char *const status_name[] = {"active", "start",    "root",      "none",
					  "pause",  "overflow", "underflow", "error"};

/* Make a state fit to go on, after something else was stored. */
static void refresh(struct driver *d, unsigned int i)
{
	unsigned long how = driver_number(d, 4);

	if (!d->stale[i] && how)
		return;
	d->stale[i] = false;
	if (how == 1) {
		driver_say(d, "mas_pause(&mas[%u]);", i);
		mas_pause(&d->mas[i]);
		maple_model_state_pause(&d->expected[i]);
	} else if (how == 2) {
		driver_say(d, "mas_reset(&mas[%u]);", i);
		mas_reset(&d->mas[i]);
		maple_model_state_reset(&d->expected[i]);
	} else {
		unsigned long index = driver_index(d);

		driver_say(d, "mas_set(&mas[%u], %#lx);", i, index);
		mas_set(&d->mas[i], index);
		maple_model_state_set(&d->expected[i], index, index);
	}
}

static bool state_equal(struct driver *d, unsigned int i)
{
	const struct ma_state *mas = &d->mas[i];
	const struct maple_model_state *s = &d->expected[i];

	if (mas->index == s->index && mas->last == s->last && mas->status == s->status)
		return true;
	snprintf(d->result->failure, sizeof(d->result->failure),
		 "step %u: state is at %#lx-%#lx (%s), should be at %#lx-%#lx (%s)",
		 d->result->steps, mas->index, mas->last, status_name[mas->status], s->index,
		 s->last, status_name[s->status]);
	driver_say(d, "%s", d->result->failure);
	return false;
}

bool driver_step_move(struct driver *d)
{
	static const struct {
		const char *name;
		void *(*tree)(struct ma_state *, unsigned long);
		void *(*model)(const struct maple_model *, struct maple_model_state *,
			       unsigned long, bool);
		bool gaps;
	} moves[] = {
		{"mas_next", mas_next, maple_model_next, false},
		{"mas_next_range", mas_next_range, maple_model_next, true},
		{"mas_prev", mas_prev, maple_model_prev, false},
		{"mas_prev_range", mas_prev_range, maple_model_prev, true},
		{"mas_find", mas_find, maple_model_state_find, false},
		{"mas_find_range", mas_find_range, maple_model_state_find, true},
		{"mas_find_rev", mas_find_rev, maple_model_state_find_rev, false},
		{"mas_find_range_rev", mas_find_range_rev, maple_model_state_find_rev, true},
	};
	unsigned int i = (unsigned int)driver_number(d, DRIVER_STATES);
	unsigned int count = 1 + (unsigned int)driver_number(d, 20),
		     move = (unsigned int)driver_number(d, 8);

	refresh(d, i);
	mtree_lock(&d->tree);
	while (count--) {
		unsigned long limit = move == 2 || move == 3 || move > 5 ? 0 : ULONG_MAX;
		void *entry, *expected;

		if (driver_number(d, 8) == 0)
			limit = driver_index(d);
		if (driver_number(d, 6) == 0)
			move = (unsigned int)driver_number(d, 8);
		if (driver_number(d, 16) == 0) {
			driver_say(d, "mas_walk(&mas[%u]);", i);
			entry = mas_walk(&d->mas[i]);
			expected = maple_model_walk(d->model, &d->expected[i]);
		} else {
			driver_say(d, "%s(&mas[%u], %#lx);", moves[move].name, i, limit);
			entry = moves[move].tree(&d->mas[i], limit);
			expected = moves[move].model(d->model, &d->expected[i], limit,
						     moves[move].gaps);
		}
		if (!state_equal(d, i) || entry != expected) {
			mtree_unlock(&d->tree);
			return d->result->failure[0]
				       ? false
				       : driver_failed(d, __FILE__, __LINE__, "entry == expected");
		}
		/* Beyond a limit without a walk: Linux goes wrong there, so nobody relies on it. */
		if (!d->expected[i].walked && d->expected[i].status != ma_start) {
			d->stale[i] = true;
			break;
		}
	}
	mtree_unlock(&d->tree);
	return true;
}

/* Store through a state that may be at an entry, which it is afterwards, too. */
bool driver_step_mas_store(struct driver *d)
{
	unsigned int i = (unsigned int)driver_number(d, DRIVER_STATES);
	struct maple_range r;
	void *entry = driver_advanced_entry(d), *old = NULL;
	unsigned long how = driver_number(d, 4);
	int ret;

	refresh(d, i);
	mtree_lock(&d->tree);
	if (driver_number(d, 2)) {
		r = driver_range(d);
		driver_say(d, "mas_set_range(&mas[%u], %#lx, %#lx);", i, r.first, r.last);
		mas_set_range(&d->mas[i], r.first, r.last);
		maple_model_state_set(&d->expected[i], r.first, r.last);
	} else {
		driver_say(d, "mas_walk(&mas[%u]);", i);
		mas_walk(&d->mas[i]);
		maple_model_walk(d->model, &d->expected[i]);
		r = maple_model_at(d->model, d->mas[i].index);
	}
	driver_starve(d);
	if (how == 0) {
		driver_say(d, "mas_store_gfp(&mas[%u], (void *)%#lx, GFP_KERNEL);", i,
			   (unsigned long)entry);
		ret = mas_store_gfp(&d->mas[i], entry, GFP_KERNEL);
		old = driver_expected(d, r.first);
	} else if (how == 1) {
		driver_say(d, "mas_erase(&mas[%u]);", i);
		r = maple_model_at(d->model, r.first);
		entry = NULL;
		old = mas_erase(&d->mas[i]);
		ret = mas_is_err(&d->mas[i]) ? xa_err(d->mas[i].node) : 0;
	} else {
		driver_say(d, "mas_store(&mas[%u], (void *)%#lx);", i, (unsigned long)entry);
		old = mas_store(&d->mas[i], entry);
		ret = mas_is_err(&d->mas[i]) ? xa_err(d->mas[i].node) : 0;
		if (ret == -ENOMEM && how == 2) {
			maple_alloc_hook = NULL;
			d->result->refused++;
			driver_say(d, "mas_nomem(&mas[%u], GFP_KERNEL); mas_store();", i);
			check(mas_nomem(&d->mas[i], GFP_KERNEL));
			old = mas_store(&d->mas[i], entry);
			ret = mas_is_err(&d->mas[i]) ? xa_err(d->mas[i].node) : 0;
			check(ret == 0);
			mas_destroy(&d->mas[i]);
		}
	}
	mtree_unlock(&d->tree);
	check(driver_feed(d, ret));
	if (ret == -ENOMEM) {
		mtree_lock(&d->tree);
		mas_destroy(&d->mas[i]);
		mtree_unlock(&d->tree);
		driver_say(d, "mas_set(&mas[%u], %#lx);", i, r.first);
		mas_set(&d->mas[i], r.first);
		maple_model_state_set(&d->expected[i], r.first, r.first);
		return true;
	}
	check(ret == 0);
	check(old == driver_expected(d, r.first));
	if (how == 1 && !old) {
		maple_model_walk(d->model, &d->expected[i]);
	} else {
		driver_stored(d, &r, entry);
		d->stale[i] = false;
		maple_model_state_stored(d->model, &d->expected[i], r.first, r.last, entry);
	}
	/* Where a state is after it erased from an empty tree, or all of one, is nowhere stated. */
	if (d->model->count)
		return state_equal(d, i);
	mas_reset(&d->mas[i]);
	maple_model_state_reset(&d->expected[i]);
	d->expected[i].index = d->mas[i].index;
	d->expected[i].last = d->mas[i].last;
	return true;
}

/* Up to eight states are preallocated, memory runs out, all are stored. */
bool driver_step_preallocated(struct driver *d)
{
	unsigned int count = 1 + (unsigned int)driver_number(d, PREALLOCATED);
	struct ma_state mas[PREALLOCATED];
	struct maple_range r[PREALLOCATED];

	mtree_lock(&d->tree);
	for (unsigned int i = 0; i < count; i++) {
		int ret;

		r[i] = driver_range(d);
		r[i].entry = driver_advanced_entry(d);
		mas_init(&mas[i], &d->tree, 0);
		mas_set_range(&mas[i], r[i].first, r[i].last);
		driver_starve(d);
		driver_say(d, "pre[%u]: mas_preallocate(%#lx-%#lx, (void *)%#lx, GFP_KERNEL)", i,
			   r[i].first, r[i].last, (unsigned long)r[i].entry);
		ret = mas_preallocate(&mas[i], r[i].entry, GFP_KERNEL);
		check(driver_feed(d, ret));
		if (ret) {
			check(ret == -ENOMEM);
			driver_say(d, "/* refused */");
			count = i;
		}
	}
	driver_allocations_left = 0;
	maple_alloc_hook = driver_fail_from;
	for (unsigned int i = 0; i < count; i++) {
		if (driver_number(d, 8) == 0) {
			driver_say(d, "mas_destroy(&pre[%u]);", i);
			mas_destroy(&mas[i]);
			continue;
		}
		if (driver_number(d, 8) == 0) {
			/* The range may change meanwhile. */
			void *entry = r[i].entry;

			r[i] = driver_range(d);
			r[i].entry = entry;
			mas_set_range(&mas[i], r[i].first, r[i].last);
		}
		driver_say(d, "mas_store_prealloc(&pre[%u]: %#lx-%#lx, (void *)%#lx);", i,
			   r[i].first, r[i].last, (unsigned long)r[i].entry);
		mas_store_prealloc(&mas[i], r[i].entry);
		check(!mas_is_err(&mas[i]));
		driver_stored(d, &r[i], r[i].entry);
		check(mt_validate(&d->tree) == 0);
	}
	maple_alloc_hook = NULL;
	mtree_unlock(&d->tree);
	return true;
}

bool driver_step_expected(struct driver *d)
{
	unsigned int count = 1 + (unsigned int)driver_number(d, 40);
	MA_STATE(mas, &d->tree, 0, 0);
	int ret;

	mtree_lock(&d->tree);
	driver_starve(d);
	driver_say(d, "mas_expected_entries(&bulk, %u);", count);
	ret = mas_expected_entries(&mas, count);
	check(driver_feed(d, ret));
	for (unsigned int i = 0; !ret && i < count; i++) {
		struct maple_range r = driver_range(d);
		void *entry = driver_advanced_entry(d);

		driver_say(d, "bulk: mas_store(%#lx-%#lx, (void *)%#lx);", r.first, r.last,
			   (unsigned long)entry);
		mas_set_range(&mas, r.first, r.last);
		check(mas_store(&mas, entry) == driver_expected(d, r.first));
		check(!mas_is_err(&mas));
		driver_stored(d, &r, entry);
		if (!maple_model_has_room(d->model))
			break;
	}
	mas_destroy(&mas);
	mtree_unlock(&d->tree);
	check(ret == 0 || ret == -ENOMEM);
	return true;
}

bool driver_step_empty_area(struct driver *d)
{
	unsigned long min = driver_index(d), max = driver_index(d), first = 0;
	unsigned long size =
		1 + (driver_number(d, 1 + d->options->space / 16) << d->options->shift);
	bool up = driver_number(d, 2);
	MA_STATE(mas, &d->tree, 0, 0);
	int ret, want = maple_model_gap(d->model, min, max, size, up, &first);

	mtree_lock(&d->tree);
	driver_say(d, "mas_empty_area%s(&fresh, %#lx, %#lx, %#lx);", up ? "" : "_rev", min, max,
		   size);
	ret = up ? mas_empty_area(&mas, min, max, size) : mas_empty_area_rev(&mas, min, max, size);
	check(ret == want);
	if (!ret) {
		struct maple_range r = {first, first + size - 1, NULL};
		void *entry = driver_entry(d);

		check(mas.index == r.first && mas.last == r.last);
		if (entry) {
			driver_say(d, "mas_store_gfp(&fresh, (void *)%#lx, GFP_KERNEL);",
				   (unsigned long)entry);
			check(mas_store_gfp(&mas, entry, GFP_KERNEL) == 0);
			driver_stored(d, &r, entry);
		}
	}
	mtree_unlock(&d->tree);
	return true;
}
