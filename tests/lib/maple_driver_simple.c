/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/lib/maple_driver_steps.h"

#include <errno.h>

#include "mm/maple_internal.h"

/* The driver's steps by the simple interface: mtree_*() and mt_*(). */

static void *simple(void *entry)
{
	return xa_is_zero(entry) ? NULL : entry;
}

bool driver_step_store(struct driver *d)
{
	struct maple_range r = driver_range(d);
	void *entry = driver_entry(d);
	bool insert = driver_number(d, 3) == 0,
	     is_free = maple_model_is_free(d->model, r.first, r.last);
	int ret;

	driver_starve(d);
	driver_say(d, "mtree_%s_range(&mt, %#lx, %#lx, (void *)%#lx, GFP_KERNEL);",
		   insert ? "insert" : "store", r.first, r.last, (unsigned long)entry);
	if (r.first == r.last && driver_number(d, 2))
		ret = insert ? mtree_insert(&d->tree, r.first, entry, GFP_KERNEL)
			     : mtree_store(&d->tree, r.first, entry, GFP_KERNEL);
	else
		ret = insert ? mtree_insert_range(&d->tree, r.first, r.last, entry, GFP_KERNEL)
			     : mtree_store_range(&d->tree, r.first, r.last, entry, GFP_KERNEL);
	check(driver_feed(d, ret));
	if (ret == -ENOMEM)
		return true;
	if (insert && !is_free) {
		check(ret == -EEXIST);
		return true;
	}
	check(ret == 0);
	driver_stored(d, &r, entry);
	return true;
}

bool driver_step_erase(struct driver *d)
{
	unsigned long index = driver_index(d);
	struct maple_range r = maple_model_at(d->model, index);
	void *entry;
	bool starved;

	driver_starve(d);
	starved = maple_alloc_hook;
	driver_say(d, "mtree_erase(&mt, %#lx);", index);
	entry = mtree_erase(&d->tree, index);
	maple_alloc_hook = NULL;
	if (!entry && r.entry) {
		/* It cannot say which of the two it was. */
		MA_STATE(mas, &d->tree, index, index);

		mtree_lock(&d->tree);
		entry = mas_walk(&mas);
		mtree_unlock(&d->tree);
		if (entry) {
			check(starved && entry == r.entry);
			d->result->refused++;
			return true;
		}
	}
	check(entry == r.entry || (!entry && xa_is_zero(r.entry)));
	if (r.entry)
		driver_stored(d, &r, NULL);
	return true;
}

bool driver_step_alloc(struct driver *d)
{
	unsigned long min = driver_index(d), max = driver_index(d), first = 0, expected = 0;
	unsigned long size =
		1 + (driver_number(d, 1 + d->options->space / 16) << d->options->shift);
	bool up = driver_number(d, 2);
	void *entry = (void *)(0x20000 + driver_number(d, 250) * 8);
	int ret, want;

	if (driver_number(d, 64) == 0)
		size = 0;
	if (driver_number(d, 8) && min > max) {
		unsigned long swap = min;

		min = max;
		max = swap;
	}
	driver_starve(d);
	driver_say(d,
		   "mtree_alloc_%srange(&mt, &first, (void *)%#lx, %#lx, %#lx, %#lx, GFP_KERNEL);",
		   up ? "" : "r", (unsigned long)entry, size, min, max);
	ret = up ? mtree_alloc_range(&d->tree, &first, entry, size, min, max, GFP_KERNEL)
		 : mtree_alloc_rrange(&d->tree, &first, entry, size, min, max, GFP_KERNEL);
	check(driver_feed(d, ret));
	if (ret == -ENOMEM)
		return true;
	want = maple_model_gap(d->model, min, max, size, up, &expected);
	if (!(d->options->flags & MT_FLAGS_ALLOC_RANGE))
		want = -EINVAL;
	check(ret == want);
	if (!ret) {
		struct maple_range r = {first, first + size - 1, entry};

		check(first == expected);
		driver_stored(d, &r, entry);
	}
	return true;
}

bool driver_step_alloc_cyclic(struct driver *d)
{
	unsigned long low = driver_index(d), high = driver_index(d), next = driver_index(d);
	unsigned long from, first = 0, expected = 0, next_before;
	void *entry = xa_mk_value(1000 + driver_number(d, 250));
	int ret, want;

	if (low > high || high == ULONG_MAX)
		return true;
	next_before = next;
	driver_starve(d);
	driver_say(d,
		   "mtree_alloc_cyclic(&mt, &at, (void *)%#lx, %#lx, %#lx, &next /* %#lx */, "
		   "GFP_KERNEL);",
		   (unsigned long)entry, low, high, next);
	ret = mtree_alloc_cyclic(&d->tree, &first, entry, low, high, &next, GFP_KERNEL);
	check(driver_feed(d, ret));
	if (ret == -ENOMEM) {
		check(next == next_before);
		return true;
	}
	from = next_before > low ? next_before : low;
	want = maple_model_gap(d->model, from, high, 1, true, &expected);
	if (want && from > low) {
		want = maple_model_gap(d->model, low, high, 1, true, &expected);
		want = want ? want : 1;
	}
	if (!(d->options->flags & MT_FLAGS_ALLOC_RANGE))
		want = -EINVAL;
	check(ret == want);
	if (ret >= 0) {
		struct maple_range r = {first, first, entry};

		check(first == expected);
		check(next == first + 1);
		driver_stored(d, &r, entry);
	} else {
		check(next == next_before);
	}
	return true;
}

bool driver_step_find(struct driver *d)
{
	unsigned long start = driver_index(d), max = driver_index(d), index = start;
	struct maple_model_state s;
	struct maple_range r;
	bool found = maple_model_find(d->model, start, max, &r);
	void *entry;

	/* What the simple interface shows as nothing is passed by. */
	while (found && xa_is_zero(r.entry))
		found = r.last < max && maple_model_find(d->model, r.last + 1, max, &r);
	driver_say(d, "index = %#lx; mt_find(&mt, &index, %#lx);", start, max);
	entry = mt_find(&d->tree, &index, max);
	check(entry == (found ? r.entry : NULL));
	check(index == (found ? r.last + 1 : start));
	index = start;
	entry = mt_find_after(&d->tree, &index, max);
	check(entry == (found && start ? r.entry : NULL));

	driver_say(d, "mt_next(&mt, %#lx, %#lx); mt_prev(&mt, %#lx, %#lx);", start, max, start,
		   max);
	maple_model_state_set(&s, start, start);
	check(mt_next(&d->tree, start, max) == maple_model_next(d->model, &s, max, false));
	maple_model_state_set(&s, start, start);
	check(mt_prev(&d->tree, start, max) == maple_model_prev(d->model, &s, max, false));
	check(mtree_load(&d->tree, start) == simple(driver_expected(d, start)));
	return true;
}
