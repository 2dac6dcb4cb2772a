/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "mm/maple_internal.h"

/*
 * The maple tree: concepts and rules. The parts: this file holds the interface and all reading,
 * maple_write.c the writing, maple_path.c the ways through a tree, maple_slab.c the nodes,
 * maple_check.c the validation.
 *
 * Structure. A B-tree of nodes of 256 bytes, aligned to that, so that the pointer to a node also
 * carries its type, whether it is a leaf and how many slots are used. Pivots are inclusive upper
 * bounds; a node's own bounds follow from the way down to it. There are no parent pointers.
 *
 * Versions. A node is immutable once it is published. A write copies the nodes from the leaf, or
 * the leaves, that it changes up to the root, splits and merges them on the way, and publishes the
 * new root by a single store. Nodes that did not change belong to the old version and to the new
 * one. Whoever loaded a root sees that version, whole and for ever: no node is ever half-changed or
 * dead, there is nothing to check again and nothing to retry, and an iteration is a snapshot.
 *
 * Ordering. There are three orderings, and each is needed:
 *
 *  1. A release store publishes the root (maple_write()), after all stores into new nodes. Without
 *     it a reader could follow the new root into nodes whose content is not there yet.
 *  2. An acquire load begins each walk. It pairs with 1; an address dependency would do on all
 *     machines we know, but the language does not define one. Loads of children need nothing: they
 *     were written before the root that leads to them was published.
 *  3. A grace period lies between the publication of a root that a node is not part of and the
 *     node's reuse (maple_slab_commit(), which comes after 1 in program order). A section that
 *     could have loaded an older root began before that grace period, so it has ended.
 *
 * Nothing else is shared: a reader writes no memory but its own RCU state. The link of a replaced
 * node is written while readers may be in the node; they never read it.
 *
 * Writers exclude each other by the tree's lock, or by the caller's (MT_FLAGS_LOCK_EXTERN), and
 * load the root plainly. Without MT_FLAGS_USE_RCU readers hold that lock too, and nodes are reused
 * at once.
 *
 * Progress. Readers are wait-free: a look-up is one step per level, whatever writers do. A writer
 * waits for other writers, and for the slab's lock, which the callback holds while it moves nodes
 * to the free list. No writer waits for a reader, save mtree_destroy().
 *
 * Cost. A write makes as many nodes as the tree has levels, up to three times that when it splits,
 * and it touches every node that it takes out of the tree.
 */

void mt_init_flags(struct maple_tree *mt, unsigned int flags)
{
	mt->ma_root = NULL;
	mt->ma_flags = flags;
	mt->ma_slab = NULL;
	pthread_mutex_init(&mt->ma_lock, NULL);
}

void mtree_lock(struct maple_tree *mt)
{
	if (!(mt->ma_flags & MT_FLAGS_LOCK_EXTERN))
		pthread_mutex_lock(&mt->ma_lock);
}

void mtree_unlock(struct maple_tree *mt)
{
	if (!(mt->ma_flags & MT_FLAGS_LOCK_EXTERN))
		pthread_mutex_unlock(&mt->ma_lock);
}

void mtree_destroy(struct maple_tree *mt)
{
	mtree_lock(mt);
	if (mt->ma_root) {
		samara_rcu_assign_pointer(mt->ma_root, NULL);
		/* No callback will tell that the last version's readers are through. */
		if (mt->ma_flags & MT_FLAGS_USE_RCU)
			samara_synchronize_rcu();
	}
	maple_slab_destroy(mt);
	mtree_unlock(mt);
}

bool mtree_empty(const struct maple_tree *mt)
{
	return !samara_rcu_dereference(mt->ma_root);
}

unsigned int mt_height(struct maple_tree *mt)
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

void *mtree_load(struct maple_tree *mt, unsigned long index)
{
	void *entry = NULL;
	uintptr_t encoded;

	samara_rcu_read_lock();
	encoded = (uintptr_t)samara_rcu_dereference(mt->ma_root);
	if (encoded) {
		while (!mt_is_leaf(encoded))
			encoded = mt_child(encoded, mt_find_slot(mt_node(encoded), index));
		entry = mt_node(encoded)->slot[mt_find_slot(mt_node(encoded), index)];
	}
	samara_rcu_read_unlock();
	return entry;
}

