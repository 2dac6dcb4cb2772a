/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/lib/maple_driver_steps.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "mm/maple_internal.h"

/* ---- Saying what is done, and what is not so --------------------------------------------------- */

void driver_say(const struct driver *d, const char *format, ...)
{
	va_list args;

	if (!d->options->log)
		return;
	va_start(args, format);
	vfprintf(d->options->log, format, args);
	va_end(args);
	fputc('\n', d->options->log);
	fflush(d->options->log);
}

bool driver_failed(struct driver *d, const char *file, int line, const char *what)
{
	snprintf(d->result->failure, sizeof(d->result->failure), "step %u: %s:%d: not so: %s",
		 d->result->steps, file, line, what);
	driver_say(d, "%s", d->result->failure);
	return false;
}

/* ---- Choices ----------------------------------------------------------------------------------- */

unsigned int maple_input_byte(struct maple_input *in)
{
	if (in->bytes) {
		if (!in->left)
			return 0;
		in->left--;
		return *in->bytes++;
	}
	/* xorshift64* (Vigna 2016). */
	in->random ^= in->random >> 12;
	in->random ^= in->random << 25;
	in->random ^= in->random >> 27;
	return (unsigned int)(in->random * UINT64_C(2685821657736338717) >> 56);
}

unsigned long driver_number(struct driver *d, unsigned long n)
{
	unsigned long number = maple_input_byte(d->in);

	for (unsigned long reach = 256; reach && reach < n; reach <<= 8)
		number = number << 8 | maple_input_byte(d->in);
	return number % n;
}

/* Where operations meet: at both ends, in the middle, at the borders of what is there. */
unsigned long driver_index(struct driver *d)
{
	const struct maple_model *m = d->model;
	unsigned long kind = driver_number(d, 16);
	unsigned long offset;

	if (kind >= 12 && m->count) {
		const struct maple_range *r = &m->range[driver_number(d, m->count)];

		return (kind & 1 ? r->first : r->last) + driver_number(d, 3) - 1;
	}
	offset = driver_number(d, d->options->space) << d->options->shift;
	if (kind == 0)
		return ULONG_MAX - offset;
	if (kind == 1)
		return (1UL << 63) + offset;
	return offset;
}

struct maple_range driver_range(struct driver *d)
{
	unsigned long a = driver_index(d), b;

	switch (driver_number(d, 16)) {
	case 0:
		b = driver_index(d);
		break;
	case 1:
	case 2:
		b = a;
		break;
	case 3:
		b = maple_model_at(d->model, a).last;
		break;
	default:
		b = a + (driver_number(d, 1 + d->options->space / 32) << d->options->shift);
		if (b < a)
			b = ULONG_MAX;
	}
	return (struct maple_range){.first = a < b ? a : b, .last = a < b ? b : a};
}

void *driver_entry(struct driver *d)
{
	unsigned long kind = driver_number(d, 8);

	if (kind < 3)
		return NULL;
	if (kind == 3)
		return xa_mk_value(driver_number(d, 64));
	return (void *)(0x10000 + driver_number(d, 250) * 8);
}

/* As above, with the entry that only states store. */
void *driver_advanced_entry(struct driver *d)
{
	return driver_number(d, 16) == 0 ? XA_ZERO_ENTRY : driver_entry(d);
}

void *driver_expected(const struct driver *d, unsigned long index)
{
	return maple_model_at(d->model, index).entry;
}

/* ---- Allocation failures ----------------------------------------------------------------------- */

long driver_allocations_left;

bool driver_fail_from(void)
{
	return driver_allocations_left-- <= 0;
}

/* Now and then the operation that follows has no memory, from one of its allocations on. */
void driver_starve(struct driver *d)
{
	if (driver_number(d, 12) == 0) {
		driver_allocations_left = (long)driver_number(d, 3);
		maple_alloc_hook = driver_fail_from;
		driver_say(d, "/* allocation %ld fails, and all after it */",
			   driver_allocations_left + 1);
	}
}

/* Whether an operation may say so. */
bool driver_feed(struct driver *d, int ret)
{
	bool starved = maple_alloc_hook;

	maple_alloc_hook = NULL;
	if (ret == -ENOMEM && starved)
		d->result->refused++;
	return ret != -ENOMEM || starved;
}

void driver_stored(struct driver *d, const struct maple_range *r, void *entry)
{
	maple_model_store(d->model, r->first, r->last, entry);
	d->result->writes++;
	memset(d->stale, true, sizeof(d->stale));
}

/* ---- The tree as a whole ----------------------------------------------------------------------- */

bool maple_driver_equal(struct maple_tree *mt, const struct maple_model *m, char *why, size_t size)
{
	MA_STATE(mas, mt, 0, 0);
	unsigned int i = 0;
	bool good = true;
	void *entry;

	mtree_lock(mt);
	if (mt_validate(mt)) {
		snprintf(why, size, "mt_validate() finds the tree broken");
		good = false;
		goto out;
	}
	mas_for_each (&mas, entry, ULONG_MAX) {
		good = i < m->count && mas.index == m->range[i].first &&
		       mas.last == m->range[i].last && entry == m->range[i].entry;
		if (!good)
			break;
		i++;
	}
	if (!good || i != m->count) {
		snprintf(why, size,
			 "going up, number %u of %u is %#lx-%#lx %p, should be %#lx-%#lx %p", i,
			 m->count, mas.index, mas.last, entry, i < m->count ? m->range[i].first : 0,
			 i < m->count ? m->range[i].last : 0,
			 i < m->count ? m->range[i].entry : NULL);
		good = false;
		goto out;
	}
	mas_set(&mas, ULONG_MAX);
	mas_for_each_rev (&mas, entry, 0) {
		good = i && mas.index == m->range[i - 1].first &&
		       mas.last == m->range[i - 1].last && entry == m->range[i - 1].entry;
		if (!good)
			break;
		i--;
	}
	if (!good || i) {
		snprintf(why, size, "going down, number %u of %u is %#lx-%#lx %p", i, m->count,
			 mas.index, mas.last, entry);
		good = false;
	}
	if (good && mtree_empty(mt) != !m->count) {
		snprintf(why, size, "mtree_empty() with %u entries", m->count);
		good = false;
	}
out:
	mtree_unlock(mt);
	return good;
}

