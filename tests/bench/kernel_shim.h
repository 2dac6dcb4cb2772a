/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SAMARA_BENCH_KERNEL_SHIM_H
#define SAMARA_BENCH_KERNEL_SHIM_H

/*
 * What Linux 6.12's lib/maple_tree.c and include/linux/maple_tree.h need of the rest of the kernel,
 * in user space. Each header they include is this one (the Makefile makes the forwarding files).
 *
 * RCU is liburcu's "bp" flavour, inlined, as in mm/rcu.h; barriers cost what the kernel's do on the
 * same processor; the spinlock is a pthread mutex, as samara's tree has one; nodes come from
 * kernel_nodes.c. Tracing, lock checking and symbol exports are nothing.
 */

#ifndef _LGPL_SOURCE
#define _LGPL_SOURCE
#endif
#include <urcu/urcu-bp.h>

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef unsigned int gfp_t;
typedef uint8_t u8;

/* ---- Compiler ------------------------------------------------------------------------------- */

#define __rcu
#define __init
#define __maybe_unused __attribute__((unused))
#define __must_hold(lock)
#define __must_check __attribute__((warn_unused_result))
#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif
#define noinline           __attribute__((__noinline__))
#define noinline_for_kasan __attribute__((__noinline__))
#define fallthrough        __attribute__((fallthrough))
#define likely(x)          __builtin_expect(!!(x), 1)
#define unlikely(x)        __builtin_expect(!!(x), 0)
#define READ_ONCE(x)       (*(const volatile __typeof__(x) *)&(x))
#define WRITE_ONCE(x, v)   (*(volatile __typeof__(x) *)&(x) = (v))
#define BIT(n)             (1UL << (n))
#define BITS_PER_LONG      64
#define CONFIG_64BIT       1
#define PAGE_SIZE          4096UL
#define ARRAY_SIZE(a)      (sizeof(a) / sizeof((a)[0]))
#define DIV_ROUND_UP(n, d) (((n) + (d)-1) / (d))
#define min(a, b)          ((a) < (b) ? (a) : (b))
#define max(a, b)          ((a) > (b) ? (a) : (b))
#define EXPORT_SYMBOL(name)
#define EXPORT_SYMBOL_GPL(name)

#define swap(a, b)                        \
	do {                              \
		__typeof__(a) _old = (a); \
		(a) = (b);                \
		(b) = _old;               \
	} while (0)

#define container_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

/* ---- Bugs: said, and counted as an error by whoever reads the output ---------------------------- */

#define BUG_ON(condition)                                                                 \
	do {                                                                              \
		if (unlikely(condition)) {                                                \
			fprintf(stderr, "kernel maple tree: BUG at line %d\n", __LINE__); \
			__builtin_trap();                                                 \
		}                                                                         \
	} while (0)
#define BUG() BUG_ON(1)
#define WARN_ON(condition)                                                                    \
	({                                                                                    \
		bool _warned = (condition);                                                   \
		if (unlikely(_warned))                                                        \
			fprintf(stderr, "kernel maple tree: warning at line %d\n", __LINE__); \
		_warned;                                                                      \
	})
#define WARN_ON_ONCE(condition) WARN_ON(condition)
#define WARN(condition, ...)    WARN_ON(condition)
#define pr_err(...)             fprintf(stderr, __VA_ARGS__)
#define pr_info(...)            fprintf(stderr, __VA_ARGS__)
#define pr_cont(...)            fprintf(stderr, __VA_ARGS__)

/* ---- Tracing and lock checking -------------------------------------------------------------- */

#define tracepoint_string(s)    (s)
#define trace_ma_op(...)        ((void)0)
#define trace_ma_read(...)      ((void)0)
#define trace_ma_write(...)     ((void)0)
#define lock_is_held(lock)      1
#define lockdep_is_held(lock)   1

/* ---- Ordering and RCU ----------------------------------------------------------------------- */

#define smp_rmb()               __atomic_thread_fence(__ATOMIC_ACQUIRE)
#define smp_wmb()               __atomic_thread_fence(__ATOMIC_RELEASE)
#define smp_mb()                __atomic_thread_fence(__ATOMIC_SEQ_CST)

