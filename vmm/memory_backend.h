/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_MEMORY_BACKEND_H
#define VMM_MEMORY_BACKEND_H

#include <stdbool.h>
#include <stdint.h>

#include <samara/error.h>
#include <samara/guest_mm.h>

enum memory_backend_kind {
	MEMORY_BACKEND_RAM,   /* whatever is behind the VM's memory */
	MEMORY_BACKEND_MEMFD, /* a memfd, which others can map if it is shared */
	MEMORY_BACKEND_FILE,  /* a file: its contents, or, shared, itself */
};

/**
 * struct memory_backend_config - what QMP's object-add names
 * @size_bytes: a multiple of the page size, not 0
 * @share: others shall be able to map it, and a file gets what the guest writes
 * @prealloc: its pages are there at once when it is plugged
 * @huge: of huge pages (hugetlb)
 * @discard: a shared file is emptied when it is unplugged
 * @path: MEMORY_BACKEND_FILE
 * @placement: on the host's NUMA nodes; all zero: as the VM's memory
 */
struct memory_backend_config {
	enum memory_backend_kind kind;
	const char *id;
	uint64_t size_bytes;
	bool share, prealloc, huge, discard;
	const char *path;
	struct guest_mm_placement placement;
};

/**
 * struct memory_backend - memory of some size that waits for a device to give it a place
 *
 * Immutable but for @next and @used, which are memory_devices' own.
 *
 * All guest memory lies in windows reserved at start, and their kind was chosen then; so a backend
 * reserves nothing, it says what the device's range shall be like. Where that is another file than the
 * window's, or another NUMA policy, the range is rebacked when it is plugged, and becomes the
 * window's own again before it is unplugged.
 */
struct memory_backend {
	struct memory_backend_config config; /* its strings are copies */
	int fd;                              /* its file, or -1: the window's memory */
	bool own_memory;                     /* the range is rebacked */
	struct memory_backend *next;
	bool used;
};

/**
 * memory_backend_create() - check that such a backend can be, and make it
 * @windows: what is behind the VM's memory
 *
 * Context: May sleep.
 * Return: 0, -EINVAL (size), -EOPNOTSUPP (the VM's memory is of a kind that can't have it, or it is no
 * regular file), -ENODEV (a file system that can't share with guests, or no such NUMA node), -ENOMEM,
 * or what open() said; the text names the backend.
 */
int memory_backend_create(const struct memory_backend_config *config, enum guest_mm_backing windows,
			  struct memory_backend **out, struct samara_error *err);

void memory_backend_destroy(struct memory_backend *backend);

/* As QMP names its type. */
const char *memory_backend_type(const struct memory_backend *backend);

/**
 * memory_backend_plug() - plug a range that is as the backend says
 *
 * Context: May sleep; holds no pin.
 * Return: 0, or what guest_mm_plug(), guest_mm_reback() and read() said; nothing is plugged then.
 */
int memory_backend_plug(const struct memory_backend *backend, struct guest_mm *mm, gpa_t gpa,
			struct samara_error *err);

/**
 * memory_backend_unplug() - unplug what memory_backend_plug() plugged; a shared file keeps its contents
 *
 * Context: May sleep; holds no pin.
 * Return: 0, or what guest_mm_reback() and guest_mm_unplug() said: it is plugged then, and can be
 * unplugged again.
 */
int memory_backend_unplug(const struct memory_backend *backend, struct guest_mm *mm, gpa_t gpa,
			  struct samara_error *err);

#endif
