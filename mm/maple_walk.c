/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "mm/maple_walkers.h"

/* The best one first. */
static const struct maple_walker *const walkers[] = {
#ifdef MAPLE_HAS_X86_WALKERS
	&maple_walker_avx512,
	&maple_walker_avx2,
#endif
#ifdef MAPLE_HAS_NEON_WALKER
	&maple_walker_neon,
#endif
	&maple_walker_plain,
};

#define WALKERS (sizeof(walkers) / sizeof(walkers[0]))

/* Right from the start, for whoever uses a tree in a constructor of their own. */
const struct maple_walker *maple_walker = &maple_walker_plain;

__attribute__((constructor)) static void choose_walker(void)
{
#ifdef MAPLE_HAS_X86_WALKERS
	__builtin_cpu_init();
#endif
	for (unsigned int i = 0; i < WALKERS; i++) {
		if (walkers[i]->usable()) {
			maple_walker = walkers[i];
			return;
		}
	}
}

bool maple_walker_choose(const char *name)
{
	for (unsigned int i = 0; i < WALKERS; i++) {
		if (!strcmp(walkers[i]->name, name) && walkers[i]->usable()) {
			maple_walker = walkers[i];
			return true;
		}
	}
	return false;
}
