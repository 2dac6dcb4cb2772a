/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Splitting and merging regions under their readers. Bounds never change: new regions are stored in
 * the place of old ones, which are detached and live on for as long as somebody holds them.
 */
#include <errno.h>
#include <stdlib.h>

#include "mm/lock.h"
#include "mm/region_cut.h"

#define PARTS 3

/*
 * A region that is to be replaced by parts of itself. Everything that can fail comes first:
 * prepare(), for all the regions that are to be cut, before any commit(). There are at most two, with
 * two parts each: no more preallocated states than mas_preallocate() allows at once.
 */
struct cut {
	struct region *old, *part[PARTS];
	struct ma_state store[PARTS];
	unsigned int parts;
};

/* Give back what was taken and not used. */
static void cancel(struct cut *cut)
{
	for (unsigned int i = 0; i < cut->parts; i++) {
		mas_destroy(&cut->store[i]);
		free(cut->part[i]);
	}
	cut->parts = 0;
}

static int add_part(struct cut *cut, uint64_t first, uint64_t last, region_part_fn *make)
{
	MA_STATE(store, &cut->old->tree->map, first, last);
	struct region *part = make(cut->old, first, last);
	int ret;

	if (!part)
		return -ENOMEM;
	ret = mas_preallocate(&store, part, GFP_KERNEL);
	if (ret) {
		free(part);
		return ret;
	}
	cut->store[cut->parts] = store;
	cut->part[cut->parts++] = part;
	return 0;
}

/* Cut @old at the ends of a range that it meets. No parts: it lies within. */
static int prepare(struct cut *cut, struct region *old, uint64_t first, uint64_t last,
		   region_part_fn *make)
{
	bool low = old->first<first, high = old->last> last;
	int ret = 0;

	*cut = (struct cut){.old = old};
	if (!low && !high)
		return 0;
	/* The part inside comes first: it is marked from the moment it can be found. */
	ret = add_part(cut, low ? first : old->first, high ? last : old->last, make);
	if (!ret && low)
		ret = add_part(cut, old->first, first - 1, make);
	if (!ret && high)
		ret = add_part(cut, last + 1, old->last, make);
	if (ret)
		cancel(cut);
	return ret;
}

/* Who holds @old is in some part of it; whether that matters, region_drain() finds out. */
static void commit(struct cut *cut)
{
	if (!cut->parts)
		return;
	region_start_cut(cut->old);
	region_start_write(cut->part[0]);
	for (unsigned int i = 0; i < cut->parts; i++)
		mas_store_prealloc(&cut->store[i], cut->part[i]);
	/* After the stores: who finds it detached looks up again, and finds its parts. */
	region_retire(cut->old);
}

int region_isolate(struct region_tree *tree, uint64_t first, uint64_t last, region_part_fn *part)
{
	struct region *low = region_find(tree, first), *high = region_find(tree, last), *region;
	MA_STATE(mas, &tree->map, first, first);
	struct cut cut[2] = {0};
	int ret;

	ret = prepare(&cut[0], low, first, last, part);
	if (!ret && high != low)
		ret = prepare(&cut[1], high, first, last, part);
	if (ret) {
		cancel(&cut[0]);
		return ret;
	}
	commit(&cut[0]);
	commit(&cut[1]);
	mas_for_each (&mas, region, last)
		region_start_write(region);
	region_drain(tree);
	return 0;
}

bool region_unite(struct region *low, struct region *high, region_part_fn *part)
{
	struct region *whole = part(low, low->first, high->last);
	MA_STATE(mas, &low->tree->map, low->first, high->last);

	if (!whole)
		return false;
	if (mas_preallocate(&mas, whole, GFP_KERNEL))
		goto fail;
	if (!region_try_start_cut(low) || !region_try_start_cut(high)) {
		mas_destroy(&mas);
		goto fail;
	}
	mas_store_prealloc(&mas, whole);
	region_retire(low);
	region_retire(high);
	return true;
fail:
	free(whole);
	return false;
}
