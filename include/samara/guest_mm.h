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
	GUEST_MM_ANON,         /* private anonymous memory */
	GUEST_MM_MEMFD,        /* a memfd, mapped shared: other processes can map it too */
	GUEST_MM_HUGETLB,      /* the same of reserved huge pages: ranges are aligned to 2 MiB */
	GUEST_MM_FILE_SHARED,  /* a file of tmpfs or hugetlbfs: it is the memory */
	GUEST_MM_FILE_PRIVATE, /* any file that can be read: the guest gets a copy */
};

/* What a guest may do with a region. */
#define GUEST_MM_READ         1u
#define GUEST_MM_WRITE        2u
#define GUEST_MM_RDWR         (GUEST_MM_READ | GUEST_MM_WRITE)

#define GUEST_MM_SLOW_HOLDERS 8

/**
 * struct guest_mm_holder - who holds guest memory
 * @thread: its kernel thread id (gettid), 0: not known
 * @gpa, @size_bytes: what it holds, in whole pages
 */
struct guest_mm_holder {
	int thread;
	gpa_t gpa;
	uint64_t size_bytes;
};

/**
 * struct guest_mm_slow_operation - an operation that has not got its range for a long time
 * @operation: "unplug", "remap", ...
 * @holders: how many hold parts of the range; @holder has the first GUEST_MM_SLOW_HOLDERS of them.
 *           0: it is at work, or the lock design does not know its holders
 */
struct guest_mm_slow_operation {
	const char *operation;
	gpa_t gpa;
	uint64_t size_bytes;
	uint64_t waited_ms;
	unsigned int holders;
	struct guest_mm_holder holder[GUEST_MM_SLOW_HOLDERS];
};

/**
 * struct guest_mm_config - how a guest_mm is made; all zero is a good default
 * @fault_threads: userfaultfd handler threads, 0: one per online CPU, at most 4
 * @userfaultfds: how many each window is divided among, 0: as many as handler threads, at most 64
 * @fault_around_pages: pages populated per fault at most, a power of two, 0: 512 (2 MiB)
 * @copy_only: never use UFFDIO_MOVE; a remap then write-protects and copies
 * @free_handlers: let the handler threads run on any CPU; else each is kept on one of those that the
 *                 creating thread may use, in turns
 * @no_huge_pages: populate anonymous memory with pages of 4 KiB only
 * @slow_operation: NULL, or called while an operation waits for holders (pins) of its range for more
 *                  than @slow_ms, and again each time that long has passed; by a thread of the
 *                  manager's own, which must not call operations
 * @slow_ms: 0: 1000
 * @slow_arg: for @slow_operation
 * @first_nothing: NULL, or called once, when an address where nothing is plugged was accessed for
 *                 the first time (@faults_nothing counts them all); by the same thread, on the same
 *                 terms
 * @nothing_arg: for @first_nothing
 */
