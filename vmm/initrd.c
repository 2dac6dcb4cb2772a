/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whether Linux could unpack an initrd: one or more cpio archives, each plain or compressed, with
 * zeros in between (Documentation/driver-api/early-userspace/buffer-format.rst). Plain ones are
 * walked here, compressed ones are decoded by libarchive to their end and walked too.
 */
#include <archive.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/cpio_walk.h"
#include "vmm/loader.h"

#define BUFFER_BYTES (256u << 10)
#define MAGIC_BYTES  6

/* What Linux can decompress (lib/decompress.c), by the first bytes. */
static const struct compression {
	const char *name;
	uint8_t magic[MAGIC_BYTES];
	unsigned int magic_bytes;
	int (*support)(struct archive *archive); /* NULL: taken as it is */
} compressions[] = {
	{"gzip", {0x1f, 0x8b}, 2, archive_read_support_filter_gzip},
	{"bzip2", {'B', 'Z', 'h'}, 3, archive_read_support_filter_bzip2},
	{"LZMA", {0x5d, 0x00, 0x00}, 3, archive_read_support_filter_lzma},
	{"xz", {0xfd, '7', 'z', 'X', 'Z', 0x00}, 6, archive_read_support_filter_xz},
	{"LZ4", {0x02, 0x21, 0x4c, 0x18}, 4, archive_read_support_filter_lz4},
	{"zstd", {0x28, 0xb5, 0x2f, 0xfd}, 4, archive_read_support_filter_zstd},
	{"LZO", {0x89, 'L', 'Z', 'O'}, 4, NULL},
};

static const struct compression *find_compression(const uint8_t *bytes, size_t count)
{
	for (size_t i = 0; i < sizeof(compressions) / sizeof(*compressions); i++)
		if (count >= compressions[i].magic_bytes &&
		    !memcmp(bytes, compressions[i].magic, compressions[i].magic_bytes))
			return &compressions[i];
	return NULL;
}

/* Whether an archive, or zeros before one, can start with these bytes. */
static bool is_start(const uint8_t *bytes, size_t count)
{
	return !bytes[0] || (count >= MAGIC_BYTES && !memcmp(bytes, "07070", 5)) ||
	       find_compression(bytes, count);
}

/* Where libarchive reads from. */
struct reader {
	const struct image *image;
	uint64_t offset, end;
	uint8_t *buffer;
	struct samara_error *err;
};

static ssize_t read_compressed(struct archive *archive, void *arg, const void **bytes)
{
	struct reader *reader = arg;
	uint64_t left = reader->end - reader->offset;
	size_t count = left < BUFFER_BYTES ? left : BUFFER_BYTES;

	if (image_read(reader->image, reader->offset, reader->buffer, count, reader->err)) {
		archive_set_error(archive, EIO, "read error");
		return -1;
	}
	reader->offset += count;
	*bytes = reader->buffer;
	return count;
}

static const char *reason(struct archive *archive)
{
	const char *text = archive_error_string(archive);

	return text ? text : "truncated input";
}

static int broken(const struct image *image, const char *kind, const char *why,
		  struct samara_error *err)
{
	return samara_error_set(err, -EINVAL, "%s: truncated or damaged: %s%s", image->name, kind,
				why);
}

static int decode(struct archive *archive, const struct compression *compression,
		  const struct image *image, struct samara_error *err)
{
	struct cpio_walk walk = {0};
	uint8_t *buffer = malloc(BUFFER_BYTES);
	ssize_t count;
	int ret = 0;

	if (!buffer)
		return samara_error_set(err, -ENOMEM, "%s: out of memory", image->name);
	while ((count = archive_read_data(archive, buffer, BUFFER_BYTES)) > 0) {
		cpio_walk_feed(&walk, buffer, count, false);
		if (walk.state == CPIO_BROKEN)
			break;
	}
	free(buffer);
	if (count < 0)
		ret = samara_error_set(err, -EINVAL,
				       "%s: truncated or damaged: its %s data cannot be decoded "
				       "to the end (%s)",
				       image->name, compression->name, reason(archive));
	else if (walk.state == CPIO_BROKEN)
		ret = broken(image, "what it holds has ", walk.error, err);
	else if (walk.state != CPIO_BETWEEN || !walk.archives)
		ret = broken(image, "the cpio archive in it ", "has no end", err);
	return ret;
}

/*
 * Decode one compressed archive that reaches to @end at most.
 * @consumed: how much of it was decoded, also on failure
 */
static int check_stream(const struct image *image, const struct compression *compression,
			uint64_t offset, uint64_t end, uint64_t *consumed, struct samara_error *err)
{
	struct samara_error read_error = {0};
	struct reader reader = {.image = image, .offset = offset, .end = end, .err = &read_error};
	struct archive *archive = archive_read_new();
	struct archive_entry *entry;
	int ret;

	*consumed = 0;
	reader.buffer = malloc(BUFFER_BYTES);
	if (!archive || !reader.buffer) {
		ret = samara_error_set(err, -ENOMEM, "%s: out of memory", image->name);
		goto out;
	}
	archive_read_support_format_raw(archive);
	compression->support(archive);
	if (archive_read_open(archive, &reader, NULL, read_compressed, NULL) != ARCHIVE_OK ||
	    archive_read_next_header(archive, &entry) != ARCHIVE_OK)
		ret = samara_error_set(err, -EINVAL, "%s: truncated or damaged: its %s data: %s",
				       image->name, compression->name, reason(archive));
	else
		ret = decode(archive, compression, image, err);
	if (read_error.code) {
		ret = read_error.code;
		if (err)
			*err = read_error;
	}
	if (archive_filter_bytes(archive, -1) > 0)
		*consumed = archive_filter_bytes(archive, -1);
out:
	archive_read_free(archive);
	free(reader.buffer);
	return ret;
}

