/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "mm/maple_internal.h"

/*
 * The maple tree: concepts and rules. The parts: this file holds the tree as a whole and the simple
 * interface; maple_state.c reading by states, maple_state_store.c writing by them, maple_gap.c the
 * search for gaps; maple_walk*.c the way down, for each instruction set, maple_path.c the ways
 * sideways; maple_write.c and maple_rebuild.c the writing, maple_slab.c the nodes, maple_dup.c
 * copies; maple_check.c and maple_dump.c what tests and people see.
 *
 * Structure. A B-tree of nodes of 256 bytes, aligned to that, so that the pointer to a node also
 * carries its kind and how many slots are used. Pivots are inclusive upper bounds; a node's own
 * bounds follow from the way down to it. There are no parent pointers, and no marks on dead nodes.
 *
 * What never changes. Once published, a node keeps its pivots and its number of slots until its
 * grace period has ended. What a slot holds may change by a single store, to another entry for the
 * same range, or to another child with the same bounds. Everything else makes new nodes, and
 * becomes visible by the one store that puts them into a slot of a node that stays, or into the
 * root. So every store to memory that a reader can see leads from one valid tree to the next.
 *
 * Why a reader needs no check and no retry. It may be in a node that has been replaced. The slots
 * of such a node are frozen as they were when it was replaced, which is after the reader came in.
 * So each node on a reader's way was part of the tree at some moment since the walk began, and so
 * was the entry it returns: a look-up is linearizable. Bounds never change within a node, so the
 * ranges that a state meets lie side by side, whichever versions of the leaves it meets. With
 * MT_FLAGS_SNAPSHOT no slot ever changes: a root stands for one version, whole and for ever.
 *
 * Ordering. There are three orderings, and each is needed:
 *
 *  1. A release store publishes a node, or an entry (maple_publish(), write_leaf()), after all
 *     stores into the new nodes. Without it a reader could follow the pointer to content that is
 *     not there yet.
 *  2. An acquire load reads the root and every slot. It pairs with 1; an address dependency would
 *     do on all machines we know, but the language does not define one. Pivots are read plainly:
 *     they were written before the pointer that leads to them was published.
 *  3. A grace period lies between the publication that takes a node out of the tree and the node's
 *     reuse (maple_slab_commit(), which comes after 1 in program order). A section that could have
 *     come into the node began before that grace period, so it has ended. The callback tells the
 *     writer by a release store, which the writer reads with acquire.
 *
 * Nothing else is shared: a reader writes no memory but its own RCU state. The state of a replaced
 * node and the gaps are written while readers may be in the node; they never read them.
 *
 * Writers exclude each other by the tree's lock, or by the caller's (MT_FLAGS_LOCK_EXTERN), and
 * load slots plainly or not as they like. Without MT_FLAGS_USE_RCU readers hold that lock too, and
 * nodes are reused at once.
 *
 * Progress. Readers are wait-free: a look-up is one step per level, whatever writers do. A writer
 * waits for other writers alone; nobody waits for readers.
 *
 * Cost. A write that fits one slot changes that slot. One that fits a leaf makes a leaf. A store that
 * splits, merges or shares a leaf makes two leaves and their parent.
 */

void mt_init_flags(struct maple_tree *mt, unsigned int flags)
{
	mt->ma_root = NULL;
	mt->ma_flags = flags;
	mt->ma_wrapped = false;
	mt->ma_slab = NULL;
	pthread_mutex_init(&mt->ma_lock, NULL);
}

void mtree_lock(struct maple_tree *mt)
{
	if (!mt_external_lock(mt))
		pthread_mutex_lock(&mt->ma_lock);
}

void mtree_unlock(struct maple_tree *mt)
{
	if (!mt_external_lock(mt))
		pthread_mutex_unlock(&mt->ma_lock);
}

void mt_set_in_rcu(struct maple_tree *mt)
{
	samara_rcu_start();
	mtree_lock(mt);
	mt->ma_flags |= MT_FLAGS_USE_RCU;
	mtree_unlock(mt);
}

void mt_clear_in_rcu(struct maple_tree *mt)
{
	mtree_lock(mt);
	mt->ma_flags &= ~MT_FLAGS_USE_RCU;
	mtree_unlock(mt);
}

void __mt_destroy(struct maple_tree *mt)
{
	samara_rcu_assign_pointer(mt->ma_root, NULL);
	maple_slab_destroy(mt);
	mt->ma_wrapped = false;
}

void mtree_destroy(struct maple_tree *mt)
{
	mtree_lock(mt);
	__mt_destroy(mt);
	mtree_unlock(mt);
}

bool mtree_empty(const struct maple_tree *mt)
{
	return !samara_rcu_dereference(mt->ma_root);
}

unsigned int mt_height(const struct maple_tree *mt)
{
	unsigned int height = 0;
	uintptr_t encoded;

	samara_rcu_read_lock();
	encoded = (uintptr_t)samara_rcu_dereference(mt->ma_root);
	if (encoded) {
		for (height = 1; !mt_is_leaf(encoded); height++)
			encoded = mt_child(encoded, 0);
	}
	samara_rcu_read_unlock();
	return height;
}

/* ---- Simple interface ----------------------------------------------------------------------- */

