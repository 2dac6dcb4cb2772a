/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_TERMINAL_H
#define VMM_TERMINAL_H

#include <stdbool.h>

/*
 * The terminal on standard input: raw while the guest's console is on it. There is one per process;
 * the functions lock among themselves and may be called from any thread. The janitor knows of every
 * change, so the terminal is set back also when samara dies.
 */

/**
 * terminal_take() - make it raw, if samara is in its foreground
 *
 * Does nothing when it is raw already.
 * Return: whether it is raw now, so that samara may read it.
 */
bool terminal_take(void);

/**
 * terminal_release() - set it back as it was before terminal_take()
 *
 * For a while only (job control) or for good; terminal_take() makes it raw again.
 */
void terminal_release(void);

/* terminal_release() before a stop, and terminal_take() after it if it had been taken. */
void terminal_suspend(void);
void terminal_resume(void);

#endif
