/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/stress_clock.h"
#include "vmm/stress_coverage.h"
#include "vmm/stress_state.h"

const char *const stress_op_names[STRESS_OPS] = {
	[STRESS_OP_PLUG] = "plug",         [STRESS_OP_UNPLUG] = "unplug",
	[STRESS_OP_REMAP] = "remap",       [STRESS_OP_PROTECT] = "protect",
	[STRESS_OP_POPULATE] = "populate", [STRESS_OP_DISCARD] = "discard",
	[STRESS_OP_REBACK] = "reback",     [STRESS_OP_BALLOON] = "balloon",
	[STRESS_OP_DIMM] = "dimm",         [STRESS_OP_VIRTIO_MEM] = "virtio-mem",
	[STRESS_OP_REFUSED] = "refused",   [STRESS_OP_INJECTED] = "injected",
};

#define PIECES_MAX 3

static int reback(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes, enum stress_memory behind,
		  struct samara_error *err)
{
	struct guest_mm_memory memory = {.kind = GUEST_MM_MEMORY_OWN, .fd = -1};
	int ret;

	if (behind == STRESS_MEMORY_HUGE)
		memory.kind = GUEST_MM_MEMORY_HUGE;
	if (behind == STRESS_MEMORY_FILE) {
		memory.kind = GUEST_MM_MEMORY_FILE;
		memory.fd = memfd_create("samara-stress", MFD_CLOEXEC);
		if (memory.fd < 0 || ftruncate(memory.fd, (off_t)size_bytes)) {
			ret = samara_error_set(err, -errno, "memfd: %s", strerror(errno));
			goto out;
		}
	}
	ret = guest_mm_reback(mm, gpa, size_bytes, &memory, err);
out:
	if (memory.fd >= 0)
		close(memory.fd);
	return ret;
}

static int call(struct guest_mm *mm, enum stress_op op, gpa_t gpa, uint64_t size_bytes,
		uint64_t argument, struct samara_error *err)
{
	switch (op) {
	case STRESS_OP_PLUG:
		return guest_mm_plug(mm, gpa, size_bytes, (unsigned int)argument, err);
	case STRESS_OP_UNPLUG:
		return guest_mm_unplug(mm, gpa, size_bytes, err);
	case STRESS_OP_REMAP:
		return guest_mm_remap(mm, gpa, size_bytes, argument, err);
	case STRESS_OP_PROTECT:
		return guest_mm_protect(mm, gpa, size_bytes, (unsigned int)argument, err);
	case STRESS_OP_POPULATE:
		return guest_mm_populate(mm, gpa, size_bytes, err);
	case STRESS_OP_DISCARD:
		return guest_mm_discard(mm, gpa, size_bytes, err);
	case STRESS_OP_REBACK:
		return reback(mm, gpa, size_bytes, (enum stress_memory)argument, err);
	default:
		return samara_error_set(err, -EINVAL, "no such operation");
	}
}

/* How often an operation may fail on purpose before it is let through. */
#define INJECTED_MAX 20

static void count(struct stress_worker *w, enum stress_op op, uint64_t ns)
{
	w->operations[op]++;
	stress_hist_add(&w->operation_ns[op], ns);
	__atomic_fetch_add(&w->stress->operations, 1, __ATOMIC_RELAXED);
}

/* One call, in the log. */
static int call_logged(struct stress_worker *w, enum stress_op op, gpa_t gpa, uint64_t size_bytes,
		       uint64_t argument, uint64_t *took_ns, struct samara_error *err)
{
	struct stress_log *log = &w->stress->log;
	uint64_t start = stress_now_ns(), end;
	uint64_t number = stress_log_begin(log, op, gpa, size_bytes, argument, start);
	int ret = call(w->stress->mm, op, gpa, size_bytes, argument, err);

	end = stress_now_ns();
	stress_log_end(log, number, end, ret);
	*took_ns = end - start;
	return ret;
}

/* ---- After a failure on purpose -------------------------------------------------------------- */

static void expect_plugged(struct stress_worker *w, enum stress_op op, gpa_t gpa,
			   uint64_t size_bytes, bool plugged)
{
	uint64_t found;
	char text[160];

	if (stress_coverage(w->stress->mm, gpa, size_bytes, plugged ? size_bytes : 0, &found))
		return;
	snprintf(text, sizeof(text),
		 "%s of %#llx, %#llx bytes, failed and left %#llx of them plugged, not %s",
		 stress_op_names[op], (unsigned long long)gpa, (unsigned long long)size_bytes,
		 (unsigned long long)found, plugged ? "all" : "none");
	stress_operation_error(w->stress, NULL, text);
}

