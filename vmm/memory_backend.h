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
	MEMORY_BACKEND_FILE,  /* a file's contents; what the guest writes stays with the guest */
};

/**
 * struct memory_backend_config - what QMP's object-add names
 * @size_bytes: a multiple of the page size, not 0
 * @share: others shall be able to map it
 * @prealloc: its pages are there at once when it is plugged
 * @path: MEMORY_BACKEND_FILE
 */
struct memory_backend_config {
	enum memory_backend_kind kind;
	const char *id;
	uint64_t size_bytes;
	bool share, prealloc;
	const char *path;
};

/**
 * struct memory_backend - memory of some size that waits for a device to give it a place
 *
 * Immutable but for @next and @used, which are memory_devices' own.
 *
 * All guest memory lies in windows reserved at start, and their kind was chosen then; so a backend
 * reserves nothing, it says what the device's range shall be like.
 */
struct memory_backend {
	struct memory_backend_config config; /* its strings are copies */
	int fd;                              /* MEMORY_BACKEND_FILE, else -1 */
	struct memory_backend *next;
	bool used;
};

/**
 * memory_backend_create() - check that such a backend can be, and make it
 * @windows: what is behind the VM's memory
 *
 * Context: May sleep.
 * Return: 0, -EINVAL (size), -EOPNOTSUPP (it can't be shared, or is no regular file), -ENOMEM, or
 * what open() said; the text names the backend.
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
 * Return: 0, or what guest_mm_plug() and read() said; nothing is plugged then.
 */
int memory_backend_plug(const struct memory_backend *backend, struct guest_mm *mm, gpa_t gpa,
			struct samara_error *err);

#endif
