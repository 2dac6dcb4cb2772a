/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_JANITOR_H
#define VMM_JANITOR_H

#include <termios.h>

#include <samara/error.h>

/*
 * The janitor is a process of a few pages that outlives samara by a millisecond. When samara ends,
 * by whatever cause, SIGKILL included, it sets the terminal back and removes the files it was
 * told of. It sits in a session of its own, so what a terminal or a shell sends to samara's process
 * group does not reach it.
 *
 * All functions but janitor_start() may be called from any thread, and do nothing when there is no
 * janitor.
 */

/**
 * janitor_start() - fork the janitor
 *
 * Context: Before any thread is started. Descriptors that are open now are closed in the janitor,
 * but standard input if it is a terminal.
 * Return: 0, -errno (no process or socket to be had).
 */
int janitor_start(struct samara_error *err);

/**
 * janitor_expect_socket() - have a socket's file removed that is about to be bound
 * @path: where; nothing is there now
 *
 * Which file it will be cannot be told yet. So at samara's end it is removed only if it is a socket
 * that nobody listens on, looked at under socket_file_lock(): bind and listen under that lock, and
 * call janitor_watch_path() then, or janitor_unwatch_path() when it came to nothing.
 *
 * Return: 0, -ENAMETOOLONG, or that the janitor cannot be told.
 */
int janitor_expect_socket(const char *path);

/**
 * janitor_watch_path() - have a file removed at samara's end
 * @path: a socket or file that exists; it is removed only as long as it is the same file (device
 *        and inode number)
 *
 * Call it right after open(), or when the socket that was expected listens. A relative path counts from the current directory.
 * Return: 0, -ENOENT and the like (no such file), -ENAMETOOLONG.
 */
int janitor_watch_path(const char *path);

/**
 * janitor_unwatch_path() - forget a path: samara removed it, or it shall stay
 */
void janitor_unwatch_path(const char *path);

/**
 * janitor_watch_terminal() - have the terminal on standard input set back at samara's end
 * @saved: the attributes to set
 * @ours: set back only if the terminal has these then
 *
 * NULL for both: forget it.
 */
void janitor_watch_terminal(const struct termios *saved, const struct termios *ours);

/**
 * janitor_stop() - let the janitor do what is left to do, and wait until it is gone
 *
 * Context: May sleep, for a few milliseconds.
 */
void janitor_stop(void);

#endif
