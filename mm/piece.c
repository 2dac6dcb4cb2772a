/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stddef.h>
#include <stdlib.h>

#include "mm/piece.h"
#include "mm/window.h"

void piece_free(struct piece *piece)
{
	backing_close(&piece->backing);
	free(piece);
}

static void free_later(struct samara_rcu_head *head)
{
	piece_free((struct piece *)((char *)head - offsetof(struct piece, rcu)));
}

static bool is_used(struct window *window, const struct piece *piece)
{
	MA_STATE(mas, &window->pieces, 0, 0);
	struct piece *other;

	mas_for_each (&mas, other, UINT64_MAX)
		if (other == piece)
			return true;
	return false;
}

void window_set_piece(struct window *window, struct ma_state *mas, struct piece *piece)
{
	MA_STATE(look, &window->pieces, mas->index, mas->index);
	struct piece *covered = NULL, *old;

	mas_for_each (&look, old, mas->last) {
		/* One that comes twice, left and right of another, comes once in the list. */
		struct piece *seen = covered;

		while (seen && seen != old)
			seen = seen->next;
		if (seen)
			continue;
		old->next = covered;
		covered = old;
	}
	mas_store_prealloc(mas, piece);
	while (covered) {
		old = covered;
		covered = old->next;
		if (!is_used(window, old))
			samara_call_rcu(&old->rcu, free_later);
	}
}

const struct backing *window_backing(const struct window *window, gpa_t gpa, uint64_t *bytes)
{
	MA_STATE(mas, (struct maple_tree *)&window->pieces, gpa, gpa);
	struct piece *piece;

	if (!__atomic_load_n(&window->has_pieces, __ATOMIC_ACQUIRE))
		return &window->own;
	samara_rcu_read_lock();
	piece = mas_find(&mas, gpa + (*bytes - 1));
	samara_rcu_read_unlock();
	if (!piece)
		return &window->own;
	if (mas.index > gpa) {
		*bytes = mas.index - gpa;
		return &window->own;
	}
	if (mas.last - gpa < *bytes - 1)
		*bytes = mas.last - gpa + 1;
	return &piece->backing;
}
