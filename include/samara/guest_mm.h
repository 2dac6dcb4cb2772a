/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef SAMARA_GUEST_MM_H
#define SAMARA_GUEST_MM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include <samara/error.h>
#include <samara/types.h>

/*
 * The guest memory manager: which guest-physical addresses (gpa) are memory, what may be done
 * there, and when pages appear behind them.
 *
 * At start the owner reserves host address space in a few windows, each a fixed linear mapping of
 * a gpa range that a hypervisor takes as one memslot. Afterwards neither windows nor memslots
 * change. Regions are finer: they live in an RCU maple tree, and pages are populated under a
 * region's lock alone, by userfaultfd handler threads that the manager owns.
 */
struct guest_mm;

enum guest_mm_backing {
	GUEST_MM_ANON,  /* private anonymous memory */
	GUEST_MM_MEMFD, /* a memfd, mapped shared: other processes can map it too */
};

/* What a guest may do with a region. */
#define GUEST_MM_READ  1u
#define GUEST_MM_WRITE 2u
#define GUEST_MM_RDWR  (GUEST_MM_READ | GUEST_MM_WRITE)

/**
 * struct guest_mm_config - how a guest_mm is made; all zero is a good default
 * @fault_threads: userfaultfd handler threads, 0: one per online CPU, at most 4
 * @fault_around_pages: pages populated per fault at most, a power of two, 0: 512 (2 MiB)
 * @copy_only: never use UFFDIO_MOVE; a remap then write-protects and copies
 */
struct guest_mm_config {
	unsigned int fault_threads;
	unsigned int fault_around_pages;
	bool copy_only;
};

/**
 * guest_mm_create() - make a guest_mm without windows, and start its fault handlers
 * @config: NULL for the defaults
 *
 * Context: May sleep, starts threads.
 * Return: 0, -EINVAL (@config), -ENOMEM, -EPERM or -EACCES (no permission for a userfaultfd that
 * catches faults of the kernel), -ENOSYS (no userfaultfd), -EOPNOTSUPP (one without what is
 * needed).
 */
int guest_mm_create(const struct guest_mm_config *config, struct guest_mm **out,
		    struct samara_error *err);

/**
 * guest_mm_destroy() - stop the handlers, give all memory back
 *
 * Context: May sleep. No pin is held, no other thread uses @mm or touches its windows; a
 * hypervisor that had them as memslots is closed.
 */
void guest_mm_destroy(struct guest_mm *mm);

/**
 * guest_mm_add_window() - reserve host address space for a gpa range
 * @gpa: first address, page aligned
 * @size_bytes: length, page aligned, not 0
 *
 * No memory is committed. Windows do not overlap and are never removed.
 *
 * Context: May sleep. Before vCPUs run; not concurrently with any other call on @mm.
 * Return: 0, -EINVAL (alignment, overflow, 0), -EEXIST (overlaps a window), -ENOSPC (too many
 * windows), -ENOMEM, or what userfaultfd said.
 */
int guest_mm_add_window(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes,
			enum guest_mm_backing backing, struct samara_error *err);

/**
 * struct guest_mm_window - one window, for a hypervisor's memslot
 * @gpa: first guest-physical address
 * @size_bytes: length
 * @hva: host address of @gpa
 * @fd: the memfd behind it, or -1; its offset 0 is @gpa
 */
struct guest_mm_window {
	gpa_t gpa;
	uint64_t size_bytes;
	void *hva;
	int fd;
	enum guest_mm_backing backing;
};

/**
 * guest_mm_get_window() - describe the window of that index
 *
 * Return: 0, -ENOENT when there are not so many.
 */
int guest_mm_get_window(const struct guest_mm *mm, unsigned int index,
			struct guest_mm_window *window);

/*
 * Operations. Ranges are page aligned and not empty. Each is atomic as a whole: on any error the
 * map is as it was, and the error names the range and the reason. Errors common to all:
 *
 *   -EINVAL     not page aligned, empty, or past the end of the address space
 *   -ERANGE     not inside one window
 *   -EEXIST     (part of) the target is plugged already
 *   -ENOENT     (part of) the range is not plugged
 *   -EOPNOTSUPP read-only, or remap, in shared memory that this kernel cannot write-protect
 *   -ENOMEM, or what the host said
 *
 * "As it was" is which addresses are memory, with what contents and protection; where memory is so
 * short that not even cut regions can be united again, they stay listed as neighbours.
 *
 * Context: May sleep; any thread that holds no pin. They take the tree's lock for writing, lock
 * the regions that they change, and wait for the readers (faults, pins) of those alone.
 */