int mtree_store_range(struct maple_tree *mt, unsigned long first, unsigned long last, void *entry)
{
	struct maple_pool pool = {0};
	int ret;

	mtree_lock(mt);
	ret = maple_write(mt, &pool, first, last, entry);
	mtree_unlock(mt);
	return ret;
}

int mtree_store(struct maple_tree *mt, unsigned long index, void *entry)
{
	return mtree_store_range(mt, index, index, entry);
}

int mtree_insert_range(struct maple_tree *mt, unsigned long first, unsigned long last, void *entry)
{
	MA_STATE(mas, mt, first, first);
	int ret;

	if (first > last)
		return -EINVAL;
	mtree_lock(mt);
	/* An empty range is a single slot, so one look tells. */
	if (mas_walk(&mas) || mas.last < last)
		ret = -EEXIST;
	else
		ret = maple_write(mt, &mas.pool, first, last, entry);
	mtree_unlock(mt);
	return ret;
}

int mtree_insert(struct maple_tree *mt, unsigned long index, void *entry)
{
	return mtree_insert_range(mt, index, index, entry);
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
	entry = mas_find(&mas, max);
	samara_rcu_read_unlock();
	if (entry)
		*index = mas.last + 1;
	return entry;
}

void *mt_find_after(struct maple_tree *mt, unsigned long *index, unsigned long max)
{
	return *index ? mt_find(mt, index, max) : NULL;
}

/* ---- States: reading ------------------------------------------------------------------------- */

/* Have index, last and the entry of the slot that the path leads to. */
static void *mas_at_slot(struct ma_state *mas, unsigned long first)
{
	unsigned int depth = mas->path.leaf_depth;
	uintptr_t leaf = mas->path.node[depth];
	unsigned int slot = mas->path.slot[depth];

	mas->index = first;
	mas->last = slot < mt_last_slot(leaf) ? mt_node(leaf)->pivot[slot] : mas->leaf_max;
	return mt_node(leaf)->slot[slot];
}

void *mas_walk(struct ma_state *mas)
{
	uintptr_t root = (uintptr_t)samara_rcu_dereference(mas->tree->ma_root);
	unsigned int depth, slot;

	if (!root) {
		mas->index = 0;
		mas->last = ULONG_MAX;
		mas->status = ma_none;
		return NULL;
	}
	maple_path_walk(&mas->path, root, mas->index);
	depth = mas->path.leaf_depth;
	slot = mas->path.slot[depth];
	mas->leaf_max = maple_path_max(&mas->path, depth);
	mas->status = ma_active;
	return mas_at_slot(mas, slot > 0 ? mt_node(mas->path.node[depth])->pivot[slot - 1] + 1
					 : maple_path_min(&mas->path, depth));
}

/* One slot up, entry or gap; the state is active and last is below ULONG_MAX. */
static void *mas_slot_up(struct ma_state *mas)
{
	unsigned int depth = mas->path.leaf_depth;

	if (mas->path.slot[depth] < mt_last_slot(mas->path.node[depth])) {
		mas->path.slot[depth]++;
	} else {
		maple_path_next(&mas->path, depth);
		mas->leaf_max = maple_path_max(&mas->path, depth);
	}
	return mas_at_slot(mas, mas->last + 1);
}

/* One slot down; the state is active and index is above 0. */
static void *mas_slot_down(struct ma_state *mas)
{
	unsigned int depth = mas->path.leaf_depth;
	unsigned int slot;

	if (mas->path.slot[depth] > 0) {
		mas->path.slot[depth]--;
	} else {
		mas->leaf_max = mas->index - 1;
		maple_path_prev(&mas->path, depth);
	}
	slot = mas->path.slot[depth];
	return mas_at_slot(mas, slot > 0 ? mt_node(mas->path.node[depth])->pivot[slot - 1] + 1
					 : maple_path_min(&mas->path, depth));
}

/* The next entry that begins at @max or before. */
static void *mas_entry_up(struct ma_state *mas, unsigned long max)
{
	void *entry;

	do {
		if (mas->last >= max) {
			mas->status = ma_overflow;
			return NULL;
		}
		entry = mas_slot_up(mas);
	} while (!entry);
	return entry;
}

/* The previous entry that ends at @min or after. */
static void *mas_entry_down(struct ma_state *mas, unsigned long min)
{
	void *entry;

	do {
		if (mas->index <= min) {
			mas->status = ma_underflow;
			return NULL;
		}
		entry = mas_slot_down(mas);
	} while (!entry);
	return entry;
}

