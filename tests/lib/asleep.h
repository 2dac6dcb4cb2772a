/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_LIB_ASLEEP_H
#define TESTS_LIB_ASLEEP_H

#include <pthread.h>

/**
 * wait_asleep() - wait until a thread waits for something
 * @thread: of this process, started already; it must not end
 *
 * For tests of what happens while a thread is held up: on a busy machine one that was just started may
 * not have got there after any fixed time. Pauses for some milliseconds at least.
 *
 * Context: Any thread but @thread itself.
 */
void wait_asleep(pthread_t thread);

#endif
