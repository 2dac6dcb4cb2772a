/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MM_BACKING_H
#define MM_BACKING_H

#include <stdbool.h>
#include <stdint.h>

#include <samara/guest_mm.h>

/*
 * What is behind guest memory: where its pages come from when one is missing, and where they go
 * when they are given back. One file for each kind; nobody else asks which kind it is.
 */

struct backing;
struct guest_mm;
struct window;

/**
 * struct fill - pages to put behind missing ones
 * @gpa, @size_bytes: aligned to the backing's pages; one userfaultfd watches all of it
 * @protect: write-protected from the beginning
 *
 * Who waits for the pages sleeps on until window_wake().
 */
struct fill {
	struct guest_mm *mm;
	struct window *window;
	gpa_t gpa;
	uint64_t size_bytes;
	bool protect;
};

/**
 * struct backing_ops - what a kind of backing can do
 *
 * @open: get what it takes (a file), before anything is mapped
 * @map: map [offset, offset + size) of it at @hva, replacing what is there; @offset from its start
 * @fill: make pages present. Return: 0 when @done grew, -EEXIST when the first page was present
 *        already (@done is how much of what follows is), -ENOMEM, or what the host said
 * @comes_huge: whether 2 MiB, wholly missing, would come as one huge page; NULL: never
 * @reserve: make all pages of a range present at once; NULL: they are found when needed
 * @discard: give pages back; from now on they are missing
 *
 * The last one loses nothing when it fails. A later fill() of a private file's pages brings the
 * file's contents, unless the window has noted them as discarded.
 */
struct backing_ops {
	int (*open)(struct backing *backing, const struct guest_mm_window_config *config,
		    struct samara_error *err);
	int (*map)(const struct backing *backing, void *hva, uint64_t size_bytes, uint64_t offset);
	int (*fill)(const struct backing *backing, const struct fill *fill, uint64_t *done);
	bool (*comes_huge)(const struct backing *backing, const struct fill *fill);
	int (*reserve)(const struct backing *backing, gpa_t gpa, uint64_t size_bytes);
	int (*discard)(const struct backing *backing, gpa_t gpa, uint64_t size_bytes);
};

extern const struct backing_ops backing_anon_ops;    /* backing_anon.c */
extern const struct backing_ops backing_shared_ops;  /* backing_shared.c: a memfd, a file */
extern const struct backing_ops backing_hugetlb_ops; /* the same: a memfd of huge pages */
extern const struct backing_ops backing_private_ops; /* backing_private.c: a file, copied */

/**
 * struct backing - the memory behind [gpa, gpa + size_bytes), mapped at hva; immutable
 * @fd: what is mapped or read, or -1; closed by backing_close()
 * @offset_bytes: of @gpa in @fd
 * @page_bytes: the smallest piece it can be had in
 * @device, @inode: of the file that is mapped, if one is: the same for the same memory
 * @shared: mapped from the page cache, where others may reach it
 * @placement: where its pages come from
 */
struct backing {
	const struct backing_ops *ops;
	enum guest_mm_backing kind;
	gpa_t gpa;
	uint64_t size_bytes;
	char *hva;
	int fd;
	uint64_t offset_bytes;
	uint64_t page_bytes;
	uint64_t device, inode;
	bool shared;
	struct guest_mm_placement placement;
};

/**
 * backing_open() - get what a window's memory takes
 * @hva: is set by the caller, once it knows
 *
 * Return: 0, -EINVAL (no such kind, offset or size), -ENODEV (no huge pages, no such file system),
 * or what the host said; @err tells.
 */
int backing_open(struct backing *backing, const struct guest_mm_window_config *config,
		 struct samara_error *err);
void backing_close(struct backing *backing);

/* Anonymous memory's, which a private file's is too. */
int anon_map(const struct backing *backing, void *hva, uint64_t size_bytes, uint64_t offset);
int anon_discard(const struct backing *backing, gpa_t gpa, uint64_t size_bytes);

static inline char *backing_hva(const struct backing *backing, gpa_t gpa)
{
	return backing->hva + (gpa - backing->gpa);
}

static inline bool backing_same_file(const struct backing *a, const struct backing *b)
{
	return a->shared && b->shared && a->device == b->device && a->inode == b->inode;
}

static inline bool backing_same_placement(const struct backing *a, const struct backing *b)
{
	return a->placement.numa == b->placement.numa && a->placement.nodes == b->placement.nodes;
}

static inline uint64_t backing_offset(const struct backing *backing, gpa_t gpa)
{
	return backing->offset_bytes + (gpa - backing->gpa);
}

#endif
