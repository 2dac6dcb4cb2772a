/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SAMARA_BENCH_MAPLE_COMPANION_H
#define SAMARA_BENCH_MAPLE_COMPANION_H

#include <stdbool.h>

/*
 * The second thread: one for the whole run, on a CPU of its own, so that what it keeps per thread is
 * kept. It works only between companion_begin() and companion_end().
 */

/* What it does, until *stop. It sets *running when its loop goes. */
typedef void companion_work(void *arg, bool *running, const bool *stop);

/* Whether there are two CPUs to run on. 0 or -errno; -ENODEV: there is only one. */
int companion_start(void);
/* Returns when the work goes; both threads are then on CPUs of their own. */
void companion_begin(companion_work *work, void *arg);
/* Returns when it has stopped. Whether it had its CPU to itself all the time. */
bool companion_end(void);
/* How often the calling thread was put off its CPU so far. */
long companion_preemptions(void);

#endif