struct guest_mm_config {
	unsigned int fault_threads;
	unsigned int userfaultfds;
	unsigned int fault_around_pages;
	bool copy_only;
	bool free_handlers;
	bool no_huge_pages;
	void (*slow_operation)(const struct guest_mm_slow_operation *slow, void *arg);
	unsigned int slow_ms;
	void *slow_arg;
	void (*first_nothing)(gpa_t gpa, void *arg);
	void *nothing_arg;
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

/* Which of the host's NUMA nodes pages come from. */
enum guest_mm_numa {
	GUEST_MM_NUMA_ANY,        /* as the host sees fit: that of the thread that populates */
	GUEST_MM_NUMA_PREFER,     /* these while they have memory; several take Linux 5.15 */
	GUEST_MM_NUMA_BIND,       /* these and no other */
	GUEST_MM_NUMA_INTERLEAVE, /* these in turns */
};

/**
 * struct guest_mm_placement - where the host shall take memory
 * @nodes: a bit for each node, from node 0 on; none with GUEST_MM_NUMA_ANY
 */
struct guest_mm_placement {
	enum guest_mm_numa numa;
	uint64_t nodes;
};

/**
 * struct guest_mm_window_config - what a window is to be
 * @gpa: first address, page aligned
 * @size_bytes: length, page aligned, not 0
 * @fd: for GUEST_MM_FILE_*: the file; the caller may close it afterwards
 * @offset_bytes: for GUEST_MM_FILE_*: where @gpa is in it, page aligned
 * @placement: all zero: anywhere
 */
struct guest_mm_window_config {
	gpa_t gpa;
	uint64_t size_bytes;
	enum guest_mm_backing backing;
	int fd;
	uint64_t offset_bytes;
	struct guest_mm_placement placement;
};

/**
 * guest_mm_add_window_config() - reserve host address space for a gpa range
 *
 * No memory is committed. Windows do not overlap and are never removed.
 *
 * A shared file is made empty there: what is plugged is zeros, as in any other window. What is
 * plugged into a window of a private file has the file's contents, each time it is plugged.
 *
 * Context: May sleep. Before vCPUs run; not concurrently with any other call on @mm.
 * Return: 0, -EINVAL (alignment, overflow, 0, a file too short), -EEXIST (overlaps a window),
 * -ENOSPC (too many windows), -ENOMEM (also: no huge pages), -ENODEV (no such NUMA node, or a
 * shared file on a file system that userfaultfd cannot watch), -EACCES, or what the host said.
 */
int guest_mm_add_window_config(struct guest_mm *mm, const struct guest_mm_window_config *config,
			       struct samara_error *err);

/**
 * guest_mm_add_window() - the same for the kinds of backing that need no more than this
 * @gpa: first address, page aligned
 * @size_bytes: length, page aligned, not 0
 */
int guest_mm_add_window(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes,
			enum guest_mm_backing backing, struct samara_error *err);

/**
 * struct guest_mm_window - one window, for a hypervisor's memslot
 * @gpa: first guest-physical address
 * @size_bytes: length
 * @hva: host address of @gpa
 * @fd: the shared file behind it, or -1; @gpa is at @offset_bytes
 * @page_bytes: what operations in it have to be aligned to
 */
struct guest_mm_window {
	gpa_t gpa;
	uint64_t size_bytes;
	void *hva;
	int fd;
	uint64_t offset_bytes;
	uint64_t page_bytes;
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
 *   -EINVAL     not aligned to the window's pages, empty, or past the end of the address space
 *   -ERANGE     not inside one window
 *   -EEXIST     (part of) the target is plugged already
 *   -ENOENT     (part of) the range is not plugged
 *   -EOPNOTSUPP read-only, or remap, in shared memory that this kernel cannot write-protect
 *   -EDQUOT     more would be plugged than guest_mm_set_limit() allows
 *   -ENOMEM, or what the host said
 *
 * "As it was" is which addresses are memory, with what contents and protection; where memory is so
 * short that not even cut regions can be united again, they stay listed as neighbours.
 *
 * Context: May sleep; any thread that holds no pin. They take the tree's lock for writing, lock
 * the regions that they change, and wait for the readers (faults, pins) of those alone.
 */

/**
 * guest_mm_plug() - make a range memory: it reads as zeros until written, or as the window's file
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
 * Both ranges lie in windows of the same backing. Memory of a file stays at its place in the file.
 * Return: also -EXDEV (the windows differ in their backing), -EOPNOTSUPP (a file's).
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
 * guest_mm_discard() - give the pages of a plugged range back to the host; it stays plugged
 *
 * Its contents are lost: a later access finds zeros. When it returns, no vCPU and no device reaches
 * the old pages. Cheap enough to be called for single pages, and often (a balloon).
 *
 * Return: also -EACCES (part of the range is read-only, and what is does not change).
 */
int guest_mm_discard(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes, struct samara_error *err);

/**
 * guest_mm_lend() - guest_mm_discard() of pages that the guest will not use for now (a balloon's)
 *
 * Until they are taken back, a fault beside them does not bring them along.
 *
 * Return: as guest_mm_discard().
 */
int guest_mm_lend(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes, struct samara_error *err);

/**
 * guest_mm_take_back() - what was lent of a range is the guest's again, who will use it
 * @gpa, @size_bytes: page aligned; what of it was not lent, or is no memory, is passed over
 *
 * Context: Any thread, but not beside guest_mm_lend() of the same range; does not sleep.
 */
void guest_mm_take_back(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes);

/**
 * guest_mm_populate() - have every page of a plugged range present
 *
 * Context: May sleep, holds no pin; takes no lock for writing, holds one region at a time.
 */
int guest_mm_populate(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes,
		      struct samara_error *err);

/* Which memory shall be behind a range. */
enum guest_mm_memory_kind {
	GUEST_MM_MEMORY_FILE, /* a file of tmpfs (a memfd), from an offset on */
	GUEST_MM_MEMORY_OWN,  /* the window's own again */
	GUEST_MM_MEMORY_HUGE, /* the same, in huge pages where 2 MiB are whole */
	GUEST_MM_MEMORY_NODE, /* the same, on a NUMA node; pages that come later are the window's */
};

/**
 * struct guest_mm_memory - what guest_mm_reback() puts behind a range
 * @fd: for GUEST_MM_MEMORY_FILE; the caller may close it afterwards
 * @offset_bytes: of the range's first byte in it, page aligned; what is there is overwritten
 * @node: for GUEST_MM_MEMORY_NODE
 * @placement: for a file and the window's own: of pages that come from now on; all zero: a file's
 *             anywhere, the window's own as the window's
 * @bare: for a file and the window's own: memory is exchanged, contents are not. The range has what
 *        the file holds, or zeros, and a file that was behind it keeps what it holds. Memory that is
 *        behind it already stays as it is
 */
struct guest_mm_memory {
	enum guest_mm_memory_kind kind;
	int fd;
	uint64_t offset_bytes;
	unsigned int node;
	struct guest_mm_placement placement;
	bool bare;
};

/**
 * guest_mm_reback() - have other memory behind a plugged range, contents kept unless it is bare
 *
 * vCPUs and devices go on meanwhile. A file stays behind the addresses, over unplug and plug, until
 * they are rebacked again. Files change a mapping of the process, so everybody's faults in it wait
 * for a moment; the other kinds do not, and what they changed before an error stays changed.
 *
 * Return: also -ENODEV (no such node; a file that userfaultfd cannot watch), -EBUSY (the kernel
 * uses some page just now), -EACCES (huge pages where memory is read-only), -EOPNOTSUPP.
 */
int guest_mm_reback(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes,
		    const struct guest_mm_memory *memory, struct samara_error *err);

enum guest_mm_op_kind {
	GUEST_MM_OP_PLUG,
	GUEST_MM_OP_UNPLUG,
	GUEST_MM_OP_REMAP,
	GUEST_MM_OP_PROTECT,
	GUEST_MM_OP_DISCARD,
	GUEST_MM_OP_REBACK,
};

#define GUEST_MM_BATCH_MAX 1024u

/**
 * struct guest_mm_op - one operation of a batch, with the arguments of the function of its name
 */
struct guest_mm_op {
	enum guest_mm_op_kind op;
	gpa_t gpa;
	uint64_t size_bytes;
	gpa_t new_gpa;                        /* remap */
	unsigned int prot;                    /* plug, protect */
	const struct guest_mm_memory *memory; /* reback */
};

/**
 * guest_mm_batch() - do several operations, or none
 * @count: up to GUEST_MM_BATCH_MAX
 *
 * No two of them touch the same address; a remap touches its source and its target. Nobody sees
 * a part of them done in what it holds: all regions are locked until all is done. What makes pages
 * huge, or a node's, and is followed by an error, may leave them so: the guest does not see it.
 *
 * Return: also -EINVAL (two overlap), -E2BIG; the error names the operation.
 */
int guest_mm_batch(struct guest_mm *mm, const struct guest_mm_op *list, size_t count,
		   struct samara_error *err);

/**
 * guest_mm_set_limit() - how many bytes may be plugged at most; UINT64_MAX: any
 *
 * A plug beyond it fails with -EDQUOT. It counts what is plugged, not what is populated: what is
 * plugged the guest may populate at any time, so no fault ever meets the limit.
 *
 * Return: 0, -EDQUOT (more is plugged already).
 */
int guest_mm_set_limit(struct guest_mm *mm, uint64_t bytes, struct samara_error *err);

/**
 * struct guest_mm_usage - memory in a range, in pages of 4 KiB
 * @populated_pages: present
 * @shared_pages: of these, in files that other processes can map
 * @huge_pages: of these, parts of huge pages as the kernel has them mapped (Linux 6.7)
 * @discarded_pages: discarded, and not populated since
 */
struct guest_mm_usage {
	uint64_t regions;
	uint64_t plugged_pages, populated_pages, shared_pages, huge_pages, discarded_pages;
};

/**
 * guest_mm_get_usage() - what a range, or with 0 and UINT64_MAX & -4096 everything, takes
 * @gpa, @size_bytes: page aligned; need not be plugged
 *
 * Context: Waits for nobody. What changes meanwhile is counted or not.
 * Return: 0, -EINVAL.
 */
int guest_mm_get_usage(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes,
		       struct guest_mm_usage *usage, struct samara_error *err);

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
 * @discarded_pages: pages discarded and not present since
 */
struct guest_mm_region {
	gpa_t gpa;
	uint64_t size_bytes;
	unsigned int prot;
	enum guest_mm_backing backing;
	uint64_t populated_pages;
	uint64_t discarded_pages;
	bool locked; /* an operation is changing it */
};

/**
 * guest_mm_for_each_region() - list the regions in ascending order
 * @visit: called for each; a value other than 0 ends the listing and is returned
 *
 * It is a picture of one moment: what it shows was there all at once, however long @visit takes. Of
 * an operation that is on its way at that moment it shows how far it is: its regions are locked, those
 * that move are at both places. Counts of pages are those of the moment when the region is visited.
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
	const char *lock; /* the LOCK= variant: "region", "single", ... */
	uint64_t regions, windows, plugged_bytes, populated_bytes;
	uint64_t tree_nodes,
		tree_bytes; /* the region tree's nodes; its memory, with what is kept for more */
	uint64_t plugs, unplugs, remaps, protects, discards, rebacks, failed_operations;
	uint64_t discarded_pages, limit_bytes;
	uint64_t faults, fault_pages, fault_write_protect;
	uint64_t faults_deferred; /* met an operation, waited aside */
	uint64_t faults_nothing;  /* accesses to what is not plugged */
	uint64_t faults_held;     /* writes held at a read-only region */
	uint64_t fault_errors;    /* the host had no page, or failed otherwise: tried again later */
	uint64_t last_nothing_gpa;
	uint64_t pins;
	/* The fast path: as CONFIG_PER_VMA_LOCK_STATS counts it. */
	uint64_t lock_success, lock_abort, lock_retry, lock_miss;
	uint64_t lock_wait_ns; /* readers' time behind operations, after an abort */
};

void guest_mm_get_stats(struct guest_mm *mm, struct guest_mm_stats *stats);

#endif
