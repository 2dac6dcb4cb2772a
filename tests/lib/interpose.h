/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_LIB_INTERPOSE_H
#define TESTS_LIB_INTERPOSE_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Makes calls fail that our own code makes into the C library and the kernel. Test programs are
 * linked with --wrap for each of them (Makefile, WRAPPED), so the libraries' own calls, and a
 * sanitizer's allocator, are not touched. Off until asked for.
 */
enum interpose_call {
	INTERPOSE_MALLOC = 1 << 0, /* malloc, calloc, realloc, posix_memalign */
	INTERPOSE_MMAP = 1 << 1,
	INTERPOSE_MADVISE = 1 << 2,
	INTERPOSE_FALLOCATE = 1 << 3,
	INTERPOSE_COPY = 1 << 4,     /* ioctl(UFFDIO_COPY) */
	INTERPOSE_ZEROPAGE = 1 << 5, /* ioctl(UFFDIO_ZEROPAGE) */
	INTERPOSE_MOVE = 1 << 6,     /* ioctl(UFFDIO_MOVE) */
	INTERPOSE_PROTECT = 1 << 7,  /* ioctl(UFFDIO_WRITEPROTECT) */
	INTERPOSE_REGISTER = 1 << 8, /* ioctl(UFFDIO_REGISTER) */
	INTERPOSE_MREMAP = 1 << 9,
	INTERPOSE_ALL = (1 << 10) - 1,
};

/**
 * interpose_fail_nth() - the @nth of those calls that this thread makes from now on fails
 * @calls: any of enum interpose_call
 * @nth: from 1
 * @times: how many in a row, 0: all from the @nth on
 * @code: the errno, 0: one that fits the call
 */
void interpose_fail_nth(unsigned int calls, unsigned long nth, unsigned long times, int code);

/* How many calls failed since, and end it. */
unsigned long interpose_end(void);

/**
 * interpose_fail_randomly() - in all threads, one of @odds of those calls fails; 0 odds end it
 */
void interpose_fail_randomly(unsigned int calls, unsigned int odds);

/* How many calls interpose_fail_randomly() made fail so far. */
unsigned long interpose_failures(void);

/**
 * interpose_count() - how many of those calls were made, by all threads, so far
 * @call: one of enum interpose_call
 */
unsigned long interpose_count(enum interpose_call call);

/**
 * typedef interpose_ioctl_fn - answer an ioctl() of our own code in the kernel's place, or let it go
 * @ret: what it returns, with errno
 *
 * Return: whether it is answered.
 */
typedef bool interpose_ioctl_fn(int fd, unsigned long request, void *argument, int *ret);

/* Have all threads' calls looked at; NULL ends it. Context: nobody makes one just now. */
void interpose_ioctl(interpose_ioctl_fn *answer);

#endif