/*
 * Where a zstd frame ends, by its header and those of its blocks (RFC 8878, 3.1.1). Return: 0 if it
 * has no end.
 */
static uint64_t zstd_frame_end(const struct image *image, uint64_t offset)
{
	static const uint8_t dictionary_bytes[4] = {0, 1, 2, 4};
	static const uint8_t size_bytes[4] = {0, 2, 4, 8};
	uint8_t magic[5], block[3];
	uint32_t header = 0;
	bool single;

	if (image_read(image, offset, magic, sizeof(magic), NULL))
		return 0;
	single = magic[4] & 0x20;
	offset += sizeof(magic) + !single + dictionary_bytes[magic[4] & 3] +
		  size_bytes[magic[4] >> 6] + (single && !(magic[4] >> 6));
	while (!(header & 1)) {
		if (image_read(image, offset, block, sizeof(block), NULL))
			return 0;
		header = block[0] | block[1] << 8 | (uint32_t)block[2] << 16;
		/* An RLE block is one byte, repeated. */
		offset += sizeof(block) + ((header >> 1 & 3) == 1 ? 1 : header >> 3);
	}
	offset += magic[4] & 4 ? 4 : 0;
	return offset <= image->size_bytes ? offset : 0;
}

/*
 * Where an xz stream ends: after its footer's magic number (The .xz File Format, 2.1.2), aligned,
 * and followed by what can be an archive. Return: 0 if there is no such place.
 */
static uint64_t xz_stream_end(const struct image *image, uint64_t start, uint64_t consumed)
{
	uint64_t from = start + consumed, left = image->size_bytes - from, end = 0;
	size_t count = left < BUFFER_BYTES ? left : BUFFER_BYTES;
	uint8_t *bytes = malloc(BUFFER_BYTES);

	if (bytes && !image_read(image, from, bytes, count, NULL))
		for (size_t at = 2; !end && at + MAGIC_BYTES < count; at++)
			if ((consumed + at) % 4 == 0 && bytes[at - 2] == 'Y' &&
			    bytes[at - 1] == 'Z' && is_start(bytes + at, MAGIC_BYTES))
				end = from + at;
	free(bytes);
	return end;
}

/*
 * libarchive takes what follows a stream of zstd, LZ4 or xz for a part of it, and fails there.
 * Return: where the stream may end within the image; 0: nowhere.
 */
static uint64_t find_end(const struct image *image, const struct compression *compression,
			 uint64_t start, uint64_t consumed)
{
	if (compression->support == archive_read_support_filter_zstd)
		return zstd_frame_end(image, start);
	if (compression->support == archive_read_support_filter_xz)
		return xz_stream_end(image, start, consumed);
	return consumed ? start + consumed : 0;
}

/* Check one compressed archive, and go to where it ends. */
static int check_compressed(const struct image *image, const struct compression *compression,
			    uint64_t *offset, struct samara_error *err)
{
	struct samara_error reason = {0};
	uint64_t consumed, end;
	int ret = check_stream(image, compression, *offset, image->size_bytes, &consumed, &reason);

	if (ret == -EINVAL) {
		end = find_end(image, compression, *offset, consumed);
		if (end)
			ret = check_stream(image, compression, *offset, end, &consumed, &reason);
	}
	if (ret && err)
		*err = reason;
	*offset += consumed;
	return ret;
}

/* Check plain archives and the zeros after them. */
static int check_plain(const struct image *image, uint64_t *offset, unsigned int *archives,
		       uint8_t *buffer, struct samara_error *err)
{
	struct cpio_walk walk = {0};
	size_t count, done;
	int ret;

	do {
		uint64_t left = image->size_bytes - *offset;

		count = left < BUFFER_BYTES ? left : BUFFER_BYTES;
		ret = image_read(image, *offset, buffer, count, err);
		if (ret)
			return ret;
		done = cpio_walk_feed(&walk, buffer, count, true);
		*offset += done;
	} while (done == count && *offset < image->size_bytes);

	*archives += walk.archives;
	if (walk.state == CPIO_BROKEN)
		return broken(image, "it has ", walk.error, err);
	if (walk.state != CPIO_BETWEEN)
		return broken(image, "its cpio archive ", "ends before its trailer", err);
	return 0;
}

static int check_all(const struct image *image, uint8_t *buffer, struct samara_error *err)
{
	unsigned int archives = 0;
	uint64_t offset = 0;
	int ret;

	while (offset < image->size_bytes) {
		const struct compression *compression;
		uint64_t left = image->size_bytes - offset;
		size_t count = left < MAGIC_BYTES ? left : MAGIC_BYTES;

		ret = image_read(image, offset, buffer, count, err);
		if (ret)
			return ret;
		compression = find_compression(buffer, count);
		if (compression && !compression->support)
			return 0;
		if (compression) {
			ret = check_compressed(image, compression, &offset, err);
			archives++;
		} else if (is_start(buffer, count)) {
			ret = check_plain(image, &offset, &archives, buffer, err);
		} else if (!archives) {
			break;
		} else {
			ret = broken(image, "after its archives ", "there is something else", err);
		}
		if (ret)
			return ret;
	}
	if (!archives)
		return samara_error_set(err, -EINVAL,
					"%s is no initrd: neither a cpio archive (newc) nor a "
					"compressed one",
					image->name);
	return 0;
}

int initrd_check(const struct image *image, struct samara_error *err)
{
	uint8_t *buffer = malloc(BUFFER_BYTES);
	int ret;

	if (!buffer)
		return samara_error_set(err, -ENOMEM, "%s: out of memory", image->name);
	ret = check_all(image, buffer, err);
	free(buffer);
	return ret;
}