/* liburcu names its own after the kernel's. */
#undef rcu_dereference
#undef rcu_assign_pointer
#undef rcu_read_lock
#undef rcu_read_unlock
#undef call_rcu
#define rcu_dereference(p)              __atomic_load_n(&(p), __ATOMIC_CONSUME)
#define rcu_dereference_check(p, c)     rcu_dereference(p)
#define rcu_dereference_protected(p, c) (p)
#define rcu_dereference_raw(p)          rcu_dereference(p)
#define rcu_assign_pointer(p, v)        __atomic_store_n(&(p), (v), __ATOMIC_RELEASE)
#define RCU_INIT_POINTER(p, v)          WRITE_ONCE(p, v)
#define rcu_read_lock()                 urcu_bp_read_lock()
#define rcu_read_unlock()               urcu_bp_read_unlock()
#define call_rcu(head, func)            urcu_bp_call_rcu((head), (func))

/* ---- Locks ---------------------------------------------------------------------------------- */

typedef pthread_mutex_t spinlock_t;

#define __SPIN_LOCK_UNLOCKED(name)  PTHREAD_MUTEX_INITIALIZER
#define spin_lock_init(lock)        pthread_mutex_init((lock), NULL)
#define spin_lock(lock)             pthread_mutex_lock(lock)
#define spin_lock_nested(lock, sub) pthread_mutex_lock(lock)
#define spin_unlock(lock)           pthread_mutex_unlock(lock)
#define SINGLE_DEPTH_NESTING        1

/* ---- Memory --------------------------------------------------------------------------------- */

#define GFP_KERNEL                  1u
#define GFP_NOWAIT                  2u
#define __GFP_NOWARN                4u
#define SLAB_PANIC                  1u

static inline bool gfpflags_allow_blocking(gfp_t gfp)
{
	return gfp & GFP_KERNEL;
}

struct kmem_cache;

struct kmem_cache *kmem_cache_create(const char *name, unsigned int size, unsigned int align,
				     unsigned int flags, void (*constructor)(void *));
void *kmem_cache_alloc(struct kmem_cache *cache, gfp_t gfp);
int kmem_cache_alloc_bulk(struct kmem_cache *cache, gfp_t gfp, size_t count, void **objects);
void kmem_cache_free(struct kmem_cache *cache, void *object);
void kmem_cache_free_bulk(struct kmem_cache *cache, size_t count, void **objects);
/* Objects that were taken and not given back. Nobody allocates or frees meanwhile. */
long kmem_live_objects(void);

/* ---- Entries: the encodings of include/linux/xarray.h ------------------------------------------ */

static inline void *xa_mk_value(unsigned long value)
{
	return (void *)(value << 1 | 1);
}

static inline unsigned long xa_to_value(const void *entry)
{
	return (unsigned long)entry >> 1;
}

static inline bool xa_is_value(const void *entry)
{
	return (unsigned long)entry & 1;
}

static inline void *xa_mk_internal(unsigned long value)
{
	return (void *)(value << 2 | 2);
}

static inline unsigned long xa_to_internal(const void *entry)
{
	return (unsigned long)entry >> 2;
}

static inline bool xa_is_internal(const void *entry)
{
	return ((unsigned long)entry & 3) == 2;
}

#define MAX_ERRNO      4095ul
#define XA_RETRY_ENTRY xa_mk_internal(256)
#define XA_ZERO_ENTRY  xa_mk_internal(257)

static inline bool xa_is_zero(const void *entry)
{
	return entry == XA_ZERO_ENTRY;
}

static inline bool xa_is_node(const void *entry)
{
	return xa_is_internal(entry) && (unsigned long)entry > 4096;
}

static inline bool xa_is_advanced(const void *entry)
{
	return xa_is_internal(entry) && entry <= XA_RETRY_ENTRY;
}

static inline bool xa_is_err(const void *entry)
{
	return xa_is_internal(entry) &&
	       (unsigned long)entry >= (unsigned long)xa_mk_internal(-MAX_ERRNO);
}

static inline int xa_err(void *entry)
{
	return xa_is_err(entry) ? (long)entry >> 2 : 0;
}

#endif
