/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MM_UFFD_H
#define MM_UFFD_H

#include <stdbool.h>
#include <stdint.h>

#include <samara/error.h>

/*
 * userfaultfd, as far as the memory manager uses it: the system calls, their retries, and their
 * answers as numbers of bytes done. No locks; any thread.
 */

/**
 * struct uffd - one userfaultfd; immutable after uffd_open()
 * @can_move: UFFDIO_MOVE works (Linux 6.8)
 * @can_remap: mappings that mremap() moves stay watched (Linux 4.11)
 * @can_protect_shared: write protection of shared memory (Linux 5.19)
 */
struct uffd {
	int fd;
	bool can_move;
	bool can_remap;
	bool can_protect_shared;
};

/**
 * uffd_open() - open a userfaultfd that also catches accesses made by the kernel (by KVM)
 *
 * Return: 0, -EPERM, -EACCES, -ENOSYS, -EOPNOTSUPP; the text says what would help.
 */
int uffd_open(struct uffd *uffd, struct samara_error *err);
void uffd_close(struct uffd *uffd);

/* Have missing pages, and writes to protected ones, reported. */
int uffd_register(const struct uffd *uffd, void *address, uint64_t length, bool protect);

/**
 * uffd_copy() - put pages behind missing ones; who waits for them sleeps on until uffd_wake()
 * @protect: write-protected
 * @done: bytes from the start that are present now, by this call or before
 *
 * Stops at the first page that is present already, unless it is the first of the range.
 *
 * Return: 0 when @done grew, -EEXIST when the first page was present already (@done is one page),
 * -ENOMEM, or what userfaultfd said.
 */
int uffd_copy(const struct uffd *uffd, void *to, const void *from, uint64_t length, bool protect,
	      uint64_t *done);

/* Put a page of zeros behind a missing one. Return: 0, -EEXIST, -ENOMEM, ... */
int uffd_zero(const struct uffd *uffd, void *page);

/**
 * uffd_move() - move pages that nobody else maps; holes stay holes; who waits for them sleeps on
 * @done: bytes from the start that were moved
 *
 * Return: 0 when all is done; -EBUSY (the page at @done is in use by the kernel just now), -EEXIST
 * (the target at @done is not free), -ENOMEM, ...
 */
int uffd_move(const struct uffd *uffd, void *to, void *from, uint64_t length, uint64_t *done);

/* Write-protect what is present, or lift it and wake who waits. */
int uffd_protect(const struct uffd *uffd, void *address, uint64_t length, bool protect);

/*
 * Lift write protection for sure. A holder that has pinned a writable region may write to it
 * without a fault, so none may stay protected. Lifting takes no memory, and the range is
 * registered: it does not fail but for a moment.
 */
void uffd_unprotect(const struct uffd *uffd, void *address, uint64_t length);

/* Wake who waits for a range: it tries its access again. */
void uffd_wake(const struct uffd *uffd, void *address, uint64_t length);

#endif
