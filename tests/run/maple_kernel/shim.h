/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_MAPLE_KERNEL_SHIM_H
#define TESTS_MAPLE_KERNEL_SHIM_H

/*
 * What Linux's lib/test_maple_tree.c needs to be compiled against samara's maple tree: it stands
 * for each header that it includes (tests/run/test_maple_kernel.sh). What is not so is printed as
 * "BUG FUNCTION: EXPRESSION", and the test goes on.
 */

#include <errno.h>
#include <stdio.h>

#include <samara/maple_tree.h>

#include "mm/rcu.h"

#define __init
#define __exit
#define noinline
#define CONFIG_64BIT            1
#define CONFIG_DEBUG_MAPLE_TREE 1
#define PAGE_SIZE               4096ul
#define SINGLE_DEPTH_NESTING    1
#define MAPLE_NODE_SLOTS        31 /* as in Linux: some tests are sized by it */
#define ARRAY_SIZE(a)           (sizeof(a) / sizeof((a)[0]))
#define unlikely(x)             (x)
#define cond_resched()          ((void)0)
#define pr_info(...)            ((void)0)
#define pr_err(...)             ((void)0)
#define MODULE_AUTHOR(text)
#define MODULE_DESCRIPTION(text)
#define MODULE_LICENSE(text)

/* Only looked into by a function that is never called. */
struct maple_node {
	void *parent;
	void *slot[1];
};

typedef struct {
	unsigned int value;
} atomic_t;

#define atomic_inc(a)  ((a)->value++)
#define atomic_read(a) ((a)->value)

static atomic_t maple_tree_tests_run, maple_tree_tests_passed;

#define MT_BUG_ON(tree, what)                                    \
	do {                                                     \
		atomic_inc(&maple_tree_tests_run);               \
		if (what)                                        \
			printf("BUG %s: %s\n", __func__, #what); \
		else                                             \
			atomic_inc(&maple_tree_tests_passed);    \
	} while (0)
#define MT_WARN_ON(tree, what)   MT_BUG_ON(tree, what)
#define MAS_BUG_ON(mas, what)    MT_BUG_ON(mas, what)
#define MAS_WARN_ON(mas, what)   MT_BUG_ON(mas, what)
#define BUG_ON(what)             MT_BUG_ON(NULL, what)

#define mt_dump(tree, format)    ((void)0)
#define mas_dump(mas)            ((void)0)
#define mt_validate(tree)        MT_BUG_ON(tree, (mt_validate)(tree))

/* Its own allocator, which samara's tree does not have. */
#define mt_cache_shrink()        ((void)0)
#define mt_set_non_kernel(count) ((void)0)
#define mt_zero_nr_tallocated()  ((void)0)
#define mt_nr_tallocated()       0u
#define mt_nr_allocated()        0u
#define mt_get_alloc_size()      0ul

#define rcu_read_lock()          samara_rcu_read_lock()
#define rcu_read_unlock()        samara_rcu_read_unlock()
/* Nothing of the tree waits for grace periods, so the test need not either. */
#define rcu_barrier()            ((void)0)

/* One thread: the locks of the trees that bring their own need not lock. */
struct rw_semaphore {
	int unused;
};

#define DECLARE_RWSEM(name)               struct rw_semaphore name = {0}
#define init_rwsem(lock)                  ((void)(lock))
#define down_write(lock)                  ((void)(lock))
#define down_write_nested(lock, subclass) ((void)(lock))
#define up_write(lock)                    ((void)(lock))

#define module_init(function)                                               \
	int main(void)                                                      \
	{                                                                   \
		function();                                                 \
		printf("%u of %u\n", atomic_read(&maple_tree_tests_passed), \
		       atomic_read(&maple_tree_tests_run));                 \
		return 0;                                                   \
	}
#define module_exit(function)

#endif