/* What the simple interface shows of an entry. */
static void *shown(void *entry)
{
	return __builtin_expect(xa_is_zero(entry), 0) ? NULL : entry;
}

void *mtree_load_rcu(struct maple_tree *mt, unsigned long index)
{
	uintptr_t root = (uintptr_t)samara_rcu_dereference(mt->ma_root);

	return root ? shown(maple_walker->load(root, index)) : NULL;
}

void *mtree_load(struct maple_tree *mt, unsigned long index)
{
	void *entry = NULL;
	uintptr_t root;

	samara_rcu_read_lock();
	root = (uintptr_t)samara_rcu_dereference(mt->ma_root);
	if (root)
		entry = maple_walker->load(root, index);
	samara_rcu_read_unlock();
	return shown(entry);
}

static int store(struct maple_tree *mt, unsigned long first, unsigned long last, void *entry,
		 bool insert, gfp_t gfp)
{
	struct maple_write w;
	int ret;

	if (mt_is_reserved(entry) && !xa_is_zero(entry))
		return -EINVAL;
	w.mt = mt;
	w.pool = NULL;
	w.first = first;
	w.last = last;
	w.entry = entry;
	w.insert = insert;
	w.gfp = gfp;
	mtree_lock(mt);
	ret = maple_write(&w);
	mtree_unlock(mt);
	return ret;
}

int mtree_store_range(struct maple_tree *mt, unsigned long first, unsigned long last, void *entry,
		      gfp_t gfp)
{
	return store(mt, first, last, entry, false, gfp);
}

int mtree_store(struct maple_tree *mt, unsigned long index, void *entry, gfp_t gfp)
{
	return store(mt, index, index, entry, false, gfp);
}

int mtree_insert_range(struct maple_tree *mt, unsigned long first, unsigned long last, void *entry,
		       gfp_t gfp)
{
	return store(mt, first, last, entry, true, gfp);
}

int mtree_insert(struct maple_tree *mt, unsigned long index, void *entry, gfp_t gfp)
{
	return store(mt, index, index, entry, true, gfp);
}

static int alloc_range(struct maple_tree *mt, unsigned long *startp, void *entry,
		       unsigned long size, unsigned long min, unsigned long max, gfp_t gfp,
		       int (*empty_area)(struct ma_state *, unsigned long, unsigned long,
					 unsigned long))
{
	MA_STATE(mas, mt, 0, 0);
	int ret;

	if (!mt_is_alloc(mt) || mt_is_reserved(entry))
		return -EINVAL;
	mtree_lock(mt);
	ret = empty_area(&mas, min, max, size);
	if (!ret)
		ret = mas_store_gfp(&mas, entry, gfp);
	if (!ret)
		*startp = mas.index;
	mtree_unlock(mt);
	return ret;
}

int mtree_alloc_range(struct maple_tree *mt, unsigned long *startp, void *entry, unsigned long size,
		      unsigned long min, unsigned long max, gfp_t gfp)
{
	return alloc_range(mt, startp, entry, size, min, max, gfp, mas_empty_area);
}

int mtree_alloc_rrange(struct maple_tree *mt, unsigned long *startp, void *entry,
		       unsigned long size, unsigned long min, unsigned long max, gfp_t gfp)
{
	return alloc_range(mt, startp, entry, size, min, max, gfp, mas_empty_area_rev);
}

int mtree_alloc_cyclic(struct maple_tree *mt, unsigned long *startp, void *entry,
		       unsigned long range_lo, unsigned long range_hi, unsigned long *next,
		       gfp_t gfp)
{
	MA_STATE(mas, mt, 0, 0);
	int ret;

	if (!mt_is_alloc(mt) || mt_is_reserved(entry))
		return -EINVAL;
	mtree_lock(mt);
	ret = mas_alloc_cyclic(&mas, startp, entry, range_lo, range_hi, next, gfp);
	mtree_unlock(mt);
	return ret;
}

void *mtree_erase(struct maple_tree *mt, unsigned long index)
{
	MA_STATE(mas, mt, index, index);
	void *entry;

	mtree_lock(mt);
	entry = mas_erase(&mas);
	mtree_unlock(mt);
	return entry;
}

void *mt_find(struct maple_tree *mt, unsigned long *index, unsigned long max)
{
	MA_STATE(mas, mt, *index, *index);
	void *entry;

	if (*index > max)
		return NULL;
	samara_rcu_read_lock();
	do {
		entry = mas_find(&mas, max);
	} while (xa_is_zero(entry));
	samara_rcu_read_unlock();
	if (entry)
		*index = mas.last + 1;
	return entry;
}

void *mt_find_after(struct maple_tree *mt, unsigned long *index, unsigned long max)
{
	return *index ? mt_find(mt, index, max) : NULL;
}

void *mt_next(struct maple_tree *mt, unsigned long index, unsigned long max)
{
	MA_STATE(mas, mt, index, index);
	void *entry;

	samara_rcu_read_lock();
	entry = mas_next(&mas, max);
	samara_rcu_read_unlock();
	return entry;
}

void *mt_prev(struct maple_tree *mt, unsigned long index, unsigned long min)
{
	MA_STATE(mas, mt, index, index);
	void *entry;

	samara_rcu_read_lock();
	entry = mas_prev(&mas, min);
	samara_rcu_read_unlock();
	return entry;
}