/*
 * A state that ran into a limit stays at the last slot it saw. Turning round there, the user
 * expects that slot's entry first: to them the state is beyond it.
 */

void *mas_next(struct ma_state *mas, unsigned long max)
{
	enum maple_status was = mas->status;
	void *entry;

	if (was == ma_error)
		return NULL;
	if (was != ma_active) {
		if (was != ma_start && mas->last >= max) {
			mas->status = ma_overflow;
			return NULL;
		}
		entry = mas_walk(mas);
		if (mas->status == ma_none)
			return NULL;
		if (was == ma_underflow && entry)
			return entry;
	}
	return mas_entry_up(mas, max);
}

void *mas_prev(struct ma_state *mas, unsigned long min)
{
	enum maple_status was = mas->status;
	void *entry;

	if (was == ma_error)
		return NULL;
	if (was != ma_active) {
		if (mas->index <= min) {
			mas->status = ma_underflow;
			return NULL;
		}
		entry = mas_walk(mas);
		if (mas->status == ma_none)
			return NULL;
		if (was == ma_overflow && entry)
			return entry;
	}
	return mas_entry_down(mas, min);
}

void *mas_find(struct ma_state *mas, unsigned long max)
{
	void *entry;

	switch (mas->status) {
	case ma_error:
		return NULL;
	case ma_active:
		return mas_entry_up(mas, max);
	case ma_pause:
	case ma_none:
	case ma_overflow:
		if (mas->last >= max) {
			mas->status = ma_overflow;
			return NULL;
		}
		mas->index = ++mas->last;
		break;
	case ma_start:
	case ma_underflow:
		break;
	}
	if (mas->index > max) {
		mas->status = ma_overflow;
		return NULL;
	}
	entry = mas_walk(mas);
	if (entry || mas->status == ma_none)
		return entry;
	return mas_entry_up(mas, max);
}

void *mas_find_rev(struct ma_state *mas, unsigned long min)
{
	void *entry;

	switch (mas->status) {
	case ma_error:
		return NULL;
	case ma_active:
		return mas_entry_down(mas, min);
	case ma_pause:
	case ma_none:
	case ma_underflow:
		if (mas->index <= min) {
			mas->status = ma_underflow;
			return NULL;
		}
		mas->last = --mas->index;
		break;
	case ma_start:
	case ma_overflow:
		break;
	}
	if (mas->index < min) {
		mas->status = ma_underflow;
		return NULL;
	}
	entry = mas_walk(mas);
	if (entry || mas->status == ma_none)
		return entry;
	return mas_entry_down(mas, min);
}

/* ---- States: writing ------------------------------------------------------------------------- */

static int mas_write(struct ma_state *mas, void *entry)
{
	int ret = maple_write(mas->tree, &mas->pool, mas->index, mas->last, entry);

	mas->error = ret;
	mas->status = ret ? ma_error : ma_pause;
	return ret;
}

void *mas_store(struct ma_state *mas, void *entry)
{
	unsigned long first = mas->index, last = mas->last;
	void *old = first <= last ? mas_walk(mas) : NULL;

	mas->index = first;
	mas->last = last;
	return mas_write(mas, entry) ? NULL : old;
}

void *mas_erase(struct ma_state *mas)
{
	void *entry = mas_walk(mas);

	if (!entry)
		return NULL;
	return mas_write(mas, NULL) ? NULL : entry;
}

int mas_preallocate(struct ma_state *mas, void *entry)
{
	/*
	 * Room for two more levels. A new root has at most 3 slots, and a store adds at most 2 to a
	 * node, so at least 7 stores lie between one level more and the next: this is enough for
	 * the eight stores that are promised, and some more.
	 */
	unsigned int height = mt_height(mas->tree);

	if (mas->index > mas->last || mt_is_reserved(entry))
		return -EINVAL;
	return maple_pool_fill(mas->tree, &mas->pool,
			       maple_nodes_needed((height ? height : 1) + 2));
}

void mas_store_prealloc(struct ma_state *mas, void *entry)
{
	mas_write(mas, entry);
	mas_destroy(mas);
}

void mas_destroy(struct ma_state *mas)
{
	maple_pool_drain(mas->tree, &mas->pool);
}
