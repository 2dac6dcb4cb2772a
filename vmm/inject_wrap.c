/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The calls that --inject can strike. The program samara is linked with --wrap for each (Makefile,
 * WRAPPED): the linker turns our own code's f() into __wrap_f(), and __real_f() is the library's.
 * So libraries are not touched, libsamara-mm knows nothing of it, and there is one place to look
 * at. Test programs have their own in tests/lib/interpose.c.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <linux/kvm.h>

#include "mm/uffd_abi.h"
#include "vmm/inject.h"

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
void *__wrap_mremap(void *old, size_t old_length, size_t length, int flags, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);

static inline bool struck(enum inject_place place)
{
	int code = inject_strike(place);

	if (code)
		errno = code;
	return code != 0;
}

void *__wrap_malloc(size_t size)
{
	return struck(INJECT_ALLOC) ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return struck(INJECT_ALLOC) ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
	return struck(INJECT_ALLOC) ? NULL : __real_realloc(old, size);
}

int __wrap_posix_memalign(void **out, size_t alignment, size_t size)
{
	int code = inject_strike(INJECT_ALLOC);

	return code ? code : __real_posix_memalign(out, alignment, size);
}

void *__wrap_mmap(void *address, size_t length, int prot, int flags, int fd, off_t offset)
{
	if (struck(INJECT_MMAP))
		return MAP_FAILED;
	return __real_mmap(address, length, prot, flags, fd, offset);
}

int __wrap_madvise(void *address, size_t length, int advice)
{
	return struck(INJECT_MADVISE) ? -1 : __real_madvise(address, length, advice);
}

int __wrap_fallocate(int fd, int mode, off_t offset, off_t length)
{
	return struck(INJECT_FALLOCATE) ? -1 : __real_fallocate(fd, mode, offset, length);
}

void *__wrap_mremap(void *old, size_t old_length, size_t length, int flags, ...)
{
	void *address = NULL;
	va_list args;

	if (struck(INJECT_MREMAP))
		return MAP_FAILED;
	if (flags & MREMAP_FIXED) {
		va_start(args, flags);
		address = va_arg(args, void *);
		va_end(args);
	}
	return __real_mremap(old, old_length, length, flags, address);
}

/* INJECT_PLACES: none. */
static enum inject_place place_of(unsigned long request)
{
	switch (request) {
	case UFFDIO_COPY:
		return INJECT_UFFD_COPY;
	case UFFDIO_ZEROPAGE:
		return INJECT_UFFD_ZERO;
	case UFFDIO_MOVE:
		return INJECT_UFFD_MOVE;
	case UFFDIO_WRITEPROTECT:
		return INJECT_UFFD_PROTECT;
	case UFFDIO_WAKE:
		return INJECT_UFFD_WAKE;
	case KVM_RUN:
		return INJECT_KVM_RUN;
	case KVM_CREATE_VM:
	case KVM_CREATE_VCPU:
	case KVM_SET_USER_MEMORY_REGION:
	case KVM_SET_CPUID2:
	case KVM_SET_SREGS:
	case KVM_SET_REGS:
		return INJECT_KVM_SETUP;
	default:
		return INJECT_PLACES;
	}
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	enum inject_place place;
	void *argument;
	va_list args;

	va_start(args, request);
	argument = va_arg(args, void *);
	va_end(args);
	if (__builtin_expect(!__atomic_load_n(&inject_armed, __ATOMIC_RELAXED), 1))
		return __real_ioctl(fd, request, argument);
	place = place_of(request);
	if (place != INJECT_PLACES && struck(place))
		return -1;
	return __real_ioctl(fd, request, argument);
}
