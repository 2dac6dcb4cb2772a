/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "mm/maple_internal.h"

/* Writing by states. */

static void set_error(struct ma_state *mas, int error)
{
	mas->node = (struct maple_enode *)xa_mk_err(error);
	mas->status = ma_error;
}

/* Store at index to last. Return: what was at index; on an error the state has it. */
static void *store(struct ma_state *mas, void *entry, bool insert, gfp_t gfp)
{
	struct maple_write w;
	int ret;

	w.mt = mas->tree;
	w.pool = &mas->pool;
	w.first = mas->index;
	w.last = mas->last;
	w.entry = entry;
	w.insert = insert;
	w.gfp = gfp;
	ret = maple_write(&w);
	if (ret) {
		set_error(mas, ret);
		return NULL;
	}
	/* Where NULL joined gaps beside it, all of the gap: as Linux has it. */
	mas->index = w.first;
	mas->last = w.last;
	mas->node = NULL;
	mas->status = ma_active;
	return w.old;
}

void *mas_store(struct ma_state *mas, void *entry)
{
	void *old = store(mas, entry, false, GFP_KERNEL);

	if (!mas->pool.keep && !mas_is_err(mas))
		mas_destroy(mas);
	return old;
}

int mas_store_gfp(struct ma_state *mas, void *entry, gfp_t gfp)
{
	store(mas, entry, false, gfp);
	mas_destroy(mas);
	return mas_is_err(mas) ? xa_err(mas->node) : 0;
}

void mas_store_prealloc(struct ma_state *mas, void *entry)
{
	store(mas, entry, false, GFP_NOWAIT);
	mas_destroy(mas);
}

void *mas_erase(struct ma_state *mas)
{
	void *entry = mas_walk(mas);

	if (!entry)
		return NULL;
	store(mas, NULL, false, GFP_KERNEL);
	if (mas_is_err(mas))
		return NULL;
	mas_destroy(mas);
	return entry;
}

bool mas_nomem(struct ma_state *mas, gfp_t gfp)
{
	if (!mas_is_err(mas) || xa_err(mas->node) != -ENOMEM)
		return false;
	if (maple_pool_fill(mas->tree, &mas->pool, maple_nodes_needed(mt_height(mas->tree)), gfp))
		return false;
	mas_reset(mas);
	return true;
}

int mas_preallocate(struct ma_state *mas, void *entry, gfp_t gfp)
{
	/*
	 * Room for two more levels. A new root has at most 3 slots, a store adds at most 2 to a
	 * node, and a node has room for 10 or 16: so at least 4 stores lie between one level more
	 * and the next, and eight stores add no third one.
	 */
	unsigned int height = mt_height(mas->tree);

	/* Whatever it is: room for the worst store. */
	(void)entry;
	if (mas->index > mas->last)
		return -EINVAL;
	return maple_pool_fill(mas->tree, &mas->pool, maple_nodes_needed((height ? height : 1) + 2),
			       gfp);
}

/* Levels of a tree that has grown by that many leaves, each node holding its least. */
static unsigned int height_after(const struct maple_tree *mt, unsigned long leaves)
{
	unsigned int height = mt_height(mt) + 1;

	for (; leaves; leaves /= maple_slots_min(maple_inner_kind(mt)))
		height++;
	return height;
}

int mas_expected_entries(struct ma_state *mas, unsigned long nr_entries)
{
	/*
	 * Each new range takes two slots at most. In the worst case, stores that come in no order,
	 * each leaf holds its least; the levels above add less than a third of that again. What a
	 * single store may need at worst comes on top.
	 */
	const struct maple_tree *mt = mas->tree;
	unsigned long leaves = nr_entries / 3 + 1;
	unsigned int height = height_after(mt, leaves);
	unsigned long count = leaves + leaves / 3 + maple_nodes_needed(height);
	int ret;

	/* What a store replaces: a leaf, or two and their parent; in a snapshot the whole way. */
	if (mt->ma_flags & MT_FLAGS_SNAPSHOT)
		count += nr_entries * height;
	else if (mt_in_rcu(mt))
		count += 3 * nr_entries;
	ret = maple_pool_fill(mas->tree, &mas->pool, count, GFP_KERNEL);
	if (!ret)
		mas->pool.keep = true;
	return ret;
}

void mas_destroy(struct ma_state *mas)
{
	mas->pool.keep = false;
	if (mas->pool.count)
		maple_pool_drain(mas->tree, &mas->pool);
}

int mas_alloc_cyclic(struct ma_state *mas, unsigned long *startp, void *entry,
		     unsigned long range_lo, unsigned long range_hi, unsigned long *next, gfp_t gfp)
{
	unsigned long from = *next > range_lo ? *next : range_lo;
	int wrapped = 0;
	int ret = mas_empty_area(mas, from, range_hi, 1);

	if (ret && from > range_lo) {
		wrapped = 1;
		ret = mas_empty_area(mas, range_lo, range_hi, 1);
	}
	if (!ret)
		ret = mas_store_gfp(mas, entry, gfp);
	if (ret)
		return ret;
	if (mas->tree->ma_wrapped && !wrapped) {
		mas->tree->ma_wrapped = false;
		wrapped = 1;
	}
	*startp = mas->index;
	*next = mas->index + 1;
	/* The next call begins at 0, and is to say so. */
	if (*next == 0)
		mas->tree->ma_wrapped = true;
	return wrapped;
}