static bool compare(struct driver *d)
{
	unsigned int height = mt_height(&d->tree);
	char why[160];

	if (height > d->result->height)
		d->result->height = height;
	if (maple_driver_equal(&d->tree, d->model, why, sizeof(why)))
		return true;
	snprintf(d->result->failure, sizeof(d->result->failure), "step %u: %s", d->result->steps,
		 why);
	driver_say(d, "%s", d->result->failure);
	return false;
}

static bool do_dup(struct driver *d)
{
	struct maple_tree new;
	char why[160];
	int ret;

	mt_init_flags(&new, d->options->flags);
	driver_starve(d);
	driver_say(d, "mtree_dup(&mt, &new, GFP_KERNEL);");
	ret = mtree_dup(&d->tree, &new, GFP_KERNEL);
	check(driver_feed(d, ret));
	check(ret == 0 || ret == -ENOMEM);
	if (ret) {
		check(mtree_empty(&new));
		mtree_destroy(&new);
		return true;
	}
	if (!maple_driver_equal(&new, d->model, why, sizeof(why)))
		return driver_failed(d, __FILE__, __LINE__, why);
	if (driver_number(d, 2)) {
		struct maple_range r = driver_range(d);

		driver_say(d, "mtree_store_range(&new, %#lx, %#lx, NULL, GFP_KERNEL);", r.first,
			   r.last);
		check(mtree_store_range(&new, r.first, r.last, NULL, GFP_KERNEL) == 0);
	}
	driver_say(d, "mtree_destroy(&new);");
	mtree_destroy(&new);
	check(mtree_empty(&new));
	return compare(d);
}

static bool do_whole(struct driver *d)
{
	unsigned long what = driver_number(d, 16);

	if (what == 0) {
		/* A destroyed tree is an empty one. */
		driver_say(d, "mtree_destroy(&mt);");
		mtree_destroy(&d->tree);
		maple_model_clear(d->model);
		memset(d->stale, true, sizeof(d->stale));
		check(mtree_empty(&d->tree) && mt_height(&d->tree) == 0);
		return true;
	}
	if (what < 5 && d->options->flags & MT_FLAGS_USE_RCU) {
		driver_say(d, "mt_clear_in_rcu(&mt); ...; mt_set_in_rcu(&mt);");
		mt_clear_in_rcu(&d->tree);
		check(!mt_in_rcu(&d->tree));
		if (!driver_step_store(d))
			return false;
		mt_set_in_rcu(&d->tree);
		check(mt_in_rcu(&d->tree));
		return true;
	}
	return do_dup(d);
}

static bool step(struct driver *d)
{
	static bool (*const likely[])(struct driver *) = {
		driver_step_store,      driver_step_store,     driver_step_store,
		driver_step_erase,      driver_step_alloc,     driver_step_alloc_cyclic,
		driver_step_find,       driver_step_move,      driver_step_move,
		driver_step_move,       driver_step_mas_store, driver_step_mas_store,
		driver_step_erase,      driver_step_mas_store, driver_step_preallocated,
		driver_step_empty_area,
	};
	unsigned long which = driver_number(d, 256);

	if (which == 0)
		return do_whole(d);
	if (which == 1)
		return driver_step_expected(d);
	return likely[which % 16](d);
}

bool maple_driver_run(struct maple_input *in, const struct maple_driver_options *options,
		      struct maple_driver_result *result)
{
	struct driver d = {.options = options, .result = result, .in = in};
	bool good = true;

	memset(result, 0, sizeof(*result));
	d.model = malloc(sizeof(*d.model));
	if (!d.model)
		return driver_failed(&d, __FILE__, __LINE__, "memory for the model");
	maple_model_clear(d.model);
	mt_init_flags(&d.tree, options->flags);
	for (unsigned int i = 0; i < DRIVER_STATES; i++) {
		mas_init(&d.mas[i], &d.tree, 0);
		maple_model_state_set(&d.expected[i], 0, 0);
	}
	while (good && result->steps < options->steps && (!in->bytes || in->left)) {
		result->steps++;
		if (d.model->count + 64 > MAPLE_MODEL_RANGES) {
			mtree_store_range(&d.tree, 0, ULONG_MAX, NULL, GFP_KERNEL);
			maple_model_clear(d.model);
			memset(d.stale, true, sizeof(d.stale));
		}
		good = step(&d) && mt_validate(&d.tree) == 0;
		if (good && result->steps % options->compare_every == 0)
			good = compare(&d);
		if (!good && !result->failure[0])
			driver_failed(&d, __FILE__, __LINE__, "mt_validate(&d->tree) == 0");
	}
	maple_alloc_hook = NULL;
	if (good)
		good = compare(&d);
	if (good)
		mtree_destroy(&d.tree);
	free(d.model);
	return good;
}
