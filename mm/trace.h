/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MM_TRACE_H
#define MM_TRACE_H

/*
 * Static probes (USDT) of the memory manager, provider "samara": docs/tracing.md says how to use
 * them. Each is one no-operation in the code and a note in the ELF file that tells tracers where it
 * is and where its arguments are; nothing is computed for them. Where <sys/sdt.h> is missing, or with
 * -DSAMARA_TRACE=0, there are none.
 *
 *   lock_try(tree, first, last)          a try got these addresses, inclusive
 *   lock_abort(tree)                     a try met an operation, or could not tell
 *   lock_wait(tree, ns)                  a reader that had been aborted waited for operations so long
 *   fault_begin(gpa, flags)              GUEST_MM_FAULT_*; first try or a later one
 *   fault_resolved(gpa, flags, result)   by the same thread: enum guest_mm_fault_result or -errno
 *   fault_deferred(gpa, flags, result)   it is parked and tried again: it met an operation
 *                                        (GUEST_MM_FAULT_BUSY) or a protection (GUEST_MM_FAULT_HELD)
 *   plug(gpa, size_bytes, prot)          an operation was asked for: GUEST_MM_READ, GUEST_MM_WRITE
 *   unplug(gpa, size_bytes)
 *   remap(gpa, size_bytes, new_gpa)
 *   protect(gpa, size_bytes, prot)
 *   reback(gpa, size_bytes)
 *   operation_end(result)                by the same thread, once for a batch: 0 or -errno
 *   drain_begin(tree), drain_end(tree)   a writer waits for the readers of what it marked
 *   discard(gpa, size_bytes)             pages are about to be given back to the host
 *
 * tree is the id of a region tree: in samara, guest memory's, MMIO's and port I/O's.
 */

#ifndef SAMARA_TRACE
#if defined(__has_include)
#if __has_include(<sys/sdt.h>)
#define SAMARA_TRACE 1
#endif
#endif
#endif

#if defined(SAMARA_TRACE) && SAMARA_TRACE
#include <sys/sdt.h>
#define SAMARA_PROBE1(name, a)       DTRACE_PROBE1(samara, name, a)
#define SAMARA_PROBE2(name, a, b)    DTRACE_PROBE2(samara, name, a, b)
#define SAMARA_PROBE3(name, a, b, c) DTRACE_PROBE3(samara, name, a, b, c)
#else
#define SAMARA_PROBE1(name, a)       ((void)(a))
#define SAMARA_PROBE2(name, a, b)    ((void)(a), (void)(b))
#define SAMARA_PROBE3(name, a, b, c) ((void)(a), (void)(b), (void)(c))
#endif

#endif
