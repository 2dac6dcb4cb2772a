/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_COMMANDS_H
#define VMM_COMMANDS_H

/*
 * The commands of samara. Each gets its arguments with "samara COMMAND" as argv[0], and returns the
 * exit status: 0, SAMARA_EXIT_FAILURE with one line on standard error, or SAMARA_EXIT_USAGE.
 */
#define SAMARA_EXIT_FAILURE 1 /* what was asked for could not be done */
#define SAMARA_EXIT_USAGE   2 /* the command line is wrong */

int cmd_run(int argc, char **argv);
int cmd_ctl(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_stress(int argc, char **argv);

#endif
