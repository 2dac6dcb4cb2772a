/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MM_PIECE_H
#define MM_PIECE_H

#include <samara/maple_tree.h>

#include "mm/backing.h"
#include "mm/rcu.h"

/**
 * struct piece - a part of a window that reback gave a mapping of its own
 *
 * It stays one when the window's own memory comes back: the host does not join the mappings again.
 *
 * Immutable once it is in the window's tree of pieces, but for @next, which belongs to the holder
 * of the tree lock. What is left of it when others are put over its middle has several ranges in
 * the tree; it is freed, after a grace period, when it has none.
 */
struct piece {
	struct backing backing;
	struct piece *next;
	struct samara_rcu_head rcu;
};

/* Close and free a piece that was never seen by a reader, or no longer is. */
void piece_free(struct piece *piece);

struct window;

/**
 * window_set_piece() - have a piece behind a range; NULL: the window is over
 * @mas: preallocated for it
 *
 * Context: Tree lock held for writing; the mapping is changed already.
 */
void window_set_piece(struct window *window, struct ma_state *mas, struct piece *piece);

#endif
