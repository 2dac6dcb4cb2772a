/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "mm/maple_internal.h"
#include "tests/lib/maple_test.h"

static const char *const walkers[] = {"plain", "avx2", "avx512", "neon"};

static const struct {
	const char *name;
	unsigned int flags;
} kinds[] = {
	{"plain tree", 0},
	{"gaps", MT_FLAGS_ALLOC_RANGE},
	{"RCU", MT_FLAGS_USE_RCU},
	{"RCU, gaps, external lock",
	 MT_FLAGS_USE_RCU | MT_FLAGS_ALLOC_RANGE | MT_FLAGS_LOCK_EXTERN},
	{"snapshots", MT_FLAGS_SNAPSHOT},
	{"RCU, snapshots", MT_FLAGS_USE_RCU | MT_FLAGS_SNAPSHOT},
	{"RCU, snapshots, gaps", MT_FLAGS_USE_RCU | MT_FLAGS_SNAPSHOT | MT_FLAGS_ALLOC_RANGE},
};

#define WALKERS (sizeof(walkers) / sizeof(walkers[0]))
#define KINDS   (sizeof(kinds) / sizeof(kinds[0]))

static int setup(void **state)
{
	struct maple_variant *v = *state;

	maple_alloc_hook = NULL;
	maple_poison_nodes = true;
	mt_init_flags(&v->tree, v->flags);
	return maple_walker_choose(v->walker) ? 0 : -1;
}

static int teardown(void **state)
{
	struct maple_variant *v = *state;

	maple_alloc_hook = NULL;
	/* A test that failed may have left it locked. */
	pthread_mutex_trylock(&v->tree.ma_lock);
	pthread_mutex_unlock(&v->tree.ma_lock);
	mtree_destroy(&v->tree);
	maple_poison_nodes = false;
	return mtree_empty(&v->tree) ? 0 : -1;
}

int maple_test_run(const char *group, const struct maple_test *tests, unsigned int count)
{
	struct maple_variant *variants = calloc(count * WALKERS * KINDS, sizeof(*variants));
	struct CMUnitTest *all = calloc(count * WALKERS * KINDS, sizeof(*all));
	size_t number = 0;
	int failed = 1;

	if (!variants || !all) {
		printf("Bail out! no memory\n");
		goto out;
	}
	for (size_t w = 0; w < WALKERS; w++) {
		if (!maple_walker_choose(walkers[w])) {
			printf("# search variant %s: not on this CPU\n", walkers[w]);
			continue;
		}
		for (size_t k = 0; k < KINDS; k++) {
			for (unsigned int t = 0; t < count; t++, number++) {
				struct maple_variant *v = &variants[number];

				v->walker = walkers[w];
				v->flags = kinds[k].flags;
				snprintf(v->name, sizeof(v->name), "%s (%s; %s)", tests[t].name,
					 kinds[k].name, walkers[w]);
				all[number] = (struct CMUnitTest){v->name, tests[t].run, setup,
								  teardown, v};
			}
		}
	}
	failed = _cmocka_run_group_tests(group, all, number, NULL, NULL);
out:
	free(all);
	free(variants);
	return failed;
}

void assert_tree(struct maple_tree *mt, const struct maple_model *m)
{
	char why[256];

	if (!maple_driver_equal(mt, m, why, sizeof(why))) {
		print_error("%s\n", why);
		fail();
	}
}

void store_both(struct maple_tree *mt, struct maple_model *m, unsigned long first,
		unsigned long last, void *entry)
{
	assert_int_equal(mtree_store_range(mt, first, last, entry, GFP_KERNEL), 0);
	assert_int_equal(mt_validate(mt), 0);
	maple_model_store(m, first, last, entry);
}

void fill_both(struct maple_tree *mt, struct maple_model *m, unsigned int count)
{
	for (unsigned long i = 0; i < count; i++)
		store_both(mt, m, i * 20, i * 20 + 9, entry_of(i));
}