/**
 * guest_mm_plug() - make a range memory: it reads as zeros until written
 * @prot: GUEST_MM_RDWR or GUEST_MM_READ
 */
int guest_mm_plug(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes, unsigned int prot,
		  struct samara_error *err);

/**
 * guest_mm_unplug() - make a range no memory; its pages are given back to the host
 *
 * The range must be plugged from end to end, over as many regions as it takes. When it returns, no
 * vCPU and no device reaches the old pages.
 */
int guest_mm_unplug(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes, struct samara_error *err);

/**
 * guest_mm_remap() - move a range to another gpa, contents and protections kept
 * @new_gpa: page aligned; the target is free and does not overlap the source
 *
 * Both ranges lie in windows of the same backing.
 * Return: also -EXDEV (the windows differ in their backing).
 */
int guest_mm_remap(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes, gpa_t new_gpa,
		   struct samara_error *err);

/**
 * guest_mm_protect() - change what a guest may do with a plugged range
 * @prot: GUEST_MM_RDWR or GUEST_MM_READ
 *
 * A vCPU that writes where only GUEST_MM_READ is allowed is held, as if the access took long, until
 * the range is made writable or unplugged; guest_mm_let_go() ends that for all. When the call
 * returns with GUEST_MM_READ, the contents no longer change.
 */
int guest_mm_protect(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes, unsigned int prot,
		     struct samara_error *err);

/**
 * guest_mm_populate() - have every page of a plugged range present
 *
 * Context: May sleep, holds no pin; takes no lock for writing, holds one region at a time.
 */
int guest_mm_populate(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes,
		      struct samara_error *err);

/**
 * guest_mm_discard() - give the pages of a plugged range back to the host
 *
 * The regions stay; the next access finds zeros.
 */
int guest_mm_discard(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes, struct samara_error *err);

/* Pins. */
#define GUEST_MM_PIN_REGIONS 8

/**
 * struct guest_mm_pin - a range that the host may access until guest_mm_unpin()
 * @iov: host addresses of the range in order, one element per region
 * @iov_count: how many elements are used
 *
 * The other fields are the manager's own.
 */
struct guest_mm_pin {
	struct iovec iov[GUEST_MM_PIN_REGIONS];
	unsigned int iov_count;
	struct guest_mm *mm;
	void *regions[GUEST_MM_PIN_REGIONS];
	void *slots[GUEST_MM_PIN_REGIONS];
};

/**
 * guest_mm_pin() - hold a range of guest memory for a device's or the host's own access (DMA)
 * @gpa: first byte, any alignment
 * @length_bytes: not 0
 * @write: whether the host will write
 *
 * Its pages are populated before they are held, so an access through @pin never faults. Its
 * regions stay plugged, at their place and with their protection, until guest_mm_unpin(); an
 * operation that wants them waits.
 *
 * Context: May sleep. A thread that holds pins already never waits for an operation: it gets
 * -EAGAIN, lets its pins go and starts again.
 * Return: 0; -EFAULT (not memory, or @write where only reading is allowed), -EINVAL (length 0 or
 * overflow), -E2BIG (more than GUEST_MM_PIN_REGIONS regions), -EAGAIN, -ENOMEM.
 */
int guest_mm_pin(struct guest_mm *mm, gpa_t gpa, uint64_t length_bytes, bool write,
		 struct guest_mm_pin *pin);

/**
 * guest_mm_unpin() - end a pin
 *
 * Context: Does not sleep. The thread that pinned.
 */
void guest_mm_unpin(struct guest_mm_pin *pin);

/**
 * guest_mm_read() - copy from guest memory, over any number of regions
 *
 * Not atomic over several regions. Context and errors as for guest_mm_pin().
 */
int guest_mm_read(struct guest_mm *mm, gpa_t gpa, void *to, uint64_t length_bytes);

/**
 * guest_mm_write() - copy to guest memory, over any number of regions
 */
