/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef GUEST_AGENT_ABI_H
#define GUEST_AGENT_ABI_H

/*
 * What the agent in a Linux guest and `samara stress --guest linux` say to each other, over the
 * guest's second serial port: lines of printable ASCII. A word, then KEY=VALUE in this order,
 * numbers as in C. The host trusts none of it (vmm/stress_linux_agent.c).
 *
 *   hello version=1 cpus=N mmio=0|1 mem=0|1 balloon=0|1 release=TEXT
 *		The first line: CPUs that are online, drivers that are there, the kernel's release.
 *   own gpa=N bytes=N
 *		Memory of its own that the host may write-protect for a while, in pieces.
 *   ready	From here on it uses memory.
 *   count tsc=N checked=N written=N released=N faults=N visits=N least=N errors=N total=N
 *		Once a second: the time-stamp counter; since the start: bytes checked, written, given
 *		back, page faults, visits to areas, the fewest visits of a thread, wrong words; the
 *		memory that the kernel has just now, in bytes.
 *   touch BUCKET:N ...
 *		First touches since the last such line by their time in TSC cycles (stress_bucket()).
 *   wrong kind=NAME cpu=N va=N gpa=N generation=N expected=N found=N
 *		One of the first AGENT_WRONG_LINES wrong words; gpa 0: it is not to be told.
 *   fail TEXT	It can't go on.
 *   done	After "stop" and a last check of everything. The guest powers off.
 *
 * The host says "stop", and no more.
 */
#define AGENT_VERSION       1u
#define AGENT_LINE_BYTES    512u
#define AGENT_PORT          "/dev/ttyS1"
#define AGENT_STOP          "stop"
#define AGENT_OWN_PAGES     64u
#define AGENT_WRONG_LINES   64u
#define AGENT_TOUCH_PAIRS   24u

/* Its modules, in the order in which they are loaded. */
#define AGENT_MODULE_FOLDER "/modules"
#define AGENT_MODULES                                                                   \
	{                                                                               \
		"virtio", "virtio_ring", "virtio_mmio", "virtio_mem", "virtio_balloon", \
	}

/* What a wrong word was: the names of "kind". */
#define AGENT_KIND_FRESH   "fresh"   /* a page that was given anew was not zero */
#define AGENT_KIND_PATTERN "pattern" /* contents were not kept */
#define AGENT_KIND_OWN     "own"     /* a counter in memory that is write-protected at times */

#endif
