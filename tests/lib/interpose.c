/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "mm/uffd_abi.h"
#include "tests/lib/interpose.h"

/* The linker turns our code's f() into __wrap_f(), and __real_f() is the library's. */
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
int __real_posix_memalign(void **out, size_t alignment, size_t size);
void *__real_mmap(void *address, size_t length, int prot, int flags, int fd, off_t offset);
int __real_madvise(void *address, size_t length, int advice);
int __real_fallocate(int fd, int mode, off_t offset, off_t length);
void *__real_mremap(void *old, size_t old_length, size_t length, int flags, void *address);
int __real_ioctl(int fd, unsigned long request, void *argument);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
int __wrap_posix_memalign(void **out, size_t alignment, size_t size);
void *__wrap_mmap(void *address, size_t length, int prot, int flags, int fd, off_t offset);
int __wrap_madvise(void *address, size_t length, int advice);
int __wrap_fallocate(int fd, int mode, off_t offset, off_t length);
void *__wrap_mremap(void *old, size_t old_length, size_t length, int flags, void *address);
int __wrap_ioctl(int fd, unsigned long request, ...);

/* This thread's order. */
static __thread struct {
	unsigned int calls;
	unsigned long nth, times, seen, failed;
	int code;
} order;

/* Everybody's: atomic. */
static unsigned int random_calls, random_odds;
static unsigned long random_failures;
static unsigned long counts[10];

static interpose_ioctl_fn *ioctl_answer;

static __thread uint64_t dice;

static bool thrown(unsigned int odds)
{
	static uint64_t next_seed = 1;

	if (!dice)
		dice = __atomic_fetch_add(&next_seed, 1, __ATOMIC_RELAXED) * 0x9e3779b97f4a7c15u;
	/* xorshift64: G. Marsaglia, "Xorshift RNGs", 2003 */
	dice ^= dice << 13;
	dice ^= dice >> 7;
	dice ^= dice << 17;
	return (dice >> 16) % odds == 0;
}

/* Whether this call is to fail: the errno, or 0. */
static int verdict(enum interpose_call call, int fitting)
{
	unsigned int odds = __atomic_load_n(&random_odds, __ATOMIC_RELAXED);

	__atomic_fetch_add(&counts[__builtin_ctz(call)], 1, __ATOMIC_RELAXED);
	if (order.calls & call && ++order.seen >= order.nth &&
	    (!order.times || order.seen < order.nth + order.times)) {
		order.failed++;
		return order.code ? order.code : fitting;
	}
	if (odds && __atomic_load_n(&random_calls, __ATOMIC_RELAXED) & call && thrown(odds)) {
		__atomic_fetch_add(&random_failures, 1, __ATOMIC_RELAXED);
		return fitting;
	}
	return 0;
}

static bool fails(enum interpose_call call, int fitting)
{
	int code = verdict(call, fitting);

	if (code)
		errno = code;
	return code != 0;
}

void interpose_fail_nth(unsigned int calls, unsigned long nth, unsigned long times, int code)
{
	order.nth = nth;
	order.times = times;
	order.seen = order.failed = 0;
	order.code = code;
	order.calls = calls;
}

unsigned long interpose_end(void)
{
	order.calls = 0;
	return order.failed;
}

void interpose_fail_randomly(unsigned int calls, unsigned int odds)
{
	__atomic_store_n(&random_calls, calls, __ATOMIC_RELAXED);
	__atomic_store_n(&random_odds, odds, __ATOMIC_RELAXED);
}

unsigned long interpose_failures(void)
{
	return __atomic_load_n(&random_failures, __ATOMIC_RELAXED);
}

unsigned long interpose_count(enum interpose_call call)
{
	return __atomic_load_n(&counts[__builtin_ctz(call)], __ATOMIC_RELAXED);
}

void interpose_ioctl(interpose_ioctl_fn *answer)
{
	__atomic_store_n(&ioctl_answer, answer, __ATOMIC_RELEASE);
}

void *__wrap_malloc(size_t size)
{
	return fails(INTERPOSE_MALLOC, ENOMEM) ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return fails(INTERPOSE_MALLOC, ENOMEM) ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
	return fails(INTERPOSE_MALLOC, ENOMEM) ? NULL : __real_realloc(old, size);
}

int __wrap_posix_memalign(void **out, size_t alignment, size_t size)
{
	return verdict(INTERPOSE_MALLOC, ENOMEM) ? ENOMEM
						 : __real_posix_memalign(out, alignment, size);
}

void *__wrap_mmap(void *address, size_t length, int prot, int flags, int fd, off_t offset)
{
	return fails(INTERPOSE_MMAP, ENOMEM)
		       ? MAP_FAILED
		       : __real_mmap(address, length, prot, flags, fd, offset);
}

int __wrap_madvise(void *address, size_t length, int advice)
{
	return fails(INTERPOSE_MADVISE, ENOMEM) ? -1 : __real_madvise(address, length, advice);
}

int __wrap_fallocate(int fd, int mode, off_t offset, off_t length)
{
	return fails(INTERPOSE_FALLOCATE, ENOSPC) ? -1 : __real_fallocate(fd, mode, offset, length);
}

void *__wrap_mremap(void *old, size_t old_length, size_t length, int flags, void *address)
{
	return fails(INTERPOSE_MREMAP, ENOMEM)
		       ? MAP_FAILED
		       : __real_mremap(old, old_length, length, flags, address);
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	va_list args;
	interpose_ioctl_fn *answer = __atomic_load_n(&ioctl_answer, __ATOMIC_ACQUIRE);
	void *argument;
	bool failed = false;
	int ret;

	va_start(args, request);
	argument = va_arg(args, void *);
	va_end(args);
	if (answer && answer(fd, request, argument, &ret))
		return ret;
	switch (request) {
	case UFFDIO_COPY:
		failed = fails(INTERPOSE_COPY, ENOMEM);
		break;
	case UFFDIO_ZEROPAGE:
		failed = fails(INTERPOSE_ZEROPAGE, ENOMEM);
		break;
	case UFFDIO_MOVE:
		failed = fails(INTERPOSE_MOVE, EBUSY);
		break;
	case UFFDIO_WRITEPROTECT:
		failed = fails(INTERPOSE_PROTECT, ENOMEM);
		break;
	case UFFDIO_REGISTER:
		failed = fails(INTERPOSE_REGISTER, ENOMEM);
		break;
	default:
		break;
	}
	return failed ? -1 : __real_ioctl(fd, request, argument);
}
