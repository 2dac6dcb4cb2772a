/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_CTL_STATS_H
#define VMM_CTL_STATS_H

#include <stdbool.h>

/**
 * ctl_is_watch() - whether the words after "stats" ask for it again and again
 */
bool ctl_is_watch(int count, char **words);

/**
 * ctl_watch() - samara ctl SOCKET stats --watch [SECONDS] [--json]: counters and their rates between
 * two readings, until it is interrupted
 * @path: the control socket
 *
 * SIGINT or SIGTERM end the process with status 0, between two readings.
 *
 * Return: the exit status; only when something is wrong.
 */
int ctl_watch(const char *path, int count, char **words);

#endif
