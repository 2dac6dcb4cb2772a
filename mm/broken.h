/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MM_BROKEN_H
#define MM_BROKEN_H

/*
 * Faults put in on purpose, one at a time, so that tests can be seen to find them: `make
 * BREAK=drain|lock|barrier|discard|reback` builds a samara with one of them into a folder of its own.
 * They are 0 in everything else.
 */

/* A writer does not wait for the readers of what it changes. */
#ifndef BROKEN_DRAIN
#define BROKEN_DRAIN 0
#endif

/* A reader does not look whether a writer has the region. */
#ifndef BROKEN_LOCK
#define BROKEN_LOCK 0
#endif

/*
 * A reader's slot is seen after it has looked for a writer, as it may without the barrier between.
 * A CPU whose store buffer is nearly always empty does that too seldom for a test, so the order is
 * changed in the code, and the store comes as late as from a full buffer: some hundred ns.
 */
#ifndef BROKEN_BARRIER
#define BROKEN_BARRIER 0
#endif
#define BROKEN_STORE_BUFFER 16u

/* An unplug leaves its pages where they are. */
#ifndef BROKEN_DISCARD
#define BROKEN_DISCARD 0
#endif

/*
 * Memory is copied to what comes behind it, and can be written until that has come: what is written
 * meanwhile is lost. It takes a guest that writes to memory which is rebacked just then, as a Linux
 * kernel does.
 */
#ifndef BROKEN_REBACK
#define BROKEN_REBACK 0
#endif

#endif
