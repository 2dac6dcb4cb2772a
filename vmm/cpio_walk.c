/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/cpio_walk.h"

#include <string.h>

/* Offsets of the eight-digit fields in a header (cpio(5), "New ASCII Format"). */
#define FIELD_FILE_BYTES 54
#define FIELD_NAME_BYTES 94

#define TRAILER          "TRAILER!!!"

/* Linux's PATH_MAX: it skips an entry with a longer name, and no real archive has one. */
#define NAME_MAX_BYTES   4096

static bool parse_field(const char *field, uint32_t *value)
{
	*value = 0;
	for (unsigned int i = 0; i < 8; i++) {
		char c = field[i];
		unsigned int digit;

		if (c >= '0' && c <= '9')
			digit = c - '0';
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			digit = (c | 0x20) - 'a' + 10;
		else
			return false;
		*value = *value << 4 | digit;
	}
	return true;
}

static uint32_t padding(uint64_t bytes)
{
	return -bytes & 3;
}

static void break_off(struct cpio_walk *walk, const char *error)
{
	walk->state = CPIO_BROKEN;
	walk->error = error;
}

static void expect_header(struct cpio_walk *walk)
{
	walk->state = CPIO_HEADER;
	walk->filled = 0;
	walk->needed = CPIO_HEADER_BYTES;
}

static void end_header(struct cpio_walk *walk)
{
	uint32_t file_bytes;

	/* 070702 has checksums in a field that we need not read. */
	if (memcmp(walk->header, "070701", 6) && memcmp(walk->header, "070702", 6)) {
		break_off(walk, "no cpio header (newc) where one must be");
		return;
	}
	if (!parse_field(walk->header + FIELD_FILE_BYTES, &file_bytes) ||
	    !parse_field(walk->header + FIELD_NAME_BYTES, &walk->name_bytes) || !walk->name_bytes ||
	    walk->name_bytes > NAME_MAX_BYTES) {
		break_off(walk, "a malformed cpio header");
		return;
	}
	walk->file_bytes = file_bytes;
	walk->state = CPIO_NAME;
	walk->name_at = 0;
	walk->needed = walk->name_bytes;
}

static void end_name(struct cpio_walk *walk)
{
	if (walk->name_bytes == sizeof(TRAILER) && !memcmp(walk->name, TRAILER, sizeof(TRAILER))) {
		walk->state = CPIO_BETWEEN;
		walk->archives++;
		return;
	}
	walk->state = CPIO_SKIP;
	walk->needed = padding(CPIO_HEADER_BYTES + walk->name_bytes) + walk->file_bytes +
		       padding(walk->file_bytes);
	if (!walk->needed)
		expect_header(walk);
}

static void end_state(struct cpio_walk *walk)
{
	switch (walk->state) {
	case CPIO_HEADER:
		end_header(walk);
		break;
	case CPIO_NAME:
		end_name(walk);
		break;
	case CPIO_SKIP:
		expect_header(walk);
		break;
	case CPIO_BETWEEN:
	case CPIO_BROKEN:
		break;
	}
}

static void keep(struct cpio_walk *walk, const uint8_t *bytes, size_t count)
{
	if (walk->state == CPIO_HEADER) {
		memcpy(walk->header + walk->filled, bytes, count);
		walk->filled += count;
	} else if (walk->state == CPIO_NAME) {
		for (size_t i = 0; i < count && walk->name_at < sizeof(walk->name); i++)
			walk->name[walk->name_at++] = bytes[i];
	}
}

size_t cpio_walk_feed(struct cpio_walk *walk, const uint8_t *bytes, size_t count, bool between)
{
	size_t at = 0;

	while (at < count && walk->state != CPIO_BROKEN) {
		size_t part = count - at;

		if (walk->state == CPIO_BETWEEN) {
			if (bytes[at]) {
				if (bytes[at] != '0' && between)
					break;
				expect_header(walk);
				continue;
			}
			at++;
			walk->offset++;
			continue;
		}
		if (part > walk->needed)
			part = walk->needed;
		keep(walk, bytes + at, part);
		at += part;
		walk->offset += part;
		walk->needed -= part;
		if (!walk->needed)
			end_state(walk);
	}
	return at;
}