/* The map must be as it was; what the contents are is seen at the next visit. */
static void expect_undone(struct stress_worker *w, enum stress_op op, gpa_t gpa,
			  uint64_t size_bytes, uint64_t argument)
{
	expect_plugged(w, op, gpa, size_bytes, op != STRESS_OP_PLUG);
	if (op == STRESS_OP_REMAP)
		expect_plugged(w, op, argument, size_bytes, false);
}

int stress_op(struct stress_worker *w, enum stress_op op, gpa_t gpa, uint64_t size_bytes,
	      uint64_t argument)
{
	struct samara_error err;
	uint64_t took_ns;
	int ret;

	for (unsigned int tries = 0;; tries++) {
		bool spared = tries == INJECTED_MAX;

		err = (struct samara_error){0};
		if (spared)
			inject_pause();
		ret = call_logged(w, op, gpa, size_bytes, argument, &took_ns, &err);
		if (spared)
			inject_resume();
		if (!ret) {
			count(w, op, took_ns);
			return 0;
		}
		if (spared || !inject_fails() || !inject_is_code(ret))
			break;
		count(w, STRESS_OP_INJECTED, took_ns);
		expect_undone(w, op, gpa, size_bytes, argument);
	}
	/* Not every kind of memory is to be had for each range and at any time. */
	if (op == STRESS_OP_REBACK && argument == STRESS_MEMORY_HUGE &&
	    (ret == -EOPNOTSUPP || ret == -EBUSY || ret == -EINVAL || ret == -EACCES)) {
		count(w, STRESS_OP_REFUSED, took_ns);
		return 0;
	}
	/* The guest had it, and has given it back just now. */
	if (ret == -ENOENT && w->stress->changing_gpa && gpa >= w->stress->changing_gpa) {
		count(w, STRESS_OP_REFUSED, took_ns);
		return ret;
	}
	stress_operation_error(w->stress, &err, stress_op_names[op]);
	return ret;
}

int stress_op_pieces(struct stress_worker *w, enum stress_op op, gpa_t gpa, uint64_t size_bytes,
		     uint64_t argument)
{
	uint64_t pages = size_bytes / SAMARA_PAGE_BYTES, cut[PIECES_MAX + 1] = {0};
	unsigned int pieces = 1 + (unsigned int)stress_below(&w->rng, PIECES_MAX);
	unsigned int first, i;

	if (pages < PIECES_MAX)
		pieces = 1;
	for (i = 1; i < pieces; i++)
		cut[i] = cut[i - 1] + 1 + stress_below(&w->rng, pages - cut[i - 1] - (pieces - i));
	cut[pieces] = pages;

	first = (unsigned int)stress_below(&w->rng, pieces);
	for (i = 0; i < pieces; i++) {
		unsigned int piece = (first + i) % pieces;
		uint64_t offset = cut[piece] * SAMARA_PAGE_BYTES;
		uint64_t bytes = (cut[piece + 1] - cut[piece]) * SAMARA_PAGE_BYTES;
		int ret = stress_op(w, op, gpa + offset, bytes,
				    op == STRESS_OP_REMAP ? argument + offset : argument);

		if (ret)
			return ret;
	}
	return 0;
}

void stress_op_refused(struct stress_worker *w, enum stress_op op, gpa_t gpa, uint64_t size_bytes,
		       uint64_t argument, int expected)
{
	struct samara_error err = {0};
	uint64_t took_ns;
	char text[160];
	int ret;

	/* It is for this that it has to fail. */
	inject_pause();
	ret = call_logged(w, op, gpa, size_bytes, argument, &took_ns, &err);
	inject_resume();
	if (ret == expected && err.code == expected && err.text[0]) {
		count(w, STRESS_OP_REFUSED, took_ns);
		return;
	}
	snprintf(text, sizeof(text), "%s of %#llx, %#llx bytes, had to fail with %s and gave %s",
		 stress_op_names[op], (unsigned long long)gpa, (unsigned long long)size_bytes,
		 strerror(-expected), ret ? strerror(-ret) : "success");
	stress_operation_error(w->stress, &err, text);
}

int stress_read(struct stress *s, gpa_t gpa, void *to, uint64_t bytes)
{
	int ret;

	inject_pause();
	ret = guest_mm_read(s->mm, gpa, to, bytes);
	inject_resume();
	return ret;
}

int stress_write(struct stress *s, gpa_t gpa, const void *from, uint64_t bytes)
{
	int ret;

	inject_pause();
	ret = guest_mm_write(s->mm, gpa, from, bytes);
	inject_resume();
	return ret;
}