int guest_mm_write(struct guest_mm *mm, gpa_t gpa, const void *from, uint64_t length_bytes);

/* Faults. */
#define GUEST_MM_FAULT_WRITE   1u /* the access is a write */
#define GUEST_MM_FAULT_PROTECT 2u /* the page is present and write-protected */
#define GUEST_MM_FAULT_NOWAIT  4u /* do not wait for an operation in progress */

enum guest_mm_fault_result {
	GUEST_MM_FAULT_DONE,    /* the page is present, the access can go on */
	GUEST_MM_FAULT_NOTHING, /* nothing is plugged there; a page that forgets is there now */
	GUEST_MM_FAULT_HELD,    /* a write where only reading is allowed: the access waits */
	GUEST_MM_FAULT_BUSY,    /* NOWAIT, and an operation may be changing the address */
};

/**
 * guest_mm_fault() - the one place where a stage-2 fault is resolved
 * @gpa: the address of the access
 * @flags: GUEST_MM_FAULT_*
 *
 * Called by the manager's own handler threads, and by vCPU threads on hosts whose kernel reports
 * the address of a fault. An access to nothing reads zeros; what is written there is forgotten
 * within GUEST_MM_STRAY_MS.
 *
 * Context: May sleep without GUEST_MM_FAULT_NOWAIT; then the caller holds no pin.
 * Return: enum guest_mm_fault_result; -ERANGE (outside all windows), or what userfaultfd said.
 */
int guest_mm_fault(struct guest_mm *mm, gpa_t gpa, unsigned int flags);

#define GUEST_MM_STRAY_MS 10

/**
 * guest_mm_let_go() - hold no write any more, so that vCPUs can end
 *
 * Writes to read-only regions, held ones and later ones, go through. Where KVM emulates
 * instructions, a vCPU that is held does not heed signals (it retries the fault within KVM_RUN), so
 * this is how its thread can be joined; its last write lands.
 *
 * Context: Any thread; does not sleep for long.
 */
void guest_mm_let_go(struct guest_mm *mm);

/**
 * guest_mm_hold_again() - hold writes to read-only regions again
 *
 * Context: May sleep; any thread that holds no pin. Takes the tree's lock for writing and waits for
 * the readers of the read-only regions.
 * Return: 0, or what userfaultfd said: then writes are held in some of them only.
 */
int guest_mm_hold_again(struct guest_mm *mm, struct samara_error *err);

/**
 * struct guest_mm_region - one region in a listing
 * @populated_pages: pages present when it was looked at
 */
struct guest_mm_region {
	gpa_t gpa;
	uint64_t size_bytes;
	unsigned int prot;
	enum guest_mm_backing backing;
	uint64_t populated_pages;
	bool locked; /* an operation is changing it */
};

/**
 * guest_mm_for_each_region() - list the regions in ascending order
 * @visit: called for each; a value other than 0 ends the listing and is returned
 *
 * Regions that come or go meanwhile are shown or not; those that stay are shown once.
 *
 * Context: Waits for nobody and delays nobody. @visit runs in an RCU read-side section: it must
 * not sleep for long, nor call operations on @mm.
 */
int guest_mm_for_each_region(struct guest_mm *mm,
			     int (*visit)(const struct guest_mm_region *region, void *arg),
			     void *arg);

/**
 * struct guest_mm_stats - counters since creation; each is summed from per-thread parts when read
 */
struct guest_mm_stats {
	const char *lock; /* the LOCK= variant: "region", "single" */
	uint64_t regions, windows, plugged_bytes, populated_bytes;
	uint64_t plugs, unplugs, remaps, protects, failed_operations;
	uint64_t faults, fault_pages, fault_write_protect;
	uint64_t faults_deferred; /* met an operation, waited aside */
	uint64_t faults_nothing;  /* accesses to what is not plugged */
	uint64_t faults_held;     /* writes held at a read-only region */
	uint64_t last_nothing_gpa;
	uint64_t pins;
	/* The fast path: as CONFIG_PER_VMA_LOCK_STATS counts it. */
	uint64_t lock_success, lock_abort, lock_retry, lock_miss;
	uint64_t lock_wait_ns; /* readers' time behind operations, after an abort */
};

void guest_mm_get_stats(struct guest_mm *mm, struct guest_mm_stats *stats);

#endif
