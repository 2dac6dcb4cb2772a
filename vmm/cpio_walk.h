/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_CPIO_WALK_H
#define VMM_CPIO_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Follows cpio archives in the "newc" format through a stream of bytes, header by header, as Linux
 * unpacks them (Documentation/driver-api/early-userspace/buffer-format.rst): several may follow
 * each other, with zeros in between.
 */
#define CPIO_HEADER_BYTES 110

enum cpio_state {
	CPIO_BETWEEN, /* zeros, or the next archive's magic number */
	CPIO_HEADER,
	CPIO_NAME,
	CPIO_SKIP, /* a name's padding, a file's contents */
	CPIO_BROKEN,
};

/**
 * struct cpio_walk - where it stands; all zero at the start
 * @needed: bytes until the next state
 * @archives: complete ones so far
 * @error: CPIO_BROKEN: why
 */
struct cpio_walk {
	enum cpio_state state;
	uint64_t offset;
	uint64_t needed;
	uint64_t file_bytes;
	uint32_t name_bytes;
	unsigned int archives;
	unsigned int filled;
	char header[CPIO_HEADER_BYTES + 1];
	char name[16];
	uint32_t name_at;
	const char *error;
};

/**
 * cpio_walk_feed() - go through the next bytes
 * @between: stop at a byte between archives that starts no cpio archive
 *
 * Return: how many bytes were gone through: all, unless @between or CPIO_BROKEN stopped it.
 */
size_t cpio_walk_feed(struct cpio_walk *walk, const uint8_t *bytes, size_t count, bool between);

#endif
