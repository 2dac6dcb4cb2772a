/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_LIB_MAPLE_DRIVER_STEPS_H
#define TESTS_LIB_MAPLE_DRIVER_STEPS_H

#include "tests/lib/maple_driver.h"

/*
 * What the parts of the driver share: maple_driver.c makes the choices and runs the sequence,
 * maple_driver_simple.c uses the simple interface, maple_driver_states.c the states.
 */

#define DRIVER_STATES 3u

/**
 * struct driver - a sequence while it runs
 * @mas, @expected: states, and what they should be
 * @stale: something was stored since, by other means
 */
struct driver {
	const struct maple_driver_options *options;
	struct maple_driver_result *result;
	struct maple_input *in;
	struct maple_tree tree;
	struct maple_model *model;
	struct ma_state mas[DRIVER_STATES];
	struct maple_model_state expected[DRIVER_STATES];
	bool stale[DRIVER_STATES];
};

/* Write a call to the log. */
__attribute__((format(printf, 2, 3))) void driver_say(const struct driver *d, const char *format,
						      ...);
/* Note what is not so, the first time. Return: false. */
bool driver_failed(struct driver *d, const char *file, int line, const char *what);

#define check(what)                                                         \
	do {                                                                \
		if (!(what))                                                \
			return driver_failed(d, __FILE__, __LINE__, #what); \
	} while (0)

/* Choices: a number below @n; where operations meet; what to store. */
unsigned long driver_number(struct driver *d, unsigned long n);
unsigned long driver_index(struct driver *d);
struct maple_range driver_range(struct driver *d);
void *driver_entry(struct driver *d);
/* The entry that only states store may be among them. */
void *driver_advanced_entry(struct driver *d);

/* What the model has at an index. */
void *driver_expected(const struct driver *d, unsigned long index);
/* The tree stored: the model follows, and states are stale. */
void driver_stored(struct driver *d, const struct maple_range *r, void *entry);

/* Now and then have allocations fail, from one of the next on, until driver_feed(). */
void driver_starve(struct driver *d);
/* Whether an operation may have ended so. */
bool driver_feed(struct driver *d, int ret);
/* For maple_alloc_hook: how many more succeed. */
extern long driver_allocations_left;
bool driver_fail_from(void);

/* One operation each. Return: whether all was as it should be. */
bool driver_step_store(struct driver *d);
bool driver_step_erase(struct driver *d);
bool driver_step_alloc(struct driver *d);
bool driver_step_alloc_cyclic(struct driver *d);
bool driver_step_find(struct driver *d);
bool driver_step_move(struct driver *d);
bool driver_step_mas_store(struct driver *d);
bool driver_step_preallocated(struct driver *d);
bool driver_step_expected(struct driver *d);
bool driver_step_empty_area(struct driver *d);

#endif
