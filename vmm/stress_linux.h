/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_STRESS_LINUX_H
#define VMM_STRESS_LINUX_H

#include "vmm/stress.h"

/*
 * `samara stress --guest linux`: a stock kernel with guest/agent.c as its init, whose threads use
 * memory as programs do. The host does what a kernel does not notice, to any of its memory, and
 * what its drivers take part in.
 */

/* What operators do where nobody has chosen; the others are 0. */
void stress_linux_default_mix(unsigned int weight[STRESS_MIXES]);

/**
 * stress_linux_check() - whether options make a run with a Linux guest
 *
 * Return: 0; -EINVAL with the option by name.
 */
int stress_linux_check(const struct stress_options *options, struct samara_error *err);

/* As stress_run(), for options that stress_check_options() has accepted. */
int stress_linux_run(const struct stress_options *options, const struct stress_watcher *watcher,
		     const volatile int *interrupt, struct stress_result *result,
		     struct samara_error *err);

#endif
