/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_IMAGE_H
#define VMM_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include <samara/error.h>
#include <samara/guest_mm.h>

/**
 * struct image - a kernel or an initrd: an open file, or bytes in memory
 * @name: for messages, NULL: there is none
 * @fd: the file, or -1
 * @memory: the bytes when @fd is -1
 * @size_bytes: its length when it was opened
 *
 * The file stays open, so that a reset can load it again when its path is gone. What it holds is
 * not trusted: it may be anything, and change at any time.
 */
struct image {
	char *name;
	int fd;
	const uint8_t *memory;
	uint64_t size_bytes;
};

/**
 * image_open() - open a file
 * @what: "kernel" or "initrd", for messages
 *
 * Return: 0, -EINVAL (no regular file, or empty), -ENOMEM, or what open() said.
 */
int image_open(struct image *image, const char *what, const char *path, struct samara_error *err);

/**
 * image_from_memory() - an image that is a part of this program
 * @memory: lives as long as @image
 *
 * Return: 0, -ENOMEM.
 */
int image_from_memory(struct image *image, const char *name, const void *memory, size_t size_bytes,
		      struct samara_error *err);

/* Close the file; memory is left alone. */
void image_close(struct image *image);

/**
 * image_read() - read bytes that must be there
 *
 * Return: 0, -EINVAL (the image ends before, or shrank), or what pread() said.
 */
int image_read(const struct image *image, uint64_t offset, void *to, size_t length_bytes,
	       struct samara_error *err);

/**
 * image_load() - read bytes that must be there into guest memory
 *
 * Return: as image_read(), and as guest_mm_pin().
 */
int image_load(const struct image *image, uint64_t offset, struct guest_mm *mm, gpa_t gpa,
	       uint64_t length_bytes, struct samara_error *err);

#endif
